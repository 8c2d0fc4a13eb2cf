"""What may be asked of a lock, a condition or a barrier, and how much of it is kept: all bounds in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from accord.schemas.messages import Command
from accord.schemas.messages.locks import COMMANDS
from accord.schemas.messages.log import Tick

LEASE_MS_MIN: Final = 1_000
"""Shorter leases end before a renewal can cross the log under load."""
LEASE_MS_MAX: Final = 24 * 3_600_000
WAIT_MS_MAX: Final = 30 * 24 * 3_600_000
TEXT_BYTES_MAX: Final = 255
"""Of each name in a command, and (`schemas.headers`) of its message id."""
WAITERS_MAX: Final = 800
"""Longest queue of one lock; beyond it a request is denied with `queue_full`. If all time out at once, the decision has
at most 800 x (3 x 255 + 45) bytes and those of the holders whose leases end: it must fit `DECISION_BYTES_MAX`, or the
lock could never be decided again."""
SHARED_MAX: Final = 200
"""Most who share a lock; more readers queue."""
PRIORITY_MAX: Final = 10
"""The least is the same below 0."""
PARTIES_MAX: Final = 200
"""Of one barrier."""


def problem_of(command: Command) -> str | None:
    """Why a command from a careless sender cannot be decided; accord's own client refuses these earlier."""
    try:
        texts, numbers = _FIELDS[type(command)]
    except KeyError:
        raise TypeError(f"the locks domain has no command {type(command).__name__}") from None
    for name in texts:
        text = getattr(command, name)
        if text is not None and len(text.encode()) > TEXT_BYTES_MAX:
            return f"{name} has more than {TEXT_BYTES_MAX} bytes"
    for name in numbers:
        number = getattr(command, name)
        least, most, meaning = _RANGES[name]
        if number is not None and not least <= number <= most:
            return f"{name}={number}: {meaning}"
    return None


_TEXTS: Final = frozenset({"agent", "owner", "request", "resource", "reason"})
_RANGES: Final[Mapping[str, tuple[int, int, str]]] = {
    "lease_ms": (LEASE_MS_MIN, LEASE_MS_MAX, f"a lease is {LEASE_MS_MIN} to {LEASE_MS_MAX} ms"),
    "wait_ms": (0, WAIT_MS_MAX, f"a wait is 0 to {WAIT_MS_MAX} ms, or null for no limit"),
    "permits": (0, SHARED_MAX, f"a lock is shared by 1 to {SHARED_MAX}, by 0 for any number, or null for alone"),
    "priority": (-PRIORITY_MAX, PRIORITY_MAX, f"a priority is {-PRIORITY_MAX} to {PRIORITY_MAX}"),
    "count": (1, WAITERS_MAX, f"1 to {WAITERS_MAX} are notified, or null for all"),
    "parties": (1, PARTIES_MAX, f"a barrier has 1 to {PARTIES_MAX} parties"),
}
"""What numbers of a command may be, by field: least, most, what they mean."""

_FIELDS: Final[Mapping[type[Command], tuple[tuple[str, ...], tuple[str, ...]]]] = {
    kind: (
        tuple([name for name in kind.__struct_fields__ if name in _TEXTS]),
        tuple([name for name in kind.__struct_fields__ if name in _RANGES]),
    )
    for kind in (*COMMANDS, Tick)
}
"""The fields of each command that are checked: texts and numbers."""
