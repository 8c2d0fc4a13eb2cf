"""Waits are told and deadlocks broken by real workers, whichever of them dies before it has said all."""

from __future__ import annotations

import pytest
from accord.schemas.messages.locks import AcquireLock, DeadlockBroken, LockQueued, WithdrawRequest
from accord.schemas.messages.waits import DeadlockFound, WaitsForgotten, WaitsReported
from accord.schemas.topics import partition_of
from accord.streams.runtime import followups, processor
from accord.streams.runtime import waits as reports

from tests.runtime.harness import PARTITIONS, Log, until

BOTH = ("locks", "waits")
HERE = next(name for name in ("a", "b", "c", "d") if partition_of(name.encode(), PARTITIONS) == 0)
THERE = next(name for name in ("a", "b", "c", "d") if partition_of(name.encode(), PARTITIONS) == 1)


def ask(log: Log, name: str, owner: str) -> str:
    return log.send(name, AcquireLock("tester", owner, 60_000, None))


def half_a_ring(log: Log) -> str:
    """Chain 1 holds one lock and waits for the other, which chain 2 holds; returns the request that waits."""
    ask(log, HERE, "1/1")
    ask(log, THERE, "2/1")
    return ask(log, THERE, "1/1/1")


def broken(log: Log) -> list[DeadlockBroken]:
    return [event for _, event in log.events() if isinstance(event, DeadlockBroken)]


def told(log: Log, kind: type) -> int:
    return sum(isinstance(event, kind) for _, event in log.events("waits"))


def test_a_ring_over_two_partitions_is_broken(log: Log) -> None:
    with log.worker(domains=BOTH):
        half_a_ring(log)
        victim = ask(log, HERE, "2/1/1")
        until(lambda: broken(log))
    (event,) = broken(log)
    assert event.request == victim
    assert [(wait.owner, wait.name) for wait in event.cycle] == [("2/1/1", HERE), ("1/1/1", THERE)]
    assert told(log, DeadlockFound) == 1


def test_nothing_is_told_of_who_holds_nothing_else(real_log: Log) -> None:
    with real_log.worker(domains=BOTH):
        for name in (HERE, THERE):
            for chain in ("1", "2", "3"):
                ask(real_log, name, f"{chain}{name}/1")
        until(real_log.decided)
    assert len([event for _, event in real_log.events() if isinstance(event, LockQueued)]) == 4
    assert real_log.events("waits") == []


def test_what_a_worker_did_not_come_to_tell_the_next_one_tells(real_log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as mute:
        mute.setattr(reports.WaitReports, "take", lambda *_: [])
        with real_log.worker(domains=BOTH):
            half_a_ring(real_log)
            ask(real_log, HERE, "2/1/1")
            until(real_log.decided)
    assert told(real_log, WaitsReported) == 0
    with real_log.worker(domains=BOTH):
        until(lambda: broken(real_log))
    assert told(real_log, WaitsForgotten) >= PARTITIONS


def test_a_wait_that_ended_while_nobody_told_is_forgotten(real_log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chain 1 stops waiting, unseen; then chain 2 waits for what chain 1 holds: no ring."""
    with real_log.worker(domains=BOTH):
        waiting = half_a_ring(real_log)
        until(lambda: told(real_log, WaitsReported) == 1)
    with monkeypatch.context() as mute:
        mute.setattr(reports.WaitReports, "take", lambda *_: [])
        mute.setattr(reports.WaitReports, "anew", lambda *_: [])
        with real_log.worker(domains=BOTH):
            real_log.send(THERE, WithdrawRequest("tester", waiting))
            ask(real_log, HERE, "2/1/1")
            until(real_log.decided)
    with real_log.worker(domains=BOTH):
        until(lambda: told(real_log, WaitsForgotten) >= PARTITIONS and told(real_log, WaitsReported) >= 2)
    assert told(real_log, DeadlockFound) == 0


def test_what_follows_from_a_deadlock_is_sent_by_the_next_worker(
    real_log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker dies between the confirmed decision and the command that follows from it."""
    send = followups.Followups.send
    with monkeypatch.context() as cut:
        cut.setattr(processor, "REVOKE_S", 0.2)
        with real_log.worker(domains=BOTH, checkpoint_ms=60_000) as worker:
            half_a_ring(real_log)
            until(lambda: told(real_log, WaitsReported) == 1)
            waits = worker.run(lambda w: [one.followups for one in w.processors["waits"].owned.values()])
            cut.setattr(
                followups.Followups, "send", lambda one, confirmed: None if one in waits else send(one, confirmed)
            )
            ask(real_log, HERE, "2/1/1")
            until(lambda: told(real_log, DeadlockFound) == 1)
    assert broken(real_log) == []
    with real_log.worker(domains=BOTH):
        until(lambda: broken(real_log))
    assert len(broken(real_log)) == 1
