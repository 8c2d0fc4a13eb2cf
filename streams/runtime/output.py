"""What a worker writes: decisions, ticks and dead letters, through one idempotent producer.

A fatal producer error makes a new producer; whatever the old one still held is reported as failed, so every partition
that had decisions under way finds out from the log. Delivery reports arrive on the event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final

from accord.schemas.headers import Headers
from confluent_kafka import KafkaException, Message, Producer

from accord import logs
from accord.kafka import producer
from accord.settings import Settings

logger = logs.get("accord.worker")

POLL_S: Final = 0.1
FLUSH_S: Final = 5.0
BUFFERED_MAX: Final = 200_000
"""Records in the producer's queue; `produce` waits at the bound. The partitions' own bounds lie below it."""
MESSAGE_TIMEOUT_MS: Final = 30_000
"""After this long a record counts as not delivered. Its partition then reads the log to find out."""

IN_FLIGHT_MAX: Final = 2
"""Produce requests under way to one broker. While they are, the next decisions gather into one request: a burst of 128
takes three requests instead of ten, and a decision that comes alone still leaves at once."""

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
        self._producer = self._new()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="accord-output", daemon=True)
        self._thread.start()

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes,
        headers: Headers,
        report: Report | None = None,
        *,
        only_failure: bool = False,
    ) -> None:
        """Enqueues a record.

        Args:
            report: called once, if given.
            only_failure: `report` is not called for a record that was delivered: a call costs more than the record.
        """
        options: dict[str, Any] = {"headers": headers}
        if report is not None:
            options["on_delivery"] = self._callback(report, only_failure)
        if self._timestamp_ms is not None:
            options["timestamp"] = self._timestamp_ms()
        while True:
            try:
                self._producer.produce(topic, value, key, partition, **options)
                return
            except BufferError:
                self._producer.poll(POLL_S)
            except KafkaException as error:
                if not error.args[0].fatal():
                    raise
                self.renew()

    def renew(self) -> None:
        """Replaces the producer after a fatal error."""
        logger.warning("producer failed for good, making a new one")
        old, self._producer = self._producer, self._new()
        old.purge()
        old.flush(FLUSH_S)

    def close(self) -> None:
        """Sends what is queued, for at most `FLUSH_S` seconds."""
        self._stopping.set()
        self._thread.join()
        self._producer.flush(FLUSH_S)

    def _new(self) -> Producer:
        return producer(
            self._settings.kafka,
            message_timeout_ms=MESSAGE_TIMEOUT_MS,
            max_in_flight=IN_FLIGHT_MAX,
            queue_buffering_max_messages=BUFFERED_MAX,
        )

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(POLL_S)

    def _callback(self, report: Report, only_failure: bool) -> Callable[[Any, Message], None]:
        def on_delivery(error: Any, message: Message) -> None:
            offset = None if error is not None else message.offset()
            if offset is not None and offset < 0:
                offset = None  # acknowledged as a duplicate: where it lies is unknown
            if only_failure and offset is not None:
                return
            if error is not None:
                logger.warning("record not delivered", topic=message.topic(), error=error.str())
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(report, offset)

        return on_delivery
