"""Real Kafka, real processes: a few faults at once, the full counts in the long run."""

from __future__ import annotations

import msgspec
import pytest

from tests.counts import LONG, long
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
