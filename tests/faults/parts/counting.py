"""So many increments of one guarded counter: a read and a write under a lock that all clients want."""

from __future__ import annotations

from tests.faults.parts.player import LEASE_MS, Player, Turn

KEY = "counter"


def turns(player: Player) -> list[Turn]:
    left = player.config.increments
    lock = player.hub.lock(KEY, lease_ms=LEASE_MS)

    async def count_up() -> bool:
        nonlocal left
        if left == 0:
            return False
        acquired = await player.acquire(lock)
        if acquired is None:
            return True
        op, grant = acquired
        since_ns = player.believed(op, grant)
        value = player.counter.ask(KEY, grant.token)
        if value is not None and player.counter.ask(KEY, grant.token, value + 1) is not None:
            left -= 1
        player.believed(op, grant, since_ns)
        await player.release(op, grant)
        return True

    return [count_up]
