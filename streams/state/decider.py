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
- A transaction over several scopes has each of them prepare its part, as a commit is decided; then it waits, unseen,
  for the outcome, and what it touches is held: `accord.streams.state.prepared`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from accord.schemas.messages import Command, Event
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.state import (
    AbortPrepared,
    Change,
    ChangesCommitted,
    ChangesPrepared,
    CommitChanges,
    CommitHeld,
    CommitPrepared,
    CommitRefused,
    ConfigureScope,
    Conflict,
    Entry,
    HistoryRead,
    KeyRead,
    OutcomeKnown,
    OutcomeWanted,
    PrepareChanges,
    PreparedAborted,
    PreparedCommitted,
    PrepareRefused,
    PrepareRepeated,
    RangeRead,
    ReadHistory,
    ReadKey,
    ReadRange,
    ReadRefused,
    ScopeConfigured,
    SeenRange,
    Write,
)
from accord.schemas.messages.transactions import AcknowledgeOutcome, AskOutcome, RecordVote
from accord.streams.decider import At, Domain, Order
from accord.streams.state.bounds import (
    ADD,
    CHANGES_BYTES_MAX,
    CONFLICTS_MAX,
    DELETE,
    DISCARD,
    DONE_MAX,
    INCREMENT,
    KEYS_MAX,
    NUMBER_MAX,
    PAGE_BYTES_MAX,
    PREPARED_BYTES_MAX,
    PREPARED_MAX,
    PUT,
    SCOPE_BYTES_MAX,
    SERIALIZABLE,
    SNAPSHOT,
    VALUE_BYTES_MAX,
    problem_of,
)
from accord.streams.state.keymap import Item
from accord.streams.state.prepared import asks_due, holder_of, holds_of, next_ask_ms, prepared_of, was_committed
from accord.streams.state.scope import NONE, Scope, evolve

CONFLICT: Final = "conflict"
TOO_OLD: Final = "too_old"
NOT_YET: Final = "not_yet"
WRONG_TYPE: Final = "wrong_type"
FULL: Final = "full"
HELD: Final = "held"
BUSY: Final = "busy"
LATE: Final = "late"

PREPARED: Final = "prepared"
COMMITTED: Final = "committed"
ABORTED: Final = "aborted"
UNKNOWN: Final = "unknown"

STATE: Final = "state"
TRANSACTIONS: Final = "transactions"

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
        scope = state or NONE
        events = list(asks_due(scope, at.now_ms))
        for event in events:
            scope = evolve(scope, event) or NONE
        return [*events, *_ANSWERS[type(command)](scope, command, at)]

    def evolve(self, state: Scope | None, event: Event) -> Scope | None:
        return evolve(state, event)

    def deadline_ms(self, state: Scope) -> int | None:
        return min(map(next_ask_ms, state.prepared), default=None)


class Refusal(NamedTuple):
    """Why a commit changes nothing."""

    reason: str
    description: str
    conflicts: tuple[Conflict, ...] = ()


def _commit(scope: Scope, c: CommitChanges, _: At) -> list[Event]:
    changes, refusal = _made_of(scope, c)
    if refusal is not None:
        return [CommitRefused(c.agent, *refusal, scope.version)]
    holder = holder_of(scope, c)
    if holder is not None:
        return [CommitHeld(c.agent, *holder)]
    version = scope.version + bool(changes)
    return [ChangesCommitted(c.agent, c.isolation, version, tuple(changes), c.rule, c.rule_version)]


def _made_of(scope: Scope, c: CommitChanges | PrepareChanges) -> tuple[list[Change], Refusal | None]:
    """What a commit makes of the keys, or why it changes nothing."""
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
    return changes, refusal or _too_much(scope, changes)


# -- transactions over several scopes


def _prepare(scope: Scope, c: PrepareChanges, at: At) -> list[Event]:
    if prepared_of(scope, c.transaction) is not None:
        return [PrepareRepeated(c.transaction, PREPARED)]
    if was_committed(scope, c.transaction):
        return [PrepareRepeated(c.transaction, COMMITTED)]
    if at.now_ms >= c.due_ms:
        return [_unprepared(c, Refusal(LATE, "the transaction's time is over"))]
    changes, refusal = _made_of(scope, c)
    refusal = refusal or _too_busy(scope, changes, at.now_ms)
    if refusal is not None:
        return [_unprepared(c, refusal)]
    holder = holder_of(scope, c)
    if holder is not None:
        return [_unprepared(c, Refusal(HELD, held_by(*holder)), holder.transaction)]
    return [
        ChangesPrepared(c.agent, c.transaction, c.isolation, tuple(changes), *holds_of(c), c.due_ms, at.now_ms)
    ]  # fmt: skip


def held_by(key: str, transaction: str, agent: str) -> str:
    """What is said of a key that is held."""
    return f"{key} is held by transaction {transaction} of {agent}, which is being committed"


def _unprepared(c: PrepareChanges, refusal: Refusal, holder: str = "") -> PrepareRefused:
    return PrepareRefused(c.agent, c.transaction, *refusal, holder)


def _too_busy(scope: Scope, changes: Sequence[Change], now_ms: int) -> Refusal | None:
    size = sum(map(_bytes_of, changes))
    if size > CHANGES_BYTES_MAX:
        return Refusal(FULL, f"it would make {size} bytes of values; at most {CHANGES_BYTES_MAX} at once are possible")
    if len(scope.prepared) >= PREPARED_MAX:
        return Refusal(BUSY, f"{PREPARED_MAX} transactions are prepared here")
    if size + sum([_bytes_of(change) for one in scope.prepared for change in one.changes]) > PREPARED_BYTES_MAX:
        return Refusal(BUSY, f"{PREPARED_BYTES_MAX} bytes are prepared here")
    if len(scope.done) >= DONE_MAX and sum(done.due_ms > now_ms for done in scope.done) >= DONE_MAX:
        return Refusal(BUSY, f"{DONE_MAX} transactions were done here whose time is not over")
    return None


def _bytes_of(change: Change) -> int:
    return len(change.key.encode()) + len((change.value or "").encode()) + len((change.operand or "").encode())


def _commit_prepared(scope: Scope, c: CommitPrepared, at: At) -> list[Event]:
    prepared = prepared_of(scope, c.transaction)
    if prepared is None:
        return [OutcomeKnown(c.transaction, COMMITTED, COMMITTED if was_committed(scope, c.transaction) else UNKNOWN)]
    version = scope.version + bool(prepared.changes)
    done = PreparedCommitted(prepared.agent, c.transaction, version, prepared.due_ms, at.now_ms)
    if not prepared.changes:
        return [done]
    return [ChangesCommitted(prepared.agent, prepared.isolation, version, prepared.changes, "", ""), done]


def _abort_prepared(scope: Scope, c: AbortPrepared, _: At) -> list[Event]:
    prepared = prepared_of(scope, c.transaction)
    if prepared is None:
        return [OutcomeKnown(c.transaction, ABORTED, COMMITTED if was_committed(scope, c.transaction) else ABORTED)]
    return [PreparedAborted(prepared.agent, c.transaction)]


# -- what must not have changed


def _refusal(scope: Scope, c: CommitChanges | PrepareChanges) -> Refusal | None:
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


def _changed_keys(scope: Scope, c: CommitChanges | PrepareChanges) -> Iterator[Conflict]:
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
    for change in (*changes, *_to_come(scope)):
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


def _to_come(scope: Scope) -> list[Change]:
    """What is prepared and makes the scope larger. What makes it smaller may never be done."""
    return [
        change
        for prepared in scope.prepared
        for change in prepared.changes
        if change.value is not None and len(change.value.encode()) > _value_bytes(scope.keys.get(change.key))
    ]


def _value_bytes(item: Item | None) -> int:
    return -1 if item is None else len(item.value.encode())


# -- reading


def _unreadable(scope: Scope, agent: str, version: int | None) -> list[Event] | None:
    """The refusal of a read at a version, if it cannot be read."""
    if version is not None and version < scope.oldest:
        return [ReadRefused(agent, TOO_OLD, version, scope.oldest, scope.version)]
    if version is not None and version > scope.version:
        return [ReadRefused(agent, NOT_YET, version, scope.oldest, scope.version)]
    return None


def _read_key(scope: Scope, c: ReadKey, _: At) -> list[Event]:
    refused = _unreadable(scope, c.agent, c.at_version)
    if refused is not None:
        return refused
    version = scope.version if c.at_version is None else c.at_version
    item = scope.at(c.key, version)
    value, came = (None, 0) if item is None else (item.value, item.version)
    return [KeyRead(c.agent, c.key, value, came, version)]


def _read_range(scope: Scope, c: ReadRange, _: At) -> list[Event]:
    refused = _unreadable(scope, c.agent, c.at_version)
    if refused is not None:
        return refused
    version = scope.version if c.at_version is None else c.at_version
    found = [item for item in scope.range_at(c.prefix, version) if item.key > c.after]
    entries = [Entry(item.key, item.value if c.values else None, item.version) for item in found]
    page, more = _page(entries)
    return [RangeRead(c.agent, c.prefix, page, more, version)]


def _read_history(scope: Scope, c: ReadHistory, _: At) -> list[Event]:
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


def _configure(_: Scope, c: ConfigureScope, __: At) -> list[Event]:
    return [ScopeConfigured(c.agent, c.history)]


def _tick(_: Scope, __: Tick, ___: At) -> list[Event]:
    return []


_ANSWERS: Final[Mapping[type[Command], Callable[[Scope, Any, At], Sequence[Event]]]] = {
    CommitChanges: _commit,
    ReadKey: _read_key,
    ReadRange: _read_range,
    ReadHistory: _read_history,
    ConfigureScope: _configure,
    PrepareChanges: _prepare,
    CommitPrepared: _commit_prepared,
    AbortPrepared: _abort_prepared,
    Tick: _tick,
}


# -- what follows elsewhere: votes and acknowledgements


def _vote_yes(scope: str, e: ChangesPrepared) -> list[Order]:
    return [Order(TRANSACTIONS, e.transaction, RecordVote(STATE, scope, True, "", "", (), ""))]


def _vote_no(scope: str, e: PrepareRefused) -> list[Order]:
    vote = RecordVote(STATE, scope, False, e.reason, e.description, e.conflicts, e.holder)
    return [Order(TRANSACTIONS, e.transaction, vote)]


def _vote_again(scope: str, e: PrepareRepeated) -> list[Order]:
    if e.found == COMMITTED:
        return [Order(TRANSACTIONS, e.transaction, AcknowledgeOutcome(STATE, scope, COMMITTED))]
    return [Order(TRANSACTIONS, e.transaction, RecordVote(STATE, scope, True, "", "", (), ""))]


def _committed(scope: str, e: PreparedCommitted) -> list[Order]:
    return [Order(TRANSACTIONS, e.transaction, AcknowledgeOutcome(STATE, scope, COMMITTED))]


def _aborted(scope: str, e: PreparedAborted) -> list[Order]:
    return [Order(TRANSACTIONS, e.transaction, AcknowledgeOutcome(STATE, scope, ABORTED))]


def _known(scope: str, e: OutcomeKnown) -> list[Order]:
    return [Order(TRANSACTIONS, e.transaction, AcknowledgeOutcome(STATE, scope, e.found))]


def _ask(scope: str, e: OutcomeWanted) -> list[Order]:
    return [Order(TRANSACTIONS, e.transaction, AskOutcome(STATE, scope))]


DOMAIN: Final = Domain(
    STATE,
    {1: StateDecider()},
    reactions={
        ChangesPrepared: _vote_yes,
        PrepareRefused: _vote_no,
        PrepareRepeated: _vote_again,
        PreparedCommitted: _committed,
        PreparedAborted: _aborted,
        OutcomeKnown: _known,
        OutcomeWanted: _ask,
    },
)
"""Scopes, by name."""
