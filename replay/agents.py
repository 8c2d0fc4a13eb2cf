"""One agent in all domains: what it holds and waits for, what it runs, whose answer from it is awaited, how it did.

An agent is a name here: several processes may bear it, and what they do is shown together.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from accord.replay.auctions import auctions_at
from accord.replay.health import ProcessView
from accord.replay.llm import Bill, costs
from accord.replay.performance import Failures, Performance, outcomes
from accord.replay.proposals import proposals_at
from accord.replay.roster import MemberView
from accord.replay.sharing import sharing_at
from accord.replay.source import Source
from accord.replay.state import Point
from accord.replay.work import processes_at, teams_at


class Holding(msgspec.Struct, frozen=True):
    """A lock or a part of a pool that it holds."""

    domain: Literal["locks", "limits"]
    name: str
    token: int
    held_ms: int
    lease_left_ms: int


class Waiting(msgspec.Struct, frozen=True):
    """A lock or a part of a pool that it waits for, in its place, behind the holders."""

    domain: Literal["locks", "limits"]
    name: str
    place: int
    waiting_ms: int
    holders: tuple[str, ...]


class Membership(msgspec.Struct, frozen=True):
    """A process of it in a team."""

    team: str
    member: MemberView


class Working(msgspec.Struct, frozen=True):
    """Work that it won in an auction and is at."""

    auction: str
    description: str
    token: int


class AgentView(msgspec.Struct, frozen=True):
    """An agent. `votes` and `bids` are the proposals and auctions that wait for its answer, `processes` its own that
    beat."""

    name: str
    teams: tuple[Membership, ...]
    holds: tuple[Holding, ...]
    waits: tuple[Waiting, ...]
    votes: tuple[str, ...]
    bids: tuple[str, ...]
    works: tuple[Working, ...]
    performance: Performance | None
    failures: Failures | None
    costs: Bill | None
    processes: tuple[ProcessView, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether the log has anything to tell of it."""
        told = (self.processes, self.teams, self.holds, self.waits, self.votes, self.bids, self.works)
        return any(told) or any(one is not None for one in (self.performance, self.failures, self.costs))


def agent_at(
    source: Source, name: str, point: Point = None, *, now_ms: int | None = None, processes: int = 1
) -> AgentView:
    """An agent at a point; how it did, and what it cost, are over the whole log.

    Args:
        point: None is the end of the log.
        now_ms: what ages and leases are counted to at the end of the log, in ms since 1970; None: the clock of each
            partition. At another point it is the time of that point.
        processes: how many to work in; 0 is what pays.

    Raises:
        What `state_at` raises.
    """
    shared = sharing_at(source, point, now_ms=now_ms, processes=processes)
    places = [("locks", view) for view in shared.locks] + [("limits", view) for view in shared.pools]
    auctions = auctions_at(source, point, processes=processes)
    ended, failed = outcomes(source, processes=processes)
    return AgentView(
        name,
        tuple(
            Membership(team.team, member)
            for team in teams_at(source, point, now_ms=now_ms, processes=processes)
            for member in team.members
            if member.agent == name
        ),
        tuple(
            Holding(domain, view.name, holder.token, holder.held_ms, holder.lease_left_ms)  # type: ignore[arg-type]
            for domain, view in places
            for holder in view.holders
            if holder.agent == name
        ),
        tuple(
            Waiting(
                domain,  # type: ignore[arg-type]
                view.name,
                waiter.place,
                waiter.waiting_ms,
                tuple(sorted({holder.agent for holder in view.holders})),
            )
            for domain, view in places
            for waiter in view.waiters
            if waiter.agent == name
        ),
        tuple(view.id for view in proposals_at(source, point, processes=processes) if name in view.awaited),
        tuple(view.id for view in auctions if name in view.awaited),
        tuple(
            Working(view.id, view.description, award.token)
            for view in auctions
            for award in view.awards
            if award.agent == name and award.ended == "running"
        ),
        next((one for one in ended if one.name == name), None),
        next((one for one in failed if one.name == name), None),
        next((one for one in costs(source, processes=processes) if one.name == name), None),
        tuple(one for one in processes_at(source, point, now_ms=now_ms, processes=processes) if one.agent == name),
    )
