"""Commands and events of tasks, as their tests write them."""

from __future__ import annotations

from typing import Any

from accord.schemas.codec import events_codec
from accord.schemas.messages import Command
from accord.schemas.messages.log import CommandRejected
from accord.schemas.messages.tasks import (
    AgentsFreed,
    AgentsWanted,
    CompleteStep,
    FailStep,
    Freed,
    LoseSteps,
    Outcome,
    Payload,
    Slot,
    StartStep,
    Step,
    StepCompleted,
    StepDeadLettered,
    StepFailed,
    StepStarted,
    SubmitTask,
    Wanted,
)
from accord.streams.decider import At
from accord.streams.tasks.decider import TaskDecider
from accord.streams.tasks.task import Task

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


def lose(*slots: tuple[str, int], member: str = "bob-1") -> LoseSteps:
    return LoseSteps("bob", member, tuple(Slot(*slot) for slot in slots))


def size_of(events: Any) -> int:
    return len(events_codec("tasks").encode(list(events)))


def decided(state: Any, command: Command, now_ms: int, seq: int) -> tuple[Any, int]:
    """The state after a command, and how large the decision is."""
    events = decider.decide(state, command, At(now_ms, seq, "r"))
    for event in events:
        assert type(event) is not CommandRejected, event
        state = decider.evolve(state, event)
    return state, size_of(events)
