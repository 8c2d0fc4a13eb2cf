"""Proposals: everybody votes once, who is asked alone; the count is that of the votes; decided once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from accord.schemas.messages.proposals import (
    ProposalDecided,
    ProposalForgotten,
    ProposalOpened,
    ProposalWithdrawn,
    VoteCast,
)
from accord.testing.simulation.judges.seen import Demand, Seen, is_overdue

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster


@dataclass
class _Proposal:
    weights: dict[str, int] = field(default_factory=dict)
    votes: dict[str, tuple[str, int]] = field(default_factory=dict)
    due_ms: int = 0
    ended: bool = False


def judge(cluster: Cluster, seen: Sequence[Seen], demand: Demand) -> None:
    proposals: dict[str, _Proposal] = defaultdict(_Proposal)
    for one in seen:
        proposal, key = proposals[one.key], one.key
        for event in one.events:
            match event:
                case ProposalOpened(voters=voters, opened_ms=opened_ms, deadline_ms=deadline_ms):
                    demand(not proposal.weights, f"{key} was opened twice")
                    proposal.weights = {voter.name: voter.weight for voter in voters}
                    proposal.due_ms = opened_ms + deadline_ms
                case VoteCast(agent=agent, weight=weight, choice=choice):
                    demand(proposal.weights.get(agent) == weight, f"{agent} votes on {key} and may not")
                    demand(agent not in proposal.votes, f"{agent} votes twice on {key}")
                    demand(not proposal.ended, f"a vote counts after {key} has ended")
                    demand(one.decision.now_ms < proposal.due_ms, f"a vote counts after the time of {key}")
                    proposal.votes[agent] = choice, weight
                case ProposalDecided(yes=yes, no=no, abstain=abstain):
                    demand(not proposal.ended, f"{key} ends twice")
                    proposal.ended = True
                    sums: dict[str, int] = defaultdict(int)
                    for choice, weight in proposal.votes.values():
                        sums[choice] += weight
                    rest = sum(proposal.weights.values()) - sums["yes"] - sums["no"]  # who does not vote abstains
                    counted = (sums["yes"], sums["no"], rest)
                    demand((yes, no, abstain) == counted, f"{key} was counted as {yes, no, abstain}, it was {counted}")
                case ProposalWithdrawn():
                    proposal.ended = True
                case ProposalForgotten():
                    del proposals[key]
                case _:
                    pass
    left = [
        name
        for name, proposal in proposals.items()
        if proposal.weights and not proposal.ended and is_overdue(cluster, name, proposal.due_ms)
    ]
    demand(not left, f"proposals that never end: {left}")
