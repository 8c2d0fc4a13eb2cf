"""What a process holds at a moment, and when that counts as flat."""

from __future__ import annotations

import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

SPARE_THREADS = 1
SPARE_HANDLES = 2
"""What a pool of threads or connections may have more at one look than at another."""
BYTES_MAX = 256
"""Growth of memory an operation that counts as none: less than the smallest thing that could be kept of one."""
REMEMBERED_BYTES = 4_096
"""Most memory of an aggregate that is remembered for longer than its kind takes."""
METRICS_TIMEOUT_S = 10


class Held(NamedTuple):
    """Of one process. `rows` are the aggregates that a worker remembers; None of a client."""

    threads: int
    handles: int
    memory_bytes: int
    rows: int | None


class Sample(NamedTuple):
    """After so many operations."""

    operations: int
    worker: Held
    client: Held


def held(pid: int, metrics_port: int | None = None) -> Held:
    """What a process holds, by /proc and, of a worker, by its figures."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    handles = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    rows = None if metrics_port is None else _rows(metrics_port)
    return Held(int(status["Threads"]), handles, int(status["VmRSS"].split()[0]) * 1024, rows)


def _rows(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=METRICS_TIMEOUT_S) as answer:
        text = answer.read().decode()
    return round(
        sum(
            sample.value
            for family in text_string_to_metric_families(text)
            if family.name == "accord_partition_aggregates"
            for sample in family.samples
        )
    )


def grown(samples: Sequence[Sample], remembered: int = 0) -> list[str]:
    """What is not flat. The first sample is taken when all is quiet after the first operations, the last one when it is
    quiet again; those between while it works.

    Threads, handles and rows are flat if the last sample has no more than the first, apart from `SPARE_THREADS` and
    `SPARE_HANDLES`. Memory is flat if the line through the samples of the second half rises by no more than `BYTES_MAX`
    an operation: the first half may fill what has a bound.

    Args:
        remembered: so many rows of each operation are there for longer than it all takes, and their memory.
    """
    first, last = samples[0], samples[-1]
    kept = remembered * (last.operations - first.operations)
    found = []
    for name, before, after in (("worker", first.worker, last.worker), ("client", first.client, last.client)):
        for what, one, other, spare in (
            ("threads", before.threads, after.threads, SPARE_THREADS),
            ("handles", before.handles, after.handles, SPARE_HANDLES),
            ("rows", before.rows or 0, after.rows or 0, kept),
        ):
            if other > one + spare:
                found.append(f"{name}: {what} rose from {one} to {other}")
        half = samples[len(samples) // 2 :]
        points = [(s.operations, (s.worker if name == "worker" else s.client).memory_bytes) for s in half]
        bytes_max = BYTES_MAX + (remembered * REMEMBERED_BYTES if name == "worker" else 0)
        if (rise := slope(points)) > bytes_max:
            found.append(f"{name}: memory rises by {rise:.0f} bytes an operation")
    return found


def slope(points: Sequence[tuple[int, int]]) -> float:
    """Of the line through some points with the least squares; 0 if they lie at one place."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
