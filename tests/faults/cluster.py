"""The workers of a fault run and the Kafka that they work on: how they are started, hit and watched."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accord.schemas.topics import DOMAINS, commands_topic, events_topic, topic_table
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from accord.settings import Settings
from accord.testing.broker import NativeKafka
from tests.faults import rawlog
from tests.faults.checker import Decided, Violation
from tests.faults.processes import START_TIMEOUT_S, Process

PREFIX = "faults"
PARTITIONS = 3
WORKERS = ("w1", "w2")
SESSION_TIMEOUT_MS = 3_000


class Cluster:
    """Two workers on one broker, which is the caller's to enter and leave.

    Args:
        directory: for the workers' data and what they print.
        generator: draws what is random about faults.
        tell: takes the progress, a line at a time.
        violations: takes what must not be.
    """

    def __init__(
        self,
        kafka: NativeKafka,
        directory: Path,
        generator: random.Random,
        tell: Callable[[str], None],
        violations: list[Violation],
    ) -> None:
        self.kafka = kafka
        self.directory = directory
        self.random = generator
        self.tell = tell
        self.violations = violations
        self.settings = Settings.load(
            kafka={"bootstrap_servers": kafka.bootstrap_servers},
            topics={"prefix": PREFIX, "partitions": PARTITIONS},
        )
        self.workers: dict[str, Process] = {}
        self._kills = 0

    def create_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers, "log_level": 2})
        table = topic_table(PREFIX, PARTITIONS)
        for created in admin.create_topics(
            [NewTopic(t.name, t.partitions, 1, config=t.config) for t in table]
        ).values():
            created.result()

    def environment(self, **more: str) -> dict[str, str]:
        """What tells accord where this Kafka is."""
        return {
            "ACCORD_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "ACCORD_TOPICS__PREFIX": PREFIX,
            "ACCORD_TOPICS__PARTITIONS": str(PARTITIONS),
            **more,
        }

    def start_workers(self) -> None:
        for name in WORKERS:
            environment = self.environment(
                ACCORD_WORKER__NAME=name,
                ACCORD_WORKER__DATA_DIR=str(self.directory),
                ACCORD_WORKER__SESSION_TIMEOUT_MS=str(SESSION_TIMEOUT_MS),
                ACCORD_WORKER__CHECKPOINT_MS="1000",
            )
            arguments = ["-c", "from accord.cli import main; main()", "worker"]
            self.workers[name] = Process(name, arguments, "worker ready", self.directory / f"{name}.log", environment)
            self.workers[name].start()
        for worker in self.workers.values():
            worker.wait_until_ready()

    def worker(self) -> Process:
        """One of the workers, once it has started; the other one may be starting."""
        worker = self.workers[self.random.choice(WORKERS)]
        self.wait_until_ready(worker)
        return worker

    def wait_until_ready(self, worker: Process) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not worker.is_ready:
            self.look_for_the_dead()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{worker.name} was not ready in {START_TIMEOUT_S} s:\n{worker.last_words()}")
            time.sleep(0.05)

    def kill_worker(self, note: Callable[[str], None]) -> None:
        """Kills one and starts it again; `note` is called at once after the kill."""
        worker = self.worker()
        self._kills += 1
        worker.kill()
        wiped, again = self._kills % 3 == 0, self._kills % 4 == 0
        note(worker.name + ", its data deleted" * wiped + ", killed again while it started" * again)
        if wiped:
            shutil.rmtree(self.directory / worker.name, ignore_errors=True)
        time.sleep(self.random.uniform(0, 1.5 * SESSION_TIMEOUT_MS / 1_000))
        worker.start()
        if again:
            time.sleep(self.random.uniform(0.5, 3))
            worker.kill()
            worker.start()

    def freeze_worker(self, note: Callable[[str], None]) -> None:
        worker = self.worker()
        worker.freeze()
        note(worker.name)
        time.sleep(SESSION_TIMEOUT_MS / 1_000 + self.random.uniform(0.5, 2))
        worker.thaw()

    def kill_broker(self, note: Callable[[str], None]) -> None:
        self.kafka.kill()
        note("")
        time.sleep(self.random.uniform(0, 1))
        self.kafka.restart()

    def freeze_broker(self, note: Callable[[str], None]) -> None:
        assert self.kafka.pid is not None
        os.kill(self.kafka.pid, signal.SIGSTOP)
        note("")
        time.sleep(SESSION_TIMEOUT_MS / 1_000 + self.random.uniform(0.5, 2))
        os.kill(self.kafka.pid, signal.SIGCONT)

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
        """In good order."""
        for worker in self.workers.values():
            self.wait_until_ready(worker)
            status = worker.terminate()
            if status != 0:
                text = f"{worker.name} stopped with {status}:\n{worker.last_words()}"
                self.violations.append(Violation("served", text))

    def print_stacks(self) -> None:
        """Has the workers tell their logs what they wait for."""
        for worker in self.workers.values():
            if worker.is_ready:
                worker.ask_for_stacks()
        time.sleep(1)

    def kill_all(self) -> None:
        for worker in self.workers.values():
            worker.kill()

    def printed(self) -> bytes:
        """All that the workers have printed."""
        return b"".join(worker.log.read_bytes() for worker in self.workers.values())

    def log(self) -> dict[str, Decided]:
        """What is in the topics, by partition, as `locks/0`."""
        settings: dict[str, Any] = {"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": "checker"}
        consumer = Consumer(settings | {"enable.auto.commit": False, "fetch.wait.max.ms": 20})
        cluster = consumer.list_topics(timeout=10).cluster_id
        log = {}
        for domain in DOMAINS:
            events, commands = events_topic(domain, PREFIX), commands_topic(domain, PREFIX)
            for partition in range(PARTITIONS):
                asked = rawlog.read_all(consumer, commands, partition)  # first: what is asked meanwhile is not decided
                chained = rawlog.chain(cluster, events, partition, rawlog.read_all(consumer, events, partition))
                log[f"{domain}/{partition}"] = Decided(chained, len(asked))
        consumer.close()
        return log
