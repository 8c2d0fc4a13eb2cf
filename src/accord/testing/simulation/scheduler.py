"""Virtual time and the one queue of events: what happens next, in which process.

Nothing sleeps: time jumps to the next event. Events of the same time come in the order in which they were made. All
chance comes from the seed: `random` is for the one who drives the run, and `stream` gives each part of the run chance
of its own, so that a part that is taken away (a fault, an agent) does not change what befalls the others at once.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from accord.testing.simulation.process import Process

EPOCH_MS: Final = 1_700_000_000_000
"""What the brokers' clocks show when a run begins, in ms since 1970."""


class Event:
    """Something that is going to happen. `cancel` keeps it from happening."""

    __slots__ = ("function", "process")

    def __init__(self, function: Callable[[], object], process: Process | None) -> None:
        self.function: Callable[[], object] | None = function
        self.process = process

    def cancel(self) -> None:
        self.function = None


class Scheduler:
    """The queue of events of one run.

    Args:
        seed: where all chance comes from.

    `now_ms` is the time since the run began, in ms; `events_count` tells how many events there were.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.now_ms = 0.0
        self.events_count = 0
        self._queue: list[tuple[float, int, Event]] = []
        """When, in which order of those of one time, and what."""
        self._orders = itertools.count()

    def stream(self, name: str) -> Random:
        """Chance of its own for the part of the run that is called so."""
        return Random(f"{self.seed}/{name}")

    def call_at(self, at_ms: float, function: Callable[[], object], *, process: Process | None = None) -> Event:
        """Has a function called.

        Args:
            at_ms: when; what lies in the past happens next.
            process: it happens in this process: not after its crash, and not before the end of a pause.
        """
        event = Event(function, process)
        heapq.heappush(self._queue, (max(at_ms, self.now_ms), next(self._orders), event))
        return event

    def call_later(self, ms: float, function: Callable[[], object], *, process: Process | None = None) -> Event:
        """Has a function called after so many ms."""
        return self.call_at(self.now_ms + ms, function, process=process)

    def step(self) -> bool:
        """Lets the next event happen; False: there is none."""
        while self._queue:
            at_ms, order, event = heapq.heappop(self._queue)
            function, process = event.function, event.process
            if function is None or (process is not None and not process.alive):
                continue
            if process is not None and process.paused_until_ms > at_ms:
                heapq.heappush(self._queue, (process.paused_until_ms, order, event))
                continue
            self.now_ms = at_ms
            self.events_count += 1
            function()
            return True
        return False

    def run_until(self, at_ms: float) -> None:
        """Lets everything happen that does by then; afterwards it is then."""
        while (following := self._following()) is not None and following <= at_ms:
            self.step()
        self.now_ms = max(self.now_ms, at_ms)

    def _following(self) -> float | None:
        """When the next event is, at the earliest."""
        queue = self._queue
        while queue:
            at_ms, order, event = queue[0]
            process = event.process
            if event.function is None or (process is not None and not process.alive):
                heapq.heappop(queue)
            elif process is not None and process.paused_until_ms > at_ms:
                heapq.heapreplace(queue, (process.paused_until_ms, order, event))
            else:
                return at_ms
        return None
