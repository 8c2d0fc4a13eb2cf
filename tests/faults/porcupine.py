"""Hands the histories of locks, limits and barriers to the Go program in `linearizability/`, which judges them.

What is said of a lease is said here. A hold that nobody released ends when its lease does, which no client sees. What
clients know is when it cannot have ended yet: while its holder saw it valid, and before `lease_ms` had passed since
it was asked for, for the log counts a lease from the grant, which is later. Off that goes `EARLY_MS`, by which a holder
stops believing, and then gives back, before the lease ends. Who was told that its lease was lost may have lost it for
other reasons, so there what it saw valid counts alone. How the Go program makes an order of that is told in `locks.go`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from tests.faults.checker import Violation
from tests.faults.history import Operation

SOURCE = Path(__file__).with_name("linearizability")
BINARY = Path(__file__).parents[2] / ".cache" / "linearizability"
EARLY_MS = 600
"""More than `locks.clock_step_ms`, the margin and the drift of `agents/leases` together, for leases of some seconds."""
BUILD_TIMEOUT_S = 300
JUDGE_TIMEOUT_S = 600
KINDS = {"acquire": "acquire", "take": "acquire", "release": "release", "give": "release", "wait": "wait"}
"""What the program calls the kinds of operations that it judges."""


class Verdict(msgspec.Struct):
    """`verdict` is `ok`, `violation` or `undecided`; else as `main.go` says."""

    key: str
    verdict: str
    steps: int
    placed: int
    stuck: list[str]


def go() -> str:
    """The Go command.

    Raises:
        RuntimeError: there is none.
    """
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found is None:
        raise RuntimeError("Histories are judged by a Go program, and there is no Go. Run script/setup, or install it.")
    return found


@cache
def build() -> None:
    """Builds the program, once in a process; Go does only what has changed.

    Raises:
        RuntimeError: it cannot be built.
    """
    BINARY.parent.mkdir(exist_ok=True)
    built = BINARY.with_suffix(f".{os.getpid()}")  # others may build or run it at the same time
    command = [go(), "build", "-buildvcs=false", "-o", str(built), "."]
    done = subprocess.run(
        command,
        cwd=SOURCE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{SOURCE} cannot be built:\n{done.stdout}{done.stderr}")
    built.replace(BINARY)


def judge(histories: list[dict[str, Any]]) -> list[Verdict]:
    """The verdicts on histories as `main.go` takes them, each on its own.

    Raises:
        RuntimeError: one cannot be read.
    """
    build()
    asked = msgspec.json.encode(histories)
    done = subprocess.run([BINARY], input=asked, capture_output=True, timeout=JUDGE_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the histories were not judged: {done.stderr.decode()}")
    return msgspec.json.decode(done.stdout, type=list[Verdict])


def linearizable(operations: Iterable[Operation]) -> Iterator[Violation]:
    """What the program finds in the histories of a run."""
    for verdict in judge(list(histories(operations))):
        if verdict.verdict != "ok":
            stuck = "; ".join(verdict.stuck)
            text = f"{verdict.key}: {verdict.verdict} after {verdict.placed} of {verdict.steps} steps; next: {stuck}"
            yield Violation("linearizable", text)


def histories(operations: Iterable[Operation]) -> Iterator[dict[str, Any]]:
    """The operations of each lock, limit and barrier, for the program."""
    by_key: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.kind in KINDS:
            by_key[operation.key].append(operation)
    for key, mine in by_key.items():
        numbers = {(o.process, o.op): number for number, o in enumerate(mine, start=1)}
        releases = {(o.process, o.of): o for o in mine if KINDS[o.kind] == "release"}
        yield {
            "key": key,
            "model": "barrier" if mine[0].kind == "wait" else "lock",
            "parties": mine[0].parties,
            "operations": [
                {
                    "id": numbers[o.process, o.op],
                    "kind": KINDS[o.kind],
                    "name": str(o),
                    "outcome": _outcome(o),
                    "invoked_ns": o.invoked_ns,
                    "ended_ns": None if _outcome(o) == "unknown" else o.ended_ns,
                    "permits": o.permits,
                    "token": o.token or 0,
                    "lease_ns": _lease_ns(o, releases.get((o.process, o.op))),
                    "of": numbers.get((o.process, o.of), 0),
                    "place": o.place or 0,
                }
                for o in mine
            ],
        }


def _outcome(operation: Operation) -> str:
    if operation.ok:
        return "ok"
    if operation.error in ("LockTimeout", "DeadlockVictim") and operation.position:
        return "denied"
    if operation.error == "BrokenBarrier" and operation.position:
        return "broken"
    if operation.error in ("LeaseLost", "NotOwner") and KINDS[operation.kind] == "release":
        return "lost"
    return "unknown"


def _lease_ns(grant: Operation, release: Operation | None) -> int:
    """The earliest moment at which a hold can have ended without a release."""
    seen_ns = grant.belief[1] if grant.belief else grant.invoked_ns
    if release is not None and _outcome(release) == "lost":
        return seen_ns
    return max(seen_ns, grant.invoked_ns + (grant.lease_ms - EARLY_MS) * 1_000_000)
