"""Kafka, as accord uses it: one place that turns settings into clients and broker errors into accord's.

All consumers read uncommitted and never move by themselves: an offset out of range is an error, since a log that was
cut or rewritten must not look like an empty one. All producers choose partitions by murmur2, like Java clients.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from accord.errors import KafkaUnreachable, LogGap
from accord.schemas import headers as h
from accord.schemas.headers import Confirmed, LogRecord, Record
from accord.schemas.position import Position
from accord.settings import KafkaSettings
from accord.streams.chain import Chain, parse

BOOTSTRAP_DEFAULT: Final = "localhost:9092"
READ_TIMEOUT_S: Final = 30.0
READ_FETCH_WAIT_MS: Final = 10
BATCH_RECORDS: Final = 2_000


def bootstrap(settings: KafkaSettings) -> str:
    """The address to use when settings name none: a plain local broker."""
    return settings.bootstrap_servers or BOOTSTRAP_DEFAULT


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """librdkafka's settings that every client shares: addresses and security.

    Its own log is off: what fails is told where it matters.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": bootstrap(settings),
        "security.protocol": settings.security_protocol,
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 1_000,
        "log_level": 0,
    }
    optional = {
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": settings.sasl_password,
        "ssl.ca.location": settings.ssl_ca_location,
        "ssl.certificate.location": settings.ssl_certificate_location,
        "ssl.key.location": settings.ssl_key_location,
    }
    return config | {name: value for name, value in optional.items() if value}


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """The settings' certificates as aiokafka wants them; None without SSL."""
    if not settings.security_protocol.endswith("SSL"):
        return None
    context = ssl.create_default_context(cafile=settings.ssl_ca_location or None)
    if settings.ssl_certificate_location:
        context.load_cert_chain(settings.ssl_certificate_location, settings.ssl_key_location or None)
    return context


def producer(settings: KafkaSettings, **config: Any) -> Producer:
    """An idempotent producer. `config` are librdkafka's names with `_` for `.`."""
    return Producer(
        client_config(settings)
        | {
            "enable.idempotence": settings.idempotent,
            "acks": "all",
            "partitioner": "murmur2_random",
            "linger.ms": 0,
            "compression.type": "lz4",
        }
        | _dotted(config)
    )


def consumer(settings: KafkaSettings, *, group: str = "accord-unused", **config: Any) -> Consumer:
    """A consumer that starts where it is told and stays there on errors."""
    return Consumer(
        client_config(settings)
        | {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_uncommitted",
            "fetch.wait.max.ms": settings.fetch_wait_ms,
            "allow.auto.create.topics": False,
        }
        | _dotted(config)
    )


def reader(settings: KafkaSettings, **config: Any) -> Consumer:
    """A consumer for `read`. A fetch left waiting at the end of one partition would hold up the next read as long."""
    wait_ms = min(settings.fetch_wait_ms, READ_FETCH_WAIT_MS)
    return consumer(settings, **{"fetch_wait_max_ms": wait_ms} | config)


def cluster_id(client: Any, settings: KafkaSettings) -> str:
    """The cluster's id, from any client.

    Raises:
        KafkaUnreachable: no broker answers within `connect_timeout_ms`.
    """
    return str(metadata(client, settings).cluster_id)


def metadata(client: Any, settings: KafkaSettings, topic: str | None = None) -> Any:
    """Cluster metadata, of one topic or all.

    Raises:
        KafkaUnreachable: no broker answers within `connect_timeout_ms`.
    """
    try:
        return client.list_topics(topic, timeout=settings.connect_timeout_ms / 1_000)
    except KafkaException as error:
        raise unreachable(settings) from error


def unreachable(settings: KafkaSettings) -> KafkaUnreachable:
    """The error of a broker that does not answer."""
    return KafkaUnreachable(
        f"no broker at {bootstrap(settings)} (ACCORD_KAFKA__BOOTSTRAP_SERVERS) in "
        f"{settings.connect_timeout_ms / 1_000:g} s.",
        remedy="Start one: docker compose up -d. Without Kafka: accord.local().",
    )


def as_record(message: Message) -> LogRecord:
    """A message of confluent-kafka as plain data."""
    kind, timestamp = message.timestamp()
    offset: Any = message.offset()
    headers: Any = message.headers() or ()
    return LogRecord(offset, timestamp, _TIMESTAMP_TYPES[kind], message.key(), message.value(), headers)


_TIMESTAMP_TYPES: Final = (0, 0, h.LOG_APPEND_TIME)
"""By confluent-kafka's: not available, the producer's, the broker's."""


def bounds(client: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """First offset and end (one past the last) of a partition.

    Raises:
        KafkaUnreachable: no answer for `READ_TIMEOUT_S`. A topic just made has no leader for a moment; that is waited
            for.
    """
    deadline = time.monotonic() + READ_TIMEOUT_S
    while True:
        try:
            where = TopicPartition(topic, partition)
            low, high = client.get_watermark_offsets(where, timeout=READ_TIMEOUT_S, cached=False)
            return int(low), int(high)
        except KafkaException as error:
            if not _passes(error.args[0]) or time.monotonic() > deadline:
                raise KafkaUnreachable(f"{topic}/{partition}: {error.args[0].str()}") from error
            time.sleep(0.05)


def _passes(error: KafkaError) -> bool:
    """Whether a partition that has no leader, or a new one, explains the error."""
    return error.retriable() or error.code() in (
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
    )


def read(client: Consumer, topic: str, partition: int, start: int, end: int) -> Iterator[LogRecord]:
    """The records of `[start, end)` in order. `client` is assigned to nothing else meanwhile.

    Raises:
        LogGap: `start` is below the log's start, or the log changed while reading.
        KafkaUnreachable: no record for `READ_TIMEOUT_S`.
    """
    if start >= end:
        return
    client.assign([TopicPartition(topic, partition, start)])
    try:
        yield from _records(client, topic, partition, end)
    finally:
        client.unassign()


def _records(client: Consumer, topic: str, partition: int, end: int) -> Iterator[LogRecord]:
    deadline = time.monotonic() + READ_TIMEOUT_S
    offset = -1
    while offset < end - 1:
        before = offset
        wanted = min(BATCH_RECORDS, end - 1 - offset)
        messages = client.consume(wanted, timeout=0.05) if offset >= 0 else [client.poll(0.5)]
        for message in messages:
            if message is None or message.topic() != topic or message.partition() != partition:
                continue
            error = message.error()
            if error is None:
                record = as_record(message)
                offset = record.offset
                if offset >= end:
                    return
                yield record
            elif error.code() in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):
                raise LogGap(f"{topic}/{partition}: {error.str()}; the log was cut or rewritten.")
            elif not error.retriable() and error.code() != KafkaError._TRANSPORT and error.fatal():
                raise KafkaUnreachable(f"{topic}/{partition}: {error.str()}")
        if offset > before:
            deadline = time.monotonic() + READ_TIMEOUT_S
        elif time.monotonic() > deadline:
            raise KafkaUnreachable(f"{topic}/{partition}: no record after offset {offset} for {READ_TIMEOUT_S:g} s.")


def offset_at(client: Consumer, topic: str, partition: int, root: bytes, at_ms: int) -> int:
    """Where a partition of events begins that was decided at a time or later, by its clock; its end if there is none.

    The clock never falls from one decision to the next, so it is searched by halves, a record at a time. What is no
    decision counts by the broker's time of it.

    Args:
        root: the genesis of the partition.
        at_ms: in ms since 1970.

    Raises:
        LogGap: the log changed while reading; KafkaUnreachable: no record for `READ_TIMEOUT_S`.
    """
    low, high = bounds(client, topic, partition)
    while low < high:
        middle = (low + high) // 2
        (record,) = read(client, topic, partition, middle, middle + 1)
        try:
            now_ms = parse(root, record).now_ms
        except (ValueError, KeyError):
            now_ms = record.timestamp
        low, high = (middle + 1, high) if now_ms < at_ms else (low, middle)
    return low


def anchor(client: Consumer, topic: str, partition: int, root: bytes, at: int | None = None) -> tuple[Chain, int]:
    """Where a reader starts that wants only what stands at `at` and later: a chain and the offset to read from.

    Without `at`, that is what comes from now on. The last record up to there names a decision that its writer had seen
    confirmed; the chain starts there. If it names none, the log is read from its first decision.

    Raises:
        LogGap: the log does not reach back, or not on, to where it should.
    """
    return anchor_in(partial(bounds, client), partial(read, client), topic, partition, root, at)


def anchor_in(
    bounds: Callable[[str, int], tuple[int, int]],
    read: Callable[[str, int, int, int], Iterable[Record]],
    topic: str,
    partition: int,
    root: bytes,
    at: int | None = None,
) -> tuple[Chain, int]:
    """The same for whatever log these two functions read; see `anchor`."""
    low, high = bounds(topic, partition)
    if at is not None:
        if not low <= at <= high:
            raise LogGap(
                f"{topic}/{partition} goes from offset {low} to {high}; {at} is needed. It was cut or rewritten."
            )
        high = min(high, at + 1)
    if high > low:
        for record in read(topic, partition, high - 1, high):
            try:
                confirmed: Confirmed | None = parse(root, record).confirmed
            except (ValueError, KeyError):
                confirmed = None
            if confirmed is not None and confirmed.offset >= low:
                return Chain.anchored(root, confirmed), confirmed.offset
    if low > 0:
        raise LogGap(
            f"{topic}/{partition} starts at offset {low}, so its chain cannot be followed from the first decision.",
            remedy="Events topics must never be cut: set retention.ms to -1.",
            position=str(Position(topic.split(".")[-3], partition, low)),
        )
    return Chain(root), low


def _dotted(config: dict[str, Any]) -> dict[str, Any]:
    return {name if name.endswith("_cb") else name.replace("_", "."): value for name, value in config.items()}


END: Final = OFFSET_END
