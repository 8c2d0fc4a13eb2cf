"""Programs that coordinate, some of them wrongly."""

from __future__ import annotations

import asyncio
from typing import Any

from accord.agents.client import Accord

from accord.testing import exclusion
from accord.testing.trials.resource import Resource
from accord.testing.trials.sim import AccordSim


async def looks_and_leaps(hub: Accord, room: Resource) -> None:
    """Checks, then acts, without a lock."""
    if await room.read() is None:
        await room.write(hub.agent)


async def counts(hub: Accord, room: Resource) -> None:
    """Counts up under a lock, with the token of its grant."""
    async with hub.lock("room") as grant:
        count = await room.read(grant)
        await asyncio.sleep(0.05)
        await room.write(count + 1, grant)


async def releases_early(hub: Accord, room: Resource) -> None:
    """Writes after it gave the lock back."""
    async with hub.lock("room"):
        count = await room.read()
    await room.write(count + 1)


async def takes_two(hub: Accord, _: Any) -> None:
    """Takes two locks, every other agent in the other order."""
    names = ("left", "right") if hub.agent.endswith("1") else ("right", "left")
    async with hub.lock(names[0]):
        await asyncio.sleep(0.05)
        async with hub.lock(names[1]):
            await asyncio.sleep(0.01)


async def takes_two_again(hub: Accord, _: Any) -> None:
    """The same, and who gives way begins anew."""
    await hub.run(takes_two, hub, None)


def simulated(program: Any, value: Any = 0, *, count: int = 2, fenced: bool = False, **terms: Any) -> AccordSim:
    """A simulation of agents with a room, in which no update may be lost."""
    sim = AccordSim("test_rooms.py::test_one")
    room = sim.resource("room", value, fenced=fenced)
    sim.agent(program, room, count=count, **terms)
    sim.always(exclusion("room"))
    return sim
