"""The task decider, branch by branch: failures, deadlines, refusals, losses; what is given up."""

from __future__ import annotations

from typing import Any

import msgspec
from accord.schemas.messages import Event
from accord.schemas.messages.log import Tick
from accord.schemas.messages.tasks import (
    CancelTask,
    DropStep,
    Input,
    Refusal,
    RefuseSteps,
    ResultIgnored,
    RetryRefused,
    RetryStep,
    ReturnStep,
    Slot,
    StartRefused,
    StepDeadLettered,
    StepDropped,
    StepFailed,
    StepLost,
    StepRefused,
    StepRetried,
    StepReturned,
    StepsBlocked,
    StepTimedOut,
    TaskCompleted,
    TaskFailed,
    TaskUnknown,
)
from accord.streams.decider import At
from accord.streams.tasks.bounds import (
    DUE_MAX,
    ERROR_CHARS_MAX,
    FAILED_KEEP_MS,
    RETRY_AFTER_MS_MAX,
    STEPS_MAX,
)

from tests.streams.spec import Given
from tests.streams.task_words import (
    BAD,
    GOOD,
    MINUTE,
    T0,
    after,
    complete,
    dead,
    decider,
    done,
    fail,
    freed,
    given,
    given_up,
    gives_up,
    lose,
    rejected,
    start,
    started,
    statuses,
    step,
    submit,
    wanted,
)

# -- failures


def test_a_failed_run_is_repeated_after_5_10_and_15_s_then_it_is_a_dead_letter() -> None:
    """At most 4 runs with 3 retries."""
    now_ms, state = T0, after(submit(step("a"), step("b", "a"))).state
    for attempt, wait_ms in enumerate((5_000, 10_000, 15_000), start=1):
        running = (
            Given(decider, state)
            .when(start("a", attempt), now_ms, seq=attempt)
            .then(started("a", attempt, now_ms, attempt=attempt, tries=attempt - 1))
        )
        failed = running.when(fail("a", attempt), now_ms + 10).then(
            freed("a", attempt, BAD),
            StepFailed("bob", "a", attempt, "OSError", "no ink", attempt, now_ms + 10 + wait_ms),
        )
        assert decider.deadline_ms(failed.state) == now_ms + 10 + wait_ms
        failed.when(Tick(), now_ms + 9 + wait_ms).then_nothing()
        now_ms += 10 + wait_ms
        ready = failed.when(Tick(), now_ms).then(wanted("a", attempt=attempt + 1, since_ms=now_ms))
        state = ready.state
    running = Given(decider, state).when(start("a", 4), now_ms, seq=4).then(started("a", 4, now_ms, attempt=4, tries=3))
    ended = running.when(fail("a", 4), now_ms).then(
        freed("a", 4, BAD),
        StepFailed("bob", "a", 4, "OSError", "no ink", 4, None),
        dead("a", "MaxRetriesExceeded", "OSError", "no ink", 4),
        StepsBlocked("a", ("b",)),
        TaskFailed("ada", "a", "MaxRetriesExceeded", now_ms),
    )
    assert statuses(ended.state) == {"a": "failed", "b": "blocked"}
    assert (ended.state.status, ended.state.reason) == ("failed", "a: MaxRetriesExceeded")
    assert decider.deadline_ms(ended.state) == now_ms + FAILED_KEEP_MS


def test_later_failures_wait_15_s() -> None:
    state = after(submit(step("a", retries=9))).state
    for number in range(len(state.graph)):
        failed = msgspec.structs.replace(state.steps[number], failures=5)
        state = msgspec.structs.replace(state, steps=state.steps.put(number, failed))
    running = Given(decider, state).when(start("a"), T0).then(started("a"))
    running.when(fail("a", 100), T0).then(
        freed("a", 1, BAD), StepFailed("bob", "a", 100, "OSError", "no ink", 6, T0 + 15_000)
    )


def test_a_step_without_retries_is_run_once() -> None:
    running = after(submit(step("a", retries=0)), start("a"))
    running.when(fail("a", 2), 2_000).then(
        freed("a", 1, BAD),
        StepFailed("bob", "a", 2, "OSError", "no ink", 1, None),
        dead("a", "MaxRetriesExceeded", "OSError", "no ink", 1),
        TaskFailed("ada", "a", "MaxRetriesExceeded", 2_000),
    )


def test_a_final_failure_is_not_repeated_and_a_long_error_is_cut() -> None:
    running = after(submit(step("a"), step("b")), start("a"))
    cut = "é" * ERROR_CHARS_MAX
    then = running.when(fail("a", 2, final=True, error=cut + "é"), 2_000).then(
        freed("a", 1, BAD), StepFailed("bob", "a", 2, "OSError", cut, 1, None), given_up("a", error=cut)
    )
    assert statuses(then.state) == {"a": "failed", "b": "ready"}, "what does not need it goes on"
    assert then.state.status == "in_progress"


def test_a_run_that_takes_too_long_counts_as_failed() -> None:
    running = after(submit(step("a", retries=1)), start("a"))
    running.when(Tick(), 10_999).then_nothing()
    late = running.when(Tick(), 11_000).then(
        freed("a", 1, BAD), StepTimedOut("bob", "bob-1", "a", "timeout", 1, 16_000, 11_000)
    )
    assert statuses(late.state) == {"a": "retrying"}
    late.when(complete("a", 2), 11_001).then(ResultIgnored("bob", "a", 2, "retrying"))
    again = late.when(Tick(), 16_000).then(wanted("a", attempt=2, since_ms=16_000))
    running = again.when(start("a", 2), 16_000).then(started("a", 100, 16_000, attempt=2, tries=1))
    running.when(Tick(), 26_000).then(
        freed("a", 2, BAD),
        StepTimedOut("bob", "bob-1", "a", "timeout", 2, None, 26_000),
        dead("a", "MaxRetriesExceeded", "TimeoutError", "a run took more than 10000 ms", 2),
        TaskFailed("ada", "a", "MaxRetriesExceeded", 26_000),
    )


def test_time_passes_before_a_command_is_answered() -> None:
    running = after(submit(step("a", retries=0)), start("a"))
    running.when(complete("a", 2), 11_000).then(
        freed("a", 1, BAD),
        StepTimedOut("bob", "bob-1", "a", "timeout", 1, None, 11_000),
        dead("a", "MaxRetriesExceeded", "TimeoutError", "a run took more than 10000 ms", 1),
        TaskFailed("ada", "a", "MaxRetriesExceeded", 11_000),
        ResultIgnored("bob", "a", 2, "failed"),
    )


# -- deadlines and waits


def test_what_passes_its_deadline_is_given_up_at_once() -> None:
    """Ready, running, about to be repeated or waiting for others: the deadline counts from the task's beginning."""
    deadline: dict[str, Any] = {"deadline_ms": 8_000, "optional": True}
    steps = [step("ready", **deadline), step("running", **deadline), step("retrying", **deadline), step("slow")]
    steps += [step("pending", "slow", **deadline), step("join", "ready", "running", "retrying", "pending")]
    then = after(submit(*steps), start("running"), start("retrying"), start("slow"), 5_000, fail("retrying", 3))
    assert decider.deadline_ms(then.state) == 9_000
    then.when(Tick(), 8_999).then_nothing()

    def missed(name: str, tries: int, failures: int, agent: str = "", member: str = "") -> list[Event]:
        return [
            StepTimedOut(agent, member, name, "deadline", failures, None, 9_000),
            dead(name, "DeadlineMissed", "TimeoutError", "not done by its deadline", tries),
        ]

    ended = then.when(Tick(), 9_000).then(
        freed("ready", 1, BAD), *missed("ready", 0, 1),
        freed("running", 1, BAD), *missed("running", 1, 1, "bob", "bob-1"),
        *missed("retrying", 1, 2),
        *missed("pending", 0, 1), wanted("join", since_ms=9_000),
    )  # fmt: skip
    assert [statuses(ended.state)[name] for name in ("ready", "running", "retrying", "pending")] == ["timed_out"] * 4
    ended.when(complete("running", 2), 9_001).then(ResultIgnored("bob", "running", 2, "timed_out"))
    slow = ended.when(complete("slow", 4), 9_001).then(done("slow", 4, 9_001), freed("slow", 1, GOOD))
    inputs = tuple(
        Input(name, "timed_out", None, "not done by its deadline", omitted=False)
        for name in ("ready", "running", "retrying", "pending")
    )
    join = slow.when(start("join"), 9_002).then(started("join", 100, 9_002, inputs=inputs))
    join.when(complete("join", 100), 9_003).then(
        done("join", 100, 9_003), freed("join", 1, GOOD), TaskCompleted("ada", 9_003)
    )


def test_a_deadline_that_is_missed_blocks_what_needs_the_step() -> None:
    running = after(submit(step("a", deadline_ms=3_000), step("b", "a", deadline_ms=3_000)), start("a"))
    assert decider.deadline_ms(running.state) == 4_000, "before the run's own limit"
    running.when(Tick(), 4_000).then(
        freed("a", 1, BAD),
        StepTimedOut("bob", "bob-1", "a", "deadline", 1, None, 4_000),
        dead("a", "DeadlineMissed", "TimeoutError", "not done by its deadline", 1),
        StepsBlocked("a", ("b",)),
        TaskFailed("ada", "a", "DeadlineMissed", 4_000),
    )


def test_a_retry_does_not_outlast_the_deadline() -> None:
    retrying = after(submit(step("a", deadline_ms=3_000)), start("a"), fail("a", 2))
    assert decider.deadline_ms(retrying.state) == 4_000
    late = after(submit(step("a", deadline_ms=11_000)), start("a"), 11_000, Tick())
    assert decider.deadline_ms(late.state) == 12_000


def test_a_start_tells_the_deadline_that_comes_first() -> None:
    ready = after(submit(step("a", deadline_ms=4_000)))
    ready.when(start("a"), 2_000).then(started("a", 100, 2_000, deadline_ms=5_000))


def test_what_nobody_took_expires() -> None:
    ready = after(submit(step("a"), step("b", "a")))
    ready.when(Tick(), T0 + MINUTE - 1).then_nothing()
    ready.when(Tick(), T0 + MINUTE).then(
        freed("a"),
        StepTimedOut("", "", "a", "wait", 0, None, T0 + MINUTE),
        dead("a", "Expired", "TimeoutError", "no agent took it in 60000 ms", 0),
        StepsBlocked("a", ("b",)),
        TaskFailed("ada", "a", "Expired", T0 + MINUTE),
    )


def test_one_decision_lets_so_many_limits_pass_and_the_next_the_others() -> None:
    state = after(submit(*[step(f"s{number}", retries=0) for number in range(DUE_MAX + 5)])).state
    first = decider.decide(state, Tick(), At(T0 + MINUTE, 2, "r"))
    assert sum(isinstance(event, StepDeadLettered) for event in first) == DUE_MAX
    for event in first:
        state = decider.evolve(state, event)
    assert decider.deadline_ms(state) == T0 + MINUTE
    second = decider.decide(state, Tick(), At(T0 + MINUTE, 3, "r"))
    assert sum(isinstance(event, StepDeadLettered) for event in second) == 5
    assert second[-1] == TaskFailed("ada", "s0", "Expired", T0 + MINUTE)


# -- refusals of the team


def refuse(name: str, attempt: int = 1, retry_after_ms: int = 5_000) -> RefuseSteps:
    return RefuseSteps((Refusal(name, attempt, "write", "breaker_open", retry_after_ms),))


def test_a_step_that_the_team_refuses_is_asked_for_again_until_it_has_waited_too_long() -> None:
    ready = after(submit(step("a", wait_ms=8_000)))
    refused = ready.when(refuse("a"), 2_000).then(StepRefused("a", 1, "breaker_open", 7_000))
    assert decider.deadline_ms(refused.state) == 7_000
    refused.when(refuse("a"), 2_500).then_nothing()
    again = refused.when(Tick(), 7_000).then(wanted("a", attempt=2, since_ms=7_000))
    assert decider.deadline_ms(again.state) == 9_000, "it waits since it was asked for first"
    again = again.when(refuse("a", 2), 8_000).then(StepRefused("a", 2, "breaker_open", 13_000))
    assert decider.deadline_ms(again.state) == 9_000
    again = again.when(Tick(), 9_000).then(wanted("a", attempt=3, since_ms=9_000))
    again.when(Tick(), 9_000).then(
        freed("a", 3),
        StepTimedOut("", "", "a", "wait", 0, None, 9_000),
        dead("a", "Expired", "TimeoutError", "no agent took it in 8000 ms", 0),
        TaskFailed("ada", "a", "Expired", 9_000),
    )
    taken = refused.when(Tick(), 7_000).then(wanted("a", attempt=2, since_ms=7_000))
    taken = taken.when(start("a", 2), 7_000).then(started("a", 100, 7_000, attempt=2))
    taken = taken.when(fail("a", 100), 7_000).then(
        freed("a", 2, BAD), StepFailed("bob", "a", 100, "OSError", "no ink", 1, 12_000)
    )
    taken = taken.when(Tick(), 12_000).then(wanted("a", attempt=3, since_ms=12_000))
    assert decider.deadline_ms(taken.state) == 20_000, "it was taken: it waits anew"


def test_a_refusal_without_a_time_is_asked_again_the_next_moment() -> None:
    after(submit(step("a"))).when(refuse("a", 1, 0), 2_000).then(StepRefused("a", 1, "breaker_open", 2_001))


def test_an_optional_step_that_the_team_refuses_is_skipped() -> None:
    steps = (step("a", optional=True), step("b"), step("c", "a", "b"))
    skipped = after(submit(*steps)).when(refuse("a"), 2_000).then(StepRefused("a", 1, "breaker_open", None))
    assert statuses(skipped.state) == {"a": "skipped", "b": "ready", "c": "pending"}
    assert decider.deadline_ms(skipped.state) == T0 + MINUTE
    running = skipped.when(start("b"), 2_000).then(started("b", 100, 2_000))
    inputs = (
        Input("a", "skipped", None, "skipped: breaker_open", omitted=False),
        Input("b", "completed", "1", "", omitted=False),
    )
    running.when(complete("b", 100), 3_000, seq=101).then(
        done("b", 100, 3_000), started("c", 101, 3_000, slot=Slot("b", 1), outcomes=(GOOD,), inputs=inputs)
    )
    alone = after(submit(step("a", optional=True)))
    alone.when(refuse("a"), 2_000).then(StepRefused("a", 1, "breaker_open", None), TaskCompleted("ada", 2_000))


def test_refusals_of_what_does_not_wait_change_nothing() -> None:
    running = after(submit(step("a")), start("a"))
    for command in (refuse("a"), refuse("x"), refuse("a", 2)):
        running.when(command, 2_000).then_nothing()
        given().when(command, 2_000).then_nothing()
    ended = after(submit(step("a")), CancelTask("ada", ""))
    ended.when(refuse("a"), 2_000).then_nothing()
    after(submit(step("a"))).when(refuse("a", 2), 2_000).then_nothing()


def test_refusals_have_bounds() -> None:
    one = Refusal("a", 1, "write", "r", 0)
    many = RefuseSteps((one,) * (STEPS_MAX + 1))
    given().when(many, 2_000).then(rejected("10001 refusals: at most 10000"))
    for bad in (-1, RETRY_AFTER_MS_MAX + 1):
        problem = f"retry_after_ms={bad}: 0 to {RETRY_AFTER_MS_MAX} are possible"
        given().when(refuse("a", 1, bad), 2_000).then(rejected(problem))


# -- losses and returns


def test_what_an_agent_that_is_gone_ran_is_run_again_at_once_and_given_up_at_the_third_loss() -> None:
    given_now = after(submit(step("a"), step("b", "a"))).state
    for attempt in (1, 2):
        state = (
            Given(decider, given_now)
            .when(start("a", attempt), 2_000)
            .then(started("a", 100, 2_000, attempt=attempt, tries=attempt - 1))
        )
        lost = state.when(lose(("a", attempt)), 2_000).then(
            StepLost("bob", "bob-1", "a", attempt, attempt),
            wanted("a", attempt=attempt + 1, since_ms=2_000),
            freed("a", attempt),
        )
        lost.when(complete("a", 100), 2_000).then(ResultIgnored("bob", "a", 100, "ready"))
        lost.when(lose(("a", attempt)), 2_000).then_nothing()
        given_now = lost.state
    running = Given(decider, given_now).when(start("a", 3), 2_000).then(started("a", 100, 2_000, attempt=3, tries=2))
    running.when(lose(("a", 3)), 2_000).then(
        StepLost("bob", "bob-1", "a", 3, 3),
        dead("a", "Crashed", "", "3 agents were lost while they ran it", 3),
        StepsBlocked("a", ("b",)),
        freed("a", 3),
        TaskFailed("ada", "a", "Crashed", 2_000),
    )


def test_failures_do_not_count_as_losses() -> None:
    running = after(
        submit(step("a")), start("a"), lose(("a", 1)), start("a", 2), fail("a", 4), 6_000, Tick(), start("a", 3)
    )
    assert (running.state.steps[0].losses, running.state.steps[0].failures) == (1, 1)
    running.when(lose(("a", 3)), 6_000).then(
        StepLost("bob", "bob-1", "a", 3, 2), wanted("a", attempt=4, since_ms=6_000), freed("a", 3)
    )


def test_what_an_agent_had_been_given_and_not_begun_counts_as_no_loss_and_does_not_wait_anew() -> None:
    ready = after(submit(step("a")))
    lost = ready.when(lose(("a", 1)), 9_000).then(
        StepLost("bob", "bob-1", "a", 1, 0), wanted("a", attempt=2, since_ms=9_000), freed("a")
    )
    assert decider.deadline_ms(lost.state) == T0 + MINUTE
    lost.when(start("a", 1), 9_000).then(StartRefused("bob", "bob-1", "a", 1, "ready"), freed("a", 1))


def test_the_step_is_lost_that_ran_in_the_slot() -> None:
    going_on = after(submit(step("a"), step("b", "a"), step("c")), start("c"), start("a"), complete("a", 3))
    lost = going_on.when(lose(("a", 1), ("x", 1)), 2_000).then(
        StepLost("bob", "bob-1", "b", 1, 1), wanted("b", attempt=2, since_ms=2_000), freed("a")
    )
    assert statuses(lost.state) == {"a": "completed", "b": "ready", "c": "running"}
    lost.when(lose(("a", 1)), 2_000).then_nothing()


def test_a_slot_that_another_member_has_by_now_is_not_lost() -> None:
    running = after(submit(step("a")), start("a", agent="eve"))
    running.when(lose(("a", 1)), 2_000).then_nothing()


def test_losses_of_no_task_or_one_that_ended_change_nothing() -> None:
    given().when(lose(("a", 1)), 2_000).then_nothing()
    after(submit(step("a")), CancelTask("ada", "")).when(lose(("a", 1)), 2_000).then_nothing()
    given().when(lose(*[("a", 1)] * (STEPS_MAX + 1)), 2_000).then(rejected("10001 slots: at most 10000"))


def test_a_step_that_is_returned_is_given_to_another_and_counts_as_no_failure() -> None:
    running = after(submit(step("a")), start("a"))
    back = running.when(ReturnStep("bob", "a", 2), 2_000).then(
        freed("a"), StepReturned("bob", "a", 2), wanted("a", attempt=2, since_ms=2_000)
    )
    progress = back.state.steps[0]
    assert (progress.failures, progress.losses, progress.tries) == (0, 0, 1)
    chain = after(submit(step("a"), step("b", "a")), start("a"), complete("a", 2))
    chain.when(ReturnStep("bob", "b", 3), 2_000).then(
        freed("a", 1, GOOD), StepReturned("bob", "b", 3), wanted("b", attempt=2, since_ms=2_000)
    )


# -- dead letters


def test_a_dead_letter_that_is_retried_begins_anew_with_all_that_it_blocked() -> None:
    steps = (
        step("a", deadline_ms=5_000), step("b", "a", deadline_ms=5_000), step("o", "a", optional=True),
        step("c", "b", "o"), step("x"), step("d", "c", "x"),
    )  # fmt: skip
    failed = after(submit(*steps), start("a"), start("x"), fail("a", 2, final=True), fail("x", 3, final=True))
    assert statuses(failed.state) == {
        "a": "failed", "b": "blocked", "o": "blocked", "c": "blocked", "x": "failed", "d": "blocked"
    }  # fmt: skip
    assert failed.state.status == "failed"
    anew = failed.when(RetryStep("ada", "a"), 90_000).then(
        StepRetried("ada", "a"), wanted("a", attempt=2, since_ms=90_000)
    )
    assert statuses(anew.state) == {
        "a": "ready", "b": "pending", "o": "pending", "c": "pending", "x": "failed", "d": "blocked"
    }  # fmt: skip
    assert (anew.state.status, anew.state.reason, anew.state.left) == ("in_progress", "", 4)
    assert decider.deadline_ms(anew.state) == 90_000 + MINUTE, "its deadline does not count any more"
    run = anew.when(start("a", 2), 90_000).then(started("a", 100, 90_000, attempt=2, tries=1))
    progress = run.state.steps[0]
    assert (progress.failures, progress.losses) == (0, 0)
    inputs = (Input("a", "completed", "1", "", omitted=False),)
    run = run.when(complete("a", 100), 91_000, seq=101).then(
        done("a", 100, 91_000),
        started("b", 101, 91_000, slot=Slot("a", 2), outcomes=(GOOD,), inputs=inputs),
        wanted("o?", since_ms=91_000),
    )
    after_b = run.when(complete("b", 101), 92_000).then(done("b", 101, 92_000), freed("a", 2, GOOD))
    refused = after_b.when(refuse("o"), 92_000).then(
        StepRefused("o", 1, "breaker_open", None), wanted("c", since_ms=92_000)
    )
    assert statuses(refused.state)["c"] == "ready"
    again = refused.when(RetryStep("ada", "x"), 92_000).then(
        StepRetried("ada", "x"), wanted("x", attempt=2, since_ms=92_000)
    )
    assert statuses(again.state)["d"] == "pending"


def test_an_optional_step_that_failed_does_not_keep_a_step_blocked() -> None:
    steps = (step("a"), step("o", optional=True), step("b", "a", "o"))
    failed = after(submit(*steps), start("a"), start("o"), fail("o", 3, final=True), fail("a", 2, final=True))
    assert statuses(failed.state) == {"a": "failed", "o": "failed", "b": "blocked"}
    then = failed.when(RetryStep("ada", "a"), 2_000).then(
        StepRetried("ada", "a"), wanted("a", attempt=2, since_ms=2_000)
    )
    assert statuses(then.state) == {"a": "ready", "o": "failed", "b": "pending"}


def test_a_join_waits_for_a_step_before_it_that_is_retried() -> None:
    steps = (step("a"), step("b"), step("c"), step("j", "a", "b", "c", need=1, capability="draw"))
    failed = after(submit(*steps), start("a"), start("b"), start("c"), fail("a", 2, final=True), RetryStep("ada", "a"))
    running = failed.when(start("a", 2), 2_000).then(started("a", 100, 2_000, attempt=2, tries=1))
    one = running.when(complete("a", 100), 2_000).then(done("a", 100, 2_000), freed("a", 2, GOOD))
    two = one.when(complete("b", 3), 2_000).then(done("b", 3, 2_000), freed("b", 1, GOOD))
    two.when(complete("c", 4), 2_000).then(
        done("c", 4, 2_000), freed("c", 1, GOOD), wanted("j", since_ms=2_000, capability="draw")
    )


def test_a_join_that_had_too_few_runs_when_one_is_retried() -> None:
    steps = (step("a"), step("b"), step("j", "a", "b", need=2, capability="draw"))
    failed = after(submit(*steps), start("a"), start("b"), complete("a", 2), fail("b", 3, final=True))
    assert statuses(failed.state)["j"] == "blocked"
    anew = failed.when(RetryStep("ada", "b"), 2_000).then(
        StepRetried("ada", "b"), wanted("b", attempt=2, since_ms=2_000)
    )
    assert statuses(anew.state)["j"] == "pending"
    run = anew.when(start("b", 2), 2_000).then(started("b", 100, 2_000, attempt=2, tries=1))
    run.when(complete("b", 100), 2_000).then(
        done("b", 100, 2_000), freed("b", 2, GOOD), wanted("j", since_ms=2_000, capability="draw")
    )


def test_a_step_given_up_before_it_could_begin_waits_again_when_it_is_retried() -> None:
    late = after(submit(step("a"), step("b", "a", deadline_ms=3_000)), start("a"), 4_000, Tick())
    assert statuses(late.state) == {"a": "running", "b": "timed_out"}
    anew = late.when(RetryStep("ada", "b"), 5_000).then(StepRetried("ada", "b"))
    assert statuses(anew.state) == {"a": "running", "b": "pending"}
    inputs = (Input("a", "completed", "1", "", omitted=False),)
    anew.when(complete("a", 2), 5_000).then(
        done("a", 2, 5_000), started("b", 100, 5_000, slot=Slot("a", 1), outcomes=(GOOD,), inputs=inputs)
    )
    failed = late.when(fail("a", 2, final=True), 5_000).then(*gives_up("a", 2), TaskFailed("ada", "a", "Failed", 5_000))
    failed.when(RetryStep("ada", "b"), 5_000).then(RetryRefused("ada", "b", "blocked"))


def test_a_join_given_up_before_it_could_begin_is_blocked_when_it_is_retried_and_has_too_few() -> None:
    steps = (step("a"), step("b"), step("j", "a", "b", need=2, deadline_ms=3_000))
    failed = after(submit(*steps), start("a"), start("b"), 4_000, Tick(), complete("a", 2), fail("b", 3, final=True))
    assert statuses(failed.state) == {"a": "completed", "b": "failed", "j": "timed_out"}
    failed.when(RetryStep("ada", "j"), 5_000).then(
        StepRetried("ada", "j"), StepsBlocked("b", ("j",)), TaskFailed("ada", "b", "Failed", 5_000)
    )


def test_a_step_that_failed_is_retried_while_the_task_goes_on() -> None:
    going = after(submit(step("a"), step("b", "a"), step("c")), start("a"), fail("a", 2, final=True))
    then = going.when(RetryStep("ada", "a"), 2_000).then(
        StepRetried("ada", "a"), wanted("a", attempt=2, since_ms=2_000)
    )
    assert statuses(then.state) == {"a": "ready", "b": "pending", "c": "ready"}


def test_what_is_no_dead_letter_is_neither_retried_nor_dropped() -> None:
    steps = (step("a"), step("b", "a"), step("o", optional=True))
    going = after(submit(*steps, step("c")), start("a"), fail("a", 2, final=True), start("o"), fail("o", 4, final=True))
    cases = [(going, "x", "unknown_step"), (going, "b", "blocked"), (going, "c", "ready")]
    cases.append((after(submit(step("a")), start("a"), complete("a", 2)), "a", "completed"))
    cases.append((after(submit(step("a")), CancelTask("ada", "")), "a", "cancelled"))
    skipped = after(submit(step("a", optional=True), step("b")), refuse("a"))
    cases.append((skipped, "a", "skipped"))
    for then, name, reason in cases:
        then.when(RetryStep("ada", name), 2_000).then(RetryRefused("ada", name, reason))
        then.when(DropStep("ada", name, "why"), 2_000).then(RetryRefused("ada", name, reason))
    going.when(RetryStep("ada", "o"), 2_000).then(RetryRefused("ada", "o", "optional"))
    going.when(DropStep("ada", "o", "why"), 2_000).then(StepDropped("ada", "o", "why"))
    given().when(RetryStep("ada", "a"), 2_000).then(TaskUnknown("ada", "RetryStep"))
    given().when(DropStep("ada", "a", ""), 2_000).then(TaskUnknown("ada", "DropStep"))


def test_a_dead_letter_that_was_dropped_is_one_no_more() -> None:
    failed = after(submit(step("a")), start("a"), fail("a", 2, final=True))
    dropped = failed.when(DropStep("ada", "a", "no use"), 2_000).then(StepDropped("ada", "a", "no use"))
    assert statuses(dropped.state) == {"a": "failed"}
    dropped.when(DropStep("ada", "a", "no use"), 2_000).then(RetryRefused("ada", "a", "failed"))
    dropped.when(RetryStep("ada", "a"), 2_000).then(RetryRefused("ada", "a", "failed"))
