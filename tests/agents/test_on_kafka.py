"""The client on a real Kafka: what the mock cluster cannot do to it."""

from collections.abc import Iterator

import pytest
from accord.agents.connection.connection import Connection
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.topics import commands_topic, events_topic, partition_of
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from accord.admin import Admin
from accord.errors import KafkaUnreachable, LogGap, NoWorker, TopicMismatch
from accord.kafka import producer
from accord.settings import Settings
from tests.agents.support import until
from tests.topics import fresh_prefix

ACQUIRE = AcquireLock("ada", "owner", 10_000, 0)


@pytest.fixture
def settings(accord_kafka: str) -> Settings:
    """Settings for fresh topics without a worker."""
    settings = Settings.load(
        kafka={"bootstrap_servers": accord_kafka},
        topics={"prefix": fresh_prefix(accord_kafka, "client"), "partitions": 2},
        client={"worker_wait_ms": 20_000, "worker_warning_ms": 1_000},
    )
    Admin(settings).init()
    return settings


@pytest.fixture
def admin(accord_kafka: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": accord_kafka})


@pytest.fixture
def connection(settings: Settings) -> Iterator[Connection]:
    connection = Connection(settings, agent="ada")
    connection.open()
    yield connection
    connection.close()


def test_deleted_events_topic_is_loud(connection: Connection, settings: Settings, admin: AdminClient) -> None:
    waiting = connection.submit("locks", "k", ACQUIRE)
    until(lambda: next(iter(connection._underway.values())).offset is not None)
    _wait(admin.delete_topics([events_topic("locks", settings.topics.prefix)]))
    with pytest.raises(LogGap, match="is gone: the topic was deleted"):
        waiting.decided.result(15)
    with pytest.raises(LogGap):
        connection.submit("locks", "k", ACQUIRE)


def test_deleted_commands_topic_is_told(connection: Connection, settings: Settings, admin: AdminClient) -> None:
    with pytest.raises(NoWorker):
        connection.submit("locks", "k", ACQUIRE, answer_ms=2_000).decided.result(10)
    topic = commands_topic("locks", settings.topics.prefix)
    _wait(admin.delete_topics([topic]))
    until(lambda: topic not in admin.list_topics(timeout=10).topics)
    with pytest.raises((TopicMismatch, KafkaUnreachable), match=r"the topic is gone|was not delivered"):
        connection.submit("locks", "k", ACQUIRE, answer_ms=10_000).decided.result(15)


def test_cut_log_is_loud(connection: Connection, settings: Settings, admin: AdminClient) -> None:
    """The chain cannot be followed from its start, and no record says where else to begin."""
    at = TopicPartition(events_topic("locks", settings.topics.prefix), partition_of(b"k", 2))
    sender = producer(settings.kafka)
    sender.produce(at.topic, b"no decision", b"k", at.partition)
    assert sender.flush(10) == 0
    at.offset = 1
    _wait(admin.delete_records([at]))
    with pytest.raises(LogGap, match="starts at offset 1, so its chain cannot be followed"):
        connection.submit("locks", "k", ACQUIRE).decided.result(15)


def test_missing_and_wrong_topics(settings: Settings) -> None:
    topics = settings.topics
    for update, words in (
        ({"prefix": "nowhere"}, "nowhere.locks.commands.v1 does not exist"),
        ({"partitions": 6}, f"{topics.prefix}.locks.commands.v1 has 2 partitions, settings say 6"),
    ):
        other = settings.model_copy(update={"topics": topics.model_copy(update=update)})
        connection = Connection(other, agent="ada")
        with pytest.raises(TopicMismatch, match=words):
            connection.open()


def _wait(futures: dict[object, object]) -> None:
    for future in futures.values():
        future.result(10)  # type: ignore[attr-defined]
