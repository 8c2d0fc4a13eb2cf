"""The command line on a real Kafka: topics as they must be, a worker, its log verified, exported and followed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from accord.schemas.messages.limits import ConfigurePool, RequestCapacity
from accord.schemas.messages.locks import AcquireLock, ReleaseLock
from accord.schemas.topics import DOMAINS, topic_table
from accord.streams.runtime.worker import EmbeddedWorker
from confluent_kafka.admin import NewTopic

from accord.admin import send
from accord.cli.app import run
from accord.cli.health import examine
from accord.kafka import producer
from accord.settings import Settings
from tests import topics
from tests.agents.support import until
from tests.counts import only_long
from tests.runtime.test_metrics import free_port
from tests.topics import fresh_prefix

PROGRAM = str(Path(sys.executable).with_name("accord"))
WAIT_S = 90.0
"""For what takes a second or two on a quiet machine: the start of a worker's process among it."""


class Ran(NamedTuple):
    """What a command line did."""

    returncode: int
    stdout: str
    stderr: str


class Cluster:
    """A prefix on a broker, and `accord` run against it."""

    def __init__(self, bootstrap_servers: str, folder: Path, prefix: str, partitions: int = 2) -> None:
        self.bootstrap_servers, self.folder = bootstrap_servers, folder
        self.prefix = prefix
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("ACCORD_")} | {
            "ACCORD_KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
            "ACCORD_TOPICS__PREFIX": self.prefix,
            "ACCORD_TOPICS__PARTITIONS": str(partitions),
            "ACCORD_WORKER__DATA_DIR": str(folder / "worker"),
            "ACCORD_WORKER__SESSION_TIMEOUT_MS": "6000",
            "PYTHONFAULTHANDLER": "1",
        }
        self.settings = Settings.load(
            kafka={"bootstrap_servers": bootstrap_servers}, topics={"prefix": self.prefix, "partitions": partitions}
        )

    def accord(self, *arguments: str) -> Ran:
        """Runs a command line in this process."""
        out, err = StringIO(), StringIO()
        with (
            patch.dict(os.environ, self.environment, clear=True),
            chdir(self.folder),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = run(list(arguments))
        return Ran(code, out.getvalue(), err.getvalue())

    def start(self, *arguments: str, output: Any = subprocess.DEVNULL) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, *arguments], env=self.environment, cwd=self.folder, stdout=output, stderr=output, text=True
        )

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A worker in this process, which starts sooner than one of its own."""
        with patch.dict(os.environ, self.environment, clear=True):
            worker = EmbeddedWorker(Settings.load(), timestamps="log_append", static=True)
        worker.start()
        try:
            yield
        finally:
            worker.stop()

    def objects(self, *arguments: str) -> list[dict[str, Any]]:
        ran = self.accord(*arguments, "--json")
        return [json.loads(line) for line in ran.stdout.splitlines()]

    def create(self, name: str, partitions: int, **config: str) -> None:
        new = NewTopic(name, partitions, 1, config={key.replace("_", "."): value for key, value in config.items()})
        topics.create(self.bootstrap_servers, new)


def eventually(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {WAIT_S:g} s"
        time.sleep(0.1)
    return found


@pytest.fixture
def cluster(accord_kafka: str, tmp_path: Path) -> Cluster:
    return Cluster(accord_kafka, tmp_path, fresh_prefix(accord_kafka, "cli"))


@pytest.fixture(scope="module")
def served(accord_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A prefix with topics, a worker, and a little history: two locks, one of them freed, and a dead letter."""
    served = Cluster(accord_kafka, tmp_path_factory.mktemp("served"), fresh_prefix(accord_kafka, "cli"))
    served.environment["ACCORD_WORKER__METRICS_PORT"] = str(free_port())
    assert served.accord("topics", "init").returncode == 0
    with (served.folder / "worker.log").open("w") as log:
        worker = served.start("worker", output=log)
    try:
        send(served.settings, "locks", {"room_1": AcquireLock("ada", "ada/1", 60_000, None)}, source="ada")
        send(served.settings, "locks", {"room_2": AcquireLock("bob", "bob/1", 60_000, None)}, source="bob")
        (granted,) = eventually(lambda: served.objects("events", "list", "--key", "room_2"))
        release = {"room_2": ReleaseLock("bob", granted["data"]["token"])}
        send(served.settings, "locks", release, source="bob")
        garbage = producer(served.settings.kafka)
        garbage.produce(f"{served.prefix}.locks.commands.v1", b"garbage", b"room_3")
        garbage.flush(10)
        eventually(lambda: len(served.objects("events", "list", "--domain", "locks")) == 6)
        yield served
    finally:
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(30)
    assert code == 0, (served.folder / "worker.log").read_text()


def test_init_creates_what_is_missing_and_may_be_repeated(cluster: Cluster) -> None:
    names = [topic.name for topic in topic_table(cluster.prefix)]
    assert cluster.accord("topics", "check").returncode == 1
    first = cluster.accord("topics", "init")
    assert first.returncode == 0 and first.stdout.count("created") == len(names)
    again = cluster.accord("topics", "init")
    assert again.returncode == 0 and again.stdout.count("exists") == len(names)
    assert [(row["name"], row["state"]) for row in cluster.objects("topics", "check")] == [(n, "right") for n in names]
    assert cluster.accord("topics", "check").returncode == 0
    listed = cluster.accord("topics", "list").stdout
    assert "for ever" in listed and "30 days" in listed and "LogAppendTime" in listed


WRONG: list[tuple[str, int, dict[str, str], str]] = [
    (
        "locks.commands",
        1,
        {"message_timestamp_type": "LogAppendTime"},
        "has 1 partition, settings say 2 (auto-created?)",
    ),
    ("locks.commands", 3, {"message_timestamp_type": "LogAppendTime"}, "has 3 partitions, settings say 2."),
    ("signals.commands", 2, {}, "has message.timestamp.type=CreateTime, it must be LogAppendTime"),
    (
        "locks.events",
        2,
        {"message_timestamp_type": "LogAppendTime", "cleanup_policy": "compact", "retention_ms": "-1"},
        "has cleanup.policy=compact, it must be delete",
    ),
    (
        "locks.events",
        2,
        {"message_timestamp_type": "LogAppendTime", "retention_ms": "1000"},
        "has retention.ms=1000, it must be -1",
    ),
    (
        "locks.events",
        2,
        {"message_timestamp_type": "LogAppendTime", "retention_ms": "-1", "max_message_bytes": "1000"},
        "has max.message.bytes=1000",
    ),
]


@pytest.mark.parametrize(("topic", "partitions", "config", "says"), WRONG, ids=[w[3][:30] for w in WRONG])
def test_a_topic_that_differs_is_refused(
    cluster: Cluster, topic: str, partitions: int, config: dict[str, str], says: str
) -> None:
    name = f"{cluster.prefix}.{topic}.v1"
    cluster.create(name, partitions, **config)
    ran = cluster.accord("topics", "init")
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"TopicMismatch: {name} {says}")
    assert ran.stderr.rstrip().endswith("If empty, delete it, then: accord topics init.")
    states = {row["name"]: row["state"] for row in cluster.objects("topics", "check")}
    assert states.pop(name) == "wrong" and set(states.values()) == {"missing"}, "nothing was created"
    assert cluster.accord("topics", "check").returncode == 1


def test_another_retention_of_commands_is_the_operators_choice(cluster: Cluster) -> None:
    name = f"{cluster.prefix}.locks.commands.v1"
    cluster.create(name, 2, message_timestamp_type="LogAppendTime", retention_ms="3600000")
    assert cluster.accord("topics", "init").returncode == 0


def test_a_cluster_without_topics(cluster: Cluster) -> None:
    for arguments in (["replay", "verify"], ["events", "list"], ["events", "tail"], ["dlq", "list"]):
        ran = cluster.accord(*arguments)
        assert ran.returncode == 4 and "accord topics init" in ran.stderr, arguments
    ran = cluster.accord("rules", "switch", "--domain", "locks", "--version", "1", "--reason", "none")
    assert ran.returncode == 2 and ran.stderr.startswith("TopicMismatch: ")


def test_doctor_without_topics_and_without_a_worker(cluster: Cluster) -> None:
    ran = cluster.accord("doctor")
    assert ran.returncode == 1 and "Create them: accord topics init." in ran.stdout
    cluster.accord("topics", "init")
    ran = cluster.accord("doctor")
    assert ran.returncode == 1 and "Start one: accord worker." in ran.stdout
    found = {row["check"]: row["ok"] for row in cluster.objects("doctor")}
    right = dict.fromkeys(("settings", "broker", "topics", "clock", "decided"), True)
    assert found == right | {"workers": False}


def test_doctor_tells_of_commands_that_nobody_decides(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.accord("topics", "init")
    send(cluster.settings, "locks", {"room": AcquireLock("ada", "ada/1", 5_000, None)}, source="ada")
    monkeypatch.setattr("accord.cli.health.FAILOVER_MS", -cluster.settings.worker.session_timeout_ms)
    time.sleep(0.01)
    (told,) = [finding for finding in examine(cluster.settings) if finding.check == "decided"]
    assert told.ok is False and "1 command undecided, the first for " in told.text


def test_an_inbox_is_checked_once_it_is_there_and_workers_look_for_it_when_they_start(cluster: Cluster) -> None:
    cluster.environment["ACCORD_TOPICS__INBOX_PARTITIONS"] = "3"
    inbox = f"{cluster.prefix}.inbox.v1"
    cluster.accord("topics", "init")
    assert inbox not in {row["name"] for row in cluster.objects("topics", "list")}, "nobody wants one"
    with cluster.worker():
        eventually(lambda: cluster.accord("doctor", "--probe").returncode == 0)
        made = cluster.objects("topics", "init", "--inbox")
        assert [row["name"] for row in made if row["created"]] == [inbox]
        states = {row["name"]: (row["state"], row["partitions"]) for row in cluster.objects("topics", "check")}
        assert states[inbox] == ("right", 3)
        assert "60 min" in cluster.accord("topics", "list").stdout
        ran = cluster.accord("doctor", "--probe")
        assert ran.returncode == 1 and "Restart the workers: they look for it when they start." in ran.stdout
    with cluster.worker():
        told = "the worker that decided the probe sends notices"
        eventually(lambda: told in cluster.accord("doctor", "--probe").stdout)


def test_an_inbox_that_clients_want_is_missed(cluster: Cluster) -> None:
    cluster.accord("topics", "init")
    cluster.environment["ACCORD_CLIENT__ANSWERS"] = "inbox"
    ran = cluster.accord("topics", "check")
    assert ran.returncode == 1 and f"{cluster.prefix}.inbox.v1 does not exist." in ran.stdout


def test_a_log_that_nobody_decided(cluster: Cluster) -> None:
    cluster.accord("topics", "init")
    send(cluster.settings, "locks", {"room": AcquireLock("ada", "ada/1", 5_000, None)}, source="ada")
    ran = cluster.accord("replay", "verify")
    assert ran.returncode == 0
    assert "identical: 0 commands" in ran.stdout and "1 command after the last decision" in ran.stdout


def test_doctor_with_a_worker(served: Cluster) -> None:
    ran = served.accord("doctor", "--probe")
    assert ran.returncode == 0, ran.stdout
    assert f"is healthy, full: {2 * len(DOMAINS)} deciding" in ran.stdout, ran.stdout
    assert f"{2 * len(DOMAINS)} partitions" in ran.stdout and "decided at locks/0@" in ran.stdout
    assert served.accord("replay", "verify").returncode == 0


def test_verify_state_and_export(served: Cluster) -> None:
    live = served.accord("replay", "verify", served.bootstrap_servers)
    assert live.returncode == 0 and live.stdout.startswith("identical: "), live.stdout + live.stderr
    archive = served.folder / "saved.accord"
    assert served.accord("events", "export", served.bootstrap_servers, str(archive)).returncode == 0
    assert served.accord("replay", "verify", str(archive)).stdout == live.stdout
    states = [served.objects("replay", "state", source)[0] for source in (served.bootstrap_servers, str(archive))]
    assert states[0]["hash"] == states[1]["hash"]
    held = {key for partition in states[0]["partitions"] for key in partition["aggregates"]}
    assert "room_1" in held and "room_2" not in held
    assert json.loads((archive / "manifest.json").read_text())["timestamps"] == "log_append"


def test_dead_letters(served: Cluster) -> None:
    (letter,) = eventually(lambda: served.objects("dlq", "list"))
    assert letter["reason"] == "undecodable" and letter["origin"].startswith("locks.commands/")
    assert {"id", "queue", "reason", "description", "count", "task_id", "origin", "time"} <= set(letter)
    assert "1 dead letter" in served.accord("dlq", "list").stdout


def test_switch_rules(served: Cluster) -> None:
    sent = served.objects("rules", "switch", "--domain", "signals", "--version", "1", "--reason", "a drill")
    assert sorted(row["position"].split("@")[0] for row in sent) == ["signals.commands/0", "signals.commands/1"]
    switched = eventually(
        lambda: len(rows := served.objects("events", "list", "--event", "RulesSwitched")) == 2 and rows
    )
    assert {row["cause"] for row in switched} == {row["position"] for row in sent}
    assert switched[0]["data"] == {"version": 1, "reason": "a drill"}
    assert served.accord("replay", "verify").returncode == 0


def test_tail_shows_what_comes_and_ends_cleanly(served: Cluster) -> None:
    tail = served.start("events", "tail", "--json", "--agent", "kim", output=subprocess.PIPE)
    assert tail.stdout is not None
    try:
        keys = iter(range(1_000))

        def shown() -> bool:
            lock = {f"pool_{next(keys)}": AcquireLock("kim", "kim/1", 60_000, 0)}
            send(served.settings, "locks", lock, source="kim")
            return bool(select.select([tail.stdout], [], [], 0.5)[0])

        eventually(shown)
        event = json.loads(tail.stdout.readline())
        assert event["event"] == "LockGranted" and event["agent"] == "kim"
        tail.send_signal(signal.SIGINT)
        try:
            assert tail.wait(10) == 0
        except subprocess.TimeoutExpired:
            tail.send_signal(signal.SIGABRT)  # has it say where it is
            pytest.fail(tail.communicate()[1])
    finally:
        tail.kill()
        tail.communicate()


@only_long  # at once: tests/replay/test_tail.py
def test_tail_survives_a_restart_of_the_broker(tmp_path: Path) -> None:
    from accord.testing.broker import NativeKafka  # noqa: PLC0415

    with NativeKafka() as broker:
        cluster = Cluster(broker.bootstrap_servers, tmp_path, "cli")
        cluster.accord("topics", "init")
        with (tmp_path / "tail.log").open("w") as log:
            tail = cluster.start("events", "tail", output=log)
        worker = cluster.start("worker")
        try:
            send(cluster.settings, "locks", {"room_1": AcquireLock("ada", "ada/1", 5_000, 0)}, source="ada")
            eventually(lambda: "LockGranted" in (tmp_path / "tail.log").read_text())
            broker.restart()
            send(cluster.settings, "locks", {"room_2": AcquireLock("bob", "bob/1", 5_000, 0)}, source="bob")
            text = eventually(lambda: "room_2" in (found := (tmp_path / "tail.log").read_text()) and found)
            assert tail.poll() is None
            assert "no broker answers; waiting" in text and "reading on" in text
        finally:
            for process in (tail, worker):
                process.send_signal(signal.SIGTERM)
                process.wait(30)


def test_locks_of_a_running_cluster_are_shown_and_released_by_force(served: Cluster) -> None:
    held = AcquireLock("ada", "ada/1", 60_000, None)
    send(served.settings, "locks", {"stuck": held, "other": AcquireLock("bob", "bob/1", 60_000, None)}, source="ada")
    until(lambda: len(served.objects("locks", "list")) >= 2)
    shown = served.accord("locks", "show", "stuck")
    assert shown.returncode == 0 and "held by ada" in shown.stdout and "lease left " in shown.stdout
    released = served.accord("locks", "release", "stuck", "--force", "--reason", "ada is on holiday")
    assert released.returncode == 0 and released.stdout.startswith("taken from ada, token ")
    again = served.accord("locks", "release", "stuck", "--force", "--reason", "ada is on holiday")
    assert again.returncode == 4, again.stderr
    events = served.accord("events", "list", served.bootstrap_servers, "--json").stdout
    assert "LeaseRevoked" in events and "ada is on holiday" in events


def test_pools_of_a_running_cluster_are_shown_as_of_now_and_as_of_then(served: Cluster) -> None:
    send(served.settings, "limits", {"gpus": ConfigurePool("ops", 8, 600, None, (), (), ())}, source="ops")
    asked = RequestCapacity("ada", "ada/1", "", 6, "shared", 0, 0, 60_000, None, True)
    send(served.settings, "limits", {"gpus": asked}, source="ada")
    (gpus,) = eventually(
        lambda: [pool for pool in served.objects("resources", "list") if pool["name"] == "gpus" and pool["in_use"]]
    )
    assert (gpus["free"], gpus["holders"][0]["agent"], gpus["requests"]["per_minute"]) == (2, "ada", 600)
    assert 0 < gpus["usage"]["utilisation"] <= 6 / 8
    shown = served.accord("limits", "show", "gpus")
    assert shown.returncode == 0 and "ada holds 6, token" in shown.stdout and "lease left " in shown.stdout
    (configured,) = served.objects("events", "list", "--event", "PoolConfigured")
    before = served.objects("resources", "list", "--at", configured["position"])
    assert [(pool["name"], pool["in_use"]) for pool in before] == [("gpus", 0)]
