"""Events a second that are counted by key in windows of a second, beside a tumbling table of Faust that counts them.

The fold alone, in one process; and a flow that reads a log, from its first event to the last. It emits its results
meanwhile, and a worker decides them. Faust's agent reads records with the same data from a plain topic, and counts each
in a table in memory with a changelog. It emits nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Final

from accord.schemas.clock import VectorClock
from accord.schemas.codec import commands_codec
from accord.schemas.headers import command_headers
from accord.schemas.messages.signals import EmitSignal
from accord.schemas.topics import commands_topic, events_topic, partition_of
from accord.streams.flows.fold import Fold, Taken

from accord import Accord, kafka
from accord.flows import count, flow, running, sum_of, tumbling
from benchmarks.bench import WAIT_S, Bench, Preload, bench, wait_until
from benchmarks.report import Line, Sample, progress, summary

SIZE: Final = 100_000
ROOMS: Final = 1_000
PARTITIONS: Final = 2
START_MS: Final = 1_700_000_000_000
EVENTS_A_MS: Final = 10
"""Of the fold alone: by the log's time."""
WINDOW_MS: Final = 1_000
PAID: Final = "paid"
TOTALS: Final = (
    flow("totals")
    .of(PAID)
    .by("room")
    .window(tumbling(ms=WINDOW_MS))
    .aggregate(n=count(), total=sum_of("amount"))
    .since("start")
    .emit("told")
)


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """`size` is the number of events."""
    events = size or SIZE
    texts = [json.dumps({"room": f"room-{number % ROOMS}", "amount": number}) for number in range(events)]
    folded, read = [], []
    for run in range(runs):
        with bench(bootstrap_servers, PARTITIONS) as place:
            faust = faust_rate(place, texts)
            folded.append(Sample(fold_rate(texts), faust))
            read.append(Sample(asyncio.run(flow_rate(place, texts)), faust))
        progress(f"flows {run + 1}/{runs}", fold=folded[-1].value, flow=read[-1].value, faust=faust)
    baseline = "Faust tumbling table"
    return [summary("flows_fold", "events/s", folded, baseline), summary("flows_log", "events/s", read, baseline)]


def fold_rate(texts: list[str]) -> float:
    """Of the fold alone, events made beforehand."""
    events = [
        Taken(START_MS + number // EVENTS_A_MS, PAID, text, f"signals/0@{number}", ())
        for number, text in enumerate(texts)
    ]
    fold, results = Fold(TOTALS), 0
    began = time.perf_counter()
    for event in events:
        results += len(fold.take(event))
    took_s = time.perf_counter() - began
    results += len(fold.advance(START_MS * 2))
    windows = -(-len(texts) // (EVENTS_A_MS * WINDOW_MS))
    if not ROOMS * (windows - 1) < results <= ROOMS * windows and results != len(texts):
        raise RuntimeError(f"{len(texts)} events brought {results} results")
    return len(texts) / took_s


async def flow_rate(place: Bench, texts: list[str]) -> float:
    """Of a flow on a log that has all the events already.

    Raises:
        RuntimeError: it did not come to its end.
    """
    load(place, texts)
    with place.worker(domains=["signals"]) as process:
        consumer = kafka.consumer(place.settings.kafka)
        where = events_topic("signals", place.prefix), partition_of(PAID.encode(), PARTITIONS)
        try:
            wait_until(lambda: kafka.bounds(consumer, *where)[1] > len(texts), process, f"{len(texts)} signals")
        finally:
            consumer.close()
        async with Accord(settings=place.settings, agent="bench") as hub:
            first, began, until_s = 0, 0.0, time.perf_counter() + WAIT_S
            async with running(hub, TOTALS) as work:
                while (taken := work.counts["totals"].get("taken", 0)) < len(texts):
                    if taken and not first:
                        first, began = taken, time.perf_counter()
                    await asyncio.sleep(0.005)
                    if time.perf_counter() > until_s or work.failures:
                        raise RuntimeError(f"the flow took {work.counts} events: {work.failures}")
                took_s = time.perf_counter() - began
    if not first:
        raise RuntimeError(f"{len(texts)} events are too few to be measured")
    return (len(texts) - first) / took_s


def load(place: Bench, texts: list[str]) -> None:
    """Puts the events into the commands of the signals, as agents emit them."""
    codec = commands_codec("signals")
    clock = VectorClock().advanced("shop#1")
    partition = partition_of(PAID.encode(), PARTITIONS)
    commands = []
    for number, text in enumerate(texts):
        command = EmitSignal("shop", text, ())
        headers = command_headers(
            str(uuid.UUID(int=number + 1)),
            "accord/shop#1",
            codec.type_name(command),
            clock.encode(),
            task=f"t-{number}",
        )
        commands.append(Preload(partition, PAID.encode(), codec.encode(command), headers))
    place.commands_topic = commands_topic("signals", place.prefix)
    place.load(commands)


def faust_rate(place: Bench, texts: list[str]) -> float:
    """Records a second of the Faust agent."""
    (topic,) = place.topics("plain")
    producer = place.producer()
    for text in texts:
        producer.produce(topic, text.encode(), PAID.encode(), 0)
        producer.poll(0)
    if producer.flush(60):
        raise RuntimeError("the records were not delivered within 60 s")
    arguments = {"bootstrap_servers": place.bootstrap_servers, "topic": topic, "count": len(texts)}
    with place.program("tumbling", window_ms=WINDOW_MS, partitions=PARTITIONS, **arguments) as process:
        assert process.stdout is not None
        return float(json.loads(process.stdout.readline())["per_second"])
