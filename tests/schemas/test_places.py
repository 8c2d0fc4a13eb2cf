"""Positions, the topic table, partitions of keys, headers: what is written for people and for other programs."""

from __future__ import annotations

import re

import pytest
from accord.schemas.headers import Confirmed, command_headers
from accord.schemas.position import Position
from accord.schemas.topics import (
    COMMANDS_RETENTION_MS,
    DECISION_BYTES_MAX,
    DOMAINS,
    commands_topic,
    deadletters_topic,
    events_topic,
    murmur2,
    partition_of,
    topic_table,
)
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import BadInput
from accord.mock import MockCluster

# -- positions


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("locks/3@1842", Position("locks", 3, 1842)),
        ("locks.commands/3@977", Position("locks", 3, 977, commands=True)),
        ("locks.events/0@0", Position("locks", 0, 0)),
        (" signals/12@5\n", Position("signals", 12, 5)),
    ],
)
def test_positions_are_read(text: str, position: Position) -> None:
    assert Position.parse(text) == position


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1842",
        "locks/3",
        "locks@3",
        "locks/3@",
        "locks/-1@5",
        "locks/3@-5",
        "Locks/3@5",
        "locks.other/3@5",
        "locks/٣@5",
        "locks/3@5 6",
        "locks/3@" + "9" * 19,
    ],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=re.escape(repr(text)) + r" is no position\. Write domain/partition@offset"):
        Position.parse(text)


@given(st.sampled_from(DOMAINS), st.integers(0, 10**9 - 1), st.integers(0, 10**18 - 1), st.booleans())
def test_positions_come_back(domain: str, partition: int, offset: int, commands: bool) -> None:
    position = Position(domain, partition, offset, commands)
    assert Position.parse(str(position)) == position


# -- topics


def test_the_topic_table() -> None:
    table = {topic.name: topic for topic in topic_table("shop", 24)}
    assert set(table) == {
        "shop.locks.commands.v1",
        "shop.locks.events.v1",
        "shop.signals.commands.v1",
        "shop.signals.events.v1",
        "shop.limits.commands.v1",
        "shop.limits.events.v1",
        "shop.waits.commands.v1",
        "shop.waits.events.v1",
        "shop.tasks.commands.v1",
        "shop.tasks.events.v1",
        "shop.roster.commands.v1",
        "shop.roster.events.v1",
        "shop.llm.commands.v1",
        "shop.llm.events.v1",
        "shop.proposals.commands.v1",
        "shop.proposals.events.v1",
        "shop.auctions.commands.v1",
        "shop.auctions.events.v1",
        "shop.hierarchy.commands.v1",
        "shop.hierarchy.events.v1",
        "shop.state.commands.v1",
        "shop.state.events.v1",
        "shop.transactions.commands.v1",
        "shop.transactions.events.v1",
        "shop.conflicts.commands.v1",
        "shop.conflicts.events.v1",
        "shop.triggers.commands.v1",
        "shop.triggers.events.v1",
        "shop.sagas.commands.v1",
        "shop.sagas.events.v1",
        "shop.dlq.v1",
    }
    for domain in DOMAINS:
        commands, events = table[commands_topic(domain, "shop")], table[events_topic(domain, "shop")]
        assert commands.partitions == events.partitions == 24, "a decision lies in the partition of its command"
        assert commands.retention_ms == COMMANDS_RETENTION_MS
        assert events.retention_ms == -1, "the events are the truth: never expired"
    assert table[deadletters_topic("shop")].partitions == 1
    for topic in table.values():
        assert topic.config["cleanup.policy"] == "delete", "never compacted"
        assert topic.config["message.timestamp.type"] == "LogAppendTime"
        assert topic.config["retention.bytes"] == "-1"
        assert topic.config["retention.ms"] == str(topic.retention_ms)


def test_decisions_fit_below_librdkafkas_limit_of_a_message() -> None:
    assert DECISION_BYTES_MAX < 1_000_000


# -- partitions of keys

KNOWN = [  # org.apache.kafka.common.utils.UtilsTest.testMurmur2
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("key", "known"), KNOWN, ids=[key.decode()[:12] for key, _ in KNOWN])
def test_murmur2_is_kafkas(key: bytes, known: int) -> None:
    assert murmur2(key) == known % 2**32


KEYS = (
    [b"k" * size for size in range(1, 40)]
    + [b"room-%d" % i for i in range(200)]
    + ["комната".encode(), b"\x00", b"\xff" * 255]
)


def test_partitions_are_those_of_librdkafka() -> None:
    """Every producer of accord's sets `murmur2_random`; here the library itself says where keys go."""
    landed: dict[bytes, int] = {}
    with MockCluster() as cluster:
        cluster.create_topic("keys", 7)
        producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "partitioner": "murmur2_random"})
        for key in KEYS:
            producer.produce(
                "keys", b"", key, on_delivery=lambda error, message: landed.update({message.key(): message.partition()})
            )
        assert producer.flush(10) == 0
    assert landed == {key: partition_of(key, 7) for key in KEYS}
    assert set(landed.values()) == set(range(7))


# -- headers


def test_the_headers_of_a_command() -> None:
    headers = command_headers("m-1", "ada", "accord.locks.v1.AcquireLock", b"[0,{}]", "trip", "00-a-b-01")
    assert headers == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"m-1"),
        ("ce_source", b"ada"),
        ("ce_type", b"accord.locks.v1.AcquireLock"),
        ("accord-clock", b"[0,{}]"),
        ("accord-task", b"trip"),
        ("traceparent", b"00-a-b-01"),
    ]
    assert [name for name, _ in command_headers("m-1", "ada", "t", b"")] == [
        "ce_specversion", "ce_id", "ce_source", "ce_type", "accord-clock",
    ]  # fmt: skip


@given(st.integers(0, 2**62), st.integers(1, 2**62), st.binary(min_size=16, max_size=16))
def test_pointers_come_back(offset: int, seq: int, digest: bytes) -> None:
    pointer = Confirmed(offset, seq, digest)
    assert Confirmed.decode(pointer.encode()) == pointer
    assert pointer.encode().decode("ascii") == f"{offset} {seq} {digest.hex()}"


@given(st.binary(max_size=60))
def test_what_is_no_pointer_is_a_value_error(data: bytes) -> None:
    try:
        Confirmed.decode(data)
    except ValueError:
        return
    assert len(data.split(b" ")) == 3
