"""A log whose clock a test moves, on a real Kafka, and the service's processes on it.

Rules that act here:
- Every record has the time that the file `ahead` makes of the machine's: those of the processes (see `program`) and
  those of the worker, which is in this process. The topics take it, for they are made with CreateTime.
- Moving the clock ends leases, too: members have `LEASE_MS`, which is more than a test moves it. Who is to be killed
  gets a short one, which then ends by real time.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

from accord.replay.source import open_source
from accord.replay.timeline import TimelineEvent
from accord.replay.trace import trace
from accord.schemas.topics import commands_topic, events_topic
from accord.streams.runtime.worker import EmbeddedWorker
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from accord.admin import Admin
from accord.settings import Settings
from tests.agents.service.program import clock
from tests.faults.processes import Process
from tests.topics import fresh_prefix

T = TypeVar("T")

DOMAINS = ("tasks", "roster", "llm")
LEASE_MS = 3_600_000
SHORT_LEASE_MS = 1_000
PARTITIONS = 2
WAIT_S = 60.0


class OnKafka:
    """A log on a real Kafka, under a prefix of its own."""

    def __init__(self, bootstrap_servers: str, folder: Path, ahead: Path) -> None:
        self._ahead = ahead
        self.settings = Settings.load(
            kafka={"bootstrap_servers": bootstrap_servers},
            topics={"prefix": fresh_prefix(bootstrap_servers, "moved"), "partitions": PARTITIONS},
            worker={"domains": DOMAINS, "data_dir": folder / "worker"},
        )
        self._worker = EmbeddedWorker(self.settings, timestamps="create", timestamp_ms=clock(ahead))

    def __enter__(self) -> Self:
        topics, worker = self.settings.topics, self.settings.worker
        Admin(self.settings).init()
        admin: Any = AdminClient({"bootstrap.servers": self.settings.kafka.bootstrap_servers})
        entry = ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
        names = [name(domain, topics.prefix) for domain in DOMAINS for name in (commands_topic, events_topic)]
        resources = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry]) for name in names]
        tables = [f"{topics.prefix}.{worker.group}-{domain}-changelog" for domain in DOMAINS]
        made = admin.create_topics(
            [NewTopic(table, PARTITIONS, config={"cleanup.policy": "compact"}) for table in tables]
        )
        until(lambda: set(tables) <= set(admin.list_topics(timeout=10).topics))
        for done in [*admin.incremental_alter_configs(resources).values(), *made.values()]:
            done.result()
        self._worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.stop()

    def advance(self, ms: int) -> None:
        move(self._ahead, ms)
        self._worker.run(lambda worker: worker.advance(ms))
        until(lambda: self._worker.run(lambda worker: worker.quiet))


def move(ahead: Path, ms: int) -> None:
    """Moves the clock of who reads this file, which is whole at any time."""
    moved = ahead.with_suffix(".new")
    moved.write_text(str(int(ahead.read_text()) + ms))
    moved.replace(ahead)


def until(condition: Callable[[], T]) -> T:
    """Waits for something to become true; returns it."""
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)
    return found


class Stage:
    """The log, the processes on it, and what they have brought about.

    Args:
        base_url: of the model's stand-in.
    """

    def __init__(self, log: OnKafka, folder: Path, ahead: Path, base_url: str) -> None:
        self.log = log
        self._folder = folder
        self._ahead = ahead
        self._running = ExitStack()
        kafka, topics = log.settings.kafka, log.settings.topics
        self._environment = {
            "ACCORD_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "ACCORD_KAFKA__FETCH_WAIT_MS": str(kafka.fetch_wait_ms),
            "ACCORD_KAFKA__IDEMPOTENT": str(kafka.idempotent),
            "ACCORD_TOPICS__PREFIX": topics.prefix,
            "ACCORD_TOPICS__PARTITIONS": str(topics.partitions),
            "ACCORD_AGENTS__LEASE_MS": str(LEASE_MS),
            "ACCORD_LLM__BASE_URL": base_url,
            "ACCORD_LLM__API_KEY": "the right key",
        }
        self.url = ""

    # -- processes

    def begin(self, *arguments: str, ready: str = "working", **environment: str) -> Process:
        """Starts a program of the command line; `wait_until_ready` waits for it."""
        name = "-".join(arguments) + f"-{uuid4().hex[:4]}"
        process = Process(
            name,
            ["-m", "tests.agents.service.program", str(self._ahead), *arguments],
            ready,
            self._folder / f"{name}.log",
            self._environment | environment,
        )
        process.start()
        self._running.callback(process.kill)
        return process

    def serve(self) -> Process:
        """The service, which is listening."""
        service = self.begin("serve", "--port", "0", ready="listening at")
        service.wait_until_ready()
        said = service.printed().decode()
        self.url = said[said.index("http://") :].split()[0]
        return service

    def work(self, *parts: str, **environment: str) -> Process:
        """Agents that are about to work."""
        return self.begin("work", *parts, **environment)

    def close(self) -> None:
        self._running.close()

    # -- requests

    def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        content = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, content), timeout=30) as answer:
            return answer.status, json.load(answer)

    def begun(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        status, begun = self.ask(path, body)
        assert status == 202
        return begun

    def record(self, task_id: str) -> dict[str, Any]:
        return self.ask(f"/task/{task_id}")[1]

    def ended(self, task_id: str) -> dict[str, Any]:
        """A task's record once it has ended."""

        def look() -> dict[str, Any] | None:
            record = self.record(task_id)
            return record if record["completed_at"] is not None else None

        found = until(look)
        assert found is not None
        return found

    # -- the log

    def advance_to(self, task_id: str, ms: int) -> None:
        """Moves the clock on to so long after a task's beginning; real time has passed, too."""
        (begun,) = self.events(task_id, "TaskSubmitted")
        left_ms = begun.data["created_ms"] + ms - clock(self._ahead)()
        if left_ms > 0:
            self.log.advance(left_ms)

    def events(self, task_id: str, *kinds: str, step: str | None = None) -> list[TimelineEvent]:
        """What was decided about a task, of some kinds, about one step."""
        with open_source(self.log.settings) as source:
            found = list(trace(source, task_id))
        return [one for one in found if one.event in kinds and step in (None, one.data.get("step"))]


@contextmanager
def staged(bootstrap_servers: str, folder: Path, base_url: str) -> Iterator[Stage]:
    """A stage on a log."""
    ahead = folder / "ahead"
    ahead.write_text("0")
    with OnKafka(bootstrap_servers, folder, ahead) as log:
        stage = Stage(log, folder, ahead, base_url)
        try:
            yield stage
        finally:
            stage.close()
