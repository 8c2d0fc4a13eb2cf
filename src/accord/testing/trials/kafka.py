"""Kafka's clients of a simulated agent, as far as accord uses them: over its process's link to the log in memory.

Whatever is in the log is there to read at once. In a thread a consumer waits: for a record, for an answer of a broker
that is out of reach, for what happens in its group (`groups.py`). Who is no thread gets nothing, or an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from accord.kafka import READ_TIMEOUT_S
from accord.schemas.headers import Headers, LogRecord
from accord.schemas.topics import topic_table
from accord.testing.trials.groups import Group, Member

if TYPE_CHECKING:
    from accord.testing.trials.runtime import SimulatedRuntime

IDLE_S: Final = 1.0
"""A poll of a process in which nothing happens takes this long, whatever it was asked for: fewer events."""


class _Message:
    """A record as confluent-kafka gives it."""

    __slots__ = ("_partition", "_record", "_topic")

    def __init__(self, topic: str, partition: int, record: LogRecord) -> None:
        self._topic, self._partition, self._record = topic, partition, record

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._record.offset

    def timestamp(self) -> tuple[int, int]:
        return 2, self._record.timestamp

    def key(self) -> bytes | None:
        return self._record.key

    def value(self) -> bytes | None:
        return self._record.value

    def headers(self) -> Iterable[tuple[str, bytes]]:
        return self._record.headers

    def error(self) -> KafkaError | None:
        return None


class _Delivered(NamedTuple):
    """What a delivery report tells of a message."""

    at: int

    def offset(self) -> int:
        return self.at


Told = Callable[["KafkaError | None", "_Delivered | None"], None]


class SimulatedProducer:
    """See `confluent_kafka.Producer`. Reports are handed over by `poll`."""

    def __init__(self, runtime: SimulatedRuntime) -> None:
        self._runtime = runtime
        self._reports: deque[Callable[[], None]] = deque()

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes,
        partition: int,
        *,
        on_delivery: Told,
        timestamp: int,
        headers: Headers,
    ) -> None:
        report = partial(self._reported, on_delivery)
        self._runtime.link.send(topic, partition, [(key, value, headers)], report)
        self._runtime.expect_answer()

    def _reported(self, told: Told, offset: int | None) -> None:
        if offset is None:
            self._reports.append(partial(told, KafkaError(KafkaError._MSG_TIMED_OUT), None))
        else:
            self._reports.append(partial(told, None, _Delivered(offset)))
        self._runtime.step()

    def poll(self, timeout: float) -> int:
        count = len(self._reports)
        while self._reports:
            self._reports.popleft()()
        return count

    def flush(self, timeout: float) -> int:
        """What was sent is on its way, whatever becomes of the connection."""
        return 0

    def purge(self) -> None:
        self._reports.clear()


Callback = Callable[["SimulatedConsumer", list[TopicPartition]], None]


class SimulatedConsumer:
    """See `confluent_kafka.Consumer`.

    Args:
        runtime: in which it runs.
        prefix: of the topics.
        group: its consumer group, if it is to have one, with the name that accord gave it.
        session_ms: how long it may be silent there.
    """

    def __init__(self, runtime: SimulatedRuntime, prefix: str, group: Group | None, session_ms: float) -> None:
        self._runtime = runtime
        self._threads = runtime.threads
        self._link = runtime.link
        self._prefix = prefix
        self._next: dict[tuple[str, int], int] = {}
        self._paused: set[tuple[str, int]] = set()
        self._group = group
        self._session_ms = session_ms
        self._member: Member | None = None
        self._topic = ""
        self._on: dict[str, Callback] = {}
        runtime.consumers.append(self)

    # -- what brokers are asked

    def list_topics(self, topic: str | None = None, timeout: float = 0.0) -> Any:
        self._reach(timeout)
        log = self._link.log
        return _metadata(log.cluster, self._prefix, log.partitions)

    def get_watermark_offsets(self, where: TopicPartition, timeout: float = 0.0, **_: Any) -> tuple[int, int]:
        self._reach(timeout)
        return self._link.log.bounds(where.topic, where.partition)

    def _reach(self, timeout_s: float) -> None:
        """Waits until a broker can be reached, if this is a thread's. Raises KafkaException: none can."""
        process = self._link.process
        if self._link.is_cut and process.alive and self._runtime.in_thread:
            self._threads.wait_until(lambda: not self._link.is_cut, timeout_s)
        if self._link.is_cut or not process.alive:
            raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))

    # -- reading

    def assign(self, places: Iterable[TopicPartition]) -> None:
        self._next.clear()
        self._paused.clear()
        self.incremental_assign(places)

    def unassign(self) -> None:
        self._next.clear()

    def incremental_assign(self, places: Iterable[TopicPartition]) -> None:
        for place in places:
            self._next[place.topic, place.partition] = place.offset

    def incremental_unassign(self, places: Iterable[TopicPartition]) -> None:
        for place in places:
            self._next.pop((place.topic, place.partition), None)

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(*where) for where in self._next]

    def pause(self, places: Iterable[TopicPartition]) -> None:
        self._paused.update((place.topic, place.partition) for place in places)

    def resume(self, places: Iterable[TopicPartition]) -> None:
        self._paused.difference_update((place.topic, place.partition) for place in places)

    def reads(self, topic: str, partition: int) -> bool:
        return (topic, partition) in self._next

    def poll(self, timeout: float) -> _Message | None:
        self._find_out()
        found = self.consume(1, 0.0)
        if not found and timeout > 0 and self._runtime.in_thread:
            self._wait(timeout)
            self._find_out()
            found = self.consume(1, 0.0)
        return found[0] if found else None

    def consume(self, count: int, timeout: float) -> Sequence[_Message]:
        found: list[_Message] = []
        if timeout > 0 and self._runtime.in_thread and not self._has_records():
            self._threads.wait_until(self._has_records, timeout)
        if self._link.is_cut or not self._link.process.alive:
            return found
        log = self._link.log
        for (topic, partition), start in self._next.items():
            if (topic, partition) in self._paused or log.bounds(topic, partition)[1] <= start:
                continue
            for record in log.read(topic, partition, start):
                if len(found) == count:
                    return found
                found.append(_Message(topic, partition, record))
                self._next[topic, partition] = record.offset + 1
        return found

    def _has_records(self) -> bool:
        log = self._link.log
        return not self._link.is_cut and any(
            log.bounds(*where)[1] > start for where, start in self._next.items() if where not in self._paused
        )

    def _wait(self, timeout_s: float) -> None:
        """Until there is something to read or to find out; and longer than asked for, if nothing happens at all."""
        stirs = self._threads.stirs

        def has_something() -> bool:
            return bool(self._member is not None and self._member.notices) or self._has_records()

        if not self._threads.wait_until(has_something, timeout_s) and self._threads.stirs == stirs:
            self._threads.wait_until(lambda: self._threads.stirs != stirs or has_something(), IDLE_S - timeout_s)

    # -- in a group

    def subscribe(self, topics: list[str], *, on_assign: Callback, on_revoke: Callback, on_lost: Callback) -> None:
        assert self._group is not None
        (self._topic,) = topics
        self._on = {"assigned": on_assign, "revoked": on_revoke, "lost": on_lost}
        self._member = Member(self._link, self._session_ms, self._threads.stir)
        self._group.join(self._member)

    def unsubscribe(self) -> None:
        """What it has it gives up in the next poll."""
        member = self._member
        if member is not None:
            member.notices.clear()
            member.notices.append(("left", 0, ()))

    def committed(self, places: Iterable[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert self._group is not None
        self._reach(timeout)
        known = self._group.committed
        return [TopicPartition(at.topic, at.partition, known.get(at.partition, OFFSET_INVALID)) for at in places]

    def commit(self, offsets: Iterable[TopicPartition], asynchronous: bool) -> None:
        assert self._group is not None and not asynchronous
        self._threads.wait_until(lambda: False, self._link.latency_ms() / 1_000)
        self._reach(READ_TIMEOUT_S)
        self._group.commit(self._member, {at.partition: at.offset for at in offsets})

    def close(self) -> None:
        self._next.clear()
        if self._member is not None and self._group is not None and self._link.process.alive:
            self._group.leave(self._member)
        self._member = None
        if self in self._runtime.consumers:
            self._runtime.consumers.remove(self)

    def _find_out(self) -> None:
        """Does what its group wants of it."""
        member, group = self._member, self._group
        while member is not None and group is not None and member.notices:
            what, generation, partitions = member.notices.popleft()
            if what == "assigned":
                member.owned, member.generation = partitions, generation
                self._on[what](self, [TopicPartition(self._topic, number) for number in partitions])
                continue
            owned, member.owned = member.owned, ()
            self._on["lost" if what == "lost" else "revoked"](
                self, [TopicPartition(self._topic, number) for number in owned]
            )
            self._next.clear()
            match what:
                case "revoked":
                    group.revoked(member, generation)
                case "lost":
                    group.join(member)
                case "left":
                    group.leave(member)
                    self._member = None


class _Partitions(NamedTuple):
    partitions: range


class _Metadata(NamedTuple):
    cluster_id: str
    topics: dict[str, _Partitions]


@lru_cache(maxsize=8)
def _metadata(cluster: str, prefix: str, partitions: int) -> _Metadata:
    topics = topic_table(prefix, partitions)
    return _Metadata(cluster, {topic.name: _Partitions(range(topic.partitions)) for topic in topics})
