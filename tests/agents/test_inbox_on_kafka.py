"""The inbox on a real Kafka: a worker that dies before it told anybody, an inbox that is gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from accord.agents.connection.connection import Answer, Connection
from accord.schemas.messages.locks import AcquireLock, LockGranted, LockQueued, ReleaseLock
from accord.schemas.topics import events_topic, inbox_topic, partition_of
from confluent_kafka.admin import AdminClient

from accord import kafka
from accord.admin import Admin
from accord.errors import LogGap
from accord.settings import Settings
from tests.agents.on_kafka import silent_worker
from tests.agents.support import until
from tests.topics import fresh_prefix

PARTITIONS = 2


@pytest.fixture
def arguments(accord_kafka: str, tmp_path: Path) -> dict[str, object]:
    """Settings for fresh topics, an inbox among them."""
    found = {
        "kafka": {"bootstrap_servers": accord_kafka},
        "topics": {"prefix": fresh_prefix(accord_kafka, "inbox"), "partitions": PARTITIONS, "inbox_partitions": 3},
        "client": {"answers": "inbox", "worker_wait_ms": 60_000, "worker_warning_ms": 1_000},
        "worker": {"data_dir": str(tmp_path / "data"), "domains": ["locks"], "checkpoint_ms": 100},
    }
    Admin(Settings.load(**found)).init()
    return found


@pytest.fixture
def connect(arguments: dict[str, object]) -> Iterator[Callable[[str], Connection]]:
    made: list[Connection] = []

    def open_one(agent: str) -> Connection:
        made.append(Connection(Settings.load(**arguments), agent=agent))
        made[-1].open()
        return made[-1]

    yield open_one
    for connection in made:
        connection.close()


def decided(settings: Settings, key: str) -> int:
    """Records in the events partition of a key."""
    client = kafka.reader(settings.kafka)
    try:
        topic = events_topic("locks", settings.topics.prefix)
        return kafka.bounds(client, topic, partition_of(key.encode(), PARTITIONS))[1]
    finally:
        client.close()


@pytest.mark.parametrize("keeps_data", [True, False])
def test_a_worker_that_dies_between_decision_and_notice_leaves_nobody_waiting(
    arguments: dict[str, object], connect: Callable[[str], Connection], tmp_path: Path, keeps_data: bool
) -> None:
    """Whoever comes after it tells again what was decided after the last checkpoint; without one, the latest."""
    settings, silent = Settings.load(**arguments), tmp_path / "silent"
    ada, bob = connect("ada"), connect("bob")
    told: list[Answer] = []
    with silent_worker(arguments, silent):
        (granted,) = ada.submit("locks", "room", AcquireLock("ada", "a", 60_000, None)).decided.result(60).events
        assert isinstance(granted, LockGranted)
        bob.watch("locks", "room", told.append)
        queued = bob.submit("locks", "room", AcquireLock("bob", "b", 60_000, None))
        queued.decided.result(20)
        assert [type(event) for answer in told for event in answer.events] == [LockQueued]
        silent.touch()
        before = decided(settings, "room")
        released = ada.submit("locks", "room", ReleaseLock("ada", granted.token))
        until(lambda: decided(settings, "room") > before)
        time.sleep(0.5)  # several times a checkpoint is due, which must not be written now
        assert len(told) == 1 and not released.decided.done()
    silent.unlink()
    if not keeps_data:
        arguments = {**arguments, "worker": {**arguments["worker"], "data_dir": str(tmp_path / "other")}}  # type: ignore[dict-item]
    with silent_worker(arguments, silent):
        assert released.decided.result(60).events[1].request == queued.id
        until(lambda: len(told) > 1)
    grants = [event for answer in told for event in answer.events if isinstance(event, LockGranted)]
    assert [grant.request for grant in grants] == [queued.id], "told once, though it was sent again"


def test_a_deleted_inbox_is_loud(arguments: dict[str, object], connect: Callable[[str], Connection]) -> None:
    connection = connect("ada")
    waiting = connection.submit("locks", "k", AcquireLock("ada", "a", 60_000, None))
    admin = AdminClient({"bootstrap.servers": arguments["kafka"]["bootstrap_servers"]})  # type: ignore[index]
    topic = inbox_topic(Settings.load(**arguments).topics.prefix)
    for deleted in admin.delete_topics([topic]).values():
        deleted.result(10)
    with pytest.raises(LogGap, match=r"inbox\.v1.* is gone: the topic was deleted"):
        waiting.decided.result(30)
