"""Real Kafka, real processes: a few faults by default, with `ACCORD_LONG=1` (script/test --long) the full counts."""

from __future__ import annotations

import os

import msgspec
import pytest

from tests.faults.run import Plan, run

LONG = Plan(kills=50, freezes=20, client_freezes=5, broker_kills=3, broker_freezes=2, seconds_max=780)


@pytest.mark.timeout(1_200)
def test_nothing_is_lost_and_nothing_held_twice_under_faults() -> None:
    plan = LONG if os.environ.get("ACCORD_LONG") == "1" else Plan()
    report = run(plan)
    print(msgspec.json.format(msgspec.json.encode(report)).decode())
    assert report.violations == []
    assert report.faults["kill"] == plan.kills and report.faults["freeze"] == plan.freezes
    assert report.verify == "identical"
