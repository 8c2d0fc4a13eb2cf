"""What may be asked of a lock or a pool: names and durations, checked before anything is written to the log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from accord.agents.leases.leases import MARGIN_MS, RENEWALS_A_LEASE
from accord.schemas.topics import KEY_BYTES_MAX
from accord.streams.locks.bounds import (
    LEASE_MS_MAX,
    LEASE_MS_MIN,
    PARTIES_MAX,
    PRIORITY_MAX,
    SHARED_MAX,
    TEXT_BYTES_MAX,
    WAIT_MS_MAX,
)
from accord.streams.tasks.bounds import problem_of_names

from accord.errors import BadInput


def check_name(name: Any, noun: str = "lock") -> str:
    """A lock's or a pool's name. Raises BadInput unless it is text of 1 to 255 bytes of UTF-8."""
    if not isinstance(name, str):
        raise BadInput(f"a {noun}'s name is text, not {name!r}.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= KEY_BYTES_MAX:
        raise BadInput(f"{noun} name {name[:40]!r} has {size} bytes of UTF-8; 1 to {KEY_BYTES_MAX} are needed.")
    return name


def check_names(what: str, given: Iterable[str], most: int, *, least: int = 1, noun: str = "names") -> tuple[str, ...]:
    """Names of agents or capabilities. Raises BadInput: they cannot be such, are too few, too many or repeated."""
    names = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(name, str) for name in names):
        raise BadInput(f"{what}={names!r}: {noun} are needed.")
    if len(names) < least:
        raise BadInput(f"{what}: none is named.")
    if len(set(names)) < len(names):
        raise BadInput(f"{what}={names!r}: one is named twice.")
    problem = problem_of_names(what, names, most)
    if problem is not None:
        raise BadInput(f"{problem}.")
    return names


def shortened(text: str, bytes_max: int = TEXT_BYTES_MAX) -> str:
    """As much of a text as the log takes beside what it is about; of what UTF-8 cannot write, a question mark."""
    return text.encode(errors="replace")[:bytes_max].decode(errors="ignore")


def check_lease_ms(lease_ms: Any, clock_step_ms: int) -> int:
    """A lease. Raises BadInput unless it is a whole number of ms that a holder can believe in and renew."""
    _whole("lease_ms", lease_ms)
    if lease_ms < LEASE_MS_MIN:
        raise BadInput(
            f"lease_ms={lease_ms} is {lease_ms} milliseconds; the least is {LEASE_MS_MIN}.",
            remedy=_seconds(lease_ms) if lease_ms > 0 else "",
        )
    if lease_ms > LEASE_MS_MAX:
        raise BadInput(f"lease_ms={lease_ms} is {lease_ms / 3_600_000:.1f} hours; the most is {LEASE_MS_MAX} (a day).")
    if lease_ms * (1 - 1 / RENEWALS_A_LEASE) <= clock_step_ms + MARGIN_MS:
        raise BadInput(
            f"lease_ms={lease_ms} is too short for brokers' clocks that step by {clock_step_ms} ms "
            "(locks.clock_step_ms): it could not be renewed in time."
        )
    return int(lease_ms)


def check_wait_ms(wait_ms: Any) -> int | None:
    """A wait. Raises BadInput unless it is None or a whole number of ms from 0 on."""
    if wait_ms is None:
        return None
    _whole("wait_ms", wait_ms)
    if not 0 <= wait_ms <= WAIT_MS_MAX:
        raise BadInput(
            f"wait_ms={wait_ms}: a wait is 0 to {WAIT_MS_MAX} ms.", remedy="0 tries once, None waits without limit."
        )
    return int(wait_ms)


def check_permits(permits: Any) -> int:
    """A semaphore's permits. Raises BadInput unless it is a whole number that the log takes."""
    if isinstance(permits, bool) or not isinstance(permits, int) or not 1 <= permits <= SHARED_MAX:
        raise BadInput(f"permits={permits!r}: a semaphore has 1 to {SHARED_MAX} permits.")
    return permits


def check_parties(parties: Any) -> int:
    """A barrier's parties. Raises BadInput unless it is a whole number that the log takes."""
    if isinstance(parties, bool) or not isinstance(parties, int) or not 1 <= parties <= PARTIES_MAX:
        raise BadInput(f"parties={parties!r}: a barrier has 1 to {PARTIES_MAX} parties.")
    return parties


def check_priority(priority: Any) -> int:
    """A priority. Raises BadInput unless it is a whole number that the log takes."""
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > PRIORITY_MAX:
        raise BadInput(f"priority={priority!r}: a priority is {-PRIORITY_MAX} to {PRIORITY_MAX}, higher goes first.")
    return priority


def check_number(name: str, value: Any, low: int, high: int) -> int:
    """A whole number. Raises BadInput unless it is one from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadInput(f"{name}={value!r}: a whole number of {low} to {high} is needed.")
    return value


def _whole(name: str, value: Any) -> None:
    if isinstance(value, float):
        hint = _seconds(value) if 0 < value < LEASE_MS_MIN else ""
        raise BadInput(f"{name}={value!r} is a float; durations are whole milliseconds.", remedy=hint)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInput(f"{name}={value!r} is no whole number of milliseconds.")


def _seconds(value: float) -> str:
    return f"For {value:g} second{'s' * (value != 1)}: {int(value * 1_000):_}."
