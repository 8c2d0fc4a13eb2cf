"""What a scope may hold and how much of it is kept: all bounds in one place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from accord.schemas.messages import Command
from accord.schemas.messages.state import (
    COMMANDS,
    CommitChanges,
    PrepareChanges,
    ReadHistory,
    ReadKey,
    ReadRange,
    Write,
)
from accord.schemas.messages.transactions import ScopeChanges
from accord.streams.bounds import Bounds
from accord.streams.locks.bounds import TEXT_BYTES_MAX

KEY_BYTES_MAX: Final = 255
VALUE_BYTES_MAX: Final = 65_536
"""Of a value, as JSON in UTF-8. What is larger is an artifact, and the value names it."""
KEYS_MAX: Final = 10_000
"""Of a scope; a commit that would make more is refused."""
SCOPE_BYTES_MAX: Final = 8 * 1_048_576
"""Of all keys and values of a scope, as they are now; a commit that would make more is refused."""
HISTORY: Final = 1_000
"""How many changes of keys a scope keeps unless told otherwise."""
HISTORY_MAX: Final = 10_000
HISTORY_BYTES_MAX: Final = 1_048_576
"""Of the values that were replaced; beyond it the oldest changes go, however few they are."""
WRITES_MAX: Final = 500
READS_MAX: Final = 1_000
"""Keys, and as many prefixes, that a commit may have read."""
COMMIT_BYTES_MAX: Final = 524_288
"""Of all that a commit writes; so its decision fits `DECISION_BYTES_MAX`."""
PAGE_BYTES_MAX: Final = 262_144
"""A read of several keys is told so much; the rest is asked for again."""
CONFLICTS_MAX: Final = 20
"""A refusal names so many."""
PREPARED_MAX: Final = 200
"""Transactions that a scope is prepared for at once; beyond it, and beyond the next two, it votes no: `busy`."""
PREPARED_BYTES_MAX: Final = 4 * 1_048_576
"""Of all that is prepared in a scope."""
DONE_MAX: Final = 5_000
"""Transactions of which a scope remembers that they were done, each until its time is over."""
CHANGES_BYTES_MAX: Final = 786_432
"""Of what a prepared commit makes of keys: so the decision to do it fits `DECISION_BYTES_MAX`."""
ASK_MS: Final = 1_000
"""So long after a transaction's time is over its outcome is asked for; then twice as long each time."""
ASK_MS_MAX: Final = 60_000
TIMEOUT_MS_MAX: Final = 600_000
"""Of a transaction."""
NUMBER_MAX: Final = 2**63 - 1
"""Of a counter, on either side of zero."""
VERSION_MAX: Final = 2**62

SERIALIZABLE: Final = "serializable"
SNAPSHOT: Final = "snapshot"
READ_COMMITTED: Final = "read_committed"
ISOLATIONS: Final = (SERIALIZABLE, SNAPSHOT, READ_COMMITTED)

PUT: Final = "put"
DELETE: Final = "delete"
INCREMENT: Final = "increment"
ADD: Final = "add"
DISCARD: Final = "discard"
OPERATIONS: Final = (PUT, DELETE, INCREMENT, ADD, DISCARD)


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = _BOUNDS.of_numbers(command) or _BOUNDS.of_texts(command)
    if problem is not None:
        return problem
    match command:
        case CommitChanges() | PrepareChanges():
            return problem_of_changes(command)
        case ReadKey(key=key) | ReadHistory(key=key):
            return problem_of_key(key)
        case ReadRange(prefix=prefix, after=after):
            return _problem_of_prefix(prefix) or _problem_of_prefix(after)
    return None


def problem_of_key(key: str) -> str | None:
    """Why a text cannot be a key."""
    size = len(key.encode())
    return None if 0 < size <= KEY_BYTES_MAX else f"a key has 1 to {KEY_BYTES_MAX} bytes, {key[:40]!r} has {size}"


def _problem_of_prefix(prefix: str) -> str | None:
    return f"a prefix has at most {KEY_BYTES_MAX} bytes" if len(prefix.encode()) > KEY_BYTES_MAX else None


def problem_of_changes(c: CommitChanges | PrepareChanges | ScopeChanges) -> str | None:
    """Why changes of a scope cannot be decided."""
    if c.isolation not in ISOLATIONS:
        return f"isolation={c.isolation[:40]!r}: one of {', '.join(ISOLATIONS)} is needed"
    if not (c.writes or c.reads or c.ranges) or len(c.writes) > WRITES_MAX:
        return f"a commit writes 1 to {WRITES_MAX} keys, this one {len(c.writes)}"
    if max(len(c.reads), len(c.ranges)) > READS_MAX:
        return f"a commit names at most {READS_MAX} keys and {READS_MAX} prefixes that were read"
    return _problem_of_reads(c) or _problem_of_writes(c.writes)


def _problem_of_reads(c: CommitChanges | PrepareChanges | ScopeChanges) -> str | None:
    versions = [*[seen.version for seen in c.reads], *[seen.version for seen in c.ranges]]
    if any(not 0 <= version <= VERSION_MAX for version in versions):
        return f"a version is 0 to {VERSION_MAX}"
    return _first([problem_of_key(seen.key) for seen in c.reads]) or _first(
        [_problem_of_prefix(seen.prefix) for seen in c.ranges]
    )


def _problem_of_writes(writes: Sequence[Write]) -> str | None:
    if len({write.key for write in writes}) < len(writes):
        return "writes: a key is named twice"
    if sum(len((write.operand or "").encode()) for write in writes) > COMMIT_BYTES_MAX:
        return f"a commit writes at most {COMMIT_BYTES_MAX} bytes"
    return _first([problem_of_key(write.key) or _problem_of_write(write) for write in writes])


def _problem_of_write(write: Write) -> str | None:
    if write.operation not in OPERATIONS:
        return f"operation={write.operation[:40]!r}: one of {', '.join(OPERATIONS)} is needed"
    if (write.operand is None) != (write.operation == DELETE):
        return f"{write.key}: {write.operation} {'takes no' if write.operation == DELETE else 'needs an'} operand"
    if write.operand is not None and len(write.operand.encode()) > VALUE_BYTES_MAX:
        return f"the value of {write.key} has more than {VALUE_BYTES_MAX} bytes"
    return None


def _first(problems: Iterable[str | None]) -> str | None:
    return next((problem for problem in problems if problem is not None), None)


_RANGES: Final = {
    "snapshot": (0, VERSION_MAX),
    "at_version": (0, VERSION_MAX),
    "after_version": (0, VERSION_MAX),
    "history": (0, HISTORY_MAX),
}
_NUMBERS: Final = {name: (low, high, f"{low} to {high} are possible") for name, (low, high) in _RANGES.items()}
_BOUNDS: Final = Bounds("state", COMMANDS, ("agent", "rule", "rule_version", "transaction"), TEXT_BYTES_MAX, _NUMBERS)
