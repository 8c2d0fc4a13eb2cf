"""What a trigger may be, and how much of it is kept: all bounds in one place."""

from __future__ import annotations

from typing import Final

from accord.schemas.messages import Command
from accord.schemas.messages.triggers import COMMANDS, DeclareTrigger, ObserveSignal
from accord.streams.bounds import Bounds
from accord.streams.locks.bounds import TEXT_BYTES_MAX
from accord.streams.signals.decider import TRAIL_MAX
from accord.streams.triggers.machine import problem_of_definition
from accord.streams.triggers.pattern import BY_BYTES_MAX, DEFINITION_BYTES_MAX, problem_of_name

MS_MAX: Final = 1 << 60


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = _BOUNDS.of_numbers(command) or _BOUNDS.of_texts(command)
    if problem is not None:
        return problem
    match command:
        case DeclareTrigger(trigger=trigger, definition=definition):
            return problem_of_name(trigger) or problem_of_definition(definition)
        case ObserveSignal():
            return _problem_of_observation(command)
    return None


def _problem_of_observation(c: ObserveSignal) -> str | None:
    if len(c.by.encode()) > BY_BYTES_MAX:
        return f"by has more than {BY_BYTES_MAX} bytes"
    if len(c.trail) > TRAIL_MAX + 1 or any(len(name.encode()) > TEXT_BYTES_MAX for name in c.trail):
        return f"trail: at most {TRAIL_MAX + 1} names of {TEXT_BYTES_MAX} bytes"
    return problem_of_name(c.trigger) or problem_of_definition(c.definition)


_BOUNDS: Final = Bounds(
    "triggers",
    COMMANDS,
    ("agent", "event", "problem"),
    TEXT_BYTES_MAX,
    {
        "version": (1, MS_MAX, "a version is 1 or more"),
        "at_ms": (0, MS_MAX, f"0 to {MS_MAX} are possible"),
    },
)

__all__ = ["DEFINITION_BYTES_MAX", "problem_of"]
