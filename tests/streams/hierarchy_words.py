"""An organisation, and commands and events of authority as their tests write them."""

from __future__ import annotations

from typing import Any

from accord.schemas.messages import Event
from accord.schemas.messages.hierarchy import (
    AnswerRequest,
    Authority,
    AuthorityAsked,
    AuthorityPassed,
    Boundary,
    Decide,
    DecisionDefaulted,
    DecisionMade,
    DecisionRefused,
    DecisionRequested,
    DefineOrganisation,
    DelegateAuthority,
    Delegation,
    DelegationGranted,
    Member,
    OrganisationDefined,
    RequestDecision,
    Step,
)
from accord.streams.hierarchy.decider import HierarchyDecider

from tests.streams.spec import Given, Specification

decider = HierarchyDecider()
given = Specification(decider)
T0 = 1_000
ANSWER_MS = 500
SPAN = 7


def member(name: str, reports_to: str | None, deputy: str | None = None, **limits: int) -> Member:
    boundaries = tuple(Boundary(kind, limit) for kind, limit in limits.items())
    return Member(name, reports_to, boundaries, deputy, ANSWER_MS)


ADA = member("ada", None, spend=10_000, hire=5, judge=0)
BOB = member("bob", "ada", "cleo", spend=1_000)
CLEO = member("cleo", "ada", spend=1_000, hire=2)
DAN = member("dan", "bob", spend=100)
EVE = member("eve", "bob")
ACME = (ADA, BOB, CLEO, DAN, EVE)
"""ada is above bob, whose deputy is cleo, and cleo; dan and eve report to bob."""
DEFINED = OrganisationDefined("owner", ACME, SPAN, 1, T0)
acme = given(DEFINED)


def define(*members: Member, agent: str = "owner", span: int = SPAN) -> DefineOrganisation:
    return DefineOrganisation(agent, members or ACME, span)


def own(name: str, limit: int) -> Authority:
    return Authority(name, "boundary", limit, ())


def request(amount: int, about: tuple[str, ...] = ("dan",), **terms: Any) -> RequestDecision:
    known: dict[str, Any] = {
        "agent": "dan", "decision": "r1", "about": about, "type": "spend", "amount_millionths": amount,
        "subject": "a desk", "inputs": "the old one broke", "options": (), "origin": None, "trail": (),
    }  # fmt: skip
    return RequestDecision(**(known | terms))


def requested(c: RequestDecision | Decide) -> DecisionRequested:
    own_terms = ((c.agent,), (), c.verdict, None) if isinstance(c, Decide) else (c.about, c.options, None, c.origin)
    about, options, proposed, origin = own_terms
    return DecisionRequested(
        c.decision, c.agent, about, c.type, c.amount_millionths, c.subject, c.inputs, options, proposed, origin,
        c.trail, T0,
    )  # fmt: skip


def asked(name: str, authority: Authority, level: int, now_ms: int = T0, **other: Any) -> AuthorityAsked:
    terms: dict[str, Any] = {"decision": "r1", "requester": "dan", "trail": ()} | other
    return AuthorityAsked(
        terms["decision"], name, terms["requester"], authority, level, now_ms, now_ms + ANSWER_MS, terms["trail"]
    )


def passed(member: str, asked: str, level: int, ended: str, now_ms: int, reason: str = "") -> AuthorityPassed:
    return AuthorityPassed("r1", member, asked, level, ended, reason, now_ms)


def step(member: str, asked: str, level: int, times: tuple[int, int | None], ended: str, reason: str = "") -> Step:
    return Step(member, asked, level, *times, ended, reason)


def made(
    c: RequestDecision, name: str, verdict: str, authority: Authority, path: tuple[Step, ...], **other: Any
) -> DecisionMade:
    known: dict[str, Any] = {"reason": "", "level": path[-1].level, "revision": 1, "opened_ms": T0} | other
    return DecisionMade(
        c.decision, name, c.agent, c.about, c.type, c.amount_millionths, c.subject, c.inputs, c.options, verdict,
        known["reason"], authority, known["level"], path, c.origin, known["revision"], known["opened_ms"],
        known["ended_ms"],
    )  # fmt: skip


def defaulted(
    c: RequestDecision | DecisionRequested, reason: str, path: tuple[Step, ...], ended_ms: int, revision: int = 1
) -> DecisionDefaulted:
    return DecisionDefaulted(
        c.decision, c.agent, c.about, c.type, c.amount_millionths, c.subject, c.inputs, c.options, "deny", reason, path,
        c.origin, revision, T0, ended_ms,
    )  # fmt: skip


def decide(agent: str, amount: int, **terms: Any) -> Decide:
    known: dict[str, Any] = {
        "agent": agent, "decision": "d1", "type": "spend", "amount_millionths": amount, "subject": "a desk",
        "inputs": "the old one broke", "verdict": "approve", "reason": "", "escalate": False, "trail": (),
    }  # fmt: skip
    return Decide(**(known | terms))


def decided(c: Decide, authority: Authority, level: int, now_ms: int = T0, revision: int = 1) -> DecisionMade:
    return DecisionMade(
        c.decision, c.agent, c.agent, (c.agent,), c.type, c.amount_millionths, c.subject, c.inputs, (), c.verdict,
        c.reason, authority, level, (), None, revision, now_ms, now_ms,
    )  # fmt: skip


def refused(c: Decide | RequestDecision, reason: str) -> DecisionRefused:
    origin = c.origin if isinstance(c, RequestDecision) else None
    return DecisionRefused(c.decision, c.agent, c.type, c.amount_millionths, reason, origin)


def delegate(agent: str, to: str, limit: int, duration_ms: int = 1_000, **terms: Any) -> DelegateAuthority:
    known: dict[str, Any] = {"delegation": f"{agent}-{to}", "type": "spend", "reason": ""} | terms
    return DelegateAuthority(
        agent, known["delegation"], to, known["type"], limit, duration_ms, known["reason"]
    )  # fmt: skip


def link(agent: str, to: str, limit: int, until_ms: int, rests_on: str | None = None, **terms: Any) -> Delegation:
    known: dict[str, Any] = {"delegation": f"{agent}-{to}", "type": "spend"} | terms
    return Delegation(known["delegation"], agent, to, known["type"], limit, rests_on, until_ms)


def granted(delegation: Delegation, now_ms: int = T0) -> DelegationGranted:
    return DelegationGranted(delegation, "", now_ms)


def answer(agent: str, choice: str, reason: str = "", decision: str = "r1") -> AnswerRequest:
    return AnswerRequest(agent, decision, choice, reason)


def asking(c: RequestDecision, name: str, authority: Authority, level: int, *before: Event) -> Given:
    """An organisation that asks a member."""
    return given(DEFINED, *before, requested(c), asked(name, authority, level))
