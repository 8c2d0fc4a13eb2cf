"""What an owner reads back before a checkpoint must be its own decisions, each one, up to its head."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from accord.schemas.headers import Confirmed, LogRecord
from accord.streams.domains import DOMAINS
from accord.streams.owner import Owner
from accord.streams.partition import Identity, Partition
from accord.streams.runtime import recovery

from accord.errors import ChainBroken

IDENTITY = Identity("cluster", "locks", 0)


def own_log(count: int, *, reason: int = 0) -> tuple[list[LogRecord], list[Confirmed]]:
    """A log of decisions on `count` commands that lack everything, and a pointer to each of them."""
    owner = Owner(Partition(IDENTITY, DOMAINS["locks"]), 0, None)
    appends = [owner.open(1, "log_append")]
    for offset in range(count):
        append = owner.take(LogRecord(offset, 1_000 + reason, 1, b"room", b"garbage"))
        assert append is not None
        appends.append(append)
    made = [append.decision for append in appends]
    records = [LogRecord(d.offset, d.now_ms, 1, d.key, d.value, d.headers(f"e{d.seq}", b"test", None)) for d in made]
    return records, [Confirmed(d.offset, d.seq, d.digest) for d in made]


class Log(list[LogRecord]):
    """What the brokers hold; the test fills it."""

    def read(self, _: str, __: int, start: int, end: int) -> Iterator[LogRecord]:
        yield from [record for record in self if start <= record.offset < end]

    def back(self, start: Confirmed | None, head: Confirmed) -> Confirmed:
        return recovery.read_back(self, "events", IDENTITY, start, head)  # type: ignore[arg-type]


@pytest.fixture
def log() -> Log:
    return Log()


def test_its_own_log_is_its_own(log: Log) -> None:
    records, pointers = own_log(5)
    log += records
    assert log.back(None, pointers[-1]) == pointers[-1]
    assert log.back(pointers[2], pointers[4]) == pointers[4]
    assert log.back(pointers[3], pointers[3]) == pointers[3]


def test_repeats_and_garbage_between_are_passed_over(log: Log) -> None:
    records, pointers = own_log(5)
    moved = [record._replace(offset=record.offset + (place > 2) * 2) for place, record in enumerate(records)]
    log += [
        *moved[:3],
        moved[1]._replace(offset=3),
        LogRecord(4, 0, 1, None, b"x", [("accord-chain", b"?")]),
        *moved[3:],
    ]
    head = pointers[-1]._replace(offset=pointers[-1].offset + 2)
    assert log.back(pointers[1], head) == head


def test_a_decision_that_is_missing_is_noticed(log: Log) -> None:
    records, pointers = own_log(5)
    log += [*records[:3], *records[4:]]
    with pytest.raises(ChainBroken, match="goes on to decision 3"):
        log.back(pointers[1], pointers[-1])


@pytest.mark.parametrize("place", [1, 5])
def test_another_decision_at_either_end_is_noticed(log: Log, place: int) -> None:
    records, pointers = own_log(5)
    others, _ = own_log(5, reason=1)
    log += [*records[:place], others[place], *records[place + 1 :]]
    with pytest.raises(ChainBroken):
        log.back(pointers[1], pointers[-1])


def test_a_head_at_another_offset_is_noticed(log: Log) -> None:
    records, pointers = own_log(5)
    log += [*records[:5], records[4]._replace(offset=5), records[5]._replace(offset=6)]
    with pytest.raises(ChainBroken):
        log.back(pointers[1], pointers[-1]._replace(offset=5))


def test_another_writers_fork_between_is_passed_over(log: Log) -> None:
    records, pointers = own_log(5)
    others, _ = own_log(5, reason=1)
    log += [*records[:5], others[5]._replace(offset=5), records[5]._replace(offset=6)]
    head = pointers[-1]._replace(offset=6)
    assert log.back(pointers[1], head) == head
