"""What a client reads to learn of a decision that concerns it, as the number of clients grows: events against inbox.

Every client acquires and releases a lock of its own, all at the same rate, so with the number of clients grows what
the others do. Many share a process. What counts is what Kafka handed to their readers, whatever they made of it.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from itertools import accumulate
from typing import IO, Any, Final, NamedTuple, cast

from accord import kafka
from benchmarks.bench import Bench, acquire_and_release, bench, wait_until
from benchmarks.distinct import cost_us, look
from benchmarks.report import Goal, Line, Sample, progress, summary

SIZE: Final = 10
"""Commands of each client in a run."""
CLIENTS: Final = (8, 64, 512)
COMMANDS_A_SECOND: Final = 0.25
"""Of each client."""
PROCESSES: Final = 4
PARTITIONS: Final = 6
INBOXES: Final = 1_024
"""Twice the clients: half of them have a partition for themselves."""
WORKER_COMMANDS: Final = 5_000
"""For each command of a client, so many are decided to measure what notices cost the worker."""
LOCKS: Final = 1_000
EVENTS, INBOX = "events", "inbox"


class Read(NamedTuple):
    """What clients read for each decision that concerned one of them, and their CPU time."""

    records: float
    bytes: float
    cpu_us: float


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """Takes both sources in turn with each number of clients. `size` is the number of commands of each client."""
    found: dict[tuple[str, int], list[Read]] = {}
    worker = []
    for run in range(runs):
        for clients in CLIENTS:
            for source in (EVENTS, INBOX):
                read = reads(bootstrap_servers, source, clients, size or SIZE)
                found.setdefault((source, clients), []).append(read)
                progress(f"readers {run + 1}/{runs} {source} {clients}", **read._asdict())
        commands = (size or SIZE) * WORKER_COMMANDS
        worker.append(
            Sample(
                worker_cost_us(bootstrap_servers, INBOX, commands), worker_cost_us(bootstrap_servers, EVENTS, commands)
            )
        )
        progress(f"readers {run + 1}/{runs} worker", with_notices=worker[-1].value, without=worker[-1].baseline)
    lines = []
    for number, (what, unit) in enumerate((("records", "records"), ("bytes", "bytes"), ("cpu", "CPU us of clients"))):
        for clients in CLIENTS:
            pairs = zip(found[INBOX, clients], found[EVENTS, clients], strict=True)
            samples = [Sample(inbox[number], events[number]) for inbox, events in pairs]
            goal = Goal("ratio", "<=", 0.1) if clients == CLIENTS[-1] and what != "cpu" else None
            lines.append(summary(f"readers_{what}_{clients}", f"{unit} a decision, inbox", samples, "events", goal))
    for source, goal in ((INBOX, Goal("ratio", "<=", 2)), (EVENTS, None)):
        most, fewest = (found[source, clients] for clients in (CLIENTS[-1], CLIENTS[0]))
        grown = [Sample(many.records, few.records) for many, few in zip(most, fewest, strict=True)]
        name = f"readers_growth_{source}"
        lines.append(summary(name, f"records a decision, {CLIENTS[-1]} clients", grown, f"{CLIENTS[0]} clients", goal))
    lines.append(summary("readers_worker", "CPU us a command, with notices", worker, "without"))
    return lines


def reads(bootstrap_servers: str, source: str, clients: int, commands: int) -> Read:
    """Has clients work for a while and sees what they read meanwhile.

    Raises:
        RuntimeError: a program failed, or not every command was answered.
    """
    processes = min(PROCESSES, clients)
    with ExitStack() as stack:
        place = stack.enter_context(bench(bootstrap_servers, PARTITIONS, inboxes=INBOXES if source == INBOX else 0))
        stack.enter_context(place.worker())
        programs = [
            stack.enter_context(
                place.program(
                    "readers",
                    settings={**place.worker_arguments(), "client": {"answers": source, "worker_wait_ms": 60_000}},
                    agents=[f"agent-{n}" for n in range(clients)][part::processes],
                    commands=commands,
                    pause_s=1 / COMMANDS_A_SECOND,
                )
            )
            for part in range(processes)
        ]
        for program in programs:
            _answer(place, program)  # connected, and every client has been answered once
        for program in programs:
            cast(IO[str], program.stdin).write("go\n")
            cast(IO[str], program.stdin).flush()
        answers = [_answer(place, program) for program in programs]
        decided = sum(answer["decided"] for answer in answers)
        if decided != clients * commands:
            raise RuntimeError(f"{clients} clients sent {commands} commands each, {decided} were answered")
        spans = [span for answer in answers for span in answer["read"]]
        records = sum(end - start for _, _, start, end in spans)
        cpu_us = sum(answer["cpu_s"] for answer in answers) * 1e6
        return Read(records / decided, _bytes(place, spans) / decided, cpu_us / decided)


def worker_cost_us(bootstrap_servers: str, source: str, count: int) -> float:
    """CPU time of a worker for a command whose sender wants a notice."""
    inboxes = INBOXES if source == INBOX else 0
    with bench(bootstrap_servers, PARTITIONS, inboxes=inboxes) as place:
        commands = acquire_and_release(count, LOCKS, PARTITIONS, addressed=True)
        consumer = kafka.consumer(place.settings.kafka)
        with place.worker() as process:
            place.wait_decided(0, process)
            before = look(process, 0)
            place.load(commands)
            place.wait_decided(count, process)
            wait_until(lambda: not inboxes or place.notice_count(consumer) >= count, process, f"{count} notices")
            after = look(process, count)
        consumer.close()
        return cost_us([before, after])


def _answer(place: Bench, program: subprocess.Popen[str]) -> dict[str, Any]:
    assert program.stdout is not None
    line = program.stdout.readline()
    if not line:
        log = (place.directory / "readers.log").read_text().splitlines()
        raise RuntimeError("\n".join([f"clients ended with {program.wait()}:", *log[-30:]]))
    found: dict[str, Any] = json.loads(line)
    return found


def _bytes(place: Bench, spans: list[tuple[str, int, int, int]]) -> int:
    """Bytes of keys, values and headers in spans of topics."""
    last: dict[tuple[str, int], int] = {}
    for topic, partition, _, end in spans:
        last[topic, partition] = max(end, last.get((topic, partition), 0))
    consumer = kafka.reader(place.settings.kafka)
    upto: dict[tuple[str, int], list[int]] = {}
    try:
        for (topic, partition), end in last.items():
            sizes = (
                len(record.key or b"") + len(record.value or b"") + sum(len(k) + len(v) for k, v in record.headers)
                for record in kafka.read(consumer, topic, partition, 0, end)
            )
            upto[topic, partition] = list(accumulate(sizes, initial=0))
    finally:
        consumer.close()
    return sum(upto[topic, partition][end] - upto[topic, partition][start] for topic, partition, start, end in spans)
