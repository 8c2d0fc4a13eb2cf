"""Real Kafka, real processes: leaders are killed and stopped, a standby takes over; steps go on and are done once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from accord.agents.tasks.sync import Handle
from accord.replay.source import open_source
from accord.replay.verify import verify
from accord.schemas.codec import events_codec
from accord.schemas.topics import events_topic
from accord.streams.chain import Chain, genesis

from accord import kafka, sync
from accord.admin import Admin
from accord.settings import Settings
from tests.counts import LONG, only_long
from tests.faults.planner import GRAPH
from tests.faults.processes import Process

NAMES = ("ada", "bob", "eve")
PARTITIONS = 3
DOMAINS = ("locks", "waits", "roster", "tasks")
FAULTS = 12 if LONG else 4
"""Every second one a kill -9, the others a SIGSTOP for longer than a process may be silent."""
STOPPED_S = 7.0
DETECTED_S = 5.0
TAKEN_S = DETECTED_S + 1.0
WAIT_S = 60.0


class Belief(NamedTuple):
    """Somebody believed to have the role between two times, in ns."""

    agent: str
    token: int
    before_ns: int
    after_ns: int


class Agents:
    """The agents of a run, and what they have said."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.processes = {
            name: Process(
                name,
                ["-m", "tests.faults.planner", name, str(directory / f"{name}.beliefs")],
                "ready",
                directory / f"{name}.log",
                environment,
            )
            for name in NAMES
        }
        self._directory = directory

    def beliefs(self) -> list[Belief]:
        """All that were written whole, by time."""
        found = []
        for name in NAMES:
            file = self._directory / f"{name}.beliefs"
            for line in file.read_text().splitlines() if file.exists() else ():
                numbers = line.split()
                if len(numbers) == 3:
                    found.append(Belief(name, *map(int, numbers)))
        return sorted(found, key=lambda belief: belief.after_ns)

    def leader(self, since_token: int = 0) -> Belief:
        """Waits for one with a later token; returns its first belief."""
        deadline_s = time.monotonic() + WAIT_S
        while time.monotonic() < deadline_s:
            later = [belief for belief in self.beliefs() if belief.token > since_token]
            if later:
                return later[0]
            time.sleep(0.02)
        raise AssertionError("nobody took over")


@contextmanager
def failover_run(servers: str, directory: Path) -> Iterator[tuple[Agents, Settings]]:
    prefix = f"failover-{time.time_ns()}"
    settings = Settings.load(
        kafka={"bootstrap_servers": servers},
        topics={"prefix": prefix, "partitions": PARTITIONS},
    )
    Admin(settings).init()
    environment = {
        "ACCORD_KAFKA__BOOTSTRAP_SERVERS": servers,
        "ACCORD_KAFKA__CONNECT_TIMEOUT_MS": "60000",
        "ACCORD_TOPICS__PREFIX": prefix,
        "ACCORD_TOPICS__PARTITIONS": str(PARTITIONS),
    }
    of_worker = {
        "ACCORD_WORKER__DATA_DIR": str(directory / "w"),
        "ACCORD_WORKER__DOMAINS": str(list(DOMAINS)).replace("'", '"'),
    }
    arguments = ["-c", "from accord.cli import main; main()", "worker"]
    worker = Process("worker", arguments, "worker ready", directory / "worker.log", environment | of_worker)
    agents = Agents(directory, environment)
    with ExitStack() as stack:
        for process in (worker, *agents.processes.values()):
            stack.callback(process.kill)
            process.start()
            process.wait_until_ready()
        yield agents, settings


@only_long
@pytest.mark.timeout(600)
def test_a_standby_takes_over_and_nothing_is_lost_or_done_twice(accord_kafka: str, tmp_path: Path) -> None:
    taken_s: list[float] = []
    with (
        failover_run(accord_kafka, tmp_path) as (agents, settings),
        sync.Accord(agent="boss", settings=settings) as hub,
    ):
        handles: list[Handle] = []
        leader = agents.leader()
        for number in range(FAULTS):
            handles += [hub.submit(GRAPH, one) for one in range(10 * number, 10 * number + 10)]
            process = agents.processes[leader.agent]
            hit_s = time.monotonic()
            if number % 2:
                process.freeze()
            else:
                process.kill()
            then = agents.leader(leader.token)
            taken_s.append(then.after_ns / 1e9 - hit_s)
            assert then.agent != leader.agent
            if number % 2:
                time.sleep(max(0.0, hit_s + STOPPED_S - time.monotonic()))
                process.thaw()
            else:
                process.start()
                process.wait_until_ready()
            leader = then
        results = [handle.result(wait_ms=60_000) for handle in handles]
        beliefs = agents.beliefs()
        events = counted(settings, "roster")
    print(f"taken over after {sorted(round(one, 2) for one in taken_s)} s; roster: {dict(events)}")
    assert results == [number + 1 for number in range(10 * FAULTS)]
    assert counted(settings, "tasks")["StepCompleted"] == len(handles), "each step once"
    assert events["AgentFailed"] >= FAULTS
    only_one_believes(beliefs)
    assert max(taken_s) <= TAKEN_S
    with open_source(settings) as log:
        assert verify(log).ok


def only_one_believes(beliefs: list[Belief]) -> None:
    """Nobody believes in a token once another one believes in a later one."""
    first_ns: dict[int, int] = {}
    last_ns: dict[int, int] = {}
    for belief in beliefs:
        first_ns[belief.token] = min(first_ns.get(belief.token, belief.after_ns), belief.after_ns)
        last_ns[belief.token] = max(last_ns.get(belief.token, 0), belief.before_ns)
    tokens = sorted(first_ns)
    for token, later in pairwise(tokens):
        assert last_ns[token] <= first_ns[later], f"{token} was believed in after {later}"


def counted(settings: Settings, domain: str) -> Counter[str]:
    """The accepted events of a domain, by name."""
    found: Counter[str] = Counter()
    consumer, codec = kafka.consumer(settings.kafka), events_codec(domain)
    topic = events_topic(domain, settings.topics.prefix)
    try:
        cluster = kafka.cluster_id(consumer, settings.kafka)
        for partition in range(settings.topics.partitions):
            chain = Chain(genesis(cluster, topic, partition))
            _, end = kafka.bounds(consumer, topic, partition)
            for record in kafka.read(consumer, topic, partition, 0, end):
                decision = chain.accept(record)
                if decision is not None:
                    found.update(type(event).__name__ for event in codec.decode(decision.value))
    finally:
        consumer.close()
    return found


def test_two_who_believe_at_once_are_noticed() -> None:
    only_one_believes([Belief("ada", 1, 10, 11), Belief("bob", 2, 12, 13), Belief("bob", 2, 20, 21)])
    with pytest.raises(AssertionError, match="1 was believed in after 2"):
        only_one_believes([Belief("ada", 1, 10, 11), Belief("bob", 2, 12, 13), Belief("ada", 1, 14, 15)])
