"""The way between one process and the log.

Records of one partition go out in order, as an idempotent producer sends them, and so do their reports; those of
different partitions overtake each other. What may go wrong is set on the link while a fault lasts:

- cut: nothing arrives and nothing can be read; what was sent waits in the process, and is gone if that dies.
- loss: a record is lost, or lands without report, or lands long after it was reported lost. What was sent after it
  arrives, or fails with it, where the sender leaves no gap.
- duplicates: a record lands twice, at once or long after; the report is of the first or of the second.
- reorder: records of one partition overtake each other.
- delay: everything takes longer.

A read is of what the log holds at that moment. Whoever reads over a cut link is told that Kafka cannot be reached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from accord.errors import KafkaUnreachable
from accord.schemas.headers import Headers, LogRecord
from accord.testing.simulation.log import Log
from accord.testing.simulation.process import Process

LATENCY_MS: Final = 4.0
LATE_MS: Final = 20_000.0
"""What comes late does so within this time."""

Outgoing = tuple[bytes | None, bytes | None, Headers]
"""Key, value, headers."""
Report = Callable[[int | None], None]
"""The offset of the last record, or None: it failed, or is unknown."""


class Link:
    """One process's way to the log, and back.

    Args:
        process: whose; what it has not sent yet dies with it.
        log: where to.
        in_order: records of a partition keep their order; clients without idempotence do not.
        usual_ms: a record is under way for up to twice this long.
    """

    def __init__(self, process: Process, log: Log, *, in_order: bool = True, usual_ms: float = LATENCY_MS) -> None:
        self.usual_ms = usual_ms
        self.process = process
        self.log = log
        self.in_order = in_order
        self.on_gap: Callable[[], None] | None = None
        """Is called when a record was lost, and has `fail` keep what follows from landing. None: a gap is let be."""
        self._gap: tuple[str, int] | None = None
        self.cut_until_ms = -1.0
        self.delay_ms = 0.0
        self.loss = 0.0
        self.duplicates = 0.0
        self.reorder = 0.0
        self._scheduler = process.scheduler
        self._random = self._scheduler.stream(f"{process.name}/network")
        self._queues: dict[tuple[str, int], list[tuple[Sequence[Outgoing], Report | None, bool]]] = {}
        self._reports: dict[tuple[str, int], float] = {}

    @property
    def is_cut(self) -> bool:
        return self.cut_until_ms > self._scheduler.now_ms

    def cut(self, ms: float) -> None:
        """Nothing goes through for so long."""
        self.cut_until_ms = max(self.cut_until_ms, self._scheduler.now_ms + ms)

    async def healed(self) -> None:
        """Waits until it is whole."""
        while self.is_cut:  # noqa: ASYNC110
            await asyncio.sleep(self.cut_until_ms / 1_000 - self._scheduler.now_ms / 1_000 + 0.001)

    def latency_ms(self) -> float:
        """How long something is under way."""
        chance = self._random
        return chance.random() * 2 * self.usual_ms + (chance.random() * self.delay_ms if self.delay_ms else 0.0)

    # -- writing

    def send(self, topic: str, partition: int, records: Sequence[Outgoing], report: Report | None = None) -> None:
        """Sends records of one partition, together.

        Args:
            report: called once in the process, if it lives, with the offset of the last; None: it failed, or nobody
                knows.
        """
        if not self.process.alive:
            return
        where = (topic, partition)
        on_the_wire = self._random.random() < 0.5  # should the process die on the way
        self._queues.setdefault(where, []).append((records, report, on_the_wire))
        self._scheduler.call_later(self.latency_ms(), partial(self._arrive, where))

    def _arrive(self, where: tuple[str, int]) -> None:
        """The oldest of a partition's records comes to the log, or another one where order is not kept."""
        queue = self._queues[where]
        if not queue:
            return
        if self.is_cut and self.process.alive:
            self._scheduler.call_at(self.cut_until_ms, partial(self._arrive, where))
            return
        overtakes = not self.in_order or (self.reorder and self._random.random() < self.reorder)
        records, report, on_the_wire = queue.pop(self._random.randrange(len(queue)) if overtakes else 0)
        if self.process.alive or (on_the_wire and not self.is_cut):
            self._tell(where, report, self._land(where, records))
            if self._gap is not None and self.on_gap is not None:
                self.on_gap()
            self._gap = None
        elif self.on_gap is not None:
            queue.clear()

    def fail(self) -> None:
        """What was sent fails: it is reported so, in order, and some of each partition's is at the log after all."""
        for where, queue in self._queues.items():
            landed = self._random.randrange(len(queue) + 1) if queue and not self.is_cut and where != self._gap else 0
            for number, (records, report, _) in enumerate(queue):
                if number < landed:
                    self._append(where, records)
                self._tell(where, report, None)
            queue.clear()

    def _land(self, where: tuple[str, int], records: Sequence[Outgoing]) -> int | None:
        """What becomes of records; returns what their report says."""
        chance = self._random
        append = partial(self._append, where, records)
        if self.loss and chance.random() < self.loss:
            match chance.randrange(4):
                case 0:
                    pass
                case 1:
                    append()
                    return None
                case 2:
                    self._append(where, records[: chance.randrange(len(records))])
                case _:
                    self._scheduler.call_later(chance.random() * LATE_MS, append)
            self._gap = where
            return None
        offset = append()
        if self.duplicates and chance.random() < self.duplicates:
            if chance.random() < 0.5:
                return append()
            self._scheduler.call_later(chance.random() * LATE_MS, append)
        return offset

    def _append(self, where: tuple[str, int], records: Sequence[Outgoing]) -> int:
        offset = -1
        for key, value, headers in records:
            offset = self.log.append(*where, key, value, headers)
        return offset

    def _tell(self, where: tuple[str, int], report: Report | None, offset: int | None) -> None:
        if report is not None:
            at_ms = self._scheduler.now_ms + self.latency_ms()
            at_ms = self._reports[where] = max(at_ms, self._reports.get(where, 0.0))
            self._scheduler.call_at(at_ms, partial(self.process.loop.call_soon, report, offset), process=self.process)

    # -- reading

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[LogRecord]:
        """As `accord.fetch.Fetcher.read`. Raises KafkaUnreachable: the link is cut."""
        self._check()
        return self.log.read(topic, partition, start, end)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """As `accord.fetch.Fetcher.bounds`. Raises KafkaUnreachable: the link is cut."""
        self._check()
        return self.log.bounds(topic, partition)

    def _check(self) -> None:
        if self.is_cut or not self.process.alive:
            raise KafkaUnreachable(f"{self.process.name} is cut off from the log.")
