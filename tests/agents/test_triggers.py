"""Triggers by programs: functions that are called when a pattern occurs, and what they begin once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from accord.agents.signals import handlers
from accord.agents.triggers import triggers
from accord.replay.triggers import trigger_at
from accord.streams.signals.decider import WATCHES_MAX

import accord
from accord import Event, Run, TaskGraph, replay
from accord.embedded import Embedded
from accord.errors import BadInput, NotConnected, NotFound, Overloaded, Unavailable
from accord.settings import Settings
from accord.triggers import absence, count, event, on, sequence
from tests.agents.support import with_
from tests.agents.test_tasks import MakeHub, in_loop
from tests.counts import only_long

WAIT_S = 10


@pytest.fixture(autouse=True)
def nothing_declared_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "_process", {})
    monkeypatch.setattr(triggers, "_process", {})


async def given(queue: asyncio.Queue[Any]) -> Any:
    return await asyncio.wait_for(queue.get(), WAIT_S)


@in_loop
async def test_a_function_is_called_with_each_match(make_hub: MakeHub, embedded: Embedded) -> None:
    found: asyncio.Queue[tuple[Any, Event]] = asyncio.Queue()

    async with make_hub("ada") as hub:
        loop = asyncio.get_running_loop()

        @hub.on(sequence("ordered", event("paid").where("amount", ">", 9)).by("id").within_ms(60_000), name="done")
        def done(event_data: Any, match: Event) -> None:
            assert threading.current_thread() is not threading.main_thread(), "a plain function has a thread"
            loop.call_soon_threadsafe(found.put_nowait, (event_data, match))

        ordered = await hub.emit("ordered", {"id": 7})
        await hub.emit("ordered", {"id": 8})
        await hub.emit("paid", {"id": 7, "amount": 9})
        paid = await hub.emit("paid", {"id": "7", "amount": 9.5})
        embedded.advance(1_000)
        data, match = await given(found)
        assert (data["trigger"], data["version"], data["key"]) == ("done", 1, "7")
        assert data["causes"] == [str(ordered), str(paid)] and 0 < data["at_ms"] - data["first_ms"] < 60_000
        assert match.id.startswith("triggers/") and match.name == "matched:done"
        await hub.emit("paid", {"id": 8, "amount": 10})
        embedded.advance(1_000)
        assert (await given(found))[0]["key"] == "8"
        assert found.empty() and await hub.drop_trigger("done")


@in_loop
async def test_what_does_not_come_is_found_when_its_time_is_over(make_hub: MakeHub, embedded: Embedded) -> None:
    found: asyncio.Queue[Any] = asyncio.Queue()

    async with make_hub("ada") as hub:

        @hub.on(sequence("asked", absence("answered")).by("id").within_ms(60_000), name="silence")
        async def silence(event_data: Any) -> None:
            found.put_nowait(event_data["key"])

        for number in (1, 2):
            await hub.emit("asked", {"id": number})
        await hub.emit("answered", {"id": 1})
        embedded.advance(59_000)
        assert found.empty()
        embedded.advance(3_000)
        assert await given(found) == "2"
        assert await hub.drop_trigger("silence") and not await hub.drop_trigger("silence")
        with pytest.raises(NotFound, match="there is no trigger sound"):
            await hub.drop_trigger("sound")


@in_loop
async def test_a_task_that_a_match_begins_is_begun_once(make_hub: MakeHub, embedded: Embedded) -> None:
    """The function fails after it has submitted the task, and is called again."""
    runs: asyncio.Queue[str] = asyncio.Queue()
    calls: list[str] = []
    graph = TaskGraph("review")

    @graph.step
    async def review(input: Any, step: Run) -> None:
        runs.put_nowait(f"{input} {step.key}")

    hub = make_hub("ada")
    hub.use(with_(embedded.settings, "client", handler_retry_ms=10), embedded.timestamp_ms)
    async with hub, hub.work(graph):

        @hub.on(count("failed", 3).within_ms(60_000), name="often")
        async def often(event_data: Any, match: Event) -> None:
            calls.append(match.id)
            await hub.submit(graph, input=event_data["causes"][0], key=match.id)
            if len(calls) == 1:
                raise RuntimeError("after all that")

        first = await hub.emit("failed", {})
        for _ in range(5):
            await hub.emit("failed", {})
        ran = {await given(runs) for _ in range(2)}
        assert str(first) in {one.split()[0] for one in ran} and len(ran) == 2
        assert {one.split()[1] for one in ran} == {f"{id_}/review" for id_ in calls}
        await hub.drain()
        assert len(calls) == 3 and len(set(calls)) == 2 and runs.empty()
        await hub.drop_trigger("often")


@in_loop
async def test_a_trigger_is_on_the_log(make_hub: MakeHub, settings: Settings) -> None:
    pair = sequence("x", "y").within_ms(5_000)
    async with make_hub("ada") as ada, make_hub("bob") as bob:
        with pytest.raises(NotConnected, match="declare_trigger"):
            await make_hub("eve").declare_trigger("pair", pair)
        assert await ada.declare_trigger("pair", pair) == 1
        assert await bob.declare_trigger("pair", pair) == 1, "the same"
        assert await bob.declare_trigger("pair", pair.by("id")) == 2
        await asyncio.gather(*[ada.declare_trigger(f"c{number}", event("crowded")) for number in range(WATCHES_MAX)])
        with pytest.raises(Overloaded, match="trigger more finds nothing: 16 triggers watch crowded already"):
            await ada.declare_trigger("more", event("crowded"))
    with replay.open(settings) as log:
        view = trigger_at(log.source, "pair")
    assert view is not None and (view.version, view.agent, view.status) == (2, "bob", "active")


def test_what_a_module_declares_runs_on_the_hub_that_opens(settings: Settings) -> None:
    found = threading.Semaphore(0)

    @on(count("knock", 2).within_ms(5_000))
    def open_the_door(event_data: Any) -> None:
        found.release()

    name = open_the_door.__qualname__
    with accord.sync.Accord(settings=settings) as hub:
        for _ in range(2):
            hub.emit("knock", {})
        assert found.acquire(timeout=WAIT_S)
        assert hub.declare_trigger("twice", count("knock", 2).within_ms(5_000)) == 1
        assert hub.drop_trigger(name) and hub.drop_trigger("twice")
    open_the_door({"by": "hand"})
    with accord.sync.Accord(settings=settings) as hub:
        assert not hub.drop_trigger(name), "dropped is dropped, also for who has declared it here"


@pytest.mark.parametrize(
    ("declare", "problem"),
    [
        (lambda: on(sequence("a", "b")), "needs a window"),
        (lambda: on("a"), "'a' is no pattern"),  # type: ignore[arg-type]
        (lambda: on(event("a"), name="a|b"), r"has no \|"),
        (lambda: on(event("a"), name="n" * 101), "1 to 100 bytes"),
        (lambda: on(event("a"), name=5), "is no text"),  # type: ignore[arg-type]
        (lambda: on(event("a"), retries=21), "retries=21"),
        (lambda: on(event("a"))(lambda: None), "takes no argument"),
    ],
)
def test_what_cannot_be_declared(declare: Any, problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        made = declare()
        made(print)


@only_long
@in_loop
async def test_without_a_worker_for_signals_a_declaration_does_not_wait_for_ever(make_hub: MakeHub) -> None:
    alone = Settings.load(worker={"domains": ("triggers",)}, client={"worker_wait_ms": 700})
    with Embedded(settings=alone) as embedded:
        hub = accord.Accord(agent="ada")
        hub.use(embedded.settings, embedded.timestamp_ms)
        async with hub:
            with pytest.raises(Unavailable, match=r"declared, but not active after 700 ms.*signals and triggers"):
                await hub.declare_trigger("lonely", event("a"))
