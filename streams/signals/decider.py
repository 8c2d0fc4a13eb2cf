"""Signals: user events by name. One aggregate an event name; nothing is remembered of it.

An event carries its trail: the names of the events whose handlers led to it. A trail longer than `TRAIL_MAX` is
refused, so that events which trigger each other in a circle stop.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.signals import (
    EmitSignal,
    HandlerFailed,
    ReportHandlerFailure,
    SignalEmitted,
    SignalRefused,
)
from accord.streams.decider import At, Domain, Failure

TRAIL_MAX: Final = 32
NESTING_MAX: Final = 64
"""Deepest nesting of an event's data. The parser's own limit is what is left of the process's stack: the same data
would be decided differently here and there."""


class SignalDecider:
    """Version 1."""

    state_type: type[None] = type(None)

    def decide(self, state: None, command: Command, at: At) -> Sequence[Event]:
        match command:
            case EmitSignal(agent, data, trail):
                if len(trail) > TRAIL_MAX:
                    return [SignalRefused(agent, "circular_trigger", trail)]
                if not _is_json_object(data):
                    problem = f"data is not a JSON object, or nested deeper than {NESTING_MAX}"
                    return [CommandRejected(Reason.INVALID, problem)]
                return [SignalEmitted(agent, data, trail)]
            case ReportHandlerFailure():
                return [HandlerFailed(**msgspec.structs.asdict(command))]
            case Tick():
                return []
            case _:
                raise TypeError(f"the signals domain has no command {type(command).__name__}")

    def evolve(self, state: None, event: Event) -> None:
        match event:
            case SignalEmitted() | SignalRefused() | HandlerFailed():
                return None
            case _:
                raise TypeError(f"the signals domain has no event {type(event).__name__}")

    def deadline_ms(self, state: None) -> None:
        return None


def _is_json_object(text: str) -> bool:
    if _nesting(text) > NESTING_MAX:
        return False
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return False
    return True


_STRING: Final = re.compile(r'"(?:[^"\\]+|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, or the rest of the text when it does not end: so that no text takes more than one pass."""
_BRACKET: Final = re.compile(r"[\[\]{}]")


def _nesting(text: str) -> int:
    """How deep brackets nest outside strings; at least that up to where the text stops being JSON."""
    if text.count("[") + text.count("{") <= NESTING_MAX:
        return 0
    deepest = depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


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


DOMAIN: Final = Domain("signals", {1: SignalDecider()}, dead_letters={HandlerFailed: _failure})
