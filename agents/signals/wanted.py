"""Which events a handler is called with, and in which order.

Wanted(("ordered", "paid"))                         events of these names, each name in its own order
Wanted(("ordered", "paid"), causal=Causal(30_000))  none before what caused it
Wanted(("paid",), group="trip_7")                   those of a group, in the group's order; () for all of it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from accord.agents.signals.signals import check_name
from accord.schemas.messages.signals import SignalEmitted, SignalNumbered
from accord.streams.chain import Decision

from accord.errors import BadInput

NAMES_MAX: Final = 64
"""Names of events of one handler."""

MISSING_AFTER_MS: Final = 30_000
MISSING_AFTER_MS_MIN: Final = 1_000
MISSING_AFTER_MS_MAX: Final = 86_400_000

Ordered = Literal["name", "causal"]
OnMissing = Literal["stop", "deliver"]
Emitted = SignalEmitted | SignalNumbered


class Causal(NamedTuple):
    """Causes first. One that does not come for `missing_after_ms` is missing: then the handler stops, or it is called
    without (`delivers`)."""

    missing_after_ms: int
    delivers: bool


class Wanted(NamedTuple):
    """See the module's text."""

    names: tuple[str, ...]
    group: str | None = None
    causal: Causal | None = None

    @property
    def keys(self) -> frozenset[bytes]:
        """The keys of the decisions that may hold such events."""
        return frozenset(name.encode() for name in (self.names if self.group is None else (self.group,)))

    def find(self, decision: Decision, events: Sequence[Any]) -> tuple[str, Emitted] | None:
        """The event of a decision under one of the keys, with its name; None if it has none that is wanted."""
        first = events[0]
        match first:
            case SignalEmitted() if self.group is None:
                return decision.key.decode(), first
            case SignalNumbered(event=name) if self.group is not None and (not self.names or name in self.names):
                return name, first
            case _:
                return None

    def __str__(self) -> str:
        names = ", ".join(map(repr, self.names))
        return names if self.group is None else f"{names or 'all events'} of group {self.group!r}"


def wanted(
    events: str | Sequence[str] | None, order: Ordered, group: str | None, on_missing: OnMissing, missing_after_ms: int
) -> Wanted:
    """What the arguments of `when` say.

    Raises:
        BadInput: they cannot be right.
    """
    names = () if events is None else tuple(events) if isinstance(events, list | tuple) else (events,)
    for name in names:
        check_name("event", name)
    if group is not None:
        check_name("group", group)
    elif not names:
        raise BadInput(
            "when() names no event.", remedy='Name one, or a group whose events are all wanted: group="...".'
        )
    if len(names) > NAMES_MAX or len(set(names)) < len(names):
        raise BadInput(f"when() names {len(names)} events: 1 to {NAMES_MAX} are allowed, each once.")
    if order not in ("name", "causal"):
        raise BadInput(f'order={order!r}: "name" or "causal" is needed.', remedy='For one order of all: group="...".')
    if on_missing not in ("stop", "deliver"):
        raise BadInput(f'on_missing={on_missing!r}: "stop" or "deliver" is needed.')
    if order == "name":
        if on_missing != "stop" or missing_after_ms != MISSING_AFTER_MS:
            raise BadInput('on_missing and missing_after_ms say nothing without order="causal".')
        return Wanted(names, group)
    if group is not None:
        raise BadInput(
            f'order="causal" and group={group!r}: a group has one order, with causes first.', remedy="Leave one away."
        )
    if type(missing_after_ms) is not int or not MISSING_AFTER_MS_MIN <= missing_after_ms <= MISSING_AFTER_MS_MAX:
        raise BadInput(
            f"missing_after_ms={missing_after_ms!r}: a whole number of ms from {MISSING_AFTER_MS_MIN} to "
            f"{MISSING_AFTER_MS_MAX} is needed."
        )
    return Wanted(names, None, Causal(missing_after_ms, on_missing == "deliver"))
