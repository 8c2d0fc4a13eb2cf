"""Where a fork begins: a consistent cut through all partitions, and what was decided after it.

The decisions stand in the order of `accord.replay.order`: each place in it is closed under causes. After a position
means: after its decision, and after all that comes before that. Without a point the cut lies right before the first
decision that a change concerns.

What comes after the cut is kept in memory, so it is bounded: `DECISIONS_MAX`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec
from accord.replay.fork.changes import Change, Insert, Placed, Remove, Rules, SetFields
from accord.replay.order import InOrder, Where
from accord.replay.source import Source
from accord.replay.state import NoDeadlines, Point, parse_point
from accord.schemas import headers as h
from accord.schemas.headers import Record
from accord.schemas.position import Position
from accord.streams.chain import GENESIS_CAUSE, Decision
from accord.streams.domains import DOMAINS
from accord.streams.partition import Partition

from accord.errors import BadInput, LogGap, NotFound

DECISIONS_MAX: Final = 500_000
"""Most decisions after the cut."""
_EVENT_ID: Final = re.compile(r"([a-z][a-z_]*)/([0-9]{1,9}):([0-9]{1,18})(#[0-9]{1,6})?")
_LOST: Final = b".CommandsLost"


class Slot(msgspec.Struct, frozen=True, gc=False):
    """A recorded decision after the cut, with its command; without one, for what no command brought."""

    where: Where
    decision: Decision
    command: Record | None
    kind: str
    """The type of the command, as `AcquireLock`."""
    sender: str

    @property
    def key(self) -> str:
        return self.decision.key.decode(errors="replace")

    @property
    def position(self) -> Position:
        return Position(*self.where, self.decision.offset)

    @property
    def command_at(self) -> Position:
        return Position(*self.where, self.decision.cause, commands=True)


class Cut(msgspec.Struct, frozen=True):
    """A log in two: what was decided before, folded, and the decisions after it in their order.

    `at` says where it lies. `first` is what is inserted right at the cut.
    """

    at: str
    partitions: dict[Where, Partition]
    slots: tuple[Slot, ...]
    first: tuple[Insert, ...]


def parse_place(text: str) -> Point:
    """Reads a point as a person writes it: a position, a time, or the id of an event, `locks/3:977`.

    Raises:
        BadInput: it is none.
    """
    match = _EVENT_ID.fullmatch(text.strip())
    if match is not None:
        return Position(match[1], int(match[2]), int(match[3]), commands=True)
    return parse_point(text)


def cut(source: Source, at: Point, changes: Sequence[Change], *, decisions_max: int = DECISIONS_MAX) -> Cut:
    """Cuts a log.

    Args:
        at: after which decision; None: right before the first that a change concerns.
        decisions_max: most decisions after it.

    Raises:
        BadInput: a change concerns nothing that comes after the cut, or too much comes after it.
        NotFound: the point lies outside the log.
        LogGap: the log lacks a decision, or a command after the cut.
        ChainBroken: the log was changed.
    """
    if isinstance(at, Position):
        source.check_position(at)
    wanted = [change for change in changes if not isinstance(change, Rules)]
    for change in wanted:
        if (position := place_of(change)) is not None:
            source.check_position(position)
    cutting = _Cutting(source, at, wanted)
    for where, decision in _in_order(source, cutting.partitions):
        cutting.take(where, decision)
        if len(cutting.slots) > decisions_max:
            raise BadInput(
                f"More than {decisions_max:,} decisions come after {cutting.at}; a fork keeps them in memory.",
                remedy="Cut later, or export a part of the log that ends sooner.",
            )
    return Cut(cutting.at, cutting.partitions, tuple(cutting.slots), tuple(cutting.check()))


def place_of(change: Placed) -> Position | None:
    """The position that a change names."""
    match change:
        case SetFields(position=position) | Remove(position=position) | Insert(after=position):
            return position
    return None


def _in_order(source: Source, partitions: dict[Where, Partition]) -> Iterator[tuple[Where, Decision]]:
    order = InOrder(source, {where: partition.head for where, partition in partitions.items()})
    while (following := order.take()) is not None:
        yield following


class _Cutting:
    """A log while it is cut. Geneses come before everything: they are what a partition starts from."""

    def __init__(self, source: Source, at: Point, wanted: Sequence[Placed]) -> None:
        self.source, self.point, self.wanted = source, at, wanted
        self.at = "the start"
        self.slots: list[Slot] = []
        self.partitions = {
            where: Partition(source.identity(*where), DOMAINS[where[0]]) for where in source.all_partitions()
        }
        for partition in self.partitions.values():
            partition.deadlines = NoDeadlines()
        self._is_cut = at is None and not wanted
        self._passed: set[int] = set()
        self._last: set[int] = set()
        """Changes that concern the last decision before the cut."""
        self._met: set[int] = set()
        self._commands: dict[Where, _Commands] = {}

    def take(self, where: Where, decision: Decision) -> None:
        if decision.cause == GENESIS_CAUSE:
            self._fold(where, decision)
            self._last = {n for n, one in enumerate(self.wanted) if one.concerns(where, decision, "")} | self._last
            self._is_cut |= isinstance(self.point, Position) and _is_reached(self.point, where, decision)
            self._is_cut |= self.point is None and bool(self._last)
            return
        self._is_cut |= isinstance(self.point, datetime) and decision.now_ms > self.point.timestamp() * 1_000
        is_looked_at = self._is_cut or self.point is None
        slot = self._slot(where, decision) if is_looked_at else Slot(where, decision, None, "", "")
        met = {number for number, one in enumerate(self.wanted) if one.concerns(where, decision, slot.kind)}
        self._is_cut |= self.point is None and bool(met)
        if self._is_cut:
            self._met |= met
            if slot.command is None and not decision.type.endswith(_LOST):
                at = str(slot.command_at)
                raise LogGap(
                    f"The command {at} is no longer in {self.source.name}: what follows cannot be decided again.",
                    remedy="Fork an archive that has it, or cut later: commands are kept for 30 days.",
                    position=at,
                )
            self.slots.append(slot)
            return
        self._passed |= met | self._last
        self._last = met
        self._fold(where, decision)
        self.at = str(slot.position)
        self._is_cut = isinstance(self.point, Position) and _is_reached(self.point, where, decision)

    def check(self) -> Iterator[Insert]:
        """Every change must concern something after the cut. What is inserted right at it is given."""
        for number, change in enumerate(self.wanted):
            if number in self._met:
                continue
            if number in self._last and isinstance(change, Insert):
                yield change
            elif place_of(change) is not None and number in self._passed | self._last:
                raise BadInput(
                    f"{change}: that lies before the cut, which is after {self.at}.",
                    remedy="Cut earlier, or leave --at away: then the cut lies right before the first change.",
                )
            else:
                raise NotFound(
                    f"{change}: nothing after {self.at} in {self.source.name} is that.",
                    remedy="See what there is: accord events list. With --json it has the commands, as cause.",
                )

    def _fold(self, where: Where, decision: Decision) -> None:
        partition = self.partitions[where]
        partition.apply(partition.read(decision))
        partition.changed.clear()

    def _slot(self, where: Where, decision: Decision) -> Slot:
        command = None if decision.type.endswith(_LOST) else self._command(where, decision)
        if command is None:
            return Slot(where, decision, None, "", "")
        fields = dict(command.headers)
        kind = (fields.get(h.TYPE) or b"").decode(errors="replace").rpartition(".")[2]
        return Slot(where, decision, command, kind, (fields.get(h.SOURCE) or b"").decode(errors="replace"))

    def _command(self, where: Where, decision: Decision) -> Record | None:
        commands = self._commands.get(where)
        if commands is None:
            commands = self._commands[where] = _Commands(self.source, where, decision.cause)
        return commands.take(decision.cause)


class _Commands:
    """A partition's commands, taken in step with the decisions on them."""

    def __init__(self, source: Source, where: Where, start: int) -> None:
        low, _ = source.bounds(*where, commands=True)
        self._records = source.read(*where, max(low, start), commands=True, beside=True)
        self._next: Record | None = next(self._records, None)

    def take(self, offset: int) -> Record | None:
        """The command at an offset; None: the log does not have it."""
        while self._next is not None and self._next.offset < offset:
            self._next = next(self._records, None)
        found = self._next
        if found is None or found.offset != offset:
            return None
        self._next = next(self._records, None)
        return found


def _is_reached(point: Position, where: Where, decision: Decision) -> bool:
    if (point.domain, point.partition) != where:
        return False
    return (decision.cause if point.commands else decision.offset) >= point.offset
