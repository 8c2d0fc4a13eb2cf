"""Replay of a domain's log: rebuilding and verifying, against plain consuming and Avro decoding of the same topic.

Then the same log as an archive: in two processes, the state at random offsets from checkpoints, and how much memory a
rebuild takes of a long log and of a short one. If they are installed, the library `eventsourcing` projects an
equivalent history, beside a rebuild, and Temporal's replayer runs one again, beside verifying.
"""

from __future__ import annotations

import json
import time
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any, Final

import fastavro
from accord.replay.checkpoints import EVERY, Checkpoints, rebuild_checkpoints
from accord.replay.export import export
from accord.replay.source import open_source
from accord.replay.state import rebuild, state_at
from accord.replay.verify import verify
from accord.schemas.codec import events_codec
from accord.schemas.position import Position
from confluent_kafka import Consumer, TopicPartition

from accord import kafka
from benchmarks.bench import Bench, acquiring_and_releasing, bench
from benchmarks.peers import eventsourcing, temporal
from benchmarks.report import Goal, Line, Sample, progress, summary

SIZE: Final = 100_000
LOCKS: Final = 1_000
PARTITIONS: Final = 6
FRAME_BYTES: Final = 10
"""Of Avro's single-object encoding, before the record."""
PROCESSES: Final = 2
LONG: Final = 1_000_000
"""From here on processes pay for their start."""
OFFSETS: Final = 20
"""Random offsets at which the state is asked for."""
SHORT: Final = 0.1
"""Of the log, for the memory of a short one."""
PEER_SIZE_MAX: Final = 100_000
TEMPORAL_SIZE_MAX: Final = 20_000
PLAIN: Final = "consume + fastavro decode"


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """`size` is the number of commands whose events are replayed; each takes its turn in each run."""
    count = size or SIZE
    found: dict[str, list[Sample]] = {}

    def take(name: str, value: float, baseline: float) -> None:
        found.setdefault(name, []).append(Sample(value, baseline))
        progress(name, value=value, baseline=baseline)

    with bench(bootstrap_servers, PARTITIONS) as place:
        place.load(acquiring_and_releasing(count, LOCKS, PARTITIONS))
        with place.worker() as process:
            place.wait_decided(count, process)
        archive = place.directory / "log.accord"
        with open_source(place.settings) as source:
            export(source, archive, domains=("locks",))
        kept = Checkpoints.beside(archive)
        with open_source(archive) as source:
            rebuild_checkpoints(source, kept, every=min(EVERY, max(100, count // 100)))
        for run in range(runs):
            plain = plain_rate(place)
            take("replay", rebuild_rate(place), plain)
            take("replay_verify", verify_rate(place), plain)
            take("replay_verify_processes", verify_rate(place, PROCESSES), plain)
            take("replay_processes", state_rate(archive, PROCESSES), state_rate(archive, 1))
            take("replay_state_at", *state_seconds(archive, kept, run))
            for what in ("rebuild", "verify"):
                take(f"replay_memory_{what}", *(memory(place, archive, what, share) for share in (1.0, SHORT)))
            if eventsourcing.missing() is None:
                rate = eventsourcing.replay_rate(min(count, PEER_SIZE_MAX), LOCKS if count >= SIZE else 10)
                take("replay_eventsourcing", found["replay"][-1].value, rate)
            if temporal.missing() is None:
                signals = temporal.replay_rate(min(count, TEMPORAL_SIZE_MAX))
                take("replay_temporal", found["replay_verify"][-1].value, signals)
    return [summary(name, _ABOUT[name][0], samples, *_against(name, count)) for name, samples in found.items()]


_ABOUT: Final[dict[str, tuple[str, str, Goal | None]]] = {
    "replay": ("events/s", PLAIN, Goal("ratio", ">=", 0.5)),
    "replay_verify": ("events/s", PLAIN, Goal("ratio", ">=", 0.25)),
    "replay_verify_processes": ("events/s", PLAIN, None),
    "replay_processes": ("events/s", "one process", Goal("ratio", ">=", 1.5)),
    "replay_state_at": ("s", "a fold from the start", Goal("value", "<=", 1.0)),
    "replay_memory_rebuild": ("MB", "a tenth of the log", Goal("ratio", "<=", 1.2)),
    "replay_memory_verify": ("MB", "a tenth of the log", None),
    "replay_eventsourcing": ("events/s", "eventsourcing", Goal("ratio", ">", 1)),
    "replay_temporal": ("commands/s", "Temporal's replayer, signals/s", Goal("ratio", ">", 1)),
}


def _against(name: str, count: int) -> tuple[str, Goal | None]:
    _, baseline, goal = _ABOUT[name]
    return baseline, None if name == "replay_processes" and count < LONG else goal


def rebuild_rate(place: Bench) -> float:
    """Decisions a second, through chain, decoding and fold, to the state of every partition."""
    with open_source(place.settings) as source:
        began = time.perf_counter()
        states = [rebuild(source, "locks", index) for index in range(PARTITIONS)]
        return sum(state.head.seq for state in states) / (time.perf_counter() - began)


def verify_rate(place: Bench, processes: int = 1) -> float:
    """Decisions a second that are decided again and compared.

    Raises:
        RuntimeError: the log is not identical.
    """
    with open_source(place.settings) as source:
        began = time.perf_counter()
        report = verify(source, domains=("locks",), processes=processes)
        seconds = time.perf_counter() - began
    if not report.ok or report.commands != report.decisions - PARTITIONS:
        raise RuntimeError(f"the log does not verify: {report}")
    return report.decisions / seconds


def state_rate(archive: Path, processes: int) -> float:
    """Decisions a second to the whole state of an archive, its checksums and the processes' start included."""
    with open_source(archive) as source:
        began = time.perf_counter()
        world = state_at(source, processes=processes)
        return world.decisions / (time.perf_counter() - began)


def state_seconds(archive: Path, kept: Checkpoints, seed: int) -> tuple[float, float]:
    """The longest time to the state at one of some random offsets, opening the archive included; from its checkpoints,
    and without any.

    Raises:
        RuntimeError: the two are not the same state.
    """
    chance = Random(seed)
    longest = {True: 0.0, False: 0.0}
    for number in range(OFFSETS):
        index = chance.randrange(PARTITIONS)
        hashes = set()
        for checkpoints in (kept, None):
            if checkpoints is None and number >= OFFSETS // 10:
                continue
            began = time.perf_counter()
            with open_source(archive) as source:
                point = Position("locks", index, chance.randrange(source.bounds("locks", index)[1]))
                hashes.add(state_at(source, point, checkpoints=checkpoints).hash)
            key = checkpoints is not None
            longest[key] = max(longest[key], time.perf_counter() - began)
    return longest[True], longest[False]


def memory(place: Bench, archive: Path, what: str, share: float) -> float:
    """Peak resident memory in MB of a process that replays the first part of an archive."""
    path = archive
    if share < 1:
        path = archive.with_name(f"short-{what}.accord")
        if not path.exists():
            with open_source(archive) as source:
                _, end = source.bounds("locks", 0)
                export(source, path, at=Position("locks", 0, int(end * share)))
    with place.program("replayed", archive=str(path), what=what) as process:
        assert process.stdout is not None
        return float(json.loads(process.stdout.readline())["peak_mb"])


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
