"""What a task may be, and how much of it is kept: all bounds in one place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from accord.schemas.messages import Command
from accord.schemas.messages.tasks import (
    COMMANDS,
    CompleteStep,
    LoseSteps,
    Payload,
    ReadTask,
    RefuseSteps,
    StartStep,
    Step,
    SubmitTask,
)
from accord.streams.bounds import Bounds
from accord.streams.locks.bounds import TEXT_BYTES_MAX
from accord.streams.tasks.graph import bytes_of, problem_of_graph

STEPS_MAX: Final = 10_000
AFTER_MAX: Final = 10_000
"""Names of steps before one."""
NAME_BYTES_MAX: Final = 200
"""Of a step, a graph, a capability, a team."""
INPUT_BYTES_MAX: Final = 262_144
"""Of a task's input and of a result; what is larger is an artifact."""
ARTIFACT_BYTES_MAX: Final = 1 << 40
"""Of an artifact: what a reference may say. What a program puts and gets is bounded by its settings."""
ARTIFACT_ENTRY_BYTES: Final = NAME_BYTES_MAX + 90
"""Of a reference to one, at most."""
DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
GRAPH_BYTES_MAX: Final = 300_000
"""Of the names and capabilities of all steps of a task (`bytes_of`)."""
START_BYTES_MAX: Final = 580_000
"""Of the task's input, its graph and the results that the start of a step tells; other results are asked for with
`ReadTask`. A decision brings a result, the start of the next step and every other step of the graph once: all that must
fit `DECISION_BYTES_MAX`, or a task could never go on."""
READ_BYTES_MAX: Final = 400_000
"""Of the steps that one `TaskRead` tells; one whose result alone is larger is told all the same."""
ERROR_CHARS_MAX: Final = 2_000
RUNS_KEPT: Final = 10
"""Of a step's runs that ended without a result, so many are remembered: the last ones."""
RUN_ERROR_CHARS_MAX: Final = 200
"""Of the error of each of them."""
TIMEOUT_MS_MIN: Final = 100
TIMEOUT_MS_MAX: Final = 24 * 3_600_000
"""Of a run."""
LIMIT_MS_MAX: Final = 30 * 24 * 3_600_000
"""Of a step's deadline, of its wait for an agent, and of how long a task is kept."""
RETRIES_MAX: Final = 100
RETRY_AFTER_MS_MAX: Final = 3_600_000
BACKOFF_MS: Final = (5_000, 10_000, 15_000)
"""Between a failure and the next run: after the first, the second, and every later one."""
LOSSES_MAX: Final = 3
"""So many agents may be lost while they run a step; then it is given up."""
FAILED_KEEP_MS: Final = 7 * 24 * 3_600_000
"""How long a failed task can be taken up again by retrying its steps."""
DUE_MAX: Final = 100
"""Limits that one decision lets pass; the others are still due after it. Each has at most 1,900 bytes, and
200 for each other capability that its agent had used in the slot."""
CAPABILITIES_MAX: Final = 100


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = _BOUNDS.of_numbers(command) or _BOUNDS.of_texts(command)
    if problem is not None:
        return problem
    checked = _CHECKS.get(type(command))
    if checked is not None:
        return checked(command)
    return problem_of_payload("a result", command.result) if isinstance(command, CompleteStep) else None


def problem_of_payload(what: str, payload: Payload, bytes_max: int = INPUT_BYTES_MAX) -> str | None:
    """Why this cannot be an input or a result.

    Args:
        bytes_max: of what is no artifact.
    """
    if isinstance(payload, str):
        if len(payload.encode()) > bytes_max:
            return f"{what} has at most {bytes_max} bytes; what is larger is an artifact"
    elif not DIGEST.fullmatch(payload.digest):
        return f"{what} is the artifact {payload.digest[:80]!r}: its digest is sha256: and 64 hexadecimal digits"
    elif not 0 <= payload.size_bytes <= ARTIFACT_BYTES_MAX:
        return f"{what} is an artifact of {payload.size_bytes} bytes: 0 to {ARTIFACT_BYTES_MAX} are possible"
    elif not 0 < len(payload.media_type.encode()) <= NAME_BYTES_MAX:
        return f"{what} is an artifact whose media type is none: it has 1 to {NAME_BYTES_MAX} bytes"
    return None


def bytes_of_payload(payload: Payload | None) -> int:
    """How many bytes an input or a result takes in the log, at most."""
    if isinstance(payload, str):
        return len(payload.encode())
    return 0 if payload is None else ARTIFACT_ENTRY_BYTES


def _problem_of_refusals(command: RefuseSteps) -> str | None:
    if len(command.refusals) > STEPS_MAX:
        return f"{len(command.refusals)} refusals: at most {STEPS_MAX}"
    for refusal in command.refusals:
        if not 0 <= refusal.retry_after_ms <= RETRY_AFTER_MS_MAX:
            return f"retry_after_ms={refusal.retry_after_ms}: 0 to {RETRY_AFTER_MS_MAX} are possible"
    return None


def _problem_of_task(task: SubmitTask) -> str | None:
    if not 0 < len(task.steps) <= STEPS_MAX:
        return f"{len(task.steps)} steps: 1 to {STEPS_MAX} are possible"
    problem = problem_of_payload("the input of a task", task.input)
    if problem is not None:
        return problem
    if not 0 < len(task.team.encode()) <= NAME_BYTES_MAX:
        return f"a team's name has 1 to {NAME_BYTES_MAX} bytes"
    for step in task.steps:
        problem = _problem_of_step(step)
        if problem is not None:
            return problem
    size = bytes_of(task.steps)
    if size > GRAPH_BYTES_MAX:
        return f"the names and capabilities of all steps have {size} bytes: at most {GRAPH_BYTES_MAX} are possible"
    return problem_of_graph([(step.name, step.after) for step in task.steps])


def _problem_of_step(step: Step) -> str | None:
    if len(step.after) > AFTER_MAX:
        return f"the step {step.name[:40]!r} comes after {len(step.after)}: at most {AFTER_MAX} are possible"
    problem = problem_of_names("step", (step.name, step.capability), 2)
    if problem is not None:
        return problem
    for name, (low, high) in _OF_STEP.items():
        value = getattr(step, name)
        if value is not None and not low <= value <= high:
            return f"{name}={value} of the step {step.name!r}: {low} to {high} are possible"
    if step.need is not None and step.need > len(step.after):
        return f"the step {step.name!r} needs {step.need} of {len(step.after)} steps"
    return None


def problem_of_names(what: str, names: Iterable[str], most: int) -> str | None:
    """Why names that a command lists cannot be such, or are too many."""
    for count, name in enumerate(names, start=1):
        if count > most:
            return f"{what}: at most {most} are possible"
        if not 0 < len(name.encode()) <= NAME_BYTES_MAX:
            return f"{what}: {name[:40]!r} is no name; one has 1 to {NAME_BYTES_MAX} bytes"
    return None


_CHECKS: Final[Mapping[type[Command], Callable[[Any], str | None]]] = {
    SubmitTask: _problem_of_task,
    RefuseSteps: _problem_of_refusals,
    StartStep: lambda c: problem_of_names("capabilities", c.capabilities, CAPABILITIES_MAX),
    LoseSteps: lambda c: f"{len(c.slots)} slots: at most {STEPS_MAX}" if len(c.slots) > STEPS_MAX else None,
    ReadTask: lambda c: problem_of_names("steps", c.steps, STEPS_MAX),
}
_OF_STEP: Final = {
    "retries": (0, RETRIES_MAX),
    "timeout_ms": (TIMEOUT_MS_MIN, TIMEOUT_MS_MAX),
    "wait_ms": (0, LIMIT_MS_MAX),
    "deadline_ms": (1, LIMIT_MS_MAX),
    "need": (0, AFTER_MAX),
}
_RANGES: Final = {
    "keep_ms": (0, LIMIT_MS_MAX),
    "first": (0, STEPS_MAX),
}
_BOUNDS: Final = Bounds(
    "tasks",
    COMMANDS,
    ("agent", "member", "type", "team", "step", "error_type", "reason", "trace"),
    TEXT_BYTES_MAX,
    {name: (low, high, f"{low} to {high} are possible") for name, (low, high) in _RANGES.items()},
)
