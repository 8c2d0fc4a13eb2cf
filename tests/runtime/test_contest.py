"""What a worker does when a contest for a partition is over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from accord.schemas.messages.locks import AcquireLock, LeaseExpired, LockGranted
from accord.schemas.topics import partition_of
from accord.streams.runtime.worker import Worker

from accord.errors import ChainBroken
from accord.mock import MockCluster
from tests.runtime.harness import PARTITIONS, Log, owned, until

LEASE_MS = 4_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with MockCluster() as mock:
        log = Log(mock.bootstrap_servers, tmp_path, mock)
        yield log
        log.close()


def test_ticks_under_way_are_sent_again(log: Log) -> None:
    """A tick that another worker decided during the contest leaves no trace here: the lease must still end."""
    index = partition_of(b"room", PARTITIONS)

    def contested_with_a_tick_under_way(worker: Worker) -> None:
        processor = worker.processors["locks"]
        mine = processor.owned[index]
        deadlines = mine.owner.partition.deadlines
        following = deadlines.next()
        assert following is not None
        assert list(deadlines.due(following)) == ["room"]
        mine.ticking["room"] = None
        mine.owner.contested = True
        settling.append(asyncio.ensure_future(processor._settled(index, mine)))

    settling: list[asyncio.Future[bool]] = []
    with log.worker() as worker:
        log.send("room", AcquireLock("tester", "tester/1", LEASE_MS, None))
        until(lambda: any(isinstance(event, LockGranted) for _, event in log.events()))
        until(owned(worker)[index].owner.partition.deadlines.next)
        worker.run(contested_with_a_tick_under_way)
        until(settling[0].done)
        assert settling[0].result() is True
        until(lambda: any(isinstance(event, LeaseExpired) for _, event in log.events()), 15)


def test_a_contest_that_cannot_be_settled_halts_its_partition_though_no_command_comes(log: Log) -> None:
    index = partition_of(b"room", PARTITIONS)

    async def torn(*_: object) -> bool:
        raise ChainBroken("the log is torn")

    def contested(worker: Worker) -> None:
        processor = worker.processors["locks"]
        processor._settle = torn  # type: ignore[method-assign]
        mine = processor.owned[index]
        mine.owner.contested, mine.reports = True, 1
        processor._reported(index, mine, mine.owner.partition.head.seq, None)

    with log.worker() as worker:
        log.send("room", AcquireLock("tester", "tester/1", LEASE_MS, None))
        until(lambda: any(isinstance(event, LockGranted) for _, event in log.events()))
        worker.run(contested)
        until(lambda: owned(worker)[index].halted is not None)
        assert "the log is torn" in str(owned(worker)[index].halted)
