"""Who waits for a lock while holding something else: what the graph of all waits (`accord.streams.waits`) is told.

Who wants it alone waits for all holders, who would share it as they do for a permit. Besides, everybody waits for those
before it who hold nothing else; the graph knows the others. Whoever sleeps on a condition waits for a notice, which
anybody may bring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.schemas.messages.waits import Holding, Waiting
from accord.streams.decider import Waits
from accord.streams.locks.barriers import Barrier
from accord.streams.locks.bounds import SHARED_MAX
from accord.streams.waits.bounds import REPORTED_MAX
from accord.streams.waits.owners import is_nested

if TYPE_CHECKING:
    from accord.streams.locks.decider import Lock


def waits_of(state: Lock | Barrier) -> Waits | None:
    """Who waits for a lock and holds something else, at most `REPORTED_MAX` by turn; None if nobody does."""
    if type(state) is Barrier or not state.waiters.nested:
        return None
    ahead, waiting = 0, []
    for waiter in sorted(state.waiters, key=lambda waiter: -waiter.priority):
        needs = _needs(state, waiter.permits)
        if is_nested(waiter.owner):
            waiting.append(Waiting(waiter.request, waiter.owner, waiter.agent, max(ahead, needs)))
        else:
            ahead = max(ahead, needs)
    holding = tuple([Holding(holder.owner, holder.agent, holder.token, 1) for holder in state.holders])
    return Waits(holding, tuple(waiting[:REPORTED_MAX]))


def _needs(lock: Lock, permits: int | None) -> int:
    """How many holders have to leave before somebody is let in whose turn it is."""
    if permits is None or not lock.holders or lock.holders[0].permits is None:
        return len(lock.holders)
    return max(0, len(lock.holders) + 1 - (permits or SHARED_MAX))
