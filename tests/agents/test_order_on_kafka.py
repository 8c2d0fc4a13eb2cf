"""Order on a real Kafka: subscribers that die while they are called, workers that die while they decide."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from accord.schemas.topics import partition_of

from accord import replay, sync
from accord.admin import Admin
from accord.settings import Settings
from accord.testing.simulation.judges.orders import causal_violations, total_violations
from tests.agents.on_kafka import PARTITIONS, environment, silent_worker, worker_on
from tests.agents.order_member import declare
from tests.agents.support import until
from tests.counts import only_long

EVENTS = 40


@pytest.fixture(scope="module")
def settings(accord_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with worker_on(accord_kafka, tmp_path_factory.mktemp("worker"), "signals") as settings:
        yield settings


def names_in_all_partitions(stem: str) -> list[str]:
    found: dict[int, str] = {}
    for number in range(100):
        name = f"{stem}-{number}"
        found.setdefault(partition_of(name.encode(), PARTITIONS), name)
    return list(found.values())


class Run:
    """What was emitted, by two agents that each wait for every event of their own, and what was given to whom."""

    def __init__(self, stem: str, seen: Path) -> None:
        self.names = names_in_all_partitions(stem)
        self.group = f"group-{stem}"
        self.seen = seen
        self.causes: dict[str | int, set[str | int]] = {}
        self.grouped: set[str] = set()

    def emit(self, hub: sync.Accord, count: int) -> None:
        """Each event is caused by all that this agent emitted before; those in the group are not waited for."""
        mine: set[str | int] = set()
        for number in range(count):
            receipt = hub.emit(self.names[number % len(self.names)], {"n": number})
            self.grouped.add(hub.emit("step", {"n": number}, group=self.group).id)
            receipt.wait()
            self.causes[receipt.id] = set(mine)
            mine.add(receipt.id)

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.seen.read_text().splitlines()] if self.seen.exists() else []

    @property
    def is_over(self) -> bool:
        given = {id_ for _, id_, _ in self.lines()}
        return given >= self.grouped | {str(event) for event in self.causes}

    def judge(self) -> None:
        lines = self.lines()
        causal = [id_ for kind, id_, _ in lines if kind == "causal"]
        assert causal_violations(causal, self.causes) == []
        numbered = [(int(kind), id_) for kind, id_, _ in lines if kind != "causal"]
        assert total_violations({"reader": numbered}) == []
        assert set(causal) == set(self.causes) and {id_ for _, id_ in numbered} == self.grouped
        known: set[str] = set()
        for _, id_, redelivered in lines:
            assert id_ not in known or redelivered == "1", "what is given again says so"
            known.add(id_)


def member(run: Run, settings: Settings, dies_after: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.agents.order_member"]
    started = subprocess.Popen(
        [*command, str(run.seen), ",".join(run.names), run.group, str(dies_after)],
        env=environment(settings),
        stdout=subprocess.PIPE,
    )
    assert started.stdout is not None and started.stdout.readline() == b"ready\n"
    return started


def died(process: subprocess.Popen[bytes]) -> None:
    try:
        assert process.wait(30) == -9
    finally:
        process.kill()
        process.communicate()


def test_a_subscriber_that_dies_is_followed_by_one_that_goes_on_in_order(settings: Settings, tmp_path: Path) -> None:
    run = Run("once", tmp_path / "seen")
    dying = member(run, settings, EVENTS)
    with sync.Accord(settings=settings, agent="ada") as ada, sync.Accord(settings=settings, agent="bob") as bob:
        both = [threading.Thread(target=run.emit, args=(hub, EVENTS // 2)) for hub in (ada, bob)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        died(dying)
        declare(ada, run.seen, run.names, run.group)
        until(lambda: run.is_over, 20)
    run.judge()


@only_long
def test_subscribers_and_workers_that_die(accord_kafka: str, tmp_path: Path) -> None:
    """Three subscribers, one after the other, and two workers, while two agents emit."""
    arguments: dict[str, Any] = {
        "kafka": {"bootstrap_servers": accord_kafka},
        "topics": {"prefix": f"order-{uuid4().hex[:8]}", "partitions": PARTITIONS},
        "client": {"worker_wait_ms": 60_000},
        "worker": {
            "data_dir": str(tmp_path / "data"), "domains": ["signals"], "session_timeout_ms": 2_000,
            "checkpoint_ms": 200,
        },
    }  # fmt: skip
    settings = Settings.load(**arguments)
    Admin(settings).init()
    run, silent = Run("often", tmp_path / "seen"), tmp_path / "silent"
    with sync.Accord(settings=settings, agent="ada") as ada, sync.Accord(settings=settings, agent="bob") as bob:
        both = [threading.Thread(target=run.emit, args=(hub, 300)) for hub in (ada, bob)]
        with silent_worker(arguments, silent):
            dying = member(run, settings, 100)
            for thread in both:
                thread.start()
            died(dying)
            dying = member(run, settings, 250)
        with silent_worker(arguments, silent):
            died(dying)
            dying = member(run, settings, 400)
            died(dying)
            for thread in both:
                thread.join()
            declare(bob, run.seen, run.names, run.group)
            until(lambda: run.is_over, 60)
    run.judge()
    with replay.open(settings) as log:
        assert log.verify().ok
