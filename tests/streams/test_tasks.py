"""The task decider, branch by branch."""

from __future__ import annotations

from typing import Any, get_type_hints

import msgspec
import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import Command, Event, tasks
from accord.schemas.messages.locks import LockReleased
from accord.schemas.messages.log import CommandRejected, SwitchRules, Tick
from accord.schemas.messages.roster import FreeAgents, RequestAgents
from accord.schemas.messages.tasks import (
    AgentsFreed,
    AgentsWanted,
    Artifact,
    CancelTask,
    CompleteStep,
    DropStep,
    EndedRun,
    FailStep,
    Freed,
    Input,
    LoseSteps,
    Outcome,
    Payload,
    ReadTask,
    Refusal,
    RefuseSteps,
    ResultIgnored,
    RetryRefused,
    RetryStep,
    ReturnStep,
    Slot,
    StartRefused,
    StartStep,
    Step,
    StepCompleted,
    StepDeadLettered,
    StepDropped,
    StepFailed,
    StepLost,
    StepRead,
    StepRefused,
    StepRetried,
    StepReturned,
    StepsBlocked,
    StepStarted,
    StepTimedOut,
    SubmitTask,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskForgotten,
    TaskKnown,
    TaskRead,
    TaskRefused,
    TaskSubmitted,
    TaskUnknown,
    Wanted,
)
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import At, Order, dump, restore
from accord.streams.domains import DOMAINS
from accord.streams.tasks.bounds import (
    ARTIFACT_BYTES_MAX,
    CAPABILITIES_MAX,
    DUE_MAX,
    ERROR_CHARS_MAX,
    FAILED_KEEP_MS,
    GRAPH_BYTES_MAX,
    INPUT_BYTES_MAX,
    LIMIT_MS_MAX,
    NAME_BYTES_MAX,
    RETRIES_MAX,
    RETRY_AFTER_MS_MAX,
    RUN_ERROR_CHARS_MAX,
    RUNS_KEPT,
    START_BYTES_MAX,
    STEPS_MAX,
    TIMEOUT_MS_MAX,
    TIMEOUT_MS_MIN,
)
from accord.streams.tasks.decider import _ANSWERS, DOMAIN, TaskDecider
from accord.streams.tasks.task import _CHANGES, Task, evolve

from tests.streams.spec import Given, Specification

decider = TaskDecider()
given = Specification(decider)
T0 = 1_000
"""When tasks are submitted here."""
SKILLS = ("write",)
GOOD, BAD = Outcome("write", completed=True), Outcome("write", completed=False)
MINUTE = 60_000


def step(name: str, *after: str, **terms: Any) -> Step:
    defaults: dict[str, Any] = {
        "capability": "write", "retries": 3, "timeout_ms": 10_000, "wait_ms": MINUTE, "deadline_ms": None,
        "optional": False, "need": None,
    }  # fmt: skip
    return Step(name, after, **(defaults | terms))


def submit(*steps: Step, **terms: Any) -> SubmitTask:
    defaults: dict[str, Any] = {"agent": "ada", "type": "graph", "team": "team", "input": "{}", "keep_ms": MINUTE}
    return SubmitTask(steps=steps, **(defaults | terms))


def start(name: str, attempt: int = 1, agent: str = "bob", skills: tuple[str, ...] = SKILLS) -> StartStep:
    return StartStep(agent, f"{agent}-1", "team", name, attempt, skills)


def complete(name: str, token: int, result: Payload = "1", agent: str = "bob") -> CompleteStep:
    return CompleteStep(agent, name, token, result)


def fail(name: str, token: int, *, final: bool = False, error: str = "no ink") -> FailStep:
    return FailStep("bob", name, token, "OSError", error, final)


def after(*done: Command | int) -> Given:
    """What is there after commands; a number is when those after it are decided. The first one is decision 1."""
    state: Task | None = None
    now_ms, seq = T0, 0
    for one in done:
        if isinstance(one, int):
            now_ms = one
            continue
        seq += 1
        for event in decider.decide(state, one, At(now_ms, seq, f"r{seq}")):
            assert type(event) is not CommandRejected, event
            state = decider.evolve(state, event)
    return Given(decider, state)


def wanted(*names: str, attempt: int = 1, since_ms: int = T0, capability: str = "write", **_: Any) -> AgentsWanted:
    """A name with `?` is of an optional step."""
    return AgentsWanted(
        "team", tuple(Wanted(name.rstrip("?"), attempt, capability, name.endswith("?")) for name in names), since_ms
    )


def freed(name: str, attempt: int = 1, *outcomes: Outcome) -> AgentsFreed:
    return AgentsFreed("team", (Freed(name, attempt, outcomes),))


def started(name: str, token: int = 100, now_ms: int = T0, **terms: Any) -> StepStarted:
    defaults: dict[str, Any] = {
        "agent": "bob", "member": "bob-1", "attempt": 1, "outcomes": (), "slot": Slot(name, terms.get("attempt", 1)),
        "capabilities": SKILLS, "timeout_ms": 10_000, "deadline_ms": now_ms + 10_000, "tries": 0, "input": "{}",
        "inputs": (), "type": "graph", "capability": "write",
    }  # fmt: skip
    return StepStarted(step=name, token=token, **(defaults | terms))


def done(name: str, token: int, now_ms: int = T0, result: Payload = "1") -> StepCompleted:
    return StepCompleted("bob", name, token, result, now_ms)


def dead(name: str, reason: str, error_type: str, error: str, attempts: int) -> StepDeadLettered:
    return StepDeadLettered(name, "write", reason, error_type, error, attempts)


def given_up(name: str, attempts: int = 1, error: str = "no ink") -> StepDeadLettered:
    return dead(name, "Failed", "OSError", error, attempts)


def gives_up(name: str, token: int) -> tuple[AgentsFreed, StepFailed, StepDeadLettered]:
    """What a final failure of a step's first run brings at least."""
    return freed(name, 1, BAD), StepFailed("bob", name, token, "OSError", "no ink", 1, None), given_up(name)


def statuses(state: Task) -> dict[str, str]:
    return {one.name: state.steps[number].status for number, one in enumerate(state.graph)}


def rejected(text: str) -> CommandRejected:
    return CommandRejected("invalid", text)


# -- to submit


def test_a_task_begins_with_the_steps_that_need_nothing() -> None:
    command = submit(step("a"), step("b", "a"), step("c", optional=True))
    submitted = TaskSubmitted("ada", "graph", "team", "{}", command.steps, MINUTE, T0)
    wants = AgentsWanted("team", (Wanted("a", 1, "write", urgent=False), Wanted("c", 1, "write", urgent=True)), T0)
    then = given().when(command, T0).then(submitted, wants)
    assert statuses(then.state) == {"a": "ready", "b": "pending", "c": "ready"}
    assert then.state.status == "in_progress"
    assert decider.deadline_ms(then.state) == T0 + MINUTE


def test_the_same_once_more_changes_nothing_and_another_is_refused() -> None:
    same, other = submit(step("a")), submit(step("a"), type="other")
    begun = after(same)
    begun.when(same, 2_000).then(TaskKnown("ada", "in_progress"))
    begun.when(other, 2_000).then(TaskRefused("ada", "graph"))
    for changed in (submit(step("b")), submit(step("a"), team="x"), submit(step("a"), input="1")):
        begun.when(changed, 2_000).then(TaskRefused("ada", "graph"))
    begun.when(submit(step("a"), keep_ms=5, agent="eve"), 2_000).then(TaskKnown("eve", "in_progress"))
    after(same, start("a"), complete("a", 2)).when(same, 2_000).then(TaskKnown("ada", "completed"))


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ((), "0 steps: 1 to 10000 are possible"),
        ((step("a"), step("b"), step("a")), "the step 'a' is defined twice"),
        ((step("a", "x"),), "the step 'a' comes after 'x', which is no step"),
        ((step("a"), step("b", "a", "a")), "the step 'b' names a step twice that it comes after"),
        ((step("a", "a"),), "the steps go in a circle: a -> a"),
        ((step("x"), step("a", "c"), step("b", "a"), step("c", "b", "x")),
         "the steps go in a circle: c -> a -> b -> c"),
        ((step(""),), "step: '' is no name; one has 1 to 200 bytes"),
        ((step("a" * (NAME_BYTES_MAX + 1)),), f"step: '{'a' * 40}' is no name; one has 1 to 200 bytes"),
        ((step("é" * 101),), f"step: '{'é' * 40}' is no name; one has 1 to 200 bytes"),
        ((step("a", capability=""),), "step: '' is no name; one has 1 to 200 bytes"),
        ((step("a"), step("b", "a", need=2)), "the step 'b' needs 2 of 1 steps"),
        (
            (step("a", *["x"] * 10_001),),
            "the step 'a' comes after 10001: at most 10000 are possible",
        ),
    ],
)  # fmt: skip
def test_what_is_no_graph_is_rejected(steps: tuple[Step, ...], problem: str) -> None:
    assert given().when(submit(*steps), T0).then(rejected(problem)).state is None


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("retries", 0, RETRIES_MAX),
        ("timeout_ms", TIMEOUT_MS_MIN, TIMEOUT_MS_MAX),
        ("wait_ms", 0, LIMIT_MS_MAX),
        ("deadline_ms", 1, LIMIT_MS_MAX),
    ],
)
def test_the_numbers_of_a_step_have_bounds(name: str, low: int, high: int) -> None:
    for good in (low, high):
        assert after(submit(step("a", **{name: good}))).state is not None
    for bad in (low - 1, high + 1):
        problem = f"{name}={bad} of the step 'a': {low} to {high} are possible"
        given().when(submit(step("a", **{name: bad})), T0).then(rejected(problem))


def test_a_join_needs_none_to_all() -> None:
    for good in (0, 2):
        assert after(submit(step("a"), step("b"), step("c", "a", "b", need=good))).state is not None
    given().when(submit(step("a"), step("b", "a", need=-1)), T0).then(
        rejected("need=-1 of the step 'b': 0 to 10000 are possible")
    )


def test_the_other_bounds_of_a_task() -> None:
    many = tuple(step(f"s{number}") for number in range(STEPS_MAX + 1))
    given().when(submit(*many), T0).then(rejected("10001 steps: 1 to 10000 are possible"))
    assert after(submit(*many[:-1])).state is not None
    long = [step(f"{number:04}" + "x" * 96, capability="y" * 100) for number in range(GRAPH_BYTES_MAX // 216 + 1)]
    size = len(long) * 216
    problem = f"the names and capabilities of all steps have {size} bytes: at most {GRAPH_BYTES_MAX} are possible"
    given().when(submit(*long), T0).then(rejected(problem))
    assert after(submit(*long[:-1])).state is not None
    problem = f"the input of a task has at most {INPUT_BYTES_MAX} bytes; what is larger is an artifact"
    given().when(submit(step("a"), input="é" * (INPUT_BYTES_MAX // 2 + 1)), T0).then(rejected(problem))
    assert after(submit(step("a"), input="é" * (INPUT_BYTES_MAX // 2))).state is not None
    for team in ("", "x" * 201):
        given().when(submit(step("a"), team=team), T0).then(rejected("a team's name has 1 to 200 bytes"))
    given().when(submit(step("a"), keep_ms=-1), T0).then(rejected(f"keep_ms=-1: 0 to {LIMIT_MS_MAX} are possible"))


# -- to run


def test_a_step_is_started_by_who_was_given_it() -> None:
    command = submit(step("a"), input='{"n": 1}')
    then = after(command).when(start("a"), 2_000).then(started("a", 100, 2_000, input='{"n": 1}'))
    assert statuses(then.state) == {"a": "running"}
    assert decider.deadline_ms(then.state) == 12_000


def test_who_comes_twice_or_too_late_or_for_nothing_is_refused_and_gives_the_slot_back() -> None:
    running = after(submit(step("a"), step("b", "a")), start("a"))
    running.when(start("a"), 2_000).then(StartRefused("bob", "bob-1", "a", 1, "running"))
    for other, attempt in (("eve", 1), ("bob", 2)):
        refused = StartRefused(other, f"{other}-1", "a", attempt, "running")
        running.when(start("a", attempt, other), 2_000).then(refused, freed("a", attempt))
    running.when(start("b"), 2_000).then(StartRefused("bob", "bob-1", "b", 1, "pending"), freed("b"))
    running.when(start("x"), 2_000).then(StartRefused("bob", "bob-1", "x", 1, "unknown_step"), freed("x"))
    given().when(start("a"), 2_000).then(StartRefused("bob", "bob-1", "a", 1, "unknown_task"), freed("a"))
    ended = after(submit(step("a")), start("a"), complete("a", 2))
    ended.when(start("a"), 2_000).then(StartRefused("bob", "bob-1", "a", 1, "completed"), freed("a"))
    ready = after(submit(step("a")))
    ready.when(start("a", 2), 2_000).then(StartRefused("bob", "bob-1", "a", 2, "ready"), freed("a", 2))


def test_a_slot_in_which_the_agent_went_on_is_not_given_back_by_a_repeated_start() -> None:
    going_on = after(submit(step("a"), step("b", "a")), start("a"), complete("a", 2))
    going_on.when(start("a"), 2_000).then(StartRefused("bob", "bob-1", "a", 1, "completed"))
    refused = StartRefused("eve", "eve-1", "a", 1, "completed")
    going_on.when(start("a", agent="eve"), 2_000).then(refused, freed("a"))


def test_the_last_step_ends_the_task() -> None:
    running = after(submit(step("a"), keep_ms=5_000), start("a"))
    ended = running.when(complete("a", 2, '"text"'), 3_000).then(
        done("a", 2, 3_000, '"text"'), freed("a", 1, GOOD), TaskCompleted("ada", 3_000)
    )
    assert decider.deadline_ms(ended.state) == 8_000
    assert ended.state.status == "completed"


def test_the_agent_goes_on_with_a_step_after_it_in_the_same_slot() -> None:
    running = after(submit(step("a"), step("b", "a"), step("c", "a"), step("d", "a", capability="draw")), start("a"))
    inputs = (Input("a", "completed", "7", "", omitted=False),)
    others = AgentsWanted("team", (Wanted("c", 1, "write", urgent=False), Wanted("d", 1, "draw", urgent=False)), 3_000)
    following = running.when(complete("a", 2, "7"), 3_000).then(
        done("a", 2, 3_000, "7"),
        started("b", 100, 3_000, slot=Slot("a", 1), outcomes=(GOOD,), inputs=inputs),
        others,
    )
    assert statuses(following.state) == {"a": "completed", "b": "running", "c": "ready", "d": "ready"}
    following.when(complete("b", 100), 4_000, seq=101).then(done("b", 100, 4_000), freed("a", 1, GOOD))


def test_what_an_agent_did_in_a_slot_is_told_once_for_each_capability() -> None:
    steps = [step("a"), step("b", "a"), step("c", "b", capability="draw"), step("d", "c"), step("e", "d")]
    both = ("write", "draw")
    chain = after(
        submit(*steps), start("a", skills=both), complete("a", 2), complete("b", 3), complete("c", 4), complete("d", 5)
    )
    drew = Outcome("draw", completed=True)
    chain.when(complete("e", 6), 2_000).then(
        done("e", 6, 2_000), freed("a", 1, GOOD, drew), TaskCompleted("ada", 2_000)
    )
    chain.when(fail("e", 6, final=True), 2_000).then(
        freed("a", 1, GOOD, drew, BAD), StepFailed("bob", "e", 6, "OSError", "no ink", 1, None), given_up("e"),
        TaskFailed("ada", "e", "Failed", 2_000),
    )  # fmt: skip


def test_another_agent_is_asked_for_what_he_is_not_able_to_do() -> None:
    running = after(submit(step("a"), step("b", "a", capability="draw")), start("a"))
    running.when(complete("a", 2), 3_000).then(
        done("a", 2, 3_000), freed("a", 1, GOOD), wanted("b", since_ms=3_000, capability="draw")
    )


def test_every_start_tells_the_trace_of_who_submitted_the_task() -> None:
    """Of the first run, of one after a failure, and of the next step."""
    task = submit(step("a"), step("b", "a"), trace="00-1-2-01")
    after(task).when(start("a"), T0).then(started("a", trace="00-1-2-01"))
    again = after(task, start("a"), fail("a", 2), 6_000, Tick())
    again.when(start("a", 2), 6_000).then(started("a", now_ms=6_000, attempt=2, tries=1, trace="00-1-2-01"))
    events = decider.decide(after(task, start("a")).state, complete("a", 2), At(T0, 3, "r3"))
    assert [(one.step, one.trace) for one in events if isinstance(one, StepStarted)] == [("b", "00-1-2-01")]


def test_a_trace_is_no_part_of_what_a_task_is() -> None:
    after(submit(step("a"), trace="00-1-2-01")).when(submit(step("a"), trace="00-3-4-01"), 2_000).then(
        TaskKnown("ada", "in_progress")
    )
    given().when(submit(step("a"), trace="t" * 256), T0).then(rejected("trace has more than 255 bytes"))


@pytest.mark.parametrize("word", [complete, fail, lambda name, token: ReturnStep("bob", name, token)])
def test_the_word_of_another_run_is_ignored_and_recorded(word: Any) -> None:
    again = after(submit(step("a")), start("a"), fail("a", 2), 6_000, Tick(), start("a", 2))
    again.when(word("a", 2), 6_500).then(ResultIgnored("bob", "a", 2, "taken_over"))
    again.when(word("x", 2), 6_500).then(ResultIgnored("bob", "x", 2, "unknown_step"))
    after(submit(step("a"))).when(word("a", 2), 2_000).then(ResultIgnored("bob", "a", 2, "ready"))
    two = after(submit(step("a"), step("b")), start("a"), complete("a", 2))
    two.when(word("a", 2), 2_000).then(ResultIgnored("bob", "a", 2, "completed"))
    ended = after(submit(step("a")), start("a"), complete("a", 2))
    ended.when(word("a", 2), 2_000).then(ResultIgnored("bob", "a", 2, "completed"))
    cancelled = after(submit(step("a")), start("a"), CancelTask("ada", "why"))
    cancelled.when(word("a", 2), 2_000).then(ResultIgnored("bob", "a", 2, "cancelled"))
    kind = type(word("a", 2)).__name__
    given().when(word("a", 2), 2_000).then(TaskUnknown("bob", kind))


def test_a_result_has_a_bound() -> None:
    running = after(submit(step("a")), start("a"))
    problem = f"a result has at most {INPUT_BYTES_MAX} bytes; what is larger is an artifact"
    running.when(complete("a", 2, "é" * (INPUT_BYTES_MAX // 2 + 1)), 2_000).then(rejected(problem))


BOOK = Artifact("sha256:" + "ab" * 32, 3_000_000, "application/json")


def test_an_input_or_result_may_be_an_artifact() -> None:
    begun = after(submit(step("a"), step("b", "a"), input=BOOK), start("a"))
    told: dict[str, Any] = {"input": BOOK, "inputs": (Input("a", "completed", BOOK, "", omitted=False),)}
    begun.when(complete("a", 2, BOOK), 2_000).then(
        done("a", 2, 2_000, BOOK),
        started("b", 100, 2_000, slot=Slot("a", 1), outcomes=(GOOD,), **told),
    )
    task = after(submit(step("a"), step("b", "a"), input=BOOK), start("a"), complete("a", 2, BOOK)).state
    assert restore(dump(task), Task) == task


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"digest": "md5:00"}, "the artifact 'md5:00': its digest is sha256: and 64 hexadecimal digits"),
        ({"digest": BOOK.digest + "\n"}, "hexadecimal digits"),
        ({"size_bytes": -1}, f"an artifact of -1 bytes: 0 to {ARTIFACT_BYTES_MAX} are possible"),
        ({"size_bytes": ARTIFACT_BYTES_MAX + 1}, f"0 to {ARTIFACT_BYTES_MAX} are possible"),
        ({"media_type": ""}, "an artifact whose media type is none: it has 1 to 200 bytes"),
        ({"media_type": "x" * 201}, "an artifact whose media type is none"),
    ],
)
def test_what_names_no_artifact_is_rejected(wrong: dict[str, Any], problem: str) -> None:
    artifact = msgspec.structs.replace(BOOK, **wrong)
    running = after(submit(step("a")), start("a"))
    for decided in (
        given().when(submit(step("a"), input=artifact), T0),
        running.when(complete("a", 2, artifact), 2_000),
    ):
        (event,) = decided._events
        assert isinstance(event, CommandRejected) and problem in event.description


# -- results of the steps before


def test_a_step_is_told_what_those_before_it_brought() -> None:
    steps = (step("a", optional=True), step("b"), step("c", "b", "a"))
    ready = after(submit(*steps), start("a"), start("b"), fail("a", 2, final=True), complete("b", 3, '"B"'))
    assert statuses(ready.state) == {"a": "failed", "b": "completed", "c": "running"}
    lost = LoseSteps("bob", "bob-1", (Slot("b", 1),))
    inputs = (
        Input("b", "completed", '"B"', "", omitted=False),
        Input("a", "failed", None, "no ink", omitted=False),
    )
    again = ready.when(lost, 2_000).then(
        StepLost("bob", "bob-1", "c", 1, 1), wanted("c", attempt=2, since_ms=2_000), freed("b")
    )
    again.when(start("c", 2), 2_000).then(started("c", 100, 2_000, attempt=2, tries=1, inputs=inputs))


def test_results_that_are_too_large_together_are_left_out() -> None:
    result = "é" * (INPUT_BYTES_MAX // 2)
    assert 2 * INPUT_BYTES_MAX < START_BYTES_MAX < 3 * INPUT_BYTES_MAX
    steps = [step(name) for name in "abcd"]
    ready = after(
        submit(*steps, step("e", "a", "b", "c", "d", capability="draw")), *[start(name) for name in "abcd"],
        complete("a", 2, result), complete("b", 3, result), complete("c", 4, result), complete("d", 5, "1"),
    )  # fmt: skip
    run = StartStep("eve", "eve-1", "team", "e", 1, ("draw",))
    (event,) = decider.decide(ready.state, run, At(2_000, 9, "r"))
    assert isinstance(event, StepStarted)
    assert [(one.omitted, one.result) for one in event.inputs] == [
        (False, result), (False, result), (True, None), (False, "1")
    ]  # fmt: skip


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


def lose(*slots: tuple[str, int], member: str = "bob-1") -> LoseSteps:
    return LoseSteps("bob", member, tuple(Slot(*slot) for slot in slots))


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


# -- joins, optional steps, blocked ones


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


# -- to cancel


def test_a_task_that_is_cancelled_gives_its_agents_back() -> None:
    steps = (step("a"), step("b", "a"), step("c"), step("d"), step("e", "d"))
    running = after(submit(*steps), start("a"), complete("a", 2), start("d", agent="eve"))
    cancelled = running.when(CancelTask("kim", "enough"), 5_000).then(
        TaskCancelled("kim", "enough", "ada", ("bob", "eve"), 5_000),
        AgentsFreed("team", (Freed("a", 1, (GOOD,)), Freed("c", 1, ()), Freed("d", 1, ()))),
    )
    assert decider.deadline_ms(cancelled.state) == 5_000 + MINUTE, "nothing else happens any more"
    assert (cancelled.state.status, cancelled.state.reason) == ("cancelled", "enough")
    cancelled.when(CancelTask("kim", "again"), 5_001).then(TaskKnown("kim", "cancelled"))
    retrying = after(submit(step("a")), start("a"), fail("a", 2))
    retrying.when(CancelTask("ada", ""), 5_000).then(TaskCancelled("ada", "", "ada", (), 5_000))
    given().when(CancelTask("ada", ""), 5_000).then(TaskUnknown("ada", "CancelTask"))


# -- to read


def runs_of(given: Given, now_ms: int) -> tuple[EndedRun, ...]:
    read = decider.decide(given.state, ReadTask("eve", (), 0), At(now_ms, 100, "new"))[-1]
    assert isinstance(read, TaskRead)
    return read.steps[0].runs


def test_runs_that_brought_no_result_are_told_whatever_came_of_the_step() -> None:
    ended = after(
        submit(step("a", retries=9)), start("a"), fail("a", 2), 6_000, Tick(), start("a", 2), 16_000, Tick(),
        26_000, Tick(), start("a", 3, "cat"), ReturnStep("cat", "a", 8), start("a", 4), lose(("a", 4)),
        lose(("a", 5)), start("a", 6), complete("a", 13),
    )  # fmt: skip
    assert runs_of(ended, 27_000) == (
        EndedRun("bob", "failed", "no ink"),
        EndedRun("bob", "timed_out", ""),
        EndedRun("cat", "returned", ""),
        EndedRun("bob", "lost", ""),
    ), "the fifth request brought an agent that was gone before it had begun"


def test_no_more_than_some_runs_are_remembered_and_not_all_that_went_wrong() -> None:
    again: list[Command | int] = [submit(step("a", retries=99, wait_ms=60 * MINUTE))]
    for number in range(RUNS_KEPT + 1):
        error = f"{number} " + "x" * RUN_ERROR_CHARS_MAX
        again += [start("a", number + 1), fail("a", 3 * number + 2, error=error), 20_000 * (number + 1), Tick()]
    runs = runs_of(after(*again), 20_000 * (RUNS_KEPT + 1))
    assert [run.error.split()[0] for run in runs] == [str(number) for number in range(1, RUNS_KEPT + 1)]
    assert {len(run.error) for run in runs} == {RUN_ERROR_CHARS_MAX}


def test_a_task_is_read() -> None:
    steps = (step("a"), step("b", "a"), step("c", optional=True))
    running = after(
        submit(*steps), start("a"), 2_000, complete("a", 2, '"A"'), 3_000, start("c"), fail("c", 4, final=True)
    )
    told = (
        StepRead("a", "completed", "bob", 0, 2_000, '"A"', "", last=False),
        StepRead("b", "running", "bob", 0, None, None, "", last=True),
        StepRead("c", "failed", "bob", 1, None, None, "no ink", True, (EndedRun("bob", "failed", "no ink"),)),
    )
    read = TaskRead("eve", "graph", "in_progress", "{}", T0, None, "", told, 0, 3)
    running.when(ReadTask("eve", (), 0), 4_000).then(read)
    change = msgspec.structs.replace
    running.when(ReadTask("eve", (), 2), 4_000).then(change(read, steps=told[2:], first=2))
    running.when(ReadTask("eve", (), 9), 4_000).then(change(read, steps=(), first=9))
    some = ReadTask("eve", ("c", "x", "a"), 0)
    running.when(some, 4_000).then(change(read, steps=(told[2], told[0]), total=2))
    cancelled = running.when(CancelTask("ada", "why"), 4_000).then(
        TaskCancelled("ada", "why", "ada", ("bob",), 4_000), freed("a", 1, GOOD)
    )
    told = (told[0], change(told[1], status="cancelled"), told[2])
    ended = change(read, status="cancelled", ended_ms=4_000, error="why", steps=told)
    cancelled.when(ReadTask("eve", (), 0), 5_000).then(ended)
    given().when(ReadTask("eve", (), 0), 5_000).then(TaskUnknown("eve", "ReadTask"))


def test_a_long_task_is_read_page_by_page() -> None:
    large = "é" * 100_000
    state = after(submit(*[step(name) for name in "abcdef"])).state
    for number, name in enumerate("abcdef"):
        for command in (start(name), complete(name, 10 + number, large)):
            for event in decider.decide(state, command, At(2_000, 10 + number, "r")):
                state = decider.evolve(state, event)
    pages, first = [], 0
    while first < 6:
        (page,) = decider.decide(state, ReadTask("eve", (), first), At(2_000, 99, "r"))
        assert isinstance(page, TaskRead)
        assert len(events_codec("tasks").encode([page])) <= DECISION_BYTES_MAX
        pages.append("".join(one.step for one in page.steps))
        first += len(page.steps)
    assert pages == ["a", "b", "c", "d", "e", "f"]
    small = after(submit(*[step(f"{number:04}") for number in range(8_000)])).state
    (page,) = decider.decide(small, ReadTask("eve", (), 0), At(2_000, 99, "r"))
    assert isinstance(page, TaskRead)
    assert (page.total, len(page.steps)) == (8_000, 7_407)


# -- to be forgotten


def test_a_task_is_remembered_for_as_long_as_its_submitter_said_then_its_name_is_free() -> None:
    ended = after(submit(step("a"), keep_ms=5_000), start("a"), complete("a", 2))
    ended.when(Tick(), 5_999).then_nothing()
    assert ended.when(Tick(), 6_000).then(TaskForgotten(T0)).state is None
    ended.when(ReadTask("eve", (), 0), 6_000).then(TaskForgotten(T0), TaskUnknown("eve", "ReadTask"))
    other = submit(step("b"))
    begun = TaskSubmitted("ada", "graph", "team", "{}", other.steps, MINUTE, 6_000)
    anew = ended.when(other, 6_000).then(TaskForgotten(T0), begun, wanted("b", since_ms=6_000))
    assert statuses(anew.state) == {"b": "ready"}


def test_a_failed_task_is_remembered_for_a_week_or_longer_if_its_submitter_said_so() -> None:
    for keep_ms in (0, FAILED_KEEP_MS + 5):
        failed = after(submit(step("a"), keep_ms=keep_ms), start("a"), fail("a", 2, final=True))
        assert decider.deadline_ms(failed.state) == T0 + max(FAILED_KEEP_MS, keep_ms)
    cancelled = after(submit(step("a"), keep_ms=0), CancelTask("ada", ""))
    assert decider.deadline_ms(cancelled.state) == T0


# -- the other bounds


def test_texts_and_capabilities_have_bounds() -> None:
    long = "x" * 256
    texts: list[tuple[Command, str]] = [
        (start("a", agent=long), "agent"),
        (complete(long, 2), "step"),
        (FailStep("bob", "a", 2, long, "", final=False), "error_type"),
        (CancelTask("bob", long), "reason"),
        (submit(step("a"), type=long), "type"),
        (LoseSteps("bob", long, ()), "member"),
        (StartStep("bob", "b", long, "a", 1, ()), "team"),
    ]
    for command, name in texts:
        given().when(command, 2_000).then(rejected(f"{name} has more than 255 bytes"))
    many = start("a", skills=("x",) * (CAPABILITIES_MAX + 1))
    given().when(many, 2_000).then(rejected(f"capabilities: at most {CAPABILITIES_MAX} are possible"))
    given().when(start("a", skills=("",)), 2_000).then(rejected("capabilities: '' is no name; one has 1 to 200 bytes"))
    names = ReadTask("eve", ("",), 0)
    given().when(names, 2_000).then(rejected("steps: '' is no name; one has 1 to 200 bytes"))
    given().when(ReadTask("eve", (), -1), 2_000).then(rejected("first=-1: 0 to 10000 are possible"))


def size_of(events: Any) -> int:
    return len(events_codec("tasks").encode(list(events)))


def decided(state: Any, command: Command, now_ms: int, seq: int) -> tuple[Any, int]:
    """The state after a command, and how large the decision is."""
    events = decider.decide(state, command, At(now_ms, seq, "r"))
    for event in events:
        assert type(event) is not CommandRejected, event
        state = decider.evolve(state, event)
    return state, size_of(events)


def test_the_largest_decisions_fit() -> None:
    """Everything as long as it may be: one that did not fit would be refused, and the task could not go on."""
    text, name = "x" * INPUT_BYTES_MAX, "{:0200}"
    skill = "w" * 200
    count = GRAPH_BYTES_MAX // 416 // 2
    first = [step(name.format(number), capability=skill) for number in range(count)]
    join = step(name.format(count), *[one.name for one in first], capability=skill)
    rest = [step(name.format(number), join.name, capability=skill) for number in range(count + 1, 2 * count)]
    skills = (skill, *["s" * 198 + f"{number:02}" for number in range(CAPABILITIES_MAX - 1)])
    agent = "a" * 253
    state, _ = decided(None, submit(*first, join, *rest, input=text, team="t" * 200), T0, 1)
    sizes = []
    for seq, one in enumerate(first, start=2):
        state, size = decided(state, start(one.name, agent=agent, skills=skills), T0, seq)
        sizes.append(size)
    for seq, one in enumerate(first, start=2):
        result = text if seq == count + 1 else "1" * 500
        state, size = decided(state, complete(one.name, seq, result, agent), T0, 1_000 + seq)
        sizes.append(size)
    assert state.steps[count].status == "running", "with all that stood before it"
    state, size = decided(state, complete(join.name, 1_000 + count + 1, text, agent), T0, 5_000)
    sizes.append(size)
    assert state.steps[count + 1].status == "running", "and all that comes after it wanted"
    assert max(sizes) <= DECISION_BYTES_MAX


def test_the_largest_results_of_the_steps_before_fit() -> None:
    skills = tuple("s" * 198 + f"{number:02}" for number in range(CAPABILITIES_MAX))
    agent, names = "a" * 253, ("a", "b", "c", "d")
    steps = [step(name, capability=skills[0]) for name in names]
    state, _ = decided(None, submit(*steps, step("join", *names, capability=skills[0])), T0, 1)
    for seq, name in enumerate(names, start=2):
        state, _ = decided(state, start(name, agent=agent, skills=skills), T0, seq)
    size = 0
    for name, token, length in (
        ("d", 5, 54_000),
        ("c", 4, INPUT_BYTES_MAX),
        ("b", 3, INPUT_BYTES_MAX),
        ("a", 2, INPUT_BYTES_MAX),
    ):
        state, size = decided(state, complete(name, token, "1" * length, agent), T0, 100 - token)
    assert state.steps[4].status == "running"
    assert 0.95 * DECISION_BYTES_MAX < size <= DECISION_BYTES_MAX


def test_the_largest_decision_in_which_time_passes_fits() -> None:
    """What is due comes with any command; who completes a step then does not go on in the same decision."""
    text, name, skill, agent = "x" * INPUT_BYTES_MAX, "{:0200}", "w" * 200, "a" * 253
    due = [step(name.format(number), capability=skill, retries=0) for number in range(DUE_MAX)]
    after_due = [step("n" + one.name[1:], one.name, capability=skill) for one in due]
    last = step("last", capability=skill, timeout_ms=20_000)
    rest = [step(name.format(1_000 + number), "last", capability=skill) for number in range(450)]
    state, _ = decided(None, submit(*due, *after_due, last, *rest, input=text, team="t" * 200), T0, 1)
    for seq, one in enumerate([*due, last], start=2):
        state, _ = decided(state, start(one.name, agent=agent, skills=(skill,)), T0, seq)
    state, size = decided(state, complete("last", DUE_MAX + 2, text, agent), T0 + 10_000, 1_000)
    assert statuses(state)[due[-1].name] == "failed"
    assert (statuses(state)["last"], statuses(state)[rest[0].name]) == ("completed", "ready")
    assert size <= DECISION_BYTES_MAX


# -- the domain


def test_events_and_commands_of_other_domains_raise() -> None:
    with pytest.raises(TypeError, match="the tasks domain has no command SwitchRules"):
        decider.decide(None, SwitchRules(1, ""), At(1, 1, "r"))
    with pytest.raises(TypeError, match="the tasks domain has no event LockReleased"):
        evolve(None, LockReleased("ada", 1))


def test_a_tick_to_no_task_brings_nothing() -> None:
    given().when(Tick(), 1).then_nothing()


def test_what_follows_in_the_team_and_among_the_dead_letters() -> None:
    assert DOMAINS["tasks"] is DOMAIN
    wants, gives = wanted("a"), freed("a", 1, BAD)
    assert DOMAIN.reactions[AgentsWanted]("t-1", wants) == [Order("roster", "team", RequestAgents("t-1", wants.wanted))]
    assert DOMAIN.reactions[AgentsFreed]("t-1", gives) == [Order("roster", "team", FreeAgents("t-1", gives.freed))]
    letter = DOMAIN.dead_letters[StepDeadLettered](dead("a", "Expired", "TimeoutError", "late", 3))
    assert letter == ("write", "Expired", "TimeoutError: late", "", b"", "", 3, "a")


def test_every_event_is_folded_and_every_command_answered() -> None:
    assert set(_CHANGES) == set(tasks.EVENTS)
    assert set(_ANSWERS) == {*tasks.COMMANDS, Tick}


def test_a_state_comes_back_from_its_row() -> None:
    steps = (step("a"), step("b", "a"), step("c", deadline_ms=9_000), step("d", "b", "c", need=1))
    state = after(submit(*steps), start("a"), complete("a", 2), start("c"), fail("c", 4)).state
    again = restore(dump(state), Task)
    assert again == state
    assert dump(again) == dump(state)
    assert (again.graph.after, again.graph.before, again.graph.bytes) == (
        state.graph.after, state.graph.before, state.graph.bytes
    )  # fmt: skip
    assert decider.deadline_ms(again) == decider.deadline_ms(state) == 6_000
    assert repr(again) == repr(state)
    assert again != after(submit(*steps)).state
    assert again.graph != "a graph"
    assert again.missing != "counts"
    assert again.steps != "steps"
    assert get_type_hints(Task)["graph"] is type(state.graph)
