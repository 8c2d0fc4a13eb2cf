"""Real Kafka, real processes: some faults a day, all of them and their full counts in the long run."""

from __future__ import annotations

import msgspec
import pytest

from tests.counts import only_long
from tests.faults.disk import may_mount
from tests.faults.plan import Plan
from tests.faults.report import Report
from tests.faults.run import run

DAILY = Plan(
    kills=1,
    client_kills=1,
    freezes=0,
    client_freezes=0,
    cuts=1,
    broker_kills=0,
    increments=8,
    items=4,
    think_ms=200,
    gate=False,
    pause_s_max=0.5,
)
"""A worker is killed, one is cut off and so becomes a second owner, and a client is killed."""
EVERY = Plan(
    kills=4,
    client_kills=1,
    cuts=2,
    client_cuts=1,
    drops=1,
    delays=1,
    full_disks=1,
    joins=1,
    upgrades=1,
    broker_freezes=1,
    increments=100,
    items=40,
    load_per_s=60,
    pause_s_max=1,
    seconds_max=400,
)
"""Every fault, and what only each third and each fourth kill brings."""
FULL = Plan(
    kills=10,
    client_kills=3,
    freezes=5,
    client_freezes=2,
    broker_kills=1,
    broker_freezes=1,
    increments=200,
    items=60,
    seconds_max=300,
)
"""Hundreds of each come in the runs by themselves; docs/reliability.md has their figures."""


def checked(plan: Plan) -> Report:
    """Does a run, in which nothing may be wrong."""
    report = run(plan)
    print(msgspec.json.format(msgspec.json.encode(report)).decode())
    assert report.violations == []
    for kind, count in plan.counts().items():
        assert report.faults.get(kind, 0) >= (0 if kind == "full disk" and not may_mount() else count), kind
    assert report.stale_refused == report.stale_writes
    assert report.verify == "identical"
    assert report.counted == plan.clients * plan.increments
    return report


@pytest.mark.timeout(240)
def test_nothing_is_lost_and_nothing_held_twice_when_a_worker_dies_and_one_is_cut_off() -> None:
    report = checked(DAILY)
    assert report.done["two_owners"] == 1
    assert report.grants > 0 and report.passed > 0


@only_long
@pytest.mark.timeout(900)
def test_each_kind_of_fault() -> None:
    report = checked(EVERY)
    assert report.done["stopped_at_unknown_rules"] == 1
    assert report.done["two_owners"] >= 2
    assert report.failed["acquire DeadlockVictim"] > 0, "the diners never met in a ring"


@only_long
@pytest.mark.timeout(1_200)
def test_many_kills_and_second_owners() -> None:
    report = checked(FULL)
    assert report.faults["client kill"] > FULL.client_kills, "one more at the barrier"
    assert report.stale_writes > 0, "nobody came late"
