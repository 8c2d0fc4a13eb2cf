"""What judges are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from accord.schemas.messages import Event
from accord.streams.chain import Decision

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster

OVERDUE_MS: Final = 15_000
"""What should have ended so long before the end of a run has ended by then."""


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


def is_overdue(cluster: Cluster, key: str, deadline_ms: int) -> bool:
    """Whether a deadline has passed long ago, by the clock that the key goes by."""
    return deadline_ms < cluster.log.clock_ms(cluster.partition_of(key)) - OVERDUE_MS
