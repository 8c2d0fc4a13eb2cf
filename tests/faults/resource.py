"""A resource outside of Kafka, shared by the clients of a fault run: counters behind fencing tokens.

It listens on loopback. A client says its seat in a line, then asks with lines `KEY TOKEN` to read a counter or
`KEY TOKEN VALUE` to set it, and is answered with the value, or with `stale`. Reads are fenced too: without that, a
holder that wakes late could still overwrite what the next one has read. What was asked and what came of it is kept in
order, for the checker. `KEY` alone is a look without fence, of which nothing is kept.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections import Counter as Counts
from collections import defaultdict
from functools import partial

from accord import FencedResource, StaleToken
from tests.faults.checker import Write
from tests.faults.served import Served

CLOSE_TIMEOUT_S = 30.0


class Counters(Served):
    """Serves the counters while it is open as a context."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self._values: defaultdict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._fences: dict[str, FencedResource[[int | None], int]] = {}
        self._open: Counts[str] = Counts()
        self._closed = threading.Condition(self._lock)
        counters = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                seat = self.rfile.readline().decode().strip()
                counters._count(seat, 1)
                try:
                    for line in self.rfile:
                        self.wfile.write(counters._answer(seat, *line.decode().split()).encode() + b"\n")
                except ConnectionError:
                    pass  # it was killed; what it had asked was done
                finally:
                    counters._count(seat, -1)

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        super().__init__(server)

    def accepted(self, seat: str, key: str) -> int:
        """How often a client of this seat has set a counter. It is gone: what it had sent has been read to the end.

        Raises:
            RuntimeError: it is not.
        """
        with self._closed:
            if not self._closed.wait_for(lambda: not self._open[seat], CLOSE_TIMEOUT_S):
                raise RuntimeError(f"the client of seat {seat} still has a connection to the counters")
            return sum(
                write.accepted and write.value is not None and (write.seat, write.key) == (seat, key)
                for write in self.writes
            )

    def value(self, key: str) -> int:
        with self._lock:
            return self._values[key]

    def _count(self, seat: str, change: int) -> None:
        with self._closed:
            self._open[seat] += change
            self._closed.notify_all()

    def _answer(self, seat: str, key: str, token: str | None = None, value: str | None = None) -> str:
        with self._lock:
            if token is None:
                return str(self._values[key])
            fence = self._fences.get(key)
            if fence is None:
                fence = self._fences[key] = FencedResource(key, partial(self._apply, key))
            wanted = None if value is None else int(value)
            try:
                result = str(fence.write(int(token), wanted))
            except StaleToken:
                result = "stale"
            self.writes.append(Write(key, int(token), wanted, result != "stale", seat))
            return result

    def _apply(self, key: str, value: int | None) -> int:
        if value is not None:
            self._values[key] = value
        return self._values[key]


class Counter:
    """A client's end: one connection. Not for use by several threads at once."""

    def __init__(self, port: int, seat: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._file = self._socket.makefile("rw")
        self._file.write(f"{seat}\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, key: str, token: int, value: int | None = None) -> int | None:
        """Reads, or sets, a counter; None when the token is stale."""
        answer = self._say(f"{key} {token}" if value is None else f"{key} {token} {value}")
        return None if answer == "stale" else int(answer)

    def look(self, key: str) -> int:
        """Reads a counter, whatever its fence says."""
        return int(self._say(key))

    def _say(self, line: str) -> str:
        self._file.write(f"{line}\n")
        self._file.flush()
        return self._file.readline().strip()
