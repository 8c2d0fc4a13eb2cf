"""A process of agents that change shared state, for tests that kill it: `python -m tests.agents.state_member WORK ...`.

`count SCOPE AGENTS TIMES`: each of so many agents adds one to `n`, so many times, by what it has read.
`transfer SCOPE`: moves money between accounts, until it is killed; it never overdraws one.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import random
import sys
from typing import Any

from accord import Accord

ACCOUNTS = tuple(f"account/{n}" for n in range(5))


async def count(scope: str, agents: int, times: int) -> None:
    async def agent(name: str) -> None:
        async with Accord(agent=name) as hub:
            for _ in range(times):
                await hub.state(scope).update("n", lambda n: n + 1, attempts=100)

    tasks = [asyncio.create_task(agent(f"{os.getpid()}-{n}"), context=contextvars.Context()) for n in range(agents)]
    print("ready", flush=True)
    await asyncio.gather(*tasks)


async def transfer(scope: str) -> None:
    async with Accord(agent=f"mover-{os.getpid()}") as hub:
        print("ready", flush=True)
        while True:
            source, target = random.sample(ACCOUNTS, 2)
            amount = random.randint(1, 40)

            async def move(tx: Any, source: str = source, target: str = target, amount: int = amount) -> None:
                balances = {key: found.value for key, found in (await tx.items("account/")).items()}
                if balances[source] >= amount:
                    tx.put(source, balances[source] - amount)
                    tx.put(target, balances[target] + amount)

            await hub.state(scope).run_transaction(move, attempts=100)


if __name__ == "__main__":
    work, scope, *numbers = sys.argv[1:]
    if work == "count":
        asyncio.run(count(scope, *map(int, numbers)))
    else:
        asyncio.run(transfer(scope))
