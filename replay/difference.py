"""What differs between two points of a log: aggregates that came, went or changed, field by field.

A point is a moment here: a position stands for its partition up to that record, and for the others up to the time of
its decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, Final, Literal

import msgspec
from accord.replay.source import Source
from accord.replay.state import Point, rebuild, time_of
from accord.schemas.position import Position

Kind = Literal["added", "removed", "changed"]
ITEMS_MAX: Final = 1_000
"""Lists longer than this are compared place by place."""


class Change(msgspec.Struct, frozen=True):
    """A field that differs; `path` is as in `holders[0].token`. None is what was not there, too."""

    path: str
    before: Any
    after: Any


class Differing(msgspec.Struct, frozen=True):
    """An aggregate that differs. One that was added has all its fields after, one that was removed all before."""

    domain: str
    key: str
    kind: Kind
    changes: tuple[Change, ...]


class Difference(msgspec.Struct, frozen=True):
    """From one point to the other. `decisions` is how many lie between them, by partition, where there are any: fewer
    than none where the second point is the earlier one. `rules` are partitions whose decider version differs."""

    a: str
    b: str
    decisions: dict[str, int]
    rules: dict[str, tuple[int, int]]
    aggregates: tuple[Differing, ...]


def difference(source: Source, a: Point, b: Point, *, domains: tuple[str, ...] = ()) -> Difference:
    """What differs between two points.

    Args:
        a, b: None is the end of the log.
        domains: only these; all without.

    Raises:
        NotFound: a point lies outside the log, or it has no such domain.
        LogGap, ChainBroken: the log lacks a decision, or one was changed.
    """
    chosen = source.all_partitions(domains)
    moments = [_moment(source, a), _moment(source, b)]
    decisions: dict[str, int] = {}
    rules: dict[str, tuple[int, int]] = {}
    found: list[Differing] = []
    for domain, number in chosen:
        one, other = (
            rebuild(source, domain, number, _point_of(point, moment, domain, number)).canonical()
            for point, moment in zip((a, b), moments, strict=True)
        )
        if one["seq"] != other["seq"]:
            decisions[one["partition"]] = other["seq"] - one["seq"]
        if one["rules"] != other["rules"]:
            rules[one["partition"]] = (one["rules"], other["rules"])
        found += _aggregates(domain, one["aggregates"], other["aggregates"])
    return Difference(_text(a), _text(b), decisions, rules, tuple(found))


def _moment(source: Source, point: Point) -> Point:
    """A point for partitions other than its own."""
    if not isinstance(point, Position):
        return point
    return datetime.fromtimestamp(time_of(source, point) / 1_000, UTC) + timedelta(microseconds=500)


def _point_of(point: Point, moment: Point, domain: str, number: int) -> Point:
    own = isinstance(point, Position) and (point.domain, point.partition) == (domain, number)
    return point if own else moment


def _text(point: Point) -> str:
    return "end" if point is None else str(point)


def _aggregates(domain: str, one: dict[str, Any], other: dict[str, Any]) -> Iterator[Differing]:
    for key in sorted({*one, *other}):
        before, after = one.get(key), other.get(key)
        if before != after:
            kind: Kind = "added" if before is None else "removed" if after is None else "changed"
            yield Differing(domain, key, kind, changes(before or {}, after or {}))


def changes(before: Any, after: Any) -> tuple[Change, ...]:
    """The fields in which plain data differ."""
    return tuple(_changes("", before, after))


def _changes(path: str, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            yield from _changes(f"{path}.{name}" if path else str(name), before.get(name), after.get(name))
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        yield from _in_list(path, before, after)
    else:
        yield Change(path, before, after)


def _in_list(path: str, before: Sequence[Any], after: Sequence[Any]) -> Iterator[Change]:
    """Items that came or went, and of those that stand where others stood the fields that differ. The place is that
    among those before or, of one that came, after."""
    if max(len(before), len(after)) > ITEMS_MAX:
        yield from _by_place(path, 0, 0, before, after)
        return
    one, other = [_canonical(item) for item in before], [_canonical(item) for item in after]
    for kind, i, i_end, j, j_end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind != "equal":
            yield from _by_place(path, i, j, before[i:i_end], after[j:j_end])


def _by_place(path: str, i: int, j: int, before: Sequence[Any], after: Sequence[Any]) -> Iterator[Change]:
    for place, (one, other) in enumerate(zip_longest(before, after)):
        number = i + place if place < len(before) else j + place
        if one is None or other is None or not _is_same(one, other):
            if one is not None:
                yield Change(f"{path}[{number}]", one, None)
            if other is not None:
                yield Change(f"{path}[{j + place}]", None, other)
        else:
            yield from _changes(f"{path}[{number}]", one, other)


_NAMES: Final = ("request", "token", "id", "name", "step", "agent", "voter")


def _is_same(one: Any, other: Any) -> bool:
    """Whether two items are of one thing, as far as the first field tells that names things."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return False
    name = next((name for name in _NAMES if name in one and name in other), None)
    return name is None or one[name] == other[name]


def _canonical(item: Any) -> bytes:
    return msgspec.json.encode(item, order="sorted")
