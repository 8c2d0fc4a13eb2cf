"""Judges: what must hold of the events of a domain, written from its rules and not from its code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from accord.testing.simulation.judges import (
    auctions,
    conflicts,
    hierarchy,
    limits,
    llm,
    locks,
    sagas,
    signals,
    tasks,
    transactions,
    triggers,
    votes,
)
from accord.testing.simulation.judges.seen import Demand, Judge, Seen

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster

JUDGES: Final[tuple[tuple[frozenset[str], Judge], ...]] = (
    (frozenset({"locks"}), locks.judge),
    (frozenset({"limits"}), limits.judge),
    (frozenset({"tasks"}), tasks.judge),
    (frozenset({"proposals"}), votes.judge),
    (frozenset({"auctions"}), auctions.judge),
    (frozenset({"signals"}), signals.judge),
    (frozenset({"sagas"}), sagas.judge),
    (frozenset({"llm"}), llm.judge),
    (frozenset({"hierarchy"}), hierarchy.judge),
    (frozenset({"conflicts"}), conflicts.judge),
    (frozenset({"triggers", "signals"}), triggers.judge),
    (frozenset({"state", "transactions", "locks", "limits"}), transactions.judge),
)


def check(cluster: Cluster, seen: Sequence[Seen], demand: Demand) -> None:
    """Has every judge look at the decisions of its domains, in the order in which they landed."""
    in_order = sorted(seen, key=lambda one: one.order)
    for domains, judge in JUDGES:
        judge(cluster, [one for one in in_order if one.domain in domains], demand)
