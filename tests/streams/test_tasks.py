"""The task decider, branch by branch: what is submitted and run, cancelled, read and forgotten."""

from __future__ import annotations

from typing import Any, get_type_hints

import msgspec
import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import Command, tasks
from accord.schemas.messages.locks import LockReleased
from accord.schemas.messages.log import CommandRejected, SwitchRules, Tick
from accord.schemas.messages.roster import FreeAgents, RequestAgents
from accord.schemas.messages.tasks import (
    AgentsFreed,
    AgentsWanted,
    Artifact,
    CancelTask,
    EndedRun,
    Freed,
    Input,
    LoseSteps,
    Outcome,
    ReadTask,
    ResultIgnored,
    ReturnStep,
    Slot,
    StartRefused,
    StartStep,
    Step,
    StepDeadLettered,
    StepFailed,
    StepLost,
    StepRead,
    StepStarted,
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
    FAILED_KEEP_MS,
    GRAPH_BYTES_MAX,
    INPUT_BYTES_MAX,
    LIMIT_MS_MAX,
    NAME_BYTES_MAX,
    RETRIES_MAX,
    RUN_ERROR_CHARS_MAX,
    RUNS_KEPT,
    START_BYTES_MAX,
    STEPS_MAX,
    TIMEOUT_MS_MAX,
    TIMEOUT_MS_MIN,
)
from accord.streams.tasks.decider import _ANSWERS, DOMAIN
from accord.streams.tasks.task import _CHANGES, Task, evolve

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
    lose,
    rejected,
    start,
    started,
    statuses,
    step,
    submit,
    wanted,
)

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
