"""A handler's start on a broker that does not know yet who coordinates its group: it waits for that."""

from __future__ import annotations

import time

import pytest
from accord.agents.signals.subscription import Subscription
from accord.agents.signals.wanted import Wanted
from accord.schemas.topics import topic_table
from confluent_kafka import KafkaError, KafkaException

from accord.mock import FETCH_WAIT_MS, MockCluster
from accord.settings import Settings
from tests.counts import only_long

OFFSET_FETCH = 9
PARTITIONS = 2


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.NOT_COORDINATOR,
        pytest.param(KafkaError.COORDINATOR_NOT_AVAILABLE, marks=only_long),
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    ],
)
def test_a_coordinator_that_is_not_there_yet_is_waited_for(code: int) -> None:
    with cluster() as mock:
        subscription = Subscription(settings(mock, connect_timeout_ms=10_000), "note", Wanted(("booked",)))
        mock.fail_next(OFFSET_FETCH, *[code] * 3)
        subscription.open().result(20)
        subscription.stop()
        assert subscription.join(10)


def test_one_that_never_comes_is_an_error() -> None:
    with cluster() as mock:
        subscription = Subscription(settings(mock, connect_timeout_ms=1_000), "note", Wanted(("booked",)))
        mock.fail_next(OFFSET_FETCH, *[KafkaError.NOT_COORDINATOR] * 10_000)
        started = time.monotonic()
        with pytest.raises(Exception, match="Not coordinator") as caught:
            subscription.open().result(20)
        assert isinstance(caught.value, KafkaException) or "note" in str(caught.value)
        assert time.monotonic() - started < 15


def cluster() -> MockCluster:
    mock = MockCluster()
    for topic in topic_table("accord", PARTITIONS):
        mock.create_topic(topic.name, topic.partitions)
    return mock


def settings(mock: MockCluster, *, connect_timeout_ms: int) -> Settings:
    return Settings.load(
        kafka={
            "bootstrap_servers": mock.bootstrap_servers,
            "fetch_wait_ms": FETCH_WAIT_MS,
            "idempotent": False,
            "connect_timeout_ms": connect_timeout_ms,
        },
        topics={"partitions": PARTITIONS},
    )
