"""An organisation by name: its tree, delegations, absences; deciding, and asking for decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from accord.agents.auctions.units import Number
from accord.agents.connection.connection import Answer
from accord.agents.hierarchy.answering import Answering, Answers
from accord.agents.hierarchy.decision import DOMAIN, Decision
from accord.agents.hierarchy.units import Member, exact_amount, recorded
from accord.agents.locks.arguments import check_name, check_names, check_number, shortened
from accord.agents.signals import signals
from accord.schemas.messages import Command
from accord.schemas.messages.hierarchy import (
    AbsenceRefused,
    BeginAbsence,
    Decide,
    DecisionKnown,
    DecisionRefused,
    DefineOrganisation,
    DelegateAuthority,
    DelegationRefused,
    DelegationsRevoked,
    EndAbsence,
    OrganisationDefined,
    OrganisationKnown,
    OrganisationRead,
    OrganisationRefused,
    OrganisationUnknown,
    ReadOrganisation,
    RequestDecision,
    RevocationRefused,
    RevokeDelegation,
    WithdrawRequest,
)
from accord.streams.hierarchy.bounds import (
    ABOUT_MAX,
    APPROVE,
    INPUTS_BYTES_MAX,
    NAME_OF_MEMBER_BYTES_MAX,
    ORGANISATION_BYTES_MAX,
    SPAN,
    SPAN_MAX,
    VERDICTS,
    problem_of_options,
)
from accord.streams.tasks.bounds import LIMIT_MS_MAX

from accord.errors import BadInput, BeyondAuthority, CircularTrigger, Denied, NotFound, Overloaded, TermsDiffer

if TYPE_CHECKING:
    from accord.agents.asked import AsksModel
    from accord.agents.hub import Hub

DELEGATION_MS: Final = 24 * 3_600_000


class Organisation:
    """An organisation; made by `Accord.hierarchy`. Everything is done in the name of one agent."""

    def __init__(self, hub: Hub, name: str, agent: str | None) -> None:
        self.name: Final = check_name(name, "organisation")
        if len(name.encode()) > ORGANISATION_BYTES_MAX:
            raise BadInput(f"organisation {name[:40]!r}...: a name has at most {ORGANISATION_BYTES_MAX} bytes.")
        self.agent: Final = hub.agent if agent is None else check_name(agent, "agent")
        self._hub = hub

    # -- the tree

    async def define(self, members: Iterable[Member], *, span: int = SPAN) -> int:
        """Defines the tree, or changes it to this one; who defined it first alone may.

        Open requests whose asked may not decide them any more go on up at once; delegations end with a member that
        leaves, and shrink with the boundary that they come from.

        Args:
            members: all of them; one of them reports to nobody.
            span: how many may report to one.

        Returns:
            How often the tree was defined by now. The same tree once more changes nothing.

        Raises:
            BadInput: these are no tree of authority; details `reason`: `second_parent`, `unknown_parent`, `no_top`,
                `several_tops`, `cycle`, `depth`, `span`, `boundary`, `unknown_deputy`, `own_deputy`.
            Denied: another agent owns the organisation.
            Rejected: a name or a number is out of bounds.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        self._hub.ensure_open("define()")
        check_number("span", span, 1, SPAN_MAX)
        answer = await self._send(DefineOrganisation(self.agent, recorded(members), span))
        for event in answer.events:
            match event:
                case OrganisationRefused(reason="not_owner", description=why):
                    raise Denied(f"{self.name} stays as it is: {why}.", **self._named(answer))
                case OrganisationRefused(reason=reason, description=why):
                    raise BadInput(f"{self.name} cannot be so: {why}.", reason=reason, **self._named(answer))
                case OrganisationKnown(revision=revision) | OrganisationDefined(revision=revision):
                    return revision
        raise AssertionError(answer.events)

    async def look(self) -> OrganisationRead:
        """How it stands: `owner`, `members`, `span`, `absent`, `delegations`, `requests`. Raises NotFound."""
        self._hub.ensure_open("look()")
        answer = await self._send(ReadOrganisation(self.agent))
        read = answer.events[-1]
        if not isinstance(read, OrganisationRead):
            self._unknown(answer)
        return read

    async def absent(self, member: str | None = None, *, reason: str = "") -> None:
        """Says that a member is away: its deputy is asked in its place, at once, and may decide in its place.

        Args:
            member: None: this agent. Others alone by the organisation's owner.

        Raises:
            Denied: neither the member nor the owner sends it.
            NotFound: there is no such member, or organisation.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        name = self._member(member)
        await self._change_absence(BeginAbsence(self.agent, name, shortened(reason)), name)

    async def returned(self, member: str | None = None) -> None:
        """Says that a member is back. What its deputy was asked stays with the deputy. Raises what `absent` does."""
        name = self._member(member)
        await self._change_absence(EndAbsence(self.agent, name), name)

    # -- delegations

    async def delegate(
        self,
        kind: str,
        limit: Number = 0,
        *,
        to: str,
        duration_ms: int = DELEGATION_MS,
        reason: str = "",
        key: str | None = None,
    ) -> str:
        """Gives another member a part of what this agent may decide, and returns the delegation's id.

        Args:
            kind: the type of decision.
            limit: up to what amount, exact to the millionth.
            to: name of the member.
            duration_ms: how long, by the log's clock; it ends with the delegation that it comes from, if sooner.
            key: idempotency key and id; None: a new one.

        Raises:
            BeyondAuthority: this agent may not give that. Details `reason`: `not_a_member`, `absent`, `unknown_member`,
                `own`, `beyond_boundary`, `chain`.
            TermsDiffer: the key is that of another delegation.
            Overloaded: too many delegations are in force.
            NotFound: there is no such organisation.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        self._hub.ensure_open("delegate()")
        check_number("duration_ms", duration_ms, 1, LIMIT_MS_MAX)
        name, delegate = check_name(key or signals.new_task(), "delegation"), check_name(to, "member")
        command = DelegateAuthority(
            self.agent, name, delegate, check_name(kind, "type"), exact_amount("limit", limit), duration_ms,
            shortened(reason),
        )  # fmt: skip
        answer = await self._send(command)
        match answer.events[-1]:
            case OrganisationUnknown():
                self._unknown(answer)
            case DelegationRefused(reason="exists"):
                raise TermsDiffer(f"{name} is another delegation.", remedy="Take another key.", **self._named(answer))
            case DelegationRefused(reason="full"):
                raise Overloaded(f"too many delegations are in force in {self.name}.", **self._named(answer))
            case DelegationRefused(reason=why):
                raise BeyondAuthority(
                    f"{self.agent} cannot delegate {kind} up to {limit} to {to}: {why}.", reason=why,
                    **self._named(answer),
                )  # fmt: skip
        return name

    async def revoke(self, delegation: str, *, reason: str = "") -> tuple[str, ...]:
        """Ends a delegation and all that rest on it, and returns their ids.

        Raises:
            Denied: this agent neither gave it, nor one that it rests on, nor owns the organisation.
            NotFound: it is not in force.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        self._hub.ensure_open("revoke()")
        name = check_name(delegation, "delegation")
        answer = await self._send(RevokeDelegation(self.agent, name, shortened(reason)))
        match answer.events[-1]:
            case DelegationsRevoked(delegations=ended):
                return ended
            case RevocationRefused(reason="not_delegator"):
                raise Denied(f"{self.agent} cannot revoke {name}: it did not give it.", **self._named(answer))
            case RevocationRefused():
                raise NotFound(f"no delegation {name} is in force in {self.name}.", **self._named(answer))
        self._unknown(answer)

    # -- decisions

    async def decide(
        self,
        kind: str,
        amount: Number = 0,
        subject: str = "",
        *,
        inputs: str = "",
        verdict: str = APPROVE,
        reason: str = "",
        escalate: bool = False,
        key: str | None = None,
    ) -> Decision:
        """Records a decision of this agent, as a member, and returns when the log has it.

        Args:
            kind: the type of decision.
            amount: how much it is about, exact to the millionth.
            subject: what is decided; a line, what has more than 255 bytes is cut.
            inputs: what it rests on: text, 8 KiB at most.
            verdict: "approve" or "deny".
            escalate: whether it is asked of a superior if this agent may not decide it; then it is decided later.
            key: idempotency key and id: the same once more is the same decision, for as long as it is remembered.

        Raises:
            BeyondAuthority: this agent may not decide it, so it is not decided. Details `reason`: `not_a_member`,
                `absent`, `beyond_boundary`.
            TermsDiffer: the key is that of another decision.
            Overloaded: too many requests are open.
            CircularTrigger: decisions and events bring each other about in too long a row.
            BadInput: an argument cannot be right.
            NotFound: there is no such organisation.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        self._hub.ensure_open("decide()")
        if verdict not in VERDICTS:
            raise BadInput(f"verdict={verdict!r}: a decision is one of {', '.join(VERDICTS)}.")
        made = self._decision(key)
        command = Decide(
            self.agent, made.id, check_name(kind, "type"), exact_amount("amount", amount), shortened(subject),
            _inputs(inputs), verdict, shortened(reason), bool(escalate), signals.trail.get(),
        )  # fmt: skip
        return await self._begun(made, command, f"{self.agent} cannot decide on {kind} of {amount}", key)

    async def request(
        self,
        kind: str,
        amount: Number = 0,
        subject: str = "",
        *,
        about: str | Iterable[str] | None = None,
        inputs: str = "",
        options: Iterable[str] = (),
        key: str | None = None,
    ) -> Decision:
        """Asks for a decision, and returns when the log has the request; anybody may.

        It goes to the lowest member at or above those whom it is about that may decide it, and up from there.

        Args:
            kind, amount, subject, inputs, key: as in `decide`.
            about: names of members; None: this agent; empty: it goes to the top.
            options: names among which to choose; without any it is approve or deny. Whom they name is not asked.

        Raises:
            NotFound: there is no such organisation, or somebody whom it is about is no member of it.
            TermsDiffer, Overloaded, CircularTrigger, BadInput, Degraded, KafkaUnreachable: as in `decide`.
        """
        self._hub.ensure_open("request()")
        names = (self.agent,) if about is None else check_names("about", about, ABOUT_MAX, least=0, noun="members")
        chosen = (options,) if isinstance(options, str) else tuple(options)
        problem = problem_of_options(chosen)
        if problem is not None:
            raise BadInput(f"{problem}.")
        made = self._decision(key)
        command = RequestDecision(
            self.agent, made.id, names, check_name(kind, "type"), exact_amount("amount", amount), shortened(subject),
            _inputs(inputs), chosen, None, signals.trail.get(),
        )  # fmt: skip
        return await self._begun(made, command, f"a decision on {kind} cannot be asked for", key)

    async def decision(self, decision_id: str) -> Decision:
        """A decision, or a request for one, that was sent before. Raises NotFound: there is none, or long ago."""
        self._hub.ensure_open("decision()")
        return await self._decision(decision_id).looked()

    def authority(self, answer: Answers | AsksModel) -> Answering:
        """Answers whenever this agent, a member, is asked to decide, for as long as `async with` lasts.

        Args:
            answer: a function, plain or async, that is given the question (`decision`, `type`, `amount`, `subject`,
                `inputs`, `choices`, `member`, `requester`, `deadline_ms`) and returns one of its choices; or a model,
                `hub.model()`. Any other answer, and a failure, passes the request up.

        Raises:
            BadInput: an argument cannot be right.
        """
        return Answering(self._hub, self.name, self.agent, answer)

    # -- sending

    def _decision(self, key: str | None) -> Decision:
        return Decision(self._hub, self.name, self.agent, key or signals.new_task())

    async def _begun(
        self, made: Decision, command: Decide | RequestDecision, refused: str, key: str | None
    ) -> Decision:
        """A handle, once its command is decided; nothing is listened to if that refused it."""
        withdrawal = None if key else lambda _: WithdrawRequest(self.agent, made.id, "whoever asked has given up")
        try:
            answer = await made.send(command, withdrawal=withdrawal)
            match answer.events[-1]:
                case OrganisationUnknown():
                    self._unknown(answer)
                case DecisionRefused(reason=reason):
                    self._refused(made.id, refused, reason, answer)
                case DecisionKnown():
                    await made.look()
        except BaseException:
            made.forget()
            raise
        return made

    def _refused(self, decision: str, text: str, reason: str, answer: Answer) -> NoReturn:
        named = self._named(answer)
        match reason:
            case "exists":
                raise TermsDiffer(f"{decision} is another decision.", remedy="Take another key.", **named)
            case "unknown_member":
                raise NotFound(f"{text}: who it is about is no member of {self.name}.", **named)
            case "full":
                raise Overloaded(f"{text}: too many requests are open in {self.name}.", **named)
            case "circular_trigger":
                raise CircularTrigger(f"{text}: too many events in a row led to it.", **named)
        raise BeyondAuthority(f"{text}: {reason}.", reason=reason, **named)

    async def _change_absence(self, command: BeginAbsence | EndAbsence, member: str) -> None:
        self._hub.ensure_open("absent()")
        answer = await self._send(command)
        match answer.events[-1]:
            case OrganisationUnknown():
                self._unknown(answer)
            case AbsenceRefused(reason="unknown_member"):
                raise NotFound(f"{member} is no member of {self.name}.", **self._named(answer))
            case AbsenceRefused():
                raise Denied(
                    f"{self.agent} cannot say of {member} whether it is away: it, or the owner, can.",
                    **self._named(answer),
                )

    async def _send(self, command: Command) -> Answer:
        submitted = self._hub.connection.submit(DOMAIN, self.name, command, task=signals.current_task())
        return await asyncio.wrap_future(submitted.decided)

    def _member(self, name: str | None) -> str:
        found = self.agent if name is None else check_name(name, "member")
        if len(found.encode()) > NAME_OF_MEMBER_BYTES_MAX:
            raise BadInput(f"member {found[:40]!r}...: a name has at most {NAME_OF_MEMBER_BYTES_MAX} bytes.")
        return found

    def _named(self, answer: Answer) -> dict[str, Any]:
        return {"key": self.name, "agent": self.agent, "position": str(answer.position)}

    def _unknown(self, answer: Answer) -> NoReturn:
        raise NotFound(
            f"there is no organisation {self.name}.", remedy="See: accord hierarchy list.", **self._named(answer)
        )


def _inputs(text: str) -> str:
    if not isinstance(text, str) or len(text.encode()) > INPUTS_BYTES_MAX:
        raise BadInput(f"inputs are text of at most {INPUTS_BYTES_MAX} bytes; name what is larger.")
    return text
