"""Roles: who is asked, what is reviewed, what is integrated, and what is told of it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest
from accord.agents.patterns import Item, Outcome, Roles, sequential
from accord.agents.patterns.roles import FAILED, INTEGRATION, REJECTED, integrable, reviewers_of
from accord.agents.patterns.verdicts import verdict_of
from accord.agents.signals.plain import plain
from accord.agents.tasks.graph import GiveUp
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import BadInput, Failure
from tests.agents.patterns.support import Direct, directly, says
from tests.agents.test_tasks import MakeHub, in_loop
from tests.counts import examples

NO = GiveUp("no ink")
NAMES = st.sampled_from("abcd")
ITEMS = st.builds(
    Item,
    id=st.text(max_size=3),
    content=st.integers(),
    stage=st.sampled_from((INTEGRATION, REJECTED, FAILED, "review", "execution")),
    created_by=NAMES,
    approved_by=st.none() | NAMES,
)


@examples(200)
@given(st.lists(ITEMS, max_size=8), st.sets(NAMES))
def test_only_what_another_has_approved_is_integrated(items: list[Item], reviewers: set[str]) -> None:
    passed = integrable(items, reviewers)
    assert [item for item in items if item in passed] == passed, "in their order, and nothing else"
    for item in passed:
        assert item.stage == INTEGRATION
        assert not reviewers or (item.approved_by in reviewers and item.approved_by != item.created_by)
    for item in items:
        good = item.stage == INTEGRATION and item.approved_by in reviewers - {item.created_by}
        assert not good or item in passed


@examples(100)
@given(st.integers(0, 20), NAMES, st.lists(NAMES, unique=True))
def test_all_but_the_maker_may_review_each_in_turn(number: int, maker: str, reviewers: list[str]) -> None:
    asked = reviewers_of(number, maker, reviewers)
    others = [reviewer for reviewer in reviewers if reviewer != maker]
    assert sorted(asked) == sorted(others)
    assert not others or asked[0] == others[number % len(others)]


@pytest.mark.parametrize(
    ("answer", "approved", "reason"),
    [
        (True, True, ""),
        (False, False, ""),
        ("approved", True, ""),
        (" Yes.", True, ""),
        ("rejected", False, ""),
        ({"approved": True, "reason": "fine"}, True, "fine"),
        ({"approved": False, "reason": "too long"}, False, "too long"),
        ({"approved": "yes"}, False, "no verdict: {'approved': 'yes'}"),
        ("I approve of this", False, "no verdict: I approve of this"),
        ("not approved", False, "no verdict: not approved"),
        (1, False, "no verdict: 1"),
        (None, False, "no verdict: None"),
    ],
)
def test_what_is_a_verdict(answer: Any, approved: bool, reason: str) -> None:
    assert verdict_of(answer) == (approved, reason)


def team(**roles: Any) -> Roles:
    made = {
        "planners": [says("planner", {"subtasks": ["a", "b", "c", "d"]})],
        "executors": [says("ann"), says("ben")],
        "reviewers": [says("rex", lambda asked: asked["subtask"] != "c")],
        "integrators": [says("ivy", lambda asked: [item["content"] for item in asked["results"]])],
    }
    return Roles(**(made | roles))


def run(roles: Roles) -> tuple[Outcome, list[dict[str, Any]]]:
    """The outcome, and the handoffs."""
    flow = Direct()
    outcome: Outcome = directly(roles, flow=flow)
    return outcome, flow.events


@in_loop
async def test_each_stage_is_told_once_and_only_what_is_approved_is_integrated(make_hub: MakeHub) -> None:
    heard: list[dict[str, Any]] = []
    async with make_hub("ada") as hub:
        hub.when("handoff", name="listener")(lambda event_data: heard.append(dict(event_data)))
        for _ in range(2):
            outcome = await team().run("x", key="once", team="once")
        await hub.drain(wait_ms=10_000)
    handoffs = [one for one in heard if one["run"] == "once"]
    assert outcome.result == ["ann(a)", "ben(b)", "ben(d)"] and not outcome.unreviewed
    plan, *results = outcome.items
    assert plan == Item("plan", {"subtasks": ["a", "b", "c", "d"]}, "planning", "planner")
    assert results[0] == Item("result_0", "ann(a)", "integration", "ann", "rex")
    assert outcome.rejected == (Item("result_2", "ann(c)", "rejected", "ann", None, "rex"),)
    told = Counter((one["item"], one["from"], one["to"]) for one in handoffs)
    assert told == {
        ("plan", "planning", "execution"): 1,
        **{(f"result_{number}", "execution", "review"): 1 for number in range(4)},
        **{(f"result_{number}", "review", "integration"): 1 for number in (0, 1, 3)},
        ("result_2", "review", "rejected"): 1,
    }
    assert plain(outcome)["rejected"][0]["id"] == "result_2", "it can be handed on"


def test_nobody_reviews_what_he_has_made() -> None:
    told: list[tuple[str, Any]] = []
    ann, ben = says("ann", lambda task: True, told), says("ben", lambda task: True, told)
    outcome, _ = run(team(executors=[ann, ben], reviewers=[ann, ben]))
    assert [item.approved_by for item in outcome.items[1:]] == ["ben", "ann", "ben", "ann"]
    for name, task in told:
        assert not isinstance(task, dict) or task["item"]["created_by"] != name
    alone, _ = run(team(executors=[ann], reviewers=[ann]))
    assert alone.result is None and len(alone.rejected) == 4
    assert alone.rejected[0].reason == "there is no reviewer but ann, who has made it"


def test_who_fails_is_stood_in_for_or_reported() -> None:
    lead = says("lead", {"subtasks": ["a", "b"]})
    outcome, handoffs = run(
        team(
            planners=[says("ill", NO), lead],
            executors=[says("ann"), says("broken", NO)],
            reviewers=[says("away", NO), says("rex", "approved")],
            integrators=[says("gone", NO), says("ivy", len)],
        )
    )
    assert outcome.items[0].created_by == "lead" and outcome.result == 2
    assert outcome.items[1] == Item("result_0", "ann(a)", "integration", "ann", "rex")
    assert outcome.rejected == (Item("result_1", None, "failed", "broken", None, "no ink"),)
    assert ("result_1", "execution", "failed") in [(one["item"], one["from"], one["to"]) for one in handoffs]
    with pytest.raises(Failure, match="no ink"):
        run(team(planners=[says("ill", NO)]))
    unread, _ = run(team(reviewers=[says("away", NO)], executors=[says("ann")]))
    assert {item.reason for item in unread.rejected} == {"not reviewed: no ink"} and unread.result is None


def test_roles_that_nobody_has() -> None:
    told: list[Any] = []
    planner = says("planner", {"subtasks": ["a"]}, told)
    for missing, text in (("planners", "No planner available"), ("executors", "No executor available")):
        with pytest.raises(BadInput) as refused:
            run(team(**({"planners": [planner]} | {missing: []})))
        assert str(refused.value) == text and not told
    bare = team(reviewers=[], integrators=[])
    outcome, handoffs = run(bare)
    assert outcome.result == ["ann(a)", "ben(b)", "ann(c)", "ben(d)"] and outcome.unreviewed and not outcome.rejected
    assert {item.approved_by for item in outcome.items} == {None}
    assert {one["to"] for one in handoffs} == {"execution", "integration"}
    for plan in ({"subtasks": "abc"}, ["a"]):
        with pytest.raises(Failure, match=r"the plan of planner is .* is needed"):
            run(team(planners=[says("planner", plan)]))
    nothing, _ = run(team(planners=[says("planner", {"subtasks": []})]))
    assert (nothing.result, len(nothing.items)) == (None, 1)


def test_roles_are_a_pattern_as_others() -> None:
    chain = sequential(team(), says("counter", lambda outcome: len(outcome["rejected"])))
    assert directly(chain) == 1


def test_an_item_is_not_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Item("result_0", 1, "execution", "ann").stage = "integration"  # type: ignore[misc]
