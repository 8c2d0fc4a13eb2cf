"""A scope: its keys as they are, what they were before, and what events make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
from accord.schemas.messages import Event
from accord.schemas.messages.state import (
    Change,
    ChangesCommitted,
    ChangesPrepared,
    CommitHeld,
    CommitRefused,
    Entry,
    HistoryRead,
    KeyRead,
    OutcomeKnown,
    OutcomeWanted,
    PreparedAborted,
    PreparedCommitted,
    PrepareRefused,
    PrepareRepeated,
    RangeRead,
    ReadRefused,
    ScopeConfigured,
)
from accord.streams.state.bounds import HISTORY, HISTORY_BYTES_MAX
from accord.streams.state.keymap import EMPTY, Item, KeyMap

_replace: Final = msgspec.structs.replace


class Past(msgspec.Struct, frozen=True, gc=False):
    """What a change replaced. `version` is the change's; `before` that of the value, 0 where there was none; `exists`:
    whether the key is there after the change."""

    key: str
    version: int
    value: str | None
    before: int
    exists: bool

    @property
    def size(self) -> int:
        return len(self.key.encode()) + len((self.value or "").encode())


class Prepared(msgspec.Struct, frozen=True):
    """What waits for the outcome of a transaction; see `accord.streams.state.prepared`.

    `held` are the keys that it writes, `read` and `prefixes` what it has read. `asked_ms` is when its outcome was asked
    for last, `times` how often; before the first time, when the transaction's time is over.
    """

    transaction: str
    agent: str
    isolation: str
    changes: tuple[Change, ...]
    held: tuple[str, ...]
    read: tuple[str, ...]
    prefixes: tuple[str, ...]
    due_ms: int
    asked_ms: int
    times: int = 0


class Done(msgspec.Struct, frozen=True, gc=False):
    """A transaction that was done here; remembered until `due_ms`."""

    transaction: str
    due_ms: int


class Scope(msgspec.Struct, frozen=True):
    """A scope at its newest `version`, and as much of its past as is kept.

    `past` has the last changes, oldest first: walking it back from `keys` gives the scope at every version from
    `oldest` on. `history` is how many of them are kept, `size` and `past_bytes` count bytes of keys and values.
    """

    version: int = 0
    keys: KeyMap = EMPTY
    size: int = 0
    past: tuple[Past, ...] = ()
    past_bytes: int = 0
    oldest: int = 0
    history: int = HISTORY
    prepared: tuple[Prepared, ...] = ()
    done: tuple[Done, ...] = ()

    # -- what is asked of it

    def version_of(self, key: str) -> int:
        """The version with which the value of a key came; 0: there is none."""
        item = self.keys.get(key)
        return 0 if item is None else item.version

    def changed_since(self, version: int) -> Iterator[Past]:
        """The changes after a version, newest first."""
        for past in reversed(self.past):
            if past.version <= version:
                return
            yield past

    def at(self, key: str, version: int) -> Item | None:
        """A key as it was at a version from `oldest` on."""
        found = self.keys.get(key)
        for past in self.changed_since(version):
            if past.key == key:
                found = _item(past)
        return found

    def range_at(self, prefix: str, version: int) -> list[Item]:
        """The keys with a prefix as they were at a version from `oldest` on, in order."""
        found = {item.key: item for item in self.keys.with_prefix(prefix)}
        rewound = False
        for past in self.changed_since(version):
            if past.key.startswith(prefix):
                rewound = True
                item = _item(past)
                if item is None:
                    found.pop(past.key, None)
                else:
                    found[past.key] = item
        return [found[key] for key in sorted(found)] if rewound else list(found.values())

    def versions_of(self, key: str, after: int | None) -> list[Entry]:
        """The versions of a key that came after a version of the scope, oldest first; None: all that are kept."""
        current = self.keys.get(key)
        value = None if current is None else current.value
        found = []
        for past in self.changed_since(self.oldest if after is None else after):
            if past.key == key:
                found.append(Entry(key, value, past.version))
                value = past.value
        if after is None:
            first = self.at(key, self.oldest)
            if first is not None:
                found.append(Entry(key, first.value, first.version))
        found.reverse()
        return found


def _item(past: Past) -> Item | None:
    """What a change replaced, as it was."""
    return None if past.value is None else Item(past.key, past.value, past.before)


NONE: Final = Scope()
"""One that nobody has written to."""


def evolve(state: Scope | None, event: Event) -> Scope | None:
    """The scope after an event."""
    change = _CHANGES.get(type(event))
    if change is None:
        raise TypeError(f"the state domain has no event {type(event).__name__}")
    return change(state, event)


def _same(state: Scope | None, _: Event) -> Scope | None:
    return state


def _committed(state: Scope | None, event: ChangesCommitted) -> Scope | None:
    scope = state or NONE
    if not event.changes:
        return state
    keys, size, past_bytes = scope.keys, scope.size, scope.past_bytes
    past = []
    for change in event.changes:
        before = keys.get(change.key)
        replaced = _past_of(change, before, event.version)
        past.append(replaced)
        past_bytes += replaced.size
        size -= before.size if before is not None else 0
        if change.value is None:
            keys = keys.without(change.key)
        else:
            item = Item(change.key, change.value, event.version)
            keys = keys.put(item)
            size += item.size
    grown = _replace(
        scope, version=event.version, keys=keys, size=size, past=(*scope.past, *past), past_bytes=past_bytes
    )
    return _trimmed(grown)


def _past_of(change: Change, before: Item | None, version: int) -> Past:
    value, came = (None, 0) if before is None else (before.value, before.version)
    return Past(change.key, version, value, came, change.value is not None)


def _configured(state: Scope | None, event: ScopeConfigured) -> Scope:
    return _trimmed(_replace(state or NONE, history=event.history))


def _prepared(state: Scope | None, e: ChangesPrepared) -> Scope:
    scope = state or NONE
    made = Prepared(e.transaction, e.agent, e.isolation, e.changes, e.held, e.read, e.prefixes, e.due_ms, e.due_ms)
    return _replace(scope, prepared=(*scope.prepared, made), done=_remembered(scope, e.prepared_ms))


def _prepared_committed(scope: Scope, e: PreparedCommitted) -> Scope:
    done = (*_remembered(scope, e.committed_ms), Done(e.transaction, e.due_ms))
    return _replace(scope, prepared=_others(scope, e.transaction), done=done)


def _prepared_aborted(scope: Scope, e: PreparedAborted) -> Scope | None:
    left = _replace(scope, prepared=_others(scope, e.transaction))
    return None if left == NONE else left


def _asked(scope: Scope, e: OutcomeWanted) -> Scope:
    asked = [
        _replace(one, asked_ms=e.wanted_ms, times=e.times) if one.transaction == e.transaction else one
        for one in scope.prepared
    ]
    return _replace(scope, prepared=tuple(asked))


def _others(scope: Scope, transaction: str) -> tuple[Prepared, ...]:
    return tuple([one for one in scope.prepared if one.transaction != transaction])


def _remembered(scope: Scope, now_ms: int) -> tuple[Done, ...]:
    return tuple([done for done in scope.done if done.due_ms > now_ms])


def _trimmed(scope: Scope) -> Scope:
    """The scope without the changes that are too many; those of one version go together."""
    past, bytes_left = scope.past, scope.past_bytes
    gone = 0
    while len(past) - gone > scope.history or bytes_left > HISTORY_BYTES_MAX:
        version = past[gone].version
        while gone < len(past) and past[gone].version == version:
            bytes_left -= past[gone].size
            gone += 1
    if not gone:
        return scope
    return _replace(scope, past=past[gone:], past_bytes=bytes_left, oldest=past[gone - 1].version)


_CHANGES: Final[Mapping[type[Event], Callable[[Any, Any], Scope | None]]] = {
    ChangesCommitted: _committed,
    CommitRefused: _same,
    KeyRead: _same,
    RangeRead: _same,
    HistoryRead: _same,
    ReadRefused: _same,
    ScopeConfigured: _configured,
    ChangesPrepared: _prepared,
    PrepareRefused: _same,
    PrepareRepeated: _same,
    PreparedCommitted: _prepared_committed,
    PreparedAborted: _prepared_aborted,
    OutcomeKnown: _same,
    OutcomeWanted: _asked,
    CommitHeld: _same,
}
