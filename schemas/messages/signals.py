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


class BeginFlow(Command, frozen=True):
    agent: str
    flow: str
    definition: str


class EmitResult(Command, frozen=True):
    agent: str
    flow: str
    number: int
    data: str
    trail: tuple[str, ...]


class FlowBegun(Event, frozen=True):
    agent: str
    flow: str
    definition: str


class FlowKnown(Event, frozen=True):
    flow: str
    definition: str
    last: int


class ResultEmitted(Event, frozen=True):
    flow: str
    number: int


class ResultKnown(Event, frozen=True):
    flow: str
    number: int
    last: int


COMMANDS = (
    EmitSignal,
    ReportHandlerFailure,
    WatchSignal,
    UnwatchSignal,
    EmitMatch,
    EmitInGroup,
    ReportMissingCauses,
    BeginFlow,
    EmitResult,
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
    FlowBegun,
    FlowKnown,
    ResultEmitted,
    ResultKnown,
)
"""Events that agents emit and the handlers that react to them."""
