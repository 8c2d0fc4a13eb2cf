"""A proposal: its terms and its ballots, how they are counted, and what events make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, Final, NamedTuple

import msgspec
from accord.schemas.messages import Event
from accord.schemas.messages.proposals import (
    Ballot,
    ProposalDecided,
    ProposalForgotten,
    ProposalKnown,
    ProposalOpened,
    ProposalRead,
    ProposalRefused,
    ProposalUnknown,
    ProposalWithdrawn,
    VoteCast,
    VoteLate,
    Voter,
    VoteRefused,
    WithdrawalRefused,
)

OPEN: Final = "open"
APPROVED: Final = "approved"
REJECTED: Final = "rejected"
NO_QUORUM: Final = "no_quorum"
WITHDRAWN: Final = "withdrawn"
STATUSES: Final = (OPEN, APPROVED, REJECTED, NO_QUORUM, WITHDRAWN)

YES: Final = "yes"
NO: Final = "no"
ABSTAIN: Final = "abstain"
LATE: Final = "no vote by the deadline"
"""The reason on the ballot of who did not vote in time."""

_replace: Final = msgspec.structs.replace


class Count(NamedTuple):
    """Ballots as they are counted: weights, and how many voted yes or no."""

    outcome: str
    yes: int
    no: int
    abstain: int
    voted: int


def count(ballots: Iterable[Ballot], threshold: Fraction, quorum: int | None) -> Count:
    """Counts ballots, in whatever order.

    Approved is what has more than `threshold` of the weight of yes and no. Who abstains is on neither side, and does
    not help a quorum; without any yes or no it is rejected.

    Args:
        threshold: 0 or more, less than 1.
        quorum: how many must vote yes or no, or there is no decision; None: any number.
    """
    weights = {YES: 0, NO: 0, ABSTAIN: 0}
    voted = 0
    for ballot in ballots:
        weights[ballot.choice] += ballot.weight
        voted += ballot.choice != ABSTAIN
    yes, no = weights[YES], weights[NO]
    if quorum is not None and voted < quorum:
        outcome = NO_QUORUM
    else:
        is_more = yes * threshold.denominator > threshold.numerator * (yes + no)
        outcome = APPROVED if is_more else REJECTED
    return Count(outcome, yes, no, weights[ABSTAIN], voted)


class Proposal(msgspec.Struct, frozen=True):
    """A proposal. `ballots` are those cast, in the order in which they came."""

    agent: str
    content: str
    voters: tuple[Voter, ...]
    threshold_numerator: int
    threshold_denominator: int
    quorum: int | None
    deadline_ms: int
    keep_ms: int
    opened_ms: int
    ballots: tuple[Ballot, ...] = ()
    status: str = OPEN
    reason: str = ""
    ended_ms: int | None = None

    @property
    def due_ms(self) -> int:
        """Until when votes count."""
        return self.opened_ms + self.deadline_ms

    @property
    def threshold(self) -> Fraction:
        return Fraction(self.threshold_numerator, self.threshold_denominator)

    @property
    def is_complete(self) -> bool:
        """Whether every voter has voted."""
        return len(self.ballots) == len(self.voters)

    def voter(self, name: str) -> Voter | None:
        return next((voter for voter in self.voters if voter.name == name), None)

    def ballot(self, name: str) -> Ballot | None:
        """The ballot that an agent has cast."""
        return next((ballot for ballot in self.ballots if ballot.voter == name), None)

    def in_order(self) -> tuple[Ballot, ...]:
        """The ballots cast, in the order of the voters: so it does not show in which order they came."""
        cast = {ballot.voter: ballot for ballot in self.ballots}
        return tuple([cast[voter.name] for voter in self.voters if voter.name in cast])

    def all_ballots(self) -> tuple[Ballot, ...]:
        """The ballots of all voters, in their order; who has not voted abstains."""
        cast = {ballot.voter: ballot for ballot in self.ballots}
        absent = [Ballot(voter.name, voter.weight, ABSTAIN, LATE, None) for voter in self.voters]
        return tuple([cast.get(ballot.voter, ballot) for ballot in absent])


def evolve(state: Proposal | None, event: Event) -> Proposal | None:
    """The proposal after an event."""
    change = _CHANGES.get(type(event))
    if change is None:
        raise TypeError(f"the proposals domain has no event {type(event).__name__}")
    return change(state, event)


def _opened(_: Proposal | None, e: ProposalOpened) -> Proposal:
    return Proposal(
        e.agent, e.content, e.voters, e.threshold_numerator, e.threshold_denominator, e.quorum, e.deadline_ms,
        e.keep_ms, e.opened_ms,
    )  # fmt: skip


def _cast(proposal: Proposal, e: VoteCast) -> Proposal:
    ballot = Ballot(e.agent, e.weight, e.choice, e.reason, e.cast_ms)
    return _replace(proposal, ballots=(*proposal.ballots, ballot))


def _decided(proposal: Proposal, e: ProposalDecided) -> Proposal:
    return _replace(proposal, ballots=e.ballots, status=e.outcome, ended_ms=e.ended_ms)


def _withdrawn(proposal: Proposal, e: ProposalWithdrawn) -> Proposal:
    return _replace(proposal, status=WITHDRAWN, reason=e.reason, ended_ms=e.ended_ms)


def _forgotten(_: Proposal, __: ProposalForgotten) -> None:
    return None


def _unchanged(proposal: Proposal | None, _: Event) -> Proposal | None:
    return proposal


_CHANGES: Final[Mapping[type[Event], Callable[[Any, Any], Proposal | None]]] = {
    ProposalOpened: _opened,
    ProposalKnown: _unchanged,
    ProposalRefused: _unchanged,
    ProposalUnknown: _unchanged,
    VoteCast: _cast,
    VoteRefused: _unchanged,
    VoteLate: _unchanged,
    ProposalDecided: _decided,
    ProposalWithdrawn: _withdrawn,
    WithdrawalRefused: _unchanged,
    ProposalForgotten: _forgotten,
    ProposalRead: _unchanged,
}
