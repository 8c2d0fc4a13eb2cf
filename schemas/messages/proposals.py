"""Proposals: what a group of agents votes on; see `accord.streams.proposals`."""

import msgspec
from accord.schemas.messages import Command, Event


class Voter(msgspec.Struct, frozen=True, gc=False):
    """Who may vote, and how much that vote counts."""

    name: str
    weight: int


class Ballot(msgspec.Struct, frozen=True, gc=False):
    """How a voter voted; without a time, for whom the deadline did."""

    voter: str
    weight: int
    choice: str
    reason: str
    cast_ms: int | None


class Propose(Command, frozen=True):
    agent: str
    content: str
    voters: tuple[Voter, ...]
    threshold_numerator: int
    threshold_denominator: int
    quorum: int | None
    deadline_ms: int
    keep_ms: int
    trail: tuple[str, ...]


class CastVote(Command, frozen=True):
    agent: str
    choice: str
    reason: str


class WithdrawProposal(Command, frozen=True):
    agent: str
    reason: str


class ReadProposal(Command, frozen=True):
    agent: str


class ProposalOpened(Event, frozen=True):
    agent: str
    content: str
    voters: tuple[Voter, ...]
    threshold_numerator: int
    threshold_denominator: int
    quorum: int | None
    deadline_ms: int
    keep_ms: int
    trail: tuple[str, ...]
    opened_ms: int


class ProposalKnown(Event, frozen=True):
    agent: str
    status: str


class ProposalRefused(Event, frozen=True):
    agent: str
    reason: str


class ProposalUnknown(Event, frozen=True):
    agent: str
    command: str


class VoteCast(Event, frozen=True):
    agent: str
    weight: int
    choice: str
    reason: str
    cast_ms: int


class VoteRefused(Event, frozen=True):
    agent: str
    choice: str
    reason: str
    counted: str | None


class VoteLate(Event, frozen=True):
    agent: str
    choice: str
    reason: str
    status: str


class ProposalDecided(Event, frozen=True):
    agent: str
    outcome: str
    yes: int
    no: int
    abstain: int
    voted: int
    ballots: tuple[Ballot, ...]
    ended_ms: int


class ProposalWithdrawn(Event, frozen=True):
    agent: str
    reason: str
    voters: tuple[str, ...]
    ended_ms: int


class WithdrawalRefused(Event, frozen=True):
    agent: str
    proposer: str


class ProposalForgotten(Event, frozen=True):
    ended_ms: int


class ProposalRead(Event, frozen=True):
    agent: str
    proposer: str
    content: str
    status: str
    reason: str
    yes: int
    no: int
    abstain: int
    voted: int
    ballots: tuple[Ballot, ...]
    opened_ms: int
    due_ms: int
    ended_ms: int | None


COMMANDS = (Propose, CastVote, WithdrawProposal, ReadProposal)
EVENTS = (
    ProposalOpened,
    ProposalKnown,
    ProposalRefused,
    ProposalUnknown,
    VoteCast,
    VoteRefused,
    VoteLate,
    ProposalDecided,
    ProposalWithdrawn,
    WithdrawalRefused,
    ProposalForgotten,
    ProposalRead,
)
