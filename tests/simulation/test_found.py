"""Defects that the simulator has found, by schedules that showed them."""

from __future__ import annotations

import pytest
from accord.streams import checkpoint as cp
from accord.streams.chain import Decision

from accord.testing.simulation.faults import Fault
from accord.testing.simulation.quiet import quiet
from accord.testing.simulation.runs import build, failure_of

REBALANCES = [Fault(at_ms, "rebalance", "cluster") for at_ms in range(10_000, 60_000, 9_000)]


def test_a_changelog_that_fails_at_a_revocation_does_not_stop_the_worker() -> None:
    """The checkpoint before a partition is given up is a convenience for whoever takes it on."""
    faults = [Fault(5_000, "loss", "worker-0", 55_000, 60), *REBALANCES]
    failure = failure_of(1, drivers=["locks"], workers=1, partitions=1, pace=0.2, minutes=1.0, faults=faults)
    assert failure is None, failure


def test_a_damaged_table_is_written_anew() -> None:
    """A row is read again with each checkpoint; one that is none any more must not end all checkpoints."""
    cluster = build(1, drivers=["locks"], workers=1, partitions=1, pace=0.2, minutes=1.0, faults=[])
    root = cluster.auditor.truths["locks", 0].identity.root
    with quiet():
        cluster.run_until(30_000)
        stored = cluster.changelogs["locks"][0]
        before = cp.load(root, stored)
        rows = cluster.workers[0].app.tables["locks"]._rows[0]
        rows.update({key: b"\xc1" for key in rows if key != cp.CHECKPOINT_KEY})
        cluster.run()
    after = cp.load(root, stored)
    assert before is not None
    assert after is not None
    assert after.checkpoint.seq > before.checkpoint.seq


@pytest.mark.parametrize("told", [True, False], ids=["", "without the mark"])
def test_what_was_acknowledged_long_ago_is_not_sent_again(told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its table a partition does not know what was sent; ids are remembered for ten minutes, and a pattern that
    occurred before that must not occur again. So decisions say up to where all was acknowledged."""
    if not told:
        monkeypatch.setattr(Decision, "followed", 0)
    faults = [Fault(1_000_000, "lost_table", "cluster"), Fault(1_001_000, "rebalance", "cluster")]
    failure = failure_of(1, drivers=["triggers"], workers=2, partitions=2, pace=20.0, minutes=20.0, faults=faults)
    if told:
        assert failure is None, failure
    else:
        assert failure is not None
        assert "is taken twice" in str(failure)
