"""A proposal by id: voting on it, its outcome, its end.

Rules that act here:
- A proposal has an outcome when the log says so; a handle listens from before it is made, or asks first.
- A vote is the vote of the agent that this program says it is. What a model or a peer writes never names a voter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import msgspec
from accord.agents.connection.connection import Answer, future, settle
from accord.agents.locks.arguments import check_name, check_names, check_number, check_wait_ms, shortened
from accord.agents.signals import signals
from accord.agents.watched import Watched
from accord.schemas.messages import Event
from accord.schemas.messages.proposals import (
    Ballot,
    CastVote,
    ProposalDecided,
    ProposalKnown,
    ProposalRead,
    ProposalRefused,
    ProposalUnknown,
    ProposalWithdrawn,
    Propose,
    ReadProposal,
    VoteLate,
    Voter,
    VoteRefused,
    WithdrawalRefused,
    WithdrawProposal,
)
from accord.schemas.position import Position
from accord.streams.proposals.bounds import (
    CHOICES,
    CONTENT_BYTES_MAX,
    DENOMINATOR_MAX,
    VOTERS_MAX,
    WEIGHT_MAX,
)
from accord.streams.proposals.proposal import APPROVED, OPEN, WITHDRAWN
from accord.streams.tasks.bounds import LIMIT_MS_MAX

from accord import errors
from accord.errors import BadInput, CircularTrigger, Denied, TermsDiffer

if TYPE_CHECKING:
    from accord.agents.hub import Hub

DOMAIN: Final = "proposals"
THRESHOLD: Final = 0.5
DEADLINE_MS: Final = 30_000
KEEP_MS: Final = 7 * 24 * 3_600_000

Threshold = float | str | Decimal | Fraction


class Outcome(msgspec.Struct, frozen=True):
    """How a proposal ended: `status` is approved, rejected, no_quorum or withdrawn.

    `yes`, `no` and `abstain` are weights. `ballots` has every voter (`voter`, `weight`, `choice`, `reason`, `cast_ms`)
    in the order of the proposal; who did not vote in time abstained. `reason` says why it was withdrawn. `position` is
    where the log has it.
    """

    status: str
    yes: int
    no: int
    abstain: int
    ballots: tuple[Ballot, ...]
    reason: str
    position: str

    @property
    def approved(self) -> bool:
        return self.status == APPROVED


async def propose(
    hub: Hub,
    content: str,
    *,
    voters: Iterable[str],
    threshold: Threshold,
    quorum: int | None,
    weights: Mapping[str, int] | None,
    deadline_ms: int,
    key: str | None,
    keep_ms: int,
) -> Proposal:
    """`Accord.propose`, on any hub."""
    hub.ensure_open("propose()")
    if not isinstance(content, str) or len(content.encode()) > CONTENT_BYTES_MAX:
        raise BadInput(f"a proposal's content is text of at most {CONTENT_BYTES_MAX} bytes; name what is larger.")
    electorate = checked_voters(hub.agent, voters, weights or {})
    if quorum is not None:
        check_number("quorum", quorum, 1, len(electorate))
    part = checked_threshold(threshold)
    check_number("deadline_ms", deadline_ms, 1, LIMIT_MS_MAX)
    check_number("keep_ms", keep_ms, 0, LIMIT_MS_MAX)
    made = Proposal(hub, key or signals.new_task())
    command = Propose(
        hub.agent, content, electorate, part.numerator, part.denominator, quorum, deadline_ms, keep_ms,
        signals.trail.get(),
    )  # fmt: skip
    withdrawal = None if key else lambda _: WithdrawProposal(hub.agent, "whoever made it has given up")
    try:
        answer = await made.send(command, withdrawal=withdrawal)
        match answer.events[-1]:
            case ProposalRefused(reason="exists"):
                raise TermsDiffer(
                    f"{made.id} is another proposal.", remedy="Take another key.", key=made.id,
                    position=str(answer.position),
                )  # fmt: skip
            case ProposalRefused(reason=reason):
                raise CircularTrigger(
                    f"{made.id} is not proposed: {reason}: too many events in a row led to it.", key=made.id,
                    position=str(answer.position),
                )  # fmt: skip
            case ProposalKnown():
                await made.look()
    except BaseException:
        made.forget()
        raise
    return made


async def find(hub: Hub, proposal_id: str) -> Proposal:
    """`Accord.proposal`, on any hub."""
    hub.ensure_open("proposal()")
    return await Proposal(hub, proposal_id).looked()


def checked_voters(proposer: str, names: Iterable[str], weights: Mapping[str, int]) -> tuple[Voter, ...]:
    """The electorate. Raises BadInput: a name or a weight cannot be one, or the proposer is no voter."""
    named = check_names("voters", names, VOTERS_MAX, least=0, noun="names of agents")
    if proposer not in named:
        raise BadInput(
            f"{proposer} proposes and is none of the voters ({', '.join(named) or 'nobody'}).",
            remedy="Name it among them: who proposes votes yes.",
            agent=proposer,
        )
    for name, weight in weights.items():
        if name not in named:
            raise BadInput(f"weights: {name} is none of the voters.")
        check_number(f"the weight of {name}", weight, 1, WEIGHT_MAX)
    return tuple(Voter(name, weights.get(name, 1)) for name in named)


def checked_threshold(threshold: Threshold) -> Fraction:
    """A threshold without rounding: .5, "2/3", a Decimal or a Fraction. Raises BadInput unless it is 0 to below 1."""
    try:
        part = Fraction(str(threshold))  # of a float what it prints: .1 is a tenth
    except (ValueError, ZeroDivisionError):
        part = Fraction(-1)
    if isinstance(threshold, bool) or not 0 <= part < 1 or part.denominator > DENOMINATOR_MAX:
        raise BadInput(
            f"threshold={threshold!r}: a part from 0 to below 1 is needed; yes must be more than it.",
            remedy='For example .5, or "2/3".',
        )
    return part


class Proposal(Watched):
    """A proposal; made by `Accord.propose` and `Accord.proposal`."""

    def __init__(self, hub: Hub, proposal_id: str) -> None:
        self._ended: Future[Outcome] = future()
        super().__init__(hub, DOMAIN, "proposal", proposal_id, self._ended)

    def _heard(self, answer: Answer) -> None:
        """A decision about it; on accord's thread."""
        for event in answer.events:
            outcome = _outcome_of(event, answer.position)
            if outcome is not None:
                self._settle(outcome)

    def _settle(self, outcome: Outcome) -> None:
        self.forget()
        settle(self._ended, outcome)

    async def vote(self, choice: str, *, reason: str = "", voter: str | None = None) -> None:
        """Votes, and returns when the log has the vote. The same vote once more changes nothing.

        Args:
            choice: `"yes"`, `"no"` or `"abstain"`.
            reason: on record with the vote; what has more than 255 bytes is cut.
            voter: one of several agents of this program; None: the hub's agent.

        Raises:
            VoteRefused: it does not count: there is another vote of this voter (`voted`), or the proposal has ended
                (`late`). Details `reason`, `counted`.
            Denied: the agent is none of its voters.
            NotFound: there is no such proposal, or it ended long ago.
            BadInput: the choice is none of the three.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        if choice not in CHOICES:
            raise BadInput(f"{choice!r} is no vote.", remedy=f"There is: {', '.join(CHOICES)}.")
        agent = self._hub.agent if voter is None else check_name(voter, "voter")
        answer = await self.send(CastVote(agent, choice, shortened(reason)))
        named: dict[str, Any] = {"key": self.id, "agent": agent, "position": str(answer.position)}
        for event in answer.events:
            match event:
                case ProposalUnknown():
                    raise self._unknown()
                case VoteRefused(reason="not_a_voter"):
                    raise Denied(f"{agent} is none of the voters of {self.id}.", **named)
                case VoteRefused(counted=counted) if counted != choice:
                    raise errors.VoteRefused(
                        f"{agent} has voted {counted} on {self.id} before; a vote cannot be changed.",
                        reason="voted", counted=counted, **named,
                    )  # fmt: skip
                case VoteLate(status=status):
                    raise errors.VoteRefused(
                        f"the vote of {agent} on {self.id} does not count: it is {status} already.",
                        reason="late", counted=None, **named,
                    )  # fmt: skip

    async def outcome(self, *, wait_ms: int | None = None) -> Outcome:
        """How it ended, once all have voted or its deadline is over.

        Args:
            wait_ms: how long to wait; None waits without limit.

        Raises:
            Unavailable: it has not ended within `wait_ms`, or nobody decides.
        """
        check_wait_ms(wait_ms)
        return await self._wait(self._ended, wait_ms, "has not ended")

    async def look(self) -> ProposalRead:
        """How it stands: `status`, `yes`, `no`, `abstain`, `ballots` and more. Raises NotFound."""
        answer = await self.send(ReadProposal(self._hub.agent))
        read = answer.events[-1]
        if not isinstance(read, ProposalRead):
            raise self._unknown()
        if read.status != OPEN:
            ballots = () if read.status == WITHDRAWN else read.ballots
            counts = (0, 0, 0) if read.status == WITHDRAWN else (read.yes, read.no, read.abstain)
            self._settle(Outcome(read.status, *counts, ballots, read.reason, str(answer.position)))
        return read

    async def withdraw(self, reason: str = "") -> bool:
        """Ends it without an outcome; who proposed it alone may. False: it had ended before.

        Raises:
            Denied: another agent has proposed it.
            NotFound: there is no such proposal, or it ended long ago.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        answer = await self.send(WithdrawProposal(self._hub.agent, shortened(reason)))
        match answer.events[-1]:
            case WithdrawalRefused(agent, proposer):
                raise Denied(
                    f"{agent} cannot withdraw {self.id}: {proposer} has proposed it.", key=self.id, agent=agent,
                    holder=proposer, position=str(answer.position),
                )  # fmt: skip
            case ProposalUnknown():
                raise self._unknown()
            case ProposalKnown():
                return False
        return True


def _outcome_of(event: Event, position: Position) -> Outcome | None:
    match event:
        case ProposalDecided(_, outcome, yes, no, abstain, _, ballots):
            return Outcome(outcome, yes, no, abstain, ballots, "", str(position))
        case ProposalWithdrawn(reason=reason):
            return Outcome(WITHDRAWN, 0, 0, 0, (), reason, str(position))
    return None
