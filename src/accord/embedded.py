"""accord without Kafka: broker, worker and clients in one process.

The broker is librdkafka's mock cluster; all the rest is what runs on Kafka. Its log is memory and is gone with the
process, and so are artifacts unless `artifacts.url` says where; `keep` writes an archive of the log as it goes. Records
carry this process's time, so `advance` can move the log's clock and a test of leases never sleeps.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Consumer, TopicPartition

from accord import logs
from accord.agents.client import Accord
from accord.agents.discovery import DEV_FILE
from accord.errors import BadInput
from accord.kafka import as_record, bounds, cluster_id, consumer
from accord.mock import FETCH_WAIT_MS, SESSION_TIMEOUT_MS, MockCluster
from accord.replay.archive import ArchiveWriter
from accord.schemas.headers import LogRecord
from accord.schemas.topics import commands_topic, events_topic, topic_table
from accord.settings import HealthSettings, Settings
from accord.streams.runtime.worker import EmbeddedWorker

logger = logs.get("accord.embedded")

PARTITIONS: Final = 4
CHECKPOINT_DECISIONS: Final = 2_000
"""The mock broker forgets what is beyond about 5 MB a partition; checkpoints read back what came since the last."""
ADVANCE_S: Final = 30.0
ADVANCE_POLL_S: Final = 0.002
KEEP_POLL_S: Final = 0.05
HEALTH: Final = HealthSettings(beat_ms=2_000)
"""Unless it was set: who moves the log's clock on by the 5 s of a retry is not to lose agents by it."""


class Embedded:
    """A broker and a worker in this process; a context manager.

    Args:
        keep: directory to write an archive of the log to; an archive that is there is replaced.
        settings: what else to set; addresses, partition count and data directory are the embedded ones.
    """

    def __init__(self, *, keep: str | Path | None = None, settings: Settings | None = None) -> None:
        self._base = settings or Settings.load()
        self._keep = keep
        self._ahead_ms = 0
        self._folder: str | None = None
        self._broker: MockCluster | None = None
        self._worker: EmbeddedWorker | None = None
        self._keeper: Keeper | None = None
        self.settings = self._base

    def start(self) -> Self:
        """Starts all of it; takes about 0.3 s."""
        self._folder = tempfile.mkdtemp(prefix="accord-")
        self._broker = MockCluster()
        base = self._base
        self.settings = settings = base.model_copy(
            update={
                "kafka": base.kafka.model_copy(
                    update={
                        "bootstrap_servers": self._broker.bootstrap_servers,
                        "security_protocol": "PLAINTEXT",
                        "fetch_wait_ms": FETCH_WAIT_MS,
                        "idempotent": False,
                    }
                ),
                "health": HEALTH if base.health == HealthSettings() else base.health,
                "topics": base.topics.model_copy(update={"partitions": PARTITIONS}),
                "artifacts": base.artifacts.model_copy(
                    update={"url": base.artifacts.url or (Path(self._folder) / "artifacts").as_uri()}
                ),
                "worker": base.worker.model_copy(
                    update={
                        "data_dir": Path(self._folder),
                        "session_timeout_ms": SESSION_TIMEOUT_MS,
                        "checkpoint_decisions": CHECKPOINT_DECISIONS,
                    }
                ),
            }
        )
        try:
            inboxes = PARTITIONS if settings.client.answers == "inbox" else 0
            for topic in topic_table(settings.topics.prefix, PARTITIONS, inbox_partitions=inboxes):
                self._broker.create_topic(topic.name, topic.partitions)
            if self._keep is not None:
                self._keeper = Keeper(settings, self._keep)
            self._worker = EmbeddedWorker(settings, timestamps="create", timestamp_ms=self.timestamp_ms, static=False)
            self._worker.start()
        except BaseException:
            self.stop()
            raise
        return self

    def timestamp_ms(self) -> int:
        """The time that records get: this machine's, plus what was advanced."""
        return time.time_ns() // 1_000_000 + self._ahead_ms

    def advance(self, ms: int) -> None:
        """Moves the log's clock on; returns when every deadline that is due by it was handled.

        Raises:
            BadInput: `ms` is no positive whole number.
            TimeoutError: the worker did not get through within 30 s.
        """
        if type(ms) is not int or ms <= 0:
            raise BadInput(f"advance({ms!r}): a positive whole number of ms is needed. For 30 seconds: 30_000.")
        assert self._worker is not None, "not started"
        self._ahead_ms += ms
        self._worker.run(lambda worker: worker.advance(ms))
        deadline = time.monotonic() + ADVANCE_S
        while not self._worker.run(lambda worker: worker.quiet):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the worker did not handle all deadlines within {ADVANCE_S:g} s")
            time.sleep(ADVANCE_POLL_S)

    def stop(self) -> None:
        """Stops worker and broker, completes the archive. Safe to call twice."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()
        broker, self._broker = self._broker, None
        if broker is not None:
            broker.close()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Keeper:
    """Copies the log into an archive as it grows, in a thread of its own."""

    def __init__(self, settings: Settings, path: str | Path) -> None:
        self._settings = settings
        prefix, domains = settings.topics.prefix, settings.worker.domains
        topics = [name(domain, prefix) for domain in domains for name in (commands_topic, events_topic)]
        self._next = {(topic, partition): 0 for topic in topics for partition in range(PARTITIONS)}
        self._consumer: Consumer = consumer(settings.kafka)
        self._writer = ArchiveWriter(
            path,
            cluster=cluster_id(self._consumer, settings.kafka),
            prefix=prefix,
            partitions=dict.fromkeys(domains, PARTITIONS),
            timestamps="create",
            replace=True,
        )
        for topic, partition in self._next:
            self._writer.start(topic, partition, 0)
        self._consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in self._next])
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="accord-keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Copies the rest, then completes the archive.

        Raises:
            Exception: what kept the archive from being written.
        """
        self._stopping.set()
        self._thread.join()
        self._consumer.close()
        if self._failure is not None:
            self._writer.abandon()
            raise self._failure
        self._writer.close()

    def _main(self) -> None:
        try:
            while not self._stopping.is_set():
                self._copy()
            ends = {at: bounds(self._consumer, *at)[1] for at in self._next}
            while any(self._next[at] < end for at, end in ends.items()):
                self._copy()
        except BaseException as error:
            self._failure = error
            logger.error("the archive cannot be kept", why=repr(error))

    def _copy(self) -> None:
        found: dict[tuple[str, int], list[LogRecord]] = defaultdict(list)
        for message in self._consumer.consume(500, KEEP_POLL_S):
            error = message.error()
            if error is not None:
                logger.warning("reading for the archive", why=error.str())
                continue
            topic, partition = message.topic(), message.partition()
            assert topic is not None and partition is not None
            found[topic, partition].append(as_record(message))
        for (topic, partition), records in found.items():
            self._writer.append(topic, partition, records)
            self._next[topic, partition] = records[-1].offset + 1
        if found:
            self._writer.flush()


class LocalHub(Accord):
    """A hub with its own broker and worker. Made by `accord.local()`."""

    def __init__(self, embedded: Embedded, agent: str | None) -> None:
        self._embedded = embedded
        super().__init__(agent=agent, settings=embedded.settings)

    async def advance(self, ms: int) -> None:
        """Moves the log's clock on by `ms`; returns when every deadline that is due by it was handled."""
        await asyncio.to_thread(self._embedded.advance, ms)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._embedded.start)
        try:
            self.use(self._embedded.settings, self._embedded.timestamp_ms)
            return await super().__aenter__()
        except BaseException:
            await asyncio.to_thread(self._embedded.stop)
            raise

    async def __aexit__(self, *error: Any) -> bool | None:
        try:
            return await super().__aexit__(*error)
        finally:
            await asyncio.to_thread(self._embedded.stop)


def local(*, keep: str | Path | None = None, agent: str | None = None, settings: Settings | None = None) -> LocalHub:
    """A hub that needs nothing: broker, worker and client in this process. Use it with `async with`.

    Args:
        keep: directory for an archive of the log, which `accord replay` reads; one that is there is replaced.
        agent: name of the agent.
        settings: what else to set.
    """
    return LocalHub(Embedded(keep=keep, settings=settings), agent)


def dev(settings: Settings, *, keep: str | Path | None = None, beside: Callable[[Settings], None] | None = None) -> int:
    """`accord dev`: broker and worker until Ctrl-C; clients in other terminals find them by `.accord/dev.json`.

    Args:
        beside: runs meanwhile, given the settings that find the broker; it returns at Ctrl-C, and all ends with it.
    """
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with Embedded(keep=keep, settings=settings) as embedded:
        found = embedded.settings
        DEV_FILE.parent.mkdir(exist_ok=True)
        DEV_FILE.write_text(
            json.dumps(
                {
                    "bootstrap_servers": found.kafka.bootstrap_servers,
                    "pid": os.getpid(),
                    "settings": {
                        "kafka": {"fetch_wait_ms": found.kafka.fetch_wait_ms, "idempotent": False},
                        "topics": {"prefix": found.topics.prefix, "partitions": found.topics.partitions},
                        "artifacts": {"url": found.artifacts.url},
                    },
                }
            )
        )
        try:
            print(
                f"accord dev: ready at {found.kafka.bootstrap_servers}. The log is memory; it ends with this program."
            )
            print("Programs with accord.Accord() that start in this directory find it by themselves. To see them:\n")
            print("    accord events tail\n")
            print("Ctrl-C ends it.", flush=True)
            if beside is None:
                stopping.wait()
            elif not stopping.is_set():
                beside(found)
        finally:
            DEV_FILE.unlink(missing_ok=True)
    return 0
