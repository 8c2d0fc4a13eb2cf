"""Events at a steady rate, whatever becomes of those before: what an outage held up is made up for afterwards."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from accord.schemas.topics import partition_of

from tests.faults.parts.player import Player, Turn

NAMES = 30
"""So many names in each partition."""
UNDER_WAY_MAX = 300
"""In each partition; nothing is sent beyond it."""
OWED_MAX = 3_000
"""In each partition; what is owed beyond it is never made up for."""
ROUND_S = 0.05


def turns(player: Player) -> list[Turn]:
    partitions = player.config.partitions
    per_s = player.config.load_per_s / partitions
    return [partial(_send, player, partition, per_s) for partition in range(partitions) if per_s]


async def _send(player: Player, partition: int, per_s: float) -> bool:
    """Sends until the run is over."""
    names = [name for n in range(NAMES * player.config.partitions) if _home(player, name := f"load-{n}") == partition]
    owed, last_s = 0.0, time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        under_way: set[asyncio.Task[None]] = set()
        while not player.stopping.is_set():
            now_s = time.monotonic()
            owed, last_s = min(OWED_MAX, owed + per_s * (now_s - last_s)), now_s
            while owed >= 1 and len(under_way) < UNDER_WAY_MAX:
                owed -= 1
                task = tasks.create_task(player.send(player.random.choice(names)))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(ROUND_S)
    return False


def _home(player: Player, name: str) -> int:
    return partition_of(name.encode(), player.config.partitions)
