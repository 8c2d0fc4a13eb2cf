"""Whatever is put on a commands topic comes five times, from programs and from the worker: what is seen is the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from accord.agents.client import Accord
from accord.agents.connection.runtime import ON_KAFKA
from accord.agents.tasks.graph import Run, TaskGraph
from accord.replay.source import open_source
from accord.replay.timeline import Filter, timeline
from accord.streams.runtime import output

from accord.embedded import Embedded
from tests.agents.test_tasks import LEASE_MS, in_loop

COPIES = 5


class Stammering:
    """A producer that sends each command five times."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def produce(self, topic: str, *record: Any, **options: Any) -> None:
        self._producer.produce(topic, *record, **options)
        if ".commands." in topic:
            options.pop("on_delivery", None)
            for _ in range(COPIES - 1):
                self._producer.produce(topic, *record, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Embedded]:
    for place in (ON_KAFKA, output):
        made = place.producer
        monkeypatch.setattr(place, "producer", lambda *given, made=made, **terms: Stammering(made(*given, **terms)))
    with Embedded() as running:
        yield running


@in_loop
async def test_a_task_whose_messages_come_five_times_is_done_once(embedded: Embedded) -> None:
    ran: Counter[str] = Counter()
    graph = TaskGraph("stammer", team="stammer")

    def work(step: Run) -> int:
        ran[step.name] += 1
        if step.name == "write" and ran["write"] == 1:
            raise ValueError("the first time")
        return len(step.inputs)

    for name, after in (("research", []), ("draw", []), ("write", ["research"]), ("print", ["write", "draw"])):
        graph.add(name, work, after=after)
    told: list[Mapping[str, Any]] = []
    hub = Accord(agent="ada")
    hub.use(embedded.settings, embedded.timestamp_ms)
    hub.when("written")(told.append)
    async with hub:
        async with hub.work(graph, lease_ms=LEASE_MS):
            handle = await hub.submit(graph, key="t1")
            while (await handle.record())["status"] != "completed":
                await asyncio.to_thread(embedded.advance, 1_000)
            assert await handle.result() == 2
        async with hub.lock("room") as lease:
            assert lease.token
        hub.emit("written", {"task": "t1"})
        await hub.drain()
        record = await handle.record()
    assert ran == {"research": 1, "draw": 1, "write": 2, "print": 1}
    assert [step["name"] for step in record["steps"]][-2:] == ["write", "print"]
    assert told == [{"task": "t1"}]
    with open_source(embedded.settings) as log:
        events = list(timeline(log, Filter()))
    happened = Counter(event.event for event in events)
    assert happened["StepCompleted"] == 4 and happened["StepFailed"] == 1 and happened["TaskCompleted"] == 1
    assert happened["LockGranted"] == happened["LockReleased"] == happened["SignalEmitted"] == 1
    repeats = Counter(event.command_id for event in events if event.event == "CommandRepeated")
    assert set(repeats) >= {event.command_id for event in events if event.cause is not None} - {""}
    assert set(repeats.values()) == {COPIES - 1}
