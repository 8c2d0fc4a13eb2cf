"""The worker on the mock cluster and on a real Kafka: each rule of the log where the shell acts on it."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from accord.schemas.codec import commands_codec, confluent_frame
from accord.schemas.messages.locks import (
    AcquireLock,
    LeaseExpired,
    LockDenied,
    LockGranted,
    LockQueued,
    ReleaseLock,
    WithdrawRequest,
)
from accord.schemas.messages.log import CommandRejected, CommandRepeated, SwitchRules
from accord.schemas.topics import commands_topic, events_topic, partition_of
from accord.streams.checkpoint import ROW_PREFIX
from accord.streams.locks import decider as locks
from accord.streams.locks.decider import NameDecider
from accord.streams.runtime import processor as processor_module
from accord.streams.runtime import worker as worker_module
from accord.streams.runtime.processor import RETRY_S
from accord.streams.runtime.worker import EmbeddedWorker
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from accord.errors import KafkaUnreachable
from accord.fetch import Fetcher
from accord.registry import Registry, codecs
from accord.settings import Settings
from tests.runtime.harness import PARTITIONS, Log, owned, states, until
from tests.schemas.registry_server import RegistryServer


def acquire(owner: str = "o", lease_ms: int = 30_000, wait_ms: int | None = None) -> AcquireLock:
    return AcquireLock("tester", owner, lease_ms, wait_ms)


def load(log: Log, count: int, *, locks: int = 20) -> None:
    """Requests that queue, and some that leave the queue again."""
    for number in range(count):
        key = f"lock-{number % locks}"
        request = log.send(key, acquire(f"o{number}"))
        if number % 3 == 0:
            log.send(key, WithdrawRequest("tester", request))
    log.producer.flush(10)


def test_every_command_gets_a_decision(log: Log) -> None:
    with log.worker():
        load(log, 300)
        until(log.decided)
    grants = Counter(key for key, event in log.events() if isinstance(event, LockGranted))
    assert len(grants) == 20


def test_bad_input_is_decided_and_put_with_the_dead_letters(log: Log) -> None:
    with log.worker():
        log.send("room", acquire())
        log.send_raw(b"room", b"garbage")
        log.send_raw(b"room", b"\x00\x00\x00\x00\x07\x00")
        log.send_raw(b"room", None)
        log.send_raw(None, b"no key", partition=0)
        log.send("room", acquire(lease_ms=0))
        log.send("room", acquire(wait_ms=-1))
        log.send("misplaced", acquire(), partition=1 - partition_of(b"misplaced", PARTITIONS))
        log.send_raw(b"room", b"", [("ce_id", b"has spaces")])
        until(log.decided)
        until(lambda: len(log.dead_letters()) == 8)
    rejected = Counter(event.reason for _, event in log.events() if isinstance(event, CommandRejected))
    assert rejected == {
        "undecodable": 2, "unknown_schema": 1, "bad_key": 1, "invalid": 2, "misrouted": 1, "bad_header": 1,
    }  # fmt: skip
    garbage = next(letter for letter in log.dead_letters() if letter.value == b"garbage")
    assert (garbage.key, garbage.reason, garbage.origin.startswith("locks.commands/")) == (b"room", "undecodable", True)


def test_a_resent_command_is_decided_once(log: Log) -> None:
    with log.worker():
        for _ in range(3):
            log.send("room", acquire(), message_id="same")
        until(log.decided)
    kinds = Counter(type(event) for _, event in log.events())
    assert kinds == {LockGranted: 1, CommandRepeated: 2}


def test_leases_end_without_a_command(log: Log) -> None:
    with log.worker() as worker:
        log.send("room", acquire("a", lease_ms=1_000))
        log.send("room", acquire("b", lease_ms=1_000))
        until(lambda: Counter(type(e) for _, e in log.events())[LeaseExpired] == 2, 10)
        until(lambda: not any(o.owner.partition.aggregates for o in owned(worker).values()))
    holders = [event.owner for _, event in log.events() if isinstance(event, LockGranted)]
    assert holders == ["a", "b"]


def test_waits_that_end_together_are_all_ended_a_few_a_tick(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "DUE_MAX", 5)
    with log.worker():
        log.send("room", acquire("a"))
        impatient = [log.send("room", acquire(f"o{n}", wait_ms=1_000)) for n in range(43)]
        until(lambda: sum(isinstance(event, LockDenied) for _, event in log.events()) == 43, 10)
    decisions = [decision for partition in range(PARTITIONS) for decision in log.decisions(partition)]
    ended = [decision.type.count(b"LockDenied") for decision in decisions]
    assert max(ended) == 5
    denied = [event for _, event in log.events() if isinstance(event, LockDenied)]
    assert {event.reason for event in denied} == {"timeout"}
    assert sorted(event.request for event in denied) == sorted(impatient)


def test_a_restart_goes_on_from_a_checkpoint_with_ten_thousand_who_wait(real_log: Log) -> None:
    """Their row is larger than a record of the changelog may be."""
    log = real_log
    with log.worker() as worker:
        log.send("room", acquire("first", lease_ms=600_000))
        for number in range(10_000):
            log.send("room", acquire(f"{number:080}"))
        until(lambda: waiting(worker) == 10_000)
        before = states(worker)
    shutil.rmtree(log.data_dir / "w1")
    with log.worker() as worker:
        index = partition_of(b"room", PARTITIONS)
        checkpoint = owned(worker)[index].checkpoint
        assert checkpoint is not None
        assert checkpoint.seq >= before[index]["seq"], "the changelog had them all"
        assert without_time(states(worker)) == without_time(before)


def waiting(worker: EmbeddedWorker) -> int:
    partitions = [one.owner.partition for one in owned(worker).values()]
    return sum(len(lock.waiters) for partition in partitions for lock in list(partition.aggregates.values()))


def test_a_restart_goes_on_from_the_checkpoint(log: Log) -> None:
    with log.worker() as worker:
        load(log, 100)
        until(log.decided)
        before = states(worker)
    with log.worker() as worker:
        assert all(o.checkpoint is not None for o in owned(worker).values())
        assert without_time(states(worker)) == without_time(before)
        log.send("lock-1", acquire("after"))
        until(log.decided)


def test_a_lost_table_comes_back_from_its_changelog(real_log: Log) -> None:
    log = real_log
    with log.worker() as worker:
        load(log, 100)
        until(log.decided)
        before = states(worker)
    shutil.rmtree(log.data_dir / "w1")
    with log.worker() as worker:
        assert all(o.checkpoint is not None for o in owned(worker).values())
        assert without_time(states(worker)) == without_time(before)


@pytest.mark.parametrize("damage", ["row", "checkpoint"])
def test_a_damaged_table_is_rebuilt_from_events(real_log: Log, damage: str) -> None:
    log = real_log
    with log.worker() as worker:
        load(log, 100)
        until(log.decided)
        before = states(worker)
        until(lambda: all(o.checkpoint and o.checkpoint.total for o in owned(worker).values()))
        until(lambda: not any(o.owner.partition.changed for o in owned(worker).values()))
        worker.run(lambda w: [_damage(w.processors["locks"].delivery.table, i, damage) for i in range(PARTITIONS)])
    with log.worker() as worker:
        assert without_time(states(worker)) == without_time(before)
        load(log, 20)
        until(log.decided)
        until(lambda: all(o.checkpoint is not None for o in owned(worker).values()))
        before = states(worker)
    with log.worker() as worker:
        assert all(o.checkpoint is not None for o in owned(worker).values())
        assert without_time(states(worker)) == without_time(before)


@pytest.mark.parametrize("damaged", [False, True], ids=["as it was", "without a row"])
def test_a_partition_that_comes_back_is_as_it_was_in_memory_if_its_table_adds_up(log: Log, damaged: bool) -> None:
    """What the memory would write later adds up with what the table has: its checkpoints count on each row."""
    with log.worker() as worker:
        load(log, 100)
        until(log.decided)
        until(lambda: all(o.checkpoint and o.checkpoint.total for o in owned(worker).values()))
        until(lambda: not any(o.owner.partition.changed for o in owned(worker).values()))
        processor = worker.run(lambda w: w.processors["locks"])
        before = owned(worker)[0]

        async def goes_and_comes() -> None:
            await processor.on_revoked(frozenset({0}))
            table = processor.delivery.table
            rows = [key for key, _ in table.rows(0) if key.startswith(ROW_PREFIX)]
            if damaged:
                await table.write_rows(0, {rows[0]: None})
            await processor.on_assigned(frozenset({0}))

        assert worker._loop is not None
        asyncio.run_coroutine_threadsafe(goes_and_comes(), worker._loop).result(30)
        assert (owned(worker)[0] is before) == (not damaged)
        assert without_time(states(worker))[0] == before.owner.partition.canonical()["aggregates"]


def _damage(table, partition: int, what: str) -> None:  # type: ignore[no-untyped-def]
    """Changes the local copy behind the table's back."""
    store = table.data._db_for_partition(partition)
    keys = [key for key, _ in table.rows(partition) if (key == b"checkpoint") == (what == "checkpoint")]
    value = store[keys[0]]
    store[keys[0]] = value[:-1] + bytes([value[-1] ^ 1])


def without_time(found: dict[int, dict[str, object]]) -> dict[int, dict[str, object]]:
    """States but for what ticks change: the decisions that found nothing due."""
    return {i: state["aggregates"] for i, state in found.items()}  # type: ignore[misc]


def test_two_owners_of_a_partition_write_one_chain(log: Log) -> None:
    with log.worker("w1", group="one") as one, log.worker("w2", group="two") as two:
        for _ in range(4):
            load(log, 100)
            until(log.decided)
        until(lambda: states(one) == states(two))
        assert not any(o.halted for o in [*owned(one).values(), *owned(two).values()])
    for partition in range(PARTITIONS):
        causes = [decision.cause for decision in log.decisions(partition)]
        assert causes == list(range(-1, log.commands(partition)))


def test_a_worker_without_the_version_in_force_stops_there(real_log: Log) -> None:
    log = real_log
    with log.worker() as worker:
        key = next(f"k{i}" for i in range(100) if partition_of(f"k{i}".encode(), PARTITIONS) == 0)
        other = next(f"k{i}" for i in range(100) if partition_of(f"k{i}".encode(), PARTITIONS) == 1)
        log.send(key, SwitchRules(2, "trying"))
        log.send(key, acquire())
        log.send(other, acquire())
        until(lambda: owned(worker)[0].halted)
        assert "version 2" in str(owned(worker)[0].halted)
        until(lambda: log.decisions(1)[-1].cause == 0)
        assert log.decisions(0)[-1].cause == 0


def test_a_bug_in_a_decider_pauses_its_partition_and_loses_nothing(
    real_log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = real_log
    decide = NameDecider.decide

    def faulty(self, state, command, at):  # type: ignore[no-untyped-def]
        if isinstance(command, AcquireLock) and command.owner == "bug":
            raise ZeroDivisionError("a bug")
        return decide(self, state, command, at)

    with monkeypatch.context() as patched:
        patched.setattr(NameDecider, "decide", faulty)
        with log.worker() as worker:
            log.send("room", acquire("a"))
            log.send("room", acquire("bug"))
            index = partition_of(b"room", PARTITIONS)
            until(lambda: owned(worker)[index].halted)
    with log.worker():
        until(log.decided)
    assert [e.owner for _, e in log.events()] == ["a", "bug"]


def test_a_schema_registry_that_does_not_answer_pauses_its_partition_and_no_other(
    real_log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, server = real_log, RegistryServer()
    monkeypatch.setenv("ACCORD_SCHEMA_REGISTRY_URL", server.url)
    here, there = (
        next(f"room-{n}" for n in range(99) if partition_of(b"room-%d" % n, PARTITIONS) == p) for p in (0, 1)
    )
    codec = commands_codec("locks")
    schema_id = Registry(server.url).register(log.prefix)[commands_topic("locks", log.prefix)]
    try:
        server.broken = True
        with log.worker() as worker:
            log.send_raw(here.encode(), codec.encode(acquire("a"), frame=confluent_frame(schema_id)))
            log.send(here, acquire("b"))
            log.send(there, acquire("c"))
            until(log.events)
            time.sleep(RETRY_S)
            assert [event.owner for _, event in log.events()] == ["c"]
            health = worker.run(lambda w: w.health())
            assert (health.status, [(one.what, one.where) for one in health.reasons]) == (
                "degraded",
                [("waiting", f"locks/{partition_of(here.encode(), PARTITIONS)}")],
            )
            server.broken = False
            until(log.decided)
            until(lambda: worker.run(lambda w: w.health()).status == "healthy")
        assert [(type(event), event.owner) for key, event in log.events() if key == here] == [
            (LockGranted, "a"),
            (LockQueued, "b"),
        ]
    finally:
        server.close()
        codec._writers.pop(confluent_frame(schema_id), None)
        for _, attached in codecs(log.prefix):
            attached.registry = None


def test_commands_lost_before_they_were_decided_need_an_operators_word(real_log: Log) -> None:
    log = real_log
    with log.worker():
        log.send("room", acquire("a"))
        until(log.decided)
    index = partition_of(b"room", PARTITIONS)
    for number in range(5):
        log.send("room", acquire(f"lost-{number}"))
    log.producer.flush(10)
    topic = TopicPartition(commands_topic("locks", log.prefix), index, log.commands(index))
    admin = AdminClient({"bootstrap.servers": log.bootstrap_servers})
    for deleted in admin.delete_records([topic]).values():
        deleted.result()
    with log.worker() as worker:
        assert "accept-loss" in str(owned(worker)[index].halted)
    word = f"locks.commands/{index}@{topic.offset - 1}"
    with log.worker(accept_loss=(word,)) as worker:
        assert owned(worker)[index].halted is None
        log.send("room", acquire("b"))
        until(log.decided)
    kinds = [type(event).__name__ for _, event in log.events()]
    assert kinds == ["LockGranted", "CommandsLost", "LockQueued"]


def test_an_events_log_that_lost_its_beginning_is_refused(real_log: Log) -> None:
    log = real_log
    with log.worker():
        load(log, 50)
        until(log.decided)
    shutil.rmtree(log.data_dir / "w1")
    admin = AdminClient({"bootstrap.servers": log.bootstrap_servers})
    topic = events_topic("locks", log.prefix)
    for deleted in admin.delete_records([TopicPartition(topic, 0, 5)]).values():
        deleted.result()
    with log.worker("w2", group="other") as worker:
        assert "never be cut" in str(owned(worker)[0].halted)
        assert owned(worker)[1].halted is None


def test_release_and_the_next_grant_are_one_decision(log: Log) -> None:
    with log.worker():
        log.send("room", acquire("a"))
        log.send("room", acquire("b"))
        until(log.decided)
        (token,) = [event.token for _, event in log.events() if isinstance(event, LockGranted)]
        log.send("room", ReleaseLock("tester", token))
        until(log.decided)
    last = log.decisions(partition_of(b"room", PARTITIONS))[-1]
    assert last.type == b"accord.locks.v1.LockReleased+LockGranted"


def test_a_broker_that_goes_away_while_a_worker_starts_is_said_to_be_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answered at first; then Faust, which connects by itself, finds nobody."""
    kafka_settings = {"bootstrap_servers": "127.0.0.1:9", "idempotent": False}
    settings = Settings.load(kafka=kafka_settings, worker={"name": "w1", "data_dir": tmp_path})
    counts = dict.fromkeys(settings.worker.domains, settings.topics.partitions)
    monkeypatch.setattr(worker_module, "look", lambda _: ("cluster", counts, 0))
    with pytest.raises(KafkaUnreachable, match=r"no broker at 127\.0\.0\.1:9"):
        EmbeddedWorker(settings, timestamps="create").start()


def test_a_worker_that_has_run_waits_for_a_kafka_that_is_away_at_an_assignment(
    real_log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a read waits: the other worker's partitions are taken on once the log can be read."""
    log, asked, away = real_log, 0, threading.Event()
    bounds = Fetcher.bounds

    def unreachable(self: Fetcher, topic: str, partition: int) -> tuple[int, int]:
        nonlocal asked
        if away.is_set():
            asked += 1
            raise KafkaUnreachable("no bounds for 30 s")
        return bounds(self, topic, partition)

    monkeypatch.setattr(Fetcher, "bounds", unreachable)
    monkeypatch.setattr(processor_module, "RETRY_S", 0.05)
    with log.worker("w1") as one:
        with log.worker("w2"):
            load(log, 20)
            until(log.decided)
            away.set()
        until(lambda: asked > PARTITIONS + 2)
        away.clear()
        load(log, 20)
        until(log.decided)
        assert not any(o.halted for o in owned(one).values())


def test_a_worker_that_starts_does_not_wait_for_a_kafka_that_is_away(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(self: Fetcher, topic: str, partition: int) -> tuple[int, int]:
        raise KafkaUnreachable("no bounds for 30 s")

    monkeypatch.setattr(Fetcher, "bounds", unreachable)
    with pytest.raises(KafkaUnreachable), log.worker():
        pass
