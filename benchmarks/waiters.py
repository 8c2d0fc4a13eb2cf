"""Cost of a command on one lock for which ten thousand wait, beside the same with ten.

First each kind of command alone, through the pure partition: it decides and applies, then gets its state back, so every
round is the same command on the same queue. Then a worker on Kafka, which is sent all kinds in turn.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from statistics import median
from typing import Any, Final

from accord.schemas import headers as h
from accord.schemas.headers import LogRecord
from accord.schemas.messages import Event
from accord.schemas.messages.locks import (
    LeaseRenewed,
    LockDenied,
    LockGranted,
    LockQueued,
    LockReleased,
    RequestWithdrawn,
)
from accord.streams.domains import DOMAINS
from accord.streams.partition import Identity, Partition

from accord import kafka
from benchmarks.bench import LEASE_MS, Bench, Preload, Sender, bench, wait_until
from benchmarks.distinct import cost_us, look
from benchmarks.report import Goal, Line, Sample, progress, summary

SIZE = 10_000
FEW: Final = 10
ROUNDS: Final = 20
"""Of `ROUND_COMMANDS` each, in turn with ten and with many who wait; the medians count."""
ROUND_COMMANDS: Final = 100
COMMANDS: Final = 20_000
LOCK: Final = "room"
START_MS: Final = 1_700_000_000_000
WAIT_MS: Final = LEASE_MS // 4
"""Until the first deadline of those who wait."""
GROWTH_MAX = 1.5
Kind = tuple[type[Event], ...]
KINDS: Final[dict[str, Kind]] = {
    "acquire": (LockQueued,),
    "release": (LockReleased, LockGranted),
    "overtake": (LockReleased, LockGranted),
    "withdraw": (RequestWithdrawn,),
    "tick": (LockDenied,),
    "renew": (LeaseRenewed,),
}
"""What each command must bring. `overtake` is a release that lets in who came last, so that all others rise."""


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """`size` is how many wait."""
    many = size or SIZE
    pure: dict[str, list[Sample]] = {name: [] for name in KINDS}
    worker = []
    for run in range(runs):
        for name, samples in pure.items():
            samples.append(alone_us(name, many))
            progress(f"waiters {name} {run + 1}/{runs}", us=samples[-1].value, few_us=samples[-1].baseline)
        few = worker_us(bootstrap_servers, FEW)
        worker.append(Sample(worker_us(bootstrap_servers, many), few))
        progress(f"waiters worker {run + 1}/{runs}", cpu_us=worker[-1].value, few_us=few)
    goal = Goal("ratio", "<=", GROWTH_MAX)
    lines = [summary(f"waiters_{name}", "CPU us a command", found, "10 wait", goal) for name, found in pure.items()]
    return [*lines, summary("waiters_worker", "CPU us a command", worker, "10 wait", goal)]


# -- the partition alone


class Crowd:
    """A partition with one lock that is held, and for which so many wait, each until a deadline of its own."""

    def __init__(self, waiting: int, *, late_priority: int) -> None:
        self.sender = Sender(1)
        self.partition = Partition(Identity("bench", "locks", 0), DOMAINS["locks"])
        self.partition.apply(self.partition.open(1, "log_append"))
        command, self.token = self.sender.acquire(LOCK)
        self.decide(command, START_MS)
        for number in range(waiting):
            if number == waiting // 2:
                self.middle = self.sender.next_id
            priority = late_priority if number == waiting - 1 else 0
            command, _ = self.sender.acquire(LOCK, wait_ms=WAIT_MS + number, priority=priority)
            self.decide(command, START_MS)

    def command(self, name: str) -> Preload:
        """One of `KINDS`."""
        match name:
            case "acquire":
                return self.sender.acquire(LOCK)[0]
            case "withdraw":
                return self.sender.withdraw(LOCK, self.middle)
            case "renew":
                return self.sender.renew(LOCK, self.token)
            case "tick":
                return self.sender.tick(LOCK)
            case _:
                return self.sender.release(LOCK, self.token)

    def decide(self, command: Preload, at_ms: int) -> tuple[Kind, float]:
        """Decides and applies; returns the types of the events, and the CPU time that it took, in seconds."""
        position = self.partition.head.cause + 1
        record = LogRecord(position, at_ms, h.LOG_APPEND_TIME, command.key, command.value, command.headers)
        began = time.process_time()
        decided = self.partition.decide(record)
        self.partition.apply(decided)
        return tuple(type(event) for event in decided.events), time.process_time() - began

    def round_us(self, name: str) -> float:
        """CPU time a command, over a round of one kind, each on the same state."""
        partition = self.partition
        at_ms = START_MS + (WAIT_MS if name == "tick" else 0)
        state, head, now_ms = partition.aggregates[LOCK], partition.head, partition.now_ms
        took = 0.0
        for _ in range(ROUND_COMMANDS):
            brought, seconds = self.decide(self.command(name), at_ms)
            if brought != KINDS[name]:
                raise RuntimeError(f"{name} brought {brought}")
            took += seconds
            partition.aggregates[LOCK], partition.head, partition.now_ms = state, head, now_ms
        return took / ROUND_COMMANDS * 1e6


def alone_us(name: str, many: int) -> Sample:
    """CPU time of one kind of command, in us, with many who wait and with few."""
    crowds = [Crowd(waiting, late_priority=int(name == "overtake")) for waiting in (many, FEW)]
    gc.collect()
    rounds = [[crowd.round_us(name) for crowd in crowds] for _ in range(ROUNDS)]
    return Sample(*[median(column) for column in zip(*rounds, strict=True)])


# -- a worker


def worker_us(bootstrap_servers: str, waiting: int) -> float:
    """CPU time a command of a worker, in us, while so many wait."""
    with bench(bootstrap_servers, 1) as place:
        consumer = kafka.consumer(place.settings.kafka)
        try:
            with place.worker() as process:
                commands = contended(waiting)
                points = []
                sent = 0
                for part in (waiting + 1, COMMANDS // 10, COMMANDS):  # the queue, a warm-up, what is measured
                    place.load([next(commands) for _ in range(part)])
                    sent += part
                    wanted = sent + 1
                    wait_until(lambda wanted=wanted: place.event_count(consumer) >= wanted, process, "decisions")  # type: ignore[misc]
                    points.append(look(process, sent))
            check(place, consumer, waiting)
        finally:
            consumer.close()
    return cost_us(points[1:])


def contended(waiting: int) -> Iterator[Preload]:
    """One holds the lock and so many queue; then, for ever: one more comes, one in the middle goes, another comes, the
    holder renews and releases."""
    sender = Sender(1)
    command, token = sender.acquire(LOCK)
    yield command
    queue = []
    for _ in range(waiting):
        queue.append(sender.next_id)
        yield sender.acquire(LOCK)[0]
    while True:
        queue += [sender.next_id]
        yield sender.acquire(LOCK)[0]
        yield sender.withdraw(LOCK, queue.pop(len(queue) // 2))
        queue += [sender.next_id]
        yield sender.acquire(LOCK)[0]
        yield sender.renew(LOCK, token)
        queue.pop(0)
        command = sender.release(LOCK, token)
        token = sender.decision_of(LOCK)
        yield command


def check(place: Bench, consumer: Any, waiting: int) -> None:
    """Raises RuntimeError: a command was not decided as it should have been."""
    kinds = [decision.type.rpartition(b".")[2] for decision, _ in place.decisions(consumer)]
    cycle = [b"LockQueued", b"RequestWithdrawn", b"LockQueued", b"LeaseRenewed", b"LockReleased+LockGranted"]
    expected = [b"PartitionOpened", b"LockGranted", *[b"LockQueued"] * waiting]
    expected += [cycle[number % len(cycle)] for number in range(COMMANDS // 10 + COMMANDS)]
    if kinds != expected:
        at = next(n for n, (kind, wanted) in enumerate(zip(kinds, expected, strict=False)) if kind != wanted)
        raise RuntimeError(f"decision {at + 1} is {kinds[at]!r}, not {expected[at]!r}")
