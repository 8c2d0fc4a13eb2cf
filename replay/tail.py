"""Tail: the events of a live cluster as they come.

Each partition is read through its chain, which starts at a decision that its last record's writer had seen confirmed,
or at the first one. A broker that goes away is waited for; a log that was cut or rewritten is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from accord.replay.source import KafkaSource
from accord.replay.timeline import Filter, TimelineEvent, decoded
from accord.schemas.position import Position
from accord.schemas.topics import events_topic
from accord.streams.chain import Chain
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from accord.errors import LogGap
from accord.kafka import anchor, as_record, bounds, consumer
from accord.settings import Settings

POLL_S: Final = 0.2
BATCH_RECORDS: Final = 500


class Notice(NamedTuple):
    """Something to tell the one who watches, which is no event."""

    text: str


class _Followed(NamedTuple):
    domain: str
    chain: Chain
    shown_from: int


def tail(settings: Settings, which: Filter) -> Iterator[TimelineEvent | Notice]:
    """The events from now on, or from `which.start`; never ends.

    Raises:
        KafkaUnreachable: no broker answers at the start.
        NotFound: the cluster has no topics of accord, or no such domain or position.
        LogGap, ChainBroken: the log was cut, rewritten or changed.
    """
    with KafkaSource(settings.kafka, settings.topics.prefix) as source:
        if isinstance(which.start, Position):
            source.check_position(which.start)
        errors: list[KafkaError] = []
        client = consumer(settings.kafka, error_cb=errors.append)
        try:
            followed = _follow(client, source, which)
            yield Notice(f"following {len(followed)} partitions at {source.name}")
            yield from _events(client, followed, which, errors)
        finally:
            client.close()


def _follow(client: Consumer, source: KafkaSource, which: Filter) -> dict[tuple[str, int], _Followed]:
    """Assigns the partitions: from their anchors when only what comes matters, else from their first decisions."""
    followed: dict[tuple[str, int], _Followed] = {}
    starts = []
    for domain, partition in source.all_partitions(which.domains):
        topic, root = events_topic(domain, source.prefix), source.root(domain, partition)
        if which.start is None:
            _, end = bounds(client, topic, partition)
            chain, start = anchor(client, topic, partition, root)
        else:
            source.check_whole(domain, partition)
            chain, start, end = Chain(root), 0, 0
        followed[topic, partition] = _Followed(domain, chain, end)
        starts.append(TopicPartition(topic, partition, start))
    client.assign(starts)
    return followed


def _events(
    client: Consumer, followed: dict[tuple[str, int], _Followed], which: Filter, errors: list[KafkaError]
) -> Iterator[TimelineEvent | Notice]:
    """`errors` are what the client tells beside its messages; it fills up while the client is polled."""
    away = False
    while True:
        messages = client.consume(BATCH_RECORDS, timeout=POLL_S)
        if not away and any(error.code() == KafkaError._ALL_BROKERS_DOWN for error in errors):
            away = True
            yield Notice("no broker answers; waiting")
        errors.clear()
        for message in messages:
            error = message.error()
            if error is not None:
                _raise_if_cut(message, error)
                continue
            if away:
                away = False
                yield Notice("reading on")
            yield from _accepted(message, followed, which)


def _accepted(message: Message, followed: dict[tuple[str, int], _Followed], which: Filter) -> Iterator[TimelineEvent]:
    topic, partition = message.topic(), message.partition()
    assert topic is not None and partition is not None
    domain, chain, shown_from = followed[topic, partition]
    decision = chain.accept(as_record(message))
    if decision is None or decision.offset < shown_from or not which.reached(domain, partition, decision):
        return
    yield from (event for event in decoded(domain, partition, decision) if which.wants(event))


def _raise_if_cut(message: Message, error: KafkaError) -> None:
    if error.code() in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):
        raise LogGap(
            f"{message.topic()}/{message.partition()}: {error.str()}; the log was cut or rewritten.",
            remedy="Look at the topic: accord topics check.",
        )
