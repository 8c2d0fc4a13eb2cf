"""Consistent cuts: a point of every partition such that no decision stands without what it rests on.

    cut = cut_at(source, parse_point("locks/3@1842"))
    str(cut)                                 # locks/3@1842,signals/0@17,...: can be given again as a point

What a decision rests on is read off its vector clock, never off times: for each partition that it names, all of that
partition's decisions up to the count named. A partition's clock takes in what the clocks before it knew, so the last
decision of each partition speaks for all of them, or, where its clock has no more room, what all of them name. What an
agent's own clock had lost before its command reached a partition is named by none: it lies in the cut if time puts it
there.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from accord.replay.parallel import each, processes_for
from accord.replay.source import Source
from accord.replay.state import Cut, Point, accepted, is_beyond, time_of
from accord.schemas.clock import ENTRIES_MAX, VectorClock
from accord.schemas.position import Position
from accord.streams.chain import Decision

from accord.errors import BadInput

Where = tuple[str, int]


def parse_cut(source: Source, text: str) -> Cut:
    """Reads a cut as it is printed: positions of decisions, one a partition, with commas between.

    Raises:
        BadInput: it is none, or it is not consistent: names a decision and what it rests on that is left out.
        NotFound: a position lies outside the log.
    """
    positions = [Position.parse(part.strip()) for part in text.split(",")]
    if any(position.commands for position in positions):
        raise BadInput(f"{text!r}: a cut consists of positions of decisions, not of commands.")
    if len({(position.domain, position.partition) for position in positions}) < len(positions):
        raise BadInput(f"{text!r} names a partition twice.")
    for position in positions:
        source.check_position(position)
    last: dict[Where, Decision | None] = dict.fromkeys(source.all_partitions())
    last |= {(one.domain, one.partition): _last(source, one.domain, one.partition, one) for one in positions}
    for where, (other, count) in _missing(source, last):
        needed, there = _up_to(source, other, count), last[other]
        if needed is not None and (there is None or needed.seq > there.seq):
            at = Position(*other, needed.offset)
            raise BadInput(
                f"{text!r} is not consistent: {where[0]}/{where[1]} had been told of {at}, which is left out.",
                remedy="Add it, or name one position and let --cut find the others.",
            )
    return _cut(last)


def cut_at(source: Source, point: Point | Cut, *, domains: tuple[str, ...] = (), processes: int = 1) -> Cut:
    """The consistent cut at a point: what every partition had decided by then, and all that this rests on.

    Args:
        point: a position (its partition up to that record, the others up to the time of its decision), a time, or None
            for the end. A cut is returned as it is.
        domains: only these; all without.
        processes: how many to work in; 0 is what pays.

    Raises:
        NotFound: the point lies outside the log.
        LogGap, ChainBroken: the log lacks a decision before it, or one was changed.
    """
    if isinstance(point, Cut):
        return point
    where = source.all_partitions(domains)
    moment = point
    if isinstance(point, Position):
        source.check_position(point)
        moment = datetime.fromtimestamp(time_of(source, point) / 1_000, UTC) + timedelta(microseconds=500)
    count = processes or processes_for(source, where)
    found = each(source, where, partial(_reached, point=point, moment=moment), count)
    last = dict(zip(where, found, strict=True))
    lacking: set[tuple[Where, int]] = set()
    while missing := {wanted for _, wanted in _missing(source, last)} - lacking:
        for other, needed in missing:
            decision, there = _up_to(source, other, needed), last[other]
            if decision is None or (there is not None and decision.seq <= there.seq):
                lacking.add((other, needed))  # an archive that ends before it, a clock that somebody made up
            else:
                last[other] = decision
    return _cut(last)


def _reached(source: Source, domain: str, number: int, *, point: Point, moment: Point) -> Decision | None:
    own = isinstance(point, Position) and (point.domain, point.partition) == (domain, number)
    return _last(source, domain, number, point if own else moment)


def _last(source: Source, domain: str, number: int, point: Point) -> Decision | None:
    """The last decision of a partition up to a point."""
    last = None
    for decision in accepted(source, domain, number):
        if point is not None and is_beyond(decision, point):
            break
        last = decision
    return last


def _up_to(source: Source, where: Where, count: int) -> Decision | None:
    """The first decision of a partition whose own entry is `count` or more; the last, if the log lacks that."""
    decision = None
    for decision in accepted(source, *where):
        if _entries(decision).get(_name(where), 0) >= count:
            break
    return decision


def _missing(source: Source, last: dict[Where, Decision | None]) -> Iterator[tuple[Where, tuple[Where, int]]]:
    """What the last decisions of a cut had been told of and it leaves out: who; of which partition, to which count."""
    by_name = {_name(where): where for where in last}
    for where, decision in last.items():
        if decision is None:
            continue
        for name, count in _told(source, where, decision).items():
            other = by_name.get(name)
            if other is not None and other != where and count > _own(other, last[other]):
                yield where, (other, count)


def _told(source: Source, where: Where, last: Decision) -> dict[str, int]:
    """What a partition had been told of by its decision `last`: the newest count of each name."""
    told = _entries(last)
    if len(told) < ENTRIES_MAX:
        return told
    told = told.copy()
    for decision in accepted(source, *where):
        if decision.seq >= last.seq:
            break
        for name, count in _entries(decision).items():
            told[name] = max(count, told.get(name, 0))
    return told


def _own(where: Where, decision: Decision | None) -> int:
    return -1 if decision is None else _entries(decision).get(_name(where), 0)


def _entries(decision: Decision) -> dict[str, int]:
    return VectorClock.decode(decision.clock).entries


def _name(where: Where) -> str:
    return f"{where[0]}/{where[1]}"


def _cut(last: dict[Where, Decision | None]) -> Cut:
    there = [(where, decision) for where, decision in last.items() if decision is not None]
    return Cut(
        tuple([Position(*where, decision.offset) for where, decision in there]),
        tuple([decision.cause for _, decision in there]),
    )
