"""A process that moves money between scopes: `python -m tests.agents.transfer_member TIMES POINT HISTORY`.

`TIMES` transfers at once, each run again until it is done; 0: some at once, again and again, until it is killed. Half
of them are under a lock. Some are given up half-way, some lose their lock, some have too little time, some only read.
With a POINT it kills itself, -9, in its third transfer there: `read` (before it commits), `sent` (the command is on its
way), `decided` (it was told the outcome). What each has read and appended is a line of the file HISTORY, before it
commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any, Final

from accord.agents.connection.connection import Answer
from accord.agents.transactions import commit
from accord.schemas.messages.transactions import BeginTransaction, TransactionDecided

from accord import Accord
from accord.errors import NotOwner, Refused, Unavailable

BANKS: Final = tuple(f"bank-{n}" for n in range(10))
START: Final = 1_000
HUBS: Final = 5
POINTS: Final = ("read", "sent", "decided")
TIMEOUT_MS: Final = 4_000
DIES_AT: Final = 3


class GivenUp(Exception):
    """By the program itself, after it has read and written."""


class Mover:
    """Moves money, and writes down what it has seen."""

    def __init__(self, point: str, history: Path) -> None:
        self._point = point
        self._history = history
        self._met = 0

    def at(self, point: str) -> None:
        """Dies there, if it is to."""
        if point == self._point:
            self._met += 1
            if self._met == DIES_AT:
                os.kill(os.getpid(), signal.SIGKILL)

    async def transfer(self, hub: Accord) -> None:
        source, target = random.sample(BANKS, 2)
        with contextlib.suppress(GivenUp, Refused, Unavailable):
            if random.random() < 0.5:
                async with hub.lock(f"desk-{source}", lease_ms=5_000, wait_ms=10_000) as held:
                    await self._run(hub, source, target, held)
            else:
                await self._run(hub, source, target, None)

    async def _run(self, hub: Accord, source: str, target: str, held: Any) -> None:
        amount = random.choice((0, 1, 5, 20))  # 0: it only reads

        async def move(tx: Any) -> None:
            if held is not None:
                tx.guard(held)
            seen = {"name": tx.id, "reads": {}, "appended": {}}
            for bank, by in ((source, -amount), (target, amount)):
                part, place = tx.scope(bank), f"{bank}/log"
                balance, log = (await part.get("balance")).value, (await part.get("log")).value
                seen["reads"][place] = log
                if amount:
                    part.put("balance", balance + by)
                    part.put("log", [*log, tx.id])
                    seen["appended"][place] = [tx.id]
            with self._history.open("a") as file:
                file.write(json.dumps(seen) + "\n")
            self.at("read")
            match random.randrange(20):
                case 0 | 1:
                    raise GivenUp
                case 2 if held is not None:
                    with contextlib.suppress(NotOwner):
                        await held.release()

        timeout_ms = 1 if random.random() < 0.05 else TIMEOUT_MS
        await hub.run_transaction(move, attempts=50, timeout_ms=timeout_ms)


def watch(mover: Mover) -> None:
    """Lets a mover die at what happens in the client."""
    heard, commit_at_once = commit.OnLog._heard, commit.OnLog.commit_at_once

    def listened(self: commit.OnLog, answer: Answer) -> None:
        if any(isinstance(event, TransactionDecided) for event in answer.events):
            mover.at("decided")
        heard(self, answer)

    async def sent(self: commit.OnLog, what: commit.Contents, timeout_ms: int) -> None:
        connection = self._hub.connection
        submit = connection.submit

        def submitted(domain: str, key: str, command: Any, **terms: Any) -> Any:
            submission = submit(domain, key, command, **terms)
            if isinstance(command, BeginTransaction) and mover._point == "sent" and mover._met == DIES_AT - 1:
                connection._sender.close(5)  # type: ignore[union-attr]
            if isinstance(command, BeginTransaction):
                mover.at("sent")
            return submission

        connection.submit = submitted  # type: ignore[method-assign]
        try:
            await commit_at_once(self, what, timeout_ms)
        finally:
            connection.submit = submit  # type: ignore[method-assign]

    commit.OnLog._heard = listened  # type: ignore[method-assign]
    if mover._point == "sent":
        commit.OnLog.commit_at_once = sent  # type: ignore[method-assign]


async def main(times: int, mover: Mover) -> None:
    async with contextlib.AsyncExitStack() as stack:
        hubs = [await stack.enter_async_context(Accord(agent=f"mover-{os.getpid()}-{n}")) for n in range(HUBS)]

        async def go_on(n: int) -> None:
            while True:
                await mover.transfer(hubs[n % HUBS])
                if times:
                    return

        moves = [asyncio.create_task(go_on(n), context=contextvars.Context()) for n in range(times or HUBS)]
        await asyncio.gather(*moves)


if __name__ == "__main__":
    member = Mover(sys.argv[2], Path(sys.argv[3]))
    watch(member)
    asyncio.run(main(int(sys.argv[1]), member))
