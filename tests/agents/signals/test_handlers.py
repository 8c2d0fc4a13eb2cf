"""`when`: which functions are called with which events, how often, and what becomes of failures."""

import asyncio
import functools
import itertools
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from accord.agents import context
from accord.agents.client import Accord
from accord.agents.signals import handlers, signals, subscription
from accord.schemas.clock import VectorClock
from accord.schemas.codec import deadletters_codec, events_codec
from accord.schemas.messages.signals import SignalEmitted
from accord.schemas.topics import deadletters_topic, events_topic
from confluent_kafka import Producer, TopicPartition

import accord
from accord import BadInput, Event, coordinate, emit, when
from accord.embedded import Embedded
from accord.kafka import bounds, consumer, read
from accord.settings import Settings


def dead_letters(settings: Settings, handler: str, count: int = 1, wait_s: float = 5.0) -> list[Any]:
    """The dead letters of a handler, once there are `count`."""
    client = consumer(settings.kafka)
    topic = deadletters_topic(settings.topics.prefix)
    deadline = time.monotonic() + wait_s
    try:
        while True:
            found = read(client, topic, 0, *bounds(client, topic, 0))
            letters = [deadletters_codec().decode(record.value) for record in found]
            own = [letter for letter in letters if letter.queue == f"handler:{handler}"]
            if len(own) >= count or time.monotonic() > deadline:
                return own
            time.sleep(0.01)
    finally:
        client.close()


def test_a_handler_is_called_with_every_event_of_its_name_and_no_other(settings: Settings) -> None:
    seen: list[Any] = []

    @when("order")
    def note(event_data: Any) -> None:
        seen.append(event_data["n"])

    with accord.sync.Accord(settings=settings) as hub:
        for n in range(20):
            emit("order", {"n": n})
            emit(f"other{n}", {"n": -1})
        hub.drain()
    assert seen == list(range(20))
    note({"n": "by hand"})
    assert seen[-1] == "by hand", "it is still the function that was written"


def test_a_new_handler_starts_where_it_says(settings: Settings, embedded: Embedded) -> None:
    """From the start, from a time of the log, or now; and one that was there before goes on where it was."""
    seen: dict[str, list[int]] = {}

    def declare(name: str, since: Any) -> None:
        known = seen.setdefault(name, [])

        @when("history", name=name, since=since)
        def note(event_data: Any) -> None:
            known.append(event_data["n"])

    def emitted(*numbers: int) -> None:
        for n in numbers:
            emit("history", {"n": n}).wait()

    def hub() -> Any:
        made = accord.sync.Accord(agent="ada")
        made.use(settings, embedded.timestamp_ms)
        return made

    with hub():
        emitted(0, 1, 2)
        embedded.advance(60_000)
        moment = datetime.fromtimestamp(embedded.timestamp_ms() / 1_000, UTC)
        embedded.advance(60_000)
        emitted(3, 4)
    declare("history-start", "start")
    declare("history-time", moment)
    declare("history-now", "now")
    declare("history-later", moment + timedelta(days=1))
    with hub() as running:
        emitted(5)
        running.drain()
    assert seen == {
        "history-start": [0, 1, 2, 3, 4, 5], "history-time": [3, 4, 5], "history-now": [5], "history-later": [5]
    }  # fmt: skip
    declare("history-now", "start")
    with hub() as running:
        running.drain()
    assert seen["history-now"] == [5], "it is not new"


@pytest.mark.parametrize("since", ["yesterday", 5, None, datetime(2026, 1, 1)])
def test_what_is_no_start(since: Any) -> None:
    with pytest.raises(BadInput, match='"now", "start" or an aware datetime'):
        when("history", since=since)


def test_a_second_parameter_gets_the_event(settings: Settings) -> None:
    seen: list[Event] = []

    @when("whole")
    def note(event_data: Any, event: Event) -> None:
        assert event.data == event_data == {"result": {"rooms": [1, 2]}}
        seen.append(event)

    with accord.sync.Accord(settings=settings) as hub:
        hub.drain()  # the handler has its partitions now
        receipt = emit("whole", {"result": {"rooms": [1, 2]}})
        position = receipt.wait()
        hub.drain()
    (event,) = seen
    assert (event.id, event.name, event.position) == (receipt.id, "whole", position)
    assert str(event.cause).startswith(f"signals.commands/{position.partition}@")
    assert event.clock.lamport > 1
    assert not event.redelivered


def test_event_data_is_read_only_and_each_call_has_its_own(settings: Settings) -> None:
    seen: list[Any] = []

    @when("mine", name="mine-1")
    def spoil(event_data: Any) -> None:
        event_data["rooms"].append("spoilt")

    @when("mine", name="mine-2")
    def note(event_data: Any) -> None:
        time.sleep(0.05)
        seen.append(list(event_data["rooms"]))
        with pytest.raises(TypeError):
            event_data["rooms"] = []

    with accord.sync.Accord(settings=settings) as hub:
        emit("mine", {"rooms": [1]})
        hub.drain()
    assert seen == [[1]]


def test_it_is_called_after_the_event_is_recorded(settings: Settings) -> None:
    """Also with the event in the log: its position holds it."""
    found: list[Any] = []

    @when("recorded")
    def look(event_data: Any, event: Event) -> None:
        client = consumer(settings.kafka)
        topic = events_topic("signals", settings.topics.prefix)
        offset = event.position.offset
        for record in read(client, topic, event.position.partition, offset, offset + 1):
            found.extend(events_codec("signals").decode(record.value))
        client.close()

    with accord.sync.Accord(settings=settings, agent="ada") as hub:
        emit("recorded", {"n": 1})
        hub.drain()
    assert found == [SignalEmitted("ada", '{"n":1}', ())]


def no_argument() -> None: ...
def three(event_data: Any, event: Any, more: Any) -> None: ...
def keyword(event_data: Any, *, more: Any) -> None: ...
def yields(event_data: Any) -> Any:
    yield


class Booker:
    def note(self, event_data: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            no_argument,
            r"handler no_argument\(\) takes no argument. "
            r"Write def no_argument\(event_data\) or def no_argument\(event_data, event\).",
        ),
        (three, r"three\(\) takes 3 arguments"),
        (keyword, r"keyword\(\) needs the keyword argument more"),
        (yields, r"yields\(\) yields"),
        (Booker.note, r"Booker.note\(\) is a method"),
        (7, "7 is no function"),
    ],
)
def test_what_cannot_be_called_as_a_handler_is_refused(function: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        when("x")(function)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"event": ""}, "event name '' has 0 characters"),
        ({"event": 7}, "text is needed"),
        ({"event": "x", "name": ""}, "handler name"),
        ({"event": "x", "retries": -1}, "retries=-1"),
        ({"event": "x", "retries": True}, "retries=True"),
        ({"event": "x", "retries": 1_000}, "retries=1000"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        when(**arguments)


def test_functions_of_many_kinds_are_handlers(settings: Settings) -> None:
    seen: list[str] = []

    def with_default(event_data: Any, tag: str = "default") -> None:
        seen.append(tag)

    class Note:
        def method(self, event_data: Any) -> None:
            seen.append("method")

        def __call__(self, event_data: Any, event: Event) -> None:
            seen.append(event.name)

    with accord.sync.Accord(settings=settings) as hub:
        for name, function in {
            "k1": with_default,
            "k2": Note().method,
            "k3": Note(),
            "k4": functools.partial(lambda tag, event_data: seen.append(tag), "partial"),
        }.items():
            hub.when("kinds", name=name)(function)
        emit("kinds", {})
        hub.drain()
    assert sorted(seen) == ["default", "kinds", "method", "partial"]


def test_a_name_is_taken_once() -> None:
    when("x", name="n")(lambda event_data: None)
    with pytest.raises(BadInput, match=r"handler name 'n' is taken by a handler of 'x' \(.*test_handlers, line \d+\)"):
        when("x", name="n")(lambda event_data: None)

    def twice(event_data: Any) -> None: ...

    when("x")(twice)
    with pytest.raises(BadInput, match="Handlers of one name share their events"):
        when("y")(twice)


def test_a_definition_that_is_run_again_replaces_the_first(settings: Settings) -> None:
    seen: list[int] = []

    def cell(version: int) -> None:
        @when("again")
        def note(event_data: Any) -> None:
            seen.append(version)

    cell(1)
    with accord.sync.Accord(settings=settings) as hub:
        emit("again", {})
        hub.drain()
        cell(2)
        emit("again", {})
        hub.drain()
    assert seen == [1, 2]


def test_async_handlers_run_on_the_loop_of_the_hub(settings: Settings) -> None:
    seen: list[Any] = []

    @when("async", name="async-1")
    async def note(event_data: Any) -> None:
        await asyncio.sleep(0.01)
        seen.append(asyncio.get_running_loop())

    async def main() -> None:
        async with Accord(settings=settings) as hub:
            emit("async", {})
            await hub.drain()
            assert seen == [asyncio.get_running_loop()]

    asyncio.run(main())
    with accord.sync.Accord(settings=settings) as hub:
        emit("async", {})
        hub.drain()
    assert len(seen) == 2, "a sync hub runs it, too"


@pytest.mark.parametrize("coordinated", [False, True])
def test_a_hotel_is_booked_once_after_its_research(settings: Settings, coordinated: bool) -> None:
    bookings: list[str] = []

    @coordinate("hotel_researcher")
    def research(city: str) -> str:
        time.sleep(0.05)
        assert not bookings
        if city != "Bonn":
            raise LookupError(city)
        return "Astoria"

    def book(hotel: str) -> None:
        bookings.append(hotel)

    booker = coordinate("hotel_booker", lock_name="hotel_{hotel}")(book) if coordinated else book
    when("hotel_researcher_complete", name=f"booker-{coordinated}")(lambda event_data: booker(event_data["result"]))
    with accord.sync.Accord(settings=settings) as hub:
        with pytest.raises(LookupError):
            research("Atlantis")
        hub.drain()
        assert not bookings
        assert research("Bonn") == "Astoria"
        hub.drain()
    assert bookings == ["Astoria"]


def test_a_slow_or_failing_handler_stops_no_other(settings: Settings) -> None:
    seen = threading.Event()
    go_on = threading.Event()
    done: list[str] = []

    @when("busy", name="slow")
    def slow(event_data: Any) -> None:
        go_on.wait(5)
        done.append("slow")

    @when("busy", name="failing", retries=0)
    def failing(event_data: Any) -> None:
        raise RuntimeError("broken")

    @when("busy", name="quick")
    def quick(event_data: Any) -> None:
        seen.set()

    with accord.sync.Accord(settings=settings) as hub:
        emit("busy", {})
        assert seen.wait(5) and not done
        go_on.set()
        hub.drain()
    assert done == ["slow"]


def test_a_failed_call_is_repeated_after_growing_waits(settings: Settings) -> None:
    calls: list[tuple[float, bool]] = []

    @when("flaky")
    def flaky(event_data: Any, event: Event) -> None:
        calls.append((time.monotonic(), event.redelivered))
        if len(calls) < 4:
            raise RuntimeError("not yet")

    with accord.sync.Accord(settings=settings) as hub:
        hub.drain()
        emit("flaky", {})
        hub.drain()
    assert [redelivered for _, redelivered in calls] == [False, True, True, True]
    waits = [later[0] - earlier[0] for earlier, later in itertools.pairwise(calls)]
    assert all(wait >= 0.010 * attempt for attempt, wait in enumerate(waits, start=1))


def test_after_the_last_retry_the_event_is_a_dead_letter_and_the_next_one_its_turn(settings: Settings) -> None:
    calls: list[int] = []

    @when("fails", name="bad", retries=2)
    def bad(event_data: Any) -> None:
        calls.append(event_data["n"])
        if event_data["n"] == 1:
            raise ValueError("no \ud800 good")

    with accord.sync.Accord(settings=settings, agent="ada") as hub:
        with signals.task("task-7"):
            receipt = emit("fails", {"n": 1})
        emit("fails", {"n": 2})
        hub.drain()
        (letter,) = dead_letters(settings, "bad")
    assert calls == [1, 1, 1, 2]
    assert (letter.agent, letter.attempts, letter.task_id) == ("ada", 3, "task-7")
    assert letter.origin == str(receipt.wait())
    assert "ValueError" in letter.description and "no ? good" in letter.description
    assert json.loads(letter.value) == {"n": 1}


def test_the_failure_of_the_largest_event_is_recorded(settings: Settings) -> None:
    @when("heavy", name="heavy", retries=0)
    def heavy(event_data: Any) -> None:
        raise ValueError("é" * 100_000)

    with accord.sync.Accord(settings=settings) as hub:
        emit("heavy", {"x": "x" * (signals.DATA_BYTES_MAX - 8)})
        hub.drain()
        assert len(dead_letters(settings, "heavy")) == 1


def test_pending_events_are_delivered_after_a_restart_and_done_ones_are_not(settings: Settings) -> None:
    seen: list[tuple[int, bool]] = []

    def note(event_data: Any, event: Event) -> None:
        seen.append((event_data["n"], event.redelivered))

    with accord.sync.Accord(settings=settings) as hub:
        hub.when("pending", name="pending")(note)
        emit("pending", {"n": 1})
        hub.drain()
    with accord.sync.Accord(settings=settings):
        emit("pending", {"n": 2})
    with accord.sync.Accord(settings=settings) as hub:
        hub.when("pending", name="pending")(note)
        emit("pending", {"n": 3})
        hub.drain()
    assert [n for n, _ in seen] == [1, 2, 3]
    assert seen[1] == (2, True), "somebody may have begun with it"


def test_a_new_handler_starts_at_the_opening_of_the_hub(settings: Settings) -> None:
    seen: list[int] = []
    with accord.sync.Accord(settings=settings):
        emit("start", {"n": 1})
    when("start", name="start")(lambda event_data: seen.append(event_data["n"]))
    with accord.sync.Accord(settings=settings):
        emit("start", {"n": 2}).wait()  # and closes before the group may have formed
    with accord.sync.Accord(settings=settings) as hub:
        hub.drain()
    assert seen == [2]


def test_an_event_whose_handler_did_not_return_is_delivered_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "STOP_S", 0.2)
    monkeypatch.setattr(subscription, "REVOKE_WAIT_S", 0.1)
    calls: list[str] = []
    stuck, end = threading.Event(), threading.Event()

    def hang(event_data: Any) -> None:
        calls.append("hangs")
        stuck.set()
        end.wait(20)

    with accord.sync.Accord(settings=settings) as hub:
        hub.when("crash", name="crash")(hang)
        emit("crash", {})
        assert stuck.wait(5)
    with accord.sync.Accord(settings=settings) as hub:
        hub.when("crash", name="crash")(lambda event_data: calls.append("again"))
        hub.drain()
    end.set()
    assert calls == ["hangs", "again"]


def test_replicas_share_the_events_of_a_handler(settings: Settings) -> None:
    seen: list[int] = []
    names = [f"shared{i}" for i in range(8)]  # on all partitions

    def declare(hub: Any) -> None:
        for name in names:
            hub.when(name, name=f"h-{name}")(lambda event_data: seen.append(event_data["n"]))

    first, second = (accord.sync.Accord(settings=settings, agent=agent) for agent in ("ada", "bob"))
    with first, second:
        declare(first)
        for n in range(8):
            first.emit(names[n], {"n": n})
        declare(second)
        first.drain()
        second.drain()  # both are members now
        assert set(seen) == set(range(8)), "each at least once, whatever the rebalance did"
        seen.clear()
        for n in range(80):
            second.emit(names[n % 8], {"n": n})
        second.drain()
        first.drain()
    assert sorted(seen) == list(range(80))


def test_what_handlers_emit_carries_task_and_trail_and_drain_waits_for_it(settings: Settings) -> None:
    seen: list[tuple[str, str | None]] = []

    def pass_on(event_data: Any, event: Event) -> None:
        time.sleep(0.05)
        seen.append((event.name, event.task_id))
        if event.name != "c":
            emit({"a": "b", "b": "c"}[event.name], {})

    for name in "abc":
        when(name, name=f"pass-{name}")(pass_on)
    with accord.sync.Accord(settings=settings) as hub:
        with signals.task("task-1"):
            emit("a", {})
        hub.drain()
        assert seen == [("a", "task-1"), ("b", "task-1"), ("c", "task-1")]
        assert recorded(settings, "c")[0].trail == ("a", "b")


def test_what_a_handler_emits_happened_after_its_event() -> None:
    """On a log of its own: on one with many agents, clocks are pruned."""
    clocks: list[VectorClock] = []
    with accord.sync.local(agent="ada") as ada, accord.sync.Accord(agent="bob", settings=ada.settings) as bob:

        @bob.when("cause", name="cause")
        def react(event_data: Any, event: Event) -> None:
            clocks.append(event.clock)
            emit("effect", {})

        bob.when("effect", name="effect")(lambda event_data, event: clocks.append(event.clock))
        ada.emit("cause", {}).wait()
        bob.drain()
    cause, effect = clocks
    assert cause.compare(effect) == "before"


def recorded(settings: Settings, name: str) -> list[SignalEmitted]:
    client = consumer(settings.kafka)
    topic = events_topic("signals", settings.topics.prefix)
    found = []
    for partition in range(settings.topics.partitions):
        for record in read(client, topic, partition, *bounds(client, topic, partition)):
            if record.key == name.encode():
                found += events_codec("signals").decode(record.value)
    client.close()
    return found


def test_a_circle_of_handlers_stops(settings: Settings) -> None:
    calls: list[str] = []

    @when("ping", name="ping")
    def ping(event_data: Any) -> None:
        calls.append("ping")
        emit("pong", {})

    @when("pong", name="pong")
    def pong(event_data: Any) -> None:
        calls.append("pong")
        emit("ping", {})

    with accord.sync.Accord(settings=settings) as hub:
        emit("ping", {})
        hub.drain()
        (letter,) = dead_letters(settings, "ping")
    assert len(calls) == 33
    assert "CircularTrigger" in letter.description and "ping -> pong -> ping" in letter.description
    assert letter.attempts == 1, "another attempt would end the same way"


def test_an_event_that_was_not_accepted_is_not_delivered(settings: Settings) -> None:
    seen: list[Any] = []
    when("forged", name="forged")(lambda event_data: seen.append(event_data["n"]))
    with accord.sync.Accord(settings=settings) as hub:
        at = emit("forged", {"n": 1}).wait()
        client = consumer(settings.kafka)
        topic = events_topic("signals", settings.topics.prefix)
        (real,) = read(client, topic, at.partition, at.offset, at.offset + 1)
        client.close()
        forger = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers})
        forged = events_codec("signals").encode([SignalEmitted("eve", '{"n":666}', ())])
        for value in (forged, real.value):
            forger.produce(topic, value, real.key, at.partition, headers=list(real.headers))
        forger.flush()
        emit("forged", {"n": 2}).wait()
        hub.drain()
    assert seen == [1, 2]


def test_a_handler_of_one_hub_runs_there_alone(settings: Settings) -> None:
    seen: list[str] = []
    first = accord.sync.Accord(settings=settings, agent="ada")

    @first.when("own", name="own")
    def note(event_data: Any) -> None:
        with pytest.raises(AttributeError):
            event_data.clear()
        seen.append(context.current("note").agent)

    with accord.sync.Accord(settings=settings, agent="bob") as second:
        second.emit("own", {}).wait()
        second.drain()
        assert seen == []
        with first:
            first.emit("own", {})
            first.drain()
    assert seen == ["ada"]


@pytest.mark.parametrize(("wait_s", "count"), [(1.0, 300), (0.0, 60)])
def test_events_that_do_not_fit_stay_with_the_broker(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, wait_s: float, count: int
) -> None:
    monkeypatch.setattr(subscription, "QUEUE_MAX", 20)
    monkeypatch.setattr(subscription, "BATCH_RECORDS", 10)
    monkeypatch.setattr(subscription, "QUEUE_WAIT_S", wait_s)
    most = 0
    seen: list[int] = []

    with accord.sync.Accord(settings=settings) as hub:

        @hub.when("many", name=f"many-{count}")
        def note(event_data: Any) -> None:
            nonlocal most
            runner = handlers._running[hub]._runners[f"many-{count}"]
            most = max(most, runner._subscription._queue.qsize())
            seen.append(event_data["n"])
            time.sleep(0.002)

        for n in range(count):
            emit("many", {"n": n})
        hub.drain()
    assert seen == list(range(count))
    assert 10 < most <= 31


def test_a_handler_whose_log_was_cut_says_so(settings: Settings) -> None:
    """Its committed offset lies beyond the end of the log."""
    client = consumer(settings.kafka, group=f"{settings.topics.prefix}.handlers.cut")
    topic = events_topic("signals", settings.topics.prefix)
    at = [TopicPartition(topic, p, 10_000_000) for p in range(settings.topics.partitions)]
    client.commit(offsets=at, asynchronous=False)
    client.close()
    with accord.sync.Accord(settings=settings) as hub:
        hub.when("cut", name="cut")(lambda event_data: None)
        with pytest.raises(accord.LogGap, match=r"10000000 is needed. It was cut or rewritten"):
            hub.drain()


def test_a_closed_hub_leaves_no_thread(settings: Settings) -> None:
    def ours() -> list[str]:
        return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("accord"))

    before = ours()
    for _ in range(3):
        with accord.sync.Accord(settings=settings) as hub:
            for n in range(3):
                hub.when("threads", name=f"threads-{n}", retries=0)(lambda event_data: 1 / 0)
            emit("threads", {})
            hub.drain()
    deadline_s = time.monotonic() + 5
    while ours() != before and time.monotonic() < deadline_s:
        time.sleep(0.01)  # a thread outlives the word that its work is done by a moment
    assert ours() == before
    assert hub not in handlers._running and hub not in signals._outboxes


def test_drain_is_bounded(settings: Settings) -> None:
    end = threading.Event()
    seen: list[int] = []

    def slow(event_data: Any) -> None:
        end.wait(20)
        seen.append(event_data["n"])

    async def main() -> None:
        async with Accord(settings=settings) as hub:
            hub.when("bounded", name="bounded")(slow)
            emit("bounded", {"n": 1})
            with pytest.raises(accord.Unavailable, match="after 100 ms"):
                await hub.drain(wait_ms=100)
            with accord.sync.Accord(settings=settings) as other, pytest.raises(BadInput, match="wait_ms"):
                other.drain(wait_ms=-1)
            end.set()
            await hub.drain(wait_ms=10_000)

    asyncio.run(main())
    assert seen == [1]
    end.clear()
    with accord.sync.Accord(settings=settings) as hub:
        hub.when("bounded", name="bounded")(slow)
        emit("bounded", {"n": 2})
        with pytest.raises(accord.Unavailable, match="after 0 ms"):
            hub.drain(wait_ms=0)
        end.set()
        hub.drain(wait_ms=10_000)
    assert seen == [1, 2]


def test_handlers_outlive_an_outage_of_the_broker() -> None:
    seen: list[int] = []
    with Embedded() as running:
        broker = running._broker
        assert broker is not None
        with accord.sync.Accord(settings=running.settings) as hub:
            hub.when("outage", name="outage")(lambda event_data: seen.append(event_data["n"]))
            emit("outage", {"n": 1})
            hub.drain()
            broker.set_down(True)
            time.sleep(0.5)
            receipt = emit("outage", {"n": 2})
            time.sleep(1)
            broker.set_down(False)
            receipt.wait()
            hub.drain()
    assert seen == [1, 2]
