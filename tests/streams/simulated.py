"""A cluster in one thread, from one seed: two logs, owners that fight for a partition, clients, and everything that
goes wrong between them.

What is real: `Partition`, `Owner`, `Chain`, checkpoints, recovery and the readers' anchor, all as the worker and the
clients use them; only the broker under them is a pair of lists. What is simulated: loss with and without a report,
duplicates, records that land long after they were reported lost, owners that crash or pause for long (zombies) while
others go on, owners of an older release, redelivery, group offsets ahead of the position, a broker clock that steps
back and leaps, retries under the same id, late ticks, garbage, checkpoints cut off half-way.

`simulate(seed)` runs one history and checks the invariants of the design while it runs and at its end; the same seed
gives the same history. `Violation` says which invariant broke.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from accord.schemas import headers as h
from accord.schemas.clock import VectorClock
from accord.schemas.codec import commands_codec
from accord.schemas.headers import Confirmed, Headers, LogRecord, command_headers
from accord.schemas.messages import Command
from accord.schemas.messages.locks import AcquireLock, LockGranted, ReleaseLock, RenewLease, WithdrawRequest
from accord.schemas.messages.log import CommandRepeated, PartitionOpened, SwitchRules, Tick
from accord.schemas.topics import commands_topic, events_topic
from accord.streams import checkpoint as cp
from accord.streams.chain import Chain, Decision
from accord.streams.decider import At, Domain
from accord.streams.locks.decider import NameDecider
from accord.streams.owner import Append, Owner
from accord.streams.partition import WINDOW_MS, Identity, Partition
from accord.streams.runtime import recovery
from msgspec.structs import replace

from accord import kafka
from accord.errors import AccordError, ChainBroken, LogGap, UnknownRules
from tests.streams.support import everything
from tests.streams.test_lock_properties import Model

IDENTITY: Final = Identity("simulated", "locks", 0)
EVENTS, COMMANDS = events_topic("locks"), commands_topic("locks")
KEYS: Final = (b"room", b"hall")
START_MS: Final = 1_700_000_000_000


class Violation(AssertionError):
    """An invariant does not hold."""


def demand(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)


class HalfLeases(NameDecider):
    """Version 2 of the rules: half the lease."""

    def decide(self, state: Any, command: Command, at: At) -> Any:
        if isinstance(command, AcquireLock | RenewLease):
            command = replace(command, lease_ms=max(1_000, command.lease_ms // 2))
        return super().decide(state, command, at)


OLD: Final = Domain("locks", {1: NameDecider()})
NEW: Final = Domain("locks", {1: NameDecider(), 2: HalfLeases()})


# -- the broker


@dataclass
class Broker:
    """Two logs and a clock. `late` are records that were reported lost and are still on their way."""

    random: random.Random
    calm: bool = False
    now_ms: int = START_MS
    commands: list[LogRecord] = field(default_factory=list)
    events: list[LogRecord] = field(default_factory=list)
    late: list[Callable[[], object]] = field(default_factory=list)

    def append_command(self, key: bytes | None, value: bytes | None, headers: Headers) -> int:
        offset = self.commands[-1].offset + 1 if self.commands else 0
        if not self.calm and self.random.random() < 0.03:
            offset += self.random.randint(
                1, 3
            )  # transaction markers, records that were removed: offsets without records
        self.commands.append(LogRecord(offset, self.now_ms, h.LOG_APPEND_TIME, key, value, tuple(headers)))
        return offset

    def append_event(self, key: bytes, value: bytes, headers: Headers) -> int:
        self.events.append(LogRecord(len(self.events), self.now_ms, h.LOG_APPEND_TIME, key, value, tuple(headers)))
        return len(self.events) - 1

    def commands_from(self, offset: int, count: int) -> list[LogRecord]:
        found = [record for record in self.commands if record.offset >= offset]
        return found[:count]

    def step_clock(self) -> None:
        steps = [0, 1, 20, 300, 1_200] if self.calm else [0, 1, 20, 300, 1_200, 4_000, -2_500]
        self.now_ms += self.random.choice(steps)
        if not self.calm and self.random.random() < 0.01:
            self.now_ms += self.random.choice([WINDOW_MS // 2, WINDOW_MS + 1, -WINDOW_MS // 4])

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, len(self.events)

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[LogRecord]:
        yield from self.events[max(start, 0) : end]


@dataclass
class View:
    """What a reader sees that asks now: the events up to `end`."""

    broker: Broker
    end: int

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, self.end

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[LogRecord]:
        return self.broker.read(topic, partition, start, end)


@contextmanager
def simulated_reads() -> Iterator[None]:
    """The readers' anchor reads the simulated logs in place of Kafka's."""
    real = [(name, getattr(kafka, name)) for name in ("bounds", "read")]
    for name, _ in real:
        setattr(kafka, name, lambda log, *where, name=name: getattr(log, name)(*where))
    try:
        yield
    finally:
        for name, function in real:
            setattr(kafka, name, function)


class Producer:
    """An idempotent producer on a bad network: in order, but any record may be lost, doubled or late."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.queue: deque[tuple[Callable[[], int], Callable[[int | None], None]]] = deque()
        self.fault = 0.12

    def send(self, append: Callable[[], int], report: Callable[[int | None], None]) -> None:
        self.queue.append((append, report))

    def step(self) -> None:
        """The network does something with the oldest record."""
        if not self.queue:
            return
        append, report = self.queue.popleft()
        chance = self.broker.random.random()
        if self.broker.calm or chance > self.fault:
            report(append())
        elif chance < self.fault * 0.35:
            report(None)  # lost
        elif chance < self.fault * 0.5:
            append()  # landed, but the acknowledgement is lost
            report(None)
        elif chance < self.fault * 0.7:
            self.broker.late.append(append)
            report(None)
        elif chance < self.fault * 0.9:
            offset = append()
            self.broker.late.append(append)
            report(offset)
        else:
            append()
            report(append())  # landed twice; the report is of the second

    def purge(self) -> None:
        """Takes back what was not sent yet; it is reported as failed."""
        waiting, self.queue = self.queue, deque()
        for _, report in waiting:
            report(None)

    def die(self) -> None:
        """The process is gone; what it had sent may still land, and nobody hears of it."""
        for append, _ in self.queue:
            if self.broker.random.random() < 0.5:
                self.broker.late.append(append)
        self.queue.clear()


# -- the workers


class Worker:
    """A process that owns the partition, or believes so: the order of steps is that of the worker's processor."""

    hears_every_failure = True
    rearms_lost_ticks = True

    def __init__(self, number: int, cluster: Cluster, domain: Domain) -> None:
        self.number = number
        self.cluster = cluster
        self.domain = domain
        self.paused_until = 0
        self.producer = Producer(cluster.broker)
        self.owner: Owner | None = None
        self.halted = False
        self.ticks = 0
        self.loses_next_tick = False

    # a process's life

    def start(self) -> None:
        broker, table = self.cluster.broker, self.cluster.table
        self.owner = None
        self.producer.die()
        self.producer = Producer(broker)
        self.reports: deque[tuple[int, int | None]] = deque()
        self.outstanding = 0
        self.ticking: dict[str, None] = {}
        self.rows = dict(table)
        self.job: Iterator[None] | None = None
        loaded = cp.load(IDENTITY.root, {key: value for key, value in self.rows.items() if value is not None})
        try:
            recovered = recovery.recover(broker, EVENTS, IDENTITY, self.domain, loaded)  # type: ignore[arg-type]
        except UnknownRules:
            self.halted = True
            return
        demand(recovered.checkpoint is None or loaded is not None, "a checkpoint out of nothing")
        self.checkpoint = recovered.checkpoint
        self.verified: Confirmed | None = None
        partition = recovered.partition
        self.stale_rows = []
        if self.checkpoint is None:
            partition.changed.update(partition.aggregates)
            self.stale_rows = [key for key in self.rows if key != cp.CHECKPOINT_KEY]
        elif loaded is not None:
            self.stale_rows = loaded.stale
        self.owner = Owner(partition, recovered.end_offset, recovered.confirmed, pending_max=8)
        self.cursor = self.cluster.random.randint(0, len(broker.commands) + 2)  # the group's offset: a hint, no more
        if partition.head.seq == 0:
            self.write([self.owner.open(1, "log_append")])

    def crash(self) -> None:
        self.producer.die()
        self.owner = None
        self.halted = False

    def step(self) -> None:
        cluster = self.cluster
        if self.owner is None:
            if self.halted and (cluster.broker.calm or cluster.random.random() < 0.05):
                self.domain, self.halted = NEW, False  # an operator installs the newer release
            if not self.halted:
                self.start()
            return
        chance = cluster.random.random()
        if not cluster.broker.calm and chance < 0.012:
            self.crash()
        elif not cluster.broker.calm and chance < 0.03:
            self.paused_until = cluster.time + cluster.random.randint(5, 120)
        elif chance < 0.3:
            self.producer.step()
        elif chance < 0.55:
            self.take_report()
        elif chance < 0.6:
            self.tick()
        elif chance < 0.68:
            self.step_checkpoint()
        elif self.owner.contested:
            self.settle()
        else:
            self.decide()

    # deciding and writing

    def decide(self) -> None:
        owner, broker = self.owner, self.cluster.broker
        assert owner is not None
        if self.cluster.random.random() < 0.05:
            self.cursor = self.cluster.random.randint(0, owner.next_command)  # delivered again
        batch = broker.commands_from(self.cursor, min(owner.room, self.cluster.random.randint(1, 4)))
        if not batch:
            self.cursor = min(self.cursor, owner.next_command)
            return
        first = broker.commands_from(owner.next_command, 1)
        hole = batch[0].offset <= owner.next_command or (bool(first) and first[0].offset == batch[0].offset)
        appends: list[Append] = []
        try:
            for record in batch:
                append = owner.take(record, hole=hole)
                self.cursor = record.offset + 1
                if append is not None:
                    appends.append(append)
                    self.tick_decided(append.decision)
        except LogGap:
            self.cursor = owner.next_command
        except UnknownRules:
            self.halted = True
        self.write(appends)
        if self.halted:
            self.crash()
            self.halted = True

    def write(self, appends: list[Append]) -> None:
        """Sends decisions. Of success only the last is heard, of failure each: that is what the worker asks for."""
        for append in appends:
            decision = append.decision
            headers = decision.headers(f"locks/0:{decision.cause}", b"worker-%d" % self.number, append.confirmed)
            place = partial(self.cluster.broker.append_event, decision.key, decision.value, headers)
            self.outstanding += 1
            self.producer.send(place, partial(self.reported, decision.seq, append is appends[-1]))

    def reported(self, seq: int, is_last: bool, offset: int | None) -> None:
        if is_last or (offset is None and self.hears_every_failure):
            self.reports.append((seq, offset))
        else:
            self.outstanding -= 1

    def take_report(self) -> None:
        if self.reports and self.owner is not None:
            seq, offset = self.reports.popleft()
            self.outstanding -= 1
            self.owner.delivered(seq, offset)
            self.check_confirmed()

    def settle(self) -> None:
        """The contest: nothing more goes out, every report comes in, then the log tells."""
        owner = self.owner
        assert owner is not None
        if self.cluster.random.random() < 0.5:
            self.producer.purge()
        while self.reports:
            self.take_report()
        if self.outstanding:
            return
        accepted, end = recovery.accepted_after(self.cluster.broker, EVENTS, IDENTITY, owner.confirmed)  # type: ignore[arg-type]
        try:
            settled = owner.settle(accepted, end)
        except UnknownRules:
            self.crash()
            self.halted = True
            return
        if settled:
            for key in self.ticking:  # who decided them, if anybody, is not told here
                owner.partition.deadlines.rearm(key)
            self.ticking.clear()
            self.check_confirmed()
        else:
            self.start()

    def check_confirmed(self) -> None:
        """What an owner believes to be confirmed goes into its records' headers: readers start there."""
        owner = self.owner
        self.cluster.auditor.step()
        if owner is not None and owner.confirmed is not None:
            true = self.cluster.auditor.place.get(owner.confirmed.seq)
            demand(true == owner.confirmed, f"worker {self.number} takes {owner.confirmed} for confirmed; it is {true}")

    # ticks and checkpoints

    def tick(self) -> None:
        if self.owner is None:
            return
        deadlines = self.owner.partition.deadlines
        skew = self.cluster.random.choice([0, 0, 500, -500])
        for key in deadlines.due(self.cluster.broker.now_ms + skew):
            if key not in self.ticking:
                self.ticking[key] = None
                self.ticks += 1
                if self.loses_next_tick:
                    self.loses_next_tick = False
                    self.tick_reported(key, None)
                    continue
                name = f"tick-{self.number}-{self.cluster.time}-{self.ticks}"
                self.cluster.send_command(self.producer, key.encode(), Tick(), name, partial(self.tick_reported, key))

    def tick_reported(self, key: str, offset: int | None) -> None:
        if offset is None and self.owner is not None and key in self.ticking and self.rearms_lost_ticks:
            del self.ticking[key]
            self.owner.partition.deadlines.rearm(key)

    def tick_decided(self, decision: Decision) -> None:
        key = decision.key.decode(errors="replace")
        if key in self.ticking and decision.command_id.startswith("tick-") and self.owner is not None:
            del self.ticking[key]
            self.owner.partition.deadlines.rearm(key)

    def step_checkpoint(self) -> None:
        if self.job is None:
            self.job = self.write_checkpoint()
        try:
            next(self.job)
        except (StopIteration, ChainBroken):
            self.job = None

    def write_checkpoint(self) -> Iterator[None]:
        """The changed rows, then the checkpoint; other steps, and crashes, come between."""
        owner = self.owner
        if owner is None or owner.contested or not owner.partition.changed:
            return
        taken = cp.snapshot(owner.partition)
        seq = taken.checkpoint.seq
        try:
            while owner.confirmed is None or owner.confirmed.seq < seq:
                yield
                if self.owner is not owner or owner.contested:
                    raise ChainBroken("contested")
            mine = Confirmed(taken.checkpoint.offset, seq, taken.checkpoint.digest)
            self.verified = recovery.read_back(self.cluster.broker, EVENTS, IDENTITY, self.verified, mine)  # type: ignore[arg-type]
            rows, done, stale = cp.rows_of(taken, self.checkpoint, self.rows.get)
            for key, value in (dict.fromkeys(self.stale_rows) | rows).items():
                yield
                self.put_row(key, value)
            yield
            self.put_row(cp.CHECKPOINT_KEY, done.encode())
        except ChainBroken:
            owner.partition.changed.update(taken.changed)
            raise
        self.checkpoint, self.stale_rows = done, stale

    def put_row(self, key: bytes, value: bytes | None) -> None:
        for rows in (self.rows, self.cluster.table):
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value


# -- the clients


class Client:
    """An agent: asks, asks again under the same id when it hears nothing, and believes what the chain accepts."""

    def __init__(self, number: int, cluster: Cluster) -> None:
        self.number = number
        self.cluster = cluster
        self.agent = f"agent-{number}"
        self.producer = Producer(cluster.broker)
        self.producer.fault = 0.2
        self.asked: dict[str, tuple[bytes, Command, int]] = {}
        self.answers: dict[int, tuple[bytes, str]] = {}
        self.tokens: list[tuple[bytes, int]] = []
        self.clock = VectorClock()
        self.count = 0
        self.chain: Chain | None = None
        self.next_offset = 0

    def step(self) -> None:
        rng = self.cluster.random
        chance = rng.random()
        if chance < 0.35:
            self.producer.step()
        elif chance < 0.7:
            self.read()
        elif chance < 0.8 and self.asked:
            command_id = rng.choice(list(self.asked))
            key, command, tries = self.asked[command_id]
            if tries < 4:
                self.asked[command_id] = (key, command, tries + 1)
                self.send(key, command, command_id)
            else:
                del self.asked[command_id]
        elif chance < 0.815 and not self.cluster.broker.calm:
            self.producer.send(
                partial(self.cluster.broker.append_command, rng.choice([b"room", b"", None]), b"\xc3\x01garbage", []),
                _unheard,
            )
        elif len(self.asked) < 3 and not self.cluster.broker.calm:
            self.ask()

    def ask(self) -> None:
        rng = self.cluster.random
        self.count += 1
        key, token = rng.choice(self.tokens) if self.tokens else (rng.choice(KEYS), 1)
        command: Command
        match rng.randint(0, 9):
            case 0 | 1 if self.tokens:
                command = RenewLease(self.agent, token, 4_000)
            case 2 | 3 | 4 if self.tokens:
                command = ReleaseLock(self.agent, token)
            case 5 if self.asked:
                request = rng.choice(list(self.asked))
                key, command = self.asked[request][0], WithdrawRequest(self.agent, request)
            case _:
                key = rng.choice(KEYS)
                owner = f"{self.agent}/{rng.randint(0, 2)}"
                command = AcquireLock(
                    self.agent, owner, rng.choice([1_000, 4_000, 9_000]), rng.choice([None, 0, 2_000])
                )
        command_id = f"{self.agent}-{self.count}"
        self.asked[command_id] = (key, command, 1)
        self.send(key, command, command_id)

    def send(self, key: bytes, command: Command, command_id: str) -> None:
        self.clock = self.clock.advanced(self.agent)
        self.cluster.send_command(self.producer, key, command, command_id, _unheard, self.clock.encode())

    def read(self) -> None:
        """Reads on through a chain of its own, anchored where it joined, as the clients do."""
        broker = self.cluster.broker
        if self.chain is None:
            if not broker.events:
                return
            self.chain, self.next_offset = kafka.anchor(broker, EVENTS, 0, IDENTITY.root)  # type: ignore[arg-type]
        for record in broker.events[self.next_offset :]:
            decision = self.chain.accept(record)
            self.next_offset = record.offset + 1
            if decision is None:
                continue
            self.clock = self.clock.merge(VectorClock.decode(decision.clock))
            if decision.command_id in self.asked:
                self.heard(decision)

    def heard(self, decision: Decision) -> None:
        del self.asked[decision.command_id]
        self.answers[decision.seq] = (decision.digest, decision.command_id)
        for event in self.cluster.auditor.partition.events.decode(decision.value):
            if isinstance(event, LockGranted) and event.agent == self.agent:
                self.tokens = [*self.tokens[-3:], (decision.key, event.token)]


def _unheard(_: int | None) -> None:
    """A report that nobody waits for."""


# -- the auditor


class Auditor:
    """Reads every event as it lands, from the first on; what it accepts is the truth."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.chain = Chain(IDENTITY.root)
        self.accepted: list[Decision] = []
        self.place: dict[int, Confirmed] = {}
        self.partition = Partition(IDENTITY, NEW)
        self.offset = 0

    def step(self) -> None:
        for record in self.broker.events[self.offset :]:
            self.offset = record.offset + 1
            decision = self.chain.accept(record)
            if decision is not None:
                self.accepted.append(decision)
                self.place[decision.seq] = Confirmed(decision.offset, decision.seq, decision.digest)


class Cluster:
    """Everything, and the order in which it acts."""

    def __init__(self, seed: int, worker_count: int = 2) -> None:
        self.random = random.Random(seed)
        self.time = 0
        self.broker = Broker(self.random)
        self.auditor = Auditor(self.broker)
        self.table: dict[bytes, bytes] = {}
        releases = [self.random.choice([OLD, OLD, NEW]) for _ in range(worker_count)]
        self.workers = [Worker(number, self, domain) for number, domain in enumerate(releases)]
        self.clients = [Client(number, self) for number in range(3)]
        self.switch_at = self.random.randint(50, 900)

    def send_command(
        self,
        producer: Producer,
        key: bytes,
        command: Command,
        command_id: str,
        report: Callable[[int | None], None],
        clock: bytes = b"",
    ) -> None:
        codec = commands_codec("locks")
        headers = command_headers(command_id, "simulated", codec.type_name(command), clock)
        producer.send(partial(self.broker.append_command, key, codec.encode(command), headers), report)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.time += 1
            if self.random.random() < 0.3:
                self.broker.step_clock()
            if self.broker.late and self.random.random() < 0.03:
                self.broker.late.pop(self.random.randrange(len(self.broker.late)))()
            if self.time == self.switch_at:
                self.send_command(self.clients[0].producer, b"room", SwitchRules(2, "half"), "switch", _unheard)
            actor: Worker | Client = self.random.choice([*self.workers, *self.workers, *self.clients])
            if not isinstance(actor, Worker) or actor.paused_until <= self.time or self.broker.calm:
                actor.step()
            self.auditor.step()

    def calm_down(self) -> None:
        """No more faults: what was late lands, every worker and client finishes, and time alone frees every lock."""
        self.broker.calm = True
        while self.broker.late:
            self.broker.late.pop(self.random.randrange(len(self.broker.late)))()
        if self.random.random() < 0.5:
            self.workers = [self.random.choice(self.workers)]  # whoever is left must do without the others
        for worker in self.workers:
            worker.loses_next_tick = True
        for _ in range(100):
            self.run(150)
            if self.is_done():
                break
        demand(self.is_done(), "the cluster does not come to rest, or a lock's deadlines are not handled")

    def is_done(self) -> bool:
        """Every command has a decision that is accepted, and every worker knows."""
        last = self.broker.commands[-1].offset if self.broker.commands else -1
        if self.auditor.chain.head.cause < last or any(client.producer.queue for client in self.clients):
            return False
        return all(
            worker.owner is not None
            and not worker.owner.contested
            and not worker.owner.pending
            and worker.owner.partition.position >= last
            and not worker.producer.queue
            and not worker.owner.partition.aggregates
            for worker in self.workers
        )


# -- the invariants


def check(cluster: Cluster) -> None:
    """What must hold of every history."""
    for client in cluster.clients:
        client.read()
    accepted = cluster.auditor.accepted
    rebuilt = check_function_of_the_log(cluster.broker, accepted)
    check_every_command(cluster.broker, accepted)
    check_repeats(rebuilt, accepted)
    check_locks(rebuilt, accepted)
    check_readers(cluster, accepted)
    for client in cluster.clients:
        for seq, (digest, command_id) in client.answers.items():
            true = accepted[seq - 1]
            demand(
                (true.digest, true.command_id) == (digest, command_id), f"{client.agent} was told what is not so: {seq}"
            )
    for worker in cluster.workers:
        assert worker.owner is not None
        live, truth = everything(worker.owner.partition), everything(rebuilt)
        different = [name for name in truth if live[name] != truth[name]]
        demand(not different, f"the state of worker {worker.number} differs from the log's in {different}")


def check_function_of_the_log(broker: Broker, accepted: list[Decision]) -> Partition:
    """Invariant 1: every command decided once more, by the version in force, gives the decision that was accepted."""
    commands = {record.offset: record for record in broker.commands}
    partition = Partition(IDENTITY, NEW)
    now_ms = 0
    for decision in accepted:
        back = partition.read(decision)
        if decision.seq > 1:
            again = partition.decide(commands[decision.cause]).decision
            demand(again.digest == decision.digest, f"decision {decision.seq} is no function of the log")
        else:
            (opened,) = back.events
            demand(isinstance(opened, PartitionOpened), "the first decision is no genesis")
        demand(decision.now_ms >= now_ms, f"the clock of decision {decision.seq} runs back")
        now_ms = decision.now_ms
        partition.apply(back)
    return partition


def check_every_command(broker: Broker, accepted: list[Decision]) -> None:
    """Invariant 8: each command has one decision; they come in order."""
    causes = [decision.cause for decision in accepted[1:]]
    demand(causes == [record.offset for record in broker.commands], "commands without a decision, or with two")


def check_repeats(partition: Partition, accepted: list[Decision]) -> None:
    """One command id takes effect once, within the window."""
    effective: dict[str, int] = {}
    for decision in accepted[1:]:
        events = partition.events.decode(decision.value)
        if not events or not isinstance(events[0], CommandRepeated):
            before = effective.get(decision.command_id)
            demand(before is None or decision.now_ms - before > WINDOW_MS, f"{decision.command_id} took effect twice")
            effective[decision.command_id] = decision.now_ms


def check_locks(partition: Partition, accepted: list[Decision]) -> None:
    """Invariant 7: never two holders, tokens grow for ever, first come first served."""
    models: dict[bytes, Model] = {}
    for decision in accepted[1:]:
        model = models.setdefault(decision.key, Model())
        for event in partition.events.decode(decision.value):
            model.note(event, decision.now_ms)


def check_readers(cluster: Cluster, accepted: list[Decision]) -> None:
    """Invariant 2: whoever starts in the middle, at any time, accepts what one from the start does."""
    broker = cluster.broker
    for _ in range(12):
        end = cluster.random.randint(1, len(broker.events))
        chain, start = kafka.anchor(View(broker, end), EVENTS, 0, IDENTITY.root)  # type: ignore[arg-type]
        seen = [decision for record in broker.events[start:] if (decision := chain.accept(record)) is not None]
        expected = [decision.digest for decision in accepted if decision.offset >= start]
        demand(
            [decision.digest for decision in seen] == expected, f"a reader that starts at {start} sees another chain"
        )


def simulate(seed: int, *, steps: int = 1_500, workers: int = 2) -> Cluster:
    """One history.

    Raises:
        Violation, AccordError: an invariant broke; the seed brings it back.
    """
    cluster = Cluster(seed, workers)
    with simulated_reads():
        cluster.run(steps)
        cluster.calm_down()
        check(cluster)
    return cluster


def first_failure(seeds: range, **options: Any) -> tuple[int, Exception] | None:
    """The first seed whose history breaks an invariant, and how."""
    for seed in seeds:
        try:
            simulate(seed, **options)
        except (AssertionError, AccordError) as error:
            return seed, error
    return None
