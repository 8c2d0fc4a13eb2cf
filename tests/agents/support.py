"""What several tests of the client need."""

import time
from collections.abc import Callable
from typing import Any

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
