"""The hierarchy decider, branch by branch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import Event, hierarchy
from accord.schemas.messages.hierarchy import (
    AbsenceBegan,
    AbsenceEnded,
    AbsenceKnown,
    AbsenceRefused,
    AnswerRefused,
    AnswerRequest,
    Authority,
    AuthorityAsked,
    AuthorityPassed,
    BeginAbsence,
    Boundary,
    Decide,
    DecisionDefaulted,
    DecisionKnown,
    DecisionMade,
    DecisionRead,
    DecisionRefused,
    DecisionRequested,
    DecisionUnknown,
    DecisionWithdrawn,
    DefineOrganisation,
    DelegateAuthority,
    Delegation,
    DelegationGranted,
    DelegationKnown,
    DelegationRefused,
    DelegationsExpired,
    DelegationsRevoked,
    EndAbsence,
    Member,
    OrganisationDefined,
    OrganisationKnown,
    OrganisationRead,
    OrganisationRefused,
    OrganisationUnknown,
    Origin,
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
from accord.schemas.messages.locks import LockReleased, ReleaseLock
from accord.schemas.messages.log import CommandRejected, SwitchRules, Tick
from accord.schemas.messages.signals import EmitSignal
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import At, dump, restore
from accord.streams.domains import DOMAINS
from accord.streams.hierarchy import bounds
from accord.streams.hierarchy.bounds import AMOUNT_MAX, problem_of
from accord.streams.hierarchy.decider import _ANSWERS, DOMAIN, HierarchyDecider
from accord.streams.hierarchy.organisation import _CHANGES, Organisation, evolve
from accord.streams.hierarchy.tree import Tree, problem_of_members
from accord.streams.signals.decider import TRAIL_MAX
from accord.streams.tasks.bounds import LIMIT_MS_MAX

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


# -- the tree


def test_who_defines_an_organisation_owns_it() -> None:
    after = given().when(define(), T0).then(DEFINED)
    assert after.state.owner == "owner" and decider.deadline_ms(after.state) is None
    after.when(define(), T0 + 1).then(OrganisationKnown("owner", 1))
    after.when(define(*reversed(ACME)), T0 + 1).then(OrganisationKnown("owner", 1))
    after.when(define(ADA), T0 + 1).then(OrganisationDefined("owner", (ADA,), SPAN, 2, T0 + 1))
    after.when(define(span=2), T0 + 1).then(OrganisationDefined("owner", ACME, 2, 2, T0 + 1))


def test_nobody_else_changes_the_tree() -> None:
    why = "owner defined it, and alone changes it"
    for agent in ("ada", "mallory"):
        acme.when(define(ADA, agent=agent), T0).then(OrganisationRefused(agent, "not_owner", why))


TOO_MANY = [member(f"m{n}", "ada") for n in range(8)]
TOO_DEEP = [member(f"m{n}", f"m{n - 1}" if n else "ada") for n in range(bounds.LEVELS_MAX)]


@pytest.mark.parametrize(
    ("members", "reason", "description"),
    [
        ([ADA, BOB, CLEO, member("bob", "cleo")], "second_parent", "bob is named twice: it reports to ada and to cleo"),
        ([ADA, member("ada", "ada")], "second_parent", "ada is named twice: it reports to nobody and to ada"),
        ([ADA, member("bob", "zoe")], "unknown_parent", "bob reports to zoe, who is no member"),
        ([ADA, member("bob", "ada", "zoe")], "unknown_deputy", "the deputy of bob is zoe, who is no member"),
        ([member("ada", None, "ada")], "own_deputy", "ada is its own deputy"),
        ([member("ada", "bob"), member("bob", "ada")], "no_top", "nobody is at the top"),
        ([ADA, member("bob", None)], "several_tops", "ada and bob report to nobody"),
        ([ADA, *TOO_MANY], "span", "8 report to ada: the span of control is 7"),
        ([ADA, member("x", "y"), member("y", "x")], "cycle", "x reports to y reports to x"),
        ([ADA, member("x", "x")], "cycle", "x reports to x"),
        ([ADA, member("z", "x"), member("x", "y"), member("y", "x")], "cycle", "x reports to y reports to x"),
        ([ADA, *TOO_DEEP], "depth", "m11 is on level 13: 12 levels"),
        ([ADA, member("bob", "ada", spend=10_001)], "boundary", "up to 10001 millionths, and ada, its superior, up to"),
        ([ADA, member("bob", "ada", fire=0)], "boundary", "bob may decide on fire, and ada, its superior, may not"),
        (
            [ADA, EVE, BOB, CLEO, member("x", "eve", spend=1)],
            "boundary",
            "x may decide on spend, and eve, its superior, may",
        ),
    ],
)
def test_what_is_no_tree_is_refused(members: list[Member], reason: str, description: str) -> None:
    for state in (given(), acme):
        (event,) = decider.decide(state.state, define(*members), At(T0, 9, "r"))
        assert isinstance(event, OrganisationRefused) and event.reason == reason and description in event.description


def test_the_span_and_the_levels_just_fit() -> None:
    assert problem_of_members([ADA, *TOO_MANY[:7]], 7) is None
    assert problem_of_members([ADA, *TOO_DEEP[:-1]], 7) is None
    assert problem_of_members([ADA, *TOO_MANY], 8) is None


def test_the_lowest_above_several() -> None:
    tree = Tree(ACME)
    assert [tree.above(names) for names in (("dan",), ("dan", "eve"), ("dan", "bob"), ("dan", "cleo"), ())] == [
        "dan", "bob", "bob", "ada", "ada",
    ]  # fmt: skip
    assert tree.above(("gone", "dan")) == "dan" and tree.above(("gone",)) == "ada"


# -- deciding


@pytest.mark.parametrize(
    ("agent", "amount", "level", "limit"), [("dan", 100, 3, 100), ("dan", 0, 3, 100), ("bob", 1_000, 2, 1_000)]
)
def test_a_member_decides_within_its_boundary(agent: str, amount: int, level: int, limit: int) -> None:
    c = decide(agent, amount, verdict="deny" if amount == 0 else "approve", reason="why")
    acme.when(c, T0).then(decided(c, own(agent, limit), level))


@pytest.mark.parametrize(
    ("c", "reason"),
    [
        (decide("dan", 101), "beyond_boundary"),
        (decide("ada", 10_001), "beyond_boundary"),
        (decide("eve", 0), "beyond_boundary"),
        (decide("bob", 0, type="hire"), "beyond_boundary"),
        (decide("ada", 0, type="fire"), "beyond_boundary"),
        (decide("owner", 1), "not_a_member"),
        (decide("mallory", 1, escalate=True), "not_a_member"),
        (decide("dan", 101, escalate=True, trail=("e",) * (TRAIL_MAX + 1)), "circular_trigger"),
    ],
    ids=range(8),
)
def test_what_is_beyond_it_is_no_decision(c: Decide, reason: str) -> None:
    acme.when(c, T0).then(refused(c, reason))


def test_what_is_beyond_it_is_put_to_a_superior_if_wished() -> None:
    c = decide("dan", 101, escalate=True, trail=("e",))
    on = asked("bob", own("bob", 1_000), 2, decision="d1", trail=("e",))
    after = acme.when(c, T0).then(requested(c), on)
    assert decider.deadline_ms(after.state) == T0 + ANSWER_MS
    after.when(c, T0 + 1).then(DecisionKnown("d1", "dan", "open", None))
    after.when(decide("dan", 101), T0 + 1).then(DecisionKnown("d1", "dan", "open", None))
    after.when(decide("dan", 101, verdict="deny"), T0 + 1).then(refused(c, "exists"))


def test_the_same_decision_once_more_changes_nothing() -> None:
    c = decide("dan", 100)
    after = acme.when(c, T0).then(decided(c, own("dan", 100), 3))
    after.when(c, T0 + 9).then(DecisionKnown("d1", "dan", "decided", "approve"))
    for other in (
        decide("dan", 99), decide("bob", 100), decide("dan", 100, subject="x"), decide("dan", 100, inputs="x"),
        decide("dan", 100, type="hire"), decide("dan", 100, verdict="deny"), request(100, decision="d1"),
    ):  # fmt: skip
        after.when(other, T0 + 9).then(refused(other, "exists"))


# -- asking for a decision


@pytest.mark.parametrize(
    ("amount", "about", "name", "level", "limit"),
    [
        (100, ("dan",), "dan", 3, 100),
        (101, ("dan",), "bob", 2, 1_000),
        (1, ("eve",), "bob", 2, 1_000),
        (1_001, ("dan",), "ada", 1, 10_000),
        (1, ("dan", "eve"), "bob", 2, 1_000),
        (1, ("dan", "cleo"), "ada", 1, 10_000),
        (1, (), "ada", 1, 10_000),
    ],
)
def test_the_lowest_that_may_is_asked(amount: int, about: tuple[str, ...], name: str, level: int, limit: int) -> None:
    c = request(amount, about, agent="anybody")
    acme.when(c, T0).then(requested(c), asked(name, own(name, limit), level, requester="anybody"))


def test_what_nobody_may_decide_is_denied() -> None:
    for c in (request(10_001), request(0, type="fire")):
        acme.when(c, T0).then(requested(c), defaulted(c, "no_authority", (), T0))


@pytest.mark.parametrize(
    ("c", "reason"),
    [
        (request(1, ("zoe",)), "unknown_member"),
        (request(1, ("dan", "zoe")), "unknown_member"),
        (request(1, trail=("e",) * (TRAIL_MAX + 1)), "circular_trigger"),
    ],
    ids=range(3),
)
def test_what_cannot_be_asked(c: RequestDecision, reason: str) -> None:
    acme.when(c, T0).then(refused(c, reason))
    with_origin = request(1, c.about, trail=c.trail, origin=Origin("conflicts", "c-1", "7"))
    acme.when(with_origin, T0).then(refused(with_origin, reason))


def test_so_many_may_be_open() -> None:
    many = [request(500, decision=f"r{n}") for n in range(bounds.OPEN_MAX)]
    events = [event for c in many for event in (requested(c), asked("bob", own("bob", 1_000), 2, decision=c.decision))]
    full = given(DEFINED, *events)
    full.when(request(500, decision="more"), T0).then(refused(request(500, decision="more"), "full"))
    escalated = decide("dan", 101, escalate=True)
    full.when(escalated, T0).then(refused(escalated, "full"))
    one = decide("dan", 100)
    full.when(one, T0).then(decided(one, own("dan", 100), 3))


def test_who_is_asked_decides() -> None:
    c = request(500)
    one = asking(c, "bob", own("bob", 1_000), 2)
    path = (step("bob", "bob", 2, (T0, T0 + 5), "decided"),)
    after = one.when(answer("bob", "deny", "no money"), T0 + 5).then(
        made(c, "bob", "deny", own("bob", 1_000), path, ended_ms=T0 + 5, reason="no money")
    )
    assert decider.deadline_ms(after.state) is None
    after.when(answer("bob", "deny"), T0 + 6).then(DecisionKnown("r1", "bob", "decided", "deny"))
    after.when(answer("bob", "approve"), T0 + 6).then(AnswerRefused("r1", "bob", "approve", "ended"))
    after.when(answer("ada", "deny"), T0 + 6).then(AnswerRefused("r1", "ada", "deny", "ended"))
    after.when(c, T0 + 6).then(DecisionKnown("r1", "dan", "decided", "deny"))


@pytest.mark.parametrize("agent", ["ada", "cleo", "dan", "eve", "owner", "mallory"])
@pytest.mark.parametrize("choice", ["approve", "deny", "escalate"])
def test_nobody_else_decides(agent: str, choice: str) -> None:
    one = asking(request(500), "bob", own("bob", 1_000), 2)
    one.when(answer(agent, choice), T0 + 5).then(AnswerRefused("r1", agent, choice, "not_asked"))


def test_an_answer_is_one_of_the_words() -> None:
    plain = asking(request(500), "bob", own("bob", 1_000), 2)
    for choice in ("Approve", "yes", "approve 9000", "", "x"):
        plain.when(answer("bob", choice), T0 + 5).then(AnswerRefused("r1", "bob", choice, "not_an_option"))


def test_with_options_one_of_these_is_chosen() -> None:
    c = request(0, ("dan",), type="judge", options=("x", "y"), origin=Origin("conflicts", "c-1", "7"), agent="accord")
    one = acme.when(c, T0).then(requested(c), asked("ada", own("ada", 0), 1, requester="accord"))
    for choice in ("approve", "deny", "X", "z"):
        one.when(answer("ada", choice), T0 + 5).then(AnswerRefused("r1", "ada", choice, "not_an_option"))
    path = (step("ada", "ada", 1, (T0, T0 + 5), "decided"),)
    one.when(answer("ada", "y"), T0 + 5).then(made(c, "ada", "y", own("ada", 0), path, ended_ms=T0 + 5))
    path = (step("ada", "ada", 1, (T0, T0 + 5), "escalated", "hard"),)
    one.when(answer("ada", "escalate", "hard"), T0 + 5).then(
        passed("ada", "ada", 1, "escalated", T0 + 5, "hard"), defaulted(c, "escalated", path, T0 + 5)
    )


def test_nobody_decides_between_himself_and_another() -> None:
    c = request(500, ("dan",), options=("bob", "eve"))
    acme.when(c, T0).then(requested(c), asked("ada", own("ada", 10_000), 1))
    away = given(DEFINED, AbsenceBegan("bob", "bob", "", T0))
    away.when(c, T0).then(requested(c), asked("ada", own("ada", 10_000), 1))
    c = request(500, ("dan",), options=("ada", "bob"))
    acme.when(c, T0).then(requested(c), defaulted(c, "no_authority", (), T0))
    c = request(500, ("dan",), options=("cleo", "x"))
    one = asking(c, "bob", own("bob", 1_000), 2)
    one.when(Tick(), T0 + ANSWER_MS).then(
        passed("bob", "bob", 2, "timeout", T0 + ANSWER_MS), asked("ada", own("ada", 10_000), 1, T0 + ANSWER_MS)
    )


# -- time, deputies, escalation


def test_time_goes_to_the_deputy_then_up_then_to_the_policy() -> None:
    c = request(500)
    one = asking(c, "bob", own("bob", 1_000), 2)
    times = [T0 + n * ANSWER_MS for n in range(5)]
    one.when(Tick(), times[1] - 1).then_nothing()
    two = one.when(Tick(), times[1]).then(
        passed("bob", "bob", 2, "timeout", times[1]), asked("cleo", own("bob", 1_000), 2, times[1])
    )
    two.when(answer("bob", "approve"), times[1] + 1).then(AnswerRefused("r1", "bob", "approve", "not_asked"))
    first = step("bob", "bob", 2, (T0, times[1]), "timeout")
    two.when(answer("cleo", "approve"), times[1] + 1).then(
        made(
            c, "cleo", "approve", own("bob", 1_000),
            (first, step("bob", "cleo", 2, (times[1], times[1] + 1), "decided")), ended_ms=times[1] + 1,
        )
    )  # fmt: skip
    three = two.when(Tick(), times[2]).then(
        passed("bob", "cleo", 2, "timeout", times[2]), asked("ada", own("ada", 10_000), 1, times[2])
    )
    assert decider.deadline_ms(three.state) == times[3]
    path = (
        first,
        step("bob", "cleo", 2, (times[1], times[2]), "timeout"),
        step("ada", "ada", 1, (times[2], times[3]), "timeout"),
    )
    end = three.when(Tick(), times[3]).then(
        passed("ada", "ada", 1, "timeout", times[3]), defaulted(c, "timeout", path, times[3])
    )
    assert decider.deadline_ms(end.state) is None
    end.when(Tick(), times[4]).then_nothing()
    end.when(answer("ada", "approve"), times[4]).then(AnswerRefused("r1", "ada", "approve", "ended"))


def test_an_answer_comes_too_late() -> None:
    one = asking(request(500), "bob", own("bob", 1_000), 2)
    due = T0 + ANSWER_MS
    one.when(answer("bob", "approve"), due).then(
        passed("bob", "bob", 2, "timeout", due),
        asked("cleo", own("bob", 1_000), 2, due),
        AnswerRefused("r1", "bob", "approve", "not_asked"),
    )


def test_who_is_asked_passes_it_up() -> None:
    c = request(50)
    one = asking(c, "dan", own("dan", 100), 3)
    up = one.when(answer("dan", "escalate", "too dear"), T0 + 5).then(
        passed("dan", "dan", 3, "escalated", T0 + 5, "too dear"), asked("bob", own("bob", 1_000), 2, T0 + 5)
    )
    up.when(answer("dan", "approve"), T0 + 6).then(AnswerRefused("r1", "dan", "approve", "not_asked"))
    up.when(answer("bob", "escalate"), T0 + 6).then(
        passed("bob", "bob", 2, "escalated", T0 + 6), asked("ada", own("ada", 10_000), 1, T0 + 6)
    )


def test_the_deputy_of_who_is_away_is_asked_at_once() -> None:
    c = request(500)
    away = AbsenceBegan("bob", "bob", "ill", T0)
    one = given(DEFINED, away).when(c, T0).then(
        requested(c), passed("bob", "bob", 2, "absent", T0), asked("cleo", own("bob", 1_000), 2)
    )  # fmt: skip
    path = (step("bob", "bob", 2, (T0, T0), "absent"), step("bob", "cleo", 2, (T0, T0 + 5), "decided"))
    one.when(answer("cleo", "approve"), T0 + 5).then(
        made(c, "cleo", "approve", own("bob", 1_000), path, ended_ms=T0 + 5)
    )
    back = one.when(EndAbsence("bob", "bob"), T0 + 1).then(AbsenceEnded("bob", "bob", T0 + 1))
    back.when(Tick(), T0 + 2).then_nothing()
    back.when(answer("bob", "deny"), T0 + 5).then(AnswerRefused("r1", "bob", "deny", "not_asked"))
    both = given(DEFINED, away, AbsenceBegan("cleo", "cleo", "", T0))
    both.when(c, T0).then(
        requested(c),
        passed("bob", "bob", 2, "absent", T0),
        passed("bob", "cleo", 2, "absent", T0),
        asked("ada", own("ada", 10_000), 1),
    )
    alone = given(DEFINED, AbsenceBegan("ada", "ada", "", T0))
    top = request(5_000)
    alone.when(top, T0).then(
        requested(top),
        passed("ada", "ada", 1, "absent", T0),
        defaulted(top, "absent", (step("ada", "ada", 1, (T0, T0), "absent"),), T0),
    )


def test_who_leaves_while_it_is_asked_is_stood_for_at_once() -> None:
    c = request(500)
    one = asking(c, "bob", own("bob", 1_000), 2)
    gone = one.when(BeginAbsence("bob", "bob", "ill"), T0 + 5).then(AbsenceBegan("bob", "bob", "ill", T0 + 5))
    assert decider.deadline_ms(gone.state) == 0, "at once"
    gone.when(answer("bob", "approve"), T0 + 5).then(
        passed("bob", "bob", 2, "absent", T0 + 5),
        asked("cleo", own("bob", 1_000), 2, T0 + 5),
        AnswerRefused("r1", "bob", "approve", "not_asked"),
    )
    moved = gone.when(Tick(), T0 + 5).then(
        passed("bob", "bob", 2, "absent", T0 + 5), asked("cleo", own("bob", 1_000), 2, T0 + 5)
    )
    also = moved.when(BeginAbsence("owner", "cleo", ""), T0 + 6).then(AbsenceBegan("owner", "cleo", "", T0 + 6))
    also.when(Tick(), T0 + 6).then(
        passed("bob", "cleo", 2, "absent", T0 + 6), asked("ada", own("ada", 10_000), 1, T0 + 6)
    )


def test_a_deputy_decides_of_its_own_only_while_the_other_is_away() -> None:
    away = AbsenceBegan("ada", "ada", "", T0)
    tree = (member("ada", None, "dan", spend=10_000), BOB, CLEO, DAN)
    defined = OrganisationDefined("owner", tree, SPAN, 1, T0)
    c = decide("dan", 9_000)
    given(defined).when(c, T0).then(refused(c, "beyond_boundary"))
    given(defined, away).when(c, T0).then(decided(c, own("ada", 10_000), 1))
    less = decide("dan", 100)
    given(defined, away).when(less, T0).then(decided(less, own("dan", 100), 3))
    given(defined, away, AbsenceEnded("ada", "ada", T0)).when(c, T0).then(refused(c, "beyond_boundary"))
    given(defined, away, AbsenceBegan("dan", "dan", "", T0)).when(c, T0).then(refused(c, "absent"))


def test_absences() -> None:
    one = acme.when(BeginAbsence("bob", "bob", "ill"), T0).then(AbsenceBegan("bob", "bob", "ill", T0))
    one.when(BeginAbsence("owner", "bob", ""), T0).then(AbsenceKnown("owner", "bob", True))
    one.when(decide("bob", 1), T0).then(refused(decide("bob", 1), "absent"))
    one.when(delegate("bob", "dan", 1), T0).then(DelegationRefused("bob", "bob-dan", "absent"))
    back = one.when(EndAbsence("owner", "bob"), T0 + 1).then(AbsenceEnded("owner", "bob", T0 + 1))
    back.when(EndAbsence("bob", "bob"), T0 + 1).then(AbsenceKnown("bob", "bob", False))
    for agent in ("ada", "cleo", "mallory"):
        acme.when(BeginAbsence(agent, "bob", ""), T0).then(AbsenceRefused(agent, "bob", "not_allowed"))
        one.when(EndAbsence(agent, "bob"), T0).then(AbsenceRefused(agent, "bob", "not_allowed"))
    acme.when(BeginAbsence("zoe", "zoe", ""), T0).then(AbsenceRefused("zoe", "zoe", "unknown_member"))


def test_no_more_than_so_many_are_put_on_at_once() -> None:
    many = [request(500, decision=f"r{n}") for n in range(bounds.DUE_MAX + 1)]
    events = [event for c in many for event in (requested(c), asked("bob", own("bob", 1_000), 2, decision=c.decision))]
    one = given(DEFINED, *events, AbsenceBegan("bob", "bob", "", T0))
    found = decider.decide(one.state, Tick(), At(T0, 9, "r"))
    moved = [event.decision for event in found if isinstance(event, AuthorityAsked)]
    assert moved == [f"r{n}" for n in range(bounds.DUE_MAX)]
    late = AnswerRequest("bob", f"r{bounds.DUE_MAX}", "approve", "")
    *_, last = decider.decide(one.state, late, At(T0, 9, "r"))
    assert last == AnswerRefused(late.decision, "bob", "approve", "authority_lost"), "bob is away"
    *_, last = decider.decide(one.state, late, At(T0 + ANSWER_MS, 9, "r"))
    assert last == AnswerRefused(late.decision, "bob", "approve", "late")
    after = one.when(EndAbsence("bob", "bob"), T0)
    state: Any = one.state
    for event in after._events:
        state = evolve(state, event)
    assert [case.decision for case in state.open.values() if case.path[-1].asked == "bob"] == [f"r{bounds.DUE_MAX}"]
    assert decider.deadline_ms(state) == T0 + ANSWER_MS, "bob is back, and has its time"


# -- delegations


def test_a_member_delegates_what_it_may_decide() -> None:
    d = link("bob", "eve", 800, T0 + 1_000)
    one = acme.when(delegate("bob", "eve", 800), T0).then(granted(d))
    assert decider.deadline_ms(one.state) == T0 + 1_000
    by = Authority("eve", "delegation", 800, (d,))
    one.when(decide("eve", 800), T0 + 999).then(decided(decide("eve", 800), by, 3, T0 + 999))
    one.when(decide("eve", 801), T0 + 999).then(refused(decide("eve", 801), "beyond_boundary"))
    one.when(decide("eve", 800), T0 + 1_000).then(
        DelegationsExpired(("bob-eve",)), refused(decide("eve", 800), "beyond_boundary")
    )
    c = request(800, ("eve",))
    one.when(c, T0).then(requested(c), asked("eve", by, 3))
    one.when(delegate("bob", "eve", 800, 9), T0 + 1).then(DelegationKnown("bob", "bob-eve"))
    one.when(delegate("bob", "eve", 801), T0 + 1).then(DelegationRefused("bob", "bob-eve", "exists"))
    given(DEFINED, granted(d), DelegationsExpired(("bob-eve",))).when(delegate("bob", "eve", 1), T0).then(
        granted(link("bob", "eve", 1, T0 + 1_000))
    )


@pytest.mark.parametrize(
    ("c", "reason"),
    [
        (delegate("bob", "eve", 1_001), "beyond_boundary"),
        (delegate("bob", "eve", 0, type="hire"), "beyond_boundary"),
        (delegate("eve", "dan", 0), "beyond_boundary"),
        (delegate("bob", "zoe", 1), "unknown_member"),
        (delegate("bob", "bob", 1), "own"),
        (delegate("owner", "eve", 1), "not_a_member"),
        (delegate("mallory", "mallory", 1), "not_a_member"),
    ],
    ids=range(7),
)
def test_what_cannot_be_delegated(c: DelegateAuthority, reason: str) -> None:
    acme.when(c, T0).then(DelegationRefused(c.agent, c.delegation, reason))


def test_a_chain_gives_no_more_and_lasts_no_longer_than_what_it_rests_on() -> None:
    first = link("ada", "eve", 5_000, T0 + 1_000)
    one = given(DEFINED, granted(first))
    one.when(delegate("eve", "dan", 5_001), T0 + 10).then(DelegationRefused("eve", "eve-dan", "beyond_boundary"))
    second = link("eve", "dan", 4_000, T0 + 1_000, "ada-eve")
    two = one.when(delegate("eve", "dan", 4_000, 5_000), T0 + 10).then(granted(second, T0 + 10))
    by = Authority("dan", "delegation", 4_000, (first, second))
    two.when(decide("dan", 4_000), T0 + 20).then(decided(decide("dan", 4_000), by, 3, T0 + 20))
    two.when(Tick(), T0 + 1_000).then(DelegationsExpired(("ada-eve", "eve-dan")))
    shorter = one.when(delegate("eve", "dan", 4_000, 50), T0 + 10)
    shorter.then(granted(link("eve", "dan", 4_000, T0 + 60, "ada-eve"), T0 + 10))


def test_a_narrowed_boundary_narrows_what_was_delegated() -> None:
    first, second = link("ada", "eve", 5_000, T0 + 1_000), link("eve", "dan", 4_000, T0 + 1_000, "ada-eve")
    less = (member("ada", None, spend=3_000), BOB, CLEO, DAN, EVE)
    now = given(DEFINED, granted(first), granted(second), OrganisationDefined("owner", less, SPAN, 2, T0 + 1))
    by = Authority("dan", "delegation", 3_000, (first, second))
    now.when(decide("dan", 3_000), T0 + 2).then(decided(decide("dan", 3_000), by, 3, T0 + 2, revision=2))
    now.when(decide("dan", 3_001), T0 + 2).then(refused(decide("dan", 3_001), "beyond_boundary"))
    now.when(delegate("eve", "bob", 3_001), T0 + 2).then(DelegationRefused("eve", "eve-bob", "beyond_boundary"))
    none = (member("ada", None, hire=5), member("bob", "ada"), CLEO.__class__("cleo", "ada", (), None, 1), EVE)
    gone = given(DEFINED, granted(first), OrganisationDefined("owner", none, SPAN, 2, T0 + 1))
    gone.when(decide("eve", 1), T0 + 2).then(refused(decide("eve", 1), "beyond_boundary"))


def test_the_delegation_that_lasts_longest_is_used() -> None:
    short = link("ada", "eve", 5_000, T0 + 10, delegation="short")
    long, small = (
        link("ada", "eve", 5_000, T0 + 99, delegation="long"),
        link("bob", "eve", 10, T0 + 500, delegation="small"),
    )
    one = given(DEFINED, granted(short), granted(small), granted(long))
    c = decide("eve", 4_000)
    one.when(c, T0).then(decided(c, Authority("eve", "delegation", 5_000, (long,)), 3))
    c = decide("eve", 10)
    one.when(c, T0).then(decided(c, Authority("eve", "delegation", 10, (small,)), 3))


def test_revoking_ends_the_whole_chain() -> None:
    chain = [
        link("ada", "eve", 5_000, T0 + 1_000),
        link("eve", "dan", 4_000, T0 + 1_000, "ada-eve"),
        link("dan", "cleo", 3_000, T0 + 1_000, "eve-dan"),
        link("bob", "eve", 9, T0 + 1_000),
    ]
    one = given(DEFINED, *map(granted, chain))
    for agent in ("ada", "owner"):
        one.when(RevokeDelegation(agent, "ada-eve", "done"), T0 + 1).then(
            DelegationsRevoked(agent, "done", ("ada-eve", "eve-dan", "dan-cleo"))
        )
    for agent in ("ada", "eve"):
        after = one.when(RevokeDelegation(agent, "eve-dan", ""), T0 + 1).then(
            DelegationsRevoked(agent, "", ("eve-dan", "dan-cleo"))
        )
    after.when(decide("cleo", 3_000), T0 + 2).then(refused(decide("cleo", 3_000), "beyond_boundary"))
    after.when(decide("eve", 5_000), T0 + 2).then(
        decided(decide("eve", 5_000), Authority("eve", "delegation", 5_000, (chain[0],)), 3, T0 + 2)
    )
    for agent in ("dan", "cleo", "bob", "mallory"):
        one.when(RevokeDelegation(agent, "eve-dan", ""), T0 + 1).then(
            RevocationRefused(agent, "eve-dan", "not_delegator")
        )
    one.when(RevokeDelegation("ada", "none", ""), T0 + 1).then(RevocationRefused("ada", "none", "unknown"))


def test_so_many_delegations_rest_on_each_other_and_are_there() -> None:
    names = [f"m{n}" for n in range(bounds.CHAIN_MAX + 2)]
    chain = [
        link(names[n], names[n + 1], 20_000 - n, T0 + 100, f"d{n - 1}" if n else None, delegation=f"d{n}", type="big")
        for n in range(bounds.CHAIN_MAX)
    ]
    top = (member("m0", None, big=20_000), *[member(name, "m0") for name in names[1:]])
    defined = OrganisationDefined("owner", top, len(names), 1, T0)
    more = delegate(names[-2], names[-1], 1, delegation="more", type="big")
    given(defined, *map(granted, chain)).when(more, T0).then(DelegationRefused(names[-2], "more", "chain"))
    more = delegate(names[-3], names[-1], 1, 100, delegation="more", type="big")
    last = link(names[-3], names[-1], 1, T0 + 100, chain[-2].delegation, delegation="more", type="big")
    given(defined, *map(granted, chain[:-1])).when(more, T0).then(granted(last))
    full = [granted(link("ada", "eve", 1, T0 + 100, delegation=f"d{n}")) for n in range(bounds.DELEGATIONS_MAX)]
    given(DEFINED, *full).when(delegate("ada", "eve", 1), T0).then(DelegationRefused("ada", "ada-eve", "full"))


# -- what changes while a request is open


def test_an_open_request_goes_on_when_a_delegation_ends() -> None:
    d = link("ada", "eve", 5_000, T0 + 100)
    c, by = request(4_000, ("eve",)), Authority("eve", "delegation", 5_000, (d,))
    one = asking(c, "eve", by, 3, granted(d))
    assert decider.deadline_ms(one.state) == T0 + 100
    on = [passed("eve", "eve", 3, "authority_lost", T0 + 100), asked("ada", own("ada", 10_000), 1, T0 + 100)]
    one.when(Tick(), T0 + 100).then(DelegationsExpired(("ada-eve",)), *on)
    one.when(answer("eve", "approve"), T0 + 100).then(
        DelegationsExpired(("ada-eve",)), *on, AnswerRefused("r1", "eve", "approve", "not_asked")
    )
    revoked = one.when(RevokeDelegation("ada", "ada-eve", ""), T0 + 5).then(DelegationsRevoked("ada", "", ("ada-eve",)))
    assert decider.deadline_ms(revoked.state) == 0
    revoked.when(answer("eve", "approve"), T0 + 5).then(
        passed("eve", "eve", 3, "authority_lost", T0 + 5),
        asked("ada", own("ada", 10_000), 1, T0 + 5),
        AnswerRefused("r1", "eve", "approve", "not_asked"),
    )


def test_an_open_request_goes_on_when_the_tree_changes() -> None:
    c = request(500)
    one = asking(c, "bob", own("bob", 1_000), 2)

    def change(*members: Member) -> Given:
        defined = OrganisationDefined("owner", members, SPAN, 2, T0 + 5)
        return one.when(define(*members), T0 + 5).then(defined)

    up = asked("ada", own("ada", 10_000), 1, T0 + 5)
    less = change(ADA, member("bob", "ada", spend=499), CLEO, member("dan", "bob"))
    less.when(Tick(), T0 + 5).then(passed("bob", "bob", 2, "authority_lost", T0 + 5), up)
    left = change(ADA, CLEO, member("dan", "cleo", spend=100))
    moved = left.when(Tick(), T0 + 5).then(
        passed("bob", "bob", 2, "authority_lost", T0 + 5), asked("cleo", own("cleo", 1_000), 2, T0 + 5)
    )
    path = (step("bob", "bob", 2, (T0, T0 + 5), "authority_lost"), step("cleo", "cleo", 2, (T0 + 5, T0 + 6), "decided"))
    moved.when(answer("cleo", "approve"), T0 + 6).then(
        made(c, "cleo", "approve", own("cleo", 1_000), path, ended_ms=T0 + 6, revision=2)
    )
    change(ADA).when(Tick(), T0 + 5).then(passed("bob", "bob", 2, "authority_lost", T0 + 5), up)
    change(member("ada", None)).when(Tick(), T0 + 5).then(
        passed("bob", "bob", 2, "authority_lost", T0 + 5),
        defaulted(c, "authority_lost", (step("bob", "bob", 2, (T0, T0 + 5), "authority_lost"),), T0 + 5, revision=2),
    )
    same = change(*ACME, member("fay", "cleo"))
    same.when(Tick(), T0 + 5).then_nothing()
    assert decider.deadline_ms(same.state) == T0 + ANSWER_MS


def test_a_deputy_that_is_replaced_is_asked_no_more() -> None:
    c = request(500)
    one = given(
        DEFINED, AbsenceBegan("bob", "bob", "", T0), requested(c), passed("bob", "bob", 2, "absent", T0),
        asked("cleo", own("bob", 1_000), 2),
    )  # fmt: skip
    other = (ADA, member("bob", "ada", "dan", spend=1_000), CLEO, DAN)
    changed = one.when(define(*other), T0 + 5).then(OrganisationDefined("owner", other, SPAN, 2, T0 + 5))
    changed.when(Tick(), T0 + 5).then(
        passed("bob", "cleo", 2, "authority_lost", T0 + 5), asked("ada", own("ada", 10_000), 1, T0 + 5)
    )


def test_who_leaves_takes_its_delegations_with_it() -> None:
    chain = [
        link("ada", "eve", 5_000, T0 + 99),
        link("eve", "dan", 9, T0 + 99, "ada-eve"),
        link("ada", "bob", 1, T0 + 99),
    ]
    one = given(DEFINED, *map(granted, chain), AbsenceBegan("eve", "eve", "", T0), AbsenceBegan("bob", "bob", "", T0))
    left = (ADA, BOB, CLEO, DAN)
    after = one.when(define(*left), T0 + 1).then(
        OrganisationDefined("owner", left, SPAN, 2, T0 + 1),
        DelegationsRevoked("owner", "member_left", ("ada-eve", "eve-dan")),
    )
    assert after.state.absent == ("bob",)


def test_a_way_has_an_end() -> None:
    """Only a tree that changes all the time makes a way so long."""
    c = request(500)
    steps = [
        event
        for n in range(bounds.STEPS_MAX - 1)
        for event in (passed("bob", "bob", 2, "authority_lost", T0), asked("bob", own("bob", 1_000), 2))
    ]
    one = given(DEFINED, requested(c), asked("bob", own("bob", 1_000), 2), *steps)
    found = decider.decide(one.state, Tick(), At(T0 + ANSWER_MS, 9, "r"))
    assert [type(event) for event in found] == [AuthorityPassed, DecisionDefaulted]
    assert isinstance(found[1], DecisionDefaulted) and len(found[1].path) == bounds.STEPS_MAX


# -- withdrawing, outcomes, reading


def test_who_asked_withdraws() -> None:
    c = request(500, origin=Origin("conflicts", "c-1", "7"))
    one = asking(c, "bob", own("bob", 1_000), 2)
    one.when(WithdrawRequest("bob", "r1", ""), T0 + 5).then(WithdrawalRefused("r1", "bob", "dan"))
    path = (step("bob", "bob", 2, (T0, T0 + 5), "withdrawn"),)
    end = one.when(WithdrawRequest("dan", "r1", "found one"), T0 + 5).then(
        DecisionWithdrawn("r1", "dan", "found one", path, c.origin, T0 + 5)
    )
    assert decider.deadline_ms(end.state) is None
    end.when(WithdrawRequest("dan", "r1", ""), T0 + 6).then(DecisionKnown("r1", "dan", "withdrawn", None))
    end.when(answer("bob", "approve"), T0 + 6).then(AnswerRefused("r1", "bob", "approve", "ended"))


def test_outcomes() -> None:
    c = request(500)
    path = (step("bob", "bob", 2, (T0, T0), "decided"),)
    one = given(
        DEFINED, requested(c), asked("bob", own("bob", 1_000), 2),
        made(c, "bob", "approve", own("bob", 1_000), path, ended_ms=T0),
    )  # fmt: skip
    for agent in ("bob", "dan", "owner"):
        after = one.when(ReportOutcome(agent, "r1", "failure", "it broke"), T0 + 9).then(
            OutcomeReported("r1", agent, "failure", "it broke", T0 + 9)
        )
    one.when(ReportOutcome("ada", "r1", "success", ""), T0 + 9).then(OutcomeRefused("r1", "ada", "not_allowed", None))
    after.when(ReportOutcome("dan", "r1", "success", ""), T0 + 9).then(
        OutcomeRefused("r1", "dan", "reported", "failure")
    )
    asking(c, "bob", own("bob", 1_000), 2).when(ReportOutcome("dan", "r1", "success", ""), T0 + 9).then(
        OutcomeRefused("r1", "dan", "not_decided", None)
    )


def test_reading() -> None:
    c = request(500)
    one = asking(c, "bob", own("bob", 1_000), 2)
    terms = (c.about, "spend", 500, "a desk", c.inputs, (), None)
    open_path = (step("bob", "bob", 2, (T0, None), ""),)
    one.when(ReadDecision("zoe", "r1"), T0 + 1).then(
        DecisionRead(
            "r1",
            "zoe",
            "dan",
            *terms,
            "open",
            None,
            None,
            "",
            own("bob", 1_000),
            open_path,
            T0,
            T0 + ANSWER_MS,
            None,
            None,
        )
    )
    path = (step("bob", "bob", 2, (T0, T0 + 5), "decided"),)
    end = one.when(answer("bob", "approve", "ok"), T0 + 5).then(
        made(c, "bob", "approve", own("bob", 1_000), path, ended_ms=T0 + 5, reason="ok")
    )
    reported = end.when(ReportOutcome("dan", "r1", "success", ""), T0 + 9).then(
        OutcomeReported("r1", "dan", "success", "", T0 + 9)
    )
    ended = (c.about, "spend", 500, "a desk", "", (), None)
    reported.when(ReadDecision("zoe", "r1"), T0 + 9).then(
        DecisionRead(
            "r1",
            "zoe",
            "dan",
            *ended,
            "decided",
            "approve",
            "bob",
            "ok",
            own("bob", 1_000),
            path,
            T0,
            None,
            T0 + 5,
            "success",
        )
    )
    d = link("ada", "eve", 5_000, T0 + 100)
    busy = given(
        DEFINED, granted(d), AbsenceBegan("cleo", "cleo", "", T0), requested(c), asked("bob", own("bob", 1_000), 2)
    )
    busy.when(ReadOrganisation("zoe"), T0).then(
        OrganisationRead("zoe", "owner", ACME, SPAN, 1, ("cleo",), (d,), ("r1",))
    )


def test_so_many_decisions_are_remembered() -> None:
    state = acme.state
    for n in range(bounds.ENDED_MAX + 1):
        for event in decider.decide(state, decide("dan", 1, decision=f"d{n}"), At(T0, n, "r")):
            state = evolve(state, event)
    assert state is not None and len(state.ended) == bounds.ENDED_MAX and "d0" not in state.ended
    (event,) = decider.decide(state, ReportOutcome("dan", "d0", "success", ""), At(T0, 9, "r"))
    assert event == DecisionUnknown("d0", "dan", "ReportOutcome")


@pytest.mark.parametrize(
    "command",
    [
        answer("bob", "deny"), WithdrawRequest("bob", "r1", ""), ReportOutcome("bob", "r1", "success", ""),
        ReadDecision("bob", "r1"),
    ],
    ids=lambda c: type(c).__name__,
)  # fmt: skip
def test_what_there_is_not(command: Any) -> None:
    acme.when(command, T0).then(DecisionUnknown("r1", "bob", type(command).__name__))
    given().when(command, T0).then(OrganisationUnknown("bob", type(command).__name__, "r1", None))


def test_an_organisation_that_there_is_not() -> None:
    c = request(1, origin=Origin("conflicts", "c-1", "7"))
    given().when(c, T0).then(OrganisationUnknown("dan", "RequestDecision", "r1", c.origin))
    given().when(ReadOrganisation("zoe"), T0).then(OrganisationUnknown("zoe", "ReadOrganisation", None, None))
    given().when(Tick(), T0).then_nothing()


# -- bounds


def many_members(count: int, name_bytes: int) -> tuple[Member, ...]:
    names = [f"{n:03}".ljust(name_bytes, "x") for n in range(count)]
    return tuple(Member(name, names[(n - 1) // 7] if n else None, (), None, 1) for n, name in enumerate(names))


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (DefineOrganisation("owner", (), 7), "0 members"),
        (define(*many_members(bounds.MEMBERS_MAX + 1, 3)), "501 members"),
        (define(*many_members(500, 100)), "at most 100000 bytes"),
        (define(span=0), "span=0"),
        (define(span=bounds.SPAN_MAX + 1), "span=101"),
        (define(member("", None)), "is no name"),
        (define(member("x" * 129, None)), "is no name"),
        (define(member("ada", "")), "is no name"),
        (define(member("ada", None, "")), "is no name"),
        (define(Member("ada", None, (Boundary("", 1),), None, 1)), "is no name"),
        (define(Member("ada", None, (Boundary("t" * 65, 1),), None, 1)), "is no name"),
        (define(Member("ada", None, (Boundary("t", 1),) * 2, None, 1)), "a type is named twice"),
        (define(Member("ada", None, tuple(Boundary(f"t{n}", 1) for n in range(33)), None, 1)), "at most 32"),
        (define(member("ada", None, spend=-1)), "the boundaries of ada"),
        (define(member("ada", None, spend=AMOUNT_MAX + 1)), "the boundaries of ada"),
        (define(Member("ada", None, (), None, 0)), "answer_ms=0 of ada"),
        (define(Member("ada", None, (), None, LIMIT_MS_MAX + 1)), "answer_ms="),
        (delegate("bob", "eve", -1), "limit_millionths=-1"),
        (delegate("bob", "eve", AMOUNT_MAX + 1), "limit_millionths="),
        (delegate("bob", "eve", 1, 0), "duration_ms=0"),
        (delegate("bob", "eve", 1, LIMIT_MS_MAX + 1), "duration_ms="),
        (delegate("bob", "", 1, delegation="d"), "is no name"),
        (delegate("bob", "eve", 1, delegation=""), "is no name"),
        (delegate("bob", "eve", 1, delegation="d" * 201), "is no name"),
        (delegate("bob", "eve", 1, type=""), "is no name"),
        (delegate("bob", "eve", 1, reason="x" * 256), "reason has more"),
        (RevokeDelegation("bob", "", ""), "is no name"),
        (BeginAbsence("bob", "", ""), "is no name"),
        (EndAbsence("bob", "x" * 129), "is no name"),
        (request(-1), "amount_millionths=-1"),
        (request(AMOUNT_MAX + 1), "amount_millionths="),
        (request(1, decision=""), "is no name"),
        (request(1, type="t" * 65), "is no name"),
        (request(1, subject="x" * 256), "subject has more"),
        (request(1, inputs="x" * (bounds.INPUTS_BYTES_MAX + 1)), "inputs have at most"),
        (request(1, tuple(f"m{n}" for n in range(17))), "about: at most 16"),
        (request(1, ("",)), "is no name"),
        (request(1, trail=("x" * 256,)), "trail"),
        (request(1, origin=Origin("", "k", "")), "origin"),
        (request(1, origin=Origin("d", "", "")), "origin"),
        (request(1, origin=Origin("d", "k", "i" * 256)), "origin"),
        (request(1, origin=Origin("d", "k" * 256, "")), "origin"),
        (request(1, options=("one",)), "one is no choice"),
        (request(1, options=("a", "A ")), "a name of its own"),
        (request(1, options=("a", " ")), "a name of its own"),
        (request(1, options=("a", "Escalate")), "escalate is no name"),
        (request(1, options=("approve", "deny")), "approve, deny is no name"),
        (request(1, options=tuple(f"o{n}" for n in range(17))), "options: at most 16"),
        (decide("dan", 1, verdict="escalate"), "verdict='escalate'"),
        (decide("dan", 1, verdict="yes"), "verdict='yes'"),
        (decide("dan", 1, inputs="x" * (bounds.INPUTS_BYTES_MAX + 1)), "inputs have at most"),
        (decide("dan", 1, decision=""), "is no name"),
        (answer("bob", "x" * 256), "choice has more"),
        (answer("bob", "deny", decision=""), "is no name"),
        (answer("x" * 256, "deny"), "agent has more"),
        (ReportOutcome("bob", "r1", "fine", ""), "outcome='fine'"),
        (ReportOutcome("bob", "r1", "success", "x" * 256), "note has more"),
        (ReadDecision("bob", "x" * 201), "is no name"),
        (WithdrawRequest("bob", "", ""), "is no name"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_is_rejected(command: Any, problem: str) -> None:
    for state in (None, acme.state):
        (rejected,) = decider.decide(state, command, At(T0, 9, "r"))
        assert isinstance(rejected, CommandRejected) and problem in rejected.description


@pytest.mark.parametrize(
    "command",
    [
        define(*many_members(bounds.MEMBERS_MAX, 60)),
        define(
            Member("x" * 128, None, tuple(Boundary(f"{n:64}", AMOUNT_MAX) for n in range(32)), None, LIMIT_MS_MAX)
        ),
        delegate("bob", "x" * 128, AMOUNT_MAX, LIMIT_MS_MAX, delegation="d" * 200, reason="x" * 255),
        request(
            AMOUNT_MAX, tuple(f"m{n}" for n in range(16)), inputs="x" * bounds.INPUTS_BYTES_MAX, subject="x" * 255,
            options=tuple(f"o{n}" for n in range(16)), origin=Origin("d" * 255, "k" * 255, "i" * 255),
            trail=("x" * 255,),
        ),
        decide("dan", 0, decision="d" * 200, type="t" * 64),
    ],
    ids=range(5),
)  # fmt: skip
def test_what_may_just_be(command: Any) -> None:
    assert problem_of(command) is None


def test_the_largest_decision_fits() -> None:
    """A change of the largest tree, by which the time of as many requests as may be, with the longest ways, is over."""
    names = [f"{n:03}".ljust(128, "x") for n in range(bounds.MEMBERS_MAX)]
    top, other = names[0], names[1]
    small = (
        Member(top, None, (Boundary("t" * 64, AMOUNT_MAX),), other, 1),
        Member(other, top, (Boundary("t" * 64, AMOUNT_MAX),), top, 1),
    )
    state: Organisation | None = evolve(None, OrganisationDefined("o" * 255, small, SPAN, 1, T0))
    links = [Delegation(f"{n:03}".ljust(200, "d"), top, other, "t" * 64, 9, None, T0 + 1) for n in range(200)]
    for one in links:
        state = evolve(state, granted(one))
    big = {
        "agent": "r" * 255, "type": "t" * 64, "subject": "s" * 255, "inputs": "i" * bounds.INPUTS_BYTES_MAX,
        "options": tuple(f"{n:02}".ljust(200, "o") for n in range(bounds.OPTIONS_MAX)),
        "origin": Origin("d" * 255, "k" * 255, "i" * 255), "trail": ("t" * 255,) * TRAIL_MAX,
    }  # fmt: skip
    chain = tuple(links[: bounds.CHAIN_MAX])
    for n in range(bounds.DUE_MAX):
        c = request(AMOUNT_MAX, (other,) * bounds.ABOUT_MAX, decision=f"{n:03}".ljust(200, "r"), **big)
        state = evolve(state, requested(c))
        for _ in range(bounds.STEPS_MAX - 1):
            state = evolve(state, AuthorityPassed(c.decision, top, other, 12, "authority_lost", "w" * 255, T0))
        by = Authority(top, "delegation", AMOUNT_MAX, chain)
        state = evolve(state, AuthorityAsked(c.decision, top, c.agent, by, 12, T0, T0 + 1, c.trail))
    tree = many_members(bounds.MEMBERS_MAX, 60)
    assert bounds.bytes_of_tree(tree) > 0.7 * bounds.TREE_BYTES_MAX
    events = decider.decide(state, DefineOrganisation("o" * 255, tree, SPAN), At(10**15, 10**9, "r"))
    kinds = [type(event) for event in events]
    assert kinds.count(DecisionDefaulted) == bounds.DUE_MAX and OrganisationDefined in kinds
    assert DelegationsExpired in kinds
    assert len(events_codec("hierarchy").encode(list(events))) < DECISION_BYTES_MAX * 0.8


# -- the domain


def test_members_are_asked_by_signals() -> None:
    event = asked("bob", own("bob", 1_000), 2, trail=("started",))
    (order,) = DOMAIN.reactions[AuthorityAsked]("acme", event)
    assert (order.domain, order.key) == ("signals", "decision_wanted:bob")
    assert isinstance(order.command, EmitSignal) and order.command.trail == ("started",)
    data = {"organisation": "acme", "decision": "r1", "requester": "dan"}
    assert (order.command.agent, json.loads(order.command.data)) == ("dan", data)
    (emitted,) = DOMAINS["signals"].versions[1].decide(None, order.command, At(T0, 1, "r"))
    assert type(emitted).__name__ == "SignalEmitted"


def test_state_survives_a_dump() -> None:
    d = link("ada", "eve", 5_000, T0 + 100)
    c = request(500, options=("x", "y"), origin=Origin("conflicts", "c", ""))
    done = decide("dan", 1)
    state = given(
        DEFINED, granted(d), AbsenceBegan("cleo", "cleo", "", T0), requested(c), asked("bob", own("bob", 1_000), 2),
        decided(done, own("dan", 100), 3),
    ).state  # fmt: skip
    assert restore(dump(state), Organisation) == state and list(state.open) == ["r1"]


def test_every_command_and_event_is_known() -> None:
    assert set(_ANSWERS) == {*hierarchy.COMMANDS, Tick}
    assert set(_CHANGES) == set(hierarchy.EVENTS)
    assert DOMAINS["hierarchy"] is DOMAIN and list(DOMAIN.versions) == [1]


def test_messages_of_others_are_bugs() -> None:
    with pytest.raises(TypeError, match="no command ReleaseLock"):
        decider.decide(None, ReleaseLock("ada", 1), At(T0, 1, "r"))
    with pytest.raises(TypeError, match="no command SwitchRules"):
        decider.decide(None, SwitchRules(2, ""), At(T0, 1, "r"))
    other: Event = LockReleased("ada", 1)
    with pytest.raises(TypeError, match="no event LockReleased"):
        evolve(None, other)
