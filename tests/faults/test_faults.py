"""Real Kafka, real processes: a few faults at once, the full counts in the long run."""

from __future__ import annotations

import msgspec
import pytest

from tests.counts import LONG, long, only_long
from tests.faults.run import Plan, Report, run

SHORT = Plan(client_kills=1, increments=40, items=18, think_ms=100, pause_s_max=1)
"""Every fault, and what only each third and each fourth kill brings."""
FULL = Plan(
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


@long
@pytest.mark.timeout(1_200)
def test_nothing_is_lost_and_nothing_held_twice_under_faults() -> None:
    plan = FULL if LONG else SHORT
    assert checked(plan).faults["freeze"] == plan.freezes


@only_long  # the run above has all of it in small
@pytest.mark.timeout(900)
def test_twenty_processes_count_to_two_thousand_while_workers_and_clients_are_killed() -> None:
    assert checked(MANY).counted == 2_000
