"""One Kafka for all processes of a test run.

A run with pytest-xdist has several processes, and a broker for each would be started, kept warm and fed by the same
few cores. The first process that needs a Kafka starts a keeper, a process that holds it; the keeper ends it when no
process uses it any more, however they ended. Who uses it holds a named pipe open for writing: the keeper reads the end
of that pipe when the last one has closed it or died.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from accord.testing.broker import kafka_for_tests
from accord.testing.kafka_jars import KafkaUnavailable

START_S: Final = 120
ABANDONED_S: Final = 5
"""How often a keeper looks whether anybody has come at all: who started it may have died before."""


@contextmanager
def shared_kafka(folder: Path) -> Iterator[str]:
    """Gives the bootstrap servers of the Kafka that belongs to a folder; starts it if nobody has.

    Args:
        folder: one that all processes of the run can write to, and no other run uses.

    Raises:
        KafkaUnavailable: none could be started; the text says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        using = _join(folder)
        if using is None:
            using = _start(folder)
        servers = _address(folder).read_text()
    try:
        yield servers
    finally:
        os.close(using)


def keep(folder: Path) -> None:
    """Holds a Kafka until nobody uses it: what the keeper's process does."""
    with kafka_for_tests() as servers:
        _address(folder).write_text(servers)
        pipe = os.open(_pipe(folder), os.O_RDONLY | os.O_NONBLOCK)
        while True:
            select.select([pipe], [], [], ABANDONED_S)
            with _locked(folder):  # nobody can join while it is looked whether all have left
                if _nobody(pipe):
                    os.close(pipe)
                    return


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start(folder: Path) -> int:
    """Starts a keeper and joins it."""
    _pipe(folder).unlink(missing_ok=True)
    os.mkfifo(_pipe(folder))
    with (folder / "log").open("w") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "accord.testing.shared", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # an interrupt at the terminal is for its users, with whom it ends
        )
    deadline = time.monotonic() + START_S
    while (using := _join(folder)) is None:
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.kill()
            keeper.wait()
            raise KafkaUnavailable(f"The Kafka of this test run did not start.\n{(folder / 'log').read_text()}")
        time.sleep(0.02)
    return using


def _join(folder: Path) -> int | None:
    """Opens the pipe for writing; None when no keeper reads it."""
    try:
        return os.open(_pipe(folder), os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # it is not there, or nobody reads it
        return None


def _nobody(pipe: int) -> bool:
    """Whether no process holds the pipe open for writing."""
    try:
        return os.read(pipe, 1) == b""
    except BlockingIOError:
        return False


def _address(folder: Path) -> Path:
    return folder / "address"


def _pipe(folder: Path) -> Path:
    return folder / "users"


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
