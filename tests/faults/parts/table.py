"""Diners who each take two or three forks, in an order of their own: they come to wait for each other in rings.

Nobody gives up waiting, so if a deadlock is not seen, or its victim is not told, the diners starve and the run does not
come to its end. Who gives way begins again at the same age.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from accord import AccordError
from tests.faults.parts.player import LEASE_MS, Player, Turn

FORKS = ("fork-0", "fork-1", "fork-2", "fork-3")
BITE_S = 0.02


def turns(player: Player) -> list[Turn]:
    async def eat(forks: list[str]) -> None:
        if not forks:
            await asyncio.sleep(BITE_S)
            return
        acquired = await player.acquire(player.hub.lock(forks[0], lease_ms=LEASE_MS), raises=True)
        assert acquired is not None
        op, grant = acquired
        player.believed(op, grant)
        try:
            await eat(forks[1:])
        finally:
            player.believed(op, grant)
            await player.release(op, grant)

    async def dine() -> bool:
        forks = player.random.sample(FORKS, player.random.choice((2, 2, 3)))
        with suppress(AccordError):  # its history has it
            await player.hub.run(eat, forks)
        return True

    return [dine]
