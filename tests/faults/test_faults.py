"""Real Kafka, real processes: a few faults by default, with `ACCORD_LONG=1` (script/test --long) the full counts."""

from __future__ import annotations

import os

import msgspec
import pytest

from tests.faults.run import Plan, Report, run

IS_LONG = os.environ.get("ACCORD_LONG") == "1"
LONG = Plan(
    kills=50,
    client_kills=10,
    freezes=20,
    client_freezes=5,
    broker_kills=3,
    broker_freezes=2,
    increments=800,
    items=200,
    seconds_max=780,
)
MANY = Plan(
    kills=10,
    client_kills=8,
    freezes=0,
    client_freezes=0,
    broker_kills=0,
    clients=20,
    increments=100,
    items=100,
    think_ms=400,
    pause_s_max=6,
)
"""Twenty processes count to 2,000, and ten of them call an API; slowly enough to meet all faults on their way."""


def checked(plan: Plan) -> Report:
    """Does a run, in which nothing may be wrong."""
    report = run(plan)
    print(msgspec.json.format(msgspec.json.encode(report)).decode())
    assert report.violations == []
    assert report.faults["kill"] == plan.kills
    assert report.faults["client kill"] > plan.client_kills, "one more at the barrier"
    assert report.verify == "identical"
    assert report.counted == plan.clients * plan.increments
    assert report.failed["acquire DeadlockVictim"] > 0, "the diners never met in a ring"
    return report


@pytest.mark.timeout(1_200)
def test_nothing_is_lost_and_nothing_held_twice_under_faults() -> None:
    plan = LONG if IS_LONG else Plan()
    assert checked(plan).faults["freeze"] == plan.freezes


@pytest.mark.skipif(not IS_LONG, reason="the run above has all of it in small; this one is for script/test --long")
@pytest.mark.timeout(900)
def test_twenty_processes_count_to_two_thousand_while_workers_and_clients_are_killed() -> None:
    assert checked(MANY).counted == 2_000
