"""State: one aggregate a scope of versioned keys; a command to it reads, or changes several keys at once.

Rules:
- A scope's version grows by one with each commit that changes something, and never restarts. A value has the version of
  the commit that it came with; a key that there is not has version 0.
- A commit is decided wholly or not at all. What must not have changed since it was read depends on its isolation:
  serializable: every key and every prefix that was read; snapshot: every key that is written, since the snapshot;
  read committed: nothing, the last writer wins. So a serializable commit is as if it had run alone, when it is decided.
- A prefix that was read has changed if a key with it came or went, or, when values were read, got another one. Only the
  past that is kept tells: who read a prefix longer ago is refused.
- Counters and sets are merged here, by what is asked for: they need no read, and come out the same in any order.
- A read is answered for the newest version, or for any version from the oldest that is kept on. It is a command like
  any other, so it sees every commit before it and none after it.
- Values are texts of JSON that are not looked into, but for those of counters and sets.
- A scope that was written to is remembered for good, its version at least.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from accord.schemas.messages import Command, Event
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.state import (
    Change,
    ChangesCommitted,
    CommitChanges,
    CommitRefused,
    ConfigureScope,
    Conflict,
    Entry,
    HistoryRead,
    KeyRead,
    RangeRead,
    ReadHistory,
    ReadKey,
    ReadRange,
    ReadRefused,
    ScopeConfigured,
    SeenRange,
    Write,
)
from accord.streams.decider import At, Domain
from accord.streams.state.bounds import (
    ADD,
    CONFLICTS_MAX,
    DELETE,
    DISCARD,
    INCREMENT,
    KEYS_MAX,
    NUMBER_MAX,
    PAGE_BYTES_MAX,
    PUT,
    SCOPE_BYTES_MAX,
    SERIALIZABLE,
    SNAPSHOT,
    VALUE_BYTES_MAX,
    problem_of,
)
from accord.streams.state.keymap import Item
from accord.streams.state.scope import NONE, Scope, evolve

CONFLICT: Final = "conflict"
TOO_OLD: Final = "too_old"
NOT_YET: Final = "not_yet"
WRONG_TYPE: Final = "wrong_type"
FULL: Final = "full"

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_TEXT: Final = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_TEXTS: Final = re.compile(rf"\[(?:{_TEXT}(?:,{_TEXT})*+)?\]")
"""A set: flat, so that reading it depends on nothing but the text."""


class StateDecider:
    """Version 1."""

    state_type = Scope

    def decide(self, state: Scope | None, command: Command, at: At) -> Sequence[Event]:
        problem = problem_of(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        return _ANSWERS[type(command)](state or NONE, command)

    def evolve(self, state: Scope | None, event: Event) -> Scope | None:
        return evolve(state, event)

    def deadline_ms(self, state: Scope) -> int | None:
        return None


class Refusal(NamedTuple):
    """Why a commit changes nothing."""

    reason: str
    description: str
    conflicts: tuple[Conflict, ...] = ()


def _commit(scope: Scope, c: CommitChanges) -> list[Event]:
    refusal = _refusal(scope, c)
    changes: list[Change] = []
    if refusal is None:
        for write in c.writes:
            made = _change(scope.keys.get(write.key), write)
            if isinstance(made, Refusal):
                refusal = made
                break
            if made is not None:
                changes.append(made)
    refusal = refusal or _too_much(scope, changes)
    if refusal is not None:
        return [CommitRefused(c.agent, *refusal, scope.version)]
    version = scope.version + bool(changes)
    return [ChangesCommitted(c.agent, c.isolation, version, tuple(changes), c.rule, c.rule_version)]


# -- what must not have changed


def _refusal(scope: Scope, c: CommitChanges) -> Refusal | None:
    if c.isolation == SERIALIZABLE:
        for seen in c.ranges:
            if seen.version < scope.oldest:
                return _forgotten(scope, seen.version)
        found = [*_changed_keys(scope, c), *_changed_ranges(scope, c.ranges)]
    elif c.isolation == SNAPSHOT and c.snapshot is not None:
        if c.snapshot < scope.oldest:
            return _forgotten(scope, c.snapshot)
        found = list(_changed_writes(scope, c.writes, c.snapshot))
    else:
        return None
    if not found:
        return None
    return Refusal(CONFLICT, f"{len(found)} changed since they were read", tuple(found[:CONFLICTS_MAX]))


def _forgotten(scope: Scope, version: int) -> Refusal:
    return Refusal(TOO_OLD, f"version {version} is kept no more, {scope.oldest} is the oldest")


def _changed_keys(scope: Scope, c: CommitChanges) -> Iterator[Conflict]:
    for seen in c.reads:
        found = scope.version_of(seen.key)
        if found != seen.version:
            yield Conflict(seen.key, False, seen.version, found)


def _changed_ranges(scope: Scope, ranges: Iterable[SeenRange]) -> Iterator[Conflict]:
    for seen in ranges:
        for past in scope.changed_since(seen.version):
            came_or_went = (past.before != 0) != past.exists
            if past.key.startswith(seen.prefix) and (seen.values or came_or_went):
                yield Conflict(seen.prefix, True, seen.version, past.version)
                break


def _changed_writes(scope: Scope, writes: Iterable[Write], snapshot: int) -> Iterator[Conflict]:
    last: dict[str, int] = {}
    for past in scope.changed_since(snapshot):
        last.setdefault(past.key, past.version)
    for write in writes:
        if write.key in last:
            yield Conflict(write.key, False, snapshot, last[write.key])


# -- what is done


def _change(item: Item | None, write: Write) -> Change | Refusal | None:
    """What a write makes of a key; None: nothing."""
    before = 0 if item is None else item.version
    if write.operation == PUT:
        return Change(write.key, PUT, None, write.operand, before)
    if write.operation == DELETE:
        return None if item is None else Change(write.key, DELETE, None, None, before)
    if item is None and write.operation == DISCARD:
        return None
    merge = _incremented if write.operation == INCREMENT else _merged
    value = merge(None if item is None else item.value, write)
    if isinstance(value, Refusal):
        return value
    if item is not None and value == item.value:
        return None
    return Change(write.key, write.operation, write.operand, value, before)


def _incremented(value: str | None, write: Write) -> str | Refusal:
    now, by = _number("0" if value is None else value), _number(write.operand or "")
    if now is None:
        return Refusal(WRONG_TYPE, f"{write.key} is no counter: its value is no whole number up to {NUMBER_MAX}")
    if by is None or abs(now + by) > NUMBER_MAX:
        return Refusal(WRONG_TYPE, f"{write.key}: a counter is a whole number up to {NUMBER_MAX}")
    return str(now + by)


def _number(text: str) -> int | None:
    if _NUMBER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if abs(number) <= NUMBER_MAX else None


def _merged(value: str | None, write: Write) -> str | Refusal:
    """A set with members, or without them; in order, so it is the same whatever came first."""
    now, members = _members("[]" if value is None else value), _members(write.operand or "")
    if now is None:
        return Refusal(WRONG_TYPE, f"{write.key} is no set: its value is no JSON array of texts")
    if members is None:
        return Refusal(WRONG_TYPE, f"{write.key}: members of a set are a JSON array of texts")
    merged = set(now) | set(members) if write.operation == ADD else set(now) - set(members)
    text = json.dumps(sorted(merged), ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > VALUE_BYTES_MAX:
        return Refusal(FULL, f"the value of {write.key} would have more than {VALUE_BYTES_MAX} bytes")
    return text


def _members(text: str) -> list[str] | None:
    if _TEXTS.fullmatch(text) is None:
        return None
    members: list[str] = json.loads(text)
    return None if any("\ud800" <= char <= "\udfff" for member in members for char in member) else members


def _too_much(scope: Scope, changes: Iterable[Change]) -> Refusal | None:
    count, size = len(scope.keys), scope.size
    for change in changes:
        before = scope.keys.get(change.key)
        if before is not None:
            count, size = count - 1, size - before.size
        if change.value is not None:
            count, size = count + 1, size + len(change.key.encode()) + len(change.value.encode())
    if count > KEYS_MAX and count > len(scope.keys):
        return Refusal(FULL, f"the scope would have {count} keys; at most {KEYS_MAX} are possible")
    if size > SCOPE_BYTES_MAX and size > scope.size:
        return Refusal(FULL, f"the scope would have {size} bytes; at most {SCOPE_BYTES_MAX} are possible")
    return None


# -- reading


def _unreadable(scope: Scope, agent: str, version: int | None) -> list[Event] | None:
    """The refusal of a read at a version, if it cannot be read."""
    if version is not None and version < scope.oldest:
        return [ReadRefused(agent, TOO_OLD, version, scope.oldest, scope.version)]
    if version is not None and version > scope.version:
        return [ReadRefused(agent, NOT_YET, version, scope.oldest, scope.version)]
    return None


def _read_key(scope: Scope, c: ReadKey) -> list[Event]:
    refused = _unreadable(scope, c.agent, c.at_version)
    if refused is not None:
        return refused
    version = scope.version if c.at_version is None else c.at_version
    item = scope.at(c.key, version)
    value, came = (None, 0) if item is None else (item.value, item.version)
    return [KeyRead(c.agent, c.key, value, came, version)]


def _read_range(scope: Scope, c: ReadRange) -> list[Event]:
    refused = _unreadable(scope, c.agent, c.at_version)
    if refused is not None:
        return refused
    version = scope.version if c.at_version is None else c.at_version
    found = [item for item in scope.range_at(c.prefix, version) if item.key > c.after]
    entries = [Entry(item.key, item.value if c.values else None, item.version) for item in found]
    page, more = _page(entries)
    return [RangeRead(c.agent, c.prefix, page, more, version)]


def _read_history(scope: Scope, c: ReadHistory) -> list[Event]:
    refused = _unreadable(scope, c.agent, c.after_version)
    if refused is not None:
        return refused
    page, more = _page(scope.versions_of(c.key, c.after_version))
    return [HistoryRead(c.agent, c.key, page, more, scope.oldest, scope.version)]


def _page(entries: Sequence[Entry]) -> tuple[tuple[Entry, ...], bool]:
    """As many of the entries as one answer takes, and whether there are more."""
    size = 0
    for count, entry in enumerate(entries):
        size += len(entry.key.encode()) + len((entry.value or "").encode()) + _ENTRY_BYTES
        if size > PAGE_BYTES_MAX and count:
            return tuple(entries[:count]), True
    return tuple(entries), False


_ENTRY_BYTES: Final = 16
"""Of an entry beside its texts, at most."""


def _configure(_: Scope, c: ConfigureScope) -> list[Event]:
    return [ScopeConfigured(c.agent, c.history)]


def _tick(_: Scope, __: Tick) -> list[Event]:
    return []


_ANSWERS: Final[Mapping[type[Command], Callable[[Scope, Any], Sequence[Event]]]] = {
    CommitChanges: _commit,
    ReadKey: _read_key,
    ReadRange: _read_range,
    ReadHistory: _read_history,
    ConfigureScope: _configure,
    Tick: _tick,
}

DOMAIN: Final = Domain("state", {1: StateDecider()})
"""Scopes, by name."""
