"""Members of an organisation that decide, ask those above them, delegate, are away, and answer or do not."""

from __future__ import annotations

import contextlib

from accord.schemas.messages.hierarchy import (
    AnswerRequest,
    AuthorityAsked,
    BeginAbsence,
    Boundary,
    Decide,
    DecisionDefaulted,
    DecisionMade,
    DecisionRequested,
    DecisionWithdrawn,
    DefineOrganisation,
    DelegateAuthority,
    EndAbsence,
    Member,
    ReportOutcome,
    RequestDecision,
    RevokeDelegation,
    WithdrawRequest,
)
from accord.testing.simulation.client import Client, NoAnswer, Watch
from accord.testing.simulation.judges.hierarchy import ORGANISATION

ANSWER_MS = 10_000
MILLION = 1_000_000


def _member(name: str, reports_to: str | None, spend: int, deputy: str | None = None) -> Member:
    boundaries = (Boundary("conflict", 0), Boundary("spend", spend * MILLION))
    return Member(name, reports_to, boundaries, deputy, ANSWER_MS)


MEMBERS = (
    _member("head", None, 1_000, "lead"),
    _member("lead", "head", 100),
    _member("hand-0", "lead", 10),
    _member("hand-1", "lead", 10),
)


async def define(client: Client) -> None:
    """Makes sure that the organisation is there."""
    await client.ask("hierarchy", ORGANISATION, DefineOrganisation("founder", MEMBERS, 10))


async def hand(client: Client) -> None:
    """Decides, or asks; delegates and goes away now and then."""
    number = 0
    while client.going:
        number += 1
        with contextlib.suppress(NoAnswer):
            await define(client)
            await _decide(client, f"{client.process.name}-{number}")
            if client.random.random() < 0.3:
                await _delegate(client, f"{client.process.name}-{number}")
            if client.random.random() < 0.2:
                member = client.random.choice(["head", "lead"])
                change = client.random.choice([EndAbsence(member, member), BeginAbsence(member, member, "on leave")])
                await client.ask("hierarchy", ORGANISATION, change)
        await client.rest(15_000)


async def _decide(client: Client, name: str) -> None:
    chance, me = client.random, client.name
    amount = chance.choice([5, 50, 500, 5_000]) * MILLION
    command: Decide | RequestDecision = Decide(me, name, "spend", amount, "chairs", "{}", "approve", "needed", True, ())
    if chance.random() < 0.3:
        command = RequestDecision(me, name, (me,), "spend", amount, "chairs", "{}", (), None, ())
    async with client.watch("hierarchy", ORGANISATION) as watch:
        asked = await client.ask("hierarchy", ORGANISATION, command)
        if any(isinstance(event, DecisionRequested) for event in asked.events):
            if chance.random() < 0.1:
                await client.ask("hierarchy", ORGANISATION, WithdrawRequest(me, name, "better not"))
            ended = DecisionMade | DecisionDefaulted | DecisionWithdrawn
            await watch.until(lambda e: isinstance(e, ended) and e.decision == name, 60_000)
        if chance.random() < 0.5:
            await client.ask("hierarchy", ORGANISATION, ReportOutcome(me, name, "success", ""))


async def _delegate(client: Client, name: str) -> None:
    chance = client.random
    given = DelegateAuthority(
        "lead", f"given-{name}", "hand-0", "spend", 50 * MILLION, chance.choice([5_000, 30_000]), "busy"
    )
    await client.ask("hierarchy", ORGANISATION, given)
    if chance.random() < 0.5:
        await client.ask("hierarchy", ORGANISATION, RevokeDelegation("lead", given.delegation, "back"))


async def superior(client: Client) -> None:
    """Answers what head and lead are asked."""
    async with client.watch("hierarchy", ORGANISATION) as watch:
        while client.going:
            with contextlib.suppress(NoAnswer):
                await answer(client, watch, 5_000)


async def answer(client: Client, watch: Watch, wait_ms: float = 0) -> None:
    """Answers what members were asked, most of the time and in time."""
    chance = client.random
    while (found := await watch.until(lambda e: isinstance(e, AuthorityAsked), wait_ms)) is not None:
        asked: AuthorityAsked = found[1]
        await client.pause(0, ANSWER_MS / 2)
        if chance.random() < 0.8:
            choice = chance.choice(["approve", "reject", "escalate"])
            await client.ask("hierarchy", ORGANISATION, AnswerRequest(asked.agent, asked.decision, choice, "so"))
