"""A persistent heap: what is due first. Leftist, so that putting in and taking out take O(log n) and change nothing.

Entries are (time, name). Whoever changes a name's time puts another entry in and tells an outdated one when it comes to
the top.
"""

from __future__ import annotations

from typing import Any

Heap = tuple[int, tuple[int, Any], Any, Any] | None
"""Rank, entry, left, right; None is empty."""


def with_entry(heap: Heap, time: int, name: Any) -> Heap:
    return _merged(heap, (1, (time, name), None, None))


def without_first(heap: Heap) -> Heap:
    return None if heap is None else _merged(heap[2], heap[3])


def _merged(one: Heap, other: Heap) -> Heap:
    """Two heaps as one: the right spine is the shortest way out, O(log n) long."""
    if one is None or other is None:
        return one or other
    if other[1] < one[1]:
        one, other = other, one
    _, entry, left, right = one
    right = _merged(right, other)
    left_rank, right_rank = (left[0] if left else 0), (right[0] if right else 0)
    if left_rank < right_rank:
        left, right, right_rank = right, left, left_rank
    return right_rank + 1, entry, left, right
