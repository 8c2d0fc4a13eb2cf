"""Who decides what simulated agents ask: the rules of all domains, with one worker that never errs, but may be away.

It is for tests of what agents do. The rules, the chain, what process managers order, the deadlines and the reports of
who waits are those of a worker; how workers fail over, recover and contest a partition is simulated elsewhere
(`cluster.py`): of that agents see that nobody decides for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from accord.replay.fork.cluster import Done, order_headers, orders_of
from accord.replay.order import Where
from accord.schemas.codec import commands_codec
from accord.schemas.headers import Confirmed, Headers, LogRecord, command_headers
from accord.schemas.messages import Event
from accord.schemas.messages.log import Tick
from accord.schemas.topics import commands_topic, events_topic, partition_of
from accord.streams.chain import Decision
from accord.streams.decider import Domain, holds, names_of
from accord.streams.domains import DOMAINS
from accord.streams.partition import Identity, Partition
from accord.streams.runtime.machine import Machine
from accord.streams.runtime.waits import WaitReports
from accord.testing.simulation.log import Log
from accord.testing.simulation.scheduler import Scheduler

DECIDE_MS: Final = 3.0
"""A command is decided within twice this time."""

OnDecision = Callable[[Where, Decision, tuple[Event, ...]], None]


class Desk:
    """See the module's text.

    Args:
        scheduler, log: of the run.
        prefix: of the topics.
        told: called with each decision.
        domains: other rules, by domain.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        log: Log,
        prefix: str,
        told: OnDecision,
        domains: Mapping[str, Domain] = DOMAINS,
    ) -> None:
        self.log = log
        self.prefix = prefix
        self.told = told
        self.away_until_ms = -1.0
        self.made = 0
        self._scheduler = scheduler
        self._random = scheduler.stream("desk")
        self._domains = domains
        self._of_topic = {commands_topic(name, prefix): name for name in domains}
        self._clerks: dict[Where, _Clerk] = {}
        log.on_append(self._appended)

    def away(self, ms: float) -> None:
        """Nothing is decided for so long."""
        self.away_until_ms = max(self.away_until_ms, self._scheduler.now_ms + ms)

    def send(self, domain: str, key: str, value: bytes, headers: Headers) -> None:
        """Sends a command of its own."""
        encoded = key.encode()
        topic, partition = commands_topic(domain, self.prefix), partition_of(encoded, self.log.partitions)
        delay_ms = self._random.random() * DECIDE_MS
        self._scheduler.call_later(delay_ms, lambda: self.log.append(topic, partition, encoded, value, headers))

    def number(self) -> int:
        """A new number, for ids."""
        self.made += 1
        return self.made

    def later(self, ms: float, function: Callable[[], None]) -> None:
        """Has a function called after so many ms, and not before it is back."""

        def go() -> None:
            if self.away_until_ms > self._scheduler.now_ms:
                self._scheduler.call_at(self.away_until_ms, go)
            else:
                function()

        self._scheduler.call_later(ms, go)

    def _appended(self, topic: str, partition: int, _: LogRecord) -> None:
        domain = self._of_topic.get(topic)
        if domain is None:
            return
        where = domain, partition
        clerk = self._clerks.get(where)
        if clerk is None:
            clerk = self._clerks[where] = _Clerk(self, where, self._domains[domain])
        if not clerk.is_called:
            clerk.is_called = True
            self.later(self._random.random() * 2 * DECIDE_MS, clerk.decide)


class _Clerk:
    """Decides in one partition."""

    def __init__(self, desk: Desk, where: Where, domain: Domain) -> None:
        name, index = where
        log = desk.log
        self.is_called = False
        self._desk = desk
        self._where = where
        self._domain = domain
        self._partition = Partition(Identity(log.cluster, name, index, desk.prefix), domain)
        self._commands, self._events = commands_topic(name, desk.prefix), events_topic(name, desk.prefix)
        self._source = f"accord/{name}/{index}"
        self._confirmed: Confirmed | None = None
        self._ticks_at: int | None = None
        self._reacts = names_of(domain.reactions)
        machine = Machine(lambda: desk._scheduler.now_ms / 1_000, lambda low, high: low, lambda: str(desk.number()))
        self._waits = domain.contention and WaitReports(domain.contention, log.partitions, machine)
        self._append(self._partition.open(log.partitions, "log_append", landing=0).decision, None)

    def decide(self) -> None:
        """Decides all that was asked."""
        self.is_called = False
        partition, log = self._partition, self._desk.log
        for record in log.read(self._commands, self._where[1], partition.position + 1):
            decided = partition.decide(record, landing=log.bounds(self._events, self._where[1])[1])
            self._append(decided.decision, tuple(decided.events))
        self._tell_waits()
        self._tick_in_time()

    def _append(self, decision: Decision, events: tuple[Event, ...] | None) -> None:
        """Writes a decision; without events it is the partition's first."""
        partition, desk, index = self._partition, self._desk, self._where[1]
        source = self._source.encode()
        headers = decision.headers(f"{partition.name}:{decision.cause}", source, self._confirmed)
        partition.apply(partition.read(decision))
        partition.changed.clear()
        self._confirmed = Confirmed(decision.offset, decision.seq, decision.digest)
        desk.log.append(self._events, index, decision.key, decision.value, headers)
        if events is None:
            return
        if self._reacts and holds(decision.type, self._reacts):
            self._order(decision, events)
        if self._waits is not None:
            self._waits.note(decision)
        desk.told(self._where, decision, events)

    def _order(self, decision: Decision, events: tuple[Event, ...]) -> None:
        """What the domain's process manager makes of a decision."""
        decided = self._partition.read(decision)
        because = Done(self._where, decided, None, decision.now_ms)
        for message_id, order in orders_of(self._domain, self._where, decision, events):
            value = commands_codec(order.domain).encode(order.command)
            self._desk.send(order.domain, order.key, value, order_headers(message_id, because, order))

    # -- what nobody asks for

    def _tell_waits(self) -> None:
        due_s = None if self._waits is None else self._waits.due_in_s()
        if self._waits is None or due_s is None:
            return
        if due_s > 0:
            self._desk.later(due_s * 1_000 + 1, self._tell_waits)
            return
        for report in self._waits.take(self._partition):
            self._desk.send("waits", report.key.decode(), report.value, report.headers)

    def _tick_in_time(self) -> None:
        """Makes sure that the next deadline is handled."""
        due_ms = self._partition.deadlines.next()
        if due_ms is None or (self._ticks_at is not None and self._ticks_at <= due_ms):
            return
        self._ticks_at = due_ms
        self._desk.later(due_ms - self._desk.log.clock_ms(self._where[1]), self._tick)

    def _tick(self) -> None:
        self._ticks_at = None
        domain, index = self._where
        codec = commands_codec(domain)
        for key in list(self._partition.deadlines.due(self._desk.log.clock_ms(index))):
            message_id = f"tick-{domain}-{index}-{self._desk.number()}"
            headers = command_headers(message_id, self._source, codec.type_name(Tick()), b"")
            self._desk.log.append(self._commands, index, key.encode(), codec.encode(Tick()), headers)
        self._tick_in_time()
