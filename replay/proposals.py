"""Proposals: what was voted on, who voted how, how it ended; and counting again by other rules.

Keys are added, never renamed. They are read off the events, not off the state, so what is not remembered any more is
there, too. Counting again asks nobody, and no model: it takes the ballots that the log has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

import msgspec
from accord.replay.history import History, everything, one_of
from accord.replay.source import Source
from accord.replay.state import Point
from accord.replay.timeline import iso
from accord.schemas.messages import proposals as events
from accord.schemas.messages.proposals import Ballot
from accord.streams.partition import Decided
from accord.streams.proposals.proposal import ABSTAIN, OPEN, STATUSES, WITHDRAWN, Count, Proposal, count, evolve

from accord.errors import BadInput

__all__ = ["STATUSES", "ProposalView", "proposal_at", "proposals_at", "recount"]

DOMAIN: Final = "proposals"
NOT_IN_ELECTORATE: Final = "has cast no ballot"


class BallotView(msgspec.Struct, frozen=True):
    """How a voter voted. `at` is None for whom the deadline did; `late`: the vote came after the end."""

    voter: str
    weight: int
    choice: str
    reason: str
    at: str | None
    late: bool = False


class ProposalView(msgspec.Struct, frozen=True):
    """A proposal. `yes`, `no` and `abstain` are weights, `voted` counts who voted yes or no.

    `ballots` are those that count, in the order of the proposal; `late` those that came after its end; `awaited` names
    who has not voted yet. `position` is its last event.
    """

    id: str
    status: str
    proposer: str
    content: str
    threshold: str
    quorum: int | None
    yes: int
    no: int
    abstain: int
    voted: int
    voters: int
    ballots: tuple[BallotView, ...]
    late: tuple[BallotView, ...]
    awaited: tuple[str, ...]
    opened_at: str
    due_at: str
    ended_at: str | None
    reason: str
    position: str


class Kept(msgspec.Struct):
    """A proposal as the events tell it, with what its state does without."""

    state: Proposal
    late: tuple[Ballot, ...] = ()
    position: str = ""


class Proposals(History[Kept]):
    """The proposals of a partition, by id; one whose id was used again is the later one."""

    def see(self, decided: Decided) -> None:
        key, at = self.place(decided)
        for event in decided.events:
            match event:
                case events.ProposalOpened():
                    opened = evolve(None, event)
                    assert opened is not None
                    self.kept[key] = Kept(opened, position=at)
                case events.VoteCast() | events.ProposalDecided() | events.ProposalWithdrawn():
                    kept = self.kept[key]
                    after = evolve(kept.state, event)
                    assert after is not None
                    kept.state, kept.position = after, at
                case events.VoteLate(agent, choice, reason):
                    kept, now_ms = self.kept[key], decided.decision.now_ms
                    voter = kept.state.voter(agent)
                    assert voter is not None
                    kept.late = (*kept.late, Ballot(agent, voter.weight, choice, reason, now_ms))


def proposals_at(source: Source, point: Point = None, *, processes: int = 1) -> tuple[ProposalView, ...]:
    """Every proposal that was made up to a point, oldest first.

    Raises:
        What `state_at` raises.
    """
    found = everything(source, DOMAIN, Proposals, point, processes)
    return tuple(sorted([_view(key, kept) for key, kept in found], key=lambda view: (view.opened_at, view.id)))


def proposal_at(source: Source, proposal_id: str, point: Point = None) -> ProposalView | None:
    """A proposal at a point, or None. Only its partition is read."""
    found = one_of(source, DOMAIN, Proposals, point, proposal_id)
    return None if found is None else _view(proposal_id, found)


def _view(proposal_id: str, kept: Kept) -> ProposalView:
    p = kept.state
    ballots = p.in_order()
    found = count(ballots, p.threshold, p.quorum)
    cast = {ballot.voter for ballot in ballots}
    awaited = tuple([voter.name for voter in p.voters if voter.name not in cast]) if p.status == OPEN else ()
    return ProposalView(
        proposal_id,
        p.status,
        p.agent,
        p.content,
        f"{p.threshold_numerator}/{p.threshold_denominator}",
        p.quorum,
        found.yes,
        found.no,
        found.abstain,
        found.voted,
        len(p.voters),
        tuple([_ballot(ballot, late=False) for ballot in ballots]),
        tuple([_ballot(ballot, late=True) for ballot in kept.late]),
        awaited,
        iso(p.opened_ms),
        iso(p.due_ms),
        None if p.ended_ms is None else iso(p.ended_ms),
        p.reason,
        kept.position,
    )


def _ballot(b: Ballot, *, late: bool) -> BallotView:
    return BallotView(b.voter, b.weight, b.choice, b.reason, None if b.cast_ms is None else iso(b.cast_ms), late)


def recount(
    view: ProposalView,
    *,
    threshold: Fraction | None = None,
    quorum: int | None = None,
    weights: Mapping[str, int] | None = None,
    electorate: Sequence[str] = (),
) -> tuple[Count, tuple[BallotView, ...]]:
    """Counts the ballots of a proposal by other rules; what is not given stays as it was.

    Args:
        threshold: 0 to below 1.
        quorum: 0 is none.
        weights: by voter.
        electorate: whose ballots count; one without a ballot abstains. Empty: those of the proposal.

    Returns:
        The count, and the ballots as they were counted.

    Raises:
        BadInput: the proposal has no outcome, or a weight is of nobody who is counted.
    """
    if view.status in (OPEN, WITHDRAWN):
        raise BadInput(f"{view.id} is {view.status}: there is no count to repeat.", key=view.id)
    cast = {ballot.voter: ballot for ballot in view.ballots}
    names = electorate or tuple(cast)
    strangers = sorted(set(weights or ()) - set(names))
    if strangers:
        raise BadInput(f"weights: {', '.join(strangers)}: not counted. Counted are {', '.join(names)}.", key=view.id)
    ballots = []
    for name in names:
        ballot = cast.get(name) or BallotView(name, 1, ABSTAIN, NOT_IN_ELECTORATE, None)
        weight = (weights or {}).get(name, ballot.weight)
        ballots.append(msgspec.structs.replace(ballot, weight=weight))
    counted = [Ballot(ballot.voter, ballot.weight, ballot.choice, ballot.reason, None) for ballot in ballots]
    least = view.quorum if quorum is None else quorum or None
    return count(counted, Fraction(view.threshold) if threshold is None else threshold, least), tuple(ballots)
