"""What follows from what is known of a worker; and a worker that tells it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from accord.schemas.topics import DOMAINS, ESSENTIAL
from accord.streams.runtime import monitor as monitor_module
from accord.streams.runtime import processor as processor_module
from accord.streams.runtime.health import REASONS_MAX, Facts, Health, PartitionFact, judge
from accord.streams.runtime.processor import Processor
from accord.streams.runtime.worker import EmbeddedWorker

from accord.testing.broker import NativeKafka
from tests.counts import only_long
from tests.runtime.harness import PARTITIONS, Log, until
from tests.runtime.test_metrics import free_port
from tests.runtime.test_worker import load

GOOD = PartitionFact("locks", 0, "deciding")
HALTED = PartitionFact("locks", 1, "halted", "a bug")
COMING = PartitionFact("state", 0, "recovering", behind=True)


@pytest.mark.parametrize(
    ("facts", "status", "stage", "reasons"),
    [
        (Facts(assigned=False), "recovering", "read_only", []),
        (Facts(assigned=True), "healthy", "full", []),
        (Facts(assigned=True, partitions=[GOOD]), "healthy", "full", []),
        (Facts(assigned=True, partitions=[GOOD, HALTED]), "degraded", "full", ["halted locks/1"]),
        (Facts(assigned=True, partitions=[HALTED]), "unhealthy", "full", ["halted locks/1"]),
        (Facts(assigned=True, partitions=[GOOD, COMING]), "recovering", "essentials", []),
        (Facts(assigned=True, partitions=[COMING]), "recovering", "read_only", []),
        (
            Facts(assigned=True, partitions=[GOOD._replace(state="recovering"), COMING._replace(state="deciding")]),
            "recovering",
            "read_only",
            [],
        ),
        (Facts(assigned=True, partitions=[GOOD], in_memory={"locks/0": "full"}), "degraded", "full", ["disk locks/0"]),
        (
            Facts(assigned=True, partitions=[GOOD, COMING._replace(state="waiting")]),
            "degraded",
            "full",
            ["waiting state/0"],
        ),
        (Facts(assigned=True, partitions=[GOOD], kafka="silence"), "unhealthy", "full", ["kafka "]),
        (Facts(assigned=True, partitions=[COMING], kafka="silence"), "unhealthy", "read_only", ["kafka "]),
        (Facts(assigned=True, partitions=[GOOD], failure="it fell"), "unhealthy", "full", ["worker "]),
    ],
)
def test_the_mode_follows_from_the_facts(facts: Facts, status: str, stage: str, reasons: list[str]) -> None:
    health = judge(facts)
    assert (health.status, health.stage) == (status, stage)
    assert [f"{reason.what} {reason.where}" for reason in health.reasons] == reasons
    assert health.serves == (status in ("healthy", "degraded"))


def test_who_is_behind_is_not_ready_and_a_halted_partition_is_not_waited_for() -> None:
    assert judge(Facts(assigned=True, partitions=[GOOD, HALTED])).ready
    assert not judge(Facts(assigned=True, partitions=[GOOD._replace(behind=True)])).ready
    assert not judge(Facts(assigned=True, partitions=[GOOD, COMING])).ready


def test_reasons_are_told_up_to_a_bound_and_counted() -> None:
    many = [PartitionFact("locks", number, "halted", "a bug") for number in range(REASONS_MAX + 5)]
    told = judge(Facts(assigned=True, partitions=[*many, COMING._replace(state="deciding")])).as_json()
    assert len(told["reasons"]) == REASONS_MAX and told["reasons_count"] == REASONS_MAX + 5


def health(worker: EmbeddedWorker) -> Health:
    return worker.run(lambda w: w.health())


def asked(port: int, path: str) -> tuple[int, Mapping[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def listens(port: int) -> bool:
    """Whether the worker has come so far that it can be asked."""
    try:
        asked(port, "/health")
    except urllib.error.URLError:
        return False
    return True


def test_a_worker_serves_what_is_essential_while_the_rest_is_recovered(
    log: Log, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Held back: a domain that is not essential. Locks are decided meanwhile; `/health` tells how far it is."""
    go_on: Future[None] = Future()
    recover = Processor._recover

    async def held(self: Processor, index: int) -> Any:
        if self.domain.name == "signals":
            await asyncio.wrap_future(go_on)
        return await recover(self, index)

    monkeypatch.setattr(Processor, "_recover", held)
    port = free_port()
    embedded = EmbeddedWorker(
        log.settings(domains=("signals", "locks"), metrics_port=port),
        timestamps="create" if log.mock else "log_append",
        static=log.mock is None,
    )
    embedded._thread.start()
    try:
        with caplog.at_level(logging.INFO, "accord.worker"):
            load(log, 20)
            until(log.decided)
            status, told = asked(port, "/health")
            assert (status, told["status"], told["stage"]) == (503, "recovering", "essentials")
            assert told["partitions"] == {"deciding": PARTITIONS, "recovering": PARTITIONS}
            assert asked(port, "/ready")[0] == 503
            assert not embedded._ready.done()
            go_on.set_result(None)
            embedded._ready.result(20)
            until(lambda: asked(port, "/health")[1]["status"] == "healthy")
            assert asked(port, "/ready")[0] == 200
            assert asked(port, "/nothing")[0] == 404
            until(lambda: "worker is healthy" in caplog.text)
    finally:
        if not go_on.done():
            go_on.set_result(None)
        embedded.stop()


@only_long
def test_a_rebalance_cuts_off_what_is_recovered_and_it_is_taken_on_anew(
    real_log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second worker joins while the first still recovers its less important partitions."""
    log, go_on, recover = real_log, threading.Event(), Processor._recover

    async def held(self: Processor, index: int) -> Any:
        if self.domain.name == "signals":
            await asyncio.to_thread(go_on.wait)
        return await recover(self, index)

    monkeypatch.setattr(Processor, "_recover", held)
    ports = {"w1": free_port(), "w2": free_port()}
    workers = [
        EmbeddedWorker(log.settings(name, domains=("locks", "signals"), metrics_port=port))
        for name, port in ports.items()
    ]
    try:
        for worker in workers:
            worker._thread.start()
            load(log, 20)
            until(log.decided)
        until(lambda: all(listens(port) for port in ports.values()))
        until(lambda: all(asked(port, "/health")[1]["stage"] == "essentials" for port in ports.values()))
        until(lambda: asked(ports["w2"], "/health")[1]["partitions"]["deciding"] > 0)
        go_on.set()
        for worker in workers:
            worker._ready.result(30)
        until(lambda: all(health(worker).status == "healthy" for worker in workers))
        load(log, 20)
        until(log.decided)
        owners = [worker.run(lambda w: sorted(w.processors["signals"].owned)) for worker in workers]
        assert sorted([*owners[0], *owners[1]]) == list(range(PARTITIONS))
    finally:
        go_on.set()
        for worker in workers:
            worker.stop()


def test_a_halted_partition_degrades_its_worker(real_log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log = real_log
    with log.worker() as worker:
        until(lambda: health(worker).status == "healthy")
        processor = worker.run(lambda w: w.processors["locks"])
        worker.run(lambda _: processor._halt(processor.owned[0], RuntimeError("a bug")))
        found = health(worker)
        assert found.status == "degraded" and found.ready
        assert [(reason.what, reason.where) for reason in found.reasons] == [("halted", "locks/0")]


def test_a_worker_that_does_not_get_to_it_is_told_to_be_stuck(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_module, "ANSWER_S", 0.2)
    port = free_port()
    with log.worker(metrics_port=port) as worker:
        assert asked(port, "/health")[0] == 200
        assert worker._loop is not None
        blocked: Future[None] = Future()
        worker._loop.call_soon_threadsafe(blocked.result)
        status, told = asked(port, "/health")
        blocked.set_result(None)
        assert (status, told["status"]) == (503, "unhealthy") and "event loop" in told["reasons"][0]["why"]


@only_long
def test_a_broker_that_is_killed_is_told_and_its_return_too(tmp_path: Path) -> None:
    """The worker keeps its state, decides nothing, and goes on where it was."""
    with NativeKafka() as kafka:
        log = Log(kafka.bootstrap_servers, tmp_path, None)
        with log.worker() as worker:
            load(log, 60)
            until(log.decided)
            before = worker.run(
                lambda w: {i: o.owner.partition.head.seq for i, o in w.processors["locks"].owned.items()}
            )
            kafka.kill()
            until(lambda: health(worker).status == "unhealthy", 30)
            assert [reason.what for reason in health(worker).reasons] == ["kafka"]
            kafka.restart()
            until(lambda: health(worker).status == "healthy", 60)
            load(log, 60)
            until(log.decided, 30)
            after = worker.run(
                lambda w: {i: o.owner.partition.head.seq for i, o in w.processors["locks"].owned.items()}
            )
            assert all(after[index] > seq for index, seq in before.items())
        log.close()


def test_every_essential_domain_is_one() -> None:
    assert set(ESSENTIAL) <= set(DOMAINS)
    assert processor_module.ESSENTIAL is ESSENTIAL
