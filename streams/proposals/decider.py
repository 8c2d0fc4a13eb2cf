"""Proposals: one aggregate a proposal, on which the agents that it names vote.

Rules:
- Who proposes is one of the voters, and votes yes by that. The others are asked, each by a signal of its own.
- A voter has one vote, by the name of the agent that sends it; the first one counts and cannot be changed. Nobody else
  has one.
- Once all have voted, or the deadline is over by the log's clock, the votes are counted. Who has not voted by then
  abstains; what comes later is recorded and does not count.
- There is no decision before that, even if the votes that are missing could not change it: the outcome holds the full
  count, so whoever counts again by another rule has every vote that came in time.
- Counting is a function of the ballots alone (`proposal.count`): not of their order, and in whole numbers.
- A proposal that ended is remembered for as long as its proposer said; then its id is free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.proposals import (
    CastVote,
    ProposalDecided,
    ProposalForgotten,
    ProposalKnown,
    ProposalOpened,
    ProposalRead,
    ProposalRefused,
    ProposalUnknown,
    ProposalWithdrawn,
    Propose,
    ReadProposal,
    VoteCast,
    VoteLate,
    VoteRefused,
    WithdrawalRefused,
    WithdrawProposal,
)
from accord.schemas.messages.signals import EmitSignal
from accord.streams.decider import At, Domain, Order
from accord.streams.proposals.bounds import problem_of
from accord.streams.proposals.proposal import OPEN, YES, Proposal, count, evolve
from accord.streams.signals.decider import TRAIL_MAX

PROPOSED: Final = "proposed it"
"""The reason on the proposer's ballot."""


class ProposalDecider:
    """Version 1."""

    state_type = Proposal

    def decide(self, state: Proposal | None, command: Command, at: At) -> Sequence[Event]:
        problem = problem_of(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        draft = Draft(state, at)
        draft.let_time_pass()
        if draft.proposal is None:
            _of_no_proposal(draft, command)
        else:
            _ANSWERS[type(command)](draft, draft.proposal, command)
        return draft.events

    def evolve(self, state: Proposal | None, event: Event) -> Proposal | None:
        return evolve(state, event)

    def deadline_ms(self, state: Proposal) -> int | None:
        return _due_ms(state)


def _due_ms(proposal: Proposal) -> int:
    """When something happens of itself: it is decided or, if it has ended, not remembered any more."""
    return proposal.due_ms if proposal.ended_ms is None else proposal.ended_ms + proposal.keep_ms


class Draft:
    """A decision as it comes into being: its events, and the proposal after them."""

    def __init__(self, proposal: Proposal | None, at: At) -> None:
        self.proposal: Any = proposal
        self.at = at
        self.events: list[Event] = []

    def add(self, event: Event) -> None:
        self.events.append(event)
        self.proposal = evolve(self.proposal, event)

    def let_time_pass(self) -> None:
        """Decides what is due, and forgets what ended long ago."""
        proposal = self.proposal
        if proposal is None or _due_ms(proposal) > self.at.now_ms:
            return
        if proposal.ended_ms is None:
            self.decide()
        else:
            self.add(ProposalForgotten(proposal.ended_ms))

    def decide(self) -> None:
        """Counts the votes."""
        proposal = self.proposal
        ballots = proposal.all_ballots()
        found = count(ballots, proposal.threshold, proposal.quorum)
        self.add(
            ProposalDecided(
                proposal.agent, found.outcome, found.yes, found.no, found.abstain, found.voted, ballots, self.at.now_ms
            )
        )

    def vote(self, agent: str, choice: str, reason: str) -> None:
        """A vote that counts; it may have been the last one."""
        weight = self.proposal.voter(agent).weight
        self.add(VoteCast(agent, weight, choice, reason, self.at.now_ms))
        if self.proposal.is_complete:
            self.decide()


def _of_no_proposal(draft: Draft, command: Command) -> None:
    """To a proposal that there is not, or not any more."""
    match command:
        case Propose():
            _begin(draft, command)
        case Tick():
            pass
        case _:
            draft.add(ProposalUnknown(command.agent, type(command).__name__))  # type: ignore[attr-defined]


def _begin(draft: Draft, c: Propose) -> None:
    if c.agent not in [voter.name for voter in c.voters]:
        draft.add(ProposalRefused(c.agent, "unknown_proposer"))
    elif len(c.trail) > TRAIL_MAX:
        draft.add(ProposalRefused(c.agent, "circular_trigger"))
    else:
        draft.add(
            ProposalOpened(
                c.agent, c.content, c.voters, c.threshold_numerator, c.threshold_denominator, c.quorum, c.deadline_ms,
                c.keep_ms, c.trail, draft.at.now_ms,
            )
        )  # fmt: skip
        draft.vote(c.agent, YES, PROPOSED)


def _propose(draft: Draft, p: Proposal, c: Propose) -> None:
    terms = (p.agent, p.content, p.voters, p.threshold_numerator, p.threshold_denominator, p.quorum, p.deadline_ms)
    asked = (c.agent, c.content, c.voters, c.threshold_numerator, c.threshold_denominator, c.quorum, c.deadline_ms)
    draft.add(ProposalKnown(c.agent, p.status) if asked == terms else ProposalRefused(c.agent, "exists"))


def _cast(draft: Draft, proposal: Proposal, c: CastVote) -> None:
    voted = proposal.ballot(c.agent)
    if proposal.voter(c.agent) is None:
        draft.add(VoteRefused(c.agent, c.choice, "not_a_voter", None))
    elif voted is not None and voted.cast_ms is not None:
        draft.add(VoteRefused(c.agent, c.choice, "voted", voted.choice))
    elif proposal.status != OPEN:
        draft.add(VoteLate(c.agent, c.choice, c.reason, proposal.status))
    else:
        draft.vote(c.agent, c.choice, c.reason)


def _withdraw(draft: Draft, proposal: Proposal, c: WithdrawProposal) -> None:
    if proposal.status != OPEN:
        draft.add(ProposalKnown(c.agent, proposal.status))
    elif c.agent != proposal.agent:
        draft.add(WithdrawalRefused(c.agent, proposal.agent))
    else:
        names = tuple([voter.name for voter in proposal.voters])
        draft.add(ProposalWithdrawn(c.agent, c.reason, names, draft.at.now_ms))


def _read(draft: Draft, p: Proposal, c: ReadProposal) -> None:
    ballots = p.in_order()
    found = count(ballots, p.threshold, p.quorum)
    draft.add(
        ProposalRead(
            c.agent, p.agent, p.content, p.status, p.reason, found.yes, found.no, found.abstain, found.voted, ballots,
            p.opened_ms, p.due_ms, p.ended_ms,
        )
    )  # fmt: skip


def _tick(_: Draft, __: Proposal, ___: Tick) -> None:
    pass


_ANSWERS: Final[Mapping[type[Command], Callable[[Draft, Proposal, Any], None]]] = {
    Propose: _propose,
    CastVote: _cast,
    WithdrawProposal: _withdraw,
    ReadProposal: _read,
    Tick: _tick,
}


# -- what follows elsewhere


def asks(voter: str) -> str:
    """The name of the signals by which a voter is asked. What it is asked stands in the proposal."""
    return f"vote_wanted:{voter}"


def _ask(key: str, e: ProposalOpened) -> list[Order]:
    data = {"proposal": key, "proposer": e.agent}
    signal = EmitSignal(e.agent, msgspec.json.encode(data).decode(), e.trail)
    return [Order("signals", asks(voter.name), signal) for voter in e.voters if voter.name != e.agent]


DOMAIN: Final = Domain("proposals", {1: ProposalDecider()}, reactions={ProposalOpened: _ask})
"""Proposals, by id."""
