"""Locks and barriers: the locks domain's state as people and programs look at it.

Keys are added, never renamed. Durations are counted to one moment: see `accord.replay.sharing`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from accord.replay.timeline import iso
from accord.streams.pins import Pin


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock; `permits` is with how many together: None alone, 0 with any number, n with n - 1 others."""

    agent: str
    token: int
    held_ms: int
    lease_left_ms: int
    owner: str
    request: str
    permits: int | None = None
    since: str = ""


class Waiter(msgspec.Struct, frozen=True):
    """Who waits. `place` 1 is next. `for_notice`: it sleeps on the condition, and has no place.

    `wait_left_ms` None is without limit. `permits` is as in `Holder`. `holds` names what its chain holds meanwhile.
    """

    agent: str
    place: int
    waiting_ms: int
    priority: int
    for_notice: bool
    owner: str
    request: str
    permits: int | None = None
    wait_left_ms: int | None = None
    holds: tuple[str, ...] = ()


class Pinned(msgspec.Struct, frozen=True):
    """A transaction that is committed only under a lock, or a part of a pool: nobody new is granted that before the
    outcome."""

    transaction: str
    agent: str
    token: int
    pinned_ms: int


class LockView(msgspec.Struct, frozen=True):
    """A name in use. `kind` is mutex, semaphore, rwlock or barrier.

    `holder`, `token` and `since` are the first holder's, `lease_left_ms` is that of the lease that ends first.
    `position` is the last command that the partition had decided.
    """

    name: str
    kind: str
    permits: int | None
    holder: str | None
    token: int | None
    holders: tuple[Holder, ...]
    waiters: tuple[Waiter, ...]
    position: str
    since: str | None = None
    lease_left_ms: int | None = None
    pins: tuple[Pinned, ...] = ()


def view_of(name: str, aggregate: dict[str, Any], position: str, now_ms: int) -> LockView:
    """A name as it stands.

    Args:
        aggregate: its state, as in `World.partitions`.
        position: the last command that its partition had decided.
        now_ms: what durations are counted to, in ms since 1970.
    """
    if aggregate["type"] == "Barrier":
        waiting = tuple(
            Waiter(
                party["agent"], place, 0, 0, False, "", party["request"],
                wait_left_ms=_left(party["wait_deadline_ms"], now_ms),
            )
            for place, party in enumerate(aggregate["waiting"], start=1)
        )  # fmt: skip
        return LockView(name, "barrier", aggregate["parties"], None, None, (), waiting, position)
    holders = tuple(
        Holder(
            h["agent"], h["token"], now_ms - h["granted_ms"], h["deadline_ms"] - now_ms, h["owner"], h["request"],
            h.get("permits"), iso(h["granted_ms"]),
        )
        for h in aggregate["holders"]
    )  # fmt: skip
    in_turn = sorted(aggregate["waiters"], key=lambda waiter: -waiter.get("priority", 0))
    waiters = tuple(_waiter(one, place, now_ms) for place, one in enumerate(in_turn, start=1))
    sleepers = tuple(_waiter(one, 0, now_ms) for one in aggregate["sleepers"])
    asked = [holder.permits for holder in holders] + [waiter.permits for waiter in waiters]
    permits = [number for number in asked if number is not None]
    kind = "mutex" if not permits else "semaphore" if permits[0] else "rwlock"
    first = holders[0] if holders else None
    return LockView(
        name,
        kind,
        permits[0] if permits else None,
        first.agent if first else None,
        first.token if first else None,
        holders,
        (*waiters, *sleepers),
        position,
        first.since if first else None,
        min((holder.lease_left_ms for holder in holders), default=None),
        tuple(pinned(msgspec.convert(pin, Pin), now_ms) for pin in aggregate.get("pins", ())),
    )


def pinned(pin: Pin, now_ms: int) -> Pinned:
    return Pinned(pin.transaction, pin.agent, pin.token, now_ms - pin.pinned_ms)


def _waiter(w: dict[str, Any], place: int, now_ms: int) -> Waiter:
    """One who waits, for its turn or (place 0) for a notice."""
    return Waiter(
        w["agent"], place, now_ms - w["since_ms"], w.get("priority", 0), place == 0, w["owner"], w["request"],
        w.get("permits"), _left(w["deadline_ms"], now_ms),
    )  # fmt: skip


def _left(deadline_ms: int | None, now_ms: int) -> int | None:
    return None if deadline_ms is None else deadline_ms - now_ms
