"""The hierarchy decider, branch by branch: its bounds."""

from __future__ import annotations

from typing import Any

import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages.hierarchy import (
    Authority,
    AuthorityAsked,
    AuthorityPassed,
    BeginAbsence,
    Boundary,
    DecisionDefaulted,
    DefineOrganisation,
    Delegation,
    DelegationsExpired,
    EndAbsence,
    Member,
    OrganisationDefined,
    Origin,
    ReadDecision,
    ReportOutcome,
    RevokeDelegation,
    WithdrawRequest,
)
from accord.schemas.messages.log import CommandRejected
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import At
from accord.streams.hierarchy import bounds
from accord.streams.hierarchy.bounds import AMOUNT_MAX, problem_of
from accord.streams.hierarchy.organisation import Organisation, evolve
from accord.streams.signals.decider import TRAIL_MAX
from accord.streams.tasks.bounds import LIMIT_MS_MAX

from tests.streams.hierarchy_words import (
    SPAN,
    T0,
    acme,
    answer,
    decide,
    decider,
    define,
    delegate,
    granted,
    member,
    request,
    requested,
)


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
