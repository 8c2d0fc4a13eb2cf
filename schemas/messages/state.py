"""State: versioned keys that agents share, in scopes; see `accord.streams.state`."""

import msgspec
from accord.schemas.messages import Command, Event


class SeenKey(msgspec.Struct, frozen=True, gc=False):
    """A key that was read; version 0: there was none."""

    key: str
    version: int


class SeenRange(msgspec.Struct, frozen=True, gc=False):
    """All keys with a prefix that were read, at a version of the scope."""

    prefix: str
    version: int
    values: bool


class Write(msgspec.Struct, frozen=True, gc=False):
    """What is to be done to a key."""

    key: str
    operation: str
    operand: str | None


class Change(msgspec.Struct, frozen=True, gc=False):
    """What was done to a key; a value of None: there is none any more."""

    key: str
    operation: str
    operand: str | None
    value: str | None
    before: int


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """What was changed since it was read."""

    key: str
    is_prefix: bool
    expected: int
    found: int


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A key as it is, or was."""

    key: str
    value: str | None
    version: int


class CommitChanges(Command, frozen=True):
    agent: str
    isolation: str
    snapshot: int | None
    reads: tuple[SeenKey, ...]
    ranges: tuple[SeenRange, ...]
    writes: tuple[Write, ...]
    rule: str
    rule_version: str


class ReadKey(Command, frozen=True):
    agent: str
    key: str
    at_version: int | None


class ReadRange(Command, frozen=True):
    agent: str
    prefix: str
    after: str
    values: bool
    at_version: int | None


class ReadHistory(Command, frozen=True):
    agent: str
    key: str
    after_version: int | None


class ConfigureScope(Command, frozen=True):
    agent: str
    history: int


class PrepareChanges(Command, frozen=True):
    agent: str
    transaction: str
    isolation: str
    snapshot: int | None
    reads: tuple[SeenKey, ...]
    ranges: tuple[SeenRange, ...]
    writes: tuple[Write, ...]
    due_ms: int


class CommitPrepared(Command, frozen=True):
    transaction: str


class AbortPrepared(Command, frozen=True):
    transaction: str


class ChangesCommitted(Event, frozen=True):
    agent: str
    isolation: str
    version: int
    changes: tuple[Change, ...]
    rule: str
    rule_version: str


class CommitRefused(Event, frozen=True):
    agent: str
    reason: str
    description: str
    conflicts: tuple[Conflict, ...]
    version: int


class KeyRead(Event, frozen=True):
    agent: str
    key: str
    value: str | None
    key_version: int
    version: int


class RangeRead(Event, frozen=True):
    agent: str
    prefix: str
    entries: tuple[Entry, ...]
    more: bool
    version: int


class HistoryRead(Event, frozen=True):
    agent: str
    key: str
    entries: tuple[Entry, ...]
    more: bool
    oldest: int
    version: int


class ReadRefused(Event, frozen=True):
    agent: str
    reason: str
    asked: int
    oldest: int
    version: int


class ScopeConfigured(Event, frozen=True):
    agent: str
    history: int


class ChangesPrepared(Event, frozen=True):
    agent: str
    transaction: str
    isolation: str
    changes: tuple[Change, ...]
    held: tuple[str, ...]
    read: tuple[str, ...]
    prefixes: tuple[str, ...]
    due_ms: int
    prepared_ms: int


class PrepareRefused(Event, frozen=True):
    agent: str
    transaction: str
    reason: str
    description: str
    conflicts: tuple[Conflict, ...]
    holder: str


class PrepareRepeated(Event, frozen=True):
    transaction: str
    found: str


class PreparedCommitted(Event, frozen=True):
    agent: str
    transaction: str
    version: int
    due_ms: int
    committed_ms: int


class PreparedAborted(Event, frozen=True):
    agent: str
    transaction: str


class OutcomeKnown(Event, frozen=True):
    transaction: str
    told: str
    found: str


class OutcomeWanted(Event, frozen=True):
    transaction: str
    times: int
    wanted_ms: int


class CommitHeld(Event, frozen=True):
    agent: str
    key: str
    transaction: str
    holder: str


COMMANDS = (
    CommitChanges,
    ReadKey,
    ReadRange,
    ReadHistory,
    ConfigureScope,
    PrepareChanges,
    CommitPrepared,
    AbortPrepared,
)
EVENTS = (
    ChangesCommitted,
    CommitRefused,
    KeyRead,
    RangeRead,
    HistoryRead,
    ReadRefused,
    ScopeConfigured,
    ChangesPrepared,
    PrepareRefused,
    PrepareRepeated,
    PreparedCommitted,
    PreparedAborted,
    OutcomeKnown,
    OutcomeWanted,
    CommitHeld,
)
