"""The decisions of a log one after the other: by the log's times, none before one that its clock names.

So every place in this order is a consistent cut: no effect without its cause. A log that lacks what a clock names (an
archive that was cut, a clock that somebody made up) is read all the same, by time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from accord.replay.source import Source
from accord.schemas.clock import VectorClock
from accord.streams.chain import Chain, Decision, Head

Where = tuple[str, int]
"""A partition: its domain and its number."""


class InOrder:
    """The decisions of all partitions from some heads on.

    Args:
        heads: the last decision of each partition that was taken already.
    """

    def __init__(self, source: Source, heads: dict[Where, Head]) -> None:
        self._streams = {where: _decisions(source, where, head) for where, head in heads.items()}
        self._names = {f"{domain}/{number}": (domain, number) for domain, number in heads}
        self._done = {where: _count_of(where, head) for where, head in heads.items()}
        self._ready: list[tuple[int, Where, Decision]] = []
        self._blocked: dict[Where, tuple[Where, int, Decision]] = {}
        for where in self._streams:
            self._pull(where)

    def take(self) -> tuple[Where, Decision] | None:
        """The next decision and its partition."""
        if not self._settle():
            return None
        _, where, decision = heapq.heappop(self._ready)
        self._done[where] = _count_of(where, decision)
        for waiting, (on, count, blocked) in list(self._blocked.items()):
            if on == where and count <= self._done[where]:
                del self._blocked[waiting]
                heapq.heappush(self._ready, (blocked.now_ms, waiting, blocked))
        self._pull(where)
        return where, decision

    def peek(self) -> Decision | None:
        """The next decision."""
        return self._ready[0][2] if self._settle() else None

    def _settle(self) -> bool:
        """Has a decision at the top that may come next; False: there is none."""
        while self._ready:
            _, where, decision = self._ready[0]
            wanted = self._wanted(where, decision)
            if wanted is None:
                return True
            heapq.heappop(self._ready)
            self._blocked[where] = (*wanted, decision)
        if self._blocked:  # they name what the log does not have
            where = min(self._blocked, key=lambda one: (self._blocked[one][2].now_ms, one))
            decision = self._blocked.pop(where)[2]
            heapq.heappush(self._ready, (decision.now_ms, where, decision))
            return True
        return False

    def _wanted(self, where: Where, decision: Decision) -> tuple[Where, int] | None:
        """A decision that its clock names and that was not taken yet."""
        for name, count in VectorClock.decode(decision.clock).entries.items():
            other = self._names.get(name)
            if other is not None and other != where and count > self._done[other]:
                return other, count
        return None

    def _pull(self, where: Where) -> None:
        decision = next(self._streams[where], None)
        if decision is not None:
            heapq.heappush(self._ready, (decision.now_ms, where, decision))


def _decisions(source: Source, where: Where, head: Head) -> Iterator[Decision]:
    """The accepted decisions of a partition after a head."""
    domain, number = where
    source.check_whole(domain, number)
    chain = Chain(source.root(domain, number), head if head.seq else None)
    for record in source.read(domain, number, max(0, head.offset + 1), beside=True):
        decision = chain.accept(record)
        if decision is not None:
            yield decision


def _count_of(where: Where, head: Head) -> int:
    """A decision's own entry in its clock."""
    if not isinstance(head, Decision):
        return -1
    return VectorClock.decode(head.clock).entries.get(f"{where[0]}/{where[1]}", 0)
