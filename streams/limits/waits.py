"""Who waits for a pool's capacity while holding something else: what the graph of all waits is told.

Who waits needs what it asks for, and at least what each one before it asks for who holds nothing else; the graph
(`accord.streams.waits`) knows the others. What rates and pauses keep out waits for time alone, and needs nothing; so it
is with what is kept for transactions, whose outcomes come without anybody's doing.
"""

from __future__ import annotations

from accord.schemas.messages.waits import Holding, Waiting
from accord.streams.decider import Waits
from accord.streams.limits.pool import HOLDERS_MAX, Pool
from accord.streams.waits.bounds import REPORTED_MAX
from accord.streams.waits.owners import is_nested


def waits_of(pool: Pool) -> Waits | None:
    """Who waits for capacity and holds something else, at most `REPORTED_MAX` by turn; None if nobody does."""
    if not any(is_nested(waiter.owner) for waiter in pool.waiters):
        return None
    free, ahead, waiting = pool.capacity - pool.total(pool.holders), 0, []
    for _, waiter in sorted(zip(pool.turns(pool.waiters), pool.waiters, strict=True), key=lambda pair: pair[0]):
        needs = pool.needs(waiter) - free
        if len(pool.holders) >= HOLDERS_MAX:
            needs = max(needs, 1)
        if is_nested(waiter.owner):
            waiting.append(Waiting(waiter.request, waiter.owner, waiter.agent, max(0, ahead, needs)))
        else:
            ahead = max(ahead, needs)
    holding = tuple([Holding(one.owner, one.agent, one.token, pool.needs(one)) for one in pool.holders])
    return Waits(holding, tuple(waiting[:REPORTED_MAX]))
