"""What a proposal may be, and how much of it is kept: all bounds in one place."""

from __future__ import annotations

from typing import Final

from accord.schemas.messages import Command
from accord.schemas.messages.proposals import COMMANDS, CastVote, Propose
from accord.streams.bounds import Bounds
from accord.streams.locks.bounds import TEXT_BYTES_MAX
from accord.streams.tasks.bounds import LIMIT_MS_MAX, problem_of_names

VOTERS_MAX: Final = 200
"""Each is asked by a signal of its own. A ballot has at most 500 bytes, so all of them fit a decision."""
CONTENT_BYTES_MAX: Final = 32_768
"""What is larger is voted on by its name."""
WEIGHT_MAX: Final = 1_000_000
DENOMINATOR_MAX: Final = 1_000_000_000
"""Of a threshold."""
CHOICES: Final = ("yes", "no", "abstain")


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = _BOUNDS.of_numbers(command) or _BOUNDS.of_texts(command)
    if problem is not None:
        return problem
    match command:
        case Propose():
            return _problem_of_proposal(command)
        case CastVote(choice=choice) if choice not in CHOICES:
            return f"choice={choice!r}: a vote is one of {', '.join(CHOICES)}"
    return None


def _problem_of_proposal(c: Propose) -> str | None:
    if len(c.content.encode()) > CONTENT_BYTES_MAX:
        return f"a proposal has at most {CONTENT_BYTES_MAX} bytes; keep it elsewhere and name it"
    if c.threshold_numerator >= c.threshold_denominator:
        return f"a threshold of {c.threshold_numerator}/{c.threshold_denominator}: only what is below 1 can be exceeded"
    names = [voter.name for voter in c.voters]
    problem = problem_of_names("voters", names, VOTERS_MAX)
    if problem is not None:
        return problem
    if len(set(names)) < len(names):
        return "voters: one is named twice"
    return _problem_of_terms(c)


def _problem_of_terms(c: Propose) -> str | None:
    for voter in c.voters:
        if not 1 <= voter.weight <= WEIGHT_MAX:
            return f"the weight of {voter.name} is {voter.weight}: 1 to {WEIGHT_MAX} are possible"
    if c.quorum is not None and c.quorum > len(c.voters):
        return f"quorum={c.quorum}: there are {len(c.voters)} voters"
    if any(len(name.encode()) > TEXT_BYTES_MAX for name in c.trail):
        return f"trail: a name has at most {TEXT_BYTES_MAX} bytes"
    return None


_RANGES: Final = {
    "threshold_numerator": (0, DENOMINATOR_MAX),
    "threshold_denominator": (1, DENOMINATOR_MAX),
    "quorum": (1, VOTERS_MAX),
    "deadline_ms": (1, LIMIT_MS_MAX),
    "keep_ms": (0, LIMIT_MS_MAX),
}
_BOUNDS: Final = Bounds(
    "proposals",
    COMMANDS,
    ("agent", "reason"),
    TEXT_BYTES_MAX,
    {name: (low, high, f"{low} to {high} are possible") for name, (low, high) in _RANGES.items()},
)
