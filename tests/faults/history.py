"""What a client of a fault run saw: JSON, a line before and a line after every operation.

`CLOCK_MONOTONIC` is one clock for all processes of a machine, so times of different clients compare. A line is one
`write` to a file opened for appending: it outlives a kill -9 of its process.
"""

from __future__ import annotations

import os
import time
from itertools import takewhile
from pathlib import Path

import msgspec


class Line(msgspec.Struct, omit_defaults=True):
    """One thing that a client noted.

    `stage` is `invoke`, `ok`, `fail` (`error` is its class, `text` for people; with `position` if the log says so) or,
    for an acquire, `queued` and `belief`: the grant was valid both at `since_ns` and at `at_ns`. `op` counts the
    operations of the process. `at_ns` is monotonic, `wall_ms` since 1970. An acquire has its `lease_ms` and `permits`
    (None is alone, 0 with any number), a release the `op` of its acquire as `of`, a wait at a barrier its `place` and
    the `parties`.
    """

    op: int
    stage: str
    at_ns: int
    wall_ms: int
    kind: str = ""
    key: str = ""
    token: int | None = None
    position: str = ""
    message_id: str = ""
    error: str = ""
    text: str = ""
    since_ns: int | None = None
    permits: int | None = None
    lease_ms: int = 0
    of: int = 0
    place: int | None = None
    parties: int = 0


class Operation(msgspec.Struct):
    """An operation of a client, its lines put together. `ended_ns` is None while nobody knows how it ended."""

    process: str
    op: int
    kind: str
    key: str
    invoked_ns: int
    ended_ns: int | None = None
    ok: bool = False
    error: str = ""
    token: int | None = None
    position: str = ""
    message_id: str = ""
    belief: tuple[int, int] | None = None
    queued_ns: int | None = None
    permits: int | None = None
    lease_ms: int = 0
    of: int = 0
    place: int | None = None
    parties: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.key} ({self.process} #{self.op}, token {self.token}, {self.position or 'no position'})"
        )


class History:
    """Writes the history of one process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._count = 0

    def invoke(self, kind: str, key: str, **terms: int | None) -> int:
        """Notes that an operation begins, with terms of it as `Line` has them; returns its number."""
        self._count += 1
        self._write(self._line(self._count, "invoke", kind=kind, key=key, **terms))
        return self._count

    def queued(self, op: int) -> None:
        """Notes that an acquire waits in the queue, by the log."""
        self._write(self._line(op, "queued"))

    def ok(
        self, op: int, *, token: int | None = None, position: str = "", message_id: str = "", place: int | None = None
    ) -> None:
        self._write(self._line(op, "ok", token=token, position=position, message_id=message_id, place=place))

    def fail(self, op: int, error: str, text: str = "", position: str = "") -> None:
        self._write(self._line(op, "fail", error=error, text=text, position=position))

    def belief(self, op: int, since_ns: int, until_ns: int) -> None:
        """Notes that the grant of acquire `op` was seen valid at both times."""
        line = self._line(op, "belief", since_ns=since_ns)
        line.at_ns = until_ns
        self._write(line)

    def _line(self, op: int, stage: str, **fields: object) -> Line:
        return Line(op, stage, time.monotonic_ns(), time.time_ns() // 1_000_000, **fields)  # type: ignore[arg-type]

    def _write(self, line: Line) -> None:
        os.write(self._file, msgspec.json.encode(line) + b"\n")


class Reader:
    """Reads the history of one process, while it is written and afterwards."""

    def __init__(self, process: str, path: Path) -> None:
        self._process = process
        self._path = path
        self._offset = 0
        self._operations: dict[int, Operation] = {}
        self._decode = msgspec.json.Decoder(Line).decode

    def operations(self, since_ns: int = 0) -> list[Operation]:
        """The operations so far, in the order of their begin. Reads what was added since the last call.

        Args:
            since_ns: leaves out those that began before.
        """
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # being written
                    self._offset += len(line)
                    self._add(self._decode(line))
        found = takewhile(lambda operation: operation.invoked_ns >= since_ns, reversed(self._operations.values()))
        return list(found)[::-1]

    def _add(self, line: Line) -> None:
        if line.stage == "invoke":
            self._operations[line.op] = Operation(
                self._process,
                line.op,
                line.kind,
                line.key,
                line.at_ns,
                token=line.token,
                permits=line.permits,
                lease_ms=line.lease_ms,
                of=line.of,
                parties=line.parties,
            )
            return
        operation = self._operations[line.op]
        if line.stage == "queued":
            operation.queued_ns = line.at_ns
            return
        if line.stage == "belief":
            assert line.since_ns is not None
            since_ns = operation.belief[0] if operation.belief else line.since_ns
            operation.belief = since_ns, line.at_ns
            return
        operation.ended_ns, operation.ok, operation.error = line.at_ns, line.stage == "ok", line.error
        if line.token is not None:
            operation.token = line.token
        operation.position, operation.message_id, operation.place = line.position, line.message_id, line.place
