"""What may be told of a call, and how much of it is kept: all bounds in one place."""

from __future__ import annotations

from typing import Final

from accord.schemas.messages import Command
from accord.schemas.messages.llm import COMMANDS, RecordCall
from accord.streams.bounds import Bounds
from accord.streams.locks.bounds import LEASE_MS_MAX, LEASE_MS_MIN, TEXT_BYTES_MAX

ANSWER_BYTES_MAX: Final = 131_072
"""Of an answer, in UTF-8: about twice what a model says in 16,384 tokens. A larger one is not on the log."""
TTL_MS_MAX: Final = 30 * 24 * 3_600_000
WAITERS_MAX: Final = 1_000
"""Who wait for one answer; beyond it they are denied it. The decision that answers all of them, and the answer beside
their names, must fit `DECISION_BYTES_MAX`."""
ERROR_CHARS_MAX: Final = 1_000
TOKENS_MAX: Final = 10**9
COST_MICROUSD_MAX: Final = 10**12
TRIES_MAX: Final = 100
RUN_MAX: Final = 2**62

ANSWERED: Final = "answered"
FAILED: Final = "failed"
"""So would it for all who ask: who waits is told."""
ABANDONED: Final = "abandoned"
"""Only this caller cannot go on: the next one who waits calls."""
OUTCOMES: Final = (ANSWERED, FAILED, ABANDONED)

EXPIRED: Final = "expired"
SUPERSEDED: Final = "superseded"
FORGOTTEN: Final = "forgotten"


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = _BOUNDS.of_numbers(command) or _BOUNDS.of_texts(command)
    if problem is not None:
        return problem
    return _problem_of_call(command) if type(command) is RecordCall else None


def _problem_of_call(command: RecordCall) -> str | None:
    if command.outcome not in OUTCOMES:
        return f"outcome={command.outcome[:40]!r}: one of {', '.join(OUTCOMES)} is needed"
    if command.text is not None and command.outcome != ANSWERED:
        return f"text: a call that {command.outcome} has none"
    if command.text is not None and len(command.text.encode()) > ANSWER_BYTES_MAX:
        return f"text has more than {ANSWER_BYTES_MAX} bytes"
    if len(command.error) > ERROR_CHARS_MAX:
        return f"error has more than {ERROR_CHARS_MAX} characters"
    return None


_RANGES: Final = {
    "lease_ms": (LEASE_MS_MIN, LEASE_MS_MAX),
    "ttl_ms": (0, TTL_MS_MAX),
    "run": (0, RUN_MAX),
    "input_tokens": (0, TOKENS_MAX),
    "output_tokens": (0, TOKENS_MAX),
    "cost_microusd": (0, COST_MICROUSD_MAX),
    "duration_ms": (0, LEASE_MS_MAX),
    "tries": (1, TRIES_MAX),
}
_BOUNDS: Final = Bounds(
    "llm",
    COMMANDS,
    ("agent", "task", "step", "model", "answered_by", "error_type", "request"),
    TEXT_BYTES_MAX,
    {name: (low, high, f"{low} to {high} are possible") for name, (low, high) in _RANGES.items()},
)
