"""A resource outside of Kafka, shared by the clients of a fault run: counters behind fencing tokens.

It listens on loopback. A client asks with a line `KEY TOKEN` to read a counter or `KEY TOKEN VALUE` to set it, and is
answered with the value, or with `stale`. Reads are fenced too: without that, a holder that wakes late could still
overwrite what the next one has read. What was asked and what came of it is kept in order, for the checker.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections import defaultdict
from functools import partial
from types import TracebackType
from typing import Self

from accord import FencedResource, StaleToken
from tests.faults.checker import Write


class Counters:
    """Serves the counters while it is open as a context."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self._values: defaultdict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._fences: dict[str, FencedResource[[int | None], int]] = {}
        counters = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    self.wfile.write(counters._answer(*line.decode().split()).encode() + b"\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="counters", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, key: str, token: str, value: str | None = None) -> str:
        with self._lock:
            fence = self._fences.get(key)
            if fence is None:
                fence = self._fences[key] = FencedResource(key, partial(self._apply, key))
            wanted = None if value is None else int(value)
            try:
                result = str(fence.write(int(token), wanted))
            except StaleToken:
                result = "stale"
            self.writes.append(Write(key, int(token), wanted, result != "stale"))
            return result

    def _apply(self, key: str, value: int | None) -> int:
        if value is not None:
            self._values[key] = value
        return self._values[key]


class Counter:
    """A client's end: one connection. Not for use by several threads at once."""

    def __init__(self, port: int) -> None:
        self._file = socket.create_connection(("127.0.0.1", port), timeout=30).makefile("rw")

    def ask(self, key: str, token: int, value: int | None = None) -> int | None:
        """Reads, or sets, a counter; None when the token is stale."""
        self._file.write(f"{key} {token}\n" if value is None else f"{key} {token} {value}\n")
        self._file.flush()
        answer = self._file.readline().strip()
        return None if answer == "stale" else int(answer)
