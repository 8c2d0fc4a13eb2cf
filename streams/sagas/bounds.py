"""What a saga may be, and how often it is tried and offered: all bounds in one place."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from accord.schemas.messages import Command
from accord.schemas.messages.sagas import COMMANDS, BeginSaga, CompleteStep, SagaStep
from accord.streams.bounds import Bounds
from accord.streams.locks.bounds import LEASE_MS_MAX, LEASE_MS_MIN, TEXT_BYTES_MAX
from accord.streams.tasks.bounds import (
    LIMIT_MS_MAX,
    RETRIES_MAX,
    TIMEOUT_MS_MAX,
    TIMEOUT_MS_MIN,
    problem_of_names,
    problem_of_payload,
)

STEPS_MAX: Final = 50
INPUT_BYTES_MAX: Final = 65_536
"""Of a saga's input; what is larger is an artifact."""
RESULT_BYTES_MAX: Final = 8_192
"""Of a step's result; what is larger is an artifact. Who takes a saga over is told its input and all results at once:
50 results, errors and names and the input are below 600,000 bytes, so they fit `DECISION_BYTES_MAX`."""
ERROR_CHARS_MAX: Final = 500
"""Of a failure; a longer text is cut."""
PAUSE_MS_MAX: Final = 3_600_000
PAUSE_MS_CAP: Final = 60_000
"""Pauses grow to twice the last up to this, or stay at the first if that is longer."""
OFFER_MS: Final = 5_000
"""So long after nobody took a saga it is offered again; then twice as long each time."""
OFFER_MS_MAX: Final = 600_000
OFFERS_MAX: Final = 1_000
"""How often it is offered: for about a week. After that somebody has to begin it again by its id, or retry it."""
STUCK_KEEP_MS: Final = LIMIT_MS_MAX
"""How long a saga whose compensation was given up can be retried."""


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = _BOUNDS.of_numbers(command) or _BOUNDS.of_texts(command)
    if problem is not None:
        return problem
    match command:
        case BeginSaga(steps=steps, input=input, trail=trail):
            if any(len(name.encode()) > TEXT_BYTES_MAX for name in trail):
                return f"trail: a name has at most {TEXT_BYTES_MAX} bytes"
            return (
                problem_of_names("the name of a saga", (command.name,), 1)
                or problem_of_payload("the input of a saga", input, INPUT_BYTES_MAX)
                or problem_of_steps(steps)
            )
        case CompleteStep(result=result):
            return problem_of_payload("a result", result, RESULT_BYTES_MAX)
    return None


def problem_of_steps(steps: Sequence[SagaStep]) -> str | None:
    """Why these cannot be the steps of a saga."""
    if not 0 < len(steps) <= STEPS_MAX:
        return f"{len(steps)} steps: 1 to {STEPS_MAX} are possible"
    names = [step.name for step in steps]
    problem = problem_of_names("steps", names, STEPS_MAX)
    if problem is not None:
        return problem
    if len(set(names)) < len(names):
        return "steps: one is named twice"
    for step in steps:
        for name, (low, high) in _OF_STEP.items():
            if not low <= getattr(step, name) <= high:
                return f"{name}={getattr(step, name)} of the step {step.name!r}: {low} to {high} are possible"
    for step, after in pairwise(steps):
        if not step.undo:
            return (
                f"the step {step.name!r} has no compensation, and {after.name!r} comes after it: if that fails, "
                "nothing can undo it. Only the last step may be without one"
            )
    return None


_OF_STEP: Final = {
    "retries": (0, RETRIES_MAX),
    "undo_retries": (0, RETRIES_MAX),
    "pause_ms": (0, PAUSE_MS_MAX),
    "timeout_ms": (TIMEOUT_MS_MIN, TIMEOUT_MS_MAX),
}
_RANGES: Final = {"lease_ms": (LEASE_MS_MIN, LEASE_MS_MAX), "keep_ms": (0, LIMIT_MS_MAX)}
_BOUNDS: Final = Bounds(
    "sagas",
    COMMANDS,
    ("agent", "runner", "step", "error_type", "reason"),
    TEXT_BYTES_MAX,
    {name: (low, high, f"{low} to {high} are possible") for name, (low, high) in _RANGES.items()},
)
