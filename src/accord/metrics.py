"""Figures of a process for Prometheus: where they are kept, and how they are read.

Each process has registries of its own making, none is the library's global one: several workers or hubs may live in one
process. Names follow Prometheus: base units (seconds, bytes), `_total` for what only grows. No label holds what users
name freely and without bound: locks, tasks, keys.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, make_wsgi_app
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from accord.errors import ConfigError

__all__ = ["CONTENT_TYPE", "SECONDS", "CollectorRegistry", "new_registry", "serve", "text"]

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bounds of the buckets of durations, from a hop over the log to a model's answer."""


def new_registry() -> CollectorRegistry:
    """A registry with what every process tells: CPU, memory, open files, start time, garbage, Python's version."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def text(registry: CollectorRegistry) -> bytes:
    """What Prometheus reads."""
    return generate_latest(registry)


Page = Callable[[], tuple[int, Mapping[str, Any]]]
"""Gives an HTTP status and what is answered as JSON; called in a thread of the server's."""


def serve(
    registry: CollectorRegistry, host: str, port: int, pages: Mapping[str, Page] | None = None
) -> tuple[int, Callable[[], None]]:
    """Answers `GET /metrics`, and what else is named, in threads of its own.

    Args:
        port: 0: a free one.
        pages: by path, as `/health`.

    Returns:
        The port, and what ends it.

    Raises:
        ConfigError: it cannot be listened there.
    """
    figures, known = make_wsgi_app(registry), dict(pages or {})

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        page = known.get(environ["PATH_INFO"])
        if page is None and environ["PATH_INFO"] in ("/", "/metrics"):
            found: Iterable[bytes] = figures(environ, start)
            return found
        status, told = page() if page is not None else (404, {"error": "there are: " + ", ".join(["/metrics", *known])})
        body = json.dumps(told).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start(f"{status} {HTTPStatus(status).phrase}", headers)
        return [body]

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        server = make_server(host, port, app, Server, handler_class=_Quiet)
    except OSError as error:
        raise ConfigError(
            f"Metrics: {host}:{port} cannot be listened at: {error.strerror or error}.",
            remedy="Take another metrics_port; 0 is none.",
        ) from None
    thread = threading.Thread(target=server.serve_forever, name="accord-metrics", daemon=True)
    thread.start()

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, end


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """A line a look of Prometheus's would be no use."""
