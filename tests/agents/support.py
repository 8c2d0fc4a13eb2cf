"""What several tests of the client need."""

import asyncio
import contextvars
import time
from collections.abc import Callable, Coroutine
from typing import Any

from accord.agents.hub import Hub
from accord.agents.leases.leases import Hold

from accord.mock import FETCH_WAIT_MS, PARTITIONS_DEFAULT, MockCluster
from accord.settings import Settings


def settings_for(cluster: MockCluster, prefix: str) -> Settings:
    """Settings for topics on a mock cluster, with short waits."""
    return Settings.load(
        kafka={
            "bootstrap_servers": cluster.bootstrap_servers,
            "fetch_wait_ms": FETCH_WAIT_MS,
            "idempotent": False,
            "connect_timeout_ms": 500,
        },
        topics={"prefix": prefix, "partitions": PARTITIONS_DEFAULT},
        client={"worker_wait_ms": 600, "worker_warning_ms": 200},
    )


def with_(settings: Settings, group: str, **values: Any) -> Settings:
    """The settings with some values of a group replaced."""
    return settings.model_copy(update={group: getattr(settings, group).model_copy(update=values)})


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    """Waits for something to become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a test's main; it must not hang."""
    asyncio.run(asyncio.wait_for(main, 30))


def detached(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """As a task that was not started by who holds something."""
    return asyncio.create_task(work, context=contextvars.Context())


async def queued(hub: Hub, count: int) -> None:
    """Waits until so many requests of the hub wait in a queue."""
    while sum(hold._state == "queued" for hold in list(hub.leases.live) if isinstance(hold, Hold)) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
