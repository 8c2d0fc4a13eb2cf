"""`python -m benchmarks [NAME...]`: runs benchmarks, one JSON object a line on stdout, progress on stderr."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final

from accord.testing.broker import NativeKafka
from benchmarks import (
    acquire,
    commands,
    conflicts,
    cycles,
    deadlocks,
    detection,
    distinct,
    flows,
    readers,
    recovery,
    replay,
    state_cost,
    tasks_cost,
    transfers,
    triggers,
    waiters,
    workflows,
)
from benchmarks.report import Line

BENCHMARKS: Final[dict[str, Callable[[str, int, int | None], list[Line]]]] = {
    "acquire": acquire.benchmark,
    "commands": commands.benchmark,
    "replay": replay.benchmark,
    "recovery": recovery.benchmark,
    "distinct": distinct.benchmark,
    "cycles": cycles.benchmark,
    "deadlocks": deadlocks.benchmark,
    "detection": detection.benchmark,
    "waiters": waiters.benchmark,
    "triggers": triggers.benchmark,
    "flows": flows.benchmark,
    "readers": readers.benchmark,
    "tasks_cost": tasks_cost.benchmark,
    "state_cost": state_cost.benchmark,
    "transfers": transfers.benchmark,
    "workflows": workflows.benchmark,
    "conflicts": conflicts.benchmark,
}


def main(argv: list[str] | None = None) -> int:
    """Returns 0; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", choices=[[], *BENCHMARKS], help=", ".join(BENCHMARKS))
    parser.add_argument("--bootstrap", metavar="SERVERS", help="brokers to use; without it, a Kafka of its own")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, of which the medians count")
    parser.add_argument("--size", type=int, help="size of a run, in place of each one's own; see its module")
    options = parser.parse_args(argv)
    missed = False
    with nullcontext(None) if options.bootstrap else NativeKafka() as own:
        servers = options.bootstrap or own.bootstrap_servers
        for name in options.names or BENCHMARKS:
            for line in BENCHMARKS[name](servers, options.runs, options.size):
                print(line.json(), flush=True)
                missed = missed or line.holds is False
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
