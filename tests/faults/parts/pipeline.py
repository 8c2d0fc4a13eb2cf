"""Tasks of four steps, of which two run side by side, done by whichever client is given them; now and then one fails.

Every client submits and works. Who is killed leaves tasks that nobody waits for any more: the others do them all the
same, and the checker looks for their ends in the log.
"""

from __future__ import annotations

import asyncio

from accord import AccordError, Run, TaskGraph
from tests.faults.parts.player import RETRY_S, Player, Turn

MEMBER_LEASE_MS = 6_000
FAILURE = 0.03
SLOTS = 4


def turns(player: Player) -> list[Turn]:
    graph = TaskGraph("pipeline")

    async def effort(step: Run) -> None:
        op = player.history.invoke("run", step.key, token=step.token)
        try:
            await asyncio.sleep(player.random.uniform(0, 0.05))
        except asyncio.CancelledError:
            player.history.fail(op, "Withdrawn")
            raise
        if player.random.random() < FAILURE:
            player.history.fail(op, "Withdrawn", "now and then one fails")
            raise RuntimeError("now and then one fails")
        player.history.ok(op)

    @graph.step
    async def begin(input: int, step: Run) -> int:
        await effort(step)
        return input

    @graph.step(after=[begin])
    async def left(begin: int, step: Run) -> int:
        await effort(step)
        return begin + 1

    @graph.step(after=[begin])
    async def right(begin: int, step: Run) -> int:
        await effort(step)
        return begin * 2

    @graph.step(after=[left, right])
    async def join(left: int, right: int, step: Run) -> int:
        await effort(step)
        return left + right

    async def work() -> bool:
        try:
            async with player.hub.work(graph, slots=SLOTS, lease_ms=MEMBER_LEASE_MS, drain_ms=1_000):
                await player.stopping.wait()
        except AccordError:  # nobody let it join in time: again
            await asyncio.sleep(RETRY_S)
        return True

    async def submit() -> bool:
        number = player.random.randrange(1_000)
        name = f"task-{player.new_name(player.random.randrange(player.config.partitions))}"
        op = player.history.invoke("task", name)
        waiting = asyncio.ensure_future(_done(player, graph, number, name))
        stopping = asyncio.ensure_future(player.stopping.wait())
        await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        waiting.cancel()  # of no effect on one that is over
        try:
            result = await waiting
        except AccordError as error:
            await player.failed(op, error)
        except asyncio.CancelledError:
            player.history.fail(op, "Withdrawn")
        else:
            assert result == 3 * number + 1, f"{name}: {result} of {number}"
            player.history.ok(op)
        return True

    return [work, submit]


async def _done(player: Player, graph: TaskGraph, number: int, name: str) -> object:
    handle = await player.hub.submit(graph, number, key=name)
    return await handle.result()
