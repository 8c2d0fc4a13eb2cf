"""A stand-in for an API that takes one call at a time: who comes while it answers another gets 429."""

from __future__ import annotations

import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.faults.served import Served

CALL_S = 0.03


class Api(Served):
    """Serves on loopback while it is open as a context. `answered` and `rejected` count."""

    def __init__(self) -> None:
        self.answered = 0
        self.rejected = 0
        self._busy = threading.Lock()
        self._counting = threading.Lock()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                status = api._answer()
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                """Says nothing: the counters tell."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that is gone needs no answer."""

        super().__init__(Server(("127.0.0.1", 0), Handler))

    def _answer(self) -> HTTPStatus:
        if not self._busy.acquire(blocking=False):
            with self._counting:
                self.rejected += 1
            return HTTPStatus.TOO_MANY_REQUESTS
        try:
            time.sleep(CALL_S)
            with self._counting:
                self.answered += 1
        finally:
            self._busy.release()
        return HTTPStatus.OK
