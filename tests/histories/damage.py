"""What can be done to a recorded log, one function for each kind of damage; where it was done is told.

The log is that of `market`: the decision that awards the first work is changed, dropped, moved, given a rival, or made
by somebody else. `accord replay verify` must tell which of these it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from accord.replay.archive import ArchiveWriter
from accord.replay.source import open_source
from accord.schemas.clock import VectorClock
from accord.schemas.codec import events_codec
from accord.schemas.headers import LogRecord
from accord.schemas.messages import Event
from accord.schemas.messages.auctions import WorkAwarded
from accord.schemas.topics import commands_topic, events_topic
from accord.streams.chain import Chain
from accord.streams.domains import DOMAINS
from accord.streams.partition import Decided, Partition

from tests.histories.record import archive_of

DOMAIN = "auctions"


class Copy:
    """The records of a recorded history, to be changed; `events` are those of the partition `number` of `DOMAIN`, where
    the decision at the offset `at` awards work to `winner`, and not to `other`."""

    def __init__(self, name: str) -> None:
        with open_source(archive_of(name)) as log:
            self.terms: dict[str, Any] = {"cluster": log.cluster, "prefix": log.prefix, "partitions": log.partitions}
            self.records = {
                (of, number, commands): list(log.read(of, number, 0, commands=commands))
                for of, number in log.all_partitions()
                for commands in (True, False)
            }
            self.number, self.at, award = next(
                (number, record.offset, event)
                for of, number in log.all_partitions((DOMAIN,))
                for record in log.read(of, number, 0)
                for event in events_codec(of).decode(record.value)
                if isinstance(event, WorkAwarded)
            )
            self.identity = log.identity(DOMAIN, self.number)
        self.winner, self.other = award.agent, "writer" if award.agent != "writer" else "generalist"
        self.commands = self.records[DOMAIN, self.number, True]
        self.events = self.records[DOMAIN, self.number, False]

    def save(self, path: Path) -> None:
        with ArchiveWriter(path, **self.terms, timestamps="create") as out:
            for (of, number, commands), records in self.records.items():
                out.append((commands_topic if commands else events_topic)(of), number, records)

    def before(self, offset: int) -> tuple[Partition, Decided]:
        """The partition as it was before a decision, and that decision."""
        state = Partition(self.identity, DOMAINS[DOMAIN])
        chain = Chain(state.root)
        for record in self.events:
            decision = chain.accept(record)
            assert decision is not None
            decided = state.read(decision)
            if record.offset == offset:
                return state, decided
            state.apply(decided)
        raise AssertionError(offset)

    def forged(self, *, clock: VectorClock | None = None, events: Sequence[Event] = ()) -> tuple[Partition, Decided]:
        """The decision at `at` as another would have written it, and the partition with it."""
        state, decided = self.before(self.at)
        right = decided.decision
        made = state._decision(
            right.cause, right.command_id, right.now_ms, right.rules, clock or VectorClock.decode(right.clock),
            right.task, right.trace, right.key, events or decided.events,
        )  # fmt: skip
        return state, made

    def otherwise(self, **terms: Any) -> None:
        """The decision at `at` is another one, and all after it continue that, as the same worker would write them."""
        state, made = self.forged(**terms)
        asked = {record.offset: record for record in self.commands}
        for offset in range(self.at, len(self.events)):
            if offset > self.at:
                made = state.decide(asked[made.decision.cause + 1])
            self.events[offset] = written(self.events[offset], made)
            state.apply(msgspec.structs.replace(made, decision=msgspec.structs.replace(made.decision, offset=offset)))

    def awarded_to(self, agent: str) -> list[Event]:
        """The events at `at` with another winner."""
        return [
            msgspec.structs.replace(event, agent=agent) if isinstance(event, WorkAwarded) else event
            for event in self.before(self.at)[1].events
        ]

    def number_again(self) -> None:
        self.events[:] = [record._replace(offset=offset) for offset, record in enumerate(self.events)]


def written(record: LogRecord, made: Decided) -> LogRecord:
    """A decision in the place of a record."""
    return record._replace(value=made.decision.value, headers=made.decision.headers("x", b"x", None))


def edited(copy: Copy) -> None:
    """The award names another winner; nothing else was touched."""
    value = events_codec(DOMAIN).encode(copy.awarded_to(copy.other))
    copy.events[copy.at] = copy.events[copy.at]._replace(value=value)


def dropped(copy: Copy) -> None:
    """The award is not there."""
    del copy.events[copy.at]


def reordered(copy: Copy) -> None:
    """The award lies behind the decision that followed it."""
    log, at = copy.events, copy.at
    log[at], log[at + 1] = log[at + 1], log[at]
    copy.number_again()


def forked(copy: Copy) -> None:
    """Another award of the same work lies before the right one, and readers take the first that fits."""
    _, made = copy.forged(events=copy.awarded_to(copy.other))
    copy.events.insert(copy.at, written(copy.events[copy.at], made))
    copy.number_again()


def clock(copy: Copy) -> None:
    """All is right, but the award claims to know what nobody had told."""
    copy.otherwise(clock=VectorClock({"eve#1": 9}, 900))


def decision(copy: Copy) -> None:
    """Other code awarded the work to another, and chained all that follows to it."""
    copy.otherwise(events=copy.awarded_to(copy.other))


KINDS = (edited, dropped, reordered, forked, clock, decision)
"""Each has the name by which it must be called."""
