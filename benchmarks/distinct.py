"""Memory and cost a command of one worker while it meets ever new locks: acquired once, released, never seen again.

A freed lock leaves the worker's memory with its release, and its table with the second checkpoint after. What stays
is the window of known command ids, so the start is measured once that window is full.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from accord.streams.partition import WINDOW_COUNT_MAX

from accord import kafka
from benchmarks.bench import Bench, Preload, Sender, bench, wait_until
from benchmarks.report import Goal, Line, Sample, progress, summary

SIZE = 150_000
"""Locks of a run; 1,000,000 in the long form, `--size 1000000`."""
PARTITIONS = 1
AHEAD_COUNT = 10_000
"""Most commands sent at once; the next ones follow when these are decided."""
STEPS_MIN = 20
HELD = 1_000
"""Locks held at any time."""
PARTS: Final = 5
"""The first and the last of so many parts are compared."""
TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
GROWTH_MAX = 1.2


class Point(NamedTuple):
    """A worker at one moment."""

    commands: int
    cpu_s: float
    memory_mb: float


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """`size` is the number of locks of a run."""
    cost, memory = [], []
    for run in range(runs):
        with bench(bootstrap_servers, PARTITIONS) as place:
            points = follow(place, size or SIZE)
        first, last = points[: len(points) // PARTS + 1], points[-(len(points) // PARTS + 1) :]
        cost.append(Sample(cost_us(last), cost_us(first)))
        memory.append(Sample(last[-1].memory_mb, first[-1].memory_mb))
        progress(f"distinct {run + 1}/{runs}", cost_us=cost[-1].value, memory_mb=memory[-1].value)
    goal = Goal("ratio", "<=", GROWTH_MAX)
    return [
        summary("distinct_cost", "CPU us a command", cost, "the first fifth", goal),
        summary("distinct_memory", "MB resident", memory, "after the first fifth", goal),
    ]


def follow(place: Bench, locks: int) -> list[Point]:
    """The worker after every step, from when its window of known ids is full or half of the commands are decided."""
    commands = acquired_once(locks)
    step = min(AHEAD_COUNT, 2 * locks // STEPS_MIN)
    points: list[Point] = []
    consumer = kafka.consumer(place.settings.kafka)
    with place.worker() as process:
        sent = 0
        while part := list(islice(commands, step)):
            place.load(part)
            sent += len(part)
            wanted = sent + PARTITIONS
            wait_until(lambda wanted=wanted: place.event_count(consumer) >= wanted, process, "decisions")  # type: ignore[misc]
            point = look(process, sent)
            if sent >= min(WINDOW_COUNT_MAX, locks):
                points.append(point)
    consumer.close()
    return points


def acquired_once(locks: int) -> Iterator[Preload]:
    """Acquires and releases of ever new locks, at most `HELD` of them held at once."""
    sender = Sender(PARTITIONS)
    for start in range(0, locks, HELD):
        held = []
        for number in range(start, min(start + HELD, locks)):
            command, token = sender.acquire(f"room-{number}")
            held.append((f"room-{number}", token))
            yield command
        for lock, token in held:
            yield sender.release(lock, token)


def look(process: subprocess.Popen[Any], commands: int) -> Point:
    """CPU time and resident memory of a process, as Linux tells them."""
    place = Path(f"/proc/{process.pid}")
    fields = (place / "stat").read_text().rpartition(")")[2].split()
    pages = int((place / "statm").read_text().split()[1])
    cpu_s = (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
    return Point(commands, cpu_s, pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def cost_us(points: list[Point]) -> float:
    """CPU time a command between the first and the last of these points."""
    return (points[-1].cpu_s - points[0].cpu_s) * 1e6 / max(1, points[-1].commands - points[0].commands)
