"""Commands a second through one worker, against the records a second of an ordinary Faust agent that does nothing.

Both read the same backlog of acquires and releases, with full headers, from the same topic.
"""

from __future__ import annotations

import json
from collections import Counter

from accord import kafka
from benchmarks.bench import Bench, Preload, acquire_and_release, bench
from benchmarks.report import Goal, Line, Sample, progress, summary

SIZE = 100_000
LOCKS = 1_000
PARTITIONS = 6


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """Runs worker and agent in turn. `size` is the number of commands of a run."""
    commands = acquire_and_release(size or SIZE, LOCKS, PARTITIONS)
    samples = []
    for run in range(runs):
        with bench(bootstrap_servers, PARTITIONS) as place:
            place.load(commands)
            sample = Sample(worker_rate(place, commands), noop_rate(place, len(commands)))
        progress(f"commands {run + 1}/{runs}", worker=sample.value, faust=sample.baseline)
        samples.append(sample)
    return [summary("commands", "commands/s", samples, "no-op Faust agent", Goal("ratio", ">=", 2.5))]


def worker_rate(place: Bench, commands: list[Preload]) -> float:
    """Decisions a second, by the brokers' own times of the first and the last one.

    Raises:
        RuntimeError: a command was not decided as it should have been.
    """
    with place.worker() as process:
        place.wait_decided(len(commands), process)
    found: Counter[bytes] = Counter()
    times: list[int] = []
    consumer = kafka.consumer(place.settings.kafka)
    try:
        for decision, timestamp in place.decisions(consumer):
            if decision.cause >= 0:
                found[decision.type.rpartition(b".")[2]] += 1
                times.append(timestamp)
    finally:
        consumer.close()
    if sum(found.values()) != len(commands) or set(found) - {b"LockGranted", b"LockReleased"}:
        raise RuntimeError(f"{len(commands)} commands brought {dict(found)}")
    return (len(times) - 1) * 1_000 / max(1, max(times) - min(times))


def noop_rate(place: Bench, count: int) -> float:
    """Records a second of the Faust agent."""
    arguments = {"bootstrap_servers": place.bootstrap_servers, "topic": place.commands_topic, "count": count}
    with place.program("noop", **arguments) as process:
        assert process.stdout is not None
        return float(json.loads(process.stdout.readline())["per_second"])
