"""What goes into windows and joins, and what comes out of them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

Trail = tuple[str, ...]

LATE: Final = "late"
OVERFLOW: Final = "overflow"


class Item(NamedTuple):
    """An event on its way: its own time, its key as JSON, its data, and where it comes from.

    `side` is 1 for the second event of a join.
    """

    time_ms: int
    key: str
    data: Any
    origin: str
    trail: Trail
    side: int


class Row(NamedTuple):
    """What is found: a result, or (`reason`) an event for which there was no place, with its data and time."""

    reason: str
    data: dict[str, Any]
    causes: tuple[str, ...]
    trail: Trail


class Operator(Protocol):
    """Puts events together. It is given items by the log's time, and before each the time has moved on to it."""

    def take(self, item: Item, now_ms: int) -> list[Row]:
        """Takes an event in."""

    def advance(self, now_ms: int) -> list[Row]:
        """Moves the time on: tells what is complete by then, in the order in which it is, and forgets what is over."""

    def deadline_ms(self) -> int | None:
        """When, by the log's time, there is something to tell; None: only events bring something."""

    def dump(self) -> Any:
        """All that it keeps, as plain data."""

    def restore(self, kept: Any) -> None:
        """Puts back what `dump` gave."""


def passed_over(item: Item, reason: str) -> Row:
    """An event for which there was no place."""
    return Row(reason, {"at_ms": item.time_ms, "data": item.data}, (item.origin,), item.trail)


def longer(one: Trail, other: Trail) -> Trail:
    """The longer trail, so that a circle of flows and handlers comes to its end."""
    return other if len(other) > len(one) else one
