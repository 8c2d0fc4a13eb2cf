"""What a disk that fails costs: the local copy of a table, and nothing else."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from accord.streams.runtime import table as table_module
from accord.streams.runtime.worker import EmbeddedWorker

from tests.counts import only_long
from tests.runtime.harness import Log, owned, states, until
from tests.runtime.test_worker import load, without_time


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "DISK_RETRY_S", 0.1)


@contextmanager
def no_room() -> Iterator[None]:
    """No file of this process can grow: each write ends in EFBIG, as it would in ENOSPC on a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def in_memory(worker: EmbeddedWorker) -> dict[int, str]:
    return worker.run(lambda w: w.processors["locks"].delivery.table.in_memory)


def checkpoints(worker: EmbeddedWorker) -> dict[int, int]:
    return {index: o.checkpoint.seq if o.checkpoint else 0 for index, o in owned(worker).items()}


def saved(worker: EmbeddedWorker) -> bool:
    return not any(o.owner.partition.changed for o in owned(worker).values())


def decide(log: Log, worker: EmbeddedWorker, count: int = 60) -> None:
    load(log, count)
    until(log.decided)
    until(lambda: saved(worker))


@only_long
def test_a_disk_without_room_costs_no_decision_and_no_checkpoint(real_log: Log) -> None:
    log = real_log
    with log.worker() as worker:
        decide(log, worker)
        before = checkpoints(worker)
        with no_room():
            decide(log, worker)
            assert in_memory(worker)
            assert all(checkpoints(worker)[index] > seq for index, seq in before.items())
        until(lambda: not in_memory(worker))
        decide(log, worker)
        found = states(worker)
        assert not any(o.halted for o in owned(worker).values())
    with log.worker() as worker:
        assert all(o.checkpoint is not None for o in owned(worker).values())
        assert without_time(states(worker)) == without_time(found)


def test_a_restart_on_a_disk_without_room_goes_on_from_the_changelog(real_log: Log) -> None:
    log = real_log
    with log.worker() as worker:
        decide(log, worker)
        found = states(worker)
    with no_room(), log.worker() as worker:
        assert in_memory(worker)
        assert all(o.checkpoint is not None for o in owned(worker).values())
        assert without_time(states(worker)) == without_time(found)


def test_a_worker_without_a_data_directory_decides_and_takes_it_once_it_is_there(real_log: Log) -> None:
    log = real_log
    place = log.data_dir / "w1"
    place.write_text("not a directory")
    with log.worker() as worker:
        decide(log, worker)
        assert in_memory(worker)
        place.unlink()
        until(lambda: not in_memory(worker))
        assert list(place.rglob("*.db"))


@only_long
@pytest.mark.parametrize("damaged", ["MANIFEST*", "*.sst"])
def test_a_damaged_local_copy_is_made_anew(real_log: Log, damaged: str) -> None:
    log = real_log
    with log.worker() as worker:
        decide(log, worker)
        found = states(worker)
    files = [path for path in (log.data_dir / "w1").rglob(damaged) if path.stat().st_size]
    for path in files:
        _spoil(path)
    assert files
    with log.worker() as worker:
        assert without_time(states(worker)) == without_time(found)
        decide(log, worker)
        found = states(worker)
    with log.worker() as worker:
        assert all(o.checkpoint is not None for o in owned(worker).values())
        assert without_time(states(worker)) == without_time(found)


@only_long
def test_a_data_directory_that_is_deleted_under_a_worker_is_made_anew(real_log: Log) -> None:
    log = real_log
    with log.worker() as worker:
        decide(log, worker)
        shutil.rmtree(log.data_dir / "w1")
        decide(log, worker)
        found = states(worker)
    with log.worker() as worker:
        assert all(o.checkpoint is not None for o in owned(worker).values())
        assert without_time(states(worker)) == without_time(found)


def _spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 4, len(content) * 3 // 4):
        content[place] ^= 0xFF
    path.write_bytes(content)
