"""The Faust shell against the mock cluster and a real Kafka: delivery, offsets, tables, rebalances, failures."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from accord.schemas.headers import Record
from accord.streams.runtime.app import Domain, LogRewritten, StreamApp, StreamOptions
from accord.streams.runtime.table import PartitionTable
from aiokafka.errors import KafkaError
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from accord.mock import FETCH_WAIT_MS, SESSION_TIMEOUT_MS, MockCluster
from accord.testing.broker import NativeKafka
from tests.counts import only_long
from tests.runtime.harness import on_either
from tests.topics import create

PARTITIONS = 4
SYNC_GROUP, INVALID_REQUEST = 14, 42  # Kafka's numbers of a request and of an error
HEADERS = [("plain", b"1"), ("bytes", b"\xff\x00"), ("plain", b"again")]


@dataclass
class Broker:
    """A cluster and what differs between the two kinds of it."""

    bootstrap_servers: str
    mock: MockCluster | None
    topic: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}.commands")

    def create(self, *topics: str) -> None:
        if self.mock is not None:
            for topic in topics:
                self.mock.create_topic(topic, PARTITIONS)
            return
        forever = {"retention.ms": "-1"}  # the records here bear times long past
        create(self.bootstrap_servers, *[NewTopic(topic, PARTITIONS, 1, config=forever) for topic in topics])

    def produce(self, count: int, *, first: int = 0, topic: str | None = None) -> None:
        """Records v0, v1, ... over the partitions by turns, at 1 s of the log's clock each."""
        # A retry must not change the order.
        producer = Producer({"bootstrap.servers": self.bootstrap_servers, "max.in.flight": 1})
        for number in range(first, first + count):
            producer.produce(
                topic or self.topic,
                key=b"k%d" % number,
                value=b"v%d" % number,
                partition=number % PARTITIONS,
                headers=HEADERS,
                timestamp=1_700_000_000_000 + number * 1000,
            )
        assert producer.flush(10) == 0

    def committed(self, group: str) -> dict[int, int]:
        """Committed offsets by partition, -1001 where there is none."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": group})
        try:
            found = consumer.committed([TopicPartition(self.topic, p) for p in range(PARTITIONS)], timeout=10)
            return {entry.partition: entry.offset for entry in found}
        finally:
            consumer.close()


class Worker:
    """A `StreamApp` with one domain that writes down what is done to it."""

    def __init__(self, broker: Broker, data_dir: Path, group: str = "", **options: Any) -> None:
        self.group = group or f"g{uuid.uuid4().hex[:8]}"
        if broker.mock is not None:
            timeouts = {"session_timeout_ms": SESSION_TIMEOUT_MS, "heartbeat_ms": 500}
            options = {"fetch_wait_ms": FETCH_WAIT_MS, "create_changelogs": False, **timeouts, **options}
            broker.mock.create_topic(f"{self.group}-locks-changelog", PARTITIONS)
        self.app = StreamApp(
            StreamOptions(group=self.group, bootstrap_servers=broker.bootstrap_servers, data_dir=data_dir, **options)
        )
        self.domain: Domain = self.app.domain(
            "locks",
            broker.topic,
            on_batch=self.on_batch,
            on_assigned=self.on_assigned,
            on_revoked=self.on_revoked,
        )
        self.calls: list[tuple[Any, ...]] = []
        self.records: dict[int, list[Record]] = {p: [] for p in range(PARTITIONS)}
        self.starts: dict[int, int] = {}
        self.fail_on_value: bytes | None = None
        self.held: set[int] = set()

    async def on_batch(self, partition: int, records: list[Record]) -> None:
        assert partition in self.held, "delivered outside of the assignment"
        assert {int(record.key[1:]) % PARTITIONS for record in records if record.key} == {partition}
        self.calls.append(("batch", partition, records[0].offset, records[-1].offset))
        if self.fail_on_value in {record.value for record in records}:
            raise ValueError("cannot go on")
        self.records[partition] += records

    async def on_assigned(self, partitions: frozenset[int]) -> dict[int, int]:
        assert not partitions & self.held
        self.calls.append(("assigned", partitions))
        await asyncio.sleep(0.05)  # deliveries that came now would find the partition not held
        self.held |= partitions
        return {p: offset for p, offset in self.starts.items() if p in partitions}

    async def on_revoked(self, partitions: frozenset[int]) -> None:
        assert partitions <= self.held
        self.held -= partitions
        self.calls.append(("revoked", partitions))

    @property
    def count(self) -> int:
        return sum(len(records) for records in self.records.values())

    def offsets(self, partition: int) -> list[int]:
        return [record.offset for record in self.records[partition]]

    async def has(self, count: int, seconds: float = 20) -> None:
        await until(lambda: self.count >= count or self.app.failure is not None, seconds)
        assert self.app.failure is None
        assert self.count == count


async def until(reached: Any, seconds: float = 20) -> None:
    """Poll a condition; fail when the time is over."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "not reached in time"
        await asyncio.sleep(0.01)


@on_either
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "mock":
        with MockCluster() as mock:
            broker = Broker(mock.bootstrap_servers, mock)
            broker.create(broker.topic)
            yield broker
        return
    broker = Broker(request.getfixturevalue("accord_kafka"), None)
    broker.create(broker.topic)
    yield broker


Frail = tuple[Broker, Callable[[], None], Callable[[], None]]
"""With what takes it down and what brings it up again."""

on_kafka_alone = pytest.mark.parametrize("broker", ["kafka"], indirect=True)


def test_batches_hold_what_was_sent_in_order(broker: Broker, tmp_path: Path) -> None:
    broker.produce(2000)

    async def run() -> Worker:
        worker = Worker(broker, tmp_path, batch_records_max=300)
        await worker.app.start()
        await worker.has(2000)
        await worker.app.stop()
        return worker

    worker = asyncio.run(run())
    for partition in range(PARTITIONS):
        records = worker.records[partition]
        assert [record.offset for record in records] == list(range(500))
        assert [record.value for record in records] == [b"v%d" % n for n in range(partition, 2000, PARTITIONS)]
        assert records[7].key == b"k%d" % (7 * PARTITIONS + partition)
        assert list(records[7].headers) == HEADERS
        assert isinstance(records[7].timestamp, int)
    batches = [call for call in worker.calls if call[0] == "batch"]
    assert all(last - first < 300 for _, _, first, last in batches)
    assert worker.calls[0] == ("assigned", frozenset(range(PARTITIONS)))
    assert worker.calls[-1] == ("revoked", frozenset(range(PARTITIONS)))


def test_timestamps_are_ms_of_the_log(broker: Broker, tmp_path: Path) -> None:
    broker.produce(8)

    async def run() -> Worker:
        worker = Worker(broker, tmp_path)
        await worker.app.start()
        await worker.has(8)
        await worker.app.stop()
        return worker

    record = asyncio.run(run()).records[1][1]  # number 5
    if record.timestamp_type == 0:  # the producer's
        assert record.timestamp == 1_700_000_005_000
    else:
        assert abs(record.timestamp - time.time() * 1000) < 60_000


def test_a_restart_goes_on_after_the_committed_offset(broker: Broker, tmp_path: Path) -> None:
    broker.produce(400)

    async def run(worker: Worker, count: int) -> Worker:
        await worker.app.start()
        await worker.has(count)
        await worker.app.stop()
        return worker

    first = asyncio.run(run(Worker(broker, tmp_path), 400))
    assert broker.committed(first.group) == dict.fromkeys(range(PARTITIONS), 100)
    broker.produce(40, first=400)
    second = asyncio.run(run(Worker(broker, tmp_path, first.group), 40))
    assert second.offsets(0) == list(range(100, 110))


def test_offsets_are_committed_while_running(broker: Broker, tmp_path: Path) -> None:
    broker.produce(400)

    async def run() -> None:
        worker = Worker(broker, tmp_path, commit_interval_ms=100)
        await worker.app.start()
        await worker.has(400)
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + 10
        while await loop.run_in_executor(None, broker.committed, worker.group) != dict.fromkeys(range(4), 100):
            assert time.monotonic() < deadline
        await worker.app.stop()

    asyncio.run(run())


def test_delivery_starts_where_on_assigned_says(broker: Broker, tmp_path: Path) -> None:
    broker.produce(400)

    async def run(worker: Worker, count: int) -> Worker:
        worker.starts = {0: 90, 1: 0, 2: 100}
        await worker.app.start()
        await worker.has(count)
        await worker.app.stop()
        return worker

    first = asyncio.run(run(Worker(broker, tmp_path), 10 + 100 + 100))
    assert first.offsets(0) == list(range(90, 100))
    assert first.offsets(2) == []
    assert first.offsets(3) == list(range(100))
    again = asyncio.run(run(Worker(broker, tmp_path, first.group), 10 + 100))
    assert again.offsets(3) == []


def test_a_seek_delivers_again_from_there(broker: Broker, tmp_path: Path) -> None:
    broker.produce(400)

    async def run() -> Worker:
        worker = Worker(broker, tmp_path, batch_records_max=30)
        await worker.app.start()
        await worker.has(400)
        await worker.domain.seek(2, 40)
        await worker.has(460)
        await worker.app.stop()
        return worker

    assert asyncio.run(run()).offsets(2) == [*range(100), *range(40, 100)]


def test_a_seek_from_within_on_batch(broker: Broker, tmp_path: Path) -> None:
    broker.produce(400)

    async def run() -> Worker:
        worker = Worker(broker, tmp_path, batch_records_max=30)
        plain, sought = worker.domain._on_batch, []

        async def seek_once(partition: int, records: list[Record]) -> None:
            if partition == 1 and records[-1].offset > 50 and not sought:
                sought.append(records[0].offset)
                await worker.domain.seek(1, 10)
            else:
                await plain(partition, records)

        worker.domain._on_batch = seek_once
        await worker.app.start()
        await until(lambda: worker.offsets(1)[-1:] == [99])
        await worker.app.stop()
        assert worker.offsets(1) == [*range(sought[0]), *range(10, 100)]
        return worker

    asyncio.run(run())


def test_a_log_that_was_rewritten_fails_loudly(broker: Broker, tmp_path: Path) -> None:
    broker.produce(40)

    async def run() -> None:
        worker = Worker(broker, tmp_path)
        worker.starts = {0: 10, 1: 11}
        with pytest.raises(LogRewritten, match=r"commands/1: to go on from offset 11, but the log ends at 10"):
            await worker.app.start()
        assert worker.count == 0

    asyncio.run(run())


@on_kafka_alone  # the mock cluster deletes no records
def test_a_hole_is_delivered_as_such(broker: Broker, tmp_path: Path) -> None:
    broker.produce(400)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for deleted in admin.delete_records([TopicPartition(broker.topic, 0, 60)]).values():
        deleted.result()

    async def run() -> Worker:
        worker = Worker(broker, tmp_path)
        worker.starts = {0: 20}
        await worker.app.start()
        await worker.has(340)
        await worker.app.stop()
        return worker

    assert asyncio.run(run()).offsets(0) == list(range(60, 100))


def test_rows_survive_the_loss_of_the_local_copy(broker: Broker, tmp_path: Path) -> None:
    broker.produce(8)
    rows = {b"row%04d" % n: b"x" * 300 + b"%d" % n for n in range(3000)}  # several record batches

    async def write(worker: Worker) -> None:
        await worker.app.start()
        await worker.has(8)
        table = worker.domain.table
        assert await table.write_rows(1, {}) is None
        assert await table.write_rows(1, rows) == 2999
        assert await table.write_rows(1, {b"row0007": None, b"row0008": b"new", b"absent": None}) == 3002
        await table.write_rows(2, {b"row0007": b"of another partition"})
        assert table.get_row(1, b"row0007") is None
        kafka_consumer = worker.app.consumer._thread._ensure_consumer()
        # It fetches no commands, and its own rows do not come back to it.
        assert kafka_consumer.paused() == kafka_consumer.assignment()
        await worker.app.stop()

    async def check(worker: Worker) -> None:
        await worker.app.start()
        table = worker.domain.table
        expected = {key: value for key, value in rows.items() if key != b"row0007"} | {b"row0008": b"new"}
        assert dict(table.rows(1)) == expected
        assert [key for key, _ in table.rows(1)] == sorted(expected)
        assert list(table.rows(2)) == [(b"row0007", b"of another partition")]
        assert list(table.rows(0)) == [] and table.get_row(0, b"row0007") is None
        assert sorted(table.data._dbs) == [1, 2], "a partition without rows needs no database"
        await worker.app.stop()

    first = Worker(broker, tmp_path / "a")
    asyncio.run(write(first))
    asyncio.run(check(Worker(broker, tmp_path / "a", first.group)))  # the local copy
    shutil.rmtree(tmp_path / "a")
    asyncio.run(check(Worker(broker, tmp_path / "b", first.group)))  # the changelog


def test_rows_are_there_when_on_assigned_is_called(broker: Broker, tmp_path: Path) -> None:
    async def run(worker: Worker, seen: list[int]) -> None:
        async def look(partitions: frozenset[int]) -> None:
            seen.append(sum(len(list(worker.domain.table.rows(p))) for p in partitions))

        worker.domain._on_assigned = look
        worker.domain._on_revoked = look
        await worker.app.start()
        await worker.domain.table.write_rows(3, {b"a": b"1", b"b": b"2"})
        await worker.app.stop()

    first = Worker(broker, tmp_path / "a")
    counts: list[int] = []
    asyncio.run(run(first, counts))
    asyncio.run(run(Worker(broker, tmp_path / "b", first.group), counts))
    assert counts == [0, 2, 2, 2]


@on_kafka_alone  # the mock cluster has no rebalance of one member
def test_a_rebalance_while_rows_are_restored_is_no_end_of_it(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.produce(8)

    async def write(worker: Worker) -> None:
        await worker.app.start()
        for partition in range(PARTITIONS):
            await worker.domain.table.write_rows(partition, {b"row": b"value"})
        await worker.app.stop()

    async def restore(worker: Worker) -> None:
        restoring, go_on, restored = asyncio.Event(), asyncio.Event(), PartitionTable.on_changelog_event

        async def held_up(table: PartitionTable, event: Any) -> None:
            restoring.set()
            await go_on.wait()
            await restored(table, event)

        monkeypatch.setattr(PartitionTable, "on_changelog_event", held_up)
        starting = asyncio.ensure_future(worker.app.start())
        await asyncio.wait_for(restoring.wait(), 20)
        generation = worker.app.consumer.app.consumer_generation_id
        await worker.app.consumer.rejoin()
        await until(lambda: worker.app.consumer.app.consumer_generation_id != generation)
        await asyncio.sleep(0.5)
        assert worker.calls == [], "its rows are not restored yet"
        go_on.set()
        await asyncio.wait_for(starting, 20)
        await until(lambda: worker.held == set(range(PARTITIONS)))
        assert [worker.domain.table.get_row(p, b"row") for p in range(PARTITIONS)] == [b"value"] * PARTITIONS
        await worker.app.stop()

    first = Worker(broker, tmp_path / "a")
    asyncio.run(write(first))
    asyncio.run(restore(Worker(broker, tmp_path / "b", first.group)))


@on_kafka_alone  # two members seldom settle on the mock cluster
def test_a_second_worker_takes_over_in_order(broker: Broker, tmp_path: Path) -> None:
    broker.produce(400)

    async def run() -> None:
        one = Worker(broker, tmp_path / "one", commit_interval_ms=60_000)
        await one.app.start()
        await one.has(400)
        await one.domain.table.write_rows(0, {b"row": b"value"})
        await one.domain.table.write_rows(3, {b"row": b"value"})
        two = Worker(broker, tmp_path / "two", one.group)
        await two.app.start()
        await until(lambda: len(one.held) == len(two.held) == 2)
        everything = frozenset(range(PARTITIONS))
        assert one.held | two.held == everything
        assert [call for call in one.calls if call[0] != "batch"] == [
            ("assigned", everything),
            ("revoked", everything),
            ("assigned", frozenset(one.held)),
        ]
        for worker in (one, two):
            for partition in worker.held & {0, 3}:
                assert worker.domain.table.get_row(partition, b"row") == b"value"
        # Nothing is repeated: what the first had done was committed as it gave its partitions up.
        await asyncio.get_running_loop().run_in_executor(None, lambda: broker.produce(400, first=400))
        await until(lambda: one.count + two.count >= 800)
        for partition in everything:
            assert one.offsets(partition) + two.offsets(partition) == list(range(200))

        await one.app.stop()
        await until(lambda: two.held == everything)
        await asyncio.get_running_loop().run_in_executor(None, lambda: broker.produce(40, first=800))
        await until(lambda: one.count + two.count >= 840)
        for partition in everything:
            assert one.offsets(partition) + two.offsets(partition) == list(range(210))
        await two.app.stop()
        assert one.app.failure is None and two.app.failure is None

    asyncio.run(run())


@on_kafka_alone  # one broker of two is enough for Faust's standbys
def test_a_standby_has_the_rows(broker: Broker, tmp_path: Path) -> None:
    async def run() -> None:
        one = Worker(broker, tmp_path / "one", standby_count=1, heartbeat_ms=200)
        await one.app.start()
        two = Worker(broker, tmp_path / "two", one.group, standby_count=1, heartbeat_ms=200)
        await two.app.start()
        await until(lambda: len(one.held) == len(two.held) == 2)
        for worker in (one, two):
            for partition in worker.held:
                await worker.domain.table.write_rows(partition, {b"row": b"%d" % partition})
        await asyncio.sleep(1)
        await one.app.stop()
        await until(lambda: len(two.held) == PARTITIONS)
        for partition in range(PARTITIONS):
            assert two.domain.table.get_row(partition, b"row") == b"%d" % partition
        await two.app.stop()

    asyncio.run(run())


def test_an_error_in_on_batch_surfaces_and_nothing_is_lost(broker: Broker, tmp_path: Path) -> None:
    broker.produce(400)

    async def run(worker: Worker) -> BaseException:
        worker.fail_on_value = b"v201"  # partition 1, offset 50
        await worker.app.start()
        failure = await asyncio.wait_for(worker.app.wait_failed(), 20)
        await worker.app.stop()
        return failure

    async def rest(worker: Worker, count: int) -> Worker:
        await worker.app.start()
        await worker.has(count)
        await worker.app.stop()
        return worker

    first = Worker(broker, tmp_path, batch_records_max=20)
    failure = asyncio.run(run(first))
    assert str(failure) == "cannot go on"
    assert len(first.records[1]) <= 50
    second = asyncio.run(rest(Worker(broker, tmp_path, first.group), 400 - first.count))
    for partition in range(PARTITIONS):
        assert first.offsets(partition) + second.offsets(partition) == list(range(100))


def test_an_error_in_on_assigned_fails_the_start(broker: Broker, tmp_path: Path) -> None:
    async def run() -> None:
        worker = Worker(broker, tmp_path)

        async def refuse(_: frozenset[int]) -> None:
            raise ValueError("not these")

        worker.domain._on_assigned = refuse
        with pytest.raises(ValueError, match="not these"):
            await worker.app.start()
        assert worker.domain.assigned == frozenset()

    asyncio.run(run())


def test_an_assignment_without_the_changelog_is_not_used(accord_kafka: str, tmp_path: Path) -> None:
    broker = Broker(accord_kafka, None)
    broker.create(broker.topic)
    broker.produce(40)

    async def run() -> None:
        worker = Worker(broker, tmp_path, create_changelogs=False, instance="w1")
        starting = asyncio.ensure_future(worker.app.start())
        await asyncio.sleep(1)
        assert worker.calls == []
        await asyncio.get_running_loop().run_in_executor(None, broker.create, worker.domain.changelog_topic)
        await asyncio.wait_for(starting, 20)
        await worker.has(40)
        assert len([tp for tp in worker.app.consumer.assignment() if tp.topic != broker.topic]) == PARTITIONS
        await worker.app.stop()

    asyncio.run(run())


def test_a_changelog_that_never_comes_fails_the_start(
    accord_kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accord.streams.runtime.app.REJOINS_MAX", 3)
    broker = Broker(accord_kafka, None)
    broker.create(broker.topic)

    async def run() -> None:
        worker = Worker(broker, tmp_path, create_changelogs=False)

        async def start() -> None:
            await worker.app.start()  # between two assignments it has no partitions, which is no failure yet
            raise await worker.app.wait_failed()

        with pytest.raises(RuntimeError, match=r"lacks partitions of .*-locks-changelog"):
            await asyncio.wait_for(start(), 20)
        await worker.app.stop()

    asyncio.run(run())


def test_a_bad_answer_of_the_group_is_another_attempt(tmp_path: Path) -> None:
    with MockCluster() as mock:
        broker = Broker(mock.bootstrap_servers, mock)
        broker.create(broker.topic)
        broker.produce(40)

        async def run() -> None:
            worker = Worker(broker, tmp_path)
            mock.fail_next(SYNC_GROUP, INVALID_REQUEST, INVALID_REQUEST)
            await asyncio.wait_for(worker.app.start(), 20)
            await worker.has(40)
            await worker.app.stop()

        asyncio.run(run())


@pytest.mark.parametrize("errors", [[30], [42] * 9])  # no permission; invalid request, again and again
def test_a_group_that_cannot_be_joined_fails_the_start(tmp_path: Path, errors: list[int]) -> None:
    with MockCluster() as mock:
        broker = Broker(mock.bootstrap_servers, mock)
        broker.create(broker.topic)

        async def run() -> None:
            worker = Worker(broker, tmp_path)
            mock.fail_next(SYNC_GROUP, *errors)
            with pytest.raises(KafkaError):
                await asyncio.wait_for(worker.app.start(), 30)

        asyncio.run(run())


@pytest.fixture(params=["mock", pytest.param("kafka", marks=only_long)])  # the fault run kills a real one at once
def frail(request: pytest.FixtureRequest) -> Iterator[Frail]:
    """A broker of the test's own, that it may take down."""
    if request.param == "mock":
        with MockCluster() as mock:
            yield Broker(mock.bootstrap_servers, mock), lambda: mock.set_down(True), lambda: mock.set_down(False)
    else:
        with NativeKafka() as kafka:
            yield Broker(kafka.bootstrap_servers, None), kafka.kill, kafka.restart


def test_an_outage_of_the_broker_is_waited_out(frail: Frail, tmp_path: Path) -> None:
    broker, take_down, bring_up = frail
    broker.create(broker.topic)
    broker.produce(400)

    async def run() -> None:
        worker = Worker(broker, tmp_path)
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        await worker.app.start()
        await worker.has(400)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, take_down)
        writing = asyncio.ensure_future(worker.domain.table.write_rows(1, {b"row": b"value"}))
        await asyncio.sleep(1)
        assert not writing.done()
        await loop.run_in_executor(None, bring_up)
        await loop.run_in_executor(None, lambda: broker.produce(400, first=400))
        await worker.has(800)
        assert await writing == 0
        await loop.run_in_executor(None, take_down)
        began = time.monotonic()
        await worker.app.stop()
        assert time.monotonic() - began < 5
        assert worker.app.failure is None
        for partition in range(PARTITIONS):
            assert worker.offsets(partition) == list(range(200))

    asyncio.run(run())


class Impatient(AdminClient):
    """One that does not ask for ten seconds whether there is a broker."""

    def list_topics(self, *arguments: Any, **more: Any) -> Any:
        return super().list_topics(*arguments, **more | {"timeout": 1})


def test_a_broker_that_is_not_there_fails_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.streams.runtime.app.AdminClient", Impatient)

    async def run() -> None:
        worker = Worker(Broker("127.0.0.1:9", None), tmp_path)
        with pytest.raises(Exception, match=r"127\.0\.0\.1:9|_TRANSPORT|connect"):
            await worker.app.start()
        worker = Worker(Broker("127.0.0.1:9", MockStub()), tmp_path)  # type: ignore[arg-type]
        with pytest.raises(Exception, match="Unable to bootstrap"):
            await worker.app.start()

    asyncio.run(run())


class MockStub:
    """Stands for a mock cluster that has gone away."""

    def create_topic(self, name: str, partition_count: int) -> None:
        pass


def test_apps_run_at_once_in_threads_and_leave_nothing(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    broker.produce(400)
    before = set(threading.enumerate())
    stop_seconds: list[float] = []
    left: list[int] = []

    async def run(worker: Worker) -> None:
        await worker.app.start()
        await worker.has(400)
        began = time.monotonic()
        await worker.app.stop()
        await worker.app.stop()
        stop_seconds.append(time.monotonic() - began)
        await asyncio.sleep(0)
        left.append(len(asyncio.all_tasks()) - 1)

    workers = [Worker(broker, tmp_path / str(number)) for number in range(3)]
    threads = [threading.Thread(target=lambda w=w: asyncio.run(run(w))) for w in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [worker.count for worker in workers] == [400] * 3
    assert max(stop_seconds) < 10
    assert left == [0] * 3
    assert set(threading.enumerate()) <= before
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert capfd.readouterr() == ("", "")
