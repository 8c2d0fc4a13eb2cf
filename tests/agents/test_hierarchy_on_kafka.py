"""Three levels, twenty-two agents in five processes on a real Kafka: one manager is away, another is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from accord.replay.hierarchy import organisation_at
from accord.replay.history import History, everything
from accord.streams.partition import Decided

from accord import Member, replay, sync
from accord.settings import Settings
from tests.agents.authority_member import MANAGER, OWN, TOP
from tests.agents.on_kafka import environment, worker_on
from tests.authority import Judge
from tests.counts import only_long

MANAGERS = ("north", "east", "south")
WORKERS = {manager: [f"{manager}-{n}" for n in range(6)] for manager in MANAGERS}
ANSWER_MS = 3_000
ACME = (
    Member("top", None, {"spend": TOP}, answer_ms=20_000),
    Member("north", "top", {"spend": MANAGER}, answer_ms=ANSWER_MS),
    Member("east", "top", {"spend": MANAGER}, deputy="south", answer_ms=20_000),
    Member("south", "top", {"spend": MANAGER}, answer_ms=20_000),
    *[Member(name, manager, {"spend": OWN}) for manager, names in WORKERS.items() for name in names],
)
"""north is killed, east is away."""


@pytest.fixture(scope="module")
def settings(accord_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with worker_on(accord_kafka, tmp_path_factory.mktemp("worker"), "hierarchy", "signals") as settings:
        yield settings


class Judged(History[Judge]):
    """Each organisation's events, judged."""

    def see(self, decided: Decided) -> None:
        key, _ = self.place(decided)
        for event in decided.events:
            self.kept.setdefault(key, Judge()).see(decided.decision.now_ms, event)


def member(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.agents.authority_member", *arguments],
        env=environment(settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@only_long
@pytest.mark.timeout(180)
def test_three_levels_a_manager_away_and_one_killed(settings: Settings) -> None:
    with ExitStack() as stack:
        answering = [
            stack.enter_context(member(settings, role, "acme", *names))
            for role, names in (("answers", ["top"]), ("answers", ["south", "east"]), ("dies", ["north"]))
        ]
        for process in answering:
            stack.callback(process.kill)
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        with sync.Accord(settings=settings, agent="owner") as hub:
            acme = hub.hierarchy("acme")
            acme.define(ACME)
            acme.absent("east", reason="ill")
            halves = [*WORKERS["north"], *WORKERS["east"][:3]], [*WORKERS["east"][3:], *WORKERS["south"]]
            working = [stack.enter_context(member(settings, "works", "acme", *names)) for names in halves]
            for process in working:
                stack.callback(process.kill)
            found = [
                json.loads(line) for process in working for line in process.communicate(timeout=90)[0].splitlines()
            ]
        assert answering[2].wait(5) == -9, "north was killed while it was asked"
        for process in answering[:2]:
            process.communicate(timeout=30)
    ways = {
        "north": [["north", "north", "timeout"], ["top", "top", "decided"]],
        "east": [["east", "east", "absent"], ["east", "south", "decided"]],
        "south": [["south", "south", "decided"]],
    }
    deciders = {"north": "top", "east": "south", "south": "south"}
    expected: list[dict[str, Any]] = [
        {"name": name, "refused": 3, "decider": deciders[manager], "way": ways[manager], "beyond": "defaulted"}
        for manager, names in WORKERS.items()
        for name in names
    ]
    assert sorted(found, key=lambda one: one["name"]) == sorted(expected, key=lambda one: one["name"])
    with replay.open(settings) as log:
        judge = dict(everything(log.source, "hierarchy", Judged))["acme"]
        view = organisation_at(log.source, "acme")
    assert not judge.faults and not judge.open and judge.made == 2 * 18
    assert view is not None and (view.made, view.defaulted, view.refused) == (36, 18, 54)
    top, middle, low = view.levels
    assert (top.decided, middle.decided, low.decided, low.own) == (6, 12, 18, 18)
    assert (middle.by_deputy, middle.reached, middle.passed, middle.escalation_rate) == (6, 18, 6, 0.333)
    assert (top.success_rate, middle.success_rate) == (1.0, 1.0)
