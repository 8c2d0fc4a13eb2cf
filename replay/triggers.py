"""Triggers: what is looked for, what was found, what came too late.

Keys are added, never renamed. They are read off the events, not off the state, so keys that are forgotten count, too.
"""

from __future__ import annotations

from typing import Final

import msgspec
from accord.replay.history import History, everything
from accord.replay.source import Source
from accord.replay.state import Point
from accord.replay.timeline import iso
from accord.schemas.messages import triggers as events
from accord.schemas.position import Position
from accord.streams.partition import Decided
from accord.streams.triggers.decider import DOMAIN as RULES
from accord.streams.triggers.decider import STATUSES, State, Trigger, evolve
from accord.streams.triggers.occurrences import Key
from accord.streams.triggers.pattern import decode, text_of_definition

__all__ = ["STATUSES", "MatchView", "TriggerView", "trigger_at", "triggers_at"]

DOMAIN: Final = RULES.name
MATCHES_SHOWN: Final = 20
"""The last ones of a trigger."""


class MatchView(msgspec.Struct, frozen=True):
    """An occurrence of a pattern. `causes` are the positions of its signals, `position` is its own."""

    key: str
    version: int
    first_at: str
    at: str
    causes: tuple[str, ...]
    position: str


class TriggerView(msgspec.Struct, frozen=True):
    """A trigger. `rule` is how it is written; `awaited` names signals that are not passed on to it yet.

    `keys` counts those that are remembered, `begun` the occurrences in them that are not complete, `held` the signals
    that wait for earlier ones, `late` those that came too late to count. `matches` counts all, `recent` has the last of
    them, newest first.
    """

    name: str
    status: str
    version: int
    rule: str
    agent: str
    watches: tuple[str, ...]
    awaited: tuple[str, ...]
    problem: str
    declared_at: str
    keys: int
    begun: int
    held: int
    matches: int
    late: int
    recent: tuple[MatchView, ...]
    position: str


class Kept(msgspec.Struct):
    """A trigger, or a key of one, as the events tell it."""

    state: State | None = None
    declared_ms: int = 0
    matches: int = 0
    late: int = 0
    recent: tuple[tuple[int, MatchView], ...] = ()
    position: str = ""


class Triggers(History[Kept]):
    """The triggers and the keys of a partition."""

    def see(self, decided: Decided) -> None:
        key, at = self.place(decided)
        for event in decided.events:
            if not isinstance(event, events.EVENTS) or isinstance(event, events.TriggerUnknown):
                continue
            kept = self.kept.setdefault(key, Kept())
            kept.state, kept.position = evolve(kept.state, event), at
            match event:
                case events.TriggerDeclared(declared_ms=declared_ms):
                    kept.declared_ms = declared_ms
                case events.SignalIgnored(reason="late"):
                    kept.late += 1
                case events.TriggerMatched():
                    kept.matches += 1
                    kept.recent = _latest((*kept.recent, (event.at_ms, _match(event, at))))


def _match(e: events.TriggerMatched, position: str) -> MatchView:
    return MatchView(e.by, e.version, iso(e.first_ms), iso(e.at_ms), e.causes, position)


def _latest(matches: tuple[tuple[int, MatchView], ...]) -> tuple[tuple[int, MatchView], ...]:
    def newest(one: tuple[int, MatchView]) -> tuple[int, Position]:
        return one[0], Position.parse(one[1].position)

    return tuple(sorted(matches, key=newest, reverse=True)[:MATCHES_SHOWN])


def triggers_at(source: Source, point: Point = None, *, processes: int = 1) -> tuple[TriggerView, ...]:
    """Every trigger that was declared up to a point, by name.

    Raises:
        What `state_at` raises.
    """
    by_name: dict[str, list[Kept]] = {}
    declared: list[tuple[str, Kept]] = []
    for key, kept in everything(source, DOMAIN, Triggers, point, processes):
        name, bar, _ = key.partition("|")
        if bar:
            by_name.setdefault(name, []).append(kept)
        elif kept.state is not None:
            declared.append((key, kept))
    return tuple([_view(kept, by_name.get(name, [])) for name, kept in sorted(declared, key=lambda one: one[0])])


def trigger_at(source: Source, name: str, point: Point = None) -> TriggerView | None:
    """A trigger at a point, or None. Its keys may lie anywhere, so every partition is read."""
    return next((view for view in triggers_at(source, point) if view.name == name), None)


def _view(kept: Kept, keys: list[Kept]) -> TriggerView:
    trigger = kept.state
    assert isinstance(trigger, Trigger)
    live = [key.state for key in keys if isinstance(key.state, Key)]
    return TriggerView(
        trigger.name,
        trigger.status,
        trigger.version,
        text_of_definition(decode(trigger.definition)),
        trigger.agent,
        trigger.watches,
        trigger.awaited,
        trigger.problem,
        iso(kept.declared_ms),
        len(live),
        sum([len(state.begun) for state in live]),
        sum([len(state.held) for state in live]),
        sum(key.matches for key in keys),
        sum(key.late for key in keys),
        tuple([view for _, view in _latest(tuple([one for key in keys for one in key.recent]))]),
        kept.position,
    )
