"""Locks, slots of limits and events of its own. Each task keeps to one partition, so that a partition out of service
shows as such."""

from __future__ import annotations

from functools import partial

from accord import AccordError, emit
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
        event = player.new_name(partition)
        op = player.history.invoke("emit", event)
        try:
            receipt = emit(event, {"op": op})
            position = await receipt
        except AccordError as error:
            await player.failed(op, error)
        else:
            player.history.ok(op, position=str(position), message_id=receipt.id)
        return True

    return [
        partial(turn, partition)
        for turn in (take_lock, take_slot, send_event)
        for partition in range(player.config.partitions)
    ]
