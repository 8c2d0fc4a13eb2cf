"""Time from the start of a worker to the next grant, after kill -9 of the only one, with a long log behind it.

Four ways back: the same worker with its data, the same worker with its data deleted, another worker (which must wait
until the group has given the dead one up), and, as the baseline, a first worker on an empty log.
"""

from __future__ import annotations

import shutil
import time

from benchmarks.acquire import SyncLocks
from benchmarks.bench import Bench, Preload, Sender, bench
from benchmarks.report import Goal, Line, Sample, progress, summary

SIZE = 100_000
LOCKS = 10_000
PARTITIONS = 6
SESSION_MS = 10_000
START_S = 5.0
"""How long a restarted worker may take to its first grant."""
BASELINE = "first worker on an empty log"


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """Kills and comes back in every way. `size` is the number of events in the log; a tenth of it are locks held."""
    count = size or SIZE
    commands = held_and_renewed(count, max(1, count * LOCKS // SIZE))
    same, bare, other = [], [], []
    for run in range(runs):
        with bench(bootstrap_servers, PARTITIONS) as place:
            empty = first_grant(place, "w1")
        with bench(bootstrap_servers, PARTITIONS) as place:
            place.load(commands)
            decide_all(place, len(commands), "w1")
            same.append(Sample(first_grant(place, "w1"), empty))
            shutil.rmtree(place.directory / "w1")
            bare.append(Sample(first_grant(place, "w1"), empty))
            other.append(Sample(first_grant(place, "w2"), empty))
        progress(f"recovery {run + 1}/{runs}", same=same[-1].value, bare=bare[-1].value, other=other[-1].value)
    within = Goal("value", "<=", START_S)
    failover = Goal("value", "<=", SESSION_MS / 1_000 + START_S)
    return [
        summary("recovery_same", "s", same, BASELINE, within),
        summary("recovery_same_without_data", "s", bare, BASELINE, within),
        summary("recovery_other", "s", other, BASELINE, failover),
    ]


def held_and_renewed(count: int, locks: int) -> list[Preload]:
    """`count` commands that leave `locks` locks held: each is acquired, then renewed in turn."""
    sender = Sender(PARTITIONS)
    acquired = [(f"room-{number}", *sender.acquire(f"room-{number}")) for number in range(locks)]
    commands = [command for _, command, _ in acquired]
    while len(commands) < count:
        lock, _, token = acquired[len(commands) % locks]
        commands.append(sender.renew(lock, token))
    return commands


def decide_all(place: Bench, count: int, name: str) -> None:
    """Has a worker decide what is there and keep it by a checkpoint, then kills it."""
    with place.worker(name, session_timeout_ms=SESSION_MS) as process:
        place.wait_decided(count, process)
        time.sleep(2 * place.settings.worker.checkpoint_ms / 1_000)


def first_grant(place: Bench, name: str) -> float:
    """Seconds from the start of a worker to a grant, for a client that was there before; kills the worker."""
    with SyncLocks(place) as locks:
        began = time.perf_counter()
        with place.worker(name, session_timeout_ms=SESSION_MS):
            started = time.perf_counter() - began
            return started + locks(0)
