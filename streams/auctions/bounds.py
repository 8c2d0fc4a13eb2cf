"""What an auction may be, and how much of it is kept: all bounds in one place."""

from __future__ import annotations

from typing import Final

from accord.schemas.messages import Command
from accord.schemas.messages.auctions import COMMANDS, AnnounceAuction, CompleteWork, PlaceBid, ScoreBids
from accord.streams.bounds import Bounds
from accord.streams.locks.bounds import LEASE_MS_MAX, LEASE_MS_MIN, TEXT_BYTES_MAX
from accord.streams.tasks.bounds import CAPABILITIES_MAX, INPUT_BYTES_MAX, LIMIT_MS_MAX, problem_of_names

MILLION: Final = 1_000_000
BIDDERS_MAX: Final = 200
"""Each is asked by a signal of its own. A bid has at most 600 bytes, a score 220: all of them fit a decision."""
DESCRIPTION_BYTES_MAX: Final = 32_768
"""What is larger is named."""
PRICE_MAX: Final = 1_000_000_000 * MILLION
"""Of a price or a reward, in millionths."""
TIME_MS_MAX: Final = 366 * 24 * 3_600_000
WEIGHT_MAX: Final = 1_000 * MILLION
LOAD_MAX: Final = MILLION
SCORE_MAX: Final = 10**18
"""In billionths, and as much below 0."""


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = _BOUNDS.of_numbers(command) or _BOUNDS.of_texts(command)
    if problem is not None:
        return problem
    match command:
        case AnnounceAuction():
            return _problem_of_auction(command)
        case PlaceBid(capabilities=capabilities):
            return problem_of_names("capabilities", capabilities, CAPABILITIES_MAX)
        case ScoreBids():
            return _problem_of_scores(command)
        case CompleteWork(result=result) if len(result.encode()) > INPUT_BYTES_MAX:
            return f"a result has at most {INPUT_BYTES_MAX} bytes; keep it elsewhere and name it"
    return None


def _problem_of_auction(c: AnnounceAuction) -> str | None:
    if len(c.description.encode()) > DESCRIPTION_BYTES_MAX:
        return f"a description has at most {DESCRIPTION_BYTES_MAX} bytes; keep it elsewhere and name it"
    weights = (c.weights.price_millionths, c.weights.time_millionths, c.weights.confidence_millionths)
    if any(not 0 <= weight <= WEIGHT_MAX for weight in weights):
        return f"weights={weights}: 0 to {WEIGHT_MAX} are possible"
    if any(len(name.encode()) > TEXT_BYTES_MAX for name in c.trail):
        return f"trail: a name has at most {TEXT_BYTES_MAX} bytes"
    scoring = () if c.scoring is None else (c.scoring.name, c.scoring.version)
    return (
        _problem_of_bidders(c.bidders)
        or problem_of_names("capabilities", c.capabilities, CAPABILITIES_MAX)
        or problem_of_names("scoring", scoring, 2)
    )


def _problem_of_bidders(names: tuple[str, ...]) -> str | None:
    if not names:
        return "bidders: none is named"
    return (
        "bidders: one is named twice"
        if len(set(names)) < len(names)
        else problem_of_names("bidders", names, BIDDERS_MAX)
    )


def _problem_of_scores(c: ScoreBids) -> str | None:
    if len(c.scores) > BIDDERS_MAX:
        return f"{len(c.scores)} scores: at most {BIDDERS_MAX}"
    if any(one.score_billionths is not None and abs(one.score_billionths) > SCORE_MAX for one in c.scores):
        return f"a score is out of range: {SCORE_MAX} billionths are the most"
    return problem_of_names("scoring", (c.scoring.name, c.scoring.version), 2)


_RANGES: Final = {
    "reward_millionths": (0, PRICE_MAX),
    "confidence_least_millionths": (0, MILLION),
    "deadline_ms": (1, LIMIT_MS_MAX),
    "scoring_ms": (1, LIMIT_MS_MAX),
    "lease_ms": (LEASE_MS_MIN, LEASE_MS_MAX),
    "keep_ms": (0, LIMIT_MS_MAX),
    "load": (0, LOAD_MAX),
}
_BOUNDS: Final = Bounds(
    "auctions",
    COMMANDS,
    ("agent", "member", "reason", "error_type"),
    TEXT_BYTES_MAX,
    {name: (low, high, f"{low} to {high} are possible") for name, (low, high) in _RANGES.items()},
)
