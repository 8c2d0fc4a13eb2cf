"""The task decider, branch by branch: joins, optional steps, blocked ones."""

from __future__ import annotations

import pytest
from accord.schemas.messages.tasks import (
    Input,
    StepsBlocked,
    TaskCompleted,
    TaskFailed,
)

from tests.streams.task_words import (
    GOOD,
    after,
    complete,
    done,
    fail,
    freed,
    gives_up,
    start,
    started,
    statuses,
    step,
    submit,
    wanted,
)


def test_a_join_waits_for_all_and_runs_once() -> None:
    steps = (step("a"), step("b"), step("c", "a", "b", capability="draw"))
    running = after(submit(*steps), start("a"), start("b"))
    first = running.when(complete("b", 3), 2_000).then(done("b", 3, 2_000), freed("b", 1, GOOD))
    assert statuses(first.state) == {"a": "running", "b": "completed", "c": "pending"}
    first.when(complete("a", 2), 2_000).then(
        done("a", 2, 2_000), freed("a", 1, GOOD), wanted("c", since_ms=2_000, capability="draw")
    )


@pytest.mark.parametrize("need", [0, 1, 2])
def test_a_join_that_needs_some_runs_when_all_have_ended(need: int) -> None:
    steps = (step("a"), step("b"), step("c"), step("d", "a", "b", "c", need=need, capability="draw"))
    running = after(submit(*steps), start("a"), start("b"), start("c"), fail("a", 2, final=True), complete("b", 3))
    assert statuses(running.state)["d"] == "pending"
    running.when(complete("c", 4), 2_000).then(
        done("c", 4, 2_000), freed("c", 1, GOOD), wanted("d", since_ms=2_000, capability="draw")
    )
    joined = running.when(fail("c", 4, final=True), 2_000)
    failed = gives_up("c", 4)
    if need < 2:
        joined.then(*failed, wanted("d", since_ms=2_000, capability="draw"))
    else:
        then = joined.then(*failed, StepsBlocked("a", ("d",)), TaskFailed("ada", "a", "Failed", 2_000))
        assert statuses(then.state) == {"a": "failed", "b": "completed", "c": "failed", "d": "blocked"}


def test_a_join_with_too_few_is_blocked_and_what_follows_it() -> None:
    """Though its last one is completed; what comes after an optional join goes on."""
    steps = (
        step("a"),
        step("b"),
        step("j", "a", "b", need=2, optional=True),
        step("k", "j"),
        step("l", "a", "b", need=2),
    )
    running = after(submit(*steps), start("a"), start("b"), fail("a", 2, final=True))
    then = running.when(complete("b", 3), 2_000).then(
        done("b", 3, 2_000), StepsBlocked("a", ("j",)), wanted("k", since_ms=2_000), StepsBlocked("a", ("l",)),
        freed("b", 1, GOOD),
    )  # fmt: skip
    assert statuses(then.state) == {"a": "failed", "b": "completed", "j": "blocked", "k": "ready", "l": "blocked"}


def test_a_task_without_optional_steps_is_completed() -> None:
    steps = (step("a", optional=True), step("b", "a"))
    running = after(submit(*steps), start("a"))
    on = running.when(fail("a", 2, final=True), 2_000).then(*gives_up("a", 2), wanted("b", since_ms=2_000))
    run = on.when(start("b"), 2_000, seq=101).then(
        started("b", 101, 2_000, inputs=(Input("a", "failed", None, "no ink", omitted=False),))
    )
    run.when(complete("b", 101), 2_000).then(done("b", 101, 2_000), freed("b", 1, GOOD), TaskCompleted("ada", 2_000))


def test_what_needs_a_step_that_is_given_up_is_blocked_and_all_else_goes_on() -> None:
    """A diamond, and a branch beside it."""
    steps = (
        step("top"), step("left", "top"), step("right", "top"), step("bottom", "left", "right"), step("aside"),
        step("both", "bottom", "aside"),
    )  # fmt: skip
    running = after(submit(*steps), start("top"), start("aside"))
    then = running.when(fail("top", 2, final=True), 2_000).then(
        *gives_up("top", 2), StepsBlocked("top", ("left", "right", "bottom", "both"))
    )
    assert then.state.status == "in_progress"
    then.when(complete("aside", 3), 3_000).then(
        done("aside", 3, 3_000), freed("aside", 1, GOOD), TaskFailed("ada", "top", "Failed", 3_000)
    )


def test_a_blocked_step_that_is_optional_lets_others_go_on() -> None:
    steps = (step("a"), step("o", "a", optional=True), step("b", "o"), step("c", "o", "a"))
    then = (
        after(submit(*steps), start("a"))
        .when(fail("a", 2, final=True), 2_000)
        .then(*gives_up("a", 2), StepsBlocked("a", ("o", "c")), wanted("b", since_ms=2_000))
    )
    running = then.when(start("b"), 2_000, seq=101).then(
        started("b", 101, 2_000, inputs=(Input("o", "blocked", None, "", omitted=False),))
    )
    running.when(complete("b", 101), 3_000).then(
        done("b", 101, 3_000), freed("b", 1, GOOD), TaskFailed("ada", "a", "Failed", 3_000)
    )


def test_the_failed_step_is_named_not_one_that_it_blocked() -> None:
    steps = (step("b", "a"), step("a"))
    then = after(submit(*steps), start("a")).when(fail("a", 2, final=True), 2_000)
    then.then(*gives_up("a", 2), StepsBlocked("a", ("b",)), TaskFailed("ada", "a", "Failed", 2_000))
