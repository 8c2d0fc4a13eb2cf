"""A decision, or a request for one, by id: its verdict, its end, what came of it.

Rules that act here:
- It has a verdict when the log says so; a handle listens from before it is asked for, or asks first.
- Whose word it is, is the agent that this program says it is. What a model or a peer writes never names a member.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from accord.agents.connection.connection import Answer, future, settle
from accord.agents.hierarchy.units import Verdict
from accord.agents.locks.arguments import check_wait_ms, shortened
from accord.agents.watched import Watched
from accord.schemas.messages import Event
from accord.schemas.messages.hierarchy import (
    AnswerRefused,
    AnswerRequest,
    DecisionDefaulted,
    DecisionKnown,
    DecisionMade,
    DecisionRead,
    DecisionUnknown,
    DecisionWithdrawn,
    OrganisationUnknown,
    OutcomeRefused,
    ReadDecision,
    ReportOutcome,
    WithdrawalRefused,
    WithdrawRequest,
)
from accord.schemas.position import Position
from accord.streams.hierarchy.bounds import OUTCOMES
from accord.streams.hierarchy.organisation import DECIDED, DEFAULTED, OPEN, WITHDRAWN

from accord.errors import BadInput, BeyondAuthority, Denied, NotFound, TermsDiffer

if TYPE_CHECKING:
    from accord.agents.hub import Hub

DOMAIN: Final = "hierarchy"


class Decision(Watched):
    """A decision of an organisation; made by `decide`, `request` and `decision` of `hub.hierarchy(NAME)`."""

    def __init__(self, hub: Hub, organisation: str, agent: str, decision_id: str) -> None:
        self._ended: Future[Verdict] = future()
        self.organisation: Final = organisation
        self._agent = agent
        super().__init__(hub, DOMAIN, "decision", decision_id, self._ended, key=organisation)

    def _heard(self, answer: Answer) -> None:
        """A decision of the organisation; on accord's thread."""
        for event in answer.events:
            if getattr(event, "decision", None) == self.id:
                verdict = _verdict_of(event, answer.position)
                if verdict is not None:
                    self._settle(verdict)

    def _settle(self, verdict: Verdict) -> None:
        self.forget()
        settle(self._ended, verdict)

    async def verdict(self, *, wait_ms: int | None = None) -> Verdict:
        """How it ended: by a member, by the policy (deny) once the top has not decided it in time, or withdrawn.

        The agent that asked for it is told; others `look`.

        Args:
            wait_ms: how long to wait; None waits without limit.

        Raises:
            Unavailable: it has not been decided within `wait_ms`, or nobody decides.
        """
        check_wait_ms(wait_ms)
        return await self._wait(self._ended, wait_ms, "has not been decided")

    async def look(self) -> DecisionRead:
        """How it stands: `status`, `verdict`, `decider`, `authority`, `path`, `outcome` and more. Raises NotFound."""
        answer = await self.send(ReadDecision(self._agent, self.id))
        read = answer.events[-1]
        if not isinstance(read, DecisionRead):
            raise self._unknown()
        if read.status != OPEN:
            authority = read.authority if read.status == DECIDED else None
            self._settle(
                Verdict(
                    read.status, read.verdict, read.decider, read.reason, authority, read.path, str(answer.position)
                )
            )
        return read

    async def answer(self, choice: str, *, reason: str = "") -> None:
        """Decides it, as the member that is asked, or passes it up. The same verdict once more changes nothing.

        Args:
            choice: "approve", "deny", or one of its options; "escalate": a superior is to decide.
            reason: on record with it; what has more than 255 bytes is cut.

        Raises:
            BeyondAuthority: it is not for this agent to decide, or not any more. Details `reason`: `not_asked`, `late`,
                `ended`, `authority_lost`, `not_an_option`.
            NotFound: there is no such decision, or it ended long ago.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        answer = await self.send(AnswerRequest(self._agent, self.id, shortened(choice), shortened(reason)))
        match answer.events[-1]:
            case AnswerRefused(reason=why):
                raise BeyondAuthority(
                    f"the answer of {self._agent} to {self.id} does not count: {why}.", reason=why, key=self.id,
                    agent=self._agent, position=str(answer.position),
                )  # fmt: skip
            case DecisionUnknown() | OrganisationUnknown():
                raise self._unknown()

    async def withdraw(self, reason: str = "") -> bool:
        """Ends it without a verdict; who asked for it alone may. False: it had ended before.

        Raises:
            Denied: another agent has asked for it.
            NotFound: there is no such decision, or it ended long ago.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        answer = await self.send(WithdrawRequest(self._agent, self.id, shortened(reason)))
        match answer.events[-1]:
            case WithdrawalRefused(requester=requester):
                raise Denied(
                    f"{self._agent} cannot withdraw {self.id}: {requester} has asked for it.", key=self.id,
                    agent=self._agent, holder=requester, position=str(answer.position),
                )  # fmt: skip
            case DecisionWithdrawn():
                return True
            case DecisionKnown():
                return False
        raise self._unknown()

    async def report(self, outcome: str, note: str = "") -> None:
        """Records what came of it. The same outcome once more changes nothing.

        Args:
            outcome: "success" or "failure".
            note: on record with it; what has more than 255 bytes is cut.

        Raises:
            Denied: neither who decided, nor who asked, nor the organisation's owner sends it.
            TermsDiffer: the other outcome has been reported.
            NotFound: it has not been decided by a member, or long ago, or there is none.
            BadInput: the outcome is none of the two.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        if outcome not in OUTCOMES:
            raise BadInput(f"{outcome!r} is no outcome.", remedy=f"There is: {', '.join(OUTCOMES)}.")
        answer = await self.send(ReportOutcome(self._agent, self.id, outcome, shortened(note)))
        named: dict[str, Any] = {"key": self.id, "agent": self._agent, "position": str(answer.position)}
        match answer.events[-1]:
            case OutcomeRefused(reason="not_allowed"):
                raise Denied(f"{self._agent} has no part in {self.id}: it cannot say what came of it.", **named)
            case OutcomeRefused(reason="reported", reported=reported):
                if reported != outcome:
                    raise TermsDiffer(f"of {self.id} {reported} was reported before.", **named)
            case OutcomeRefused():
                raise NotFound(f"nobody has decided {self.id}: nothing can come of it.", **named)
            case DecisionUnknown() | OrganisationUnknown():
                raise self._unknown()

    def _unknown(self) -> NotFound:
        return NotFound(
            f"there is no decision {self.id} of {self.organisation}, or it ended long ago.",
            remedy=f"See: accord hierarchy show {self.organisation}.",
            key=self.id,
        )


def _verdict_of(event: Event, position: Position) -> Verdict | None:
    at = str(position)
    match event:
        case DecisionMade(agent=decider, verdict=verdict, reason=reason, authority=authority, path=path):
            return Verdict(DECIDED, verdict, decider, reason, authority, path, at)
        case DecisionDefaulted(verdict=verdict, reason=reason, path=path):
            return Verdict(DEFAULTED, verdict, None, reason, None, path, at)
        case DecisionWithdrawn(reason=reason, path=path):
            return Verdict(WITHDRAWN, None, None, reason, None, path, at)
    return None
