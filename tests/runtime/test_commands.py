"""The reader of commands against the mock cluster; holes in the offsets, which transactions leave, on a real Kafka."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator

import pytest
from accord.streams.runtime import commands
from accord.streams.runtime.commands import WAITING_MAX, Batch, CommandReader
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.cimpl import NewTopic
from faust.types import TP

from accord.mock import FETCH_WAIT_MS, MockCluster
from tests.topics import create

PARTITIONS = 2


@pytest.fixture
def mock() -> Iterator[MockCluster]:
    with MockCluster() as cluster:
        cluster.create_topic("c", PARTITIONS)
        yield cluster


class Reading:
    """A reader, and what it has handed over."""

    def __init__(self, servers: str, *, batch_records_max: int = 1_000) -> None:
        self.batches: list[Batch] = []
        self.failures: list[BaseException] = []
        self.reader = CommandReader(
            {"bootstrap.servers": servers},
            fetch_wait_ms=FETCH_WAIT_MS,
            fetch_bytes_max=1 << 20,
            batch_records_max=batch_records_max,
            deliver=self.batches.extend,
            fail=self.failures.append,
        )

    @property
    def count(self) -> int:
        return sum(len(batch.records) for batch in self.batches)

    def offsets(self, partition: int, epoch: int) -> list[int]:
        return [
            record.offset
            for batch in self.batches
            if (batch.tp.partition, batch.epoch) == (partition, epoch)
            for record in batch.records
        ]

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not reached():  # noqa: ASYNC110  the thread tells no event
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.reader.stop)


def produce(servers: str, topic: str, count: int, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": servers, "queue.buffering.max.messages": 200_000})
    for number in range(count):
        producer.produce(topic, b"v%d" % number, b"k", partition)
    assert producer.flush(20) == 0


def test_no_more_is_handed_over_than_the_bound_until_some_is_done(mock: MockCluster) -> None:
    batch_records_max, more = 500, 3_000
    produce(mock.bootstrap_servers, "c", WAITING_MAX + more)

    async def run() -> None:
        reading = Reading(mock.bootstrap_servers, batch_records_max=batch_records_max)
        reading.reader.seek(TP("c", 0), 0, 1)
        await reading.until(lambda: reading.count >= WAITING_MAX)
        await asyncio.sleep(0.3)  # it would be through with all by now
        assert reading.count < WAITING_MAX + batch_records_max
        for batch in list(reading.batches):
            reading.reader.done(batch)
        await reading.until(lambda: reading.count == WAITING_MAX + more)
        assert reading.offsets(0, 1) == list(range(WAITING_MAX + more))
        await reading.stop()

    asyncio.run(run())


def test_after_a_seek_what_comes_has_its_epoch_and_begins_there(mock: MockCluster) -> None:
    produce(mock.bootstrap_servers, "c", 100)

    async def run() -> None:
        reading = Reading(mock.bootstrap_servers)
        reading.reader.seek(TP("c", 0), 90, 1)
        await reading.until(lambda: reading.count == 10)
        reading.reader.seek(TP("c", 0), 20, 2)
        await reading.until(lambda: len(reading.offsets(0, 2)) == 80)
        assert reading.offsets(0, 1) == list(range(90, 100))
        assert reading.offsets(0, 2) == list(range(20, 100))
        await reading.stop()

    asyncio.run(run())


def test_only_what_was_sought_is_read_until_it_is_closed(mock: MockCluster) -> None:
    async def run() -> None:
        reading = Reading(mock.bootstrap_servers)
        for partition in range(PARTITIONS):
            produce(mock.bootstrap_servers, "c", 5, partition)
        reading.reader.seek(TP("c", 0), 0, 1)
        await reading.until(lambda: reading.count == 5)
        reading.reader.close_partition(TP("c", 0))
        reading.reader.seek(TP("c", 1), 0, 1)
        await reading.until(lambda: reading.count == 10)
        produce(mock.bootstrap_servers, "c", 5, 0)
        await asyncio.sleep(10 * FETCH_WAIT_MS / 1_000)
        assert reading.offsets(0, 1) == reading.offsets(1, 1) == list(range(5))
        await reading.stop()

    asyncio.run(run())


def test_an_offset_that_is_not_there_goes_on_at_the_first(mock: MockCluster) -> None:
    produce(mock.bootstrap_servers, "c", 5)

    async def run() -> None:
        reading = Reading(mock.bootstrap_servers)
        reading.reader.seek(TP("c", 0), 50, 1)
        await reading.until(lambda: reading.count == 5)
        assert reading.offsets(0, 1) == list(range(5))
        await reading.stop()

    asyncio.run(run())


def test_batches_have_no_gap(accord_kafka: str) -> None:
    topic = f"c-{uuid.uuid4().hex[:8]}"
    create(accord_kafka, NewTopic(topic, 1, 1))
    producer = Producer({"bootstrap.servers": accord_kafka, "transactional.id": topic})
    producer.init_transactions(30)
    for _ in range(3):
        producer.begin_transaction()
        for _ in range(2):
            producer.produce(topic, b"v", b"k", 0)
        producer.commit_transaction(30)  # takes an offset of its own

    async def run() -> None:
        reading = Reading(accord_kafka)
        reading.reader.seek(TP(topic, 0), 0, 1)
        await reading.until(lambda: reading.count == 6)
        offsets = [[record.offset for record in batch.records] for batch in reading.batches]
        assert [offset for one in offsets for offset in one] == [0, 1, 3, 4, 6, 7]
        assert all(one[-1] - one[0] == len(one) - 1 for one in offsets)
        await reading.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("code", "ends"), [(KafkaError.TOPIC_AUTHORIZATION_FAILED, True), (KafkaError.UNKNOWN_TOPIC_OR_PART, False)]
)
def test_what_librdkafka_cannot_get_over_is_told(
    mock: MockCluster, monkeypatch: pytest.MonkeyPatch, code: int, ends: bool
) -> None:
    produce(mock.bootstrap_servers, "c", 1)

    class Failed:
        """As librdkafka tells of a partition that it cannot read."""

        def error(self) -> KafkaError:
            return KafkaError(code)

        def topic(self) -> str:
            return "c"

        def partition(self) -> int:
            return 0

    class Failing(commands.Consumer):  # type: ignore[misc]
        def consume(self, *args: object, **options: object) -> list[Message]:
            return [Failed(), *super().consume(*args, **options)]  # type: ignore[list-item]

    monkeypatch.setattr(commands, "Consumer", Failing)

    async def run() -> None:
        reading = Reading(mock.bootstrap_servers)
        reading.reader.seek(TP("c", 0), 0, 1)
        await reading.until(lambda: bool(reading.failures) if ends else reading.count == 1)
        assert [type(failure) for failure in reading.failures] == [KafkaException] * ends
        await reading.stop()

    asyncio.run(run())
