"""What the benchmarks share: topics of their own, commands to preload, workers and other programs as processes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from accord.schemas.clock import VectorClock
from accord.schemas.codec import commands_codec
from accord.schemas.headers import Headers, command_headers
from accord.schemas.inbox import address_of, with_address
from accord.schemas.messages import Command
from accord.schemas.messages.locks import AcquireLock, ReleaseLock, RenewLease, WithdrawRequest
from accord.schemas.messages.log import Tick
from accord.schemas.topics import INBOX_PARTITIONS_DEFAULT, commands_topic, events_topic, inbox_topic, partition_of
from accord.streams.chain import Chain, Decision, genesis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from accord import kafka
from accord.admin import Admin
from accord.settings import Settings

LEASE_MS: Final = 3_600_000
"""Longer than any run: no lease ends meanwhile."""
AGENTS: Final = 8
"""Agents that send the preloaded commands; their vector clocks hold each other and every partition."""
GENESIS_COUNT: Final = 1
WAIT_S: Final = 600.0


class Preload(NamedTuple):
    """A command as it goes to Kafka."""

    partition: int
    key: bytes
    value: bytes
    headers: Headers


class Bench:
    """One benchmark's place on a cluster: a prefix of its own, deleted at the end.

    Args:
        bootstrap_servers: a real Kafka.
        partitions: of each topic.
        inboxes: partitions of the inbox; 0 is without one.
    """

    def __init__(self, bootstrap_servers: str, directory: Path, partitions: int, inboxes: int = 0) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.prefix = f"bench-{uuid.uuid4().hex[:8]}"
        self.partitions = partitions
        self.inboxes = inboxes
        self.directory = directory
        self.settings = Settings.load(**self.worker_arguments())
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers})
        Admin(self.settings, inbox=bool(inboxes)).init()
        self.commands_topic = commands_topic("locks", self.prefix)
        self.events_topic = events_topic("locks", self.prefix)
        self.cluster = kafka.cluster_id(self._admin, self.settings.kafka)

    def topics(self, *names: str) -> list[str]:
        """Plain topics, under the prefix, with the bench's partition count."""
        found = [f"{self.prefix}.{name}" for name in names]
        for created in self._admin.create_topics([NewTopic(name, self.partitions, 1) for name in found]).values():
            created.result()
        while not set(found) <= set(self._admin.list_topics(timeout=10).topics):
            time.sleep(0.05)  # the controller has them; brokers learn of them a moment later
        return found

    def delete(self) -> None:
        """Deletes every topic under the prefix, the workers' changelogs among them."""
        mine = [name for name in self._admin.list_topics(timeout=10).topics if name.startswith(self.prefix)]
        for deleted in self._admin.delete_topics(mine).values():
            deleted.result()

    def worker_arguments(self, name: str = "w1", **worker: Any) -> dict[str, Any]:
        """Arguments of `Settings.load` for a worker of this bench."""
        return {
            "kafka": {"bootstrap_servers": self.bootstrap_servers},
            "topics": {
                "prefix": self.prefix,
                "partitions": self.partitions,
                "inbox_partitions": self.inboxes or INBOX_PARTITIONS_DEFAULT,
            },
            "worker": {"name": name, "data_dir": str(self.directory), "domains": ["locks"], **worker},
        }

    @contextmanager
    def worker(self, name: str = "w1", **worker: Any) -> Iterator[subprocess.Popen[str]]:
        """A worker process; killed at the end, if it still runs."""
        with self.program("worker", **self.worker_arguments(name, **worker)) as process:
            yield process

    @contextmanager
    def program(self, name: str, **arguments: Any) -> Iterator[subprocess.Popen[str]]:
        """One of `benchmarks.programs` as a process, its answer on `stdout`; killed at the end, if it still runs."""
        with (self.directory / f"{name}.log").open("a+") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.programs", name, json.dumps(arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            try:
                yield process
                if process.poll() not in {None, 0, -9}:
                    raise RuntimeError(f"{name} ended with {process.returncode}:\n{_last_words(log)}")
            finally:
                process.kill()
                process.communicate()

    def producer(self) -> Producer:
        return kafka.producer(self.settings.kafka, queue_buffering_max_messages=200_000)

    def load(self, commands: Iterable[Preload]) -> None:
        """Puts commands into the commands topic, each partition's in order."""
        producer = self.producer()
        for command in commands:
            _produce(producer, self.commands_topic, command)
        if producer.flush(60):
            raise RuntimeError("the commands were not delivered within 60 s")

    def event_count(self, consumer: Any) -> int:
        """Records in the events topic."""
        return sum(kafka.bounds(consumer, self.events_topic, p)[1] for p in range(self.partitions))

    def notice_count(self, consumer: Any) -> int:
        """Records in the inbox."""
        inbox = inbox_topic(self.prefix)
        return sum(kafka.bounds(consumer, inbox, p)[1] for p in range(self.inboxes))

    def wait_decided(self, count: int, process: subprocess.Popen[str]) -> None:
        """Waits until the events topic holds that many records beside each partition's genesis."""
        consumer = kafka.consumer(self.settings.kafka)
        try:
            wanted = count + self.partitions * GENESIS_COUNT
            wait_until(lambda: self.event_count(consumer) >= wanted, process, f"{count} decisions")
        finally:
            consumer.close()

    def decisions(self, consumer: Any) -> Iterator[tuple[Decision, int]]:
        """Every accepted decision with its record's timestamp in ms, partition by partition."""
        for partition in range(self.partitions):
            chain = Chain(genesis(self.cluster, self.events_topic, partition))
            _, end = kafka.bounds(consumer, self.events_topic, partition)
            for record in kafka.read(consumer, self.events_topic, partition, 0, end):
                decision = chain.accept(record)
                if decision is not None:
                    yield decision, record.timestamp


@contextmanager
def bench(bootstrap_servers: str, partitions: int, *, inboxes: int = 0) -> Iterator[Bench]:
    """A `Bench` that cleans up after itself."""
    with tempfile.TemporaryDirectory(prefix="accord-bench-") as directory:
        made = Bench(bootstrap_servers, Path(directory), partitions, inboxes)
        try:
            yield made
        finally:
            made.delete()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], what: str) -> None:
    """Waits for something that a process brings about.

    Raises:
        RuntimeError: it ended, or it took longer than `WAIT_S`.
    """
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if process.poll() is not None:
            raise RuntimeError(f"the process ended with {process.returncode} while waiting for {what}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {WAIT_S:g} s for {what}")
        time.sleep(0.05)


class Sender:
    """Makes lock commands as agents do: full headers, and the clocks that agents have who hear of every decision.

    A token is the number of the granting decision. With the genesis as number 1, one decision a command and no
    ticks, the decision on the command at offset o of a new partition has the number o + 2.

    Args:
        addressed: whether the agents want notices.
    """

    def __init__(self, partitions: int, *, addressed: bool = False) -> None:
        self.partitions = partitions
        self.addressed = addressed
        self.offsets = [0] * partitions
        self.count = 0
        self._codec = commands_codec("locks")
        self._agents = [VectorClock() for _ in range(AGENTS)]
        self._clocks = [VectorClock() for _ in range(partitions)]

    @property
    def next_id(self) -> str:
        """Message id of the next command."""
        return str(uuid.UUID(int=self.count + 1))

    def acquire(
        self, lock: str, lease_ms: int = LEASE_MS, *, wait_ms: int | None = None, priority: int = 0
    ) -> tuple[Preload, int]:
        """The command, and the token of its grant, if the lock is free."""
        agent = self._route(lock)[1]
        command = self._command(lock, AcquireLock(agent, f"{agent}:{self.count}", lease_ms, wait_ms, None, priority))
        return command, self.decision_of(lock)

    def decision_of(self, lock: str) -> int:
        """The number of the decision on the lock's last command; the token of a grant in it."""
        return self.offsets[self._route(lock)[0]] + GENESIS_COUNT

    def release(self, lock: str, token: int) -> Preload:
        return self._command(lock, ReleaseLock(self._route(lock)[1], token))

    def renew(self, lock: str, token: int) -> Preload:
        return self._command(lock, RenewLease(self._route(lock)[1], token, LEASE_MS))

    def withdraw(self, lock: str, request: str) -> Preload:
        return self._command(lock, WithdrawRequest(self._route(lock)[1], request))

    def tick(self, lock: str) -> Preload:
        return self._command(lock, Tick())

    def _route(self, lock: str) -> tuple[int, str]:
        return partition_of(lock.encode(), self.partitions), f"agent-{self.count % AGENTS}#5f2c"

    def _command(self, lock: str, command: Command) -> Preload:
        partition, agent = self._route(lock)
        place = self.count % AGENTS
        self.count += 1
        self.offsets[partition] += 1
        sent = self._agents[place].advanced(agent)
        self._clocks[partition] = self._clocks[partition].advanced(f"locks/{partition}", sent)
        self._agents[place] = sent.merge(self._clocks[partition])
        message_id = str(uuid.UUID(int=self.count))
        if self.addressed:
            message_id = with_address(message_id, address_of(agent))
        headers = command_headers(
            message_id,
            f"accord/{agent}",
            self._codec.type_name(command),
            sent.encode(),
            task=f"task-{self.count}",
            trace=f"00-{self.count:032x}-{self.count:016x}-01",
        )
        return Preload(partition, lock.encode(), self._codec.encode(command), headers)


def acquire_and_release(count: int, locks: int, partitions: int, *, addressed: bool = False) -> list[Preload]:
    """`count` commands: every lock is acquired, then every lock released, again and again."""
    return list(acquiring_and_releasing(count, locks, partitions, addressed=addressed))


def acquiring_and_releasing(count: int, locks: int, partitions: int, *, addressed: bool = False) -> Iterator[Preload]:
    """The same one by one, for as many as no memory holds."""
    return islice(_turns(Sender(partitions, addressed=addressed), locks), count)


def _turns(sender: Sender, locks: int) -> Iterator[Preload]:
    while True:
        held = []
        for number in range(locks):
            command, token = sender.acquire(f"room-{number}")
            yield command
            held.append((f"room-{number}", token))
        for lock, token in held:
            yield sender.release(lock, token)


def _produce(producer: Producer, topic: str, command: Preload) -> None:
    while True:
        try:
            producer.produce(topic, command.value, command.key, command.partition, headers=command.headers)
            return
        except BufferError:
            producer.poll(0.1)


def _last_words(log: IO[str]) -> str:
    log.seek(0)
    return "".join(log.readlines()[-30:])
