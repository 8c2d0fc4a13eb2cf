"""Latency of an uncontended acquire, client to worker to client, against a Faust echo and a plain Kafka round trip.

All ways run at once, and every round takes each of them once, so that they share whatever the machine does. The lock
is released, outside the time taken, before the next round.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from types import TracebackType
from typing import Self

from accord.schemas.topics import partition_of
from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from accord import Accord, kafka, sync
from benchmarks.bench import LEASE_MS, Bench, bench
from benchmarks.report import Goal, Line, Sample, progress, quantile, summary

SIZE = 1_000
LOCKS = 100
PARTITIONS = 6
WARM_UP = 50
ANSWER_S = 60.0
FAUST, SYNC, HOPS, OWN = "echo", "sync", "hops", "own"


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """Runs all ways in turn. `size` is the number of rounds of a run."""
    rounds = size or SIZE
    echo, echo_sync, plain, tail = [], [], [], []
    for run in range(runs):
        found = latencies(bootstrap_servers, rounds)
        p50 = {way: median(times) for way, times in found.items()}
        p99 = quantile(found[OWN], 0.99)
        echo.append(Sample(p50[OWN], p50[FAUST]))
        echo_sync.append(Sample(p50[SYNC], p50[FAUST]))
        plain.append(Sample(p50[OWN], p50[HOPS]))
        tail.append(Sample(p99, p50[OWN]))
        progress(f"acquire {run + 1}/{runs}", p99=p99, **p50)
    goal = Goal("ratio", "<=", 1.3)
    return [
        summary("acquire", "ms p50", echo, "Faust echo p50", goal),
        summary("acquire_sync", "ms p50", echo_sync, "Faust echo p50", goal),
        summary("acquire_hops", "ms p50", plain, "two plain Kafka hops p50"),
        summary("acquire_tail", "ms p99", tail, "own p50", Goal("ratio", "<=", 5)),
    ]


def latencies(bootstrap_servers: str, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round, by way."""
    with ExitStack() as stack:
        place = stack.enter_context(bench(bootstrap_servers, PARTITIONS))
        names = place.topics("echo.requests", "echo.answers", "hops.requests", "hops.answers")
        servers = place.bootstrap_servers
        stack.enter_context(place.worker())
        stack.enter_context(place.program("echo", bootstrap_servers=servers, requests=names[0], answers=names[1]))
        stack.enter_context(
            place.program(
                "responder", bootstrap_servers=servers, requests=names[2], answers=names[3], partitions=PARTITIONS
            )
        )
        ways: dict[str, Callable[[int], float]] = {
            OWN: stack.enter_context(AsyncLocks(place)),
            FAUST: Echo(place, names[0], names[1]),
            SYNC: stack.enter_context(SyncLocks(place)),
            HOPS: Echo(place, names[2], names[3]),
        }
        for number in range(WARM_UP):
            for way in ways.values():
                way(number)
        found: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds):
            for name, way in ways.items():
                found[name].append(way(number) * 1_000)
        return found


class Echo:
    """A plain client that sends a record and waits until it comes back."""

    def __init__(self, place: Bench, requests: str, answers: str) -> None:
        self._requests = requests
        self._producer = place.producer()
        self._consumer = reader(place, answers)

    def __call__(self, number: int) -> float:
        key, value = f"room-{number % LOCKS}".encode(), uuid.uuid4().bytes
        partition = partition_of(key, PARTITIONS)
        began = time.perf_counter()
        self._producer.produce(self._requests, value, key, partition)
        deadline = began + ANSWER_S
        while time.perf_counter() < deadline:
            self._producer.poll(0)
            message = self._consumer.poll(1.0)
            if message is not None and message.error() is None and message.value() == value:
                return time.perf_counter() - began
        raise RuntimeError(f"no answer from {self._requests} in {ANSWER_S:g} s")


class AsyncLocks:
    """accord's client on an event loop."""

    def __init__(self, place: Bench) -> None:
        self._hub = Accord(agent="bench-async", settings=place.settings)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._runner.run(self._hub.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._hub.__aexit__(kind, error, trace))
        self._runner.close()

    def __call__(self, number: int) -> float:
        return self._runner.run(self._acquire(number))

    async def _acquire(self, number: int) -> float:
        lock = self._hub.lock(f"async-{number % LOCKS}", lease_ms=LEASE_MS)
        began = time.perf_counter()
        grant = await lock.acquire()
        took = time.perf_counter() - began
        await grant.release()
        return took


class SyncLocks:
    """accord's client in plain code."""

    def __init__(self, place: Bench) -> None:
        self._hub = sync.Accord(agent="bench-sync", settings=place.settings)

    def __enter__(self) -> Self:
        self._hub.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hub.__exit__(kind, error, trace)

    def __call__(self, number: int) -> float:
        lock = self._hub.lock(f"sync-{number % LOCKS}", lease_ms=LEASE_MS)
        began = time.perf_counter()
        grant = lock.acquire()
        took = time.perf_counter() - began
        grant.release()
        return took


def reader(place: Bench, topic: str) -> Consumer:
    """A consumer of all partitions of a topic that is already reading at its end."""
    consumer = kafka.consumer(place.settings.kafka)
    consumer.assign([TopicPartition(topic, p, OFFSET_END) for p in range(PARTITIONS)])
    consumer.poll(1.0)
    return consumer
