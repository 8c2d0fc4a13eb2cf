"""Locks that all clients want, with a read and a write of a guarded counter under each."""

from __future__ import annotations

from tests.faults.parts.player import LEASE_MS, Player, Turn

ROOMS = ("room-0", "room-1", "room-2")
TASKS = 2
SHORT_WAIT_MS = 500


def turns(player: Player) -> list[Turn]:
    async def take() -> bool:
        lock = player.hub.lock(player.random.choice(ROOMS), lease_ms=LEASE_MS)
        acquired = await player.acquire(lock, wait_ms=SHORT_WAIT_MS if player.random.random() < 0.2 else None)
        if acquired is None:
            return True
        op, grant = acquired
        since_ns = player.believed(op, grant)
        value = player.counter.ask(lock.name, grant.token)
        # Now and then a body outlasts its lease and lives on renewals.
        long = player.random.random() < 0.02
        await player.hold(op, grant, 1.5 * LEASE_MS / 1_000 if long else player.random.random() / 50, since_ns)
        if value is not None:
            player.counter.ask(lock.name, grant.token, value + 1)
        player.believed(op, grant, since_ns)
        await player.release(op, grant)
        return True

    return [take] * TASKS
