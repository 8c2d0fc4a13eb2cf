"""The cluster of a fork: the partitions from the cut on, in memory, with no broker, no worker and no clock of its own.

A command that is appended is decided at once by the partition's rules, as a worker decides it. As long as nothing was
left out or added in a partition, records lie where the recorded ones lay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from accord.replay.fork.changes import Rules
from accord.replay.fork.cut import Cut, Slot
from accord.replay.order import Where
from accord.replay.source import Source
from accord.schemas import headers as h
from accord.schemas.codec import Codec, commands_codec
from accord.schemas.headers import Confirmed, Headers, LogRecord, Record, command_headers
from accord.schemas.messages import Command, Event, log
from accord.schemas.messages.log import CommandRejected, CommandsLost
from accord.schemas.position import Position
from accord.schemas.topics import partition_of
from accord.streams.chain import GENESIS_CAUSE, Chain, Decision, Head
from accord.streams.decider import Domain, Order, id_of
from accord.streams.decider import Source as Cause
from accord.streams.domains import DOMAINS
from accord.streams.partition import DECODE_REASONS, Decided, Partition

from accord.errors import AccordError, BadInput, SchemaError

PRODUCERS_TIME: Final = 0


class Done(msgspec.Struct, frozen=True, gc=False):
    """A decision of the fork: on which record, and in whose place in the record, if in any."""

    where: Where
    decided: Decided
    slot: Slot | None
    at_ms: int

    @property
    def decision(self) -> Decision:
        return self.decided.decision

    @property
    def events(self) -> tuple[Event, ...]:
        return tuple(self.decided.events)

    @property
    def key(self) -> str:
        return self.decision.key.decode(errors="replace")

    @property
    def position(self) -> Position:
        return Position(*self.where, self.decision.offset)

    @property
    def is_recorded(self) -> bool:
        """Whether it is the recorded decision, byte for byte."""
        return self.slot is not None and self.slot.decision.digest == self.decision.digest


class Cluster:
    """The partitions of a fork.

    Args:
        cut: what they start from; its partitions are taken over.
        rules: other rules than the recorded ones, by domain.
    """

    def __init__(self, cut: Cut, partitions: dict[str, int], rules: Mapping[str, Rules]) -> None:
        self.counts = partitions
        self.partitions = cut.partitions
        self.starts: dict[Where, Head] = {where: partition.head for where, partition in cut.partitions.items()}
        self.done: list[Done] = []
        self.commands: dict[Where, list[LogRecord]] = {where: [] for where in cut.partitions}
        self.moved: set[Where] = set()
        """Partitions in which something was left out or added."""
        self.differing: set[Where] = set()
        """Partitions with a decision that is not the recorded one."""
        self._rules = rules
        self._last: dict[Where, int] = {
            where: max(partition.head.cause, GENESIS_CAUSE) for where, partition in cut.partitions.items()
        }
        self._made = 0
        for (domain, _), partition in cut.partitions.items():
            if domain in rules:
                put_in_force(partition, rules[domain])

    def where(self, domain: str, key: str) -> Where:
        """The partition of a key."""
        return domain, partition_of(key.encode(), self.counts[domain])

    def state(self, where: Where, key: str) -> Any:
        return self.partitions[where].aggregates.get(key)

    def deadline_ms(self, where: Where, key: str) -> int | None:
        """When the next deadline of an aggregate is due."""
        state = self.state(where, key)
        return None if state is None else self.partitions[where].decider.deadline_ms(state)

    # -- deciding

    def take(self, slot: Slot, record: LogRecord | Record) -> Done:
        """Decides a command in the place of a recorded one."""
        where = slot.where
        offset = record.offset if where not in self.moved else self._last[where] + 1
        return self._append(where, _at(record, offset), slot, slot.decision.now_ms)

    def lost(self, slot: Slot) -> Done:
        """Takes over that commands were lost; only where nothing was moved before."""
        partition = self.partitions[slot.where]
        (event,) = partition.read(slot.decision).events
        assert isinstance(event, CommandsLost)
        decided = partition.lost(event.first_offset, event.last_offset, landing=slot.decision.offset)
        self._last[slot.where] = event.last_offset
        return self._apply(slot.where, decided, slot, slot.decision.now_ms)

    def add(self, where: Where, key: str, command: Command, headers: Headers, at_ms: int) -> Done:
        """Decides a command that the record does not have."""
        self.moved.add(where)
        partition = self.partitions[where]
        if partition.head.seq == 0:  # the record has nothing in it
            timestamps = next(one.timestamps for one in self.partitions.values() if one.head.seq)
            self._apply(where, partition.open(self.counts[where[0]], timestamps, landing=0), None, at_ms)
        return self._append(where, self.record(where, key, command, headers, at_ms), None, at_ms)

    def record(self, where: Where, key: str, command: Command, headers: Headers, at_ms: int) -> LogRecord:
        """A command as a record, behind all others of its partition."""
        kind = _time_of(self.partitions[where])
        value = commands_codec(where[0]).encode(command)
        return LogRecord(self._last[where] + 1, at_ms, kind, key.encode(), value, tuple(headers))

    def headers(self, what: str, sender: str, domain: str, command: Command) -> Headers:
        """The headers of a command that the fork makes up; its id begins with `what`."""
        self._made += 1
        return command_headers(f"{what}-fork-{self._made}", sender, commands_codec(domain).type_name(command), b"")

    def _append(self, where: Where, record: LogRecord, slot: Slot | None, at_ms: int) -> Done:
        partition = self.partitions[where]
        landing = self._landing(where, slot)
        try:
            decided = partition.decide(record, landing=landing)
            if slot is not None and decided.decision.digest != slot.decision.digest:
                decided = self._unread(partition, record, slot, landing) or decided
            self.commands[where].append(record)
            self._last[where] = record.offset
            return self._apply(where, decided, slot, at_ms)
        except AccordError:
            raise
        except Exception as error:
            if where[0] not in self._rules:
                raise
            at = str(Position(*where, record.offset, commands=True))
            raise BadInput(f"The decider of {where[0]} failed at {at}: {error!r}.", position=at) from error

    def _apply(self, where: Where, decided: Decided, slot: Slot | None, at_ms: int) -> Done:
        partition = self.partitions[where]
        partition.apply(decided)
        partition.changed.clear()
        if decided.decision.cause == GENESIS_CAUSE and where[0] in self._rules:
            put_in_force(partition, self._rules[where[0]])
        done = Done(where, decided, slot, max(at_ms, decided.decision.now_ms))
        self.done.append(done)
        if not done.is_recorded:
            self.differing.add(where)
        return done

    def _landing(self, where: Where, slot: Slot | None) -> int:
        if slot is not None and where not in self.moved:
            return slot.decision.offset
        return self.partitions[where].head.offset + 1

    @staticmethod
    def _unread(partition: Partition, record: LogRecord, slot: Slot, landing: int) -> Decided | None:
        """The rejection of what a worker could not read, as recorded: it depends on the schemas that it knew."""
        assert slot.command is not None
        if record.value != slot.command.value or not slot.decision.type.endswith(b".CommandRejected"):
            return None
        (event,) = partition.read(slot.decision).events
        if not isinstance(event, CommandRejected) or event.reason not in DECODE_REASONS:
            return None
        codec: Any = partition.commands
        partition.commands = _Unreadable(event)  # type: ignore[assignment]
        try:
            return partition.decide(record, landing=landing)
        finally:
            partition.commands = codec


class _Unreadable:
    """A codec that reads nothing, for the recorded reason."""

    def __init__(self, rejected: CommandRejected) -> None:
        self._rejected = rejected

    def decode(self, _: bytes | None) -> Any:
        raise SchemaError(self._rejected.description, reason=self._rejected.reason)


def put_in_force(partition: Partition, rules: Rules) -> None:
    """Has a partition decide by other rules: another version, or a decider in place of the version in force."""
    if rules.version is not None:
        partition.rules = rules.version
    else:
        domain = partition.domain
        partition.domain = domain._replace(versions={**domain.versions, partition.rules: rules.decider})


def folded(where: Where, state: Any, decisions: Sequence[Decision], codec: Codec) -> Any:
    """The state of an aggregate after recorded decisions, by the recorded rules."""
    versions = DOMAINS[where[0]].versions
    for decision in decisions:
        for event in codec.decode(decision.value):
            if type(event) not in log.EVENTS:
                state = versions[decision.rules].evolve(state, event)
    return state


def orders_of(domain: Domain, where: Where, decision: Decision, events: tuple[Event, ...]) -> list[tuple[str, Order]]:
    """The commands of the domain's process manager that follow from a decision, with their ids."""
    found: list[tuple[str, Order]] = []
    number = 0
    position = Position(*where, decision.offset)
    for event in events:
        number += type(event) is CommandRejected or type(event) in domain.dead_letters
        reaction = domain.reactions.get(type(event))
        for order in reaction(decision.key.decode(errors="replace"), event) if reaction else ():
            found.append((id_of(Cause(position, number)), order))
            number += 1
    return found


def order_headers(message_id: str, because: Done, order: Order) -> Headers:
    """The headers of a process manager's command that follows from a decision, as a worker writes them."""
    where, decision = because.where, because.decision
    return command_headers(
        message_id,
        f"accord/{where[0]}/{where[1]}",
        commands_codec(order.domain).type_name(order.command),
        decision.clock,
        decision.task.decode() or None,
        decision.trace.decode() if decision.trace.isascii() else None,
    )


def _at(record: LogRecord | Record, offset: int) -> LogRecord:
    headers = tuple(record.headers)
    return LogRecord(offset, record.timestamp, record.timestamp_type, record.key, record.value, headers)


class ForkedLog(Source):
    """The log of a fork, as a source: all of replay can look at it. Up to the cut it is the original."""

    def __init__(self, source: Source, cluster: Cluster) -> None:
        self.name, self.cluster, self.prefix = f"fork of {source.name}", source.cluster, source.prefix
        self.partitions = source.partitions
        self._source = source
        self._starts = cluster.starts
        self._commands = cluster.commands
        self._events: dict[Where, list[LogRecord]] = {where: [] for where in cluster.starts}
        for done in cluster.done:
            kind = _time_of(cluster.partitions[done.where])
            self._events[done.where].append(_event_record(done, kind))

    def bounds(self, domain: str, partition: int, *, commands: bool = False) -> tuple[int, int]:
        where = domain, partition
        low, end = self._source.bounds(domain, partition, commands=commands)
        head = self._starts[where]
        first = min(end, max(low, (head.cause if commands else head.offset) + 1))
        own = (self._commands if commands else self._events)[where]
        return low, own[-1].offset + 1 if own else first

    def read(
        self, domain: str, partition: int, start: int, *, commands: bool = False, beside: bool = False
    ) -> Iterator[Record]:
        where = domain, partition
        read = self._before_commands if commands else self._before_events
        yield from read(where, start, beside)
        for record in (self._commands if commands else self._events)[where]:
            if record.offset >= start:
                yield record

    def _before_commands(self, where: Where, start: int, beside: bool) -> Iterator[Record]:
        last = self._starts[where].cause
        low, _ = self._source.bounds(*where, commands=True)
        if max(start, low) > last:
            return
        for record in self._source.read(*where, max(start, low), commands=True, beside=beside):
            if record.offset > last:
                return
            yield record

    def _before_events(self, where: Where, start: int, beside: bool) -> Iterator[Record]:
        last = self._starts[where].offset
        if start > last:
            return
        chain = Chain(self._source.root(*where))
        for record in self._source.events(*where, beside=beside):
            if record.offset > last:
                return
            if chain.accept(record) is not None and record.offset >= start:
                yield record

    def close(self) -> None:
        """The original is not its own."""


def _time_of(partition: Partition) -> int:
    """Whose time a partition's records carry."""
    return h.LOG_APPEND_TIME if partition.timestamps == "log_append" else PRODUCERS_TIME


def _event_record(done: Done, kind: int) -> LogRecord:
    decision = done.decision
    name = f"{done.where[0]}/{done.where[1]}"
    confirmed: Confirmed | None = None
    if done.is_recorded and done.slot is not None and done.slot.decision.offset == decision.offset:
        confirmed = done.slot.decision.confirmed
    headers = decision.headers(f"{name}:{decision.cause}", f"accord/{name}".encode(), confirmed)
    return LogRecord(decision.offset, done.at_ms, kind, decision.key, decision.value, tuple(headers))
