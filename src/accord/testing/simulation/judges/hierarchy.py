"""Hierarchies: what is decided is decided once, within a boundary, by who was asked last; and everything is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from accord.schemas.messages.hierarchy import (
    AuthorityAsked,
    DecisionDefaulted,
    DecisionMade,
    DecisionRequested,
    DecisionWithdrawn,
    OutcomeReported,
)
from accord.testing.simulation.judges.seen import Demand, Seen, is_overdue

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster

ORGANISATION: Final = "house"


def judge(cluster: Cluster, seen: Sequence[Seen], demand: Demand) -> None:
    opened: dict[str, AuthorityAsked | None] = {}
    ended: set[str] = set()
    reported: set[str] = set()
    for one in seen:
        for event in one.events:
            match event:
                case DecisionRequested(decision=name):
                    demand(name not in opened, f"{name} is asked for twice")
                    opened[name] = None
                case AuthorityAsked(decision=name, authority=authority):
                    demand(
                        name in opened and name not in ended, f"{name} is put before {authority.member}, and is over"
                    )
                    opened[name] = event
                case DecisionMade(decision=name, authority=authority, amount_millionths=amount, agent=agent):
                    demand(name not in ended, f"{name} is decided twice")
                    demand(authority.limit_millionths >= amount, f"{name} is beyond the boundary of {agent}")
                    asked = opened.get(name)
                    demand(
                        asked is None or (asked.agent == agent and one.decision.now_ms < asked.due_ms),
                        f"{name} is decided by {agent}, who was not asked, or is late",
                    )
                    ended.add(name)
                case DecisionDefaulted(decision=name) | DecisionWithdrawn(decision=name):
                    demand(name in opened and name not in ended, f"{name} ends, and was not open")
                    ended.add(name)
                case OutcomeReported(decision=name):
                    demand(name in ended and name not in reported, f"the outcome of {name} is told twice, or too soon")
                    reported.add(name)
                case _:
                    pass
    left = [
        name
        for name, asked in opened.items()
        if name not in ended and (asked is None or is_overdue(cluster, ORGANISATION, asked.due_ms))
    ]
    demand(not left, f"requests that never end: {left}")
