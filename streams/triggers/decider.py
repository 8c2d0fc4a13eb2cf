"""Triggers: patterns of signals, and what is recorded when one occurs.

Two kinds of aggregates stand here. A trigger, by its name: its definition and version, and whether the signals that it
is about are passed on to it. And each of its keys, as `NAME|KEY`: what of the pattern has occurred there.

Rules:
- A definition is data. A change is a new version; what had begun by the older one is given up, key by key, with the
  first signal that the newer one brings. A key hears of signals alone: so an absence that it waits for may be found
  after its trigger was changed or dropped.
- A trigger asks the names of signals that its pattern is about to be told (`WatchSignal`), and is active once all of
  them do. What was emitted before is not looked at.
- Each signal that matters comes as one command with all that is needed to take it: the definition, the key, and which
  of the pattern's events it is. Its place among others is the log's time of it and its position, which its id names.
- What occurs, and when, is told by `occurrences.py`. A match is an event with the positions of its signals; a signal
  `matched:NAME` tells it to handlers.
- A key with nothing open is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.signals import EmitMatch, UnwatchSignal, WatchSignal
from accord.schemas.messages.triggers import (
    ConfirmWatch,
    DeclareTrigger,
    DropTrigger,
    KeyClosed,
    KeyOpened,
    ObserveSignal,
    ReadTrigger,
    SignalIgnored,
    SignalTaken,
    TimePassed,
    TriggerActive,
    TriggerDeclared,
    TriggerDropped,
    TriggerFailed,
    TriggerKnown,
    TriggerMatched,
    TriggerRead,
    TriggerUnknown,
    WatchConfirmed,
)
from accord.schemas.position import Position
from accord.streams.decider import At, Domain, source_of
from accord.streams.decider import Order as Follows
from accord.streams.triggers.bounds import problem_of
from accord.streams.triggers.machine import machine_of
from accord.streams.triggers.occurrences import HELD_MAX, Held, Key, Match, held_with, passed
from accord.streams.triggers.pattern import names_of

DECLARED: Final = "declared"
ACTIVE: Final = "active"
FAILED: Final = "failed"
DROPPED: Final = "dropped"
STATUSES: Final = (DECLARED, ACTIVE, FAILED, DROPPED)

_replace: Final = msgspec.structs.replace


class Trigger(msgspec.Struct, frozen=True, tag="trigger"):
    """A trigger. `awaited` are the names of signals that are not passed on yet."""

    agent: str
    name: str
    version: int
    definition: str
    awaited: tuple[str, ...]
    status: str = DECLARED
    problem: str = ""

    @property
    def watches(self) -> tuple[str, ...]:
        """Names of the signals that it is about; a dropped one is about none."""
        return () if self.status == DROPPED else names_of(machine_of(self.definition).definition.pattern)


State = Trigger | Key


class TriggerDecider:
    """Version 1."""

    state_type: Any = Trigger | Key

    def decide(self, state: State | None, command: Command, at: At) -> Sequence[Event]:
        problem = problem_of(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        if isinstance(command, ObserveSignal):
            if isinstance(state, Trigger):
                return [CommandRejected(Reason.INVALID, "the key is a trigger: a signal is observed for NAME|KEY")]
            return _observed(state, command, at)
        if isinstance(state, Key):
            if not isinstance(command, Tick):
                return [CommandRejected(Reason.INVALID, "the key is no trigger, but one of a trigger's keys")]
            return _time(state, at.now_ms)
        return _of_trigger(state, command, at)

    def evolve(self, state: State | None, event: Event) -> State | None:
        return evolve(state, event)

    def deadline_ms(self, state: State) -> int | None:
        return state.due_ms if isinstance(state, Key) else None


# -- a trigger


def _of_trigger(trigger: Trigger | None, command: Command, at: At) -> list[Event]:
    match command:
        case DeclareTrigger():
            return _declared(trigger, command, at)
        case ConfirmWatch():
            return [] if trigger is None else _confirmed(trigger, command)
        case ReadTrigger() if trigger is not None:
            return [_read(trigger)]
        case DropTrigger() if trigger is not None:
            return [_dropped(trigger, command, at)]
        case ReadTrigger(agent) | DropTrigger(agent):
            return [TriggerUnknown(agent, type(command).__name__)]
        case _:  # a tick, of which a trigger takes none
            return []


def _read(t: Trigger) -> TriggerRead:
    return TriggerRead(t.agent, t.version, t.definition, t.status, t.awaited, t.problem)


def _dropped(t: Trigger, c: DropTrigger, at: At) -> Event:
    if t.status == DROPPED:
        return TriggerKnown(t.agent, t.version, t.status)
    return TriggerDropped(c.agent, t.name, t.version + 1, t.watches, at.now_ms)


def _declared(t: Trigger | None, c: DeclareTrigger, at: At) -> list[Event]:
    if t is not None and t.definition == c.definition and t.status in (DECLARED, ACTIVE):
        return [TriggerKnown(t.agent, t.version, t.status)]
    before, version = (t.watches, t.version + 1) if t is not None else ((), 1)
    watches = names_of(machine_of(c.definition).definition.pattern)
    given_up = tuple([name for name in before if name not in watches])
    return [TriggerDeclared(c.agent, c.trigger, version, c.definition, watches, given_up, at.now_ms)]


def _confirmed(t: Trigger, c: ConfirmWatch) -> list[Event]:
    if c.version != t.version or c.event not in t.awaited or t.status != DECLARED:
        return []  # told again, or of a version that is over
    if c.problem:
        return [TriggerFailed(t.agent, t.version, c.event, c.problem)]
    active = [TriggerActive(t.agent, t.version)] if t.awaited == (c.event,) else []
    return [WatchConfirmed(c.event, c.version), *active]


# -- a key


def _observed(key: Key | None, c: ObserveSignal, at: At) -> list[Event]:
    source = source_of(at.request, "signals")
    if source is None:
        return [CommandRejected(Reason.INVALID, "its id names no signal: signals are passed on by workers")]
    places = range(len(machine_of(c.definition).happens))
    if not 0 < len(c.events) <= len(places) or any(place not in places for place in c.events):
        return [CommandRejected(Reason.INVALID, f"events: the pattern has those from 0 to {len(places) - 1}")]
    position = f"signals/{source.position.partition}@{source.position.offset}"
    held = Held(c.at_ms, source.position.partition, source.position.offset, c.events, c.trail)
    before = key
    events: list[Event] = []
    if before is None or before.version < c.version:
        events.append(KeyOpened(c.trigger, c.version, c.definition, c.by))
        before = _opened(key, c.trigger, c.version, c.definition, c.by)
    reason = _reason_against(before, held, c.version)
    if reason is not None:
        return [*events, SignalIgnored(position, c.at_ms, reason), *_time(before, at.now_ms)]
    upto_ms = at.now_ms - before.late_ms
    if len(before.held) >= HELD_MAX:
        upto_ms = max(upto_ms, min(before.held[0].at_ms, c.at_ms))
    _, matches = passed(held_with(before, held), upto_ms)
    taken = SignalTaken(position, c.at_ms, c.events, c.trail, upto_ms)
    return [*events, taken, *[_matched(before, match) for match in matches]]


def _reason_against(key: Key, held: Held, version: int) -> str | None:
    """Why a signal does not count."""
    if version < key.version:
        return "outdated"
    if held.order == key.taken or any(held.order == one.order for one in key.held):
        return "repeated"
    return "late" if held.order < key.taken else None


def _time(key: Key, now_ms: int) -> list[Event]:
    """What time alone brings."""
    if key.due_ms > now_ms:
        return []
    if key.due_ms == key.forgotten_ms and not key.held and key.waiting() is None:
        return [KeyClosed(now_ms)]
    upto_ms = now_ms - key.late_ms
    _, matches = passed(key, upto_ms)
    return [TimePassed(upto_ms), *[_matched(key, match) for match in matches]]


def _matched(key: Key, match: Match) -> TriggerMatched:
    return TriggerMatched(key.trigger, key.version, key.by, match.causes, match.first_ms, match.at_ms, match.trail)


def _opened(key: Key | None, trigger: str, version: int, definition: str, by: str) -> Key:
    """A key anew; which signals were taken it remembers."""
    new = Key(trigger, version, definition, by)
    return new if key is None else _replace(new, taken=key.taken, seen_ms=key.seen_ms)


# -- what events make of them


def evolve(state: State | None, event: Event) -> State | None:
    """The trigger or the key after an event."""
    try:
        change = _CHANGES[type(event)]
    except KeyError:
        raise TypeError(f"the triggers domain has no event {type(event).__name__}") from None
    return change(state, event)


def _is_declared(_: Trigger | None, e: TriggerDeclared) -> Trigger:
    return Trigger(e.agent, e.trigger, e.version, e.definition, e.watches)


def _is_watched(t: Trigger, e: WatchConfirmed) -> Trigger:
    return _replace(t, awaited=tuple([name for name in t.awaited if name != e.event]))


def _is_active(t: Trigger, _: TriggerActive) -> Trigger:
    return _replace(t, status=ACTIVE)


def _has_failed(t: Trigger, e: TriggerFailed) -> Trigger:
    return _replace(t, status=FAILED, problem=e.problem)


def _is_dropped(t: Trigger, e: TriggerDropped) -> Trigger:
    return _replace(t, version=e.version, status=DROPPED, awaited=(), problem="")


def _is_open(key: Key | None, e: KeyOpened) -> Key:
    return _opened(key, e.trigger, e.version, e.definition, e.by)


def _is_taken(key: Key, e: SignalTaken) -> Key:
    at = Position.parse(e.source)
    return passed(held_with(key, Held(e.at_ms, at.partition, at.offset, e.events, e.trail)), e.upto_ms)[0]


def _has_passed(key: Key, e: TimePassed) -> Key:
    return passed(key, e.upto_ms)[0]


def _same(state: State | None, _: Event) -> State | None:
    return state


def _nothing(_: State, __: Event) -> None:
    return None


_CHANGES: Final[Mapping[type[Event], Callable[[Any, Any], State | None]]] = {
    TriggerDeclared: _is_declared,
    WatchConfirmed: _is_watched,
    TriggerActive: _is_active,
    TriggerFailed: _has_failed,
    TriggerDropped: _is_dropped,
    KeyOpened: _is_open,
    SignalTaken: _is_taken,
    TimePassed: _has_passed,
    KeyClosed: _nothing,
    **dict.fromkeys((TriggerKnown, TriggerUnknown, TriggerRead, SignalIgnored, TriggerMatched), _same),
}


# -- what follows elsewhere


def matched(trigger: str) -> str:
    """The name of the signals by which matches of a trigger are told."""
    return f"matched:{trigger}"


def _watch(_: str, e: TriggerDeclared) -> list[Follows]:
    unwatched = [Follows("signals", name, UnwatchSignal(e.trigger, e.version)) for name in e.given_up]
    asked = [Follows("signals", name, WatchSignal(name, e.trigger, e.version, e.definition)) for name in e.watches]
    return [*unwatched, *asked]


def _unwatch(_: str, e: TriggerDropped) -> list[Follows]:
    return [Follows("signals", name, UnwatchSignal(e.trigger, e.version)) for name in e.given_up]


def _tell(_: str, e: TriggerMatched) -> list[Follows]:
    data = {
        "trigger": e.trigger,
        "version": e.version,
        "key": e.by,
        "causes": e.causes,
        "first_ms": e.first_ms,
        "at_ms": e.at_ms,
    }
    signal = EmitMatch(f"trigger {e.trigger}", msgspec.json.encode(data).decode(), e.trail)
    return [Follows("signals", matched(e.trigger), signal)]


DOMAIN: Final = Domain(
    "triggers",
    {1: TriggerDecider()},
    reactions={TriggerDeclared: _watch, TriggerDropped: _unwatch, TriggerMatched: _tell},
)
"""Triggers by name, and their keys."""
