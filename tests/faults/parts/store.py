"""A queue between producers and consumers: a condition variable, and two guarded counters of what was put and taken.

The program is one that a crash at any point leaves right: a producer notifies before it puts, and who takes the last
item wakes all before it does; both still hold the lock then, so nobody sees the difference. So if somebody sleeps for
ever, a wake-up was lost.
"""

from __future__ import annotations

from accord.agents.locks.conditions import Condition

from accord import AccordError, Grant
from tests.faults.parts.player import LEASE_MS, Player, Turn

KEY = "store"
PUT, TAKEN = f"{KEY}/put", f"{KEY}/taken"


def turns(player: Player) -> list[Turn]:
    changed = player.hub.condition(KEY, lease_ms=LEASE_MS)
    counter, total = player.counter, player.config.items_total
    left = player.config.items

    async def produce() -> bool:
        nonlocal left
        if left == 0 or (acquired := await player.acquire(changed)) is None:
            return left > 0
        op, grant = acquired
        value = counter.ask(PUT, grant.token)
        if value is not None and await _notify(changed, 1) and counter.ask(PUT, grant.token, value + 1) is not None:
            left -= 1
        await player.release(op, grant)
        return left > 0

    async def consume() -> bool:
        if (acquired := await player.acquire(changed)) is None:
            return True
        op, grant = acquired
        while True:
            put, taken = counter.ask(PUT, grant.token), counter.ask(TAKEN, grant.token)
            if put is None or taken is None or taken == total or put > taken:
                break
            again = await _wait(player, changed, op, grant)
            if again is None:
                return True
            op = again
        there = put is not None and taken is not None and taken < put
        if there and (taken + 1 < total or await _notify(changed, None)):
            counter.ask(TAKEN, grant.token, taken + 1)
        await player.release(op, grant)
        return taken != total

    return [produce, consume]


async def _wait(player: Player, changed: Condition, held: int, grant: Grant) -> int | None:
    """Waits for a notice: a release and an acquire, for who looks from outside. The number of the acquire, or None."""
    release = player.history.invoke("release", KEY, token=grant.token, of=held)
    op = player.history.invoke("acquire", KEY, lease_ms=LEASE_MS)
    try:
        await changed.wait()
    except AccordError as error:
        player.history.fail(release, error.code, str(error))
        await player.failed(op, error)
        return None
    player.history.ok(release)
    player.history.ok(op, token=grant.token, position=str(grant.position))
    return op


async def _notify(changed: Condition, count: int | None) -> bool:
    """Wakes so many, or all; returns whether the lock was held for that."""
    try:
        await (changed.notify_all() if count is None else changed.notify(count))
    except AccordError:
        return False
    return True
