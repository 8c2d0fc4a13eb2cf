"""Hierarchies: one aggregate an organisation, a tree of who may decide what.

Rules:
- Who defines an organisation first owns it, and alone changes its tree. Everything else goes by who sends a command: no
  text in it makes anybody a member, or somebody else.
- A member decides on a type up to its own boundary, or by a delegation that it has. Nobody's boundary is beyond that
  of the member above. What a member may not decide is never recorded as decided: it is refused, or asked of who may.
- A delegation gives no more than its delegator may decide, and lasts no longer than the delegation that it rests on.
  What it is worth is found when it is used, along its chain: a boundary that was narrowed narrows it at once.
- A request goes to the lowest member at or above those whom it is about that may decide it, and up from there. Whom its
  options name is not asked: nobody decides between himself and another.
- Who is asked has its time by the log's clock; then its deputy is asked, at once if it is away; then the next above.
  Who is asked may also pass it up. When the top has not decided it either, the policy does: no.
- A deputy decides by the authority of the member for whom it is asked; without being asked, only while that is away.
- Tree, delegations or absences may change while a request is open: if who is asked may not decide it any more, it goes
  on up from there at once; from those whom it is about, if the member has left. Its way has an end (`STEPS_MAX`).
- A delegation ends when its delegator or its delegate leaves the tree, with all that rest on it.

An open request (its way: `draft.py`):

    asked -> decided                                             (by who is asked)
          -> passed: timeout, away -> its deputy is asked
          -> passed: deputy too, escalated, authority lost -> the next above is asked, or defaulted: no
          -> withdrawn                                           (by who asked for it)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.hierarchy import (
    AbsenceBegan,
    AbsenceEnded,
    AbsenceKnown,
    AbsenceRefused,
    AnswerRefused,
    AnswerRequest,
    Authority,
    AuthorityAsked,
    BeginAbsence,
    Decide,
    DecisionKnown,
    DecisionMade,
    DecisionRead,
    DecisionRefused,
    DecisionUnknown,
    DecisionWithdrawn,
    DefineOrganisation,
    DelegateAuthority,
    Delegation,
    DelegationGranted,
    DelegationKnown,
    DelegationRefused,
    DelegationsRevoked,
    EndAbsence,
    OrganisationDefined,
    OrganisationKnown,
    OrganisationRead,
    OrganisationRefused,
    OrganisationUnknown,
    OutcomeRefused,
    OutcomeReported,
    ReadDecision,
    ReadOrganisation,
    ReportOutcome,
    RequestDecision,
    RevocationRefused,
    RevokeDelegation,
    Step,
    WithdrawalRefused,
    WithdrawRequest,
)
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.signals import EmitSignal
from accord.streams.conflicts import organisations
from accord.streams.decider import At, Domain, Order
from accord.streams.hierarchy.bounds import (
    CHAIN_MAX,
    DELEGATIONS_MAX,
    ESCALATE,
    OPEN_MAX,
    VERDICTS,
    problem_of,
)
from accord.streams.hierarchy.draft import Draft
from accord.streams.hierarchy.organisation import (
    AUTHORITY_LOST,
    DECIDED,
    ESCALATED,
    OPEN,
    WITHDRAWN,
    Case,
    Organisation,
    evolve,
    terms_of,
)
from accord.streams.hierarchy.tree import problem_of_members
from accord.streams.signals.decider import TRAIL_MAX

MEMBER_LEFT: Final = "member_left"

_replace: Final = msgspec.structs.replace


class HierarchyDecider:
    """Version 1."""

    state_type = Organisation

    def decide(self, state: Organisation | None, command: Command, at: At) -> Sequence[Event]:
        problem = problem_of(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        if state is None:
            return _of_no_organisation(command, at)
        draft = Draft(state, at)
        draft.let_time_pass()
        _ANSWERS[type(command)](draft, command)
        return draft.events

    def evolve(self, state: Organisation | None, event: Event) -> Organisation | None:
        return evolve(state, event)

    def deadline_ms(self, state: Organisation) -> int | None:
        return state.due_ms


def _of_no_organisation(command: Command, at: At) -> list[Event]:
    match command:
        case DefineOrganisation(agent, members, span):
            problem = problem_of_members(members, span)
            if problem is not None:
                return [OrganisationRefused(agent, *problem)]
            return [OrganisationDefined(agent, members, span, 1, at.now_ms)]
        case Tick():
            return []
        case _:
            decision, origin = getattr(command, "decision", None), getattr(command, "origin", None)
            return [OrganisationUnknown(command.agent, type(command).__name__, decision, origin)]  # type: ignore[attr-defined]


# -- the tree, delegations, absences


def _define(draft: Draft, c: DefineOrganisation) -> None:
    org = draft.org
    if c.agent != org.owner:
        draft.add(OrganisationRefused(c.agent, "not_owner", f"{org.owner} defined it, and alone changes it"))
        return
    problem = problem_of_members(c.members, c.span)
    if problem is not None:
        draft.add(OrganisationRefused(c.agent, *problem))
        return
    by_name = {member.name: member for member in c.members}
    if (by_name, c.span) == ({member.name: member for member in org.members}, org.span):
        draft.add(OrganisationKnown(c.agent, org.revision))
        return
    gone = tuple(
        [
            one.delegation
            for one in org.delegations
            if any(name not in by_name for link in org.chain(one) for name in (link.delegator, link.delegate))
        ]
    )
    draft.add(OrganisationDefined(c.agent, c.members, c.span, org.revision + 1, draft.at.now_ms))
    if gone:
        draft.add(DelegationsRevoked(c.agent, MEMBER_LEFT, gone))


def _delegate(draft: Draft, c: DelegateAuthority) -> None:
    org = draft.org
    known = org.delegation(c.delegation)
    if known is not None:
        same = (known.delegator, known.delegate, known.type, known.limit_millionths)
        if same == (c.agent, c.delegate, c.type, c.limit_millionths):
            draft.add(DelegationKnown(c.agent, c.delegation))
        else:
            draft.add(DelegationRefused(c.agent, c.delegation, "exists"))
        return
    reason = draft.problem_of_member(c.agent)
    authority = org.authority(draft.tree, c.agent, c.type, c.limit_millionths)
    if reason is None:
        if c.delegate not in draft.tree:
            reason = "unknown_member"
        elif c.delegate == c.agent:
            reason = "own"
        elif authority is None:
            reason = "beyond_boundary"
        elif len(authority.delegations) >= CHAIN_MAX:
            reason = "chain"
        elif len(org.delegations) >= DELEGATIONS_MAX:
            reason = "full"
    if reason is not None or authority is None:
        draft.add(DelegationRefused(c.agent, c.delegation, reason or "beyond_boundary"))
        return
    until_ms = draft.at.now_ms + c.duration_ms
    rests_on = None
    if authority.delegations:
        last = authority.delegations[-1]
        until_ms, rests_on = min(until_ms, last.until_ms), last.delegation
    given = Delegation(c.delegation, c.agent, c.delegate, c.type, c.limit_millionths, rests_on, until_ms)
    draft.add(DelegationGranted(given, c.reason, draft.at.now_ms))


def _revoke(draft: Draft, c: RevokeDelegation) -> None:
    org = draft.org
    found = org.delegation(c.delegation)
    if found is None:
        draft.add(RevocationRefused(c.agent, c.delegation, "unknown"))
    elif c.agent not in (org.owner, *[link.delegator for link in org.chain(found)]):
        draft.add(RevocationRefused(c.agent, c.delegation, "not_delegator"))
    else:
        draft.add(DelegationsRevoked(c.agent, c.reason, org.resting_on(c.delegation)))


def _begin_absence(draft: Draft, c: BeginAbsence) -> None:
    if _may_change_absence(draft, c):
        draft.add(AbsenceBegan(c.agent, c.member, c.reason, draft.at.now_ms))


def _end_absence(draft: Draft, c: EndAbsence) -> None:
    if _may_change_absence(draft, c):
        draft.add(AbsenceEnded(c.agent, c.member, draft.at.now_ms))


def _may_change_absence(draft: Draft, c: BeginAbsence | EndAbsence) -> bool:
    is_absent = c.member in draft.org.absent
    if c.member not in draft.tree:
        draft.add(AbsenceRefused(c.agent, c.member, "unknown_member"))
    elif c.agent not in (c.member, draft.org.owner):
        draft.add(AbsenceRefused(c.agent, c.member, "not_allowed"))
    elif is_absent == isinstance(c, BeginAbsence):
        draft.add(AbsenceKnown(c.agent, c.member, is_absent))
    else:
        return True
    return False


# -- decisions


def _is_new(draft: Draft, c: Decide | RequestDecision) -> bool:
    """Whether a decision, or a request for one, is not there yet; else it is answered."""
    case = draft.org.case(c.decision)
    if case is None:
        return True
    if case.terms == terms_of(c, c.agent):
        draft.add(DecisionKnown(c.decision, c.agent, case.status, case.verdict))
    else:
        _refuse(draft, c, "exists")
    return False


def _refuse(draft: Draft, c: Decide | RequestDecision, reason: str) -> None:
    origin = c.origin if isinstance(c, RequestDecision) else None
    draft.add(DecisionRefused(c.decision, c.agent, c.type, c.amount_millionths, reason, origin))


def _no_request(draft: Draft, c: Decide | RequestDecision) -> str | None:
    """Why nobody can be asked."""
    if len(c.trail) > TRAIL_MAX:
        return "circular_trigger"
    return "full" if len(draft.org.open) >= OPEN_MAX else None


def _decide(draft: Draft, c: Decide) -> None:
    if not _is_new(draft, c):
        return
    reason = draft.problem_of_member(c.agent)
    if reason is not None:
        _refuse(draft, c, reason)
        return
    authority = draft.authority_of(c.agent, c.type, c.amount_millionths)
    if authority is not None:
        level, now_ms = draft.tree.level(authority.member), draft.at.now_ms
        draft.add(
            DecisionMade(
                c.decision, c.agent, c.agent, (c.agent,), c.type, c.amount_millionths, c.subject, c.inputs, (),
                c.verdict, c.reason, authority, level, (), None, draft.org.revision, now_ms, now_ms,
            )
        )  # fmt: skip
        return
    reason = _no_request(draft, c) if c.escalate else "beyond_boundary"
    if reason is not None:
        _refuse(draft, c, reason)
    else:
        draft.open(c, (c.agent,), c.verdict)


def _request(draft: Draft, c: RequestDecision) -> None:
    if not _is_new(draft, c):
        return
    unknown = any(name not in draft.tree for name in c.about)
    reason = "unknown_member" if unknown else _no_request(draft, c)
    if reason is not None:
        _refuse(draft, c, reason)
    else:
        draft.open(c, c.about, None)


def _answer(draft: Draft, c: AnswerRequest) -> None:
    case = draft.org.case(c.decision)
    if case is None:
        draft.add(DecisionUnknown(c.decision, c.agent, type(c).__name__))
        return
    if (case.status, case.decider, case.verdict) == (DECIDED, c.agent, c.choice):
        draft.add(DecisionKnown(c.decision, c.agent, case.status, case.verdict))
        return
    authority = None if case.status != OPEN else draft.org.answers(draft.tree, case)
    if case.status != OPEN:
        reason = "ended"
    elif c.agent != case.path[-1].asked:
        reason = "not_asked"
    elif case.due_ms <= draft.at.now_ms:
        reason = "late"
    elif c.choice not in (*(case.options or VERDICTS), ESCALATE):
        reason = "not_an_option"
    elif authority is None:
        reason = AUTHORITY_LOST
    elif c.choice == ESCALATE:
        draft.leave(case, case.path[-1], ESCALATED, c.reason)
        return
    else:
        _made(draft, case, c, authority)
        return
    draft.add(AnswerRefused(c.decision, c.agent, c.choice, reason))


def _made(draft: Draft, case: Case, c: AnswerRequest, authority: Authority) -> None:
    now_ms, step = draft.at.now_ms, case.path[-1]
    draft.add(
        DecisionMade(
            case.decision, c.agent, case.agent, case.about, case.type, case.amount_millionths, case.subject,
            case.inputs, case.options, c.choice, c.reason, authority, step.level, _path(case, DECIDED, now_ms),
            case.origin, draft.org.revision, case.opened_ms, now_ms,
        )
    )  # fmt: skip


def _path(case: Case, ended: str, now_ms: int) -> tuple[Step, ...]:
    """The way of a request that ends."""
    *before, last = case.path
    return (*before, _replace(last, ended_ms=now_ms, ended=ended))


def _withdraw(draft: Draft, c: WithdrawRequest) -> None:
    case = draft.org.case(c.decision)
    if case is None:
        draft.add(DecisionUnknown(c.decision, c.agent, type(c).__name__))
    elif case.status != OPEN:
        draft.add(DecisionKnown(c.decision, c.agent, case.status, case.verdict))
    elif c.agent != case.agent:
        draft.add(WithdrawalRefused(c.decision, c.agent, case.agent))
    else:
        now_ms = draft.at.now_ms
        draft.add(DecisionWithdrawn(c.decision, c.agent, c.reason, _path(case, WITHDRAWN, now_ms), case.origin, now_ms))


def _report(draft: Draft, c: ReportOutcome) -> None:
    case = draft.org.case(c.decision)
    if case is None:
        draft.add(DecisionUnknown(c.decision, c.agent, type(c).__name__))
    elif case.status != DECIDED:
        draft.add(OutcomeRefused(c.decision, c.agent, "not_decided", None))
    elif c.agent not in (case.decider, case.agent, draft.org.owner):
        draft.add(OutcomeRefused(c.decision, c.agent, "not_allowed", case.outcome))
    elif case.outcome is not None:
        draft.add(OutcomeRefused(c.decision, c.agent, "reported", case.outcome))
    else:
        draft.add(OutcomeReported(c.decision, c.agent, c.outcome, c.note, draft.at.now_ms))


# -- reading


def _read(draft: Draft, c: ReadDecision) -> None:
    case = draft.org.case(c.decision)
    if case is None:
        draft.add(DecisionUnknown(c.decision, c.agent, type(c).__name__))
        return
    draft.add(
        DecisionRead(
            c.decision, c.agent, case.agent, case.about, case.type, case.amount_millionths, case.subject, case.inputs,
            case.options, case.proposed, case.status, case.verdict, case.decider, case.reason, case.authority,
            case.path, case.opened_ms, case.due_ms if case.status == OPEN else None, case.ended_ms, case.outcome,
        )
    )  # fmt: skip


def _read_organisation(draft: Draft, c: ReadOrganisation) -> None:
    o = draft.org
    draft.add(
        OrganisationRead(
            c.agent, o.owner, o.members, o.span, o.revision, o.absent, o.delegations, tuple(o.open),
        )
    )  # fmt: skip


def _tick(_: Draft, __: Tick) -> None:
    pass


_ANSWERS: Final[Mapping[type[Command], Callable[[Draft, Any], None]]] = {
    DefineOrganisation: _define,
    DelegateAuthority: _delegate,
    RevokeDelegation: _revoke,
    BeginAbsence: _begin_absence,
    EndAbsence: _end_absence,
    Decide: _decide,
    RequestDecision: _request,
    AnswerRequest: _answer,
    WithdrawRequest: _withdraw,
    ReportOutcome: _report,
    ReadDecision: _read,
    ReadOrganisation: _read_organisation,
    Tick: _tick,
}


# -- what follows elsewhere


def asks(member: str) -> str:
    """The name of the signals by which a member is asked. What it is asked stands in the request."""
    return f"decision_wanted:{member}"


def _ask(key: str, e: AuthorityAsked) -> list[Order]:
    data = {"organisation": key, "decision": e.decision, "requester": e.requester}
    return [Order("signals", asks(e.agent), EmitSignal(e.requester, msgspec.json.encode(data).decode(), e.trail))]


DOMAIN: Final = Domain(
    "hierarchy", {1: HierarchyDecider()}, reactions={AuthorityAsked: _ask, **organisations.REACTIONS}
)
"""Organisations, by name."""
