"""A worker's figures: what is counted, what they are called, and that they can be read while it works."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from accord.agents.agent import Agent
from accord.agents.metrics import AgentMetrics
from accord.agents.tasks.graph import GiveUp, TaskGraph
from accord.schemas.messages.locks import AcquireLock, ReleaseLock
from accord.streams.domains import DOMAINS
from accord.streams.runtime.metrics import TYPES_MAX, Buckets, DomainMetrics, cumulative
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from accord import metrics, sync
from accord.admin import Admin
from accord.embedded import Embedded
from accord.errors import ConfigError, TaskFailedError
from accord.settings import Settings
from tests.agents.support import until, with_
from tests.topics import fresh_prefix

BASE_UNITS = ("_seconds", "_bytes", "_total", "_info")
OTHER_UNITS = re.compile(r"(_ms|_millis|_milliseconds|_us|_ns|_minutes|_hours|_kb|_mb|_kib|_mib|_percent)(_|$)")
COUNTS = ("_commands", "_decisions", "_aggregates")
FREE_LABELS = {"key", "lock", "name", "task", "task_id", "topic", "agent_id"}


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(found: dict[str, Metric], sample: str, **labels: str) -> float:
    """The sum of a sample over the labels that are not given."""
    return sum(
        one.value
        for family in found.values()
        for one in family.samples
        if one.name == sample and labels.items() <= one.labels.items()
    )


def problems(found: dict[str, Metric]) -> list[str]:
    """What is wrong with names, by the rules of Prometheus."""
    wrong = []
    for family in found.values():
        if not family.name.startswith("accord_"):
            continue
        if not family.documentation:
            wrong.append(f"{family.name}: no text")
        if OTHER_UNITS.search(family.name):
            wrong.append(f"{family.name}: no base unit")
        if family.type == "histogram" and not family.name.endswith((*BASE_UNITS, *COUNTS)):
            wrong.append(f"{family.name}: a histogram of what?")
        if family.type == "counter" and any(not one.name.endswith(("_total", "_created")) for one in family.samples):
            wrong.append(f"{family.name}: a counter ends with _total")
        if family.type == "gauge" and family.name.endswith("_total"):
            wrong.append(f"{family.name}: _total is for counters")
        wrong += [
            f"{family.name}: label {name}" for one in family.samples for name in one.labels if name in FREE_LABELS
        ]
    return wrong


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scraped(port: int) -> dict[str, Metric]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/plain")
        return families(answer.read().decode())


# -- counting


def test_buckets_hold_what_is_at_most_their_bound() -> None:
    buckets, others = Buckets((1.0, 5.0)), Buckets((1.0, 5.0))
    for one in (0.5, 1.0, 1.1, 5.0, 7.0):
        buckets.observe(one)
    others.observe(1.0)
    assert cumulative([buckets]) == ([("1.0", 2.0), ("5.0", 4.0), ("+Inf", 5.0)], pytest.approx(14.6))
    assert cumulative([buckets, others])[0] == [("1.0", 3.0), ("5.0", 5.0), ("+Inf", 6.0)]


def test_types_of_decisions_without_number_are_summed_up() -> None:
    counted = DomainMetrics(DOMAINS["tasks"], lambda: 0)
    for number in range(3 * TYPES_MAX):
        counted._types[b"accord.tasks.v1.StepTimedOut" + b"+StepDeadLettered" * (number % 7) + b"+X%d" % number] += 1
        if len(counted._types) > TYPES_MAX:
            counted._sum_up()
    assert len(counted._types) <= TYPES_MAX
    assert counted.outcomes == {"StepTimedOut": 3 * TYPES_MAX}
    assert counted.dead_letters["StepDeadLettered"] == sum(number % 7 for number in range(3 * TYPES_MAX))


# -- a worker


@pytest.fixture
def worker(accord_kafka: str, tmp_path: Path) -> Iterator[tuple[Settings, int]]:
    """`accord worker` in a process of its own; its settings, and the port of its figures."""
    port, prefix = free_port(), fresh_prefix(accord_kafka, "m")
    settings = Settings.load(kafka={"bootstrap_servers": accord_kafka}, topics={"prefix": prefix, "partitions": 2})
    Admin(settings).init()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACCORD_")} | {
        "ACCORD_KAFKA__BOOTSTRAP_SERVERS": accord_kafka,
        "ACCORD_TOPICS__PREFIX": prefix,
        "ACCORD_TOPICS__PARTITIONS": "2",
        "ACCORD_WORKER__DATA_DIR": str(tmp_path),
        "ACCORD_WORKER__DOMAINS": '["locks", "tasks", "roster", "signals", "limits", "waits"]',
        "ACCORD_WORKER__METRICS_PORT": str(port),
        "ACCORD_WORKER__CHECKPOINT_MS": "100",
    }
    accord = str(Path(sys.executable).with_name("accord"))
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen([accord, "worker", "--errors"], env=environment, cwd=tmp_path, stderr=errors)
    try:
        yield settings, port
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert (tmp_path / "errors").read_text() == "", "nothing went wrong"
    finally:
        process.kill()
        process.wait()


def until_up(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if value(scraped(port), "accord_assignments_total", domain="waits"):
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, "no worker"
        time.sleep(0.1)


def test_a_worker_tells_its_figures_over_http(worker: tuple[Settings, int]) -> None:
    settings, port = worker
    until_up(port)
    with sync.Accord(settings=settings, agent="ada") as hub:
        for number in range(20):
            with hub.lock(f"room_{number % 5}"):
                pass
        hub.connection.submit("locks", "room_1", AcquireLock("a" * 300, "o", 1_000, None)).decided.exception()

        def broken() -> None:
            raise GiveUp("no")

        graph = TaskGraph("metrics")
        graph.add("only", broken)
        with hub.work(graph), pytest.raises(TaskFailedError):
            hub.submit(graph).result(wait_ms=20_000)
        hub.lock("kept").acquire()
        until(lambda: value(scraped(port), "accord_partition_lag") == 0)
        until(lambda: value(scraped(port), "accord_checkpoint_seconds_count", domain="locks") > 0)
        found = scraped(port)
    assert problems(found) == []
    locks = {"domain": "locks"}
    assert value(found, "accord_commands_total", outcome="LockGranted", **locks) == 21
    assert value(found, "accord_commands_total", outcome="LockReleased", **locks) == 20
    assert value(found, "accord_commands_total", outcome="CommandRejected", **locks) == 1
    assert value(found, "accord_dead_letters_total", event="CommandRejected", **locks) == 1
    assert value(found, "accord_dead_letters_total", event="StepDeadLettered", domain="tasks") == 1
    assert value(found, "accord_events_total", event="StepStarted", domain="tasks") == 1
    decided = value(found, "accord_commands_total", **locks)
    assert value(found, "accord_turn_commands_sum", **locks) == decided
    turns = value(found, "accord_turn_seconds_count", **locks)
    assert 0 < turns <= decided
    assert value(found, "accord_command_confirmed_seconds_count", **locks) == turns
    assert 0 < value(found, "accord_command_confirmed_seconds_sum", **locks) < turns * 30
    assert value(found, "accord_recovery_seconds_count", source="events") == 12
    assert value(found, "accord_partition_aggregates", **locks) == 1
    assert value(found, "accord_assignments_total", **locks) == 1
    for none in ("halted", "paused", "contested", "unconfirmed_decisions"):
        assert value(found, f"accord_partition_{none}") == 0
    assert len([one for one in found["accord_partition_halted"].samples if one.labels["domain"] == "locks"]) == 2
    assert {one.labels["domain"] for one in found["accord_partition_lag"].samples} >= {"locks", "tasks", "roster"}
    assert value(found, "process_start_time_seconds") > 0


def test_a_worker_whose_port_is_taken_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = with_(Settings.load(), "worker", metrics_port=taken.getsockname()[1])
        with pytest.raises(ConfigError, match="cannot be listened at"), Embedded(settings=settings):
            pass


def test_a_halted_partition_and_what_waits_before_it_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> None:
        raise RuntimeError("a bug in a decider")

    port = free_port()
    settings = with_(Settings.load(), "worker", metrics_port=port)
    with Embedded(settings=settings) as embedded, sync.Accord(settings=embedded.settings, agent="ada") as hub:
        with hub.lock("room"):
            pass
        monkeypatch.setattr(type(DOMAINS["locks"].versions[1]), "decide", bug)
        for _ in range(3):
            hub.connection.submit("locks", "room", ReleaseLock("ada", 1))
        until(lambda: value(scraped(port), "accord_partition_halted", domain="locks") == 1)
        until(lambda: value(scraped(port), "accord_partition_lag", domain="locks") >= 3)  # those sent again count, too
        assert value(scraped(port), "accord_partition_halts_total", domain="locks") == 1
    with pytest.raises(OSError, match="refused"):
        scraped(port)


# -- agents


def test_an_agent_counts_its_steps_and_operations() -> None:
    registry = metrics.CollectorRegistry()

    def write(input: str) -> str:
        return input

    def edit(input: str) -> None:
        raise GiveUp("no ink")

    graph = TaskGraph("counted", team="counted")
    graph.add("draft", capability="writer")
    graph.add("polish", capability="editor", after=["draft"])
    with sync.local(agent="ada") as hub:
        hub.count_in(registry)
        work = hub.work(Agent("writer", write), Agent("editor", edit), team="counted")
        with work, pytest.raises(TaskFailedError):
            hub.submit(graph, "x").result(wait_ms=20_000)
        with hub.lock("room"):
            pass
    found = families(metrics.text(registry).decode())
    assert problems(found) == []
    writer, editor = {"agent": "writer", "capability": "writer"}, {"agent": "editor", "capability": "editor"}
    assert value(found, "accord_steps_started_total", **writer) == 1
    assert value(found, "accord_step_seconds_count", outcome="completed", **writer) == 1
    assert value(found, "accord_step_seconds_count", outcome="failed", **editor) == 1
    assert value(found, "accord_steps_running") == 0
    assert value(found, "accord_operation_seconds_count", operation="submit", status="success") == 1
    assert value(found, "accord_operation_seconds_count", operation="acquire", status="success") == 1


def test_a_registry_is_of_one_hub() -> None:
    registry = metrics.new_registry()
    AgentMetrics(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        AgentMetrics(registry)
    AgentMetrics(metrics.new_registry())


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("# HELP accord_wait_ms x\n# TYPE accord_wait_ms gauge\naccord_wait_ms 1\n", "no base unit"),
        ("# HELP accord_all_total x\n# TYPE accord_all_total gauge\naccord_all_total 1\n", "_total is for counters"),
        ("# HELP accord_x x\n# TYPE accord_x gauge\naccord_x{lock=\"a\"} 1\n", "label lock"),
        ("# TYPE accord_y gauge\naccord_y 1\n", "no text"),
    ],
)  # fmt: skip
def test_the_check_of_names_finds_what_is_wrong(line: str, problem: str) -> None:
    assert [one for one in problems(families(line)) if problem in one]
