"""What may be asked of a lock, a condition or a barrier, and how much of it is kept: all bounds in one place."""

from __future__ import annotations

from typing import Final

from accord.schemas.messages import Command
from accord.schemas.messages.locks import COMMANDS, UnpinLease
from accord.streams.bounds import Bounds
from accord.streams.pins import DUE_RANGE, problem_of_outcome

LEASE_MS_MIN: Final = 1_000
"""Shorter leases end before a renewal can cross the log under load."""
LEASE_MS_MAX: Final = 24 * 3_600_000
WAIT_MS_MAX: Final = 30 * 24 * 3_600_000
TEXT_BYTES_MAX: Final = 255
"""Of each name in a command, and (`schemas.headers`) of its message id."""
WAITERS_MAX: Final = 20_000
"""Longest queue of one lock, with those who wait for a notice; beyond it a request is denied with `queue_full`. Its row
in a checkpoint has at most 20,000 x (3 x 255 + 130) bytes, in parts (`streams/checkpoint.py`)."""
DUE_MAX: Final = 500
"""Waits of one lock that one decision ends; the others are still due after it. A decision has at most 500 x (3 x 255 +
45) bytes of them, those of `SHARED_MAX` holders whose leases end and as many who are granted, and of one command: that
must fit `DECISION_BYTES_MAX`, or the lock could never be decided again."""
NOTIFIED_MAX: Final = 800
"""Who are notified by one command; more are by more commands."""
SHARED_MAX: Final = 200
"""Most who share a lock; more readers queue."""
PRIORITY_MAX: Final = 10
"""The least is the same below 0."""
PARTIES_MAX: Final = 200
"""Of one barrier."""


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = problem_of_outcome(command.outcome) if type(command) is UnpinLease else None
    return problem or _BOUNDS.of_texts(command) or _BOUNDS.of_numbers(command)


_BOUNDS: Final = Bounds(
    "locks",
    COMMANDS,
    ("agent", "by", "owner", "resource", "reason", "request", "transaction"),
    TEXT_BYTES_MAX,
    {
        "parties": (1, PARTIES_MAX, f"a barrier has 1 to {PARTIES_MAX} parties"),
        "lease_ms": (LEASE_MS_MIN, LEASE_MS_MAX, f"a lease is {LEASE_MS_MIN} to {LEASE_MS_MAX} ms"),
        "wait_ms": (0, WAIT_MS_MAX, f"a wait is 0 to {WAIT_MS_MAX} ms, or null for no limit"),
        "permits": (0, SHARED_MAX, f"a lock is shared by 1 to {SHARED_MAX}, by 0 for any number, or null for alone"),
        "priority": (-PRIORITY_MAX, PRIORITY_MAX, f"a priority is {-PRIORITY_MAX} to {PRIORITY_MAX}"),
        "due_ms": DUE_RANGE,
        "count": (1, NOTIFIED_MAX, f"1 to {NOTIFIED_MAX} are notified, or null for as many as may be"),
    },
)
