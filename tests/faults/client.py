"""A client of a fault run: `python -m tests.faults.client CONFIG`, settings from the environment.

Until its input ends it plays its parts, all at once. A part is a module of `tests/faults/parts` with a line in `PARTS`;
which client plays which, `plan.Plan.parts` says. A careless program: it writes under a grant that it no longer believes
in; the fence is there to stop it. Everything is noted in its history before and after it is done.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from accord import Accord, logs
from tests.faults.history import History
from tests.faults.parts import calls, counting, gate, library, load, pipeline, probes, rooms, seats, store, table
from tests.faults.parts.player import Config, Player, Turn
from tests.faults.resource import Counter

PARTS: dict[str, Callable[[Player], list[Turn]]] = {
    "rooms": rooms.turns,
    "probes": probes.turns,
    "counting": counting.turns,
    "library": library.turns,
    "seats": seats.turns,
    "gate": gate.turns,
    "store": store.turns,
    "calls": calls.turns,
    "table": table.turns,
    "pipeline": pipeline.turns,
    "load": load.turns,
}


async def play(player: Player) -> None:
    """Plays all parts until the input ends, then what is to be done last."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        sys.stdin.read()
        with suppress(RuntimeError):  # it has ended meanwhile
            loop.call_soon_threadsafe(player.stopping.set)

    threading.Thread(target=read, daemon=True).start()  # a client that fails ends, whoever has its input open
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(player.stopping.wait())  # also if there is nothing left to do
        for name in player.config.parts:
            for turn in PARTS[name](player):
                tasks.create_task(_again(player, turn))
    if player.config.fills:
        await seats.fill(player)


async def _again(player: Player, turn: Turn) -> None:
    more = True
    while more and not player.stopping.is_set():
        more = await turn()
        await asyncio.sleep(player.random.expovariate(1_000 / player.config.think_ms))


async def main(config: Config) -> None:
    logs.show()
    async with Accord(agent=config.name) as hub:
        counter = Counter(config.counters_port, config.seat)
        print("client ready", flush=True)
        await play(Player(config, hub, History(Path(config.history)), counter, random.Random(config.seed)))


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Config)))
