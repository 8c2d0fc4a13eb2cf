"""Shared state: what scopes hold, what they held at any version, who changed what and by which rule.

Keys are added, never renamed. They are read off the events, not off the state, so what a scope itself keeps no more is
there, too. A value is as JSON tells it; one that is no JSON, which accord's client does not write, is its text.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final

import msgspec
from accord.replay.history import History, everything, one_of
from accord.replay.source import Source
from accord.replay.state import Point
from accord.replay.timeline import TimelineEvent, iso
from accord.schemas.messages.state import ChangesCommitted, CommitHeld, CommitRefused
from accord.streams.partition import Decided
from accord.streams.state.decider import HELD

__all__ = [
    "ChangeView",
    "RefusalView",
    "ScopeSummary",
    "ScopeView",
    "changes_of",
    "history_of",
    "scope_at",
    "scopes_at",
    "value_of",
]

DOMAIN: Final = "state"


class ChangeView(msgspec.Struct, frozen=True):
    """What was done to a key. `value` is what it is from then on; `exists` is False after a deletion.

    `operand` is what an increment, add or discard asked for; `before` the version that was replaced, 0 if there was
    none. `rule` names the function that made the value, if one did.
    """

    scope: str
    key: str
    version: int
    operation: str
    operand: Any
    value: Any
    exists: bool
    before: int
    agent: str
    isolation: str
    rule: str
    rule_version: str
    at: str
    position: str


class RefusalView(msgspec.Struct, frozen=True):
    """A commit that changed nothing, and why. `version` is what the scope had then."""

    scope: str
    version: int
    reason: str
    description: str
    conflicts: tuple[dict[str, Any], ...]
    agent: str
    at: str
    position: str


class ScopeView(msgspec.Struct, frozen=True):
    """A scope at a version: of each of its keys the last change, in the order of the keys."""

    scope: str
    version: int
    keys: tuple[ChangeView, ...]


class ScopeSummary(msgspec.Struct):
    """A scope in a list. `at`, `agent` and `position` are of its last change."""

    scope: str
    version: int
    keys: int
    refused: int
    agent: str
    at: str
    position: str


class _Changes(History[list["ChangeView | RefusalView"]]):
    """All changes of one scope, in order, and the commits that were refused."""

    def __init__(self, scope: str) -> None:
        super().__init__()
        self._scope = scope

    def see(self, decided: Decided) -> None:
        scope, at = self.place(decided)
        if scope != self._scope:
            return
        now = iso(decided.decision.now_ms)
        for event in decided.events:
            if isinstance(event, ChangesCommitted):
                self.kept.setdefault(scope, []).extend(_changes(scope, event, now, at))
            elif isinstance(event, CommitHeld):
                conflict = {"key": event.key, "is_prefix": False, "expected": None, "found": None}
                why = f"held by transaction {event.transaction} of {event.holder}"
                self.kept.setdefault(scope, []).append(
                    RefusalView(scope, self._version(scope), HELD, why, (conflict,), event.agent, now, at)
                )
            elif isinstance(event, CommitRefused):
                conflicts = tuple([msgspec.structs.asdict(conflict) for conflict in event.conflicts])
                self.kept.setdefault(scope, []).append(
                    RefusalView(
                        scope, event.version, event.reason, event.description, conflicts, event.agent, now, at
                    )
                )  # fmt: skip

    def _version(self, scope: str) -> int:
        """The newest version that was seen."""
        known = self.kept.get(scope)
        return known[-1].version if known else 0


class _Summaries(History[ScopeSummary]):
    """The scopes of a partition, by name."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[str, set[str]] = {}

    def see(self, decided: Decided) -> None:
        scope, at = self.place(decided)
        for event in decided.events:
            if isinstance(event, ChangesCommitted) and event.changes:
                keys = self._keys.setdefault(scope, set())
                for change in event.changes:
                    (keys.discard if change.value is None else keys.add)(change.key)
                refused = self.kept[scope].refused if scope in self.kept else 0
                now = iso(decided.decision.now_ms)
                self.kept[scope] = ScopeSummary(scope, event.version, len(keys), refused, event.agent, now, at)
            elif isinstance(event, CommitRefused | CommitHeld) and scope in self.kept:
                self.kept[scope].refused += 1


def _changes(scope: str, event: ChangesCommitted, now: str, position: str) -> list[ChangeView]:
    return [
        ChangeView(
            scope,
            change.key,
            event.version,
            change.operation,
            value_of(change.operand),
            value_of(change.value),
            change.value is not None,
            change.before,
            event.agent,
            event.isolation,
            event.rule,
            event.rule_version,
            now,
            position,
        )
        for change in event.changes
    ]


def value_of(text: str | None) -> Any:
    """A value as data; its text, if it is no JSON."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def history_of(
    source: Source, scope: str, key: str | None = None, point: Point = None
) -> tuple[ChangeView | RefusalView, ...]:
    """All that was done to a scope up to a point, oldest first.

    Args:
        key: only what concerns this key.

    Raises:
        What `state_at` raises.
    """
    found = one_of(source, DOMAIN, partial(_Changes, scope), point, scope) or []
    return tuple([view for view in found if key is None or _concerns(view, key)])


def changes_of(event: TimelineEvent) -> list[ChangeView]:
    """What a `ChangesCommitted` of the timeline did."""
    committed = msgspec.convert(event.data | {"agent": event.agent}, ChangesCommitted)
    return _changes(event.key, committed, event.time or "", event.position)


def _concerns(view: ChangeView | RefusalView, key: str) -> bool:
    if isinstance(view, ChangeView):
        return view.key == key
    return any(key.startswith(c["key"]) if c["is_prefix"] else c["key"] == key for c in view.conflicts)


def scope_at(source: Source, scope: str, point: Point = None, *, version: int | None = None) -> ScopeView | None:
    """A scope at a point or, if given, at a version of it; None: nobody has written to it by then."""
    keys: dict[str, ChangeView] = {}
    newest = 0
    for view in history_of(source, scope, point=point):
        if not isinstance(view, ChangeView):
            continue
        if version is not None and view.version > version:
            break
        newest = view.version
        keys.pop(view.key, None)
        if view.exists:
            keys[view.key] = view
    if not newest:
        return None
    return ScopeView(scope, newest, tuple([keys[key] for key in sorted(keys)]))


def scopes_at(source: Source, point: Point = None, *, processes: int = 1) -> tuple[ScopeSummary, ...]:
    """Every scope that was written to up to a point, by name."""
    found = everything(source, DOMAIN, _Summaries, point, processes)
    return tuple(sorted([summary for _, summary in found], key=lambda summary: summary.scope))
