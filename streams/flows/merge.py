"""Several partitions as one sequence, the same for the same log.

Events are taken in the order of (the log's time of them, partition, offset). A partition's clock never falls, so one
can be taken as soon as every other partition has something later, or its clock is past it. Which is when depends on who
reads; the order does not. A partition that is silent holds the others up until its clock is known to have moved:
whoever runs a flow asks it for its time, by a command that nothing but the clock comes of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
P = TypeVar("P")
UNKNOWN_MS = -1


class Merge(Generic[T, P]):
    """Waiting events by partition, and how far the clocks of the partitions are known.

    Each record that is told has a place in its partition, whatever that is to the reader; `done` has for each partition
    the place up to which everything was taken. Partitions of which nothing was told are not in it.
    """

    def __init__(self, partitions: Iterable[int]) -> None:
        self._waiting: dict[int, deque[tuple[int, T, P]]] = {partition: deque() for partition in sorted(partitions)}
        self._clocks = dict.fromkeys(self._waiting, UNKNOWN_MS)
        self._told: dict[int, P] = {}
        self.done: dict[int, P] = {}

    def add(self, partition: int, at_ms: int, place: P, item: T) -> None:
        """An event of a partition, after all that came of it."""
        self._waiting[partition].append((at_ms, item, place))
        self.tell(partition, at_ms, place)

    def tell(self, partition: int, now_ms: int, place: P) -> None:
        """A partition's clock: what comes of it yet is not earlier."""
        self._clocks[partition] = max(self._clocks[partition], now_ms)
        self._told[partition] = place
        if not self._waiting[partition]:
            self.done[partition] = place

    def take(self) -> Iterator[tuple[int, T]]:
        """What can be taken, in order: times and events."""
        while (least := self._least()) and all(self._bound(partition) >= least for partition in self._waiting):
            queue = self._waiting[number := least[1]]
            at_ms, item, place = queue.popleft()
            self.done[number] = place if queue else self._told[number]
            yield at_ms, item

    def _bound(self, partition: int) -> tuple[int, int]:
        """No event of the partition comes before this time and place."""
        queue = self._waiting[partition]
        return queue[0][0] if queue else self._clocks[partition], partition

    def waiting(self, partition: int) -> int:
        """How many events of a partition wait."""
        return len(self._waiting[partition])

    @property
    def now_ms(self) -> int:
        """The time to which all can be said to have moved on: what is taken yet is not earlier."""
        return min(self._bound(partition)[0] for partition in self._waiting)

    def behind(self, until_ms: int | None) -> list[int]:
        """The silent partitions that hold others up, or whose clock has not come to a time that is waited for."""
        least = max(self._least() or (UNKNOWN_MS, 0), (UNKNOWN_MS if until_ms is None else until_ms, 0))
        return [partition for partition, queue in self._waiting.items() if not queue and self._bound(partition) < least]

    def _least(self) -> tuple[int, int] | None:
        """Time and partition of the first event that waits."""
        return min(((queue[0][0], partition) for partition, queue in self._waiting.items() if queue), default=None)
