"""Causal delivery: decisions of several partitions in, events out, none before its causes.

Each partition is read in the order of its log, the partitions at their own pace. An event is held until every event of
the same subscription that happened before it was delivered. What happened before what is said by vector clocks:

- A partition's own entry counts its decisions. So the entries of an event's clock say up to which decision of each
  partition its causes go, and it waits until the partitions were read to there, and what is held of that was delivered.
- A full clock may have lost entries (`VectorClock.is_full`), and those it has may be old. Such an event waits until
  the other partitions were read to where they ended after it was read: whoever caused it had read its causes in the
  log, so they lie before that. Of what is held then, what has a smaller Lamport time goes first. That too is exact
  about causes; it only makes events wait for some that are none.

Among events that are ready, the one with the smallest Lamport time goes first.

A cause is missing if a partition brings nothing for `missing_after_s` while an event waits for it, or was read to where
it ended, and `missing_after_s` have passed, without the decision that the event's clock names. The event stays held
until `give_up`. Then it, and what waits for nothing more than that, is delivered marked.

Nothing is bounded here: whoever reads stops reading a partition of which too much is held (`held`), and no other. That
cannot block for ever: the held event with the smallest Lamport time waits for no event that is held, so what it waits
for comes from partitions of which nothing is held. Time comes in by `tick`; a step of it counts for `STEP_MAX_S` at
most, so a process that stood still finds nothing missing when it wakes up. Source of the rule for partitions: Birman,
Schiper and Stephenson (1991).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Final, Generic, NamedTuple, TypeVar

from accord.schemas.clock import VectorClock

STEP_MAX_S: Final = 1.0

T = TypeVar("T")


class Missing(NamedTuple):
    """What an event waits for in vain: decisions of a partition (`signals/3`) with counts in its clock from `read_to`
    (without it) to `needed`. `needed` is None where the event's clock does not tell."""

    partition: str
    needed: int | None
    read_to: int


class Ready(NamedTuple, Generic[T]):
    """What is to be delivered next. `missing` is not empty if not all of its causes came before."""

    item: T
    missing: tuple[Missing, ...]


class Overdue(NamedTuple, Generic[T]):
    """An event of a partition whose causes are missing."""

    partition: int
    item: T
    missing: tuple[Missing, ...]


class _Held(Generic[T]):
    """An event that waits. `needs` are the counts of its clock, by partition; None if they cannot be relied on."""

    __slots__ = ("count", "ends", "ends_at_s", "item", "lamport", "needs", "since_s")

    def __init__(self, item: T, count: int, lamport: int, needs: dict[int, int] | None, since_s: float) -> None:
        self.item = item
        self.count = count
        self.lamport = lamport
        self.needs = needs
        self.since_s = since_s
        self.ends: Mapping[int, int] | None = None
        self.ends_at_s = since_s


class _Lane(Generic[T]):
    """A partition: how far it was read, and what is held of it."""

    __slots__ = ("count", "given_up", "held", "is_silent", "lamport", "read_at_s", "read_to")

    def __init__(self) -> None:
        self.held: deque[_Held[T]] = deque()
        self.count = 0
        self.lamport = 0
        self.read_to = 0
        self.read_at_s = 0.0
        self.given_up = 0
        self.is_silent = False

    @property
    def passed(self) -> int:
        """The count up to which nothing more will be delivered of it."""
        return self.held[0].count - 1 if self.held else self.count


class CausalBuffer(Generic[T]):
    """Holds what was read until its causes were delivered.

    Args:
        domain: whose partitions they are, as clocks name them: `signals`.
        partitions: those that are read.
        missing_after_s: how long a cause may not come before it counts as missing.
    """

    def __init__(self, domain: str, partitions: Iterable[int], missing_after_s: float) -> None:
        self._lanes: dict[int, _Lane[T]] = {partition: _Lane() for partition in partitions}
        self._names = {partition: f"{domain}/{partition}" for partition in self._lanes}
        self._missing_after_s = missing_after_s
        self._now_s = 0.0
        self._last_s: float | None = None

    def tick(self, now_s: float, paused: Collection[int] = ()) -> None:
        """Time has passed.

        Args:
            now_s: of any clock that does not go back, in seconds.
            paused: partitions that are not read at present; that they bring nothing means nothing.
        """
        if self._last_s is not None:
            self._now_s += min(now_s - self._last_s, STEP_MAX_S)
        self._last_s = now_s
        for partition in paused:
            self._lanes[partition].read_at_s = self._now_s

    def read(self, partition: int, offset: int, clock: VectorClock | None, item: T | None = None) -> None:
        """A record was read.

        Args:
            offset: of the record; the next one comes after it.
            clock: of the decision; None for a record that is none.
            item: what is to be delivered; None if the decision is no event of the subscription.
        """
        lane = self._lanes[partition]
        lane.read_to, lane.read_at_s, lane.is_silent = offset + 1, self._now_s, False
        if clock is None:
            return
        count = lane.count = clock.entries.get(self._names[partition], 0)
        lane.lamport = clock.lamport
        if item is None:
            return
        needs = None
        if not clock.is_full:
            needs = {
                other: clock.entries[name]
                for other, name in self._names.items()
                if other != partition and name in clock.entries
            }
        lane.held.append(_Held(item, count, clock.lamport, needs, self._now_s))

    def held(self, partition: int) -> int:
        """How many events of a partition are held."""
        return len(self._lanes[partition].held)

    def take(self) -> Ready[T] | None:
        """The next event to deliver, which counts as delivered from now on; None if all that are held wait."""
        for lamport, partition in sorted(self._heads()):
            lane = self._lanes[partition]
            head = lane.held[0]
            if self._waits_for(partition, head):
                continue
            assert head.lamport == lamport
            missing = self._gaps(partition, head)
            lane.held.popleft()
            return Ready(head.item, missing)
        return None

    # -- what is missing

    @property
    def wants_ends(self) -> bool:
        """Whether somebody should look where the partitions end, and tell `know_ends`."""
        return any(
            head.ends is None
            and (head.needs is None or self._now_s - head.since_s >= self._missing_after_s)
            and self._unread(partition, head)
            for partition, head in self._first()
        )

    def know_ends(self, ends: Mapping[int, int]) -> None:
        """Where the partitions ended after all that is held was read: one past their last records."""
        for lane in self._lanes.values():
            for held in lane.held:
                if held.ends is None:
                    held.ends, held.ends_at_s = ends, self._now_s

    def overdue(self) -> Overdue[T] | None:
        """An event that has waited too long, with what it waits for; None if there is none."""
        waiting = False
        for partition, head in self._first():
            unread = self._unread(partition, head)
            waiting = waiting or bool(unread)
            if self._now_s - head.since_s < self._missing_after_s:
                waiting = True
                continue
            missing = [other for other in unread if self._is_missing(other, head)]
            if missing:
                return self._overdue(partition, head, missing)
        if waiting or self.is_ready:
            return None
        heads = sorted(self._heads())
        if not heads:
            return None
        # All wait for each other: what their clocks say of causes cannot be.
        partition = heads[0][1]
        head = self._lanes[partition].held[0]
        return self._overdue(partition, head, self._waits_for(partition, head))

    @property
    def is_ready(self) -> bool:
        """Whether `take` has an event to deliver."""
        return any(not self._waits_for(partition, head) for partition, head in self._first())

    def give_up(self, overdue: Overdue[T]) -> None:
        """No longer waits for what that event waits for, nor do others. A partition that brought nothing is waited for
        again once it does."""
        head = self._lanes[overdue.partition].held[0]
        names = {name: partition for partition, name in self._names.items()}
        for missing in overdue.missing:
            other = names[missing.partition]
            lane = self._lanes[other]
            if head.needs is None or not (lane.held or self._is_at_end(other, head)):
                lane.is_silent = True
            else:
                lane.given_up = max(lane.given_up, head.needs[other])

    def _first(self) -> list[tuple[int, _Held[T]]]:
        return [(partition, lane.held[0]) for partition, lane in self._lanes.items() if lane.held]

    def _heads(self) -> list[tuple[int, int]]:
        return [(head.lamport, partition) for partition, head in self._first()]

    def _waits_for(self, partition: int, head: _Held[T]) -> list[int]:
        """The partitions that keep the first event of a partition from being delivered."""
        return [other for other in self._lanes if other != partition and not self._has_passed(other, head)]

    def _unread(self, partition: int, head: _Held[T]) -> list[int]:
        """Those of them that have to be read further for it."""
        return [other for other in self._waits_for(partition, head) if not self._lanes[other].held]

    def _has_passed(self, other: int, head: _Held[T]) -> bool:
        """Whether all causes of an event in another partition were delivered, or were given up."""
        lane = self._lanes[other]
        if head.needs is not None:
            needed = head.needs.get(other, 0)
            return needed <= max(lane.passed, lane.given_up) or (lane.is_silent and not lane.held)
        if lane.held:
            return lane.held[0].lamport >= head.lamport
        return lane.lamport >= head.lamport - 1 or lane.is_silent or self._is_at_end(other, head)

    def _is_at_end(self, other: int, head: _Held[T]) -> bool:
        """Whether a partition was read to where it ended after the event was read."""
        return head.ends is not None and self._lanes[other].read_to >= head.ends[other]

    def _is_missing(self, other: int, head: _Held[T]) -> bool:
        if self._is_at_end(other, head):
            return True
        return self._now_s - max(self._lanes[other].read_at_s, head.ends_at_s) >= self._missing_after_s

    def _gaps(self, partition: int, head: _Held[T]) -> tuple[Missing, ...]:
        """What an event is delivered without."""
        gaps = []
        for other, lane in self._lanes.items():
            if other == partition:
                continue
            if head.needs is not None:
                needed = head.needs.get(other, 0)
                if needed > lane.passed:
                    gaps.append(Missing(self._names[other], needed, lane.passed))
            elif lane.is_silent and lane.lamport < head.lamport - 1 and not self._is_at_end(other, head):
                gaps.append(Missing(self._names[other], None, lane.passed))
        return tuple(gaps)

    def _overdue(self, partition: int, head: _Held[T], others: list[int]) -> Overdue[T]:
        missing = [
            Missing(self._names[other], None if head.needs is None else head.needs[other], self._lanes[other].passed)
            for other in others
        ]
        return Overdue(partition, head.item, tuple(missing))
