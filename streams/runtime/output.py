"""What a worker writes: decisions, ticks and dead letters, through one idempotent producer.

Records of one partition arrive in the order in which they were sent, and without a gap: a failure that would leave one
is fatal to the producer and fails all that follow. So the report of a record speaks for those before it. A fatal error
makes a new producer; whatever the old one still held is reported as failed, so every partition that had decisions
under way finds out from the log. Delivery reports arrive on the event loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from accord.schemas.headers import Headers
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from accord import logs
from accord.kafka import producer
from accord.settings import Settings

logger = logs.get("accord.worker")

POLL_S: Final = 0.1
FULL_S: Final = 0.01
FLUSH_S: Final = 5.0
BUFFERED_MAX: Final = 200_000
"""Records in the producer's queue; `produce` waits at the bound. The partitions' own bounds lie below it."""
NO_TIMEOUT: Final = 0
"""A record waits for its broker as long as it takes: one that was given up would be a gap before the next."""

IN_FLIGHT_MAX: Final = 2
"""Produce requests under way to one broker. While they are, the next decisions gather into one request: a burst of 128
takes three requests instead of ten, and a decision that comes alone still leaves at once."""

Outgoing = tuple[bytes, bytes, Headers]
"""Key, value, headers."""
Report = Callable[[int | None], None]
"""Called on the event loop with the record's offset, or None when it failed or is unknown."""


class Output:
    """The worker's producer.

    Args:
        settings: whose brokers.
        timestamp_ms: the time to put on records; None leaves it to Kafka.
    """

    def __init__(self, settings: Settings, timestamp_ms: Callable[[], int] | None = None) -> None:
        self._settings = settings
        self._timestamp_ms = timestamp_ms
        self._loop = asyncio.get_running_loop()
        self.number = 0
        self._producer = self._new()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="accord-output", daemon=True)
        self._thread.start()

    def send(
        self, topic: str, partition: int, key: bytes, value: bytes, headers: Headers, report: Report | None = None
    ) -> None:
        """Enqueues one record."""
        self.send_all(topic, partition, [(key, value, headers)], report)

    def send_all(self, topic: str, partition: int, records: Sequence[Outgoing], report: Report | None = None) -> None:
        """Enqueues records of one partition, through one producer; if that fails on the way, the rest is not sent.

        Args:
            report: called once, with the offset of the last record. It speaks for all, and costs as much as one.
        """
        number = self.number
        produce: Callable[..., None] = self._producer.produce  # its stub wants headers whose values may be None
        options: dict[str, Any] = {}
        left = len(records)
        for key, value, headers in records:
            left -= 1
            if left == 0 and report is not None:
                options["on_delivery"] = self._callback(report)
            if self._timestamp_ms is not None:
                options["timestamp"] = self._timestamp_ms()
            while True:
                try:
                    produce(topic, value, key, partition, headers=headers, **options)
                    break
                except BufferError:
                    time.sleep(FULL_S)
                except KafkaException as error:
                    if error.args[0].code() != KafkaError._FATAL:
                        raise
                    self._renew(number)
                    if report is not None:
                        self._loop.call_soon(report, None)
                    return

    def probe(self, topic: str, timeout_s: float) -> None:
        """Asks the brokers for a topic that exists; blocks. Raises KafkaException: none answers in time."""
        self._producer.list_topics(topic, timeout_s)

    def close(self) -> None:
        """Sends what is queued, for at most `FLUSH_S` seconds."""
        self._stopping.set()
        self._thread.join()
        with suppress(KafkaException):
            self._producer.flush(FLUSH_S)

    def _new(self) -> Producer:
        return producer(
            self._settings.kafka,
            enable_gapless_guarantee=self._settings.kafka.idempotent,
            message_timeout_ms=NO_TIMEOUT,
            max_in_flight=IN_FLIGHT_MAX,
            queue_buffering_max_messages=BUFFERED_MAX,
        )

    def _renew(self, number: int) -> None:
        """Replaces the producer of this number, if nobody has: after a fatal error."""
        if number != self.number:
            return
        logger.warning("producer failed for good, making a new one")
        old, self._producer = self._producer, self._new()
        self.number += 1
        old.purge()
        with suppress(KafkaException):
            old.flush(FLUSH_S)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            polled, number = self._producer, self.number
            try:
                polled.poll(POLL_S)
            except KafkaException:  # raised for a fatal error alone, once
                if not self._loop.is_closed():
                    self._loop.call_soon_threadsafe(self._renew, number)

    def _callback(self, report: Report) -> Callable[[Any, Message], None]:
        def on_delivery(error: Any, message: Message) -> None:
            offset = None if error is not None else message.offset()
            if offset is not None and offset < 0:
                offset = None  # acknowledged as a duplicate: where it lies is unknown
            if error is not None:
                logger.warning("record not delivered", topic=message.topic(), error=error.str())
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(report, offset)

        return on_delivery
