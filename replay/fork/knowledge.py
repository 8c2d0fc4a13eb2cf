"""What agents would have known in the fork: from which of its commands on an agent had been told something else.

The commands of agents are fed as they were recorded. That is sound as long as what an agent had been told is the same
in the fork. A decision that turned out otherwise, was left out or is new is told to an agent if

- it answers the agent's own command, names the agent, or names one of its requests; in the record, an agent's command
  counts as sent after it was told if its vector clock covers the decision;
- or the agent's clock names it as the last that it had heard of from that partition, as handlers of signals do.

From its first command after that on, an incarnation of an agent is `affected`: it might have done something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from accord.replay.fork.cut import Slot
from accord.replay.order import Where
from accord.schemas import headers as h
from accord.schemas.clock import VectorClock
from accord.schemas.messages import Event
from accord.streams.chain import Decision
from accord.streams.domains import DOMAINS


class Fact(msgspec.Struct, frozen=True):
    """A decision that turned out otherwise: where it lies in the record, in the fork, or in both."""

    recorded: str | None
    forked: str | None


class Knowledge:
    """Who was told what; told of all agents' commands and of all decisions that differ, in the order of the fork."""

    def __init__(self) -> None:
        self.affected: dict[str, Fact] = {}
        """By incarnation, what it would have known first."""
        self.first: dict[str, Slot] = {}
        """By incarnation, its first affected command."""
        self._clocks: dict[str, VectorClock] = {}
        self._owners: dict[str, str] = {}
        self._facts: dict[tuple[str, str], dict[str | None, tuple[int, Fact]]] = {}
        self._named: dict[tuple[str, int], Fact] = {}
        self._counts: dict[tuple[str, int], Decision] = {}

    def process_of(self, slot: Slot) -> str:
        """The incarnation that sent a command."""
        clock = _clock_of(slot)
        process = next(reversed(clock.entries), "")
        domain, slash, number = process.rpartition("/")
        is_partition = bool(slash) and domain in DOMAINS and number.isdecimal()
        return slot.sender if is_partition or not process else process

    def sent(self, slot: Slot) -> str:
        """Takes note of an agent's command; returns its incarnation, which may be affected by now."""
        process, clock = self.process_of(slot), _clock_of(slot)
        self._owners[slot.decision.command_id] = process
        if process not in self.affected and self._facts:
            fact = next(self._known(process, slot.sender, clock), None)
            if fact is not None:
                self.affected[process], self.first[process] = fact, slot
        self._clocks[process] = clock
        return process

    def decided(self, slot: Slot) -> None:
        """Takes note of a recorded decision, so that clocks which name it can be read."""
        name = _name(slot.where)
        self._counts[name, _count_of(slot.where, slot.decision)] = slot.decision

    def differs(
        self, slot: Slot | None, recorded: tuple[Event, ...], where: Where, forked: str | None,
        events: tuple[Event, ...], command_id: str,
    ) -> None:  # fmt: skip
        """A decision is not what it was: both sides' events tell whom it concerns."""
        fact = Fact(None if slot is None else str(slot.position), forked)
        count = 0 if slot is None else _count_of(where, slot.decision)
        partition = None if slot is None else _name(where)
        if partition is not None:
            self._named.setdefault((partition, count), fact)
        buckets = {("name", text) for text in _texts((recorded, events))}
        buckets |= {("process", self._owners[text]) for _, text in buckets if text in self._owners}
        if command_id in self._owners:
            buckets.add(("process", self._owners[command_id]))
        for bucket in buckets:
            self._facts.setdefault(bucket, {}).setdefault(partition, (count, fact))

    def _known(self, process: str, agent: str, clock: VectorClock) -> Iterator[Fact]:
        for bucket in (("process", process), ("name", agent)):
            for partition, (count, fact) in self._facts.get(bucket, {}).items():
                if partition is None or clock.entries.get(partition, -1) >= count:
                    yield fact
        before = self._clocks.get(process)
        new = {
            name: count
            for name, count in clock.entries.items()
            if before is None or count > before.entries.get(name, -1)
        }
        for name, count in new.items():
            named = self._named.get((name, count))
            if named is not None and not self._is_behind_another(name, count, new):
                yield named

    def _is_behind_another(self, name: str, count: int, new: dict[str, int]) -> bool:
        """Whether it stands in a clock only because something else that was told knew of it."""
        for other, other_count in new.items():
            decision = None if other == name else self._counts.get((other, other_count))
            if decision is not None and VectorClock.decode(decision.clock).entries.get(name, -1) >= count:
                return True
        return False


def _texts(data: Any) -> set[str]:
    """All short texts in events: names of agents and ids of requests are among them."""
    found: set[str] = set()
    todo = [msgspec.to_builtins(data)]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            if len(one) <= h.TEXT_BYTES_MAX:
                found.add(one)
        elif isinstance(one, dict):
            todo.extend(one.values())
        elif isinstance(one, list | tuple):
            todo.extend(one)
    return found


def _clock_of(slot: Slot) -> VectorClock:
    encoded = dict(slot.command.headers).get(h.CLOCK) if slot.command is not None else None
    try:
        return VectorClock.decode(encoded) if encoded else VectorClock()
    except ValueError:  # of a command that was rejected for it
        return VectorClock()


def _name(where: Where) -> str:
    return f"{where[0]}/{where[1]}"


def _count_of(where: Where, decision: Decision) -> int:
    return VectorClock.decode(decision.clock).entries.get(_name(where), 0)
