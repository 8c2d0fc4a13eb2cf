"""Agents that ask the same questions of a model: one calls, the others wait for its answer, or call when it is gone."""

from __future__ import annotations

import contextlib

from accord.schemas.messages.llm import (
    AnswerAwaited,
    CallGranted,
    CallRecorded,
    ForgetAnswer,
    RecordCall,
    RenewLease,
    RequestAnswer,
    RequestWithdrawn,
    WithdrawRequest,
)
from accord.testing.simulation.client import Client, NoAnswer, Watch

MODEL = "some-model"
LEASE_MS = 8_000
WAIT_MS = 60_000


async def asker(client: Client) -> None:
    """Asks one of three questions now and then."""
    while client.going:
        with contextlib.suppress(NoAnswer):
            await _ask(client, f"question-{client.random.randrange(3)}")
        await client.rest(15_000)


async def _ask(client: Client, name: str) -> None:
    chance = client.random
    me = client.process.name
    if chance.random() < 0.05:
        await client.ask("llm", name, ForgetAnswer(me))
    async with client.watch("llm", name) as watch:
        asked = await client.ask("llm", name, RequestAnswer(me, "", "", 0, MODEL, 10_000, LEASE_MS))
        token = next((event.token for event in asked.events if isinstance(event, CallGranted)), None)
        awaited = next((event.request for event in asked.events if isinstance(event, AnswerAwaited)), None)
        if awaited is not None:
            token = await _turn(client, name, awaited, watch)
        if token is not None:
            await _call(client, name, token)


async def _turn(client: Client, name: str, request: str, watch: Watch) -> int | None:
    """Waits for an answer; or the token, if it is to call itself."""

    def is_mine(event: object) -> bool:
        match event:
            case CallGranted(request=granted):
                return granted == request
            case CallRecorded(requests=told):
                return request in told
            case RequestWithdrawn(request=withdrawn):
                return withdrawn == request
        return False

    found = await watch.until(is_mine, client.random.choice([5_000, WAIT_MS]))
    if found is None:
        await client.ask("llm", name, WithdrawRequest(client.process.name, request))
        return None
    return found[1].token if isinstance(found[1], CallGranted) else None


async def _call(client: Client, name: str, token: int) -> None:
    chance, me = client.random, client.process.name
    for _ in range(chance.randint(0, 2)):
        await client.pause(0, 5_000)
        await client.ask("llm", name, RenewLease(me, token, LEASE_MS))
    await client.pause(0, 5_000)
    outcome = chance.choice(["answered", "answered", "answered", "failed", "abandoned"])
    error = "" if outcome == "answered" else "the model is away"
    text = f"by {me} under {token}" if outcome == "answered" else None
    await client.ask(
        "llm", name, RecordCall(me, "", "", MODEL, token, outcome, MODEL, 10, 10, None, 50, 1, 20_000, "", error, text)
    )
