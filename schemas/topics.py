"""The topic table: every topic's key, partitions, retention, clock and cleanup, and how keys find a partition.

A domain has two topics: `PREFIX.DOMAIN.commands.v1` (questions) and `PREFIX.DOMAIN.events.v1` (answers: the only
truth, never compacted, never expired by default). `PREFIX.dlq.v1` and `PREFIX.inbox.v1` are derived from the events;
the inbox need not be there: workers write to it if it is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

DOMAINS: Final = (
    "locks", "signals", "limits", "waits", "tasks", "roster", "llm", "proposals", "auctions", "hierarchy", "state",
    "transactions",
    "conflicts", "triggers", "sagas",
)  # fmt: skip
"""Domains in the order in which tables list them; `accord.streams.domains` has their deciders."""
ESSENTIAL: Final = ("locks", "limits", "tasks", "roster")
"""Who holds what, who does what: a worker takes these on before all others. Nothing in them waits for another domain,
so they go on while others are off."""

DAY_MS: Final = 24 * 3_600_000
KEY_BYTES_MAX: Final = 255
PARTITIONS_DEFAULT: Final = 6
COMMANDS_RETENTION_MS: Final = 30 * DAY_MS
"""How far back `verify` can re-decide; events stay."""
DEADLETTERS_RETENTION_MS: Final = 90 * DAY_MS
INBOX_PARTITIONS_DEFAULT: Final = 128
"""A client reads the notices of all whose names fall into its partition: for each of its own about clients / partitions
of others."""
INBOX_RETENTION_MS: Final = 3_600_000
"""A notice is read at once or never: who comes later reads from the end."""
SEGMENTS_A_RETENTION: Final = 6
"""Brokers delete whole segments alone, and none that is written to."""
DECISION_BYTES_MAX: Final = 900_000
"""Largest value of a decision: with its headers below the limits of librdkafka (1,000,000) and of the broker
(1,048,588). A decision beyond it becomes `CommandRejected(too_large)`. Part of the rules: never change it."""


class Topic(NamedTuple):
    """One row of the topic table. `retention_ms` -1 is for ever."""

    name: str
    key: str
    partitions: int
    retention_ms: int
    cleanup: str = "delete"
    timestamps: str = "LogAppendTime"

    @property
    def config(self) -> dict[str, str]:
        """The topic's settings on the broker."""
        config = {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            "retention.bytes": "-1",
            "message.timestamp.type": self.timestamps,
        }
        if 0 < self.retention_ms < DAY_MS:
            config["segment.ms"] = str(self.retention_ms // SEGMENTS_A_RETENTION)
        return config


def commands_topic(domain: str, prefix: str = "accord") -> str:
    return f"{prefix}.{domain}.commands.v1"


def events_topic(domain: str, prefix: str = "accord") -> str:
    return f"{prefix}.{domain}.events.v1"


def deadletters_topic(prefix: str = "accord") -> str:
    return f"{prefix}.dlq.v1"


def inbox_topic(prefix: str = "accord") -> str:
    return f"{prefix}.inbox.v1"


def topic_table(
    prefix: str = "accord",
    partitions: int = PARTITIONS_DEFAULT,
    domains: tuple[str, ...] = DOMAINS,
    inbox_partitions: int = 0,
) -> list[Topic]:
    """Every topic that clients and workers meet; the workers' changelogs are their own affair.

    Args:
        inbox_partitions: 0 is without an inbox.
    """
    rows = []
    for domain in domains:
        rows.append(Topic(commands_topic(domain, prefix), "aggregate id", partitions, COMMANDS_RETENTION_MS))
        rows.append(Topic(events_topic(domain, prefix), "aggregate id", partitions, -1))
    rows.append(Topic(deadletters_topic(prefix), "position of the decision", 1, DEADLETTERS_RETENTION_MS))
    if inbox_partitions:
        rows.append(Topic(inbox_topic(prefix), "addresses of agents", inbox_partitions, INBOX_RETENTION_MS))
    return rows


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partition_count: int) -> int:
    """The partition of a key, as Java clients and librdkafka's `murmur2_random` choose it."""
    return (murmur2(key) & 0x7FFFFFFF) % partition_count


def murmur2(data: bytes) -> int:
    """MurmurHash2, 32 bit, with Kafka's seed (org.apache.kafka.common.utils.Utils.murmur2)."""
    length = len(data)
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ length
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if length & 3:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15
