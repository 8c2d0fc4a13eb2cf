"""A soak: many operations of each kind against one worker on a Kafka of its own, and what the worker and the client
hold meanwhile.

A worker remembers the ids of a domain's last 65,536 commands of ten minutes, so its memory grows until it has as many.
Before a kind is begun its domains are given that many ticks that find nothing due: from then on each id takes the place
of another. A client remembers the partition of as many keys; it is asked for that many.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from accord.schemas.codec import commands_codec
from accord.schemas.headers import command_headers
from accord.schemas.messages.log import Tick
from accord.schemas.topics import commands_topic, events_topic, partition_of
from accord.streams.partition import WINDOW_COUNT_MAX
from uuid_utils import uuid7

from accord import Accord
from accord.admin import Admin
from accord.kafka import bounds, consumer, producer
from accord.settings import Settings
from accord.testing.broker import NativeKafka
from tests.faults.processes import Process
from tests.soak.kinds import KEEP_MS, NAMES, Do, Kind
from tests.soak.samples import Held, Sample, grown, held, slope

PREFIX = "soak"
AT_ONCE = 16
SAMPLES = 10
"""While it works."""
ROUNDS_MAX = 3
"""A kind that is not flat is done again: what has a bound may not have reached it, a leak goes on."""
SETTLE_MAX_S = 30.0
"""What is remembered for `KEEP_MS` is forgotten, and all that ran for the operations has ended, in this time."""
FILL_TIMEOUT_S = 120.0
KEYS_COUNT = partition_of.cache_info().maxsize or 0
"""So many keys' partitions are remembered."""
SETTLE_LOOK_S = 0.5
SETTLE_LOOKS = 4
"""It is quiet when so many looks in a row see the same."""


class Figures(msgspec.Struct):
    """Of one kind. `grown` must be empty."""

    kind: str
    round: int
    operations: int
    seconds: float
    operations_per_s: float
    first: Sample
    """Quiet, after the first operations."""
    last: Sample
    """Quiet, after all."""
    most: Held
    """Of the worker, the largest of each that was seen."""
    bytes_an_operation: dict[str, float]
    """How memory rises over the second half, by process; see `samples.grown`."""
    grown: list[str]


class Watched(NamedTuple):
    """The worker and its figures' port; the client is this process."""

    worker: int
    port: int

    def look(self, operations: int) -> Sample:
        return Sample(operations, held(self.worker, self.port), held(os.getpid()))


async def soak(
    kinds: Sequence[Kind], operations: int, tell: Callable[[Figures], None], fill: bool = True, rounds: int = ROUNDS_MAX
) -> list[Figures]:
    """Does so many operations of each kind, after a tenth of that to begin with, and of each name two.

    Args:
        tell: takes the figures of each round.
        rounds: how often a kind that is not flat is done at most.
        fill: whether the domains are given as many ids as they remember.
    """
    with tempfile.TemporaryDirectory(prefix="accord-soak-") as directory, NativeKafka() as kafka:
        settings = Settings.load(
            kafka={"bootstrap_servers": kafka.bootstrap_servers}, topics={"prefix": PREFIX, "partitions": 1}
        )
        Admin(settings).init()
        port = _free_port()
        environment = {
            "ACCORD_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "ACCORD_TOPICS__PREFIX": PREFIX,
            "ACCORD_TOPICS__PARTITIONS": "1",
            "ACCORD_WORKER__DATA_DIR": directory,
            "ACCORD_WORKER__METRICS_PORT": str(port),
            "ACCORD_WORKER__CHECKPOINT_MS": "1000",
        }
        arguments = ["-c", "from accord.cli import main; main()", "worker"]
        worker = Process("worker", arguments, "worker ready", Path(directory) / "worker.log", environment)
        worker.start()
        try:
            worker.wait_until_ready()
            figures = []
            for number in range(KEYS_COUNT if fill else 0):
                partition_of(b"fill-%d" % number, settings.topics.partitions)
            for kind in kinds:
                for domain in kind.domains if fill else ():
                    _fill(settings, domain)
                for number in range(1, rounds + 1):
                    found = await _one(kind, operations, settings, Watched(worker.pid, port), number)
                    tell(found)
                    if not found.grown:
                        break
                figures.append(found)
            return figures
        finally:
            worker.kill()


async def _one(kind: Kind, operations: int, settings: Settings, watched: Watched, number: int) -> Figures:
    """One kind, by a client of its own: what it holds when it is opened is not another kind's."""
    async with Accord(settings=settings, agent="soak") as hub, kind.open(hub) as do:
        before = max(operations // 10, 2 * NAMES)
        await _do(do, 0, before)
        first = await _quiet(watched, 0)
        began = time.monotonic()
        samples = [first]
        step = max(1, operations // SAMPLES)
        for done in range(0, operations, step):
            await _do(do, before + done, min(step, operations - done))
            samples.append(watched.look(min(operations, done + step)))
        seconds = time.monotonic() - began
        samples.append(await _quiet(watched, operations))
    half = samples[len(samples) // 2 :]
    return Figures(
        kind.name,
        number,
        operations,
        round(seconds, 1),
        round(operations / seconds, 1),
        first,
        samples[-1],
        Held(*(max(sample.worker[place] or 0 for sample in samples) for place in range(len(Held._fields)))),
        {
            "worker": round(slope([(s.operations, s.worker.memory_bytes) for s in half]), 1),
            "client": round(slope([(s.operations, s.client.memory_bytes) for s in half]), 1),
        },
        grown(samples, kind.remembered),
    )


async def _do(do: Do, first: int, count: int) -> None:
    """Does the operations of so many numbers, `AT_ONCE` at a time."""
    numbers = iter(range(first, first + count))

    async def lane() -> None:
        for number in numbers:
            await do(number)

    async with asyncio.TaskGroup() as lanes:
        for _ in range(AT_ONCE):
            lanes.create_task(lane())


async def _quiet(watched: Watched, operations: int) -> Sample:
    """What is held once it does not change any more; whatever it is after `SETTLE_MAX_S`."""
    await asyncio.sleep(KEEP_MS / 1_000)
    deadline = time.monotonic() + SETTLE_MAX_S
    seen: list[tuple[int | None, ...]] = []
    while True:
        gc.collect()
        sample = watched.look(operations)
        seen.append((sample.worker.threads, sample.worker.rows, sample.client.threads, sample.client.handles))
        still = len(seen) >= SETTLE_LOOKS and len(set(seen[-SETTLE_LOOKS:])) == 1
        if still or time.monotonic() > deadline:
            return sample
        await asyncio.sleep(SETTLE_LOOK_S)


def _fill(settings: Settings, domain: str) -> None:
    """Sends a domain as many ticks as a worker remembers ids, and waits until they are decided."""
    codec, topic = commands_codec(domain), commands_topic(domain, settings.topics.prefix)
    value, kind = codec.encode(Tick()), codec.type_name(Tick())
    sender = producer(settings.kafka)
    for number in range(WINDOW_COUNT_MAX):
        while True:
            try:
                sender.produce(topic, value, b"soak", headers=command_headers(f"fill-{uuid7()}", "soak", kind, b""))
                break
            except BufferError:
                sender.poll(0.1)
        if number % 1_000 == 0:
            sender.poll(0)
    if left := sender.flush(FILL_TIMEOUT_S):
        raise RuntimeError(f"{left} ticks of {domain} were not sent")
    _wait_until_decided(settings, domain)


def _wait_until_decided(settings: Settings, domain: str) -> None:
    reading = consumer(settings.kafka)
    prefix, deadline = settings.topics.prefix, time.monotonic() + FILL_TIMEOUT_S
    try:
        asked = bounds(reading, commands_topic(domain, prefix), 0)[1]
        while bounds(reading, events_topic(domain, prefix), 0)[1] <= asked:  # the first decision is no command's
            if time.monotonic() > deadline:
                raise RuntimeError(f"the ticks of {domain} were not decided in {FILL_TIMEOUT_S} s")
            time.sleep(0.1)
    finally:
        reading.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def line(figures: Figures) -> str:
    """For people."""
    worker, client = figures.last.worker, figures.last.client
    rise = figures.bytes_an_operation
    return (
        f"{figures.kind}: {figures.operations:,} in {figures.seconds} s; worker: {worker.threads} threads, "
        f"{worker.handles} handles, {worker.memory_bytes >> 20} MiB ({rise['worker']:+.0f} bytes an operation), "
        f"{worker.rows} rows; client: {client.threads} threads, {client.handles} handles, "
        f"{client.memory_bytes >> 20} MiB ({rise['client']:+.0f}); {', '.join(figures.grown) or 'flat'}"
    )


def markdown(figures: Sequence[Figures]) -> str:
    """As a table for docs/reliability.md, of each kind its last round: what each process held before and after."""
    head = "| kind | operations | round | a second | worker: threads | handles | rows | MiB | bytes an operation "
    head += "| client: threads | handles | MiB | bytes an operation | |"
    lines = [head, "| --- " * 14 + "|"]
    for one in {one.kind: one for one in figures}.values():
        cells = [one.kind, f"{one.operations:,}", str(one.round), f"{one.operations_per_s:,.0f}"]
        for name, before, after in (
            ("worker", one.first.worker, one.last.worker),
            ("client", one.first.client, one.last.client),
        ):
            cells += [f"{before.threads} - {after.threads}", f"{before.handles} - {after.handles}"]
            cells += [f"{before.rows} - {after.rows}"] if after.rows is not None else []
            cells += [f"{before.memory_bytes >> 20} - {after.memory_bytes >> 20}"]
            cells += [f"{one.bytes_an_operation[name]:+.0f}"]
        lines.append(f"| {' | '.join(cells)} | {'; '.join(one.grown) or 'flat'} |")
    return "\n".join(lines)
