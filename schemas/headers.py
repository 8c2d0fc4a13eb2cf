"""Record headers: CloudEvents in binary mode, a trace context, and accord's own.

Commands carry `ce_specversion ce_id ce_source ce_type`, `traceparent` (if traced), `accord-clock` (vector clock) and
`accord-task` (correlation id). Decisions carry besides

    accord-cause      COMMAND_OFFSET COMMAND_ID       the command that was decided; -1 for the genesis
    accord-chain      SEQ NOW_MS PREV                 number, partition clock, hash of the decision before
    accord-rules      VERSION                         decider version that made it
    accord-confirmed  OFFSET SEQ HASH                 last decision that the writer had seen confirmed; outside the hash

    accord-inbox      PARTITIONS                      its writer sends notices to an inbox of so many; outside the hash

A notice has the headers of its decision that concern the client, and besides

    accord-at         DOMAIN/PARTITION@OFFSET         where the decision lies
    accord-key        KEY                             the decision's key; the notice's own is the addresses it is for

Hashes are written as hexadecimal digits, numbers as decimal ones, so that any Kafka tool shows them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

SPEC_VERSION: Final = ("ce_specversion", b"1.0")

ID: Final = "ce_id"
SOURCE: Final = "ce_source"
TYPE: Final = "ce_type"
TRACE: Final = "traceparent"
CLOCK: Final = "accord-clock"
TASK: Final = "accord-task"
CAUSE: Final = "accord-cause"
CHAIN: Final = "accord-chain"
RULES: Final = "accord-rules"
CONFIRMED: Final = "accord-confirmed"
FOLLOWED: Final = "accord-followed"
INBOX: Final = "accord-inbox"
AT: Final = "accord-at"
KEY: Final = "accord-key"

TEXT_BYTES_MAX: Final = 255
"""Bound on each of ce_id, ce_source, accord-task and traceparent of a command."""

Headers = list[tuple[str, bytes]]

LOG_APPEND_TIME: Final = 1
"""Kafka's timestamp type of a record whose time the broker set."""


class Record(Protocol):
    """A Kafka record, as aiokafka and `LogRecord` give it."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def timestamp_type(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Iterable[tuple[str, bytes]]:
        """Kafka allows a header without a value; what others wrote may hold None."""


class LogRecord(NamedTuple):
    """A Kafka record. `timestamp` is in ms since 1970; `timestamp_type` 0 is the producer's, 1 the broker's."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Iterable[tuple[str, bytes]] = ()


class Confirmed(NamedTuple):
    """Pointer to a decision known to be accepted."""

    offset: int
    seq: int
    digest: bytes

    def encode(self) -> bytes:
        return f"{self.offset} {self.seq} {self.digest.hex()}".encode()

    @classmethod
    def decode(cls, data: bytes) -> Confirmed:
        """Raises ValueError when the bytes are no pointer."""
        offset, seq, digest = data.split(b" ")
        return cls(int(offset), int(seq), bytes.fromhex(digest.decode()))


def command_headers(
    message_id: str,
    source: str,
    type_name: str,
    clock: bytes,
    task: str | None = None,
    trace: str | None = None,
) -> Headers:
    """The headers of a command as its sender writes them."""
    headers: Headers = [
        SPEC_VERSION,
        (ID, message_id.encode()),
        (SOURCE, source.encode()),
        (TYPE, type_name.encode()),
        (CLOCK, clock),
    ]
    if task is not None:
        headers.append((TASK, task.encode()))
    if trace is not None:
        headers.append((TRACE, trace.encode()))
    return headers
