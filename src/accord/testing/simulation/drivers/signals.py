"""Agents that emit signals, and react to those of others: each names what it has heard of when it was emitted."""

from __future__ import annotations

import json

from accord.schemas.messages.signals import EmitInGroup, EmitSignal, SignalEmitted, SignalNumbered
from accord.testing.simulation.client import Client, NoAnswer

NAMES = ("ordered", "paid", "sent", "lost")
GROUP = "group:shop"
KNOWN_MAX = 12


async def emitter(client: Client) -> None:
    """Emits now and then, having heard what its name's watch brought."""
    known: list[str] = []
    heard = client.random.choice(NAMES)
    number = 0
    async with client.watch("signals", heard) as watch, client.watch("signals", GROUP) as group:
        while client.going:
            for one in (watch, group):
                while (found := await one.until(_tells, 0)) is not None:
                    known.append(json.loads(found[1].data)["id"])
            number += 1
            name = f"{client.process.name}-{number}"
            data = json.dumps({"id": name, "after": known[-KNOWN_MAX:]})
            try:
                if client.random.random() < 0.3:
                    await client.ask("signals", GROUP, EmitInGroup(client.name, "any", data, ()))
                else:
                    await client.ask("signals", client.random.choice(NAMES), EmitSignal(client.name, data, ()))
                known.append(name)
            except NoAnswer:
                pass
            await client.rest(10_000)


def _tells(event: object) -> bool:
    return isinstance(event, SignalEmitted | SignalNumbered) and event.data.startswith('{"id"')
