"""Time travel: a log decision by decision, forward and back, with the state of everything where one stands.

    journey = Journey(source)
    journey.to(parse_point("locks/3@1842"))
    journey.state("room_12")                 # as it was when that had been decided
    journey.back()

The order is that of the log's times, as far as causes allow: no decision comes before one that its clock names. So each
place where one stands is a consistent cut: no effect without its cause.

Rules that act here:
- Going forward folds decisions as a worker does, decides nothing and calls nothing outside.
- The last `RECENT_MAX` decisions can be taken back one by one, and done again. From farther back on, the nearest
  checkpoint before is taken and folded on from: one is made every `CHECKPOINT_EVERY` decisions; when there are
  `CHECKPOINTS_MAX`, every other one goes, and they are made half as often. States are never changed in place, so a
  checkpoint shares with the others all that is the same.
- A log that lacks what a clock names (an archive that was cut, a clock that somebody made up) is read all the same, by
  time.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Any, Final

import msgspec
from accord.replay import limits, locks
from accord.replay.limits import PoolView
from accord.replay.locks import LockView
from accord.replay.order import InOrder, Where
from accord.replay.source import Source
from accord.replay.state import NoDeadlines, NoWindow, Point
from accord.replay.timeline import TimelineEvent, decoded, iso
from accord.schemas.clock import VectorClock
from accord.schemas.position import Position
from accord.streams.chain import Head
from accord.streams.decider import plain
from accord.streams.domains import DOMAINS
from accord.streams.partition import Decided, Partition

from accord.errors import ChainBroken, NotFound, UnknownRules

RECENT_MAX: Final = 1_000
CHECKPOINT_EVERY: Final = 5_000
CHECKPOINTS_MAX: Final = 32


class Stop(msgspec.Struct, frozen=True):
    """A place on the way: the decision that was taken in last, and how many were in all (`number`)."""

    number: int
    position: str
    time: str | None
    key: str
    events: tuple[TimelineEvent, ...]


class _Before(msgspec.Struct, frozen=True, gc=False):
    """A partition's own values at some time."""

    head: Head
    now_ms: int
    clock: VectorClock | bytes
    rules: int
    partition_count: int
    timestamps: str


class _Done(msgspec.Struct, frozen=True, gc=False):
    """A decision that was taken in, and what it changed. `state` is its aggregate before."""

    where: Where
    decided: Decided
    before: _Before
    key: str
    state: Any


class _Checkpoint(msgspec.Struct, frozen=True):
    """Everything after so many decisions."""

    number: int
    partitions: dict[Where, tuple[_Before, dict[str, Any]]]


class Journey:
    """A log that is walked through. It begins before the first decision.

    Args:
        domains: only these; all without.
        recent_max, checkpoint_every: the bounds of the same names.

    Raises:
        NotFound: the log has no such domain.
    """

    def __init__(
        self, source: Source, domains: tuple[str, ...] = (), *, recent_max: int = RECENT_MAX,
        checkpoint_every: int = CHECKPOINT_EVERY,
    ) -> None:  # fmt: skip
        self.source = source
        self.number = 0
        self.folded = 0
        """Decisions that were folded so far, those of checkpoints' sake included."""
        self._domains = domains
        self._every = checkpoint_every
        self._recent: deque[_Done] = deque(maxlen=recent_max)
        self._undone: list[_Done] = []
        self._partitions: dict[Where, Partition] = {}
        for domain, number in source.all_partitions(domains):
            partition = Partition(source.identity(domain, number), DOMAINS[domain])
            partition.window, partition.deadlines = NoWindow(), NoDeadlines()
            self._partitions[domain, number] = partition
        self._checkpoints = [self._checkpoint()]
        self._order = InOrder(source, {where: partition.head for where, partition in self._partitions.items()})

    @property
    def here(self) -> Stop | None:
        """Where one stands; None: before the first decision."""
        return self._stop(self._recent[-1]) if self._recent else self._looked_up()

    def forward(self) -> Stop | None:
        """Takes the next decision in; None: there is no more.

        Raises:
            LogGap, ChainBroken: the log lacks a decision, or one was changed.
            UnknownRules: it was decided by rules that this release does not have.
        """
        done = self._step()
        return None if done is None else self._stop(done)

    def back(self) -> Stop | None:
        """Takes the last decision back; returns where one stands then: None is before the first."""
        if self.number:
            self.to_number(self.number - 1)
        return self.here

    def to_number(self, number: int) -> Stop | None:
        """Goes to where so many decisions are taken in, or to the end. Raises what `forward` raises."""
        if number < self.number - len(self._recent):
            self._restore(max((c for c in self._checkpoints if c.number <= number), key=lambda c: c.number))
        while self.number > number:
            self._take_back()
        while self.number < number and self._step() is not None:
            pass
        return self.here

    def to(self, point: Point) -> Stop | None:
        """Goes to a point: right after a position's decision, after the last decision up to a time, or to the end.

        Raises:
            NotFound: the position lies outside the log.
            What `forward` raises.
        """
        if isinstance(point, Position):
            self.source.check_position(point)
        if self._is_beyond(point):
            self._restore(self._checkpoints[0])
        while not self._is_reached(point):
            if isinstance(point, datetime) and not self._next_is_until(point):
                break
            if self._step() is None:
                break
        return self.here

    def to_next(self, what: str) -> Stop | None:
        """Goes to the next decision on a key, with an event of this type, or about an agent or task; None: there is
        none, and one stands at the end. Raises what `forward` raises."""
        text = what.encode()
        while (done := self._step()) is not None:
            decision = done.decided.decision
            if text in (decision.key, decision.task) or text in decision.type or text in decision.value:
                stop = self._stop(done)
                told = (what in (event.event, event.agent, event.data.get("member")) for event in stop.events)
                if text in (decision.key, decision.task) or any(told):
                    return stop
        return None

    # -- what is there

    def state(self, key: str) -> dict[str, Any]:
        """The aggregates of a name as plain data, by domain."""
        return {
            domain: plain(partition.aggregates[key])
            for (domain, _), partition in self._partitions.items()
            if key in partition.aggregates
        }

    def who(self, key: str) -> list[LockView | PoolView]:
        """Who holds a lock or a pool, and who waits for it."""
        views: dict[str, Any] = {"locks": locks.view_of, "limits": limits.view_of}
        found = []
        for (domain, number), partition in self._partitions.items():
            if domain in views and key in partition.aggregates:
                position = str(Position(domain, number, partition.position, commands=True))
                found.append(views[domain](key, plain(partition.aggregates[key]), position, partition.now_ms))
        return found

    def changed(self) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """The aggregate of the last decision before it and after it; None: there was none."""
        if not self._recent:
            return None, None
        done = self._recent[-1]
        after = self._partitions[done.where].aggregates.get(done.key)
        return (None if done.state is None else plain(done.state)), (None if after is None else plain(after))

    def counts(self) -> dict[str, int]:
        """How many aggregates each domain has."""
        found: dict[str, int] = {}
        for (domain, _), partition in self._partitions.items():
            found[domain] = found.get(domain, 0) + len(partition.aggregates)
        return found

    # -- steps

    def _step(self) -> _Done | None:
        if self._undone:
            again = self._undone.pop()
            self._apply(again)
            return again
        following = self._order.take()
        if following is None:
            return None
        where, decision = following
        partition = self._partitions[where]
        try:
            decided = partition.read(decision)
            key = decision.key.decode("utf-8", "replace")
            done = _Done(where, decided, _before(partition), key, partition.aggregates.get(key))
            self._apply(done)
        except UnknownRules:
            raise
        except Exception as error:  # fits the chain, but is no decision of any worker
            at = str(Position(*where, decision.offset))
            raise ChainBroken(
                f"{at}: the decision cannot be taken in: {error!r}.",
                remedy="See what it should be: accord replay verify.",
                position=at,
            ) from error
        self.folded += 1
        if self.number % self._every == 0 and self.number > self._checkpoints[-1].number:
            self._keep()
        return done

    def _apply(self, done: _Done) -> None:
        partition = self._partitions[done.where]
        partition.apply(done.decided)
        partition.changed.clear()
        self._recent.append(done)
        self.number += 1

    def _take_back(self) -> None:
        done = self._recent.pop()
        partition = self._partitions[done.where]
        _set(partition, done.before)
        if done.state is None:
            partition.aggregates.pop(done.key, None)
        else:
            partition.aggregates[done.key] = done.state
        self._undone.append(done)
        self.number -= 1

    def _is_beyond(self, point: Point) -> bool:
        """Whether one stands farther than a point."""
        if isinstance(point, Position):
            head = self._head(point)
            return (head.cause if point.commands else head.offset) > point.offset
        return isinstance(point, datetime) and any(
            partition.now_ms > point.timestamp() * 1_000 for partition in self._partitions.values()
        )

    def _is_reached(self, point: Point) -> bool:
        if not isinstance(point, Position):
            return False
        head = self._head(point)
        return (head.cause if point.commands else head.offset) >= point.offset

    def _head(self, point: Position) -> Head:
        try:
            return self._partitions[point.domain, point.partition].head
        except KeyError:
            raise NotFound(f"{point} is in a domain that is not looked at.", position=str(point)) from None

    def _next_is_until(self, time: datetime) -> bool:
        following = self._undone[-1].decided.decision if self._undone else self._order.peek()
        return following is not None and following.now_ms <= time.timestamp() * 1_000

    def _stop(self, done: _Done) -> Stop:
        decision = done.decided.decision
        return Stop(
            self.number, str(Position(*done.where, decision.offset)), iso(decision.now_ms) if decision.now_ms else None,
            done.key, tuple(decoded(*done.where, decision)),
        )  # fmt: skip

    def _looked_up(self) -> Stop | None:
        """Where one stands right after a checkpoint, of which nothing recent is known: by going one step back first."""
        if not self.number:
            return None
        number = self.number
        self._restore(max((c for c in self._checkpoints if c.number < number), key=lambda c: c.number))
        return self.to_number(number)

    # -- checkpoints

    def _checkpoint(self) -> _Checkpoint:
        return _Checkpoint(
            self.number,
            {where: (_before(partition), partition.aggregates.copy()) for where, partition in self._partitions.items()},
        )

    def _keep(self) -> None:
        self._checkpoints.append(self._checkpoint())
        if len(self._checkpoints) > CHECKPOINTS_MAX:
            self._every *= 2
            self._checkpoints = [one for one in self._checkpoints if one.number % self._every == 0]

    def _restore(self, checkpoint: _Checkpoint) -> None:
        for where, (before, aggregates) in checkpoint.partitions.items():
            partition = self._partitions[where]
            _set(partition, before)
            partition.aggregates = aggregates.copy()
        self.number = checkpoint.number
        self._recent.clear()
        self._undone.clear()
        self._order = InOrder(self.source, {where: partition.head for where, partition in self._partitions.items()})


def _before(p: Partition) -> _Before:
    return _Before(p.head, p.now_ms, p._clock, p.rules, p.partition_count, p.timestamps)


def _set(partition: Partition, before: _Before) -> None:
    partition.head, partition.now_ms, partition._clock = before.head, before.now_ms, before.clock
    partition.rules, partition.partition_count = before.rules, before.partition_count
    partition.timestamps = before.timestamps
