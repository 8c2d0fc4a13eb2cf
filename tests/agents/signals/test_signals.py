"""`emit`: what it takes, what its receipt says, and that no loss is silent."""

import asyncio
from typing import Any

import pytest
from accord.agents.client import Accord
from accord.agents.signals import signals
from accord.agents.signals.signals import DATA_BYTES_MAX

import accord
from accord import BadInput, CircularTrigger, NotConnected, OutcomeUnknown, Overloaded, Position, Receipt, emit, when
from accord.settings import Settings

LONG_TRAIL = ("a", *["b"] * 32)


def test_the_receipt_tells_where_the_event_is_recorded(settings: Settings) -> None:
    async def main() -> tuple[Position, Position]:
        async with Accord(settings=settings):
            first, second = emit("receipt", {"n": 1}), emit("receipt", {"n": 2})
            assert isinstance(first, Receipt)
            return await first, await asyncio.to_thread(second.wait)

    first, second = asyncio.run(main())
    assert str(first).startswith("signals/")
    assert second == first._replace(offset=first.offset + 1), "one name, one partition, in order"


def test_a_sync_program_emits_and_waits(settings: Settings) -> None:
    with accord.sync.Accord(settings=settings) as hub:
        receipt = emit("sync", {})
        assert receipt.wait(wait_ms=5_000) == receipt.wait()
        assert hub.emit("sync", {}).wait().partition == receipt.wait().partition


def test_emit_blocks_nothing_and_waiting_is_bounded(settings: Settings) -> None:
    with accord.sync.Accord(settings=settings):
        receipt = emit("bounded", {})
        with pytest.raises(OutcomeUnknown, match="is not recorded after 0 ms") as unknown:
            receipt.wait(wait_ms=0)
        assert unknown.value.details["command_id"] == receipt.id
        assert receipt.wait().offset >= 0
        for bad in (-1, 0.5, True):
            with pytest.raises(BadInput, match="wait_ms"):
                receipt.wait(wait_ms=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "data", "words"),
    [
        ("", {}, "1 to 200 are allowed"),
        ("x" * 201, {}, "201 characters"),
        ("é" * 200, {}, "400 bytes"),
        (7, {}, "text is needed"),
        ("\ud800", {}, "UTF-8"),
        ("e", [1], "a mapping is needed"),
        ("e", "text", "a mapping is needed"),
        ("e", {"db": object()}, r"an object at \$.db"),
        ("e", {"x": "x" * DATA_BYTES_MAX}, "at most 850000"),
    ],
)
def test_bad_input_is_refused_and_nothing_emitted(settings: Settings, event: Any, data: Any, words: str) -> None:
    with accord.sync.Accord(settings=settings) as hub, pytest.raises(BadInput, match=words):
        try:
            emit(event, data)
        finally:
            assert hub.connection.load["underway"] == 0


def test_without_a_hub_the_error_says_what_to_do() -> None:
    with pytest.raises(NotConnected, match=r"emit\('x'\) was called but no hub is open. Wrap the program"):
        emit("x", {})


def test_the_largest_data_fits(settings: Settings) -> None:
    with accord.sync.Accord(settings=settings) as hub:
        found: list[int] = []
        hub.when("large", name="large")(lambda event_data: found.append(len(event_data["x"])))
        size = DATA_BYTES_MAX - len('{"x":""}')
        emit("large", {"x": "x" * size}).wait()
        hub.drain()
    assert found == [size]


def test_the_bound_on_what_is_under_way(settings: Settings) -> None:
    client = settings.client.model_copy(update={"unsent_max": 3})
    with accord.sync.Accord(settings=settings.model_copy(update={"client": client})):
        receipts = []
        with pytest.raises(Overloaded):
            while len(receipts) < 1_000:
                receipts.append(emit("bound", {}))
        assert len(receipts) >= 3
        assert len({receipt.wait().offset for receipt in receipts}) == len(receipts)
        emit("bound", {}).wait()


def lose(event: str = "lost") -> Receipt:
    """An event that the log refuses: its trail is too long."""
    token = signals.trail.set(LONG_TRAIL)
    try:
        return emit(event, {})
    finally:
        signals.trail.reset(token)


def test_who_waits_for_a_lost_event_gets_the_error(settings: Settings) -> None:
    with accord.sync.Accord(settings=settings) as hub:
        with pytest.raises(CircularTrigger, match=r"33 events in a row triggered it: a -> b -> .* -> lost") as refused:
            lose().wait()
        assert refused.value.details["chain"] == (*LONG_TRAIL, "lost")
        assert refused.value.position is not None and refused.value.position.startswith("signals/")
        hub.drain()  # and nobody else hears of it again


def test_drain_raises_a_loss_that_nobody_noticed(settings: Settings) -> None:
    with accord.sync.Accord(settings=settings) as hub:
        lose()
        lose()
        with pytest.raises(CircularTrigger) as first:
            hub.drain()
        assert first.value.__notes__ == ["1 more events were not recorded either."]
        hub.drain()


def test_closing_raises_a_loss_that_nobody_noticed(settings: Settings) -> None:
    async def main() -> None:
        async with Accord(settings=settings):
            lose()

    with pytest.raises(CircularTrigger):
        asyncio.run(main())


def test_a_hub_opens_again(settings: Settings) -> None:
    hub = accord.sync.Accord(settings=settings)
    for _ in range(2):
        with hub:
            lose()
            with pytest.raises(CircularTrigger):
                hub.drain()


def test_each_emit_of_its_own_is_a_task_of_its_own(settings: Settings) -> None:
    tasks: list[str | None] = []
    with accord.sync.Accord(settings=settings) as hub:

        @when("task")
        def note(event_data: Any, event: accord.Event) -> None:
            tasks.append(event.task_id)

        emit("task", {})
        emit("task", {})
        with signals.task() as together:
            emit("task", {})
            emit("task", {})
        hub.drain()
    assert tasks[2:] == [together, together]
    assert len(set(tasks)) == 3 and None not in tasks
