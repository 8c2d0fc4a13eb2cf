"""The commands of a worker's partitions, from Kafka to its event loop, in batches.

Faust's consumer is the member of the group and reads the tables' changelogs, but fetches no commands: its way from the
socket to an agent, through a second event loop, a queue of calls and a stream, costs a command that comes alone three
times what its decision costs. Here librdkafka fetches, one thread takes over what there is, and hands it on at once.

Rules that hold here:

- A batch is never empty, holds one partition, and its offsets have no gap.
- A batch carries the epoch of its partition's last seek, so what was read before a seek can be told apart.
- Only partitions that were sought are read, until they are closed.
- From an offset that the log does not have, reading goes on at the log's first: the receiver sees that it is another.
- Bound: while `WAITING_MAX` records were handed over and not done with, nothing more is; librdkafka then holds up to
  `QUEUED_KBYTES_MAX`. Meanwhile records gather, so batches grow with the load.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, cast

from accord.schemas.headers import Record
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from faust.types import TP

from accord import logs
from accord.kafka import as_record

logger = logs.get("accord.worker")

POLL_S: Final = 0.05
"""How soon a seek is seen."""
WAITING_MAX: Final = 8_000
QUEUED_KBYTES_MAX: Final = 16_384
LEARN_S: Final = 2.0
STOP_S: Final = 5.0
PASSING_ERRORS: Final = (
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError._TIMED_OUT,
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)


class Batch(NamedTuple):
    """Consecutive records of one partition."""

    tp: TP
    epoch: int
    """Count of the seeks of this partition before it was read."""
    records: list[Record]


class CommandReader:
    """Reads partitions in a thread of its own. All but the thread's own methods belong to the running event loop.

    Args:
        config: librdkafka's settings: addresses and security.
        fetch_wait_ms: how long a broker may hold a fetch that has nothing to return, in ms.
        fetch_bytes_max: most bytes that a fetch takes from a partition.
        batch_records_max: most records that are handed over at once, over all partitions.
        deliver: called on the event loop with what was read; `done` is to be called when a batch was dealt with.
        fail: called from the thread with what ended it.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        fetch_wait_ms: int,
        fetch_bytes_max: int,
        batch_records_max: int,
        deliver: Callable[[list[Batch]], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._consumer = Consumer(
            {
                "log_level": 0,
                **config,
                "group.id": "accord-unused",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_uncommitted",
                "allow.auto.create.topics": False,
                "fetch.wait.max.ms": fetch_wait_ms,
                "fetch.message.max.bytes": fetch_bytes_max,
                "fetch.error.backoff.ms": 20,  # a topic just made has no leader for a moment
                "fetch.queue.backoff.ms": 1,  # librdkafka would look a second later whether there is room again
                "queued.max.messages.kbytes": QUEUED_KBYTES_MAX,
            }
        )
        self._batch_records_max = batch_records_max
        self._deliver = deliver
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Condition()
        self._waiting = 0
        self._stopping = False
        self._wanted: dict[TP, tuple[int, int] | None] = {}
        """What the thread has still to seek or close: offset and epoch, or None."""
        self._epochs: dict[TP, int] = {}
        """Of what is read; the thread's own."""
        self._known: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="accord-commands", daemon=True)
        self._thread.start()

    def seek(self, tp: TP, offset: int, epoch: int) -> None:
        """Read a partition from here on, and label what is read with this epoch."""
        with self._lock:
            self._wanted[tp] = offset, epoch

    def close_partition(self, tp: TP) -> None:
        """Read no more of a partition."""
        with self._lock:
            self._wanted[tp] = None

    def done(self, batch: Batch) -> None:
        """A batch was dealt with: there is room for as many records more."""
        with self._lock:
            self._waiting -= len(batch.records)
            self._lock.notify()

    def end(self, tp: TP) -> int | None:
        """One past the last record of a partition that is read, as the last fetch told it; None: none has."""
        with self._lock:  # it is not closed meanwhile
            if self._stopping:
                return None
            try:
                _, end = self._consumer.get_watermark_offsets(TopicPartition(tp.topic, tp.partition), cached=True)
            except KafkaException:  # it is not read
                return None
        return end if end >= 0 else None

    def stop(self) -> None:
        """End the thread. Blocks until it has ended."""
        with self._lock:
            self._stopping = True
            self._lock.notify()
        self._thread.join(STOP_S)

    # -- the thread

    def _run(self) -> None:
        try:
            while self._may_read():
                if batches := self._read():
                    self._loop.call_soon_threadsafe(self._deliver, batches)
        except Exception as error:
            if not self._stopping:
                self._fail(error)
        finally:
            with self._lock:
                self._stopping = True
            self._consumer.close()

    def _may_read(self) -> bool:
        """Waits for room, then seeks what is to be sought. False: it is over."""
        with self._lock:
            self._lock.wait_for(lambda: self._stopping or self._waiting < WAITING_MAX)
            wanted, self._wanted = self._wanted, {}
        if left := [TopicPartition(*tp) for tp in wanted if self._epochs.pop(tp, None) is not None]:
            self._consumer.incremental_unassign(left)
        sought = {tp: place for tp, place in wanted.items() if place is not None}
        if sought:
            self._learn({tp.topic for tp in sought})
            self._epochs.update({tp: epoch for tp, (_, epoch) in sought.items()})
            self._consumer.incremental_assign([TopicPartition(*tp, offset) for tp, (offset, _) in sought.items()])
        return not self._stopping

    def _learn(self, topics: set[str]) -> None:
        """Asks where topics are; left to itself, librdkafka does so up to a second later."""
        if not topics <= self._known:
            with suppress(KafkaException):  # a broker that is away is waited for
                self._known = set(self._consumer.list_topics(timeout=LEARN_S).topics)

    def _read(self) -> list[Batch]:
        """What there is by now; waits a moment for the first."""
        message = self._consumer.poll(POLL_S)
        if message is None:
            return []
        batches: list[Batch] = []
        last: dict[tuple[str | None, int | None], Batch] = {}
        for found in (message, *self._consumer.consume(self._batch_records_max - 1, 0)):
            if (error := found.error()) is not None:
                self._report(error, found)
                continue
            place, record = (found.topic(), found.partition()), as_record(found)
            batch = last.get(place)
            if batch is not None and batch.records[-1].offset + 1 == record.offset:
                batch.records.append(record)
                continue
            tp = TP(*cast(tuple[str, int], place))
            if (epoch := self._epochs.get(tp)) is not None:
                last[place] = batch = Batch(tp, epoch, [record])
                batches.append(batch)
        with self._lock:
            self._waiting += sum(len(batch.records) for batch in batches)
        return batches

    def _report(self, error: KafkaError, found: Message) -> None:
        """librdkafka goes on by itself after all but a fatal error, and a missing permission."""
        if error.fatal() or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise KafkaException(error)
        if error.code() not in PASSING_ERRORS:
            logger.warning("commands", topic=found.topic(), partition=found.partition(), error=error.str())
