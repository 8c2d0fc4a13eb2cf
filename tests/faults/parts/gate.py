"""A barrier that so many clients pass together, again and again. A wait has no limit: if one of them dies, its lease
alone lets the others go.

One comes late each time, later than a lease: so if one who waits dies, the others are let go before that one comes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from accord import AccordError
from tests.faults.parts.player import LEASE_MS, Player, Turn

KEY = "gate"
LATE_SEAT = "0"
LATE_S = 1.5 * LEASE_MS / 1_000


def turns(player: Player) -> list[Turn]:
    barrier = player.hub.barrier(KEY, player.config.parties, lease_ms=LEASE_MS)

    async def pass_together() -> bool:
        if player.config.seat == LATE_SEAT:
            with suppress(TimeoutError):
                await asyncio.wait_for(player.stopping.wait(), LATE_S)
        op = player.history.invoke("wait", KEY, parties=player.config.parties)
        waiting = asyncio.ensure_future(barrier.wait())
        stopping = asyncio.ensure_future(player.stopping.wait())
        await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        waiting.cancel()  # the others may have stopped already; of no effect on a wait that is over
        try:
            player.history.ok(op, place=await waiting)
        except AccordError as error:
            await player.failed(op, error)
        except asyncio.CancelledError:
            player.history.fail(op, "Withdrawn")
        return True

    return [pass_together]
