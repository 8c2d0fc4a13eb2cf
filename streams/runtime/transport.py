"""Faust's aiokafka transport, changed to be the member of the group and to read changelogs, and no more.

The *command topics* are subscribed, so that their partitions are assigned, and never fetched: that is
`accord.streams.runtime.commands`. What is committed for them is `GroupConsumer.next_offset`, which moves only when a
batch has been processed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any, ClassVar, cast

from aiokafka import AIOKafkaConsumer, errors
from aiokafka.errors import KafkaError
from faust.transport.consumer import ensure_TP, ensure_TPset
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
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


class GroupThread(driver.AIOKafkaConsumerThread):
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
        if cast(GroupConsumer, self.consumer).pauses_changed:
            await self._apply_pauses()
        return await super()._fetch_records(consumer, *args, **kwargs)

    async def _apply_pauses(self) -> None:
        """Faust only passes over the records of a paused partition; aiokafka would go on fetching it.

        A worker's own changelog writes would come back to it and stay in memory.
        """
        consumer, group = self._ensure_consumer(), cast(GroupConsumer, self.consumer)
        group.pauses_changed = False
        wanted = {tp for tp in consumer.assignment() if group.is_wanted(ensure_TP(tp))}
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


class GroupConsumer(driver.Consumer):
    """Faust's consumer, which leaves command topics to others."""

    logger = driver.logger
    transport: GroupTransport
    _thread: GroupThread

    next_offset: dict[TP, int]
    """What is committed, by partition of a command topic: one past the last processed record."""

    pauses_changed = True
    """Whether partitions were paused or resumed since the last fetch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.next_offset = {}
        self._committed: dict[TP, int] = {}
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> GroupThread:
        return GroupThread(self, loop=self.loop, beacon=self.beacon)

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        super().pause_partitions(tps)
        self.pauses_changed = True

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        super().resume_partitions(tps)
        self.pauses_changed = True

    def is_wanted(self, tp: TP) -> bool:
        """Whether aiokafka is to fetch an assigned partition."""
        return tp.topic not in self.transport.command_topics and tp in self._get_active_partitions()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """faust/transport/drivers/aiokafka.py would complain that what nobody fetches here is not fetched."""

    async def rejoin(self) -> None:
        """Have the group assign again, with fresh knowledge of the topics."""
        await self._thread.rejoin()

    def knows(self, topic: str) -> bool:
        """Whether this client's metadata has the topic; Faust's `topic_partitions` knows only of the last join."""
        return bool(self._thread._ensure_consumer()._client.cluster.partitions_for_topic(topic))

    async def starts(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Where the group would read on: the committed offset, else the log's start."""
        return await self._thread.committed_or_earliest(tps)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Called every `broker_commit_interval`, and at the end: commits `next_offset` where it has moved, if the
        broker answers soon."""
        assigned = ensure_TPset(self.assignment())
        offsets = {
            tp: offset
            for tp, offset in self.next_offset.items()
            if tp in assigned and self._committed.get(tp) != offset
        }
        if offsets:
            with contextlib.suppress(asyncio.TimeoutError):
                if await asyncio.wait_for(self._thread.commit(offsets), COMMIT_TIMEOUT_S):
                    self._committed.update(offsets)
        return bool(offsets)

    def forget(self, tps: Iterable[TP]) -> None:
        """Commit no more for partitions that are given up."""
        for tp in tps:
            self.next_offset.pop(tp, None)
            self._committed.pop(tp, None)

    async def commit_and_end_transactions(self) -> None:
        """faust/transport/consumer.py:Consumer.on_stop would wait here for as long as the broker is away."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(super().commit_and_end_transactions(), COMMIT_TIMEOUT_S)


class GroupTransport(driver.Transport):
    """Faust's aiokafka transport without command topics, and with a fetch wait.

    Args:
        url: the brokers, as faust.App's setting `broker` takes them.
        app: the Faust app.
        command_topics: topics that are subscribed and not fetched.
        fetch_wait_ms: how long a broker may hold a fetch that has nothing to return, in ms.
    """

    Consumer: ClassVar[type[GroupConsumer]] = GroupConsumer

    def __init__(self, url: Any, app: Any, *, command_topics: frozenset[str], fetch_wait_ms: int) -> None:
        self.command_topics = command_topics
        self.fetch_wait_ms = fetch_wait_ms
        super().__init__(url, app)
