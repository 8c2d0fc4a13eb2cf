"""`accord recover` on a real Kafka: a damaged changelog is found, its rows are deleted, and the worker folds anew."""

from pathlib import Path

import pytest
from accord.streams.checkpoint import ROW_PREFIX
from accord.streams.runtime.worker import EmbeddedWorker

from accord import sync
from accord.admin import Admin, key_in
from accord.cli.recover import changelog
from accord.kafka import producer
from tests.agents.on_kafka import PARTITIONS, worker_on
from tests.agents.support import until
from tests.cli.support import Ran

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
