"""accord itself: a worker process; one process submits the tasks and runs their steps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Final

from accord.agents.tasks.graph import Run

import accord as library
from accord.settings import Settings
from benchmarks.bench import bench
from benchmarks.engines.engine import CHAIN, FAN, Engine, Workflows
from benchmarks.peers.peer import Address

DURABLE: Final = "the log; a single Kafka broker acknowledges from the page cache"
START_MS: Final = 60_000
"""How long the first commands wait for the worker, which is starting."""
RESULT_MS: Final = 60_000
KEEP_MS: Final = 1_000
SLOTS: Final = 400


def accord(bootstrap_servers: str, partitions: int) -> Engine:
    """accord on a Kafka that runs already, with so many partitions a topic."""
    name = "accord" if partitions > 1 else "accord, one partition"
    return Engine(name, DURABLE, lambda: None, partial(serve, bootstrap_servers, partitions), workflows)


@contextmanager
def serve(bootstrap_servers: str, partitions: int) -> Iterator[Address]:
    with bench(bootstrap_servers, partitions) as place:
        arguments = place.worker_arguments(domains=("tasks", "roster"))
        with place.worker(domains=("tasks", "roster")):
            yield arguments | {"client": {"worker_wait_ms": START_MS}}


@asynccontextmanager
async def workflows(address: Address) -> AsyncIterator[Workflows]:
    chain, fan = library.TaskGraph("chain"), library.TaskGraph("fan")
    for number in range(CHAIN):
        chain.add(f"step-{number}", add_one, after=[f"step-{number - 1}"] if number else [])
    for number in range(FAN):
        fan.add(f"part-{number}", one)
    fan.add("join", add_up, after=[f"part-{number}" for number in range(FAN)])
    async with library.Accord(settings=Settings.load(**address)) as hub:

        async def run(graph: library.TaskGraph) -> int:
            handle = await hub.submit(graph, None, keep_ms=KEEP_MS)
            return int(await handle.result(wait_ms=RESULT_MS))

        async with hub.work(chain, fan, slots=SLOTS):
            yield Workflows(partial(run, chain), partial(run, fan))


async def add_one(step: Run) -> int:
    return int(sum(step.inputs.values())) + 1


async def one() -> int:
    return 1


async def add_up(step: Run) -> int:
    return int(sum(step.inputs.values()))
