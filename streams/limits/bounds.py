"""What may be asked of a pool, and how much of it is kept: all bounds in one place."""

from __future__ import annotations

from typing import Final

from accord.schemas.messages import Command
from accord.schemas.messages.limits import COMMANDS, ConfigurePool, RequestCapacity, UnpinLease
from accord.streams.bounds import Bounds
from accord.streams.locks.bounds import LEASE_MS_MAX, LEASE_MS_MIN, PRIORITY_MAX, TEXT_BYTES_MAX, WAIT_MS_MAX
from accord.streams.pins import DUE_RANGE, problem_of_outcome

CAPACITY_MAX: Final = 1_000_000
RATE_MAX: Final = 1_000_000_000
"""A minute."""
TOKENS_MAX: Final = 10_000_000
"""Of one call."""
RETRY_AFTER_MS_MAX: Final = 24 * 3_600_000
WAITERS_MAX: Final = 500
"""Longest queue of one pool; beyond it a request is denied with `queue_full`. The decision that ends or grants all of
them at once, and the state with all of them, must fit `DECISION_BYTES_MAX`."""
ROLES_MAX: Final = 50
WEIGHTS_MAX: Final = 50
WEIGHT_MAX: Final = 100
EXCLUSIVE: Final = "exclusive"
MODES: Final = ("shared", EXCLUSIVE)


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = _BOUNDS.of_numbers(command) or _BOUNDS.of_texts(command)
    if problem is not None:
        return problem
    if type(command) is RequestCapacity and command.mode not in MODES:
        return f"mode={command.mode[:40]!r}: a mode is 'shared' or 'exclusive'"
    if type(command) is UnpinLease:
        return problem_of_outcome(command.outcome)
    return _problem_of_terms(command) if type(command) is ConfigurePool else None


def _problem_of_terms(command: ConfigurePool) -> str | None:
    roles, shares, weights = command.roles, command.shares, command.weights
    if len(roles) > ROLES_MAX or len(shares) > WEIGHTS_MAX:
        return f"{len(roles)} roles and {len(shares)} weights: at most {ROLES_MAX} and {WEIGHTS_MAX} are possible"
    for name in (*roles, *shares):
        if not 0 < len(name.encode()) <= TEXT_BYTES_MAX:
            return f"{name[:40]!r}: a role or an agent has 1 to {TEXT_BYTES_MAX} bytes"
    if len(set(roles)) < len(roles) or len(set(shares)) < len(shares):
        return "a role or a share stands twice"
    if len(shares) != len(weights) or not all(0 < weight <= WEIGHT_MAX for weight in weights):
        return f"weights={weights}: one of 1 to {WEIGHT_MAX} is needed for each of {len(shares)} shares"
    return None


_RANGES: Final = {
    "lease_ms": (LEASE_MS_MIN, LEASE_MS_MAX),
    "wait_ms": (0, WAIT_MS_MAX),
    "priority": (-PRIORITY_MAX, PRIORITY_MAX),
    "capacity": (1, CAPACITY_MAX),
    "requests_per_minute": (1, RATE_MAX),
    "tokens_per_minute": (1, RATE_MAX),
    "tokens": (0, TOKENS_MAX),
    "used_tokens": (0, TOKENS_MAX),
    "retry_after_ms": (0, RETRY_AFTER_MS_MAX),
}
_BOUNDS: Final = Bounds(
    "limits",
    COMMANDS,
    ("agent", "owner", "role", "request", "resource", "transaction"),
    TEXT_BYTES_MAX,
    {name: (low, high, f"{low} to {high} are possible") for name, (low, high) in _RANGES.items()}
    | {"due_ms": DUE_RANGE},
)
