"""Faust's aiokafka transport, changed to hand over a partition's records in batches.

Faust passes records to a stream one at a time; its loop is then the ceiling (about 14,000 records/s a
core). Here a *batch topic* gives one Faust message a fetched partition batch instead: the value is a
`Batch`, the offset is the last record's. Every other topic, and with them the changelog topics that Faust's
table recovery reads, keeps one message a record.

Rules that hold here:

- A batch is never empty, holds one partition, and is in offset order.
- What is committed for a batch topic is `BatchConsumer.next_offset`, which moves only when a batch has been
  processed. Faust's own acknowledgements go on, but decide nothing: it also acknowledges what an agent failed on
  or what a stream skipped.
- Whenever Faust seeks to the committed offsets (after an assignment, or when it threw records away), a
  partition with a known `next_offset` goes there instead: nothing is repeated and nothing is skipped.
- A batch carries the epoch of its partition's last seek, so what was fetched before a seek can be told apart.
- A batch partition is fetched only while it is open. Between the assignment and the end of the recovery Faust
  resumes, seeks, and empties its queues, in an order that loses records fetched meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any, ClassVar, NamedTuple, cast

import faust
from accord.schemas.headers import Record
from aiokafka import AIOKafkaConsumer, errors
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import KafkaError
from faust.transport.consumer import ensure_TP, ensure_TPset
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service

WATCH_INTERVAL_S = 0.25
THREAD_STOP_TIMEOUT_S = 1.5
COMMIT_TIMEOUT_S = 1.0
"""For commits on which others wait; a commit is a hint. aiokafka by itself tries without end."""
GROUP_ERRORS_MAX, GROUP_ERRORS_WINDOW_S = 5, 60.0
"""So many errors of the group in so short a time are a failure; fewer are another attempt to join."""
FATAL_GROUP_ERRORS = (
    errors.GroupAuthorizationFailedError,
    errors.TopicAuthorizationFailedError,
    errors.InconsistentGroupProtocolError,
    errors.InvalidGroupIdError,
    errors.InvalidSessionTimeoutError,
)


class Batch(NamedTuple):
    """Consecutive records of one partition, as aiokafka fetched them."""

    epoch: int
    """Count of the seeks of this partition before the fetch."""
    partition: int
    records: list[Record]


class BatchSchema(faust.Schema[None, Batch]):
    """Passes a `Batch` to the stream untouched; decoding is the reader's."""

    def compile(self, app: Any, **_: Any) -> Any:
        """Replaces faust/serializers/schemas.py:Schema.compile, which would decode key and value."""
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return create_event(None, message.value, None, message)

        return decode


def _unchanged(_: Any, record: Any) -> Any:
    return record


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that owns the aiokafka consumer."""

    logger = driver.logger  # mode/services.py:Service would take one named after this module

    @Service.task
    async def _watch_aiokafka(self) -> None:
        """Pass on what aiokafka's background tasks report.

        aiokafka stops its group coordination after an error until its user calls `check_errors`, as its
        `getmany` does. Faust fetches past `getmany`: without this, a worker whose group had one bad answer would
        sit there for ever, silent and without partitions.
        """
        times: deque[float] = deque(maxlen=GROUP_ERRORS_MAX)
        while not self.should_stop:
            await self.sleep(WATCH_INTERVAL_S)
            consumer = self._ensure_consumer()
            if consumer._fetcher._fetch_task.done() and not self.should_stop:
                raise KafkaError("aiokafka's fetcher ended")
            try:
                consumer._coordinator.check_errors()
            except KafkaError as error:
                times.append(monotonic())
                many = len(times) == GROUP_ERRORS_MAX and times[-1] - times[0] < GROUP_ERRORS_WINDOW_S
                ended = consumer._coordinator._coordination_task.done()
                if many or ended or isinstance(error, FATAL_GROUP_ERRORS):
                    raise
                self.log.warning("group %s: %r; joining again", self.app.conf.id, error)

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        """Faust hard-codes fetch_max_wait_ms=1500 here and aiokafka reads it only in `start()`."""
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = transport.fetch_wait_ms
        return consumer

    async def on_thread_stop(self) -> None:
        """Without a broker aiokafka's consumer may not stop, or let the cancellation of its own tasks out."""
        with contextlib.suppress(asyncio.CancelledError, asyncio.TimeoutError):
            await asyncio.wait_for(super().on_thread_stop(), THREAD_STOP_TIMEOUT_S)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Called by aiokafka before it can send a fetch for the new assignment."""
        consumer = self._ensure_consumer()
        consumer.pause(*consumer.assignment())
        await super().on_partitions_assigned(assigned, generation_id)

    async def _fetch_records(self, consumer: AIOKafkaConsumer, *args: Any, **kwargs: Any) -> Mapping[TP, list[Any]]:
        batching = cast(BatchConsumer, self.consumer)
        if batching.pauses_changed:
            await self._apply_pauses()
        for tp, fetched in consumer._fetcher._records.items():
            if tp.topic in batching.transport.batch_topics and isinstance(fetched, FetchResult):
                # Records as the compiled parser makes them: a `ConsumerRecord` each would cost as much again.
                fetched._partition_records._consumer_record = _unchanged
        return await super()._fetch_records(consumer, *args, **kwargs)

    async def apply_pauses(self) -> None:
        """Tell aiokafka what to fetch now; a fetch that waits for records takes no notice of Faust until its end."""
        await self.call_thread(self._apply_pauses)

    async def _apply_pauses(self) -> None:
        """Faust only passes over the records of a paused partition; aiokafka would go on fetching it.

        A worker's own changelog writes would come back to it, stay in memory, and hold up the commands' next
        fetch for 0.1 s.
        """
        consumer, batching = self._ensure_consumer(), cast(BatchConsumer, self.consumer)
        batching.pauses_changed = False
        wanted = {tp for tp in consumer.assignment() if batching.is_wanted(ensure_TP(tp))}
        consumer.pause(*(consumer.assignment() - wanted - consumer.paused()))
        consumer.resume(*(consumer.paused() & wanted))

    async def rejoin(self) -> None:
        """Have the group assign again, with fresh knowledge of the topics."""
        await self.call_thread(self._rejoin)

    async def _rejoin(self) -> None:
        consumer = self._ensure_consumer()
        await consumer._client.force_metadata_update()
        consumer._coordinator.request_rejoin()

    async def committed_or_earliest(self, tps: Iterable[TP]) -> dict[TP, int]:
        """The group's committed offset of each partition, where there is none the first offset of the log."""
        return cast(dict[TP, int], await self.call_thread(self._committed_or_earliest, list(tps)))

    async def _committed_or_earliest(self, tps: list[TP]) -> dict[TP, int]:
        consumer = self._ensure_consumer()
        named = [driver.ensure_aiokafka_TP(tp) for tp in tps]
        committed = {tp: await consumer.committed(tp) for tp in named}
        earliest = await consumer.beginning_offsets([tp for tp, offset in committed.items() if offset is None])
        return {ensure_TP(tp): earliest[tp] if offset is None else offset for tp, offset in committed.items()}

    async def seek_to_committed_or(self, known: Mapping[TP, int]) -> Mapping[TP, int]:
        """Seek to `known` where given, elsewhere to the group's committed offset; returns the offsets."""
        return cast(Mapping[TP, int], await self.call_thread(self._seek_to_committed_or, known))

    async def _seek_to_committed_or(self, known: Mapping[TP, int]) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        others = [tp for tp in assigned if ensure_TP(tp) not in known]
        offsets = dict(await consumer.seek_to_committed(*others)) if others else {}
        for tp in assigned:
            if (offset := known.get(ensure_TP(tp))) is not None:
                consumer.seek(tp, offset)
                offsets[tp] = offset
        return offsets


class ReadOffsets(defaultdict[TP, int | None]):
    """The offset that Faust last took from a partition, unknown for batch topics.

    faust/transport/consumer.py:Consumer._drain_messages drops, in silence, what lies before it, and after a seek
    may still set it to where it was before: the records after the seek would be lost. Epochs do that work.

    Args:
        batch_topics: topics whose partitions have no read offset.
    """

    def __init__(self, batch_topics: frozenset[str]) -> None:
        super().__init__(lambda: None)
        self._batch_topics = batch_topics

    def __getitem__(self, tp: TP) -> int | None:
        return None if tp.topic in self._batch_topics else super().__getitem__(tp)


class BatchConsumer(driver.Consumer):
    """Faust's consumer with batch topics."""

    logger = driver.logger
    transport: BatchTransport
    _thread: BatchConsumerThread

    next_offset: dict[TP, int]
    """Where to read on, by batch partition: one past the last processed record. Also what is committed."""

    epoch: defaultdict[TP, int]
    """Count of seeks, by batch partition."""

    open_partitions: set[TP]
    """Batch partitions that are fetched and delivered."""

    pauses_changed = True
    """Whether partitions were paused, resumed, opened or closed since the last fetch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.next_offset = {}
        self.epoch = defaultdict(int)
        self.open_partitions = set()
        super().__init__(*args, **kwargs)
        self._read_offset = ReadOffsets(self.transport.batch_topics)

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        super().pause_partitions(tps)
        self.pauses_changed = True

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        super().resume_partitions(tps)
        self.pauses_changed = True

    def on_buffer_full(self, tp: TP) -> None:
        """Called by faust/transport/conductor.py when a stream's queue fills.

        Faust would leave the partition out of its next fetches; a fetch under way waits up to a second for the others,
        with the partition's records at hand. A full queue holds the reader up anyway.
        """
        if tp.topic not in self.transport.batch_topics:
            super().on_buffer_full(tp)

    def is_wanted(self, tp: TP) -> bool:
        """Whether aiokafka is to fetch an assigned partition."""
        if tp.topic in self.transport.batch_topics:
            return tp in self.open_partitions
        return tp in self._get_active_partitions()

    async def open(self, tps: set[TP]) -> None:
        """Fetch batch partitions, each from its `next_offset`."""
        await self.rewind({tp: self.next_offset[tp] for tp in tps})
        self.open_partitions |= tps
        await self._thread.apply_pauses()

    def close_partitions(self, tps: set[TP]) -> None:
        """Fetch no more of batch partitions."""
        self.open_partitions -= tps
        self.pauses_changed = True

    async def rejoin(self) -> None:
        """Have the group assign again, with fresh knowledge of the topics."""
        await self._thread.rejoin()

    def knows(self, topic: str) -> bool:
        """Whether this client's metadata has the topic; Faust's `topic_partitions` knows only of the last join."""
        return bool(self._thread._ensure_consumer()._client.cluster.partitions_for_topic(topic))

    async def starts(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Where the group would read on: the committed offset, else the log's start."""
        return await self._thread.committed_or_earliest(tps)

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109
    ) -> Mapping[TP, list[Any]]:
        """faust/transport/consumer.py:Consumer._wait_next_records takes {partition: records} from here."""
        records = await super()._getmany(active_partitions, timeout)
        batch_topics = self.transport.batch_topics
        return {
            tp: [Batch(self.epoch[ensure_TP(tp)], tp.partition, batch)] if tp.topic in batch_topics else batch
            for tp, batch in records.items()
        }

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if type(record) is not Batch:
            return super()._to_message(tp, record)
        last = record.records[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            None,
            None,
            cast(Any, record),
            None,
            0,
            0,
            tp,
            # faust/streams.py:Stream._py_aiter skips, in silence, a message of another generation.
            generation_id=self.app.consumer_generation_id,
        )

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Called by faust/transport/consumer.py:Consumer.perform_seek, on resumption and after lost records."""
        assigned = self.assignment()
        known = {tp: offset for tp, offset in self.next_offset.items() if tp in assigned}
        offsets = await self._thread.seek_to_committed_or(known)
        for tp in known:
            self.epoch[tp] += 1
        return offsets

    async def rewind(self, offsets: Mapping[TP, int]) -> None:
        """Read partitions from these offsets on; batches fetched before keep the old epoch."""
        self.next_offset.update(offsets)
        await self.seek_wait(offsets)
        # The consumer's thread answers in order: what it fetched before the seek has been wrapped by now.
        for tp in offsets:
            self.epoch[tp] += 1

    def _new_offset(self, tp: TP) -> int | None:
        """The offset to commit: Faust's walks a list of every acknowledged offset and fills the gaps between."""
        if tp.topic not in self.transport.batch_topics:
            return super()._new_offset(tp)
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.next_offset.get(tp)

    async def commit_next(self) -> None:
        """Commit `next_offset` of every assigned batch partition now, if the broker answers soon."""
        assigned = ensure_TPset(self.assignment())
        offsets = {tp: offset for tp, offset in self.next_offset.items() if tp in assigned}
        if offsets:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._thread.commit(offsets), COMMIT_TIMEOUT_S)

    async def commit_and_end_transactions(self) -> None:
        """faust/transport/consumer.py:Consumer.on_stop would wait here for as long as the broker is away."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(super().commit_and_end_transactions(), COMMIT_TIMEOUT_S)


class BatchTransport(driver.Transport):
    """Faust's aiokafka transport with batch topics and a fetch wait.

    Args:
        url: the brokers, as faust.App's setting `broker` takes them.
        app: the Faust app.
        batch_topics: names of the topics whose records come in batches.
        fetch_wait_ms: how long a broker may hold a fetch that has nothing to return, in ms.
    """

    Consumer: ClassVar[type[BatchConsumer]] = BatchConsumer

    def __init__(self, url: Any, app: Any, *, batch_topics: frozenset[str], fetch_wait_ms: int) -> None:
        self.batch_topics = batch_topics
        self.fetch_wait_ms = fetch_wait_ms
        super().__init__(url, app)
