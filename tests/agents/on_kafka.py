"""A worker on a real Kafka, for tests of a domain; and what a process of a test is told to take part."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from accord.streams.runtime.worker import EmbeddedWorker

from accord import replay
from accord.admin import Admin
from accord.settings import Settings

PARTITIONS = 2
SESSION_MS = 2_000


@contextmanager
def worker_on(bootstrap_servers: str, data_dir: Path, *domains: str) -> Iterator[Settings]:
    """Runs a worker on topics of its own. In the end what it decided is decided again."""
    settings = Settings.load(
        kafka={"bootstrap_servers": bootstrap_servers},
        topics={"prefix": f"{domains[0]}-{uuid4().hex[:8]}", "partitions": PARTITIONS},
        worker={"domains": domains, "data_dir": data_dir, "session_timeout_ms": SESSION_MS},
        locks={"clock_step_ms": 0},
    )
    Admin(settings).init()
    worker = EmbeddedWorker(settings)
    worker.start()
    try:
        yield settings
    finally:
        worker.stop()
    with replay.open(settings) as log:
        assert log.verify().ok


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """For a process that is to take part: these settings, beside this process's environment."""
    return os.environ | {
        "ACCORD_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "ACCORD_TOPICS__PREFIX": settings.topics.prefix,
        "ACCORD_TOPICS__PARTITIONS": str(settings.topics.partitions),
        "ACCORD_WORKER__SESSION_TIMEOUT_MS": str(settings.worker.session_timeout_ms),
        "ACCORD_LOCKS__CLOCK_STEP_MS": str(settings.locks.clock_step_ms),
        **more,
    }
