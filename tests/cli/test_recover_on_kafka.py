"""`accord recover` on a real Kafka: a damaged changelog is found, its rows are deleted, and the worker folds anew."""

from pathlib import Path

import pytest
from accord.schemas.messages.waits import GRAPH, Holding, ReportWaits, Waiting
from accord.streams.checkpoint import ROW_PREFIX
from accord.streams.runtime.worker import EmbeddedWorker

from accord import sync
from accord.admin import Admin, key_in
from accord.cli.recover import changelog
from accord.kafka import producer
from tests.agents.on_kafka import PARTITIONS, worker_on
from tests.agents.support import until
from tests.cli.support import Ran
from tests.counts import only_long

ROOMS = [key_in(partition, PARTITIONS, "room") for partition in range(PARTITIONS)]


def test_a_damaged_changelog(
    accord_kafka: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with worker_on(accord_kafka, tmp_path / "worker", "locks") as settings:
        with sync.Accord(agent="ada", settings=settings) as hub:
            for name in ROOMS:
                hub.lock(name).acquire()
        where = ["--bootstrap", accord_kafka, "--prefix", settings.topics.prefix, "--domain", "locks"]
    until(lambda: not Admin(settings).workers())
    before = {one["partition"]: one for one in Ran(capsys, "recover", *where, "--json").objects}
    assert {one["state"] for one in before.values()} == {"right"}, before

    client = producer(settings.kafka)
    client.produce(changelog(settings, "locks"), b"garbage", ROW_PREFIX + b"room_x", 1)
    client.flush(10)
    ran = Ran(capsys, "recover", *where)
    assert ran.code == 1 and "damaged   locks/1  its" in ran.out and "do not add up" in ran.out
    assert Ran(capsys, "recover", *where).code == 1, "it only told"

    ran = Ran(capsys, "recover", *where, "--apply")
    assert ran.code == 0 and "locks/1" in ran.out and "deleted" in ran.out
    after = {one["partition"]: one["state"] for one in Ran(capsys, "recover", *where, "--json").objects}
    assert after == {"locks/0": "right", "locks/1": "missing"}

    worker = EmbeddedWorker(settings)  # with the data directory that it had
    worker.start()
    try:
        ran = Ran(capsys, "recover", "--apply", "--all", *where)
        assert ran.code == 2 and "1 worker runs" in ran.err
        with sync.Accord(agent="bob", settings=settings) as hub:
            for name in ROOMS:
                hub.lock(f"{name}_b").acquire(wait_ms=5_000)
    finally:
        worker.stop()
    until(lambda: not Admin(settings).workers())
    rows = {one["partition"]: one["state"] for one in Ran(capsys, "recover", *where, "--json").objects}
    assert rows == {"locks/0": "right", "locks/1": "right"}


@only_long
def test_what_was_left_over_is_repaired_on_the_log(
    accord_kafka: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repair is a command like any other: its id says that it is one, and of what kind; its source, by whom."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("accord.replay.orphans.SLACK_MS", 300)
    with worker_on(accord_kafka, tmp_path / "worker", "locks", "waits") as settings:
        monkeypatch.setenv("ACCORD_TOPICS__PREFIX", settings.topics.prefix)
        monkeypatch.setenv("ACCORD_TOPICS__PARTITIONS", str(PARTITIONS))
        monkeypatch.setenv("ACCORD_AGENT", "ops")
        wait = ReportWaits("locks", "room", "locks/0", 5, (Holding("o", "bob", 1, 1),), (Waiting("r", "p", "eve", 1),))
        with sync.Accord(agent="ada", settings=settings) as hub:
            hub.connection.submit("waits", GRAPH, wait).decided.result(20)
        until(lambda: Ran(capsys, "recover", "orphans", accord_kafka).code == 1)
        (told,) = Ran(capsys, "recover", "orphans", accord_kafka, "--repair", "--json").objects
        assert (told["kind"], told["repair"]) == ("lost_wait", "ReportWaits")
        left = Ran(capsys, "recover", "orphans", accord_kafka)
        assert (left.code, left.out) == (0, "0 orphans\n")
        why = Ran(capsys, "explain", told["position"], accord_kafka).out
        assert "ops: ReportWaits" in why, why
