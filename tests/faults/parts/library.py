"""A readers-writer lock: many readers, who look at a guarded counter twice, and a few writers, who change it.

A reader's first look is fenced, so that no writer that has lost its lease can change the counter afterwards; unless
another reader with a later token has looked, then it is refused. The second is not: what it sees is another value only
if the lock let a writer in.
"""

from __future__ import annotations

from tests.faults.parts.player import LEASE_MS, Player, Turn

KEY = "library"
READ, WRITE = 0, None
"""With how many they ask for it: any number, and nobody."""


def turns(player: Player) -> list[Turn]:
    lock = player.hub.rwlock(KEY, lease_ms=LEASE_MS)

    async def visit(permits: int | None) -> bool:
        acquired = await player.acquire(lock.read() if permits == READ else lock.write(), permits=permits)
        if acquired is None:
            return True
        op, grant = acquired
        since_ns = player.believed(op, grant)
        value = player.counter.ask(KEY, grant.token)
        await player.hold(op, grant, player.random.random() / 50, since_ns)
        if permits == WRITE and value is not None:
            player.counter.ask(KEY, grant.token, value + 1)
        elif value is not None:
            looking = player.history.invoke("look", KEY, token=grant.token)
            same = player.counter.look(KEY) == value
            if same or not grant.valid:
                player.history.ok(looking)
            else:
                player.history.fail(looking, "Changed")
        player.believed(op, grant, since_ns)
        await player.release(op, grant)
        return True

    async def read() -> bool:
        return await visit(READ)

    async def write() -> bool:
        return await visit(WRITE)

    return [read, read, write]
