"""The sagas decider, branch by branch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import sagas
from accord.schemas.messages.log import CommandRejected, SwitchRules, Tick
from accord.schemas.messages.sagas import (
    BeginSaga,
    CancelSaga,
    CompensationBegun,
    CompleteStep,
    FailStep,
    LeaseRenewed,
    ReadSaga,
    ReleaseSaga,
    RenewalRefused,
    RenewSaga,
    ResultIgnored,
    RetryRefused,
    RetrySaga,
    RunnerLost,
    SagaBegun,
    SagaCompensated,
    SagaCompleted,
    SagaForgotten,
    SagaKnown,
    SagaOffered,
    SagaRead,
    SagaRefused,
    SagaRetried,
    SagaStep,
    SagaStuck,
    SagaTaken,
    SagaUnknown,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepRead,
    StepStarted,
    StepTimedOut,
    TakeRefused,
    TakeSaga,
)
from accord.schemas.messages.signals import EmitSignal
from accord.schemas.messages.tasks import Artifact
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import At, Order, dump, restore
from accord.streams.domains import DOMAINS
from accord.streams.sagas.bounds import (
    ERROR_CHARS_MAX,
    INPUT_BYTES_MAX,
    OFFER_MS,
    OFFER_MS_MAX,
    OFFERS_MAX,
    PAUSE_MS_CAP,
    RESULT_BYTES_MAX,
    STEPS_MAX,
    STUCK_KEEP_MS,
)
from accord.streams.sagas.decider import _ANSWERS, DOMAIN, SagaDecider
from accord.streams.sagas.saga import _CHANGES, Saga, evolve
from accord.streams.signals.decider import TRAIL_MAX
from accord.streams.tasks.bounds import NAME_BYTES_MAX

from tests.streams.spec import Given, Specification

decider = SagaDecider()
given = Specification(decider)
T0 = 1_000
LEASE_MS = 10_000
KEEP_MS = 5_000
TIMEOUT_MS = 4_000
PAUSE_MS = 100


def step(name: str, *, undo: bool = True, **terms: int) -> SagaStep:
    known = {"retries": 0, "undo_retries": 1, "pause_ms": PAUSE_MS, "timeout_ms": TIMEOUT_MS}
    return SagaStep(name, undo, **(known | terms))


TRIP = (step("room"), step("pay"), step("mail", undo=False))


def begin(steps: tuple[SagaStep, ...] = TRIP, **terms: Any) -> BeginSaga:
    known: dict[str, Any] = {
        "agent": "ada", "runner": "r1", "name": "trip", "steps": steps, "input": "{}", "lease_ms": LEASE_MS,
        "keep_ms": KEEP_MS, "trail": (),
    }  # fmt: skip
    return BeginSaga(**(known | terms))


def begun(steps: tuple[SagaStep, ...] = TRIP) -> SagaBegun:
    return SagaBegun("ada", "trip", steps, "{}", KEEP_MS, (), T0)


def taken(attempt: int = 1, now_ms: int = T0, agent: str = "ada", runner: str = "r1") -> SagaTaken:
    return SagaTaken(agent, runner, attempt, LEASE_MS, now_ms + LEASE_MS)


def started(
    name: str, run: int, *, undo: bool = False, tries: int = 0, now_ms: int = T0, agent: str = "ada", runner: str = "r1"
) -> StepStarted:
    return StepStarted(agent, runner, name, undo, run, tries, TIMEOUT_MS, now_ms + TIMEOUT_MS)


def done(name: str, run: int, *, now_ms: int = T0) -> StepCompleted:
    return StepCompleted("ada", name, run, f'"{name}"', now_ms)


def complete(name: str, run: int, *, undo: bool = False, agent: str = "ada") -> CompleteStep:
    return CompleteStep(agent, name, undo, run, "null" if undo else f'"{name}"')


def fail(name: str, run: int, *, undo: bool = False, final: bool = False, in_doubt: bool = False) -> FailStep:
    return FailStep("ada", name, undo, run, "ValueError", "no", final, in_doubt)


def failed(
    name: str, run: int, failures: int, retry_ms: int | None, *, undo: bool = False, in_doubt: bool = False
) -> StepFailed:
    return StepFailed("ada", "r1", name, undo, run, "ValueError", "no", in_doubt, failures, retry_ms)


def undoing(name: str, *names: str, reason: str = "failed", why: str = "ValueError: no", runner: str = "r1") -> Any:
    return CompensationBegun("ada", runner, name, reason, why, names)


def offered(times: int, now_ms: int) -> SagaOffered:
    return SagaOffered("ada", "trip", times, (), now_ms)


def at_step(number: int, steps: tuple[SagaStep, ...] = TRIP) -> Given:
    """A saga whose step of this number runs, as run `number` + 1."""
    history: list[Any] = [begun(steps), taken(), started(steps[0].name, 1)]
    for one in range(number):
        history += [done(steps[one].name, one + 1), started(steps[one + 1].name, one + 2)]
    return given(*history)


def undoing_pay() -> Given:
    """A saga whose last step has failed, and whose payment is being undone by run 4."""
    after = at_step(2).when(fail("mail", 3), T0)
    return after.then(
        failed("mail", 3, 1, None), undoing("mail", "pay", "room"), started("pay", 4, undo=True)
    )  # fmt: skip


# -- forward


def test_a_saga_begins_with_its_first_step() -> None:
    after = given().when(begin(), T0).then(begun(), taken(), started("room", 1))
    assert decider.deadline_ms(after.state) == T0 + TIMEOUT_MS


def test_a_saga_that_is_begun_for_others_is_offered() -> None:
    after = given().when(begin(runner=""), T0).then(begun(), offered(1, T0))
    assert decider.deadline_ms(after.state) == T0 + OFFER_MS
    (order,) = DOMAIN.reactions[SagaOffered]("s1", offered(1, T0))
    assert order == Order(
        "signals", "saga_offered:trip", EmitSignal("ada", json.dumps({"saga": "s1"}, separators=(",", ":")), ())
    )


def test_a_step_that_is_done_brings_the_next_one_and_the_last_one_the_end() -> None:
    after = at_step(0).when(complete("room", 1), T0).then(done("room", 1), started("pay", 2))
    after = after.when(complete("pay", 2), T0).then(done("pay", 2), started("mail", 3))
    after = after.when(complete("mail", 3), T0 + 1).then(
        done("mail", 3, now_ms=T0 + 1), SagaCompleted("ada", "r1", T0 + 1)
    )
    assert decider.deadline_ms(after.state) == T0 + 1 + KEEP_MS
    after.when(Tick(), T0 + KEEP_MS).then_nothing()
    assert after.when(Tick(), T0 + 1 + KEEP_MS).then(SagaForgotten(T0 + 1)).state is None


def test_a_failed_step_is_repeated_after_pauses_that_grow() -> None:
    steps = (step("room", retries=2),)
    after = at_step(0, steps).when(fail("room", 1), T0).then(failed("room", 1, 1, T0 + PAUSE_MS))
    assert decider.deadline_ms(after.state) == T0 + PAUSE_MS
    after.when(Tick(), T0 + PAUSE_MS - 1).then_nothing()
    again = after.when(Tick(), T0 + PAUSE_MS).then(started("room", 2, tries=1, now_ms=T0 + PAUSE_MS))
    again.when(fail("room", 2), T0 + 200).then(failed("room", 2, 2, T0 + 200 + 2 * PAUSE_MS))


def test_pauses_grow_to_a_minute_and_no_further() -> None:
    steps = (step("room", retries=100),)
    state = at_step(0, steps).state
    for now_ms in range(T0, T0 + 100):
        assert state.run is not None
        (event,) = decider.decide(state, fail("room", state.run), At(now_ms, 1, ""))
        state = evolve(state, event)
        pause_ms = event.retry_ms - now_ms
        assert pause_ms == min(PAUSE_MS << (event.failures - 1), PAUSE_MS_CAP)
        for one in decider.decide(state, Tick(), At(event.retry_ms, 1, "")):
            state = evolve(state, one)
        state = given_lease(state)


def given_lease(state: Any) -> Any:
    """A saga whose lease and run are as if they had just begun."""
    return evolve(state, LeaseRenewed("ada", 1, 10**12)) if state.runner else state


def test_no_pause_is_no_pause() -> None:
    steps = (step("room", retries=1, pause_ms=0),)
    at_step(0, steps).when(fail("room", 1), T0).then(failed("room", 1, 1, T0), started("room", 2, tries=1))


# -- backward


def test_the_first_step_that_fails_leaves_nothing_to_undo() -> None:
    at_step(0).when(fail("room", 1), T0).then(
        failed("room", 1, 1, None), undoing("room"), SagaCompensated("ada", "r1", "room", "failed", T0)
    )


def test_those_before_a_failed_step_are_undone_in_reverse_order() -> None:
    after = undoing_pay().when(complete("pay", 4, undo=True), T0)
    after_pay = after.then(StepCompensated("ada", "pay", 4, T0), started("room", 5, undo=True))
    ended = after_pay.when(complete("room", 5, undo=True), T0).then(
        StepCompensated("ada", "room", 5, T0), SagaCompensated("ada", "r1", "mail", "failed", T0)
    )
    assert decider.deadline_ms(ended.state) == T0 + KEEP_MS


def test_what_is_final_is_not_repeated() -> None:
    steps = (step("room"), step("pay", retries=5))
    at_step(1, steps).when(fail("pay", 2, final=True), T0).then(
        failed("pay", 2, 1, None), undoing("pay", "room"), started("room", 3, undo=True)
    )


def test_what_says_that_it_may_have_taken_effect_is_undone_too() -> None:
    at_step(1).when(fail("pay", 2, in_doubt=True), T0).then(
        failed("pay", 2, 1, None, in_doubt=True), undoing("pay", "pay", "room"), started("pay", 3, undo=True)
    )


def test_a_run_that_took_too_long_is_in_doubt_whatever_became_of_the_next() -> None:
    steps = (step("room"), step("pay", retries=1))
    after = at_step(1, steps).when(Tick(), T0 + TIMEOUT_MS)
    late = after.then(StepTimedOut("ada", "r1", "pay", False, 2, 1, T0 + TIMEOUT_MS + PAUSE_MS))
    at_ms = T0 + TIMEOUT_MS + PAUSE_MS
    again = late.when(Tick(), at_ms).then(started("pay", 3, tries=1, now_ms=at_ms))
    again.when(fail("pay", 3), at_ms).then(
        failed("pay", 3, 2, None), undoing("pay", "pay", "room"), started("pay", 4, undo=True, now_ms=at_ms)
    )


def test_a_last_step_without_compensation_is_not_undone_though_in_doubt() -> None:
    at_ms = T0 + TIMEOUT_MS
    after = (
        at_step(2)
        .when(Tick(), at_ms)
        .then(
            StepTimedOut("ada", "r1", "mail", False, 3, 1, None),
            undoing("mail", "pay", "room", reason="timed_out", why=f"TimeoutError: took more than {TIMEOUT_MS} ms"),
            started("pay", 4, undo=True, now_ms=at_ms),
        )
    )
    assert after.state.progress[2].status == "in_doubt"


def test_a_compensation_is_repeated_and_then_given_up() -> None:
    after = undoing_pay().when(fail("pay", 4, undo=True), T0).then(failed("pay", 4, 1, T0 + PAUSE_MS, undo=True))
    at_ms = T0 + PAUSE_MS
    again = after.when(Tick(), at_ms).then(started("pay", 5, undo=True, tries=1, now_ms=at_ms))
    stuck = again.when(fail("pay", 5, undo=True), at_ms).then(failed("pay", 5, 2, None, undo=True), stuck_at(at_ms, 2))
    assert stuck.state.status == "stuck" and not stuck.state.runner
    assert decider.deadline_ms(stuck.state) == at_ms + STUCK_KEEP_MS
    stuck.when(CancelSaga("bob", ""), at_ms).then(SagaKnown("bob", "stuck"))
    stuck.when(TakeSaga("bob", "r2", LEASE_MS), at_ms).then(TakeRefused("bob", "r2", "stuck"))
    retried = stuck.when(RetrySaga("bob"), at_ms).then(SagaRetried("bob", "pay"), offered(1, at_ms))
    assert retried.state.status == "compensating" and retried.state.ended_ms is None
    seen = retried.when(TakeSaga("bob", "r2", LEASE_MS), at_ms)
    back = seen.then(
        taken(2, at_ms, "bob", "r2"),
        seen._events[1],
        started("pay", 6, undo=True, tries=2, now_ms=at_ms, agent="bob", runner="r2"),
    )
    failing = FailStep("bob", "pay", True, 6, "ValueError", "no", False, False)
    fresh = StepFailed("bob", "r2", "pay", True, 6, "ValueError", "no", False, 1, at_ms + PAUSE_MS)
    back.when(failing, at_ms).then(fresh)
    again = back.when(complete("pay", 6, undo=True, agent="bob"), at_ms)
    again.then(
        StepCompensated("bob", "pay", 6, at_ms), started("room", 7, undo=True, now_ms=at_ms, agent="bob", runner="r2")
    )


def stuck_at(now_ms: int, attempts: int, reason: str = "MaxRetriesExceeded") -> SagaStuck:
    return SagaStuck("ada", "r1", "trip", "pay", reason, "ValueError", "no", attempts, now_ms)


def test_failures_of_a_step_do_not_count_for_its_compensation() -> None:
    """Neither those of a step that was done in the end, nor of one that was given up and is in doubt."""
    steps = (step("room", retries=1, pause_ms=0), step("pay", retries=1, pause_ms=0))
    after = at_step(0, steps).when(fail("room", 1), T0).then(failed("room", 1, 1, T0), started("room", 2, tries=1))
    after = after.when(complete("room", 2), T0).then(done("room", 2), started("pay", 3))
    after = after.when(fail("pay", 3), T0).then(failed("pay", 3, 1, T0), started("pay", 4, tries=1))
    after = after.when(fail("pay", 4, in_doubt=True), T0).then(
        failed("pay", 4, 2, None, in_doubt=True), undoing("pay", "pay", "room"), started("pay", 5, undo=True)
    )
    after = after.when(fail("pay", 5, undo=True), T0).then(
        failed("pay", 5, 1, T0, undo=True), started("pay", 6, undo=True, tries=1)
    )
    after = after.when(complete("pay", 6, undo=True), T0).then(
        StepCompensated("ada", "pay", 6, T0), started("room", 7, undo=True)
    )
    after.when(fail("room", 7, undo=True), T0).then(
        failed("room", 7, 1, T0, undo=True), started("room", 8, undo=True, tries=1)
    )


def test_a_final_failure_of_a_compensation_is_given_up_at_once_and_is_a_dead_letter() -> None:
    undoing_pay().when(fail("pay", 4, undo=True, final=True), T0).then(
        failed("pay", 4, 1, None, undo=True), stuck_at(T0, 1, "Failed")
    )
    letter = DOMAIN.dead_letters[SagaStuck](stuck_at(T0, 1))
    assert (letter.queue, letter.reason, letter.attempts, letter.step) == ("saga:trip", "MaxRetriesExceeded", 1, None)
    assert letter.description == "pay is not undone: ValueError: no"


def test_a_stuck_saga_is_forgotten_in_the_end() -> None:
    after = undoing_pay().when(fail("pay", 4, undo=True, final=True), T0)
    stuck = after.then(failed("pay", 4, 1, None, undo=True), stuck_at(T0, 1, "Failed"))
    stuck.when(Tick(), T0 + KEEP_MS).then_nothing()
    assert stuck.when(Tick(), T0 + STUCK_KEEP_MS).then(SagaForgotten(T0)).state is None


# -- cancelling


def test_who_cancels_has_the_step_under_way_undone_too() -> None:
    after = (
        at_step(1)
        .when(CancelSaga("bob", "changed his mind"), T0)
        .then(
            CompensationBegun("bob", "r1", "pay", "cancelled", "changed his mind", ("pay", "room")),
            started("pay", 3, undo=True),
        )
    )
    after.when(complete("pay", 2), T0).then(ResultIgnored("ada", "pay", False, 2, "taken_over"))
    after.when(CancelSaga("bob", ""), T0).then(SagaKnown("bob", "compensating"))


def test_who_cancels_what_nobody_runs_has_it_offered_once() -> None:
    waiting = given(begun(), offered(1, T0))
    waiting.when(CancelSaga("bob", ""), T0).then(
        CompensationBegun("bob", "", "room", "cancelled", "", ()), SagaCompensated("ada", "", "room", "cancelled", T0)
    )
    lost = at_step(1).when(ReleaseSaga("ada", 1, 2), T0).then(lost_run("pay", None, 0, "released"), offered(1, T0))
    lost.when(CancelSaga("bob", ""), T0).then(CompensationBegun("bob", "", "pay", "cancelled", "", ("room",)))


def test_what_has_ended_cannot_be_cancelled_or_retried() -> None:
    ended = given(begun((TRIP[0],)), taken(), started("room", 1), done("room", 1), SagaCompleted("ada", "r1", T0))
    ended.when(CancelSaga("bob", ""), T0).then(SagaKnown("bob", "completed"))
    ended.when(RetrySaga("bob"), T0).then(RetryRefused("bob", "completed"))
    ended.when(TakeSaga("bob", "r2", LEASE_MS), T0).then(TakeRefused("bob", "r2", "completed"))
    ended.when(complete("room", 1), T0).then(ResultIgnored("ada", "room", False, 1, "completed"))
    ended.when(RenewSaga("ada", 1), T0).then(RenewalRefused("ada", 1, "completed"))


# -- runners


def lost_run(name: str, run: int | None, failures: int, reason: str = "lease", *, undo: bool = False) -> RunnerLost:
    return RunnerLost("ada", "r1", 1, reason, name, undo, run, failures)


def test_a_runner_renews_its_lease() -> None:
    steps = (step("room", timeout_ms=2 * LEASE_MS),)
    running = given(
        begun(steps), taken(), StepStarted("ada", "r1", "room", False, 1, 0, 2 * LEASE_MS, T0 + 2 * LEASE_MS)
    )
    after = running.when(RenewSaga("ada", 1), T0 + 9_000).then(LeaseRenewed("ada", 1, T0 + 9_000 + LEASE_MS))
    assert decider.deadline_ms(after.state) == T0 + 9_000 + LEASE_MS
    after.when(RenewSaga("bob", 2), T0 + 9_000).then(RenewalRefused("bob", 2, "taken_over"))


def lease_over(retries: int) -> Given:
    """A saga of which only the payment runs, for longer than the lease of who runs it."""
    steps = (step("room"), step("pay", retries=retries, timeout_ms=2 * LEASE_MS), TRIP[2])
    long = StepStarted("ada", "r1", "pay", False, 2, 0, 2 * LEASE_MS, T0 + 2 * LEASE_MS)
    return given(begun(steps), taken(), started("room", 1), done("room", 1), long)


def test_a_run_whose_runner_is_lost_is_repeated_by_the_next_one() -> None:
    at_ms = T0 + LEASE_MS
    lost = lease_over(1).when(Tick(), at_ms).then(lost_run("pay", 2, 1), offered(1, at_ms))
    lost.when(complete("pay", 2), at_ms).then(ResultIgnored("ada", "pay", False, 2, "not_running"))
    lost.when(RenewSaga("ada", 1), at_ms).then(RenewalRefused("ada", 1, "lost"))
    seen = lost.when(TakeSaga("bob", "r2", LEASE_MS), at_ms)
    read = SagaRead(
        "bob", "ada", "trip", "running", "{}",
        (
            StepRead("room", "completed", 1, 0, '"room"', "", ""),
            StepRead("pay", "running", 1, 0, None, "RunnerLost", "its process (ada) was lost"),
            StepRead("mail", "pending", 0, 0, None, "", ""),
        ),
        "pay", "", "", "", "bob", 2, (), T0, None,
    )  # fmt: skip
    again = StepStarted("bob", "r2", "pay", False, 3, 1, 2 * LEASE_MS, at_ms + 2 * LEASE_MS)
    back = seen.then(taken(2, at_ms, "bob", "r2"), read, again)
    back.when(complete("pay", 2), at_ms).then(ResultIgnored("ada", "pay", False, 2, "taken_over"))
    back.when(TakeSaga("ada", "r1", LEASE_MS), at_ms).then(TakeRefused("ada", "r1", "held"))
    back.when(RenewSaga("ada", 1), at_ms).then(RenewalRefused("ada", 1, "taken_over"))


def test_a_run_whose_runner_is_lost_for_the_last_time_is_undone_with_those_before() -> None:
    at_ms = T0 + LEASE_MS
    lease_over(0).when(Tick(), at_ms).then(
        lost_run("pay", 2, 1),
        undoing("pay", "pay", "room", reason="lost", why="RunnerLost: its process (ada) was lost", runner=""),
        offered(1, at_ms),
    )


def test_a_compensation_whose_runners_are_lost_too_often_is_given_up() -> None:
    at_ms = T0 + LEASE_MS
    long = StepStarted("ada", "r1", "pay", True, 4, 0, 2 * LEASE_MS, T0 + 2 * LEASE_MS)
    steps = (TRIP[0], step("pay", undo_retries=0), TRIP[2])
    history = (begun(steps), taken(), started("room", 1), done("room", 1), started("pay", 2), done("pay", 2))
    running = given(*history, started("mail", 3), failed("mail", 3, 1, None), undoing("mail", "pay", "room"), long)
    running.when(Tick(), at_ms).then(
        lost_run("pay", 4, 1, undo=True),
        SagaStuck(
            "ada", "", "trip", "pay", "MaxRetriesExceeded", "RunnerLost", "its process (ada) was lost", 1, at_ms
        ),
    )  # fmt: skip


def test_what_is_given_back_before_it_was_begun_is_no_failure() -> None:
    at_step(0).when(ReleaseSaga("ada", 1, 1), T0).then(lost_run("room", None, 0, "released"), offered(1, T0))
    steps = (step("room", retries=1),)
    at_step(0, steps).when(ReleaseSaga("ada", 1, None), T0).then(lost_run("room", 1, 1, "released"), offered(1, T0))
    at_step(0).when(ReleaseSaga("ada", 7, None), T0).then(RenewalRefused("ada", 7, "taken_over"))


def test_a_pause_outlasts_its_runner() -> None:
    steps = (step("room", retries=1),)
    paused = at_step(0, steps).when(fail("room", 1), T0).then(failed("room", 1, 1, T0 + PAUSE_MS))
    lost = paused.when(ReleaseSaga("ada", 1, None), T0).then(lost_run("room", None, 1, "released"), offered(1, T0))
    seen = lost.when(TakeSaga("ada", "r2", LEASE_MS), T0 + 1)
    back = seen.then(taken(2, T0 + 1, runner="r2"), seen._events[1])
    at_ms = T0 + PAUSE_MS
    back.when(Tick(), at_ms).then(started("room", 2, tries=1, now_ms=at_ms, runner="r2"))


def test_it_is_offered_again_at_growing_intervals_and_so_often() -> None:
    after = given(begun(), offered(1, T0))
    now_ms = T0
    for times in range(2, 12):
        now_ms += min(OFFER_MS << (times - 2), OFFER_MS_MAX)
        after = after.when(Tick(), now_ms).then(offered(times, now_ms))
    last = given(begun(), offered(OFFERS_MAX, T0))
    assert decider.deadline_ms(last.state) is None
    last.when(RetrySaga("bob"), T0).then(offered(OFFERS_MAX + 1, T0))
    at_step(0).when(RetrySaga("bob"), T0).then(RetryRefused("bob", "running"))


def test_what_comes_first_happens_first() -> None:
    """The run took too long, then the lease was over: a tick may tell both."""
    steps = (step("room", retries=1),)
    late_ms = T0 + 10 * LEASE_MS
    at_step(0, steps).when(Tick(), late_ms).then(
        StepTimedOut("ada", "r1", "room", False, 1, 1, late_ms + PAUSE_MS),
        lost_run("room", None, 1),
        offered(1, late_ms),
    )


def test_of_runs_no_other_counts_than_the_one_under_way() -> None:
    for command in (complete("pay", 1), complete("room", 1, undo=True), complete("room", 2)):
        expected = ResultIgnored("ada", command.step, command.undo, command.run, "taken_over")
        at_step(0).when(command, T0).then(expected)
    at_step(0).when(fail("room", 9), T0).then(ResultIgnored("ada", "room", False, 9, "taken_over"))


# -- what is known, what cannot be


def test_the_same_saga_again_is_known_and_another_refused() -> None:
    at_step(0).when(begin(agent="bob", runner="r9"), T0).then(SagaKnown("bob", "running"))
    at_step(0).when(begin((step("room", retries=9), *TRIP[1:])), T0).then(SagaKnown("ada", "running"))
    for other in (begin(input="1"), begin(name="tour"), begin(TRIP[:2]), begin((*TRIP[:2], step("mail")))):
        at_step(0).when(other, T0).then(SagaRefused("ada", "exists"))


def test_too_many_events_in_a_row_begin_none() -> None:
    given().when(begin(trail=("e",) * (TRAIL_MAX + 1)), T0).then(SagaRefused("ada", "circular_trigger"))


@pytest.mark.parametrize(
    "command",
    [
        TakeSaga("ada", "r1", LEASE_MS),
        RenewSaga("ada", 1),
        ReleaseSaga("ada", 1, None),
        complete("room", 1),
        fail("room", 1),
        CancelSaga("ada", ""),
        RetrySaga("ada"),
        ReadSaga("ada"),
    ],
)
def test_there_is_no_such_saga(command: Any) -> None:
    given().when(command, T0).then(SagaUnknown("ada", type(command).__name__))
    given().when(Tick(), T0).then_nothing()


def test_a_saga_tells_how_it_stands() -> None:
    seen = undoing_pay().when(ReadSaga("eve"), T0)
    (read,) = seen._events
    assert isinstance(read, SagaRead)
    assert (read.status, read.at, read.failed_step, read.reason) == ("compensating", "pay", "mail", "failed")
    assert [one.status for one in read.steps] == ["completed", "compensating", "failed"]
    assert [one.undo_tries for one in read.steps] == [0, 1, 0]


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (begin(()), "0 steps: 1 to 50 are possible"),
        (begin((step("a", undo=False), step("b"))), "the step 'a' has no compensation, and 'b' comes after it"),
        (begin((step("a"), step("a"))), "one is named twice"),
        (begin((step(""),)), "is no name"),
        (begin((step("a", retries=101),)), "retries=101 of the step 'a'"),
        (begin((step("a", undo_retries=-1),)), "undo_retries=-1"),
        (begin((step("a", timeout_ms=1),)), "timeout_ms=1"),
        (begin((step("a", pause_ms=-1),)), "pause_ms=-1"),
        (begin(name="n" * (NAME_BYTES_MAX + 1)), "the name of a saga"),
        (begin(input="1" * (INPUT_BYTES_MAX + 1)), "the input of a saga has at most 65536 bytes"),
        (begin(input=Artifact("sha256:", 1, "a")), "its digest is"),
        (begin(lease_ms=1), "lease_ms=1"),
        (begin(keep_ms=-1), "keep_ms=-1"),
        (begin(trail=("e" * 300,)), "trail: a name has at most"),
        (TakeSaga("ada", "r" * 300, LEASE_MS), "runner has more than"),
        (CompleteStep("ada", "room", False, 1, "1" * (RESULT_BYTES_MAX + 1)), "a result has at most 8192 bytes"),
    ],
)
def test_what_cannot_be_is_rejected(command: Any, what: str) -> None:
    (rejected,) = decider.decide(None, command, At(T0, 1, ""))
    assert isinstance(rejected, CommandRejected) and what in rejected.description


def test_long_errors_are_cut() -> None:
    command = FailStep("ada", "room", False, 1, "ValueError", "x" * 10_000, False, False)
    event = at_step(0).when(command, T0)._events[0]
    assert isinstance(event, StepFailed) and len(event.error) == ERROR_CHARS_MAX


def test_a_command_of_another_domain_is_a_bug() -> None:
    with pytest.raises(TypeError, match="the sagas domain has no command"):
        decider.decide(None, SwitchRules(1, 2), At(T0, 1, ""))
    with pytest.raises(TypeError, match="the sagas domain has no event"):
        evolve(None, CommandRejected("invalid", ""))


def test_every_command_and_event_is_known() -> None:
    assert set(_ANSWERS) == {*sagas.COMMANDS, Tick} and set(_CHANGES) == set(sagas.EVENTS)
    assert DOMAINS["sagas"] is DOMAIN


def test_what_a_runner_is_told_fits_a_decision() -> None:
    """The largest saga there can be: all results, all errors."""
    steps = tuple(step(f"{n:02}" + "n" * (NAME_BYTES_MAX - 2), retries=1) for n in range(STEPS_MAX))
    state = given().when(begin(steps, input='"' + "i" * (INPUT_BYTES_MAX - 2) + '"'), T0)
    saga: Any = None
    for event in state._events:
        saga = evolve(saga, event)
    result = '"' + "r" * (RESULT_BYTES_MAX - 2) + '"'
    for one in steps:
        error = FailStep("ada", one.name, False, saga.run, "E" * 255, "\U0001f642" * ERROR_CHARS_MAX, False, False)
        for command, now_ms in ((error, T0), (Tick(), T0 + PAUSE_MS), (None, T0 + PAUSE_MS)):
            sent = command or CompleteStep("ada", one.name, False, saga.run, result)
            for event in decider.decide(saga, sent, At(now_ms, 1, "")):
                saga = evolve(saga, event)
        if one is steps[-2]:
            break
    assert saga.at == STEPS_MAX - 1 and saga == restore(dump(saga), Saga)
    lost = list(decider.decide(saga, ReleaseSaga("ada", 1, None), At(T0, 1, "")))
    for event in lost:
        saga = evolve(saga, event)
    told = list(decider.decide(saga, TakeSaga("bob", "r2", LEASE_MS), At(T0, 1, "")))
    assert len(events_codec("sagas").encode(told)) < 2 * DECISION_BYTES_MAX // 3 + 50_000
