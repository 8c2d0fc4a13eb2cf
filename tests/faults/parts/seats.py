"""A semaphore with fewer permits than there are who want one."""

from __future__ import annotations

import asyncio

from tests.faults.parts.player import LEASE_MS, Player, Turn

KEY = "seats"
PERMITS = 3
FILL_WAIT_MS = 30_000


def turns(player: Player) -> list[Turn]:
    lock = player.hub.semaphore(KEY, PERMITS, lease_ms=LEASE_MS)

    async def sit() -> bool:
        acquired = await player.acquire(lock, permits=PERMITS)
        if acquired is not None:
            op, grant = acquired
            await player.hold(op, grant, player.random.random() / 20, player.believed(op, grant))
            await player.release(op, grant)
        return True

    return [sit, sit]


async def fill(player: Player) -> None:
    """Takes all permits at once, which fails if one was lost."""
    op = player.history.invoke("fill", KEY)
    everybody = asyncio.Barrier(PERMITS)

    async def sit() -> bool:
        lock = player.hub.semaphore(KEY, PERMITS, lease_ms=LEASE_MS)
        acquired = await player.acquire(lock, permits=PERMITS, wait_ms=FILL_WAIT_MS)
        if acquired is None:
            await everybody.abort()
            return False
        mine, grant = acquired
        since_ns = player.believed(mine, grant)
        try:
            await everybody.wait()
        except asyncio.BrokenBarrierError:
            return False
        finally:
            player.believed(mine, grant, since_ns)
            await player.release(mine, grant)
        return True

    if all(await asyncio.gather(*[sit() for _ in range(PERMITS)])):
        player.history.ok(op)
    else:
        player.history.fail(op, "NotAll", f"not all of the {PERMITS} permits could be had at once")
