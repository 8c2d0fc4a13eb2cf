"""Agents that share a pool of capacity: parts of it, or all of it alone."""

from __future__ import annotations

import contextlib

from accord.schemas.messages.limits import (
    CapacityDenied,
    CapacityGranted,
    CapacityQueued,
    ConfigurePool,
    LeaseRenewed,
    ReleaseCapacity,
    RenewLease,
    RequestCapacity,
    WithdrawRequest,
)
from accord.testing.simulation.client import Client, NoAnswer

POOL = "gpus"
CAPACITY = 3


async def user(client: Client) -> None:
    """Uses a part of the pool now and then; sets its terms first."""
    while client.going:
        try:
            await client.ask("limits", POOL, ConfigurePool(client.name, CAPACITY, 60, None, (), (), ()))
            break
        except NoAnswer:
            continue
    while client.going:
        with contextlib.suppress(NoAnswer):
            await _use(client)
        await client.rest(15_000)


async def _use(client: Client) -> None:
    chance = client.random
    mode = chance.choice(["shared", "shared", "shared", "exclusive"])
    amount = CAPACITY if mode == "exclusive" else chance.randint(1, 2)
    lease_ms, wait_ms = chance.choice([3_000, 8_000]), chance.choice([None, 0, 10_000])
    asks = RequestCapacity(
        client.name, f"{client.process.name}/0", "", amount, mode, chance.randint(0, 2), 0, lease_ms, wait_ms, False
    )
    async with client.watch("limits", POOL) as watch:
        asked = await client.ask("limits", POOL, asks)
        granted = next((e for e in asked.events if isinstance(e, CapacityGranted) and e.request == asked.id), None)
        if granted is None and any(isinstance(e, CapacityQueued) and e.request == asked.id for e in asked.events):
            ends = (CapacityGranted, CapacityDenied)
            patience_ms = 60_000 if wait_ms is None else wait_ms + 30_000
            found = await watch.until(lambda e: isinstance(e, ends) and e.request == asked.id, patience_ms)
            if found is None:
                await client.ask("limits", POOL, WithdrawRequest(client.name, asked.id))
                return
            granted = found[1] if isinstance(found[1], CapacityGranted) else None
    if granted is None:
        return
    for _ in range(chance.randint(0, 3)):
        await client.pause(0, lease_ms)
        renewed = await client.ask("limits", POOL, RenewLease(client.name, granted.token, granted.request, lease_ms))
        if not renewed.events or not isinstance(renewed.events[-1], LeaseRenewed):
            return
    if chance.random() < 0.9:
        await client.ask("limits", POOL, ReleaseCapacity(client.name, granted.token, granted.request, None, None))
