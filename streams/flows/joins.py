"""Joins: each event of one name with each of another that has the same key and is near in time.

Rules that hold here:
- An event is late if the log's time is more than `lateness_ms` past its own; a late one is joined with nothing.
- An event is held until none that is not late can be near it. So all pairs of events that are not late are told, each
  once, when the second of them comes; pairs that one event brings, in the order in which the others came.
- At most `held_max` events are held, of `HELD_BYTES_MAX` together. One for which there is no room is joined with those
  that are held, and passed over for those to come.
"""

from __future__ import annotations

import heapq
from typing import Any, Final

from accord.streams.flows.bounds import HELD_BYTES_MAX
from accord.streams.flows.flow import Joined
from accord.streams.flows.rows import LATE, OVERFLOW, Item, Row, longer, passed_over
from accord.streams.flows.values import encode
from accord.streams.signals.data import exact

Held = list[Any]
"""An event that waits for others, as plain data; its fields by number."""
NUMBER, SIDE, KEY, TIME, DATA, ORIGIN, TRAIL = range(7)


class Join:
    """An inner join.

    Args:
        first: name of the first of the two events; the other's is in `joined`.
    """

    def __init__(self, first: str, joined: Joined) -> None:
        self._names: Final = (first, joined.event)
        self._within_ms: Final = joined.within_ms
        self._lateness_ms: Final = joined.lateness_ms
        self._held_max: Final = joined.held_max
        self._held: dict[tuple[int, str], dict[int, Held]] = {}
        self._over: list[tuple[int, int, Held]] = []
        self._number = self._bytes = 0

    def take(self, item: Item, now_ms: int) -> list[Row]:
        if item.time_ms + self._lateness_ms < now_ms:
            return [passed_over(item, LATE)]
        rows = [
            self._pair(other, item)
            for other in self._held.get((1 - item.side, item.key), {}).values()
            if abs(other[TIME] - item.time_ms) <= self._within_ms
        ]
        held = [self._number + 1, item.side, item.key, item.time_ms, encode(item.data), item.origin, item.trail]
        if not self._hold(held):
            rows.append(passed_over(item, OVERFLOW))
        return rows

    def _pair(self, other: Held, item: Item) -> Row:
        datas: list[Any] = [None, None]
        datas[item.side], datas[1 - item.side] = item.data, exact(other[DATA])
        from_ms, to_ms = sorted((other[TIME], item.time_ms))
        data = dict(zip(self._names, datas, strict=True)) | {"from_ms": from_ms, "to_ms": to_ms}
        return Row("", data, (other[ORIGIN], item.origin), longer(other[TRAIL], item.trail))

    def _hold(self, held: Held) -> bool:
        size = len(held[DATA])
        if len(self._over) >= self._held_max or self._bytes + size > HELD_BYTES_MAX:
            return False
        self._number = held[NUMBER]
        self._bytes += size
        self._held.setdefault((held[SIDE], held[KEY]), {})[held[NUMBER]] = held
        heapq.heappush(self._over, (held[TIME] + self._within_ms + self._lateness_ms, held[NUMBER], held))
        return True

    def advance(self, now_ms: int) -> list[Row]:
        while self._over and self._over[0][0] < now_ms:
            _, number, held = heapq.heappop(self._over)
            self._bytes -= len(held[DATA])
            place = held[SIDE], held[KEY]
            del self._held[place][number]
            if not self._held[place]:
                del self._held[place]
        return []

    def deadline_ms(self) -> None:
        return None

    def dump(self) -> Any:
        return [self._number, sorted(held for _, _, held in self._over)]

    def restore(self, kept: Any) -> None:
        number, held = kept
        for one in held:
            one[TRAIL] = tuple(one[TRAIL])
            self._hold(one)
        self._number = number
