"""Timers of accord's own thread: a heap of due times. Set and cancelled from any thread, run by one."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import Final

_SLACK_COUNT: Final = 1_000
"""So many cancelled timers may lie in the heap beside twice the live ones before it is cleaned."""

Clock = Callable[[], float]
"""Tells seconds, and never steps back."""


class Timers:
    """Times are those of `monotonic`, in seconds."""

    def __init__(self, monotonic: Clock) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._heap: list[tuple[float, int]] = []
        self._live: dict[int, tuple[float, Callable[[], None]]] = {}
        self._numbers = itertools.count()

    def at(self, due_s: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Has `callback` called once, when `due_s` has come. Returns the function that cancels it."""
        number = next(self._numbers)
        with self._lock:
            self._live[number] = due_s, callback
            heapq.heappush(self._heap, (due_s, number))
            if len(self._heap) > _SLACK_COUNT + 2 * len(self._live):
                self._heap = [(due, live) for live, (due, _) in self._live.items()]
                heapq.heapify(self._heap)

        def cancel() -> None:
            self._live.pop(number, None)

        return cancel

    def due(self) -> list[Callable[[], None]]:
        """Takes off the callbacks whose time has come, earliest first."""
        heap = self._heap
        if not heap or heap[0][0] > self._monotonic():
            return []
        found = []
        with self._lock:
            now_s = self._monotonic()
            while self._heap and self._heap[0][0] <= now_s:
                timer = self._live.pop(heapq.heappop(self._heap)[1], None)
                if timer is not None:
                    found.append(timer[1])
        return found

    def wait_s(self, longest_s: float) -> float:
        """How long until the next one, at most `longest_s`."""
        heap = self._heap
        try:
            return min(longest_s, max(0.0, heap[0][0] - self._monotonic()))
        except IndexError:
            return longest_s
