"""Rebuilding a domain's state from its events, against plain consuming and Avro decoding of the same topic."""

from __future__ import annotations

import time
from io import BytesIO
from typing import Any

import fastavro
from accord.replay.source import open_source
from accord.replay.state import rebuild
from accord.schemas.codec import events_codec
from confluent_kafka import Consumer, TopicPartition

from accord import kafka
from benchmarks.bench import Bench, acquire_and_release, bench
from benchmarks.report import Goal, Line, Sample, progress, summary

SIZE = 100_000
LOCKS = 1_000
PARTITIONS = 6
FRAME_BYTES = 10
"""Of Avro's single-object encoding, before the record."""


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """Rebuilds and reads in turn. `size` is the number of commands whose events are replayed."""
    commands = acquire_and_release(size or SIZE, LOCKS, PARTITIONS)
    samples = []
    with bench(bootstrap_servers, PARTITIONS) as place:
        place.load(commands)
        with place.worker() as process:
            place.wait_decided(len(commands), process)
        for run in range(runs):
            sample = Sample(rebuild_rate(place), plain_rate(place))
            progress(f"replay {run + 1}/{runs}", rebuild=sample.value, plain=sample.baseline)
            samples.append(sample)
    return [summary("replay", "events/s", samples, "consume + fastavro decode", Goal("ratio", ">=", 0.5))]


def rebuild_rate(place: Bench) -> float:
    """Decisions a second, through chain, decoding and fold, to the state of every partition."""
    with open_source(place.settings) as source:
        began = time.perf_counter()
        states = [rebuild(source, "locks", index) for index in range(PARTITIONS)]
        return sum(state.head.seq for state in states) / (time.perf_counter() - began)


def plain_rate(place: Bench) -> float:
    """Records a second through nothing but a consumer and fastavro."""
    consumer = Consumer(
        {"bootstrap.servers": place.bootstrap_servers, "group.id": "unused", "enable.auto.commit": False}
    )
    named: dict[str, Any] = {}
    schema: Any = fastavro.parse_schema(events_codec("locks").schema, named)
    # fastavro marks only records as parsed, and would parse an array again for every value.
    schema |= {"__fastavro_parsed": True, "__named_schemas": named}
    count = 0
    try:
        began = time.perf_counter()
        total = sum(kafka.bounds(consumer, place.events_topic, index)[1] for index in range(PARTITIONS))
        consumer.assign([TopicPartition(place.events_topic, index, 0) for index in range(PARTITIONS)])
        while count < total:
            for message in consumer.consume(min(2_000, total - count), timeout=1.0):
                fastavro.schemaless_reader(BytesIO(message.value()[FRAME_BYTES:]), schema, None)
                count += 1
        return count / (time.perf_counter() - began)
    finally:
        consumer.close()
