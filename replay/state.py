"""State at a point: the fold of the accepted decisions up to there, without deciding, asking or telling anybody.

The dump is canonical: the same log up to the same point gives the same bytes, and the same hash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec
from accord.replay.parallel import each, processes_for
from accord.replay.source import Source
from accord.schemas.headers import Confirmed
from accord.schemas.position import Position
from accord.streams.chain import Chain, Decision, Head
from accord.streams.checkpoint import Checkpoint
from accord.streams.domains import DOMAINS
from accord.streams.partition import Deadlines, Decided, Partition, Window

from accord.errors import BadInput, ChainBroken, LogGap, NotFound, UnknownRules

if TYPE_CHECKING:
    from accord.replay.checkpoints import Checkpoints

Point = Position | datetime | None
"""A position (the state of its partition, that record included), a time by the log's clock, or the end of the log."""

_CLEAR_EVERY: Final = 10_000
_ACCEPTED_AT_ONCE: Final = 64
"""Folding each decision as it is accepted takes half a microsecond longer: the processor works on less at a time."""
_TIME = re.compile(r"\d{4}-\d\d-\d\d")


class Cut(msgspec.Struct, frozen=True):
    """A consistent cut (`accord.replay.cut`): the last decision of each partition.

    `causes` are the offsets of their commands, in the same order.

    A partition that is not named has decided nothing yet.
    """

    positions: tuple[Position, ...]
    causes: tuple[int, ...]

    def __str__(self) -> str:
        return ",".join(str(position) for position in self.positions)

    def at(self, domain: str, partition: int) -> Position | None:
        """Where a partition is cut; None: before its first decision."""
        return next((one for one in self.positions if (one.domain, one.partition) == (domain, partition)), None)

    def end(self, domain: str, partition: int, *, commands: bool = False) -> int:
        """The offset after the last decision of a partition, or after its command; 0 if there is none."""
        for position, cause in zip(self.positions, self.causes, strict=True):
            if (position.domain, position.partition) == (domain, partition):
                return max(0, cause + 1) if commands else position.offset + 1
        return 0


class World(msgspec.Struct, frozen=True):
    """The state of one partition or of all, as plain data; `hash` is the SHA-256 of `partitions` in canonical form.

    `unusable` says of each checkpoint that would have been next, and was passed over, what is wrong with it.
    """

    source: str
    at: str
    decisions: int
    partitions: tuple[dict[str, Any], ...]
    hash: str
    unusable: tuple[str, ...] = ()


def parse_point(text: str | None) -> Point:
    """Reads a point as a person writes it.

    Args:
        text: a position, `locks/3@1842`; a time, `2026-03-01T12:00:00Z` (ISO 8601, with its zone); None for the end.

    Raises:
        BadInput: it is neither.
    """
    if text is None:
        return None
    if not _TIME.match(text.strip()):
        return Position.parse(text)
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise BadInput(f"{text!r} is no time: {error}.", remedy="Write 2026-03-01T12:00:00Z.") from error
    if at.tzinfo is None:
        raise BadInput(f"{text!r} has no time zone.", remedy="Write Z for UTC, or an offset as +02:00.")
    return at


def state_at(
    source: Source, point: Point | Cut = None, *, domains: tuple[str, ...] = (), processes: int = 1,
    checkpoints: Checkpoints | None = None,
) -> World:  # fmt: skip
    """Rebuilds the state at a point.

    Args:
        point: where; a position rebuilds its partition alone.
        domains: only these; all without.
        processes: how many to work in; 0 is what pays. More than 1 needs the caller's main module to be importable.
        checkpoints: of this log; the fold goes on from the nearest of each partition.

    Raises:
        NotFound: the point lies outside the log.
        LogGap: the events log was cut, or lacks a decision before the point; names the offset.
        ChainBroken: it was changed.
        UnknownRules: it was decided by rules that this release does not have.
    """
    if isinstance(point, Position):
        source.check_position(point)
        chosen = [(point.domain, point.partition)]
    else:
        chosen = source.all_partitions(domains)
    count = processes or processes_for(source, chosen)
    folded = each(source, chosen, partial(_canonical, point=point, checkpoints=checkpoints), count)
    states = tuple([state for state, _ in folded])
    decisions = sum(state["seq"] for state in states)
    if isinstance(point, datetime) and decisions == sum(state["seq"] > 0 for state in states):
        raise NotFound(f"{_iso(point)} is before the first decision on a command in {source.name}.")
    at = "end" if point is None else _iso(point) if isinstance(point, datetime) else str(point)
    unusable = tuple([problem for _, problems in folded for problem in problems])
    return World(source.name, at, decisions, states, sha256(msgspec.json.encode(states)).hexdigest(), unusable)


def _canonical(
    source: Source, domain: str, number: int, point: Point | Cut, checkpoints: Checkpoints | None
) -> tuple[dict[str, Any], list[str]]:
    if isinstance(point, Cut):
        point = point.at(domain, number)
        if point is None:
            return new_partition(source, domain, number).canonical(), []
    if checkpoints is None:
        return rebuild(source, domain, number, point).canonical(), []
    partition, unusable = checkpoints.nearest(source, domain, number, point)
    return fold(source, partition, point).canonical(), unusable


def rebuild(
    source: Source, domain: str, number: int, point: Point = None, seen: Callable[[Decided], None] | None = None
) -> Partition:
    """One partition folded up to a point, or to the end. It can be looked at, but decides nothing.

    Args:
        seen: is told each decision, before it is folded in.
    """
    return fold(source, new_partition(source, domain, number), point, seen)


def new_partition(source: Source, domain: str, number: int) -> Partition:
    """A partition to be folded, before its first decision."""
    partition = Partition(source.identity(domain, number), DOMAINS[domain])
    partition.window, partition.deadlines = NoWindow(), NoDeadlines()
    return partition


def fold(
    source: Source, partition: Partition, point: Point = None, seen: Callable[[Decided], None] | None = None
) -> Partition:
    """Folds a partition on, from where it stands up to a point or to the end. See `rebuild`."""
    domain, number = partition.identity.domain, partition.identity.partition
    read, apply, changed = partition.read, partition.apply, partition.changed
    decisions = accepted(source, domain, number, after=partition.head)
    for decision in decisions if point is None else _until(decisions, point):
        try:
            decided = read(decision)
            if seen is not None:
                seen(decided)
            apply(decided)
        except (BadInput, UnknownRules):  # `seen` cannot go on, or nobody could
            raise
        except Exception as error:  # fits the chain, but is no decision of any worker
            at = str(Position(domain, number, decision.offset))
            raise ChainBroken(
                f"{at}: the decision cannot be taken in: {error!r}.",
                remedy="See what it should be: accord replay verify.",
                position=at,
            ) from error
        if len(changed) >= _CLEAR_EVERY:
            changed.clear()
    return partition


class NoWindow(Window):
    """Knows no command ids: a fold that decides nothing needs none, and they are most of a partition's memory."""

    def add(self, decision: Decision) -> None:
        """Forgets it."""


class NoDeadlines(Deadlines):
    """Knows no deadlines: time passes only where commands are decided, and these carry it."""

    def set(self, key: str, deadline_ms: int | None) -> None:
        """Forgets it."""

    def clear(self, key: str) -> None:
        """Knows of none."""


def accepted(
    source: Source, domain: str, number: int, *, after: Head | None = None, beside: bool = False
) -> Iterator[Decision]:
    """The accepted decisions of a partition, from the first.

    Args:
        after: go on after this one, which must be where it says that it is.

    Raises:
        LogGap: the log lacks one; names the offset.
        ChainBroken: one was changed, or `after` is not in the log.
    """
    root = source.root(domain, number)
    anchor = None if after is None or after.seq == 0 else Confirmed(after.offset, after.seq, after.digest)
    chain = Chain(root) if anchor is None else Chain.anchored(root, anchor)
    accept = chain.accept
    decisions: list[Decision] = []
    try:
        source.check_whole(domain, number)
        records = source.read(domain, number, 0 if anchor is None else anchor.offset, beside=beside)
        if anchor is not None:
            first = next(records, None)
            if first is None or accept(first) is None:
                raise ChainBroken(f"Offset {anchor.offset} does not hold decision {anchor.seq}.", offset=anchor.offset)
        for record in records:
            decision = accept(record)
            if decision is not None:
                decisions.append(decision)
                if len(decisions) == _ACCEPTED_AT_ONCE:
                    yield from decisions
                    decisions.clear()
    except Exception as error:
        yield from decisions  # they lie before the record that brought the error
        if isinstance(error, ChainBroken | LogGap) and error.position is None:
            error.position = str(Position(domain, number, error.details.get("offset", chain.head.offset + 1)))
        raise
    yield from decisions
    if chain.head.seq == 0 and chain.skipped:
        at = str(Position(domain, number, 0))
        raise ChainBroken(
            f"{at}: none of the {chain.skipped} records starts the chain of {domain}/{number} in {source.name}.",
            remedy="Is it the log of another cluster or prefix? Chains do not outlive a copy by other means.",
            position=at,
        )


def time_of(source: Source, position: Position) -> int:
    """The time by its partition's clock of what a position names, in ms since 1970; 0: nothing was decided by then.

    Raises:
        NotFound: the position lies outside the log.
        LogGap, ChainBroken: the log lacks a decision before it, or one was changed.
    """
    source.check_position(position)
    decisions = _until(accepted(source, position.domain, position.partition), position)
    return max((decision.now_ms for decision in decisions), default=0)


def _until(decisions: Iterator[Decision], point: Position | datetime) -> Iterator[Decision]:
    for decision in decisions:
        if is_beyond(decision, point):
            return
        yield decision


def is_beyond(decision: Decision | Checkpoint, point: Position | datetime) -> bool:
    """Whether a decision lies after a point of its partition."""
    if isinstance(point, datetime):
        return decision.now_ms > point.timestamp() * 1_000
    return (decision.cause if point.commands else decision.offset) > point.offset


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
