"""Pools of capacity and rate limits: the limits domain's state as people and programs look at it.

Keys are added, never renamed. Durations are counted to one moment: see `accord.replay.sharing`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from accord.replay.locks import Pinned, pinned
from accord.replay.timeline import iso
from accord.streams.limits import pool as state
from accord.streams.limits.bounds import MODES
from accord.streams.limits.pool import MINUTE_MS, UNCONFIGURED, Bucket, Pool


class Holder(msgspec.Struct, frozen=True):
    """Who holds `amount`; `tokens` are those that it expects to use, `since` is when it was granted."""

    agent: str
    token: int
    amount: int
    mode: str
    tokens: int
    since: str
    held_ms: int
    lease_left_ms: int
    owner: str
    request: str


class Waiter(msgspec.Struct, frozen=True):
    """Who waits; `place` 1 is next.

    `waits_for` is what is in its way: those before it (`turn`), room (`capacity`), the end of a pause (`paused`) or
    more requests or tokens (`rate`). `fits`: there is room for it. `holds` names what its call chain holds meanwhile.
    """

    agent: str
    place: int
    amount: int
    mode: str
    priority: int
    role: str
    tokens: int
    waiting_ms: int
    wait_left_ms: int | None
    waits_for: str
    fits: bool
    owner: str
    request: str
    holds: tuple[str, ...] = ()


class Rate(msgspec.Struct, frozen=True):
    """So much a minute: `left` may be taken at once, one more comes in `next_ms`, and in `full_ms` all are there.

    Less than nothing is left where more was used than had been expected.
    """

    per_minute: int
    left: int
    next_ms: int
    full_ms: int


class Share(msgspec.Struct, frozen=True):
    """What an agent, or the agents of a role with a weight of its own, have had."""

    name: str
    weight: int
    grants: int
    amount: int


class Usage(msgspec.Struct, frozen=True):
    """How a pool was used since it was configured; one that is not is remembered from its first use until it is idle.

    `wait_ms_mean` is of grants, `hold_ms_mean` of those that ended (None: none yet). `utilisation` is the part of the
    capacity, as it is now, that was held over that time; None where that time is not known. Demand is what was granted,
    denied (too late included) and is queued, as requests and as amounts.
    """

    since: str | None
    utilisation: float | None
    wait_ms_mean: int | None
    hold_ms_mean: int | None
    granted: int
    denied: int
    queued: int
    granted_amount: int
    denied_amount: int
    queued_amount: int
    tokens: int


class PoolView(msgspec.Struct, frozen=True):
    """A pool in use, or configured. `paused_ms` is for how long nobody is let in; `position` is the last command that
    the partition had decided.

    `kept` is how much of what is in use nobody holds any more: it is kept for transactions, which are among `pins`.
    """

    name: str
    configured: bool
    capacity: int
    in_use: int
    free: int
    holders: tuple[Holder, ...]
    waiters: tuple[Waiter, ...]
    requests: Rate | None
    tokens: Rate | None
    paused_ms: int | None
    roles: tuple[str, ...]
    shares: tuple[Share, ...]
    usage: Usage
    position: str
    pins: tuple[Pinned, ...] = ()
    kept: int = 0


def view_of(name: str, aggregate: dict[str, Any], position: str, now_ms: int) -> PoolView:
    """A pool as it stands.

    Args:
        aggregate: its state, as in `World.partitions`.
        position: the last command that its partition had decided.
        now_ms: what durations are counted to, in ms since 1970.
    """
    pool = msgspec.convert(aggregate, Pool)
    terms = pool.terms or UNCONFIGURED
    return PoolView(
        name,
        pool.terms is not None,
        pool.capacity,
        pool.in_use,
        max(0, pool.capacity - pool.in_use),
        tuple(_holder(holder, now_ms) for holder in pool.holders),
        _queue(pool, now_ms),
        _rate(pool.requests, now_ms),
        _rate(pool.tokens, now_ms),
        None if pool.paused_until_ms is None else max(0, pool.paused_until_ms - now_ms),
        terms.roles,
        tuple(Share(one.name, terms.weight(one.name), one.grants, one.amount) for one in pool.shares),
        _usage(pool, now_ms),
        position,
        tuple(pinned(pin, now_ms) for pin in pool.pins),
        pool.total(pool.kept),
    )


def _holder(h: state.Holder, now_ms: int) -> Holder:
    return Holder(
        h.agent, h.token, h.amount, MODES[h.exclusive], h.tokens, iso(h.granted_ms), now_ms - h.granted_ms,
        h.deadline_ms - now_ms, h.owner, h.request,
    )  # fmt: skip


def _queue(pool: Pool, now_ms: int) -> tuple[Waiter, ...]:
    """Who waits, in the order of their turns as it is now."""
    in_turn = sorted(zip(pool.turns(pool.waiters), pool.waiters, strict=True), key=lambda pair: pair[0])
    return tuple(_waiter(pool, waiter, place, now_ms) for place, (_, waiter) in enumerate(in_turn, start=1))


def _waiter(pool: Pool, w: state.Waiter, place: int, now_ms: int) -> Waiter:
    wait_left_ms = None if w.deadline_ms is None else w.deadline_ms - now_ms
    waits_for = "turn" if place > 1 else pool.obstacle(w, now_ms) or _DUE
    return Waiter(
        w.agent, place, w.amount, MODES[w.exclusive], w.priority, w.role, w.tokens, now_ms - w.since_ms, wait_left_ms,
        waits_for, pool.fits(w), w.owner, w.request,
    )  # fmt: skip


_DUE: Final = "tick"
"""Nothing is in its way by now: the next command or tick grants it."""


def _rate(bucket: Bucket | None, now_ms: int) -> Rate | None:
    if bucket is None:
        return None
    left = bucket.level_at(now_ms) // MINUTE_MS
    next_ms, full_ms = [max(0, bucket.has(count) - now_ms) for count in (min(left + 1, bucket.rate), bucket.rate)]
    return Rate(bucket.rate, left, next_ms, full_ms)


def _usage(pool: Pool, now_ms: int) -> Usage:
    u = pool.usage
    utilisation = None
    if pool.terms is not None and now_ms > u.since_ms:
        held = sum(pool.needs(holder) * (now_ms - max(holder.granted_ms, u.since_ms)) for holder in pool.holders)
        utilisation = round((u.amount_ms + held) / (pool.capacity * (now_ms - u.since_ms)), 4)
    return Usage(
        None if pool.terms is None else iso(u.since_ms),
        utilisation,
        u.waited_ms // u.granted if u.granted else None,
        u.held_ms // u.ended if u.ended else None,
        u.granted,
        u.denied,
        len(pool.waiters),
        u.granted_amount,
        u.denied_amount,
        sum(waiter.amount for waiter in pool.waiters),
        u.tokens,
    )
