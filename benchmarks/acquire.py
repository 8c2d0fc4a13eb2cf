"""Latency of an uncontended acquire, client to worker to client, against a Faust echo and a plain Kafka round trip.

All three ways run at once, and every round takes each of them once, so that they share whatever the machine does.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

from accord.schemas.clock import VectorClock
from accord.schemas.codec import commands_codec, events_codec
from accord.schemas.headers import command_headers
from accord.schemas.messages import Command
from accord.schemas.messages.locks import AcquireLock, LockGranted, ReleaseLock
from accord.schemas.topics import partition_of
from accord.streams.chain import Chain, genesis
from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from accord import kafka
from benchmarks.bench import LEASE_MS, Bench, bench
from benchmarks.report import Goal, Line, Sample, progress, quantile, summary

SIZE = 1_000
LOCKS = 100
PARTITIONS = 6
WARM_UP = 50
ANSWER_S = 60.0


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """Runs the three ways in turn. `size` is the number of rounds of a run."""
    rounds = size or SIZE
    echo, plain, tail = [], [], []
    for run in range(runs):
        own, faust, hops = latencies(bootstrap_servers, rounds)
        p50, p99 = median(own), quantile(own, 0.99)
        echo.append(Sample(p50, median(faust)))
        plain.append(Sample(p50, median(hops)))
        tail.append(Sample(p99, p50))
        progress(f"acquire {run + 1}/{runs}", p50=p50, p99=p99, faust=median(faust), kafka=median(hops))
    return [
        summary("acquire", "ms p50", echo, "Faust echo p50", Goal("ratio", "<=", 1.3)),
        summary("acquire_hops", "ms p50", plain, "two plain Kafka hops p50"),
        summary("acquire_tail", "ms p99", tail, "own p50", Goal("ratio", "<=", 5)),
    ]


def latencies(bootstrap_servers: str, rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of each round: acquire, Faust echo, plain round trip."""
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
        ways: list[Callable[[int], float]] = [
            stack.enter_context(Locks(place)),
            Echo(place, names[0], names[1]),
            Echo(place, names[2], names[3]),
        ]
        for number in range(WARM_UP):
            for way in ways:
                way(number)
        found: list[list[float]] = [[], [], []]
        for number in range(rounds):
            for way, times in zip(ways, found, strict=True):
                times.append(way(number) * 1_000)
        return found[0], found[1], found[2]


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


class Locks:
    """A plain client of the locks domain: sends a command and reads decisions until its own comes. Ends with `with`."""

    def __init__(self, place: Bench) -> None:
        self._topic = place.commands_topic
        self._producer = place.producer()
        self._chains: list[Chain] = []
        self._consumer = kafka.consumer(place.settings.kafka)
        starts = []
        for partition in range(PARTITIONS):
            root = genesis(place.cluster, place.events_topic, partition)
            chain, offset = kafka.anchor(self._consumer, place.events_topic, partition, root)
            self._chains.append(chain)
            starts.append(TopicPartition(place.events_topic, partition, offset))
        self._consumer.assign(starts)
        self._clock = VectorClock()

    def __enter__(self) -> Locks:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def __call__(self, number: int) -> float:
        lock = f"free-{number % LOCKS}"
        began = time.perf_counter()
        event = self._ask(lock, AcquireLock("bench", "bench:1", LEASE_MS, None))
        took = time.perf_counter() - began
        if not isinstance(event, LockGranted):
            raise RuntimeError(f"{lock} was not granted: {event}")
        self._ask(lock, ReleaseLock("bench", event.token))
        return took

    def _ask(self, lock: str, command: Command) -> object:
        codec = commands_codec("locks")
        command_id = str(uuid.uuid4())
        self._clock = self._clock.advanced("bench#1")
        headers = command_headers(command_id, "accord/bench", codec.type_name(command), self._clock.encode())
        key = lock.encode()
        self._producer.produce(self._topic, codec.encode(command), key, partition_of(key, PARTITIONS), headers=headers)
        deadline = time.perf_counter() + ANSWER_S
        while time.perf_counter() < deadline:
            self._producer.poll(0)
            message = self._consumer.poll(1.0)
            if message is None or message.error() is not None:
                continue
            decision = self._chains[message.partition()].accept(kafka.as_record(message))
            if decision is not None and decision.command_id == command_id:
                self._clock = self._clock.merge(VectorClock.decode(decision.clock))
                return events_codec("locks").decode(decision.value)[0]
        raise RuntimeError(f"no decision on {lock} in {ANSWER_S:g} s")


def reader(place: Bench, topic: str) -> Consumer:
    """A consumer of all partitions of a topic that is already reading at its end."""
    consumer = kafka.consumer(place.settings.kafka)
    consumer.assign([TopicPartition(topic, p, OFFSET_END) for p in range(PARTITIONS)])
    consumer.poll(1.0)
    return consumer
