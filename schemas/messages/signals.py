"""Signals: user events by name, and what became of their handlers."""

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


COMMANDS = (EmitSignal, ReportHandlerFailure)
EVENTS = (SignalEmitted, SignalRefused, HandlerFailed)
