"""Durations and what is said of many of them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """Of `count` durations in ms: their sum, median, 95th percentile (nearest rank) and the longest."""

    count: int = 0
    total_ms: int = 0
    p50_ms: int = 0
    p95_ms: int = 0
    max_ms: int = 0


def durations() -> array[int]:
    """An empty list of durations in ms, eight bytes each."""
    return array("q")


def spread(durations_ms: Sequence[int]) -> Spread:
    """What is said of them."""
    if not durations_ms:
        return Spread()
    ordered = sorted(durations_ms)
    p50, p95 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95))
    return Spread(len(ordered), sum(ordered), p50, p95, ordered[-1])
