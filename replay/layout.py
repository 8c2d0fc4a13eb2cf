"""Where the boxes of a directed graph stand when it is drawn in columns, and where its arrows bend.

After Sugiyama, Tagawa and Toda (1981): columns by longest path, a bend where an arrow passes a column, an order within
the columns by barycentre, so that arrows cross little. Of a ring, one arrow goes from right to left, below the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Final, NamedTuple

Arrow = tuple[str, str]
"""From a box to a box."""

_SWEEPS: Final = 8
_GAP: Final = 16


class Bend(NamedTuple):
    """Where the arrow between two boxes passes a column."""

    arrow: Arrow
    column: int


class Layout:
    """The boxes of a connected graph.

    `column` is that of each box, 0 is leftmost; `y` the middle of each box and bend, in pixels, 0 is the top; `bends`
    are those of each arrow, from its start to its end; `height` is that of the whole, in pixels.

    Args:
        arrows: at least one.
        heights: of each box, in pixels.
        bend_height: of an arrow that passes a column, in pixels.
    """

    def __init__(self, arrows: Sequence[Arrow], heights: Mapping[str, int], bend_height: int) -> None:
        self.column: Final = columns_of(arrows)
        self.bends: Final = {arrow: self._bends(arrow) for arrow in arrows}
        self.y: Final[dict[str | Bend, float]] = {}
        columns = [
            [(item, heights[item] if isinstance(item, str) else bend_height) for item in column]
            for column in self._ordered(heights)
        ]
        totals = [sum(height + _GAP for _, height in column) - _GAP for column in columns]
        self.height: Final = max(totals)
        for column, total in zip(columns, totals, strict=True):
            y = (self.height - total) / 2
            for item, height in column:
                self.y[item] = y + height / 2
                y += height + _GAP

    def _bends(self, arrow: Arrow) -> list[Bend]:
        start, end = self.column[arrow[0]], self.column[arrow[1]]
        step = 1 if end > start else -1
        return [Bend(arrow, column) for column in range(start + step, end, step)] if start != end else []

    def _ordered(self, boxes: Iterable[str]) -> list[list[str | Bend]]:
        columns: list[list[str | Bend]] = [[] for _ in range(max(self.column.values()) + 1)]
        for box in boxes:
            columns[self.column[box]].append(box)
        before: dict[str | Bend, list[str | Bend]] = {}
        after: dict[str | Bend, list[str | Bend]] = {}
        for (start, end), bends in self.bends.items():
            for bend in bends:
                columns[bend.column].append(bend)
            path: list[str | Bend] = [start, *bends, end]
            for left, right in pairwise(path if self.column[start] < self.column[end] else path[::-1]):
                before.setdefault(right, []).append(left)
                after.setdefault(left, []).append(right)
        at = {item: place / len(column) for column in columns for place, item in enumerate(column)}
        for sweep in range(_SWEEPS):  # in turn to the right, by those on the left, and back
            beside = after if sweep % 2 else before
            for column in columns[:: -1 if sweep % 2 else 1]:
                column.sort(
                    key=lambda item: (self._turns(item), _mean([at[other] for other in beside.get(item, [item])]))
                )
                at.update({item: place / len(column) for place, item in enumerate(column)})
        return columns

    def _turns(self, item: str | Bend) -> bool:
        """Whether it is of an arrow from right to left: these pass below all others."""
        return isinstance(item, Bend) and self.column[item.arrow[0]] > self.column[item.arrow[1]]


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def columns_of(arrows: Iterable[Arrow]) -> dict[str, int]:
    """The column of each box: left of all that its arrows go to, but for one arrow of each ring."""
    ends: dict[str, list[str]] = {}
    for start, end in arrows:
        ends.setdefault(start, []).append(end)
    while True:
        try:
            boxes = list(TopologicalSorter(ends).static_order())
            break
        except CycleError as error:
            end, start = error.args[1][:2]
            ends[start] = [other for other in ends[start] if other != end]
    depth: dict[str, int] = {}
    for box in boxes:
        depth[box] = max((depth[end] + 1 for end in ends.get(box, ())), default=0)
    return {box: max(depth.values()) - own for box, own in depth.items()}
