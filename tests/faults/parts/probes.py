"""Locks, slots of limits and events of its own. Each task keeps to one partition, so that a partition out of service
shows as such."""

from __future__ import annotations

from functools import partial

from tests.faults.parts.player import LEASE_MS, Player, Turn


def turns(player: Player) -> list[Turn]:
    async def take_lock(partition: int) -> bool:
        acquired = await player.acquire(player.hub.lock(player.new_name(partition), lease_ms=LEASE_MS))
        if acquired is not None:
            await player.release(*acquired)
        return True

    async def take_slot(partition: int) -> bool:
        limit = player.hub.limit(player.new_name(partition), lease_ms=LEASE_MS)
        acquired = await player.acquire(limit, kind="take")
        if acquired is not None:
            await player.release(*acquired, kind="give")
        return True

    async def send_event(partition: int) -> bool:
        await player.send(player.new_name(partition))
        return True

    return [
        partial(turn, partition)
        for turn in (take_lock, take_slot, send_event)
        for partition in range(player.config.partitions)
    ]
