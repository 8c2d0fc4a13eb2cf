"""Signals: user events by name, and what became of their handlers."""

import msgspec
from accord.schemas.messages import Command, Event


class EmitSignal(Command, frozen=True):
    agent: str
    data: str
    trail: tuple[str, ...]


class ReportHandlerFailure(Command, frozen=True):
    agent: str
    handler: str
    event_id: str
    position: str
    data: str
    error_type: str
    error: str
    attempts: int


class EmitInGroup(Command, frozen=True):
    agent: str
    event: str
    data: str
    trail: tuple[str, ...]


class ReportMissingCauses(Command, frozen=True):
    agent: str
    handler: str
    event_id: str
    position: str
    causes: tuple[str, ...]
    waited_ms: int
    delivered: bool


class SignalEmitted(Event, frozen=True):
    agent: str
    data: str
    trail: tuple[str, ...]


class SignalRefused(Event, frozen=True):
    agent: str
    reason: str
    trail: tuple[str, ...]


class HandlerFailed(Event, frozen=True):
    agent: str
    handler: str
    event_id: str
    position: str
    data: str
    error_type: str
    error: str
    attempts: int


class SignalNumbered(Event, frozen=True):
    agent: str
    event: str
    number: int
    data: str
    trail: tuple[str, ...]


class CausesMissing(Event, frozen=True):
    agent: str
    handler: str
    event_id: str
    position: str
    causes: tuple[str, ...]
    waited_ms: int
    delivered: bool


class WatchSignal(Command, frozen=True):
    event: str
    trigger: str
    version: int
    definition: str


class UnwatchSignal(Command, frozen=True):
    trigger: str
    version: int


class EmitMatch(Command, frozen=True):
    agent: str
    data: str
    trail: tuple[str, ...]


class SignalWatched(Event, frozen=True):
    event: str
    trigger: str
    version: int
    definition: str


class SignalUnwatched(Event, frozen=True):
    trigger: str
    version: int


class WatchRefused(Event, frozen=True):
    event: str
    trigger: str
    version: int
    reason: str


class Observation(msgspec.Struct, frozen=True):
    trigger: str
    version: int
    definition: str
    by: str
    events: tuple[int, ...]


class SignalObserved(Event, frozen=True):
    event: str
    observations: tuple[Observation, ...]
    at_ms: int
    trail: tuple[str, ...]


class MatchEmitted(Event, frozen=True):
    partition: int
    offset: int
    number: int


class MatchKnown(Event, frozen=True):
    partition: int
    offset: int
    number: int


COMMANDS = (
    EmitSignal,
    ReportHandlerFailure,
    WatchSignal,
    UnwatchSignal,
    EmitMatch,
    EmitInGroup,
    ReportMissingCauses,
)
EVENTS = (
    SignalEmitted,
    SignalRefused,
    HandlerFailed,
    SignalWatched,
    SignalUnwatched,
    WatchRefused,
    SignalObserved,
    MatchEmitted,
    MatchKnown,
    SignalNumbered,
    CausesMissing,
)
"""Events that agents emit and the handlers that react to them."""
