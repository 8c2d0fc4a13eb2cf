"""Agents that propose and vote."""

from __future__ import annotations

import contextlib

from accord.schemas.messages.proposals import (
    CastVote,
    ProposalDecided,
    ProposalOpened,
    ProposalWithdrawn,
    Propose,
    Voter,
    WithdrawProposal,
)
from accord.testing.simulation.client import Client, NoAnswer


async def voter(client: Client) -> None:
    """Proposes now and then; votes on what it sees proposed."""
    number = 0
    while client.going:
        number += 1
        with contextlib.suppress(NoAnswer):
            await _propose(client, f"{client.process.name}-{number}")
        await client.rest(25_000)


async def _propose(client: Client, name: str) -> None:
    """Everybody's vote is cast here, by whoever is first: votes are commands that name their voter."""
    chance = client.random
    voters = tuple([Voter(f"voter-{number}", chance.randint(1, 3)) for number in range(3)])
    async with client.watch("proposals", name) as watch:
        asked = await client.ask(
            "proposals",
            name,
            Propose(client.name, "{}", voters, 1, 2, None, chance.choice([5_000, 20_000]), 60_000, ()),
        )
        if not any(isinstance(event, ProposalOpened) for event in asked.events):
            return
        for one in voters:
            await client.pause(0, 4_000)
            for _ in range(chance.choice([0, 1, 1, 1, 2])):
                await client.ask("proposals", name, CastVote(one.name, chance.choice(["yes", "no", "abstain"]), ""))
        if chance.random() < 0.1:
            await client.ask("proposals", name, WithdrawProposal(client.name, "better not"))
        await watch.until(lambda e: isinstance(e, ProposalDecided | ProposalWithdrawn), 60_000)
