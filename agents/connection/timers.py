"""Timers of accord's own thread: a heap of due times. Set and cancelled from any thread, run by one."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import Final

_SLACK_COUNT: Final = 1_000
"""So many cancelled timers may lie in the heap beside twice the live ones before it is cleaned."""


def countdown(wait_ms: int | None) -> Callable[[], int | None]:
    """Returns what tells how much is left of a wait that begins now, in ms: 0 when it is over, None without limit."""
    if wait_ms is None:
        return lambda: None
    ends_s = time.monotonic() + wait_ms / 1_000
    return lambda: max(0, round((ends_s - time.monotonic()) * 1_000))


class Timers:
    """Times are of the monotonic clock, in seconds."""

    def __init__(self) -> None:
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
        if not heap or heap[0][0] > time.monotonic():
            return []
        found = []
        with self._lock:
            now_s = time.monotonic()
            while self._heap and self._heap[0][0] <= now_s:
                timer = self._live.pop(heapq.heappop(self._heap)[1], None)
                if timer is not None:
                    found.append(timer[1])
        return found

    def wait_s(self, longest_s: float) -> float:
        """How long until the next one, at most `longest_s`."""
        heap = self._heap
        try:
            return min(longest_s, max(0.0, heap[0][0] - time.monotonic()))
        except IndexError:
            return longest_s
