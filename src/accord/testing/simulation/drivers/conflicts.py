"""Agents that declare what they are about to do on one ground, a judge of what rules cannot see, and an organisation
that rules on what the judge is not sure of."""

from __future__ import annotations

import contextlib

from accord.schemas.messages.conflicts import (
    AppealResolution,
    Capacity,
    ConfigureGround,
    ConflictResolved,
    DeclareIntention,
    DeclineJudgement,
    FinishIntention,
    Intent,
    IntentionAllowed,
    IntentionDeclared,
    IntentionEnded,
    JudgeConflict,
    JudgementWanted,
    RenewIntention,
    Terms,
    WithdrawIntention,
)
from accord.testing.simulation.client import Client, NoAnswer
from accord.testing.simulation.drivers.hierarchy import answer, define
from accord.testing.simulation.judges.conflicts import GROUND
from accord.testing.simulation.judges.hierarchy import ORGANISATION

CAPACITY = 5
LEASE_MS = 12_000
JUDGES = ("judge-0",)
TERMS = Terms((Capacity("database", CAPACITY),), (), (), True, True, JUDGES, 700_000, 8_000, "", ORGANISATION, 20_000,
              30_000)  # fmt: skip


async def intender(client: Client) -> None:
    """Declares intentions, acts when it may, and ends them."""
    number = 0
    while client.going:
        number += 1
        with contextlib.suppress(NoAnswer):
            await client.ask("conflicts", GROUND, ConfigureGround("owner", TERMS))
            await _intend(client, f"{client.process.name}-{number}")
        await client.rest(20_000)


async def _intend(client: Client, name: str) -> None:
    chance = client.random
    intent = Intent(
        "change",
        chance.choice(["", "main.py"]),
        "database" if (amount := chance.choice([0, 2, 4])) else "",
        amount,
        None,
        chance.choice(["", "storage"]),
        chance.choice(["", "move to another database"]),
        None,
        None,
        chance.randint(0, 2),
        LEASE_MS,
        chance.random() < 0.7,
    )
    async with client.watch("conflicts", GROUND) as watch:
        declared = await client.ask("conflicts", GROUND, DeclareIntention(client.name, name, intent, ()))
        if not any(isinstance(event, IntentionDeclared) for event in declared.events):
            return
        events = list(declared.events)
        acts = any(isinstance(event, IntentionAllowed) and event.intention == name for event in events)
        until_s = client.time_s + 60
        while not acts and client.time_s < until_s:
            if any(isinstance(event, IntentionEnded) and event.intention == name for event in events):
                return
            found = await watch.until(
                lambda e: isinstance(e, IntentionAllowed | IntentionEnded) and e.intention == name, LEASE_MS / 3
            )
            events = [] if found is None else [found[1]]
            acts = any(isinstance(event, IntentionAllowed) for event in events)
            await client.ask("conflicts", GROUND, RenewIntention(client.name, name))
        for _ in range(chance.randint(0, 2)):
            await client.pause(0, LEASE_MS)
            await client.ask("conflicts", GROUND, RenewIntention(client.name, name))
        if acts and chance.random() < 0.8:
            await client.ask("conflicts", GROUND, FinishIntention(client.name, name))
        elif chance.random() < 0.8:
            await client.ask("conflicts", GROUND, WithdrawIntention(client.name, name, "better not"))


async def judge(client: Client) -> None:
    """Judges what it is asked, sure of it or not; an appeal now and then. And answers for the organisation."""
    async with (
        client.watch("conflicts", GROUND) as ground,
        client.watch("hierarchy", ORGANISATION) as organisation,
    ):
        with contextlib.suppress(NoAnswer):
            await define(client)
        while client.going:
            with contextlib.suppress(NoAnswer):
                found = await ground.until(lambda e: isinstance(e, JudgementWanted | ConflictResolved), 2_000)
                if found is not None:
                    await _react(client, found[1])
                await answer(client, organisation)


async def _react(client: Client, event: JudgementWanted | ConflictResolved) -> None:
    chance = client.random
    if isinstance(event, ConflictResolved):
        loser = next(iter(event.losers), None)
        if loser is not None and chance.random() < 0.3:
            await client.ask(
                "conflicts", GROUND, AppealResolution(loser.agent, event.conflict, loser.party, "I was first")
            )
        return
    await client.pause(0, 6_000)
    match chance.random():
        case low if low < 0.1:
            pass
        case low if low < 0.2:
            await client.ask("conflicts", GROUND, DeclineJudgement(JUDGES[0], event.conflict, "no idea"))
        case low if low < 0.4:
            verdict = JudgeConflict(JUDGES[0], event.conflict, None, "none", (), "they agree", 900_000, "")
            await client.ask("conflicts", GROUND, verdict)
        case _:
            winner, *others = [party.party for party in event.parties]
            sure = chance.choice([500_000, 900_000])
            verdict = JudgeConflict(JUDGES[0], event.conflict, winner, "contradiction", tuple(others), "so", sure, "")
            await client.ask("conflicts", GROUND, verdict)
