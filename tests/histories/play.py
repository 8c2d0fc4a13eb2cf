"""Makes logs without Kafka: commands go through a `Partition`, records come out as a worker would write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from accord.replay.archive import ArchiveWriter
from accord.replay.source import Source
from accord.schemas.clock import VectorClock
from accord.schemas.codec import commands_codec
from accord.schemas.headers import LOG_APPEND_TIME, Confirmed, Headers, LogRecord, command_headers
from accord.schemas.messages import Command
from accord.schemas.position import Position
from accord.schemas.topics import commands_topic, events_topic, partition_of
from accord.streams.decider import Source as Cause
from accord.streams.decider import id_of
from accord.streams.domains import DOMAINS
from accord.streams.partition import Decided, Identity, Partition

from accord.errors import LogGap

START_MS = 1_772_000_000_000
CONFIRMED_LAG = 2
"""A decision names as confirmed the one so many before it, as a pipelining writer does."""


class Play(Source):
    """A log in memory, which is a source, too. Tests change `log_commands` and `log_events` as they like.

    Args:
        partitions: partition count of each domain.
    """

    def __init__(self, *, cluster: str = "play", prefix: str = "accord", **partitions: int) -> None:
        self.name, self.cluster, self.prefix = "play", cluster, prefix
        self.partitions = partitions or {"locks": 1}
        self.now_ms = START_MS
        self.clock = VectorClock()
        self._sent = 0
        self._confirmed: dict[tuple[str, int], list[Confirmed]] = {}
        self.states: dict[tuple[str, int], Partition] = {}
        self.log_commands: dict[tuple[str, int], list[LogRecord]] = {}
        self.log_events: dict[tuple[str, int], list[LogRecord]] = {}
        for where in self.all_partitions():
            domain, number = where
            state = Partition(Identity(cluster, domain, number, prefix), DOMAINS[domain])
            self.states[where] = state
            self.log_commands[where], self.log_events[where] = [], []
            self._confirmed[where] = []
            self.record(where, state.open(self.partitions[domain], "log_append"))

    def send(
        self, key: str, command: Command, *, domain: str = "locks", after_ms: int = 10, message_id: str | None = None,
        task: str | None = None, partition: int | None = None,
    ) -> Decided:  # fmt: skip
        """Appends a command `after_ms` later and the decision on it."""
        self._sent += 1
        codec = commands_codec(domain)
        self.clock = self.clock.advanced(f"{getattr(command, 'agent', 'nobody')}#1")
        headers = command_headers(
            message_id or f"c{self._sent}", getattr(command, "agent", "nobody"), codec.type_name(command),
            self.clock.encode(), task,
        )  # fmt: skip
        number = partition_of(key.encode(), self.partitions[domain]) if partition is None else partition
        return self.append((domain, number), key.encode(), codec.encode(command), headers, after_ms=after_ms)

    def append(
        self, where: tuple[str, int], key: bytes | None, value: bytes | None, headers: Headers, *, after_ms: int = 10,
        decide: bool = True,
    ) -> Decided:  # fmt: skip
        """Appends any record to a commands topic and, with `decide`, the decision on it."""
        self.now_ms += after_ms
        log = self.log_commands[where]
        offset = log[-1].offset + 1 if log else 0
        log.append(LogRecord(offset, self.now_ms, LOG_APPEND_TIME, key, value, tuple(headers)))
        decided = self.states[where].decide(log[-1])
        if decide:
            self.record(where, decided)
        return decided

    def follow(self, domain: str, decided: Decided, *, after_ms: int = 1) -> list[Decided]:
        """Has the commands that follow from a decision decided, and those that follow from them, as a worker does."""
        number = partition_of(decided.decision.key, self.partitions[domain])
        offset = decided.decision.seq - 1
        found: list[Decided] = []
        orders = [
            order
            for event in decided.events
            if type(event) in DOMAINS[domain].reactions
            for order in DOMAINS[domain].reactions[type(event)](decided.decision.key.decode(), event)
        ]
        for place, order in enumerate(orders):
            command_id = id_of(Cause(Position(domain, number, offset), place))
            next_one = self.send(
                order.key, order.command, domain=order.domain, message_id=command_id, after_ms=after_ms
            )
            found += [next_one, *self.follow(order.domain, next_one, after_ms=after_ms)]
        return found

    def record(self, where: tuple[str, int], decided: Decided) -> None:
        """Appends a decision to the events, and takes it in."""
        log, confirmed, state = self.log_events[where], self._confirmed[where], self.states[where]
        offset = log[-1].offset + 1 if log else 0
        decision = msgspec.structs.replace(decided.decision, offset=offset)
        pointer = confirmed[-CONFIRMED_LAG] if len(confirmed) >= CONFIRMED_LAG else None
        name = state.identity.name
        headers = decision.headers(f"{name}:{decision.cause}", f"accord/{name}".encode(), pointer)
        log.append(LogRecord(offset, self.now_ms, LOG_APPEND_TIME, decision.key, decision.value, tuple(headers)))
        confirmed.append(Confirmed(offset, decision.seq, decision.digest))
        state.apply(msgspec.structs.replace(decided, decision=decision))

    def save(self, path: Path) -> None:
        """Writes the log as an archive."""
        with ArchiveWriter(path, cluster=self.cluster, prefix=self.prefix, partitions=self.partitions) as out:
            for domain, number in self.all_partitions():
                out.append(commands_topic(domain, self.prefix), number, self.log_commands[domain, number])
                out.append(events_topic(domain, self.prefix), number, self.log_events[domain, number])

    # -- as a source

    def bounds(self, domain: str, partition: int, *, commands: bool = False) -> tuple[int, int]:
        log = self._log(domain, partition, commands)
        return (log[0].offset, log[-1].offset + 1) if log else (0, 0)

    def read(
        self, domain: str, partition: int, start: int, *, commands: bool = False, beside: bool = False
    ) -> Iterator[LogRecord]:
        return iter([record for record in self._log(domain, partition, commands) if record.offset >= start])

    def _log(self, domain: str, partition: int, commands: bool) -> list[LogRecord]:
        try:
            return (self.log_commands if commands else self.log_events)[domain, partition]
        except KeyError:
            raise LogGap("deleted") from None

    def close(self) -> None:
        pass
