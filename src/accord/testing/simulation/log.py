"""An in-memory log: topics of partitions, as a cluster of brokers keeps them.

Records get their offset and their time when they are appended (LogAppendTime), by the clock of the partition's
broker; such a clock may step. Nothing is lost here and nothing is late: that is the network's part (`network.py`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from accord.schemas.headers import LOG_APPEND_TIME, LogRecord
from accord.testing.simulation.scheduler import EPOCH_MS, Scheduler

BROKERS_COUNT: Final = 3

OnAppend = Callable[[str, int, LogRecord], None]
"""(topic, partition, record): called when a record was appended."""


class _Records:
    __slots__ = ("end", "records")

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self.end = 0


class Log:
    """The topics of one cluster. A topic is there when it is first named.

    Args:
        scheduler: of the run: its time is the brokers', but for what `step_clock` adds.
        cluster: the cluster's id.
        partitions: of every topic.
    """

    def __init__(self, scheduler: Scheduler, *, cluster: str = "simulated", partitions: int = 4) -> None:
        self.scheduler = scheduler
        self.cluster = cluster
        self.partitions = partitions
        self.steps_ms = [0] * BROKERS_COUNT
        self._topics: dict[tuple[str, int], _Records] = {}
        self._told: list[OnAppend] = []
        self._watches: dict[tuple[str, int], list[Callable[[], None]]] = {}

    @property
    def topics(self) -> list[str]:
        """The topics that hold a record."""
        return sorted({topic for topic, _ in self._topics})

    def on_append(self, told: OnAppend) -> None:
        """Has a function told of every record from now on, at once."""
        self._told.append(told)

    def watch(self, topic: str, partition: int, told: Callable[[], None]) -> Callable[[], None]:
        """Has a function called whenever a partition has got a record; returns what ends that."""
        watches = self._watches.setdefault((topic, partition), [])
        watches.append(told)
        return lambda: watches.remove(told)

    def clock_ms(self, partition: int) -> int:
        """What the clock of a partition's broker shows, in ms since 1970."""
        return EPOCH_MS + int(self.scheduler.now_ms) + self.steps_ms[partition % BROKERS_COUNT]

    def step_clock(self, broker: int, ms: int) -> None:
        """Sets a broker's clock forward, or back."""
        self.steps_ms[broker % BROKERS_COUNT] += ms

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[str, bytes]],
        timestamp_ms: int | None = None,
    ) -> int:
        """Appends a record; returns its offset.

        Args:
            timestamp_ms: in ms since 1970; None is the time of the partition's broker.
        """
        held = self._of(topic, partition)
        offset, held.end = held.end, held.end + 1
        at_ms = self.clock_ms(partition) if timestamp_ms is None else timestamp_ms
        record = LogRecord(offset, at_ms, LOG_APPEND_TIME, key, value, tuple(headers))
        held.records.append(record)
        for told in self._told:
            told(topic, partition, record)
        for changed in self._watches.get((topic, partition), ()):
            changed()
        return offset

    def skip(self, topic: str, partition: int, count: int) -> None:
        """Leaves offsets without records, as the markers of transactions do."""
        self._of(topic, partition).end += count

    def read(self, topic: str, partition: int, start: int, end: int | None = None) -> Iterator[LogRecord]:
        """The records of `[start, end)` as they are now; without `end`, all from `start` on."""
        held = self._of(topic, partition)
        records = held.records
        first = start if len(records) == held.end else bisect_left(records, start, key=_offset)
        for index in range(max(first, 0), len(records)):
            record = records[index]
            if end is not None and record.offset >= end:
                return
            yield record

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset and the end of a partition."""
        return 0, self._of(topic, partition).end

    def _of(self, topic: str, partition: int) -> _Records:
        held = self._topics.get((topic, partition))
        if held is None:
            held = self._topics[topic, partition] = _Records()
        return held


def _offset(record: LogRecord) -> int:
    return record.offset
