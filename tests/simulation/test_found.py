"""Defects that the simulator has found, by schedules that showed them."""

from __future__ import annotations

from accord.testing.simulation.faults import Fault
from accord.testing.simulation.runs import failure_of

REBALANCES = [Fault(at_ms, "rebalance", "cluster") for at_ms in range(10_000, 60_000, 9_000)]


def test_a_changelog_that_fails_at_a_revocation_does_not_stop_the_worker() -> None:
    """The checkpoint before a partition is given up is a convenience for whoever takes it on."""
    faults = [Fault(5_000, "loss", "worker-0", 55_000, 60), *REBALANCES]
    failure = failure_of(1, drivers=["locks"], workers=1, partitions=1, pace=0.2, minutes=1.0, faults=faults)
    assert failure is None, failure


def test_a_damaged_table_does_not_stop_the_worker() -> None:
    """A row is read again with each checkpoint; one that is none any more has all rows written anew."""
    torn = [Fault(at_ms - 500, "torn_table", "cluster", 0, n) for at_ms, *_ in REBALANCES for n in range(12)]
    failure = failure_of(
        1, drivers=["locks"], workers=1, partitions=1, pace=0.2, minutes=1.0, faults=[*torn, *REBALANCES]
    )
    assert failure is None, failure
