"""Triggers: patterns of signals, and what occurred of them; see `accord.streams.triggers`."""

from accord.schemas.messages import Command, Event


class DeclareTrigger(Command, frozen=True):
    agent: str
    trigger: str
    definition: str


class DropTrigger(Command, frozen=True):
    agent: str


class ReadTrigger(Command, frozen=True):
    agent: str


class ConfirmWatch(Command, frozen=True):
    event: str
    version: int
    problem: str


class ObserveSignal(Command, frozen=True):
    trigger: str
    version: int
    definition: str
    by: str
    events: tuple[int, ...]
    at_ms: int
    trail: tuple[str, ...]


class TriggerDeclared(Event, frozen=True):
    agent: str
    trigger: str
    version: int
    definition: str
    watches: tuple[str, ...]
    given_up: tuple[str, ...]
    declared_ms: int


class TriggerKnown(Event, frozen=True):
    agent: str
    version: int
    status: str


class WatchConfirmed(Event, frozen=True):
    event: str
    version: int


class TriggerActive(Event, frozen=True):
    agent: str
    version: int


class TriggerFailed(Event, frozen=True):
    agent: str
    version: int
    event: str
    problem: str


class TriggerDropped(Event, frozen=True):
    agent: str
    trigger: str
    version: int
    given_up: tuple[str, ...]
    dropped_ms: int


class TriggerUnknown(Event, frozen=True):
    agent: str
    command: str


class TriggerRead(Event, frozen=True):
    agent: str
    version: int
    definition: str
    status: str
    awaited: tuple[str, ...]
    problem: str


class KeyOpened(Event, frozen=True):
    trigger: str
    version: int
    definition: str
    by: str


class SignalTaken(Event, frozen=True):
    source: str
    at_ms: int
    events: tuple[int, ...]
    trail: tuple[str, ...]
    upto_ms: int


class SignalIgnored(Event, frozen=True):
    source: str
    at_ms: int
    reason: str


class TimePassed(Event, frozen=True):
    upto_ms: int


class TriggerMatched(Event, frozen=True):
    trigger: str
    version: int
    by: str
    causes: tuple[str, ...]
    first_ms: int
    at_ms: int
    trail: tuple[str, ...]


class KeyClosed(Event, frozen=True):
    closed_ms: int


COMMANDS = (DeclareTrigger, DropTrigger, ReadTrigger, ConfirmWatch, ObserveSignal)
EVENTS = (
    TriggerDeclared,
    TriggerKnown,
    WatchConfirmed,
    TriggerActive,
    TriggerFailed,
    TriggerDropped,
    TriggerUnknown,
    TriggerRead,
    KeyOpened,
    SignalTaken,
    SignalIgnored,
    TimePassed,
    TriggerMatched,
    KeyClosed,
)
