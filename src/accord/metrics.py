"""Figures of a process for Prometheus: where they are kept, and how they are read.

Each process has registries of its own making, none is the library's global one: several workers or hubs may live in one
process. Names follow Prometheus: base units (seconds, bytes), `_total` for what only grows. No label holds what users
name freely and without bound: locks, tasks, keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server
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


def serve(registry: CollectorRegistry, host: str, port: int) -> tuple[int, Callable[[], None]]:
    """Answers `GET /metrics` in a thread of its own.

    Args:
        port: 0: a free one.

    Returns:
        The port, and what ends it.

    Raises:
        ConfigError: it cannot be listened there.
    """
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigError(
            f"Metrics: {host}:{port} cannot be listened at: {error.strerror or error}.",
            remedy="Take another metrics_port; 0 is none.",
        ) from None

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, end
