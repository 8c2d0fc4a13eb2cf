"""What the events of a domain tell of each of its aggregates, those that its state has forgotten included.

A point is a moment here: a position stands for its partition up to that record, and for the others up to the time of
its decision.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Generic, TypeVar

from accord.replay.parallel import each, processes_for
from accord.replay.source import Source
from accord.replay.state import Point, rebuild, time_of
from accord.schemas.position import Position
from accord.schemas.topics import partition_of
from accord.streams.partition import Decided

T = TypeVar("T")


class History(ABC, Generic[T]):
    """What is kept of the aggregates of a partition, by key; told its decisions, in order."""

    def __init__(self) -> None:
        self.kept: dict[str, T] = {}
        self._where = ("", 0)

    @abstractmethod
    def see(self, decided: Decided) -> None:
        """Takes note of a decision."""

    def begin(self, domain: str, number: int) -> None:
        """Names the partition."""
        self._where = domain, number

    def place(self, decided: Decided) -> tuple[str, str]:
        """The key of a decision's aggregate, and its position."""
        key = decided.decision.key.decode(errors="replace")
        return key, str(Position(*self._where, decided.decision.offset))


def everything(
    source: Source, domain: str, kind: Callable[[], History[T]], point: Point = None, processes: int = 1
) -> list[tuple[str, T]]:
    """What is kept of all aggregates of a domain at a point. Raises what `state_at` raises."""
    if domain not in source.partitions:
        return []
    chosen = source.all_partitions((domain,))
    count = processes or processes_for(source, chosen)
    folded = each(source, chosen, partial(_fold, kind=kind, point=point, moment=_moment(source, point)), count)
    return [pair for kept in folded for pair in kept.items()]


def one_of(source: Source, domain: str, kind: Callable[[], History[T]], point: Point, key: str) -> T | None:
    """What is kept of one aggregate at a point; only its partition is read."""
    if domain not in source.partitions:
        return None
    number = partition_of(key.encode(), source.partitions[domain])
    return _fold(source, domain, number, kind=kind, point=point, moment=_moment(source, point)).get(key)


def _moment(source: Source, point: Point) -> Point:
    """The point for partitions other than its own."""
    if not isinstance(point, Position):
        return point
    at_ms = time_of(source, point)
    return datetime.fromtimestamp(at_ms / 1_000, UTC) + timedelta(microseconds=500)


def _fold(
    source: Source, domain: str, number: int, *, kind: Callable[[], History[T]], point: Point, moment: Point
) -> dict[str, T]:
    own = isinstance(point, Position) and (point.domain, point.partition) == (domain, number)
    history = kind()
    history.begin(domain, number)
    rebuild(source, domain, number, point if own else moment, history.see)
    return history.kept
