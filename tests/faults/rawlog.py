"""The log as any Kafka consumer sees it, and its chain checked from the description of the format alone.

Nothing of accord is imported here: what this finds does not depend on the code that it checks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition

READ_TIMEOUT_S = 30.0
HASHED = ("accord-chain", "accord-cause", "accord-rules", "accord-clock", "ce_type", "accord-task")


class Raw(NamedTuple):
    """A record. A header that is missing counts as empty."""

    offset: int
    key: bytes
    value: bytes
    headers: dict[str, bytes]

    @property
    def seq(self) -> int:
        return int(self.headers["accord-chain"].split(b" ")[0])

    @property
    def kind(self) -> str:
        """The events of a decision by name, as `LockReleased+LockGranted`."""
        return self.headers["ce_type"].decode().rpartition(".")[2]

    @property
    def cause(self) -> int:
        return int(self.headers["accord-cause"].split(b" ")[0])

    @property
    def command_id(self) -> str:
        return self.headers["accord-cause"].split(b" ")[1].decode()


class Chained(NamedTuple):
    """A partition's events log: what its chain accepts, by offset, and what it skips."""

    accepted: dict[int, Raw]
    skipped: list[Raw]


def count(consumer: Consumer, topic: str, partition: int) -> int:
    """How many records a partition has; one whose records are never deleted, and without transactions."""
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=READ_TIMEOUT_S)
    return high - low


def read_all(consumer: Consumer, topic: str, partition: int) -> list[Raw]:
    """Every record of a partition."""
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=READ_TIMEOUT_S)
    records: list[Raw] = []
    consumer.assign([TopicPartition(topic, partition, low)])
    deadline = time.monotonic() + READ_TIMEOUT_S
    while low < high and (not records or records[-1].offset < high - 1):
        assert time.monotonic() < deadline, f"{topic}/{partition}: no end after {READ_TIMEOUT_S} s"
        for message in consumer.consume(1_000, timeout=0.05):
            if message.error() is None and message.topic() == topic and message.partition() == partition:
                offset, headers = message.offset(), message.headers() or []
                assert offset is not None
                texts = {name: value for name, value in headers if isinstance(value, bytes)}
                records.append(Raw(offset, message.key() or b"", message.value() or b"", texts))
    consumer.unassign()
    return records


def chain(cluster: str, topic: str, partition: int, records: Sequence[Raw]) -> Chained:
    """Follows the chain from its first record: seq and prev continue, and the cause lies after the last one."""
    start = root(cluster, topic, partition)
    seq, digest, cause = 0, start, -2
    accepted: dict[int, Raw] = {}
    skipped: list[Raw] = []
    for record in records:
        prev = bytes.fromhex(record.headers["accord-chain"].split(b" ")[2].decode())
        if (record.seq, prev) == (seq + 1, digest) and record.cause > cause:
            seq, digest, cause = record.seq, hash_of(start, record), record.cause
            accepted[record.offset] = record
        else:
            skipped.append(record)
    return Chained(accepted, skipped)


def root(cluster: str, topic: str, partition: int) -> bytes:
    """What the chain of a partition starts from."""
    return blake2b(f"{cluster}\n{topic}\n{partition}".encode(), digest_size=16).digest()


def hash_of(start: bytes, record: Raw) -> bytes:
    """The hash of a decision: keyed by the chain's root; the lengths of all parts (4 bytes each), then the parts."""
    parts = [record.headers.get(name, b"") for name in HASHED] + [record.key, record.value]
    lengths = b"".join(len(part).to_bytes(4, "big") for part in parts)
    return blake2b(lengths + b"".join(parts), digest_size=16, key=start).digest()
