"""A worker on a real Kafka, for tests of a domain; and what a process of a test is told to take part."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accord.streams.runtime.worker import EmbeddedWorker

from accord import replay
from accord.admin import Admin
from accord.settings import Settings
from tests.topics import fresh_prefix

PARTITIONS = 2
SESSION_MS = 2_000
# An ordinary worker, but for one thing: while a file is there, it sends nobody anything of what it decided.
_WORKER = """
import json, pathlib, sys
from accord.settings import Settings
from accord.streams.runtime.followups import Followups
from accord.streams.runtime.worker import run
silent, send = pathlib.Path(sys.argv[1]), Followups.send
Followups.send = lambda self, confirmed: None if silent.exists() else send(self, confirmed)
sys.exit(run(Settings.load(**json.loads(sys.argv[2]))))
"""


@contextmanager
def worker_on(bootstrap_servers: str, data_dir: Path, *domains: str) -> Iterator[Settings]:
    """Runs a worker on topics of its own. In the end what it decided is decided again."""
    settings = Settings.load(
        kafka={"bootstrap_servers": bootstrap_servers},
        topics={"prefix": fresh_prefix(bootstrap_servers, domains[0]), "partitions": PARTITIONS},
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


@contextmanager
def silent_worker(arguments: dict[str, object], silent: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process that tells nobody anything while there is a file `silent`; killed -9 in the end.

    Args:
        arguments: those of `Settings.load`.
    """
    with silent.with_suffix(".log").open("ab") as log:
        command = [sys.executable, "-c", _WORKER, str(silent), json.dumps(arguments)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
