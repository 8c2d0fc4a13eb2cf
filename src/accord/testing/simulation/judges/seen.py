"""What judges are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from accord.schemas.messages import Event
from accord.streams.chain import Decision

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster


class Seen(NamedTuple):
    """A decision and its events; `order` is its place among all decisions of the run, as they landed."""

    order: int
    domain: str
    partition: int
    decision: Decision
    events: tuple[Event, ...]

    @property
    def key(self) -> str:
        return self.decision.key.decode(errors="replace")


Demand = Callable[[bool, str], None]
Judge = Callable[["Cluster", Sequence[Seen], Demand], None]
"""(run, the decisions of one domain, what raises)."""
