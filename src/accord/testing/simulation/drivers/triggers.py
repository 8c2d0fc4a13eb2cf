"""Agents that declare patterns of signals, change and drop them, and emit what they are about."""

from __future__ import annotations

import contextlib
import json

from accord.schemas.messages.signals import EmitSignal
from accord.schemas.messages.triggers import DeclareTrigger, DropTrigger, ReadTrigger
from accord.streams.triggers.pattern import absence, encode, event, sequence
from accord.testing.simulation.client import Client, NoAnswer
from accord.testing.simulation.judges.triggers import EACH

RULES = {
    EACH: (event("ordered").by("order"),),
    "paid": (
        sequence("ordered", "paid").by("order").within_ms(20_000),
        sequence("ordered", "paid").by("order").within_ms(5_000),
    ),
    "unpaid": (sequence("ordered", absence("paid")).by("order").within_ms(4_000),),
}


async def watcher(client: Client) -> None:
    """Declares a trigger, sometimes another version, sometimes drops it."""
    chance = client.random
    while client.going:
        name = chance.choice(sorted(RULES))
        with contextlib.suppress(NoAnswer):
            await client.ask(
                "triggers", name, DeclareTrigger(client.name, name, encode(chance.choice(RULES[name]).definition))
            )
            await client.ask("triggers", name, ReadTrigger(client.name))
            if name != EACH and chance.random() < 0.2:
                await client.ask("triggers", name, DropTrigger(client.name))
        await client.rest(20_000)


async def shop(client: Client) -> None:
    """Orders, and pays or does not."""
    number = 0
    while client.going:
        number += 1
        order = f"{client.process.name}-{number}"
        with contextlib.suppress(NoAnswer):
            await client.ask("signals", "ordered", EmitSignal(client.name, json.dumps({"order": order}), ()))
            await client.pause(0, 6_000)
            if client.random.random() < 0.7:
                await client.ask("signals", "paid", EmitSignal(client.name, json.dumps({"order": order}), ()))
        await client.rest(10_000)
