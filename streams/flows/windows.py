"""Windows: what belongs together by time and key, told when the log's time has passed its end.

Rules that hold here:
- A window [start, end) is closed once the log's time is `lateness_ms` past its end, never before and never by what an
  event says of its time. A closed window stays closed: each is told once, and with `update` never after it is closed.
- An event counts in all its windows that are open. It is late if all are closed.
- Windows are told in the order of (when they are due, when their first event came).
- At most `open_max` windows are open. An event that would open another is passed over there, and every window that is
  opened later and may lack it is told as `partial`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any, Final

from accord.streams.flows.aggregates import Aggregate
from accord.streams.flows.bounds import HELD_BYTES_MAX
from accord.streams.flows.flow import Window, Windowed
from accord.streams.flows.rows import LATE, OVERFLOW, Item, Row, Trail, longer, passed_over
from accord.streams.signals.data import exact

Cell = list[Any]
"""An open window of a key, as plain data; its fields by number."""
KEY, START, END, OPENED, TOLD, PARTIAL, FIRST, LAST, TRAIL, VALUES = range(10)
Held = list[Any]
"""What an event is to the aggregates of sliding windows to come; its fields by number."""
NUMBER, OF, TIME, READ, ORIGIN, CAME_BY = range(6)


class Windows:
    """Tumbling and hopping windows.

    Args:
        keys: names of the key's fields, in results.
        aggregates: what is told of a window, by name.
    """

    def __init__(self, windowed: Windowed, keys: Sequence[str], aggregates: Sequence[tuple[str, Aggregate]]) -> None:
        self._window: Final[Window] = windowed.window
        self._lateness_ms: Final = windowed.lateness_ms
        self._updates: Final = windowed.late == "update"
        self._open_max: Final = windowed.open_max
        self._names: Final = tuple([path.rpartition(".")[2] for path in keys])
        self._aggregates: Final = tuple(aggregates)
        self._parts: Final = tuple([aggregate for _, aggregate in aggregates])
        self._cells: dict[tuple[str, int], Cell] = {}
        self._due: list[tuple[int, int, Cell]] = []
        self._opened = 0
        self._lacking_to_ms = 0
        """Windows that start before it, opened from now on, may lack an event."""

    def take(self, item: Item, now_ms: int) -> list[Row]:
        late, lacks = True, False
        rows: list[Row] = []
        values: list[Any] | None = None
        for start in self._starts(item.time_ms):
            end = start + self._window.ms
            if end + self._lateness_ms <= now_ms:
                continue
            late = False
            cell = self._cells.get((item.key, start))
            if cell is None:
                if len(self._cells) >= self._open_max:
                    self._lacking_to_ms = max(self._lacking_to_ms, start + 1)
                    lacks = True
                    continue
                cell = self._open(item, start, end)
            if values is None:
                values = [part.read(item.data) for part in self._parts]
            self._count_in(cell, values, item.origin, item.trail)
            if self._updates and end <= now_ms:
                rows.append(self._told(cell))
        if late or lacks:
            rows.append(passed_over(item, LATE if late else OVERFLOW))
        return rows

    def _starts(self, time_ms: int) -> range:
        """The starts of the windows that a time falls into, the earliest first."""
        every = self._window.every_ms
        newest = time_ms - time_ms % every
        return range(newest - (self._window.ms - 1 - time_ms % every) // every * every, newest + 1, every)

    def _open(self, item: Item, start: int, end: int) -> Cell:
        self._opened += 1
        initial = [part.initial for part in self._parts]
        partial = start < self._lacking_to_ms
        cell: Cell = [item.key, start, end, self._opened, 0, partial, item.origin, item.origin, (), initial]
        self._cells[item.key, start] = cell
        self._schedule(cell)
        return cell

    def _schedule(self, cell: Cell) -> None:
        due = cell[END] if self._updates and not cell[TOLD] else cell[END] + self._lateness_ms
        heapq.heappush(self._due, (due, cell[OPENED], cell))

    def _count_in(self, cell: Cell, values: Sequence[Any], origin: str, trail: Trail) -> None:
        kept = cell[VALUES]
        cell[VALUES] = [part.add(kept[i], values[i]) for i, part in enumerate(self._parts)]
        cell[LAST] = origin
        cell[TRAIL] = longer(cell[TRAIL], trail)

    def advance(self, now_ms: int) -> list[Row]:
        rows = []
        while self._due and self._due[0][0] <= now_ms:
            _, _, cell = heapq.heappop(self._due)
            if not self._updates or not cell[TOLD]:
                rows.append(self._told(cell))
            if cell[END] + self._lateness_ms <= now_ms:
                self._forget(cell)
            else:
                self._schedule(cell)
        return rows

    def _forget(self, cell: Cell) -> None:
        del self._cells[cell[KEY], cell[START]]

    def _told(self, cell: Cell) -> Row:
        data = dict(zip(self._names, exact(cell[KEY]), strict=True))
        data |= {"from_ms": cell[START], "to_ms": cell[END]}
        for (name, part), kept in zip(self._aggregates, cell[VALUES], strict=True):
            data[name] = part.result(kept)
        if cell[TOLD]:
            data["update"] = cell[TOLD]
        if cell[PARTIAL]:
            data["partial"] = True
        cell[TOLD] += 1
        causes = (cell[FIRST],) if cell[FIRST] == cell[LAST] else (cell[FIRST], cell[LAST])
        return Row("", data, causes, cell[TRAIL])

    def deadline_ms(self) -> int | None:
        return self._due[0][0] if self._due else None

    def dump(self) -> Any:
        return [self._opened, self._lacking_to_ms, list(self._cells.values())]

    def restore(self, kept: Any) -> None:
        self._opened, self._lacking_to_ms, cells = kept
        for cell in cells:
            cell[TRAIL] = tuple(cell[TRAIL])
            self._cells[cell[KEY], cell[START]] = cell
            self._schedule(cell)


class SlidingWindows(Windows):
    """For each key and each moment at which there is an event, the window that ends with that moment.

    Further rules:
    - What an event is to the aggregates is held for as long as a window can be opened that it is in, within the bounds
      `open_max` and `HELD_BYTES_MAX`. One that finds no room counts in the windows that are open and is passed over.
    - Within a window, events are counted in the order in which they came.
    """

    def __init__(self, windowed: Windowed, keys: Sequence[str], aggregates: Sequence[tuple[str, Aggregate]]) -> None:
        super().__init__(windowed, keys, aggregates)
        self._of_key: dict[str, dict[int, Cell]] = {}
        self._held: dict[str, dict[int, Held]] = {}
        self._over: list[tuple[int, int, Held]] = []
        self._number = self._bytes = 0

    def take(self, item: Item, now_ms: int) -> list[Row]:
        start, end = item.time_ms + 1 - self._window.ms, item.time_ms + 1
        if item.time_ms + self._window.ms + self._lateness_ms <= now_ms:
            return [passed_over(item, LATE)]
        read = [part.read(item.data) for part in self._parts]
        held: Held = [self._number + 1, item.key, item.time_ms, read, item.origin, item.trail]
        counted = [
            cell for cell in self._of_key.get(item.key, {}).values() if cell[START] <= item.time_ms < cell[END]
        ]  # fmt: skip
        for cell in counted:
            self._count_in(cell, read, item.origin, item.trail)
        opens = end + self._lateness_ms > now_ms and start not in self._of_key.get(item.key, {})
        room = not opens or len(self._cells) < self._open_max
        if opens and room:
            counted.append(self._opened_with(item, start, end, held))
        room = self._hold(held) and room
        rows = [self._told(cell) for cell in counted if self._updates and cell[END] <= now_ms]
        if not room:
            self._lacking_to_ms = max(self._lacking_to_ms, end)
            rows.append(passed_over(item, OVERFLOW))
        return rows

    def _opened_with(self, item: Item, start: int, end: int, held: Held) -> Cell:
        """Opens a window with all that is held for it, and the event that opens it."""
        cell = self._open(item, start, end)
        self._of_key.setdefault(item.key, {})[start] = cell
        inside = [one for one in self._held.get(item.key, {}).values() if start <= one[TIME] < end]
        for one in (*inside, held):
            self._count_in(cell, one[READ], one[ORIGIN], one[CAME_BY])
        cell[FIRST] = (*inside, held)[0][ORIGIN]
        return cell

    def _hold(self, held: Held) -> bool:
        """Holds an event for windows to come; False if there is no room."""
        over = held[TIME] + self._window.ms + self._lateness_ms
        size = _size(held)
        if len(self._over) >= self._open_max or self._bytes + size > HELD_BYTES_MAX:
            return False
        self._number = held[NUMBER]
        self._bytes += size
        self._held.setdefault(held[OF], {})[held[NUMBER]] = held
        heapq.heappush(self._over, (over, held[NUMBER], held))
        return True

    def advance(self, now_ms: int) -> list[Row]:
        rows = super().advance(now_ms)
        while self._over and self._over[0][0] <= now_ms:
            _, number, held = heapq.heappop(self._over)
            self._bytes -= _size(held)
            of_key = self._held[held[OF]]
            del of_key[number]
            if not of_key:
                del self._held[held[OF]]
        return rows

    def _forget(self, cell: Cell) -> None:
        super()._forget(cell)
        of_key = self._of_key[cell[KEY]]
        del of_key[cell[START]]
        if not of_key:
            del self._of_key[cell[KEY]]

    def dump(self) -> Any:
        return [super().dump(), self._number, sorted(held for _, _, held in self._over)]

    def restore(self, kept: Any) -> None:
        cells, number, held = kept
        super().restore(cells)
        for cell in self._cells.values():
            self._of_key.setdefault(cell[KEY], {})[cell[START]] = cell
        for one in held:
            one[CAME_BY] = tuple(one[CAME_BY])
            self._hold(one)
        self._number = number


def _size(held: Held) -> int:
    return sum(len(read) for read in held[READ] if isinstance(read, str))
