"""A process that moves money between scopes, for tests that kill it: `python -m tests.agents.transfer_member TIMES`.

`TIMES` transfers, many at once, each run again until it is done; 0: until it is killed. Some are given up half-way.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import random
import sys
from typing import Any

from accord import Accord
from accord.errors import Refused, Unavailable

BANKS = tuple(f"bank-{n}" for n in range(5))
START = 1_000
AT_ONCE = 20


class GivenUp(Exception):
    """By the program itself, after it has read and written."""


async def transfer(hub: Accord) -> None:
    source, target = random.sample(BANKS, 2)
    amount = random.randint(1, 20)

    async def move(tx: Any) -> None:
        one, other = tx.scope(source), tx.scope(target)
        for part, by in ((one, -amount), (other, amount)):
            part.put("balance", (await part.get("balance")).value + by)
        if random.random() < 0.1:
            raise GivenUp

    with contextlib.suppress(GivenUp, Refused, Unavailable):
        await hub.run_transaction(move, attempts=50, timeout_ms=5_000)


async def main(times: int) -> None:
    async def agent(n: int) -> None:
        async with Accord(agent=f"mover-{os.getpid()}-{n}") as hub:
            count = 0
            while not times or count < times // AT_ONCE:
                await transfer(hub)
                count += 1

    tasks = [asyncio.create_task(agent(n), context=contextvars.Context()) for n in range(AT_ONCE if times else 4)]
    print("ready", flush=True)
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
