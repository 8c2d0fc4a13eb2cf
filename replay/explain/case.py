"""What a domain is given to find the reasons for an event: the event, the state before it, what led there.

A new domain that has something to say adds a file of its name beside this one, with a `REASONS` for some of its events,
and a line in `reasons.py`. Of others, the fields that every domain uses alike (`reason`, `description`) are told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from accord.replay.timeline import TimelineEvent, iso

POSITIONS_MAX: Final = 20


class Reason(msgspec.Struct, frozen=True):
    """One thing that an event rests on. `position` is the decision that made it so; None: it needs none, or it lies
    before what was looked at. `cause` is that decision's command, `by` the agent that sent it, where they are known."""

    text: str
    position: str | None = None
    cause: str | None = None
    by: str | None = None


class Case(msgspec.Struct, frozen=True):
    """An event that is asked about.

    `decided` are all events of its decision, `before` the state of its aggregate as plain data (None: there was none),
    `earlier` the aggregate's events before, as far as they were looked at, oldest first. `now_ms` is the partition's
    clock, `numbers` the positions of the aggregate's decisions by their number in the partition (a token is one).
    """

    event: TimelineEvent
    decided: Sequence[TimelineEvent]
    before: dict[str, Any] | None
    earlier: Sequence[TimelineEvent]
    now_ms: int
    numbers: Mapping[int, str]

    @property
    def data(self) -> dict[str, Any]:
        return self.event.data

    def listed(self, name: str) -> list[dict[str, Any]]:
        """A list of the state before; empty where there is none."""
        return list((self.before or {}).get(name) or ())

    def granted(self, token: int) -> str | None:
        """Where a token was granted."""
        return self.numbers.get(token)

    def last(self, *names: str, **fields: Any) -> TimelineEvent | None:
        """The last of the aggregate's earlier events with one of these names and these fields."""
        for event in reversed(self.earlier):
            told = event.data | {"agent": event.agent}
            if event.event in names and all(told.get(name) == value for name, value in fields.items()):
                return event
        return None

    def ago(self, at_ms: int) -> str:
        """How long before the event something was."""
        return span(self.now_ms - at_ms)


def where(event: TimelineEvent | None) -> str | None:
    """An event's position, if there is an event."""
    return None if event is None else event.position


def positions(text: str, found: Sequence[Any]) -> list[Reason]:
    """The same reason for each of these positions, of many the first `POSITIONS_MAX`."""
    reasons = [Reason(text, str(position)) for position in found[:POSITIONS_MAX]]
    return [*reasons, Reason(f"and {len(found) - POSITIONS_MAX} more")] if len(found) > POSITIONS_MAX else reasons


Reasons = Mapping[str, Callable[[Case], list[Reason]]]
"""By an event's name, what it rests on."""


def span(ms: int) -> str:
    """A duration in words."""
    if abs(ms) < 1_000:
        return f"{ms} ms"
    seconds = ms / 1_000
    return (
        f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.0f} min" if seconds < 3_600 else f"{ms / 3.6e6:.1f} h"
    )


def clock(at_ms: int) -> str:
    """A time of day."""
    return iso(at_ms)[11:-1]
