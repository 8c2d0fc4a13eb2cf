"""Values of keys as programs have them and as the log does, and what its refusals mean."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from accord.agents.connection.connection import Answer
from accord.agents.signals.plain import NotPlain, plain
from accord.schemas.messages.state import CommitHeld, CommitRefused, Entry, KeyRead, ReadRefused
from accord.schemas.messages.transactions import TransactionDecided
from accord.streams.state.bounds import READ_COMMITTED, SERIALIZABLE, SNAPSHOT, VALUE_BYTES_MAX, problem_of_key
from accord.streams.state.decider import CONFLICT, FULL, TOO_OLD, held_by

from accord.errors import (
    AccordError,
    BadInput,
    ExceedsCapacity,
    KeyHeld,
    NotFound,
    Refused,
    SchemaError,
    SnapshotTooOld,
    TooLarge,
    VersionConflict,
    WrongType,
)

DOMAIN: Final = "state"
ISOLATIONS: Final = (SERIALIZABLE, SNAPSHOT, READ_COMMITTED)


class Versioned(msgspec.Struct, frozen=True):
    """A value and the version of the scope that it came with.

    Where there is none, `value` is None and `exists` is False; `version` is 0 or, in a history, that of its deletion.
    """

    value: Any
    version: int
    exists: bool = True


def check_key(key: Any) -> str:
    """A key. Raises BadInput unless it is text of 1 to 255 bytes of UTF-8."""
    if not isinstance(key, str):
        raise BadInput(f"a key of a scope is text, not {key!r}.")
    try:
        problem = problem_of_key(key)
    except UnicodeEncodeError:
        problem = f"{key[:40]!r} is no text that UTF-8 can write"
    if problem is not None:
        raise BadInput(f"{problem}.")
    return key


def as_text(key: str, value: Any) -> str:
    """A value as the log has it: JSON, the same text for the same value.

    Raises:
        BadInput: JSON cannot express it.
        TooLarge: it has more than 64 KiB.
    """
    try:
        text = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    except NotPlain as error:
        raise BadInput(f"the value of {key} has {error}; it must be JSON.", key=key) from None
    size = len(text.encode())
    if size > VALUE_BYTES_MAX:
        raise TooLarge(
            f"the value of {key} has {size} bytes of JSON; at most {VALUE_BYTES_MAX} are possible.",
            remedy="Keep it beside the log and put what names it: artifact = await hub.artifacts.put(...).",
            key=key,
        )
    return text


def members_of(key: str, members: Iterable[Any]) -> str:
    """Members of a set as the log has them. Raises BadInput: there are none, or one is no text."""
    known = list(members)
    if not known or not all(isinstance(member, str) for member in known):
        raise BadInput(f"members of {key}: {known!r}; texts are needed, one at least.", key=key)
    return as_text(key, known)


def versioned(scope: str, entry: Entry) -> Versioned:
    """A key as a program has it. Raises SchemaError: its value is no JSON; some other program has written it."""
    if entry.value is None:
        return Versioned(None, entry.version, exists=False)
    try:
        return Versioned(json.loads(entry.value), entry.version)
    except (ValueError, RecursionError) as error:
        raise SchemaError(
            f"{entry.key} of {scope} has a value that is no JSON, since version {entry.version}: {error}.",
            remedy="Whoever wrote it did so without accord's client: write it again.",
            key=scope,
        ) from None


def entry_of(read: KeyRead) -> Entry:
    return Entry(read.key, read.value, read.key_version)


def key_held(scope: str, event: CommitHeld, answer: Answer, wait_ms: int) -> KeyHeld:
    """The error for a commit that a transaction kept out all the time."""
    return KeyHeld(
        f"{scope}: {held_by(event.key, event.transaction, event.holder)}, for {wait_ms} ms now.",
        remedy=f"See: accord tx show {event.transaction}. It ends of itself; then try again.",
        key=scope,
        agent=event.agent,
        holder=event.transaction,
        position=str(answer.position),
    )


def read_refused(scope: str, event: ReadRefused, answer: Answer) -> AccordError:
    """The error for a read of a version that cannot be read."""
    if event.reason == TOO_OLD:
        return _too_old(scope, f"version {event.asked} is kept no more, {event.oldest} is the oldest", answer)
    return NotFound(
        f"{scope} has no version {event.asked} yet; the newest is {event.version}.",
        key=scope,
        position=str(answer.position),
    )


def commit_refused(scope: str, event: CommitRefused | TransactionDecided, answer: Answer) -> Refused:
    """The error for a commit that changed nothing."""
    position = str(answer.position)
    if event.reason == CONFLICT:
        conflicts = [msgspec.structs.asdict(conflict) for conflict in event.conflicts]
        first = event.conflicts[0]
        what = f"keys {first.key}*" if first.is_prefix else first.key
        more = f", and {len(conflicts) - 1} more" if len(conflicts) > 1 else ""
        return VersionConflict(
            f"{what} of {scope}: version {first.expected} was read, but {_there_is(first.found)}{more}.",
            remedy="Read again and decide anew: scope.update() and run_transaction() do that.",
            key=scope,
            position=position,
            expected=first.expected,
            found=first.found,
            conflicts=conflicts,
        )
    if event.reason == TOO_OLD:
        return _too_old(scope, event.description, answer)
    if event.reason == FULL:
        return ExceedsCapacity(
            f"{scope}: {event.description}.",
            remedy="Delete keys, or spread them over several scopes.",
            key=scope,
            position=position,
        )
    return WrongType(f"{scope}: {event.description}.", key=scope, position=position)


def _there_is(found: int) -> str:
    return f"there is version {found}" if found else "there is none any more"


def _too_old(scope: str, why: str, answer: Answer) -> SnapshotTooOld:
    return SnapshotTooOld(
        f"{scope}: {why}.",
        remedy=f"The log has it: accord state get {scope} --version N. To keep more: scope.configure(history=...).",
        key=scope,
        position=str(answer.position),
    )
