"""How long a fault left a partition without service."""

from __future__ import annotations

from accord.schemas.topics import partition_of

from tests.faults.cluster import PARTITIONS
from tests.faults.history import Operation
from tests.faults.outages import Answers, Fault, handovers_ms, outages
from tests.faults.run import since_the_last_pass

KEYS = {
    partition: next(f"k{n}" for n in range(99) if partition_of(b"k%d" % n, PARTITIONS) == partition)
    for partition in range(PARTITIONS)
}
MS = 1_000_000


def answered(partition: int, asked_ms: int, ended_ms: int | None) -> Operation:
    ended_ns = None if ended_ms is None else ended_ms * MS
    return Operation("p", 1, "acquire", KEYS[partition], asked_ms * MS, ended_ns, ended_ms is not None)


def test_an_outage_lasts_until_every_partition_has_answered_what_was_asked_after_the_fault() -> None:
    operations = [
        answered(0, 5, 90),
        answered(0, 20, 50),
        answered(0, 30, 40),
        answered(1, 20, 80),
        answered(1, 60, None),
    ]
    assert Answers(operations).after(10 * MS) == {"locks/0": 40 * MS, "locks/1": 80 * MS}
    assert Answers(operations).after(25 * MS) == {"locks/0": 40 * MS}, "nobody has asked the other one"
    assert list(outages([Fault("kill", "w", 10 * MS)], operations)) == [("kill", 70, True, True)]
    assert list(outages([Fault("kill", "w", 99 * MS)], operations)) == [("kill", 0, True, True)]


def test_faults_that_meet_an_outage_do_not_stand_alone() -> None:
    operations = [answered(0, asked, asked + 15) for asked in (11, 31, 36, 61)]
    faults = [Fault("a", "", at_ms * MS) for at_ms in (10, 30, 35, 60)]
    found = [(outage.alone, outage.over) for outage in outages(faults, operations)]
    assert found == [(True, True), (True, False), (False, True), (True, True)]


def test_a_killed_holders_lock_comes_to_who_waits() -> None:
    def held(process: str, token: int, ended_ms: int, queued_ms: int | None = None) -> Operation:
        grant = Operation(process, token, "acquire", "room", 0, ended_ms * MS, True, token=token)
        grant.queued_ns = None if queued_ms is None else queued_ms * MS
        return grant

    kill = Fault("client kill", "a", 100 * MS, 100 * MS)
    first, waited = held("a", 1, 50), held("b", 2, 2_100, queued_ms=60)
    assert list(handovers_ms([kill], [waited, first])) == [2_000]
    assert list(handovers_ms([kill], [first, held("b", 2, 2_100, queued_ms=110)])) == [], "nobody waited then"
    release = Operation("a", 9, "release", "room", 90 * MS, None, token=1, of=1)
    assert list(handovers_ms([kill], [first, release, waited])) == [], "it was giving it back"
    another = Fault("kill", "w", 900 * MS, 4_000 * MS)
    assert list(handovers_ms([kill, another], [first, waited])) == []


def test_who_has_not_noted_that_it_has_passed_the_barrier_does_not_wait_at_it() -> None:
    def wait(process: str, began_ns: int, ended_ns: int | None = None) -> Operation:
        return Operation(process, 1, "wait", "gate", began_ns, ended_ns, ended_ns is not None)

    passed, late, again, dead = wait("c0", 5, 10), wait("c1", 3), wait("c2", 11), wait("c3", 12)
    assert since_the_last_pass([passed, late, again, dead], {"c3"}) == (10, [again])
