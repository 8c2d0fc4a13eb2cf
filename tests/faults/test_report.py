"""Reports of fault runs added up, and what the sum is held against."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from tests.faults.checker import Violation
from tests.faults.plan import KINDS, LEG_S, TIMED, Plan, legs
from tests.faults.report import Report, Sum, add, markdown, percentiles


def a_report(**changes: Any) -> Report:
    fields: dict[str, Any] = {field.name: 0 for field in msgspec.structs.fields(Report)}
    fields |= {
        "plan": {"seed": 7},
        "faults": {"kill": 2},
        "done": {"kills": 300, "client_kills": 200, "pauses": 200, "two_owners": 200, "broker_restarts": 20},
        "fault_seconds": 100.0,
        "fault_commands": 20_000,
        "outage_ms": {"kill": [4_000]},
        "second_outage_ms": {"kill": [9_000]},
        "met_ms": {"kill": [60_000]},
        "handover_ms": [2_500],
        "stale_writes": 5,
        "stale_refused": 5,
        "tasks": {},
        "failed": {},
        "verify": "identical",
        "load_average": 1.0,
        "seconds": 120.0,
        "violations": [],
    }
    return Report(**fields | changes)


def missed(total: Sum) -> list[str]:
    return [demand.name for demand in total.demands() if not demand.holds]


def test_reports_add_up() -> None:
    other = a_report(plan={"seed": 8}, outage_ms={"freeze": [5_000]}, second_outage_ms={}, fault_commands=30_000)
    total = add([a_report(), other])
    assert (total.runs, total.seeds, total.faults, total.done["kills"]) == (2, [7, 8], {"kill": 4}, 600)
    assert total.commands_per_s == 250
    assert total.outage_ms["kill"]["max"] == 4_000 and total.outage_ms["freeze"]["count"] == 1
    assert total.recovery_ms == percentiles([4_000, 9_000, 5_000])
    assert total.met_ms["count"] == 2
    assert missed(total) == []
    assert "| kill -9 of workers and clients | 1,000 | at least 500 | yes |" in markdown(total)


@pytest.mark.parametrize(
    ("changes", "demand"),
    [
        ({"done": {"kills": 300, "client_kills": 199}}, "kill -9 of workers and clients"),
        ({"fault_commands": 19_000}, "commands a second under faults"),
        ({"stale_refused": 4}, "stale tokens refused, of 100"),
        ({"verify": "different"}, "runs that verify as identical, of 100"),
        ({"second_outage_ms": {"kill": [20_000] * 9}}, "recovery p99, ms"),
        ({"stale_writes": 0, "stale_refused": 0}, "stale tokens refused, of 100"),
        ({"handover_ms": []}, "a killed holder's lock to who waits, p99, ms"),
        ({"handover_ms": [3_500]}, "a killed holder's lock to who waits, p99, ms"),
        ({"violations": [Violation("one_holder", "two")]}, "violations of mutual exclusion"),
        ({"violations": [Violation("acknowledged", "lost")]}, "acknowledged events lost"),
        ({"violations": [Violation("once", "twice")]}, "accepted duplicates"),
        ({"violations": [Violation("served", "late")]}, "other violations"),
    ],
)
def test_what_is_missed_is_told(changes: dict[str, Any], demand: str) -> None:
    assert demand in missed(add([a_report(**changes)]))


def test_a_report_is_read_back_as_it_was_written() -> None:
    report = a_report(plan=Plan(seed=3)._asdict(), violations=[Violation("served", "late")])
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_percentiles() -> None:
    assert percentiles([]) == {"p50": 0, "p99": 0, "max": 0, "count": 0}
    assert percentiles([3]) == {"p50": 3, "p99": 3, "max": 3, "count": 1}
    assert percentiles(range(1, 101)) == {"p50": 50, "p99": 99, "max": 100, "count": 100}


def test_a_plan_gives_each_fault_as_often_as_it_says_and_the_same_order_for_a_seed() -> None:
    plan = Plan(kills=3, cuts=2, full_disks=1)
    found = list(plan.faults(random.Random(5)))
    assert sorted(found) == sorted(
        ["kill"] * 3
        + ["cut"] * 2
        + ["full disk", "client kill", "client kill", "freeze", "client freeze", "broker kill"]
    )
    assert found == list(plan.faults(random.Random(5))) != list(plan.faults(random.Random(6)))
    again = plan._replace(seconds=60.0).faults(random.Random(5))
    assert [next(again) for _ in found] == found and next(again) in KINDS, "it goes on"


def test_a_long_run_has_legs_of_bounded_length_with_seeds_of_their_own() -> None:
    found = list(legs(20, TIMED._replace(seed=40)))
    assert [plan.seed for plan in found] == [40, 41, 42]
    assert sum(plan.seconds for plan in found) == 20 * 60 and max(plan.seconds for plan in found) < 1.5 * LEG_S
    assert all(plan.increments > 0 and plan.items > 0 for plan in found)
    counted = TIMED.kills + TIMED.client_kills, TIMED.freezes + TIMED.client_freezes, TIMED.broker_kills
    rounds = [wanted / count for wanted, count in zip((500, 200, 20), counted, strict=True)]
    assert max(rounds) < 20, "so many times the faults of one round are all that is wanted"
    assert max(rounds) * (TIMED.freezes + TIMED.cuts) > 200
