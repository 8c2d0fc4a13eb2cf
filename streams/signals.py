"""Signals: user events by name. One aggregate an event name; nothing is remembered of it.

An event carries its trail: the names of the events whose handlers led to it. A trail longer than `TRAIL_MAX` is
refused, so that events which trigger each other in a circle stop.
"""

from __future__ import annotations

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


class SignalDecider:
    """Version 1."""

    state_type: type[None] = type(None)

    def decide(self, state: None, command: Command, at: At) -> Sequence[Event]:
        match command:
            case EmitSignal(agent, data, trail):
                if len(trail) > TRAIL_MAX:
                    return [SignalRefused(agent, "circular_trigger", trail)]
                if not _is_json_object(data):
                    return [CommandRejected(Reason.INVALID, "data is not a JSON object")]
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
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return False
    return True


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
