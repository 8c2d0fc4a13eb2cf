"""The hierarchy decider, branch by branch: the tree, decisions and requests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from accord.schemas.messages import Event, hierarchy
from accord.schemas.messages.hierarchy import (
    AbsenceBegan,
    AnswerRefused,
    AuthorityAsked,
    Decide,
    DecisionKnown,
    DecisionRead,
    DecisionUnknown,
    DecisionWithdrawn,
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
    WithdrawalRefused,
    WithdrawRequest,
)
from accord.schemas.messages.locks import LockReleased, ReleaseLock
from accord.schemas.messages.log import SwitchRules, Tick
from accord.schemas.messages.signals import EmitSignal
from accord.streams.decider import At, dump, restore
from accord.streams.domains import DOMAINS
from accord.streams.hierarchy import bounds
from accord.streams.hierarchy.decider import _ANSWERS, DOMAIN
from accord.streams.hierarchy.organisation import _CHANGES, Organisation, evolve
from accord.streams.hierarchy.tree import Tree, problem_of_members
from accord.streams.signals.decider import TRAIL_MAX

from tests.streams.hierarchy_words import (
    ACME,
    ADA,
    ANSWER_MS,
    BOB,
    CLEO,
    DEFINED,
    EVE,
    SPAN,
    T0,
    acme,
    answer,
    asked,
    asking,
    decide,
    decided,
    decider,
    defaulted,
    define,
    given,
    granted,
    link,
    made,
    member,
    own,
    passed,
    refused,
    request,
    requested,
    step,
)

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
