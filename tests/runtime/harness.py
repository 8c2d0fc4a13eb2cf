"""A log with topics of its own on either broker, workers on it, and a reader that trusts nobody."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from accord.schemas.clock import VectorClock
from accord.schemas.codec import commands_codec, deadletters_codec, events_codec
from accord.schemas.headers import command_headers
from accord.schemas.messages import Command
from accord.schemas.messages.deadletters import DeadLetter
from accord.schemas.topics import commands_topic, deadletters_topic, events_topic, topic_table
from accord.streams.chain import Chain, Decision, genesis
from accord.streams.runtime.owned import Owned
from accord.streams.runtime.worker import EmbeddedWorker
from confluent_kafka.cimpl import NewTopic

from accord import kafka
from accord.mock import FETCH_WAIT_MS, SESSION_TIMEOUT_MS, MockCluster
from accord.settings import Settings
from tests.counts import only_long
from tests.topics import create, fresh_prefix

PARTITIONS = 2

on_either = pytest.fixture(params=["kafka", pytest.param("mock", marks=only_long)])
"""A fixture that is made on a real Kafka and, in the long run, on the mock broker, too."""


class Log:
    """Topics under a prefix of their own."""

    def __init__(self, bootstrap_servers: str, data_dir: Path, mock: MockCluster | None, inboxes: int = 0) -> None:
        self.prefix = "t" if mock else fresh_prefix(bootstrap_servers, "t")
        self.bootstrap_servers = bootstrap_servers
        self.data_dir = data_dir
        self.mock = mock
        table = topic_table(self.prefix, PARTITIONS, inbox_partitions=inboxes)
        if mock is not None:
            for topic in table:
                mock.create_topic(topic.name, topic.partitions)
        else:
            create(bootstrap_servers, *[NewTopic(t.name, t.partitions, 1, config=t.config) for t in table])
        self.producer = kafka.producer(self.settings().kafka)
        self.reader = kafka.reader(self.settings().kafka)
        self.cluster = kafka.cluster_id(self.reader, self.settings().kafka)
        self.sent = 0

    def settings(self, name: str = "w1", **worker: Any) -> Settings:
        kafka_settings: dict[str, Any] = {"bootstrap_servers": self.bootstrap_servers}
        timing = {"session_timeout_ms": 3_000, "checkpoint_ms": 200}
        if self.mock is not None:
            kafka_settings |= {"fetch_wait_ms": FETCH_WAIT_MS, "idempotent": False}
            timing["session_timeout_ms"] = SESSION_TIMEOUT_MS
        return Settings.load(
            kafka=kafka_settings,
            topics={"prefix": self.prefix, "partitions": PARTITIONS},
            worker={"name": name, "data_dir": self.data_dir, "domains": ("locks",), **timing, **worker},
        )

    @contextmanager
    def worker(self, name: str = "w1", **worker: Any) -> Iterator[EmbeddedWorker]:
        embedded = EmbeddedWorker(
            self.settings(name, **worker),
            timestamps="create" if self.mock else "log_append",
            static=self.mock is None,
        )
        embedded.start()
        try:
            yield embedded
        finally:
            embedded.stop()

    def send(self, key: str, command: Command, **produce: Any) -> str:
        """Sends a command; returns its id."""
        self.sent += 1
        codec = commands_codec("locks")
        message_id = produce.pop("message_id", f"m{self.sent}")
        clock = VectorClock({"tester#1": self.sent}, self.sent).encode()
        headers = command_headers(message_id, "tester", codec.type_name(command), clock)
        self.send_raw(key.encode(), codec.encode(command), headers, **produce)
        return message_id

    def send_raw(self, key: bytes | None, value: bytes | None, headers: Any = (), **produce: Any) -> None:
        self.producer.produce(
            commands_topic("locks", self.prefix), key=key, value=value, headers=list(headers), **produce
        )
        self.producer.poll(0)

    def decisions(self, partition: int, domain: str = "locks") -> list[Decision]:
        """The accepted decisions of a partition."""
        topic = events_topic(domain, self.prefix)
        chain = Chain(genesis(self.cluster, topic, partition))
        low, high = kafka.bounds(self.reader, topic, partition)
        found = (chain.accept(record) for record in kafka.read(self.reader, topic, partition, low, high))
        return [decision for decision in found if decision is not None]

    def events(self, domain: str = "locks") -> list[tuple[str, Any]]:
        """(key, event) of all accepted decisions, the genesis left out."""
        return [
            (decision.key.decode(errors="replace"), event)
            for partition in range(PARTITIONS)
            for decision in self.decisions(partition, domain)[1:]
            for event in events_codec(domain).decode(decision.value)
        ]

    def commands(self, partition: int) -> int:
        return kafka.bounds(self.reader, commands_topic("locks", self.prefix), partition)[1]

    def decided(self) -> bool:
        """Whether every command has an accepted decision."""
        self.producer.flush(10)
        for partition in range(PARTITIONS):
            decisions = self.decisions(partition)
            if not decisions or decisions[-1].cause != self.commands(partition) - 1:
                return False
        return True

    def dead_letters(self) -> list[DeadLetter]:
        topic = deadletters_topic(self.prefix)
        low, high = kafka.bounds(self.reader, topic, 0)
        return [deadletters_codec().decode(r.value) for r in kafka.read(self.reader, topic, 0, low, high)]

    def close(self) -> None:
        self.reader.close()


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


def owned(worker: EmbeddedWorker) -> dict[int, Owned]:
    """The worker's partitions of locks, once it has them all: a busy machine can cost it its place in the group."""
    found: dict[int, Owned] = {}

    def all_there() -> bool:
        found.update(worker.run(lambda w: dict(w.processors["locks"].owned)))
        return len(found) == PARTITIONS

    until(all_there)
    return found


def states(worker: EmbeddedWorker) -> dict[int, dict[str, Any]]:
    """Canonical states of the worker's partitions of locks."""
    return {index: one.owner.partition.canonical() for index, one in owned(worker).items()}
