"""Many simulated runs: `python -m tests.simulation --seeds 10000`, or `--hours 2200`.

Prints each run that is wrong, with the smallest part of it that still is, and in the end what was run. Returns 1 if
any was wrong. `--seed 7` repeats one run; `--schedule FILE` repeats it with the faults of a file.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from accord.testing.simulation import faults
from accord.testing.simulation.quiet import quiet
from accord.testing.simulation.runs import build, failure_of, shrink

SLICE = 25
"""Runs that a process is given at once."""


class Told(NamedTuple):
    """What became of a slice of runs."""

    seeds: int
    simulated_ms: float
    cpu_s: float
    decisions: int
    wrong: list[tuple[int, str]]


def run_slice(seeds: range, options: dict[str, Any]) -> Told:
    """Runs some seeds in this process."""
    began_s = time.process_time()
    simulated_ms, decisions, wrong = 0.0, 0, []
    for seed in seeds:
        cluster = build(seed, **options)
        try:
            with quiet():
                cluster.run()
        except Exception as error:
            wrong.append((seed, repr(error)))
        simulated_ms += cluster.scheduler.now_ms
        decisions += sum(len(truth.accepted) for truth in cluster.auditor.truths.values())
    return Told(len(seeds), simulated_ms, time.process_time() - began_s, decisions, wrong)


def slices(start: int, count: int | None) -> Iterator[range]:
    """Seeds from `start` on, in slices; without end when there is no count."""
    for first in itertools.count(start, SLICE):
        if count is not None and first >= start + count:
            return
        yield range(first, first + SLICE if count is None else min(first + SLICE, start + count))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, help="how many runs")
    parser.add_argument("--hours", type=float, help="run until so many hours were simulated")
    parser.add_argument("--start", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="repeat this run alone")
    parser.add_argument("--schedule", type=Path, help="with the faults of this file, one a line")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, help="of each run, with faults; drawn by default")
    parser.add_argument("--pace", type=float, help="agents' pauses are this much of the usual ones; drawn by default")
    given = parser.parse_args()
    options = {name: value for name in ("minutes", "pace") if (value := getattr(given, name)) is not None}
    if given.seed is not None:
        return repeat(given.seed, given.schedule, options)
    if given.seeds is None and given.hours is None:
        parser.error("--seeds or --hours is needed")
    began_s = time.monotonic()
    total = Told(0, 0.0, 0.0, 0, [])
    with ProcessPoolExecutor(given.processes) as pool:
        pending = []
        for seeds in slices(given.start, given.seeds):
            pending.append(pool.submit(run_slice, seeds, options))
            if len(pending) < 2 * given.processes:
                continue
            total = _add(total, pending.pop(0).result(), options)
            if given.hours is not None and total.simulated_ms >= given.hours * 3_600_000:
                break
        for left in pending:
            total = _add(total, left.result(), options)
    print(
        f"{total.seeds:,} runs, {total.simulated_ms / 3_600_000:,.1f} simulated hours, {total.decisions:,} decisions; "
        f"{time.monotonic() - began_s:,.0f} s, {total.cpu_s:,.0f} s of CPU; {len(total.wrong)} wrong"
    )
    return 1 if total.wrong else 0


def _add(total: Told, told: Told, options: dict[str, Any]) -> Told:
    for seed, error in told.wrong:
        print(f"seed {seed}: {error}", flush=True)
        print(shrink(seed, tries_max=150, **options), flush=True)
    seeds = total.seeds + told.seeds
    if seeds // 500 != total.seeds // 500:
        print(f"... {seeds:,} runs", flush=True)
    return Told(
        seeds,
        total.simulated_ms + told.simulated_ms,
        total.cpu_s + told.cpu_s,
        total.decisions + told.decisions,
        total.wrong + told.wrong,
    )


def repeat(seed: int, schedule: Path | None, options: dict[str, Any]) -> int:
    """One run; prints what is wrong with it."""
    given = faults.parse(schedule.read_text()) if schedule is not None else None
    failure = failure_of(seed, **{**options, "faults": given})
    print(failure or f"seed {seed}: nothing is wrong")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
