"""What stands outside of Kafka in a fault run: a server on loopback, in a thread of its own."""

from __future__ import annotations

import threading
from socketserver import BaseServer
from types import TracebackType
from typing import Any, Self


class Served:
    """Serves while it is open.

    Args:
        server: listens on a port of its own choice.
    """

    def __init__(self, server: BaseServer) -> None:
        self._server: Any = server

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name=type(self).__name__, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
