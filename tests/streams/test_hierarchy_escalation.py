"""The hierarchy decider, branch by branch: time, deputies, escalation, and what changes while a request is open."""

from __future__ import annotations

from typing import Any

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
    DecisionDefaulted,
    DelegationRefused,
    DelegationsExpired,
    DelegationsRevoked,
    EndAbsence,
    Member,
    OrganisationDefined,
    RevokeDelegation,
)
from accord.schemas.messages.log import Tick
from accord.streams.decider import At
from accord.streams.hierarchy import bounds
from accord.streams.hierarchy.organisation import evolve

from tests.streams.hierarchy_words import (
    ACME,
    ADA,
    ANSWER_MS,
    BOB,
    CLEO,
    DAN,
    DEFINED,
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
    delegate,
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
from tests.streams.spec import Given

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
