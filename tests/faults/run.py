"""A fault run: workers and clients as processes on a Kafka of its own, faults in a random order, then the verdict.

Faults are bounded in number and time, and drawn from a seed (their effect is not: processes and the broker run free):
- kill -9 of a worker, which is started again under its name after up to one and a half session timeouts, so that some
  restarts find their partitions again and others find them taken over; every third time its data directory is deleted;
  every fourth time it is killed again while it starts;
- SIGSTOP of a worker for longer than the session timeout: it wakes as a zombie with decisions and records under way;
- SIGSTOP of a client for longer than its leases: it wakes with writes in hand;
- kill -9 and restart of the broker; SIGSTOP of the broker for longer than the session timeout.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from statistics import quantiles
from subprocess import TimeoutExpired
from typing import Any, NamedTuple

import msgspec
from accord.schemas.topics import DOMAINS, commands_topic, events_topic, partition_of, topic_table
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from accord import replay
from accord.settings import Settings
from accord.testing.broker import NativeKafka
from tests.faults import checker, history, rawlog
from tests.faults.checker import Decided, Violation
from tests.faults.client import LEASE_MS, Config
from tests.faults.history import Operation
from tests.faults.processes import START_TIMEOUT_S, Process
from tests.faults.resource import Counters

PREFIX = "faults"
PARTITIONS = 3
WORKERS = ("w1", "w2")
CLIENTS = 3
SHARED_LOCKS = ("room-0", "room-1", "room-2")
SHARED_TASKS = 2
SESSION_TIMEOUT_MS = 3_000
SERVED_BOUND_S = 45.0
"""After the start and the last fault: every partition answers every client, and every open operation has ended."""
PEACE_S = 3.0
"""How long the load goes on after that; nothing may fail."""


class Plan(NamedTuple):
    """How many of each fault."""

    kills: int = 4
    freezes: int = 1
    client_freezes: int = 1
    broker_kills: int = 1
    broker_freezes: int = 0
    seed: int = 1
    seconds_max: float = 240.0
    """No fault begins later than this after the first."""


class Fault(msgspec.Struct):
    """A fault that was done. The partition that it hit hardest answered again at `over_ns`."""

    kind: str
    target: str
    at_ns: int
    over_ns: int = 0


class Report(msgspec.Struct):
    """What came of a run. `violations` must be empty. `outage_ms` are times without service, by kind of fault, of those
    faults that neither met an earlier outage nor were met by the next fault."""

    plan: dict[str, float]
    faults: dict[str, int]
    outage_ms: dict[str, dict[str, float]]
    commands: int
    decisions: int
    grants: int
    emitted: int
    guarded_writes: int
    stale_writes: int
    failed: dict[str, int]
    skipped_records: int
    contests: int
    rebuilds: int
    verify: str
    seconds: float
    violations: list[Violation]


class Run:
    """One run. `tell` takes its progress, a line at a time."""

    def __init__(self, plan: Plan, directory: Path, tell: Callable[[str], None]) -> None:
        self.plan = plan
        self.directory = directory
        self.random = random.Random(plan.seed)
        self.began = time.monotonic()
        self._tell = tell
        self.faults: list[Fault] = []
        self.violations: list[Violation] = []
        self.workers: dict[str, Process] = {}
        self.clients: list[Process] = []
        self._kills = 0

    def tell(self, text: str) -> None:
        self._tell(f"{time.monotonic() - self.began:6.1f} s  {text}")

    def run(self) -> Report:
        with ExitStack() as stack:
            self.kafka = stack.enter_context(NativeKafka())
            self.settings = Settings.load(
                kafka={"bootstrap_servers": self.kafka.bootstrap_servers},
                topics={"prefix": PREFIX, "partitions": PARTITIONS},
            )
            self.counters = stack.enter_context(Counters())
            self._create_topics()
            stack.callback(self._kill_all)
            self._start()
            self._wait_until_served("the start")
            self._do_faults()
            self.quiet_ns = time.monotonic_ns()
            self._wait_until_served("the last fault")
            self.peace_ns = time.monotonic_ns()
            time.sleep(PEACE_S)
            self._finish()
            return self._judge()

    # -- setting up

    def _create_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers, "log_level": 2})
        table = topic_table(PREFIX, PARTITIONS)
        for created in admin.create_topics(
            [NewTopic(t.name, t.partitions, 1, config=t.config) for t in table]
        ).values():
            created.result()

    def _environment(self, **more: str) -> dict[str, str]:
        return {
            "ACCORD_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "ACCORD_TOPICS__PREFIX": PREFIX,
            "ACCORD_TOPICS__PARTITIONS": str(PARTITIONS),
            **more,
        }

    def _start(self) -> None:
        for name in WORKERS:
            environment = self._environment(
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
        for number in range(CLIENTS):
            name = f"c{number}"
            config = Config(
                name,
                str(self._history(name)),
                self.plan.seed * 100 + number,
                PARTITIONS,
                list(SHARED_LOCKS),
                SHARED_TASKS,
                self.counters.port,
            )
            arguments = ["-m", "tests.faults.client", msgspec.json.encode(config).decode()]
            log = self.directory / f"{name}.log"
            self.clients.append(Process(name, arguments, "client ready", log, self._environment()))
            self.clients[-1].start()
        for client in self.clients:
            client.wait_until_ready()
        self.tell(f"{len(self.workers)} workers and {len(self.clients)} clients are up")

    def _history(self, name: str) -> Path:
        return self.directory / f"{name}.jsonl"

    # -- faults

    def _do_faults(self) -> None:
        plan = self.plan
        kinds = (
            [self._kill] * plan.kills
            + [self._freeze] * plan.freezes
            + [self._freeze_client] * plan.client_freezes
            + [self._kill_broker] * plan.broker_kills
            + [self._freeze_broker] * plan.broker_freezes
        )
        self.random.shuffle(kinds)
        deadline = time.monotonic() + plan.seconds_max
        for number, fault in enumerate(kinds, start=1):
            time.sleep(self.random.uniform(0.5, 2.5))
            self._look_for_the_dead()
            if time.monotonic() > deadline:
                self.violations.append(Violation("run", f"only {number - 1} of {len(kinds)} faults in the time given"))
                return
            fault()
            self.tell(f"fault {number}/{len(kinds)}: {self.faults[-1].kind} {self.faults[-1].target}")

    def _note(self, kind: str, target: str) -> None:
        self.faults.append(Fault(kind, target, time.monotonic_ns()))

    def _worker(self) -> Process:
        """One of the workers, once it has started; the other one may be starting."""
        worker = self.workers[self.random.choice(WORKERS)]
        self._wait_until_ready(worker)
        return worker

    def _wait_until_ready(self, worker: Process) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not worker.is_ready:
            self._look_for_the_dead()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{worker.name} was not ready in {START_TIMEOUT_S} s:\n{worker.last_words()}")
            time.sleep(0.05)

    def _kill(self) -> None:
        worker = self._worker()
        self._kills += 1
        worker.kill()
        self._note("kill", worker.name)
        if self._kills % 3 == 0:
            shutil.rmtree(self.directory / worker.name, ignore_errors=True)
            self.faults[-1].target += ", its data deleted"
        time.sleep(self.random.uniform(0, 1.5 * SESSION_TIMEOUT_MS / 1_000))
        worker.start()
        if self._kills % 4 == 0:
            time.sleep(self.random.uniform(0.5, 3))
            worker.kill()
            worker.start()
            self.faults[-1].target += ", killed again while it started"

    def _freeze(self) -> None:
        worker = self._worker()
        worker.freeze()
        self._note("freeze", worker.name)
        time.sleep(SESSION_TIMEOUT_MS / 1_000 + self.random.uniform(0.5, 2))
        worker.thaw()

    def _freeze_client(self) -> None:
        client = self.random.choice(self.clients)
        client.freeze()
        self._note("client freeze", client.name)
        time.sleep(LEASE_MS / 1_000 + self.random.uniform(0.5, 1))
        client.thaw()

    def _kill_broker(self) -> None:
        self.kafka.kill()
        self._note("broker kill", "")
        time.sleep(self.random.uniform(0, 1))
        self.kafka.restart()

    def _freeze_broker(self) -> None:
        assert self.kafka.pid is not None
        os.kill(self.kafka.pid, signal.SIGSTOP)
        self._note("broker freeze", "")
        time.sleep(SESSION_TIMEOUT_MS / 1_000 + self.random.uniform(0.5, 2))
        os.kill(self.kafka.pid, signal.SIGCONT)

    def _look_for_the_dead(self) -> None:
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
        for client in self.clients:
            if not client.running:
                raise RuntimeError(f"{client.name} ended by itself:\n{client.last_words()}")

    # -- after the faults

    def _operations(self) -> list[Operation]:
        return [
            operation
            for number in range(CLIENTS)
            for operation in history.operations(f"c{number}", history.read(self._history(f"c{number}")))
        ]

    def _wait_until_served(self, what: str) -> None:
        """Until every client has had an answer from every partition to a question asked from now on."""
        began_ns = time.monotonic_ns()
        places = [f"{domain}/{partition}" for domain in DOMAINS for partition in range(PARTITIONS)]
        wanted = {(client.name, place) for client in self.clients for place in places}
        while missing := wanted - {
            (o.process, place(o)) for o in self._operations() if o.ok and o.invoked_ns > began_ns
        }:
            if time.monotonic_ns() > began_ns + SERVED_BOUND_S * 1e9:
                text = f"{sorted(missing)} without an answer {SERVED_BOUND_S:.0f} s after {what}"
                self.violations.append(Violation("served", text))
                break
            time.sleep(0.5)
        self.tell(
            f"every client is answered by every partition {(time.monotonic_ns() - began_ns) / 1e9:.1f} s after {what}"
        )

    def _finish(self) -> None:
        self._look_for_the_dead()
        for client in self.clients:
            client.close_input()
        for client in self.clients:
            try:
                status = client.wait(SERVED_BOUND_S)
            except TimeoutExpired:
                self.violations.append(Violation("served", f"{client.name} hangs:\n{client.last_words()}"))
                client.kill()
                continue
            if status != 0:
                raise RuntimeError(f"{client.name} failed ({status}):\n{client.last_words()}")
        for worker in self.workers.values():
            self._wait_until_ready(worker)
            status = worker.terminate()
            if status != 0:
                self.violations.append(
                    Violation("served", f"{worker.name} stopped with {status}:\n{worker.last_words()}")
                )
        self.tell("clients and workers have stopped")

    def _kill_all(self) -> None:
        for process in [*self.clients, *self.workers.values()]:
            process.kill()

    # -- the verdict

    def _judge(self) -> Report:
        operations = self._operations()
        log = self._log()
        self.violations += checker.one_holder(operations)
        self.violations += checker.guarded(self.counters.writes, operations)
        self.violations += checker.acknowledged(operations, log)
        self.violations += checker.chained(log)
        self.violations += checker.served(operations, self.quiet_ns, self.peace_ns, int(SERVED_BOUND_S * 1_000))
        with replay.open(self.settings) as recorded:
            verified = recorded.verify()
        if not verified.ok:
            self.violations.append(Violation("verify", f"{verified.divergences[:3]} {verified.gaps[:3]}"))
        for fault in self.faults:
            fault.over_ns = answered_ns(fault.at_ns, operations)
        printed = b"".join(worker.log.read_bytes() for worker in self.workers.values())
        done = [o for o in operations if o.ok]
        return Report(
            plan=self.plan._asdict(),
            faults=dict(Counts(fault.kind for fault in self.faults)),
            outage_ms=dict(self._outages()),
            commands=sum(partition.commands for partition in log.values()),
            decisions=sum(len(partition.events.accepted) for partition in log.values()),
            grants=sum(o.kind == "acquire" for o in done),
            emitted=sum(o.kind == "emit" for o in done),
            guarded_writes=sum(w.accepted and w.value is not None for w in self.counters.writes),
            stale_writes=sum(not w.accepted for w in self.counters.writes),
            failed=dict(Counts(f"{o.kind} {o.error}" for o in operations if not o.ok)),
            skipped_records=sum(len(partition.events.skipped) for partition in log.values()),
            contests=printed.count(b"contested partition"),
            rebuilds=printed.count(b"contested partition differs"),
            verify="identical" if verified.ok else "different",
            seconds=round(time.monotonic() - self.began, 1),
            violations=self.violations,
        )

    def _outages(self) -> Iterator[tuple[str, dict[str, float]]]:
        alone: defaultdict[str, list[float]] = defaultdict(list)
        over_ns = 0
        for fault, following in zip_longest(self.faults, self.faults[1:]):
            if over_ns <= fault.at_ns and (following is None or fault.over_ns <= following.at_ns):
                alone[fault.kind].append(round((fault.over_ns - fault.at_ns) / 1e6))
            over_ns = max(over_ns, fault.over_ns)
        for kind, found in sorted(alone.items()):
            percentiles = quantiles(found, n=100, method="inclusive") if len(found) > 1 else found * 99
            yield kind, {"p50": percentiles[49], "p99": percentiles[98], "max": max(found), "count": len(found)}

    def _log(self) -> dict[str, Decided]:
        settings: dict[str, Any] = {"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": "checker"}
        consumer = Consumer(settings | {"enable.auto.commit": False, "fetch.wait.max.ms": 20})
        cluster = consumer.list_topics(timeout=10).cluster_id
        log = {}
        for domain in DOMAINS:
            events, commands = events_topic(domain, PREFIX), commands_topic(domain, PREFIX)
            for partition in range(PARTITIONS):
                chained = rawlog.chain(cluster, events, partition, rawlog.read_all(consumer, events, partition))
                asked = rawlog.read_all(consumer, commands, partition)
                log[f"{domain}/{partition}"] = Decided(chained, len(asked))
        consumer.close()
        return log


def place(operation: Operation) -> str:
    """The partition that an operation asked, as `locks/0`."""
    domain = {"emit": "signals", "take": "limits", "give": "limits"}.get(operation.kind, "locks")
    return f"{domain}/{partition_of(operation.key.encode(), PARTITIONS)}"


def answered_ns(at_ns: int, operations: list[Operation]) -> int:
    """When each partition had answered a question asked after a fault."""
    first: dict[str, int] = {}
    for operation in operations:
        if operation.ok and operation.invoked_ns > at_ns:
            assert operation.ended_ns is not None
            where = place(operation)
            first[where] = min(first.get(where, operation.ended_ns), operation.ended_ns)
    return max(first.values(), default=at_ns)


def run(plan: Plan, tell: Callable[[str], None] = print, keep: bool = False) -> Report:
    """Does a run in a directory of its own, which is kept when something is wrong.

    Args:
        keep: keep it in any case.
    """
    directory = Path(tempfile.mkdtemp(prefix="accord-faults-"))
    right = False
    try:
        report = Run(plan, directory, tell).run()
        right = not report.violations
    finally:
        if right and not keep:
            shutil.rmtree(directory)
        else:
            tell(f"histories and logs: {directory}")
    return report
