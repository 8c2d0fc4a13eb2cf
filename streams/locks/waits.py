"""Who waits for a lock while holding something else: what the graph of all waits (`accord.streams.waits`) is told.

Who waits alone, waits for all holders. Who would share the lock as they do, and has nobody before it who would not,
waits for the first of them to leave. Whoever sleeps on a condition waits for a notice, which anybody may bring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.schemas.messages.waits import Holding, Waiting
from accord.streams.decider import Waits
from accord.streams.locks.barriers import Barrier
from accord.streams.waits.bounds import REPORTED_MAX
from accord.streams.waits.owners import is_nested

if TYPE_CHECKING:
    from accord.streams.locks.decider import Lock


def waits_of(state: Lock | Barrier) -> Waits | None:
    """Who waits for a lock and holds something else, at most `REPORTED_MAX` by turn; None if nobody does."""
    if type(state) is Barrier or not state.waiters or not any(is_nested(waiter.owner) for waiter in state.waiters):
        return None
    all_shared = all(holder.permits is not None for holder in state.holders)
    waiting = []
    for waiter in sorted(state.waiters, key=lambda waiter: -waiter.priority):
        all_shared = all_shared and waiter.permits is not None
        if is_nested(waiter.owner):
            needs = 1 if all_shared else len(state.holders)
            waiting.append(Waiting(waiter.request, waiter.owner, waiter.agent, needs))
    holding = tuple([Holding(holder.owner, holder.agent, holder.token, 1) for holder in state.holders])
    return Waits(holding, tuple(waiting[:REPORTED_MAX]))
