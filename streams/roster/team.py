"""A team: its members, who does what, and what waits for somebody. Persistent: a change shares all but its own way.

A slot is named by the task, the step and the number of the request: (task, step, attempt). What waits stands in a line
of its capability, first come first served.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from accord.schemas.structs import prepared
from accord.streams.heap import Heap, with_entry, without_first
from immutables import Map

Key = tuple[str, str, int]
"""Task, step, attempt."""

CLOSED: Final = "closed"
OPEN: Final = "open"
HALF_OPEN: Final = "half_open"


class Member(msgspec.Struct, frozen=True, gc=False):
    """An agent's process. `busy` counts its taken slots; `served` is the number of the decision that last gave it
    work."""

    agent: str
    name: str
    capabilities: tuple[str, ...]
    slots: int
    deadline_ms: int
    busy: int = 0
    served: int = 0


class Taken(msgspec.Struct, frozen=True, gc=False):
    """A slot that a member has been given."""

    member: str
    capability: str


class Breaker(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is known of the failures of a capability. `trial` is the slot that is let through when half open."""

    state: str = CLOSED
    failures: int = 0
    reason: str = ""
    until_ms: int = 0
    trial: Key | None = None


_MEMBERS: Final = prepared(list[Member])
_TAKEN: Final = prepared(list[tuple[Key, Taken]])


class Members:
    """Members by name, who of them has a free slot, and who is due first to renew. Iterating gives them by name."""

    __slots__ = ("_by_name", "_due", "_free")

    def __init__(self, by_name: Map[str, Member], free: Map[str, Member], due: Heap) -> None:
        self._by_name = by_name
        self._free = free
        self._due = due

    @classmethod
    def of(cls, members: Iterable[Member]) -> Members:
        made = cls(Map(), Map(), None)
        for member in members:
            made = made.put(member)
        return made

    @classmethod
    def restored(cls, plain: list[Any]) -> Members:
        """From its dump. Raises msgspec.ValidationError: it is none."""
        return cls.of(msgspec.convert(plain, _MEMBERS))

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Member]:
        return iter(sorted(self._by_name.values(), key=lambda member: member.name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Members) and self._by_name == other._by_name

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Members({list(self)!r})"

    def get(self, name: str) -> Member | None:
        return self._by_name.get(name)

    @property
    def due_ms(self) -> int | None:
        """When the first of them is gone unless it renews."""
        return None if self._due is None else self._due[1][0]

    def due(self, now_ms: int) -> list[Member]:
        """Those who did not renew, in order of (deadline, name)."""
        gone = [member for member in self._by_name.values() if member.deadline_ms <= now_ms]
        return sorted(gone, key=lambda member: (member.deadline_ms, member.name))

    def abilities(self) -> Iterator[str]:
        """What they are able to do, free or not."""
        return (capability for member in self._by_name.values() for capability in member.capabilities)

    def to_spare(self) -> set[str]:
        """What those with a free slot are able to do."""
        return {capability for member in self._free.values() for capability in member.capabilities}

    def free(self, capability: str) -> Member | None:
        """Who is to do something: has a free slot, and of those the one with the least part of its slots taken; among
        equals who was not given anything for longest."""
        free = [member for member in self._free.values() if capability in member.capabilities]
        return min(free, key=lambda m: (m.busy / m.slots, m.served, m.name), default=None)

    def put(self, member: Member) -> Members:
        known = self._by_name.get(member.name)
        free = self._free
        if member.busy < member.slots:
            free = free.set(member.name, member)
        elif member.name in free:
            free = free.delete(member.name)
        made = Members(self._by_name.set(member.name, member), free, self._due)
        if known is None or known.deadline_ms != member.deadline_ms:
            made._due = with_entry(made._due, member.deadline_ms, member.name)
            made._tidy()
        return made

    def without(self, name: str) -> Members:
        free = self._free.delete(name) if name in self._free else self._free
        made = Members(self._by_name.delete(name), free, self._due)
        made._tidy()
        return made

    def _tidy(self) -> None:
        """Drops entries that are outdated; only what `put` and `without` have just made."""
        while self._due is not None:
            deadline_ms, name = self._due[1]
            member = self._by_name.get(name)
            if member is not None and member.deadline_ms == deadline_ms:
                return
            self._due = without_first(self._due)


class Slots:
    """Who has which slot. Iterating gives (slot, taken), in order."""

    __slots__ = ("_taken",)

    def __init__(self, taken: Map[Key, Taken]) -> None:
        self._taken = taken

    @classmethod
    def restored(cls, plain: list[Any]) -> Slots:
        """From its dump. Raises msgspec.ValidationError: it is none."""
        return cls(Map(msgspec.convert(plain, _TAKEN)))

    def __len__(self) -> int:
        return len(self._taken)

    def __iter__(self) -> Iterator[tuple[Key, Taken]]:
        return iter(sorted(self._taken.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slots) and self._taken == other._taken

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Slots({list(self)!r})"

    def get(self, key: Key) -> Taken | None:
        return self._taken.get(key)

    def of(self, member: str) -> list[tuple[Key, Taken]]:
        """What a member has been given, in order."""
        return sorted((key, taken) for key, taken in self._taken.items() if taken.member == member)

    def put(self, key: Key, taken: Taken) -> Slots:
        return Slots(self._taken.set(key, taken))

    def without(self, key: Key) -> Slots:
        return Slots(self._taken.delete(key)) if key in self._taken else self


class Line(msgspec.Struct, frozen=True, gc=False):
    """What waits for one capability: by place, the arrival's number and the slot. `head` is the first place taken,
    `end` the next one."""

    head: int
    end: int
    places: Map[int, tuple[int, Key]]


class Lines:
    """What waits, in a line for each capability. Iterating gives (capability, slot) in the order of arrival."""

    __slots__ = ("_arrivals", "_lines", "_waiting")

    def __init__(self, lines: Map[str, Line], waiting: Map[Key, tuple[str, int]], arrivals: int) -> None:
        self._lines = lines
        self._waiting = waiting
        self._arrivals = arrivals

    @classmethod
    def restored(cls, plain: list[Any]) -> Lines:
        """From its dump. Raises msgspec.ValidationError: it is none."""
        made = NO_LINES
        for capability, key in msgspec.convert(plain, list[tuple[str, Key]]):
            made = made.put(capability, key)
        return made

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[tuple[str, Key]]:
        found = [
            (arrival, capability, key)
            for capability, line in self._lines.items()
            for arrival, key in line.places.values()
        ]
        return iter([(capability, key) for _, capability, key in sorted(found)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lines) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Lines({list(self)!r})"

    def __contains__(self, key: Key) -> bool:
        return key in self._waiting

    def capability_of(self, key: Key) -> str | None:
        waiting = self._waiting.get(key)
        return None if waiting is None else waiting[0]

    def first(self, capabilities: Iterable[str]) -> tuple[str, Key] | None:
        """What has waited longest for one of some capabilities."""
        heads = []
        for capability in capabilities:
            line = self._lines.get(capability)
            if line is not None:
                arrival, key = line.places[line.head]
                heads.append((arrival, capability, key))
        return min(heads)[1:] if heads else None

    def put(self, capability: str, key: Key) -> Lines:
        """With one more at the end of a line."""
        line = self._lines.get(capability) or Line(0, 0, Map())
        line = Line(line.head, line.end + 1, line.places.set(line.end, (self._arrivals, key)))
        waiting = self._waiting.set(key, (capability, line.end - 1))
        return Lines(self._lines.set(capability, line), waiting, self._arrivals + 1)

    def without(self, key: Key) -> Lines:
        waiting = self._waiting.get(key)
        if waiting is None:
            return self
        capability, place = waiting
        line = self._lines[capability]
        places, left = line.places.delete(place), self._waiting.delete(key)
        if not places:
            return Lines(self._lines.delete(capability), left, self._arrivals)
        head = line.head
        while head not in places:
            head += 1
        return Lines(self._lines.set(capability, Line(head, line.end, places)), left, self._arrivals)


NO_MEMBERS: Final = Members(Map(), Map(), None)
NO_SLOTS: Final = Slots(Map())
NO_LINES: Final = Lines(Map(), Map(), 0)


class Team(msgspec.Struct, frozen=True, tag=True):
    """A team. `more` is whether another decision is needed at once to give out what waits."""

    members: Members = NO_MEMBERS
    taken: Slots = NO_SLOTS
    waiting: Lines = NO_LINES
    breakers: dict[str, Breaker] = {}
    more: bool = False
