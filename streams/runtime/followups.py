"""What follows from confirmed decisions and is written elsewhere: dead letters, commands of process managers, notices.

- Nothing is sent before its decision is confirmed.
- At least once: a checkpoint waits until what follows from the decisions before it was acknowledged; after a crash,
  what follows from the decisions after the checkpoint is derived again. Ids come from the decision: a repeat is known.
- In order: in each partition that is written to, what follows from a later decision never comes first, but for what
  comes again. So if something fails, it is sent again with all that was sent after it, once that is all reported.
- Bound: at most `UNSENT_MAX` decisions lie between the first whose records are not acknowledged and the last that was
  made; at the bound no more are made. So where there is no checkpoint, what follows from so many needs to be derived.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from accord.schemas.headers import Headers
from accord.streams.runtime.output import Outgoing, Output
from confluent_kafka import KafkaException

from accord import logs

logger = logs.get("accord.worker")

RETRY_S: Final = 1.0
UNSENT_MAX: Final = 10_000


class Addressed(NamedTuple):
    """A record and where it goes."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: Headers


Build = Callable[[], Sequence[Addressed]]
"""Makes the records; called when the decision is confirmed, and again if sending failed."""


class _Entry:
    """What follows from one decision, or from several from `first` to `seq`. `reports` are those still awaited."""

    __slots__ = ("build", "failed", "first", "lasting", "producer", "reports", "seq")

    def __init__(self, seq: int, build: Build, lasting: bool, first: int) -> None:
        self.first = first
        self.seq = seq
        self.build = build
        self.lasting = lasting
        self.reports = 0
        self.failed = False
        self.producer = 0


class Followups:
    """What follows from the decisions of one partition.

    Args:
        output: the worker's producer.
        changed: called when something was acknowledged.
    """

    def __init__(self, output: Output, changed: Callable[[], None]) -> None:
        self._output = output
        self._changed = changed
        self._waiting: deque[_Entry] = deque()
        self._sent: deque[_Entry] = deque()
        self._held = False
        self._confirmed = 0

    def add(self, seq: int, build: Build, *, first: int | None = None, lasting: bool = False) -> None:
        """Adds what follows from a decision, or from several up to this number; in the order of their numbers.

        Args:
            first: the number of the first of several.
            lasting: it is not derived again: `forget` keeps it.
        """
        self._waiting.append(_Entry(seq, build, lasting, seq if first is None else first))

    def send(self, confirmed: int) -> None:
        """Sends what follows from the decisions up to this number."""
        self._confirmed = max(self._confirmed, confirmed)
        while self._waiting and self._waiting[0].seq <= self._confirmed and not self._held:
            if self._sent and self._sent[-1].producer != self._output.number:
                return  # what the old producer held is not reported yet
            records = self._waiting[0].build()
            entry = self._waiting.popleft()
            if records:
                self._sent.append(entry)
                self._send(entry, records)

    def forget(self, seq: int) -> None:
        """Takes back what was added from this number on and not sent: it is derived again from the log."""
        self._waiting = deque(entry for entry in self._waiting if entry.seq < seq or entry.lasting)

    def done(self, seq: int) -> bool:
        """Whether all that follows from the decisions up to this number was acknowledged."""
        return self._first > seq

    def followed(self, confirmed: int) -> int:
        """Up to which decision, of those up to a confirmed one, all that follows was acknowledged."""
        entries = self._sent or self._waiting
        return min(confirmed, entries[0].first - 1) if entries else confirmed

    def has_room(self, seq: int) -> bool:
        """Whether a decision of this number may be made."""
        return seq - self._first < UNSENT_MAX

    @property
    def failing(self) -> bool:
        """Whether something failed that was not sent again yet."""
        return self._held

    @property
    def _first(self) -> float:
        """The first entry's number that is not acknowledged."""
        waiting = self._sent or self._waiting
        return waiting[0].seq if waiting else float("inf")

    def _send(self, entry: _Entry, records: Sequence[Addressed]) -> None:
        entry.producer, entry.failed = self._output.number, False
        places: dict[tuple[str, int], list[Outgoing]] = {}
        for topic, partition, key, value, headers in records:
            places.setdefault((topic, partition), []).append((key, value, headers))
        for (topic, partition), outgoing in places.items():
            if self._output.number != entry.producer:  # it failed for good: the rest would overtake what it held
                entry.failed = self._held = True
                return
            try:
                self._output.send_all(topic, partition, outgoing, partial(self._reported, entry))
            except KafkaException as error:  # the topic is gone, as far as the producer knows
                logger.warning("what follows from decisions cannot be sent", topic=topic, why=error.args[0].str())
                entry.failed = self._held = True
                self._send_again_later()
                return
            entry.reports += 1

    def _reported(self, entry: _Entry, offset: int | None) -> None:
        entry.reports -= 1
        if offset is None:
            entry.failed = self._held = True
        sent = self._sent
        while sent and not sent[0].reports and not sent[0].failed:
            sent.popleft()
        if self._held:
            self._send_again_later()
        else:
            self.send(self._confirmed)
        self._changed()

    def _send_again_later(self) -> None:
        """Takes back what failed and all that was sent after it, once it is all reported."""
        sent = self._sent
        if not any(entry.reports for entry in sent):
            self._waiting.extendleft(reversed(sent))
            sent.clear()
            asyncio.get_running_loop().call_later(RETRY_S, self._again)

    def _again(self) -> None:
        self._held = False
        self.send(self._confirmed)
