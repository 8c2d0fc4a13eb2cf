"""Signals: user events by name. One aggregate an event name; nothing is remembered of what was emitted.

A name is also that of a group of events, whatever their own names are: they have one order, 1, 2, 3 and so on without
gaps, and the last number is remembered for good.

An event carries its trail: the names of the events whose handlers led to it. A trail longer than `TRAIL_MAX` is
refused, so that events which trigger each other in a circle stop.

What is remembered of a name is which triggers watch it. A signal that is part of what one of them looks for is recorded
with what it is for it (`SignalObserved`): so the process manager that tells the trigger needs that event alone, and a
signal in which no trigger takes an interest costs it nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.signals import (
    CausesMissing,
    EmitInGroup,
    EmitMatch,
    EmitSignal,
    HandlerFailed,
    MatchEmitted,
    MatchKnown,
    Observation,
    ReportHandlerFailure,
    ReportMissingCauses,
    SignalEmitted,
    SignalNumbered,
    SignalObserved,
    SignalRefused,
    SignalUnwatched,
    SignalWatched,
    UnwatchSignal,
    WatchRefused,
    WatchSignal,
)
from accord.schemas.messages.triggers import ConfirmWatch, ObserveSignal
from accord.schemas.topics import KEY_BYTES_MAX
from accord.streams.decider import At, Domain, Failure, Order, source_of
from accord.streams.signals.data import NESTING_MAX, exact, is_json_object
from accord.streams.triggers.machine import machine_of, problem_of_definition
from accord.streams.triggers.pattern import by_of, matched_events, names_of, problem_of_name

TRAIL_MAX: Final = 32
WATCHES_MAX: Final = 16
"""Triggers that watch one name. A signal is recorded with the definitions of those to which it matters, 16 x 2,400
bytes, beside its data."""


class Watch(msgspec.Struct, frozen=True, array_like=True):
    """A trigger that is told of signals."""

    trigger: str
    version: int
    definition: str


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """The last match of a partition of triggers that was emitted."""

    partition: int
    offset: int
    number: int


class Name(msgspec.Struct, frozen=True):
    """An event name: who watches it and, if it is a trigger's own, which matches were emitted. Of a group of its name
    the number of the last event."""

    event: str = ""
    watches: tuple[Watch, ...] = ()
    heard: tuple[Heard, ...] = ()
    numbered: int = 0

    def watch(self, trigger: str) -> Watch | None:
        return next((watch for watch in self.watches if watch.trigger == trigger), None)


class SignalDecider:
    """Version 1."""

    state_type = Name

    def decide(self, state: Name | None, command: Command, at: At) -> Sequence[Event]:  # noqa: PLR0911
        name = state or Name()
        match command:
            case EmitSignal(agent, data, trail):
                return _emitted(name, agent, data, trail, at)
            case EmitInGroup():
                return _numbered(name, command)
            case EmitMatch():
                return _emitted_match(name, command, at)
            case ReportHandlerFailure():
                return [HandlerFailed(**msgspec.structs.asdict(command))]
            case ReportMissingCauses():
                return [CausesMissing(**msgspec.structs.asdict(command))]
            case WatchSignal():
                return _watched(name, command)
            case UnwatchSignal(trigger, version):
                watch = name.watch(trigger)
                return [SignalUnwatched(trigger, version)] if watch and watch.version < version else []
            case Tick():
                return []
            case _:
                raise TypeError(f"the signals domain has no command {type(command).__name__}")

    def evolve(self, state: Name | None, event: Event) -> Name | None:
        match event:
            case SignalWatched(event=name, trigger=trigger, version=version, definition=definition):
                others = [watch for watch in (state or Name()).watches if watch.trigger != trigger]
                watches = (*others, Watch(trigger, version, definition))
                return msgspec.structs.replace(state or Name(), event=name, watches=watches)
            case SignalUnwatched(trigger):
                assert state is not None
                left = tuple([watch for watch in state.watches if watch.trigger != trigger])
                return msgspec.structs.replace(state, watches=left) if left or state.heard or state.numbered else None
            case SignalNumbered(number=number):
                return msgspec.structs.replace(state or Name(), numbered=number)
            case MatchEmitted(partition, offset, number):
                heard = [one for one in (state or Name()).heard if one.partition != partition]
                return msgspec.structs.replace(
                    state or Name(), heard=tuple(sorted([*heard, Heard(partition, offset, number)], key=_partition))
                )
            case (
                SignalEmitted()
                | SignalRefused()
                | HandlerFailed()
                | CausesMissing()
                | SignalObserved()
                | WatchRefused()
                | MatchKnown()
            ):
                return state
            case _:
                raise TypeError(f"the signals domain has no event {type(event).__name__}")

    def deadline_ms(self, state: Name) -> None:
        return None


def _partition(heard: Heard) -> int:
    return heard.partition


def _emitted(name: Name, agent: str, data: str, trail: tuple[str, ...], at: At) -> list[Event]:
    refused = _refusal(agent, data, trail)
    if refused:
        return refused
    observed = _observations(name, data) if name.watches else ()
    told = [SignalObserved(name.event, observed, at.now_ms, (*trail, name.event))] if observed else []
    return [SignalEmitted(agent, data, trail), *told]


def _numbered(group: Name, c: EmitInGroup) -> list[Event]:
    if not 0 < len(c.event.encode()) <= KEY_BYTES_MAX:
        return [CommandRejected(Reason.INVALID, f"the event's name has not 1 to {KEY_BYTES_MAX} bytes")]
    return _refusal(c.agent, c.data, c.trail) or [SignalNumbered(c.agent, c.event, group.numbered + 1, c.data, c.trail)]


def _refusal(agent: str, data: str, trail: tuple[str, ...]) -> list[Event]:
    """Why an event is not recorded; nothing if it is."""
    if len(trail) > TRAIL_MAX:
        return [SignalRefused(agent, "circular_trigger", trail)]
    if not is_json_object(data):
        problem = f"data is not a JSON object, or nested deeper than {NESTING_MAX}"
        return [CommandRejected(Reason.INVALID, problem)]
    return []


def _emitted_match(name: Name, command: EmitMatch, at: At) -> list[Event]:
    source = source_of(at.request, "triggers")
    if source is None:
        return [CommandRejected(Reason.INVALID, "its id names no match: matches are told by workers")]
    heard = Heard(source.position.partition, source.position.offset, source.number)
    last = next((one for one in name.heard if one.partition == heard.partition), None)
    if last is not None and (heard.offset, heard.number) <= (last.offset, last.number):
        return [MatchKnown(heard.partition, heard.offset, heard.number)]
    events = _emitted(name, command.agent, command.data, command.trail, at)
    return [*events, MatchEmitted(heard.partition, heard.offset, heard.number)]


def _watched(name: Name, c: WatchSignal) -> list[Event]:
    problem = problem_of_name(c.trigger) or problem_of_definition(c.definition)
    if problem is None and c.event not in names_of(machine_of(c.definition).definition.pattern):
        problem = "the trigger is about no such event"
    if problem is not None:
        return [CommandRejected(Reason.INVALID, problem)]
    known = name.watch(c.trigger)
    if known is not None and known.version > c.version:
        return []
    if known is None and len(name.watches) >= WATCHES_MAX:
        return [WatchRefused(c.event, c.trigger, c.version, f"{WATCHES_MAX} triggers watch {c.event} already")]
    return [SignalWatched(c.event, c.trigger, c.version, c.definition)]


def _observations(name: Name, data: str) -> tuple[Observation, ...]:
    """What a signal is for the triggers that watch its name; data that nobody can read is nothing for them."""
    try:
        read = exact(data)
    except ValueError:
        return ()
    found = []
    for watch in name.watches:
        machine = machine_of(watch.definition)
        events = matched_events(machine.happens, name.event, read)
        by = by_of(machine.definition, read) if events else None
        if by is not None:
            found.append(Observation(watch.trigger, watch.version, watch.definition, by, events))
    return tuple(found)


# -- what follows elsewhere


def key_of(trigger: str, by: str) -> str:
    """The aggregate in which signals of a key are put together. No name of a trigger has a |."""
    return f"{trigger}|{by}"


def _observe(_: str, e: SignalObserved) -> list[Order]:
    return [
        Order(
            "triggers",
            key_of(one.trigger, one.by),
            ObserveSignal(one.trigger, one.version, one.definition, one.by, one.events, e.at_ms, e.trail),
        )
        for one in e.observations
    ]


def _confirm(_: str, e: SignalWatched) -> list[Order]:
    return [Order("triggers", e.trigger, ConfirmWatch(e.event, e.version, ""))]


def _refuse(_: str, e: WatchRefused) -> list[Order]:
    return [Order("triggers", e.trigger, ConfirmWatch(e.event, e.version, e.reason))]


def _failure(event: HandlerFailed) -> Failure:
    return Failure(
        queue=f"handler:{event.handler}",
        reason="MaxRetriesExceeded",
        description=f"{event.error_type}: {event.error}",
        origin=event.position,
        value=event.data.encode(),
        agent=event.agent,
        attempts=event.attempts,
    )


DOMAIN: Final = Domain(
    "signals",
    {1: SignalDecider()},
    dead_letters={HandlerFailed: _failure},
    reactions={SignalObserved: _observe, SignalWatched: _confirm, WatchRefused: _refuse},
)
"""Signals: user events by name, what became of their handlers, and which triggers watch them."""
