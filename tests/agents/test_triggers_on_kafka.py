"""Triggers on a real Kafka: programs that die while they act on a match, workers that die before they told of one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accord.replay.triggers import trigger_at
from accord.schemas.codec import events_codec
from accord.schemas.messages.signals import SignalEmitted
from accord.schemas.messages.triggers import TriggerMatched

from accord import Accord, Event, replay
from accord.admin import Admin
from accord.settings import Settings
from accord.triggers import absence, sequence
from tests.agents.on_kafka import PARTITIONS, environment, silent_worker, worker_on
from tests.agents.support import run
from tests.agents.trigger_member import POINTS, declare, graph
from tests.counts import LONG, long, only_long
from tests.topics import fresh_prefix


@pytest.fixture(scope="module")
def settings(accord_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    data = tmp_path_factory.mktemp("worker")
    with worker_on(accord_kafka, data, "triggers", "signals", "tasks", "roster") as settings:
        yield settings


def recorded(settings: Settings, domain: str, kind: type[Any]) -> list[Any]:
    """Every event of a kind on the log."""
    with replay.open(settings) as log:
        source = log.source
        return [
            event
            for number in range(PARTITIONS)
            for record in source.read(domain, number, source.bounds(domain, number)[0])
            for event in events_codec(domain).decode(record.value)
            if isinstance(event, kind)
        ]


@long
@pytest.mark.parametrize("point", POINTS if LONG else POINTS[1:2])
def test_what_a_match_begins_is_begun_once_though_its_program_dies(
    point: str, settings: Settings, tmp_path: Path
) -> None:
    calls, runs = tmp_path / "calls", tmp_path / "runs"
    dying = subprocess.Popen(
        [sys.executable, "-m", "tests.agents.trigger_member", point, str(calls)],
        env=environment(settings),
        stdout=subprocess.PIPE,
    )
    assert dying.stdout is not None and dying.stdout.readline() == b"ready\n"

    async def main() -> None:
        async with Accord(settings=settings, agent="healthy") as hub:
            for _ in range(3):
                await hub.emit("failed", {"job": point})
            assert dying.wait(25) == -9
            async with hub.work(graph(runs)):
                await asyncio.to_thread(declare, hub, calls)
                (match_id, *_) = calls.read_text().split()
                while not runs.exists() or calls.read_text().split().count(match_id) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await hub.drain()

    try:
        run(main())
    finally:
        dying.kill()
        dying.communicate()
    called = Counter(calls.read_text().split())
    assert list(called.values()) == [2], "one match, and it was delivered again"
    assert runs.read_text().split() == [point], "one task, and it ran once"
    matches = [match for match in recorded(settings, "triggers", TriggerMatched) if match.by == point]
    assert len(matches) == 1 and len(matches[0].causes) == 3


UNANSWERED = sequence("asked", absence("answered")).by("id").within_ms(1_500).late_ms(0)


@only_long
@pytest.mark.parametrize("keeps_data", [True, False])
@pytest.mark.parametrize("hop", ["signal", "match"])
def test_a_worker_that_dies_before_it_told_of_something_tells_it_once(
    hop: str, keeps_data: bool, accord_kafka: str, tmp_path: Path
) -> None:
    """Of a signal, to the trigger; of a match, to its handler. Whoever comes after it tells it."""
    arguments: dict[str, Any] = {
        "kafka": {"bootstrap_servers": accord_kafka},
        "topics": {"prefix": fresh_prefix(accord_kafka, "triggers"), "partitions": PARTITIONS},
        "client": {"worker_wait_ms": 60_000, "worker_warning_ms": 1_000},
        "worker": {"data_dir": str(tmp_path / "data"), "domains": ["signals", "triggers"], "checkpoint_ms": 100},
    }
    settings, silent = Settings.load(**arguments), tmp_path / "silent"
    Admin(settings).init()
    found: list[tuple[str, str]] = []

    async def main() -> None:
        async with Accord(settings=settings, agent="ada") as hub:
            with silent_worker(arguments, silent):

                def unanswered(event_data: Any, match: Event) -> None:
                    found.append((event_data["key"], match.id))

                await asyncio.to_thread(hub.on(UNANSWERED, name="unanswered"), unanswered)
                if hop == "signal":
                    silent.touch()
                await hub.emit("asked", {"id": 1})
                if hop == "match":
                    await until_begun(settings)
                    silent.touch()
                await hub.emit("asked", {"id": 2})
                while hop == "match" and not recorded(settings, "triggers", TriggerMatched):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
                await asyncio.sleep(0.5)  # several times a checkpoint is due, which must not be written now
            silent.unlink()
            assert found == []
            if not keeps_data:
                arguments["worker"]["data_dir"] = str(tmp_path / "other")
            with silent_worker(arguments, silent):
                until_s = time.monotonic() + 60
                while len(found) < 2 and time.monotonic() < until_s:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await asyncio.sleep(1)

    asyncio.run(asyncio.wait_for(main(), 110))
    assert sorted(key for key, _ in found) == ["1", "2"] and len(dict(found)) == 2
    assert len(recorded(settings, "triggers", TriggerMatched)) == 2
    told = [event for event in recorded(settings, "signals", SignalEmitted) if event.agent == "trigger unanswered"]
    assert len(told) == 2
    with replay.open(settings) as log:
        assert log.verify().ok


async def until_begun(settings: Settings) -> None:
    """Waits until a key has begun."""
    while True:
        with replay.open(settings) as log:
            view = trigger_at(log.source, "unanswered")
        if view is not None and view.begun:
            return
        await asyncio.sleep(0.1)
