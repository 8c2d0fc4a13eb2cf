"""Workflows of durable steps: four in sequence, and eight side by side with one that joins them.

accord beside engines that do the same, in the same run: one workflow at a time (p50 and p99), then 64 in flight
(workflows a second). Steps do nothing. Before each, as long a time to warm up: a JVM needs seconds until its code is
compiled. An engine that is not installed is left out. What each has made durable is told on stderr and in
docs/benchmarks.md.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Final, NamedTuple

from benchmarks.engines.dbos import DBOS
from benchmarks.engines.engine import CHAIN, FAN, Engine, Workflow
from benchmarks.engines.langgraph import LANGGRAPH
from benchmarks.engines.own import accord
from benchmarks.engines.restate import RESTATE
from benchmarks.peers.peer import Address
from benchmarks.report import Goal, Line, Sample, progress, quantile, summary

SIZE: Final = 6
"""Seconds of a measurement."""
IN_FLIGHT: Final = 64
PARTITIONS: Final = 6
ENGINES: Final[tuple[Engine, ...]] = (DBOS, LANGGRAPH, RESTATE)
SHAPES: Final = {"chain": CHAIN, "fan": FAN}
"""The workflows, and their results."""


class Figures(NamedTuple):
    """Of one workflow: at a time, in ms; with `IN_FLIGHT` of them under way."""

    p50_ms: float
    p99_ms: float
    per_second: float


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """`size` is the seconds that each measurement takes."""
    own, alone = accord(bootstrap_servers, PARTITIONS), accord(bootstrap_servers, 1)
    engines = [own, alone, *installed()]
    found: dict[str, list[dict[str, Figures]]] = {engine.name: [] for engine in engines}
    for run in range(runs):
        for engine in engines:
            with engine.serve() as address, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                figures = process.submit(measure, engine.workflows, address, size or SIZE).result()
            found[engine.name].append(figures)
            for shape, one in figures.items():
                progress(f"workflows {run + 1}/{runs} {engine.name} {shape}", **one._asdict())
    mine = found.pop(own.name)
    return [line for name, theirs in found.items() for shape in SHAPES for line in beside(shape, mine, name, theirs)]


def installed() -> list[Engine]:
    """The engines that can run here; says of each what it makes durable, or what it lacks."""
    here = []
    for engine in ENGINES:
        lack = engine.lacking()
        if lack is None:
            here.append(engine)
        progress(f"workflows: {engine.name}:", **({"left_out": lack} if lack else {"durable": engine.durable}))
    return here


def beside(shape: str, mine: list[dict[str, Figures]], name: str, theirs: list[dict[str, Figures]]) -> list[Line]:
    """accord's figures against an engine's."""
    is_other = name in {engine.name for engine in ENGINES}
    lines = []
    for field, unit, goal in (
        ("p50_ms", "ms p50", Goal("ratio", "<=", 1)),
        ("p99_ms", "ms p99", None),
        ("per_second", "workflows/s", Goal("ratio", ">=", 1)),
    ):
        samples = [
            Sample(getattr(own[shape], field), getattr(other[shape], field))
            for own, other in zip(mine, theirs, strict=True)
        ]
        lines.append(summary(f"workflows_{shape}_{field}", unit, samples, name, goal if is_other else None))
    return lines


def measure(workflows: object, address: Address, seconds: float) -> dict[str, Figures]:
    """What a process of its own finds."""
    return asyncio.run(_measure(workflows, address, seconds))


async def _measure(workflows: object, address: Address, seconds: float) -> dict[str, Figures]:
    assert callable(workflows)
    async with workflows(address) as shapes:
        figures = {}
        for shape, result in SHAPES.items():
            workflow: Workflow = getattr(shapes, shape)
            await _go(workflow, result, 1, seconds)
            times_ms = sorted(1_000 * took for took in await _go(workflow, result, 1, seconds))
            await _go(workflow, result, IN_FLIGHT, seconds)
            done = await _go(workflow, result, IN_FLIGHT, seconds)
            figures[shape] = Figures(quantile(times_ms, 0.5), quantile(times_ms, 0.99), len(done) / seconds)
        return figures


async def _go(workflow: Workflow, result: int, count: int, seconds: float) -> list[float]:
    """Has so many run again and again; how long those took that ended in time."""
    end_s = time.perf_counter() + seconds
    took: list[float] = []

    async def run() -> None:
        while (began_s := time.perf_counter()) < end_s:
            found = await workflow()
            if found != result:
                raise RuntimeError(f"a workflow gave {found}, not {result}")
            ended_s = time.perf_counter()
            if ended_s <= end_s:
                took.append(ended_s - began_s)

    await asyncio.gather(*[run() for _ in range(count)])
    return took
