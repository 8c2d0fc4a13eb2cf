"""How soon a killed process counts as failed and a standby has its role; how often one that lives is suspected.

Agents beat in several processes, each in a role, while others take and free locks as fast as they can. First they are
left alone: whoever is suspected meanwhile is so falsely. Then their processes are killed, one after the other; a
standby waits for each role. The baseline of a time is what the settings say: no beat for so long. The load's cycles are
told beside it, on stderr.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

from accord.agents.connection.connection import Answer
from accord.schemas.codec import events_codec
from accord.schemas.messages.roster import AgentFailed
from accord.schemas.topics import commands_topic, events_topic
from accord.streams.chain import Chain, genesis

from accord import Accord, LeaseLost, kafka
from benchmarks.bench import Bench, bench
from benchmarks.report import Goal, Line, Sample, progress, quantile, summary

SIZE = 60
"""Seconds for which the agents are left alone."""
PROCESSES = 10
AGENTS = 5
"""Of each process."""
PARTITIONS = 6
LOADERS = 8
"""Call chains that take and free locks."""
PAUSE_S = 0.7
"""Between two kills, of no beat's rhythm."""
WAIT_S = 60.0
START_MS = 60_000
"""How long programs may look for a broker and a worker: what is measured has not begun."""
DETECTED_S = 5.0
TRUE_PERCENT = 99.0
RECORDS_A_BEAT = 2
"""A command and a decision."""


class Found(NamedTuple):
    """What a run found. Times are in s, from the kill."""

    failed: list[float]
    taken: list[float]
    beats: int
    suspected: set[str]
    records_a_second: float


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """`size` is the number of seconds for which nobody is killed."""
    found = []
    for run in range(runs):
        with ExitStack() as stack:
            place = stack.enter_context(bench(bootstrap_servers, PARTITIONS))
            worker = stack.enter_context(place.worker(domains=["roster", "locks", "waits"]))
            place.wait_decided(0, worker)
            found.append(measure(place, stack, size or SIZE))
        one = found[-1]
        progress(
            f"detection {run + 1}/{runs}", p50=quantile(one.failed, 0.5), p99=quantile(one.failed, 0.99),
            taken=quantile(one.taken, 0.99), beats=one.beats, suspected=len(one.suspected),
        )  # fmt: skip
    health, count = place.settings.health, PROCESSES * AGENTS
    fails_s, beats_s = health.fail_beats * health.beat_ms / 1_000, 1_000 / health.beat_ms
    silence = f"{health.fail_beats} beats of {health.beat_ms} ms"
    within = Goal("value", "<=", DETECTED_S)

    def times(share: float, of: list[list[float]]) -> list[Sample]:
        return [Sample(quantile(one, share), fails_s) for one in of]

    alive = [Sample(100 * (1 - len(one.suspected) / count), 100.0) for one in found]
    records = [Sample(one.records_a_second / count, RECORDS_A_BEAT * beats_s) for one in found]
    return [
        summary("detection", "s p50", times(0.5, [one.failed for one in found]), silence),
        summary("detection_slow", "s p99", times(0.99, [one.failed for one in found]), silence, within),
        summary("detection_taken", "s p99", times(0.99, [one.taken for one in found]), silence, within),
        summary("detection_true", "% of agents never suspected", alive, "all", Goal("value", ">=", TRUE_PERCENT)),
        summary("detection_records", "records/s an agent", records, "a command and a decision a beat"),
    ]


def measure(place: Bench, stack: ExitStack, seconds: float) -> Found:
    settings = place.worker_arguments()
    settings = {name: settings[name] for name in ("kafka", "topics")}
    names = [[f"agent-{process}-{number}" for number in range(AGENTS)] for process in range(PROCESSES)]
    settings["kafka"]["connect_timeout_ms"] = START_MS
    settings["client"] = {"worker_wait_ms": START_MS}
    told: dict[str, str] = {}
    processes = []
    for of_process in names:  # one by one: what they take to start is no load that is meant
        processes.append(stack.enter_context(place.program("beating", settings=settings, agents=of_process)))
        told |= _said(place, "beating", processes[-1])
    loader = stack.enter_context(place.program("cycling", settings=settings, chains=LOADERS))
    _said(place, "cycling", loader)
    before, began_s = records(place), time.monotonic()
    time.sleep(seconds)
    records_a_second = (records(place) - before) / (time.monotonic() - began_s)
    counted, suspected = beats(place)
    failed, taken, deposed = asyncio.run(kills(place, processes, names, told))
    assert loader.stdin is not None
    loader.stdin.write("stop\n")
    loader.stdin.flush()
    progress("detection", load=_said(place, "cycling", loader)["a_second"])
    return Found(failed, taken, counted, suspected | {told[agent] for agent in deposed}, records_a_second)


def _said(place: Bench, program: str, process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        words = "".join((place.directory / f"{program}.log").read_text().splitlines(keepends=True)[-20:])
        raise RuntimeError(f"{program} ended with {process.wait()} before it said anything:\n{words}")
    return json.loads(line)


async def kills(
    place: Bench, processes: list[subprocess.Popen[str]], names: list[list[str]], told: dict[str, str]
) -> tuple[list[float], list[float], set[str]]:
    """Kills each process; returns when its agents counted as failed, and when the standby had their roles, in s; and
    the agents that had lost their roles before, of which nothing is measured."""
    failed_s: dict[str, float] = {}
    taken_s: dict[str, float] = {}
    killed_s: dict[str, float] = {}
    deposed: set[str] = set()
    agents = [name for of_process in names for name in of_process]
    all_wait = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch(agent: str, answer: Answer) -> None:
        if any(isinstance(event, AgentFailed) for event in answer.events):
            failed_s[agent] = time.monotonic()

    async def stand_by(agent: str) -> None:
        role = hub.role(agent)
        role.on_queued = lambda _: loop.call_soon_threadsafe(queued)
        tenure = await role.acquire()
        if agent not in killed_s:
            deposed.add(agent)
            queued()
        taken_s[agent] = time.monotonic()
        with suppress(LeaseLost):  # it has been there
            await tenure.release()

    waiting = 0

    def queued() -> None:
        nonlocal waiting
        waiting += 1
        if waiting >= len(agents):
            all_wait.set()

    async with Accord(agent="standby", settings=place.settings) as hub:
        for agent in agents:
            hub.connection.watch("roster", told[agent], lambda answer, agent=agent: watch(agent, answer))
        tasks = [asyncio.create_task(stand_by(agent), context=contextvars.Context()) for agent in agents]
        async with asyncio.timeout(WAIT_S):
            await all_wait.wait()
        for process, of_process in zip(processes, names, strict=True):
            killed_s |= dict.fromkeys(of_process, time.monotonic())
            process.kill()
            await asyncio.sleep(PAUSE_S)
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*tasks)
    counted = [agent for agent in agents if agent not in deposed]
    missing = set(counted) - set(failed_s)
    if missing:
        raise RuntimeError(f"{len(missing)} roles went on without a failure on the log: {sorted(missing)[:5]}")
    if not counted:
        raise RuntimeError("every agent lost its role before anybody was killed: nothing is left to measure")
    failed, taken = ([times[one] - killed_s[one] for one in counted] for times in (failed_s, taken_s))
    return failed, taken, deposed


def records(place: Bench) -> int:
    """In the roster's topics."""
    consumer = kafka.consumer(place.settings.kafka)
    try:
        topics = [name("roster", place.prefix) for name in (commands_topic, events_topic)]
        return sum(kafka.bounds(consumer, topic, number)[1] for topic in topics for number in range(place.partitions))
    finally:
        consumer.close()


def beats(place: Bench) -> tuple[int, set[str]]:
    """How many beats there were, and who has been suspected, so far."""
    counts: Counter[str] = Counter()
    suspected = set()
    for key, event in roster_events(place):
        counts[type(event).__name__] += 1
        if type(event).__name__ in ("AgentSuspected", "AgentFailed"):
            suspected.add(key)
    return counts["AgentBeat"], suspected


def roster_events(place: Bench) -> Iterator[tuple[str, Any]]:
    """The accepted events of the roster, with their keys."""
    consumer, codec = kafka.consumer(place.settings.kafka), events_codec("roster")
    topic = events_topic("roster", place.prefix)
    try:
        for partition in range(place.partitions):
            chain = Chain(genesis(place.cluster, topic, partition))
            _, end = kafka.bounds(consumer, topic, partition)
            for record in kafka.read(consumer, topic, partition, 0, end):
                decision = chain.accept(record)
                if decision is not None:
                    for event in codec.decode(decision.value):
                        yield decision.key.decode(), event
    finally:
        consumer.close()
