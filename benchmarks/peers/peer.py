"""What the peers have in common: their shape, and a server of theirs as a child process."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

START_S: Final = 60.0
STOP_S: Final = 20.0

Address = dict[str, Any]
"""What a client has to know to find the server."""


Cycle = Callable[[str], float]
"""Acquires the lock of that name, however long it takes, and releases it; returns, once that is answered, when it was
granted, in seconds of `time.perf_counter`."""


class Peer(NamedTuple):
    """A lock service.

    `durable` says what it has made durable when it answers; `lacking` what is not installed, None if it can run;
    `serve` runs it and gives its address; `client` makes of an address and the client's number what runs cycles.
    """

    name: str
    durable: str
    lacking: Callable[[], str | None]
    serve: Callable[[], AbstractContextManager[Address]]
    client: Callable[[Address, int], AbstractContextManager[Cycle]]


def lacking(module: str, *programs: str) -> str | None:
    """The first program, or the Python module, that is needed and not there."""
    for program in programs:
        if shutil.which(program) is None:
            return f"no {program} on PATH"
    try:
        found = find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        found = False
    return None if found else f"no Python module {module}; pip install -e '.[benchmarks]'"


@contextmanager
def directory(owner: str | None = None) -> Iterator[Path]:
    """A directory that is gone afterwards; another user's, if `owner` says so."""
    with tempfile.TemporaryDirectory(prefix="accord-peer-") as name:
        if owner is not None:
            user = pwd.getpwnam(owner)
            os.chown(name, user.pw_uid, user.pw_gid)
        yield Path(name)


@contextmanager
def server(command: Sequence[str], place: Path, answers: Callable[[], bool], user: str | None = None) -> Iterator[None]:
    """Runs a server until the end of the context.

    Args:
        place: its directory; its output goes to `server.out` there.
        answers: whether it serves yet.
        user: who it runs as; None: who we are.

    Raises:
        RuntimeError: it ended, or does not answer within `START_S`.
    """
    with (place / "server.out").open("ab") as output:
        process = subprocess.Popen(
            command, cwd=place, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **as_user(user)
        )
    try:
        deadline = time.monotonic() + START_S
        while not answers():
            if process.poll() is not None or time.monotonic() > deadline:
                said = (place / "server.out").read_text(errors="replace")[-2_000:]
                raise RuntimeError(f"{command[0]} does not serve (status {process.returncode}):\n{said}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def as_user(name: str | None) -> dict[str, Any]:
    """Arguments of `subprocess.run` that make a process another user's."""
    if name is None:
        return {}
    user = pwd.getpwnam(name)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def free_ports(count: int) -> list[int]:
    """Ports of loopback that are free now, all different."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def accepts(port: int) -> bool:
    """Whether anything accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
