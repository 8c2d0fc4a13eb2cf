"""The task decider, branch by branch: its bounds."""

from __future__ import annotations

from accord.schemas.messages import Command
from accord.schemas.messages.tasks import (
    CancelTask,
    FailStep,
    LoseSteps,
    ReadTask,
    StartStep,
)
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.tasks.bounds import (
    CAPABILITIES_MAX,
    DUE_MAX,
    GRAPH_BYTES_MAX,
    INPUT_BYTES_MAX,
)

from tests.streams.task_words import (
    T0,
    complete,
    decided,
    given,
    rejected,
    start,
    statuses,
    step,
    submit,
)


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
