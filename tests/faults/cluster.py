"""The workers of a fault run and the Kafka that they work on: how they are started and watched."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accord.schemas.topics import DOMAINS, commands_topic, events_topic, topic_table
from confluent_kafka import Consumer
from confluent_kafka.cimpl import NewTopic

from accord.settings import Settings
from accord.testing.broker import NativeKafka
from tests import topics
from tests.faults import rawlog
from tests.faults.checker import Decided, Violation
from tests.faults.disk import Disk
from tests.faults.processes import START_TIMEOUT_S, STOP_TIMEOUT_S, Process
from tests.faults.proxy import Network

PREFIX = "faults"
PARTITIONS = 3
WORKERS = ("w1", "w2")
JOINER = "w3"
"""Comes and goes."""
SESSION_TIMEOUT_MS = 3_000
HEARTBEAT_MS = SESSION_TIMEOUT_MS * 3 // 10
"""How often a worker tells the group that it is there."""
TAKEN_ON = re.compile(r"(?m)^([-0-9]+ [0-9:,]+) INFO +partition recovered .*?\bpartition=([a-z]+/[0-9]+)")


class Cluster:
    """Two workers on one broker, which is the caller's to enter and leave. Each has a link and a disk of its own.

    Args:
        network: where the links are.
        directory: for the workers' data and what they print.
        tell: takes the progress, a line at a time.
        violations: takes what must not be.
        disks: whether the workers' data lie on disks that can be full.
        linked: who has a link beside the workers.
    """

    def __init__(
        self,
        network: Network,
        directory: Path,
        tell: Callable[[str], None],
        violations: list[Violation],
        *,
        disks: bool = False,
        linked: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.tell = tell
        self.violations = violations
        self.links = {name: network.link() for name in (*WORKERS, JOINER, *linked)}
        self.kafka = NativeKafka(told=[link.port for link in self.links.values()])
        for link in self.links.values():
            link.target = self.kafka.behind[link.port]
        self.settings = Settings.load(
            kafka={"bootstrap_servers": self.kafka.bootstrap_servers},
            topics={"prefix": PREFIX, "partitions": PARTITIONS},
        )
        self.rules = 1
        """The newest version of the rules that a worker has."""
        self.workers: dict[str, Process] = {}
        self.disks = {name: Disk(directory / f"disk-{name}") for name in WORKERS} if disks else {}
        self._gone: list[Process] = []

    def create_topics(self) -> None:
        table = topic_table(PREFIX, PARTITIONS)
        topics.create(
            self.kafka.bootstrap_servers, *[NewTopic(t.name, t.partitions, 1, config=t.config) for t in table]
        )

    def environment(self, name: str, **more: str) -> dict[str, str]:
        """What tells accord where this Kafka is, for who has a link by that name or has none."""
        link = self.links.get(name)
        servers = f"127.0.0.1:{link.port}" if link else self.kafka.bootstrap_servers
        return {
            "ACCORD_KAFKA__BOOTSTRAP_SERVERS": servers,
            "ACCORD_TOPICS__PREFIX": PREFIX,
            "ACCORD_TOPICS__PARTITIONS": str(PARTITIONS),
            **more,
        }

    def start_workers(self) -> None:
        for disk in self.disks.values():
            disk.mount()
        for name in WORKERS:
            self.start_worker(name)
        self.wait_until_all_ready()

    def start_worker(self, name: str) -> Process:
        """Starts one for the first time."""
        environment = self.environment(
            name,
            ACCORD_WORKER__NAME=name,
            ACCORD_WORKER__DATA_DIR=str(self.data_of(name)),
            ACCORD_WORKER__SESSION_TIMEOUT_MS=str(SESSION_TIMEOUT_MS),
            ACCORD_WORKER__CHECKPOINT_MS="1000",
        )
        worker = Process(name, self.program(), "worker ready", self.directory / f"{name}.log", environment)
        self.workers[name] = worker
        worker.start()
        return worker

    def program(self) -> list[str]:
        """What a worker runs that has the newest rules."""
        return ["-m", "tests.faults.worker", str(self.rules)]

    def data_of(self, name: str) -> Path:
        """The directory below which a worker has its data."""
        return self.disks[name].path if name in self.disks else self.directory

    def forget(self, name: str) -> None:
        """A worker that was ended for good."""
        self._gone.append(self.workers.pop(name))

    def others(self, worker: Process) -> list[Process]:
        return [other for other in self.workers.values() if other is not worker]

    def taken_on(self) -> dict[str, tuple[str, str]]:
        """Of each partition, as `locks/0`, who took it on last, and when: as their logs say it."""
        found: dict[str, tuple[str, str]] = {}
        for worker in self.workers.values():
            for when, partition in TAKEN_ON.findall(worker.log.read_bytes().decode(errors="replace")):
                found[partition] = max(found.get(partition, ("", "")), (when, worker.name))
        return {partition: (name, when) for partition, (when, name) in found.items()}

    def wait_until_all_ready(self) -> None:
        for worker in list(self.workers.values()):
            self.wait_until_ready(worker)

    def wait_until_ready(self, worker: Process) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not worker.is_ready:
            self.look_for_the_dead()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{worker.name} was not ready in {START_TIMEOUT_S} s:\n{worker.last_words()}")
            time.sleep(0.05)

    def look_for_the_dead(self) -> None:
        """Only we end processes. A worker that ended by itself is started again, as whoever runs it would do; it may
        do so only when it found no broker at its start."""
        for worker in self.workers.values():
            if not worker.running and b"KafkaUnreachable" in worker.printed() and not worker.is_ready:
                self.tell(f"{worker.name} found no broker; starting it again")
                worker.kill()
                worker.start()
            elif not worker.running:
                self.violations.append(Violation("served", f"{worker.name} ended by itself:\n{worker.last_words()}"))
                self.tell(f"{worker.name} ended by itself; starting it again")
                worker.kill()
                worker.start()

    def stop_workers(self) -> None:
        """In good order; then looks at what they have printed."""
        self.wait_until_all_ready()
        for worker in self.workers.values():
            worker.ask_to_stop()
        for worker in self.workers.values():
            status = worker.wait(STOP_TIMEOUT_S)
            if status != 0:
                text = f"{worker.name} stopped with {status}:\n{worker.last_words()}"
                self.violations.append(Violation("served", text))
        for line in self.printed().splitlines():
            if b"partition halted" in line and b"UnknownRules" not in line:
                self.violations.append(Violation("served", line.decode(errors="replace")))

    def print_stacks(self) -> None:
        """Has the workers tell their logs what they wait for."""
        for worker in self.workers.values():
            if worker.is_ready:
                worker.ask_for_stacks()
        time.sleep(1)

    def end(self) -> None:
        """Kills all and takes the disks away."""
        for worker in self.workers.values():
            worker.kill()
        for disk in self.disks.values():
            disk.unmount()

    def printed(self) -> bytes:
        """All that the workers have printed."""
        return b"".join(log.read_bytes() for log in {w.log for w in (*self.workers.values(), *self._gone)})

    def log(self) -> dict[str, Decided]:
        """What is in the topics, by partition, as `locks/0`."""
        settings: dict[str, Any] = {"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": "checker"}
        consumer = Consumer(settings | {"enable.auto.commit": False, "fetch.wait.max.ms": 20})
        cluster = consumer.list_topics(timeout=10).cluster_id
        log = {}
        for domain in DOMAINS:
            events, commands = events_topic(domain, PREFIX), commands_topic(domain, PREFIX)
            for partition in range(PARTITIONS):
                asked = rawlog.count(consumer, commands, partition)  # first: what is asked meanwhile is not decided
                chained = rawlog.chain(cluster, events, partition, rawlog.read_all(consumer, events, partition))
                log[f"{domain}/{partition}"] = Decided(chained, asked)
        consumer.close()
        return log
