"""How soon a deadlock's victim is told: from its request, the last edge of the ring, to the error in its program.

Rings of 2, 3 and 5 call chains over the partitions, one after the other; the baseline is an uncontended acquire of the
same client in between.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from contextlib import ExitStack
from statistics import median

from accord import Accord, DeadlockVictim
from benchmarks.bench import LEASE_MS, Bench, bench
from benchmarks.report import Goal, Line, Sample, progress, quantile, summary

SIZE = 20
PARTITIONS = 6
RINGS = (2, 3, 5)
WARM_UP = 3
TOLD_MS_MAX = 1_000.0


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """`size` is the number of rings of each length."""
    middle, tail = [], []
    for run in range(runs):
        with ExitStack() as stack:
            place = stack.enter_context(bench(bootstrap_servers, PARTITIONS))
            stack.enter_context(place.worker(domains=["locks", "waits"]))
            told, plain = asyncio.run(times(place, size or SIZE))
        middle.append(Sample(median(told), median(plain)))
        tail.append(Sample(max(told), median(plain)))
        progress(f"deadlocks {run + 1}/{runs}", p50=median(told), p90=quantile(told, 0.9), most=max(told))
    goal = Goal("value", "<=", TOLD_MS_MAX)
    return [
        summary("deadlock_told", "ms p50", middle, "own uncontended acquire p50"),
        summary("deadlock_told_last", "ms, longest", tail, "own uncontended acquire p50", goal),
    ]


async def times(place: Bench, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds until a victim was told, and those of an uncontended acquire."""
    told, plain = [], []
    async with Accord(agent="bench-rings", settings=place.settings) as hub:
        for number in range(WARM_UP + count):
            for length in RINGS:
                ring_ms = await ring(hub, [f"ring-{number}-{length}-{place}" for place in range(length)])
                began = time.perf_counter()
                grant = await hub.lock(f"alone-{number}", lease_ms=LEASE_MS).acquire()
                plain_ms = (time.perf_counter() - began) * 1_000
                await grant.release()
                if number >= WARM_UP:
                    told.append(ring_ms)
                    plain.append(plain_ms)
    return told, plain


async def ring(hub: Accord, names: list[str]) -> float:
    """Milliseconds from the request that closes a ring to the victim's error: the youngest asks last."""
    waiting = 0
    all_hold, all_wait = asyncio.Event(), asyncio.Event()

    async def party(number: int, holds: asyncio.Event) -> float:
        async with hub.lock(names[number], lease_ms=LEASE_MS):
            holds.set()
            await (all_wait if number == len(names) - 1 else all_hold).wait()
            inner = hub.lock(names[(number + 1) % len(names)], lease_ms=LEASE_MS)
            inner.on_queued = lambda _: loop.call_soon_threadsafe(queued)
            began = time.perf_counter()
            try:
                async with inner:
                    return 0.0
            except DeadlockVictim:
                return (time.perf_counter() - began) * 1_000

    def queued() -> None:
        nonlocal waiting
        waiting += 1
        if waiting == len(names) - 1:
            all_wait.set()

    loop = asyncio.get_running_loop()
    tasks = []
    for number in range(len(names)):
        holds = asyncio.Event()
        tasks.append(asyncio.create_task(party(number, holds), context=contextvars.Context()))
        await holds.wait()  # so the next one is younger
    all_hold.set()
    return max(await asyncio.gather(*tasks))
