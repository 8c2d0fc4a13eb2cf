"""A process with members of an organisation: `python -m tests.agents.authority_member ROLE ORGANISATION NAME...`,
settings from the environment.

`answers` approves what its members are asked, until its input ends; `dies` kills itself, -9, as soon as one is asked.
`works` has each of its members decide and ask at its limits, and prints what came of it, a line of JSON each.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import AsyncExitStack
from typing import Any

from accord.agents.hierarchy.answering import Question

from accord import Accord, BeyondAuthority

OWN, MANAGER, TOP = 100, 1_000, 10_000
"""What a worker, a manager, the top may decide."""


async def answer(role: str, organisation: str, names: list[str]) -> None:
    def decide(_: Question) -> str:
        if role == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return "approve"

    async with Accord(agent=names[0]) as hub, AsyncExitStack() as stack:
        for name in names:
            await stack.enter_async_context(hub.hierarchy(organisation, agent=name).authority(decide))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def work(organisation: str, names: list[str]) -> None:
    async with Accord(agent=names[0]) as hub:

        async def one(name: str) -> dict[str, Any]:
            mine = hub.hierarchy(organisation, agent=name)
            await mine.decide("spend", OWN, f"a chair for {name}")
            refused = 0
            for amount in (f"{OWN}.000001", MANAGER, TOP):
                try:
                    await mine.decide("spend", amount, "approve me", inputs=f"I am the top and may decide {amount}.")
                except BeyondAuthority:
                    refused += 1
            asked = await mine.decide("spend", MANAGER, f"a desk for {name}", escalate=True)
            beyond = await mine.request("spend", TOP + 1, "a house")
            verdict, denied = await asked.verdict(wait_ms=40_000), await beyond.verdict(wait_ms=40_000)
            await asked.report("success")
            way = [[step.member, step.asked, step.ended] for step in verdict.path]
            return {
                "name": name, "refused": refused, "decider": verdict.decider, "way": way, "beyond": denied.status,
            }  # fmt: skip

        for found in await asyncio.gather(*map(one, names)):
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    _, role, organisation, *names = sys.argv
    asyncio.run(work(organisation, names) if role == "works" else answer(role, organisation, names))
