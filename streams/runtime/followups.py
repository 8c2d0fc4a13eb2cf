"""What follows from confirmed decisions and is written elsewhere: dead letters, commands of process managers.

- Nothing is sent before its decision is confirmed.
- At least once: a checkpoint waits until what follows from the decisions before it was acknowledged; after a crash,
  what follows from the decisions after the checkpoint is derived again. Ids come from the decision: a repeat is known.
- What failed is sent again, in order, after `RETRY_S`.
- Bound: decisions that are not confirmed yet are bounded (`Owner.pending_max`), and so is the producer's queue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from accord.schemas.headers import Headers
from accord.streams.runtime.output import Output

RETRY_S: Final = 1.0


class Addressed(NamedTuple):
    """A record and where it goes."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: Headers


Build = Callable[[], Sequence[Addressed]]
"""Makes the records; called when the decision is confirmed, and again if sending failed."""


class Followups:
    """What follows from the decisions of one partition.

    Args:
        output: the worker's producer.
        changed: called when something was acknowledged.
    """

    def __init__(self, output: Output, changed: Callable[[], None]) -> None:
        self._output = output
        self._changed = changed
        self._waiting: deque[tuple[int, Build]] = deque()
        self._unsent = 0
        self._confirmed = 0

    def add(self, seq: int, build: Build) -> None:
        """Adds what follows from a decision; in the order of their numbers."""
        self._waiting.append((seq, build))

    def send(self, confirmed: int) -> None:
        """Sends what follows from the decisions up to this number."""
        self._confirmed = confirmed
        while self._waiting and self._waiting[0][0] <= confirmed:
            seq, build = self._waiting.popleft()
            records = build()
            for record in records[:-1]:
                self._output.send(*record)
            if records:
                self._unsent += 1
                self._output.send(*records[-1], partial(self._reported, seq, build))

    def done(self, seq: int) -> bool:
        """Whether all that follows from the decisions up to this number was acknowledged."""
        return not self._unsent and not (self._waiting and self._waiting[0][0] <= seq)

    def _reported(self, seq: int, build: Build, offset: int | None) -> None:
        self._unsent -= 1
        if offset is None:
            self._waiting.appendleft((seq, build))
            asyncio.get_running_loop().call_later(RETRY_S, lambda: self.send(self._confirmed))
        self._changed()
