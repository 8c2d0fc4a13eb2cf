"""What a transaction may be, and how often its participants are told: all bounds in one place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from accord.schemas.messages import Command
from accord.schemas.messages.transactions import (
    COMMANDS,
    AcknowledgeOutcome,
    BeginTransaction,
    CommitTransaction,
    EnlistChanges,
    RecordVote,
    ScopeChanges,
)
from accord.schemas.topics import KEY_BYTES_MAX
from accord.streams.bounds import Bounds
from accord.streams.locks.bounds import TEXT_BYTES_MAX
from accord.streams.state.bounds import CONFLICTS_MAX, TIMEOUT_MS_MAX, problem_of_changes
from accord.streams.tasks.bounds import LIMIT_MS_MAX

SCOPES_MAX: Final = 100
"""Of a transaction."""
BYTES_MAX: Final = 524_288
"""Of all that a transaction has read and writes, keys and values; so its decisions fit `DECISION_BYTES_MAX`."""
MEMBERS_MAX: Final = 100
DESCRIPTION_BYTES_MAX: Final = 1_024
TELL_MS: Final = 5_000
"""So long after its decision those that have not acknowledged it are told again; then twice as long each time."""
TELL_MS_MAX: Final = 60_000
TELLS_MAX: Final = 1_000
"""How often they are told again: for about 16 hours. After that they have to ask; nothing is forgotten before they have
acknowledged it."""
OUTCOMES: Final = ("committed", "aborted", "unknown")


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = _BOUNDS.of_numbers(command) or _BOUNDS.of_texts(command)
    if problem is not None:
        return problem
    match command:
        case BeginTransaction(members=members, changes=changes):
            return _problem_of_members(members) or _problem_of_changes(changes)
        case EnlistChanges(changes=changes) | CommitTransaction(changes=changes):
            return _problem_of_changes(changes)
        case RecordVote(description=description, conflicts=conflicts):
            if len(description.encode()) > DESCRIPTION_BYTES_MAX or len(conflicts) > CONFLICTS_MAX:
                return f"a vote has {DESCRIPTION_BYTES_MAX} bytes of description and {CONFLICTS_MAX} conflicts at most"
        case AcknowledgeOutcome(outcome=outcome) if outcome not in OUTCOMES:
            return f"outcome={outcome[:40]!r}: one of {', '.join(OUTCOMES)} is needed"
    return None


def _problem_of_members(members: Sequence[str]) -> str | None:
    if len(members) > MEMBERS_MAX:
        return f"a transaction has at most {MEMBERS_MAX} members"
    if any(not 0 < len(name.encode()) <= TEXT_BYTES_MAX for name in members):
        return f"the name of a member has 1 to {TEXT_BYTES_MAX} bytes"
    return None


def _problem_of_changes(changes: Sequence[ScopeChanges]) -> str | None:
    if len({of.scope for of in changes}) < len(changes):
        return "changes: a scope is named twice"
    for of in changes:
        if not 0 < len(of.scope.encode()) <= KEY_BYTES_MAX:
            return f"the name of a scope has 1 to {KEY_BYTES_MAX} bytes"
        problem = problem_of_changes(of)
        if problem is not None:
            return f"{of.scope}: {problem}"
    return problem_of_all(changes)


def problem_of_all(changes: Sequence[ScopeChanges]) -> str | None:
    """Why a transaction cannot have all these changes."""
    if len(changes) > SCOPES_MAX:
        return f"a transaction has at most {SCOPES_MAX} scopes, this one {len(changes)}"
    size = sum(map(bytes_of, changes))
    if size > BYTES_MAX:
        return f"a transaction has at most {BYTES_MAX} bytes of keys and values, this one {size}"
    return None


def bytes_of(of: ScopeChanges) -> int:
    """How large it is, about."""
    return _bytes([of.scope, *[seen.key for seen in of.reads], *[seen.prefix for seen in of.ranges]]) + _bytes(
        [text for write in of.writes for text in (write.key, write.operand or "")]
    )


def _bytes(texts: Iterable[str]) -> int:
    return sum([len(text.encode()) + _TEXT_BYTES for text in texts])


_TEXT_BYTES: Final = 12
"""Of a text beside its characters, with the number that goes with it."""
_RANGES: Final = {"timeout_ms": (1, TIMEOUT_MS_MAX), "keep_ms": (0, LIMIT_MS_MAX)}
_BOUNDS: Final = Bounds(
    "transactions",
    COMMANDS,
    ("agent", "reason", "domain", "key", "holder"),
    TEXT_BYTES_MAX,
    {name: (low, high, f"{low} to {high} are possible") for name, (low, high) in _RANGES.items()},
)
