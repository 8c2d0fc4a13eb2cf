"""An agent of a failover run: `python -m tests.faults.planner NAME FILE`.

It stands by for the role `planner`, and while it believes that it has it, says so in FILE every `SAMPLE_S`; it works at
the steps of `GRAPH` meanwhile. A line is `TOKEN BEFORE AFTER`: it believed at some time between, of the monotonic clock
that all processes of this machine share, in ns.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from accord import Accord, TaskGraph
from accord.errors import AccordError

ROLE = "planner"
SAMPLE_S = 0.01
STEP_S = 0.2
GRAPH = TaskGraph("failover")


@GRAPH.step(retries=3)
async def plan(input: int) -> int:
    await asyncio.sleep(STEP_S)
    return input + 1


async def main(name: str, file: Path) -> None:
    async with Accord(agent=name) as hub, hub.work(GRAPH, slots=4):
        print("ready", flush=True)
        with file.open("a", buffering=1) as said:
            while True:
                try:
                    async with hub.role(ROLE, on_loss="flag") as tenure:
                        while not tenure.lost.is_set():
                            before_ns = time.monotonic_ns()
                            if tenure.valid:
                                said.write(f"{tenure.token} {before_ns} {time.monotonic_ns()}\n")
                            await asyncio.sleep(SAMPLE_S)
                except AccordError as error:
                    print(f"again after {error!r}", flush=True)
                    await asyncio.sleep(SAMPLE_S)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
