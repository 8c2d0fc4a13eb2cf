"""What still works for an agent when something is gone: only what lacks its worker is refused, and it is said."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from accord.schemas.topics import partition_of
from accord.streams.runtime.worker import EmbeddedWorker

from accord import sync
from accord.admin import key_in
from accord.errors import Degraded, LeaseLost, NoWorker
from accord.settings import Settings
from tests.agents.support import until, with_

HERE, THERE = (key_in(partition, 4, "room") for partition in (0, 1))


@pytest.fixture
def settings(lonely: Settings) -> Settings:
    """Fresh topics; agents do not wait long for a worker."""
    return with_(lonely, "client", worker_wait_ms=1_500)


@pytest.fixture
def worker(settings: Settings) -> Iterator[EmbeddedWorker]:
    worker = EmbeddedWorker(settings, timestamps="create", static=False)
    worker.start()
    yield worker
    worker.stop()


def halt(worker: EmbeddedWorker, domain: str, partition: int) -> None:
    """Stops a partition as a bug in its decider does."""
    processor = worker.run(lambda w: w.processors[domain])
    worker.run(lambda _: processor._halt(processor.owned[partition], RuntimeError("a bug")))


def test_only_the_partition_without_a_worker_refuses(settings: Settings, worker: EmbeddedWorker) -> None:
    with sync.Accord(agent="ada", settings=settings) as hub:
        halt(worker, "locks", 0)
        with pytest.raises(NoWorker):
            hub.lock(HERE).acquire(wait_ms=0)
        hub.lock(THERE).acquire(wait_ms=0).release()
        hub.emit("done", {}).wait()
        assert hub.health["status"] == "degraded" and hub.health["off"] == ["locks/0"]
        assert hub.health["works"] == ["signals"]


def test_a_lock_is_believed_in_until_its_lease_ends_whoever_is_gone(settings: Settings, worker: EmbeddedWorker) -> None:
    with sync.Accord(agent="ada", settings=settings) as hub:
        grant = hub.lock(HERE, lease_ms=2_000).acquire()
        granted_s = time.monotonic()
        halt(worker, "locks", 0)
        assert grant.valid
        until(lambda: not grant.valid)
        assert time.monotonic() - granted_s <= 2.0
        with pytest.raises(LeaseLost):
            grant.check()


def test_what_is_not_essential_is_refused_by_name_and_the_rest_goes_on(
    settings: Settings, worker: EmbeddedWorker
) -> None:
    with sync.Accord(agent="ada", settings=settings) as hub:
        hub.lock(THERE).acquire().release()
        halt(worker, "state", partition_of(b"customer", 4))
        with pytest.raises(Degraded, match="state is off") as told:
            hub.state("customer").get("name")
        assert told.value.details["works"] == ["locks"] and "Still working: locks." in str(told.value)
        hub.lock(THERE).acquire(wait_ms=0).release()
