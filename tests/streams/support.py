"""What the tests of the pure core share: partitions, records of commands and of decisions, a log in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from accord.schemas import headers as h
from accord.schemas.headers import Confirmed, Headers, LogRecord, command_headers
from accord.schemas.messages import Command
from accord.schemas.topics import partition_of
from accord.streams.chain import Decision
from accord.streams.decider import Domain
from accord.streams.domains import DOMAINS
from accord.streams.partition import Decided, Identity, Partition

START_MS = 1_700_000_000_000
SOURCE = b"accord/worker-1"


def unopened(domain: str | Domain = "locks", *, number: int = 0) -> Partition:
    """A partition without its genesis."""
    rules = DOMAINS[domain] if isinstance(domain, str) else domain
    return Partition(Identity("test-cluster", rules.name, number), rules)


def partition(
    domain: str | Domain = "locks", *, number: int = 0, partition_count: int = 1, timestamps: str = "log_append"
) -> Partition:
    """A partition with its genesis applied, as at offset 0 of its log."""
    made = unopened(domain, number=number)
    apply(made, made.open(partition_count, timestamps))
    return made


def command(
    made: Partition,
    offset: int,
    message: Command | None,
    *,
    key: bytes | None = b"room",
    at_ms: int = START_MS,
    command_id: str | None = None,
    clock: bytes = b"[0,{}]",
    task: str | None = None,
    value: bytes | None = None,
    headers: Iterable[tuple[str, Any]] | None = None,
    timestamp_type: int = h.LOG_APPEND_TIME,
) -> LogRecord:
    """A command's record. `value` and `headers` replace what a well-behaved client would write."""
    if message is not None:
        value = made.commands.encode(message)
        kind = made.commands.type_name(message)
    else:
        kind = "unknown"
    if headers is None:
        headers = command_headers(command_id or f"id-{offset}", "agent", kind, clock, task)
    return LogRecord(offset, at_ms, timestamp_type, key, value, headers)


def record_of(
    decided: Decided | Decision, *, offset: int | None = None, confirmed: Confirmed | None = None
) -> LogRecord:
    """The record of a decision as it lies in the events topic."""
    decision = decided.decision if isinstance(decided, Decided) else decided
    headers: Headers = decision.headers(f"event-{decision.seq}", SOURCE, confirmed)
    at = offset if offset is not None else decision.offset
    return LogRecord(at, decision.now_ms, h.LOG_APPEND_TIME, decision.key, decision.value, headers)


def apply(made: Partition, decided: Decided) -> Decided:
    """Applies a decision as if it had landed at the end of a log without gaps."""
    placed = msgspec.structs.replace(
        decided, decision=msgspec.structs.replace(decided.decision, offset=decided.decision.seq - 1)
    )
    made.apply(placed)
    return placed


def run(made: Partition, commands: Iterable[LogRecord]) -> list[Decided]:
    """Decides and applies commands in turn."""
    return [apply(made, made.decide(record)) for record in commands]


def log_of(decided: Sequence[Decided]) -> list[LogRecord]:
    """Decisions as the records of an events log; each names the one before as confirmed."""
    records = []
    confirmed: Confirmed | None = None
    for item in decided:
        decision = item.decision
        records.append(record_of(decision, confirmed=confirmed))
        confirmed = Confirmed(decision.offset, decision.seq, decision.digest)
    return records


def key_of_partition(number: int, partition_count: int) -> bytes:
    """Some key that hashes to the partition."""
    return next(key for i in range(10_000) if partition_of(key := b"key-%d" % i, partition_count) == number)


def everything(made: Partition) -> dict[str, Any]:
    """All that later decisions depend on, as plain data: the canonical dump and what it leaves out."""
    window = [entry[:2] for entry in made.window._order]
    return made.canonical() | {
        "window": window,
        "known": {command_id: made.window.get(command_id) for _, command_id in window},
        "partition_count": made.partition_count,
        "timestamps": made.timestamps,
        "rows": {key: made.dump(key) for key in made.aggregates},
        "next_deadline": made.deadlines.next(),
    }
