"""Who waited for what is shared, and how long: locks, barriers, and pools of capacity.

A wait lasts from the decision that queued a request to the one that ended it, a hold from the grant to its end, by the
log's clock. A request that is granted at once has not waited. `kept waiting` charges a holder with the time that others
stood in the queue while it held: with three behind it for a second, three seconds.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
from accord.replay.parallel import each, processes_for
from accord.replay.source import Source
from accord.replay.spread import Spread, durations, spread
from accord.replay.state import accepted
from accord.schemas.codec import decode_record, events_codec
from accord.schemas.messages import Event
from accord.schemas.messages import limits as l
from accord.schemas.messages import locks as k
from accord.schemas.topics import events_topic, partition_of
from accord.streams.decider import holds, names_of

DOMAINS: Final = ("locks", "limits")
HOLDS_MAX: Final = 400
"""Holds and waits of one name that are listed one by one: the last."""
_READ: Final = {
    "locks": names_of(
        {k.LockGranted, k.LockQueued, k.LockDenied, k.RequestWithdrawn, k.DeadlockBroken, k.LockReleased,
         k.LeaseExpired, k.LeaseRevoked, k.ConditionAwaited, k.BarrierReached, k.BarrierPassed, k.BarrierBroken,
         k.StaleWriteRefused}
    ),
    "limits": names_of(
        {l.CapacityGranted, l.CapacityQueued, l.CapacityDenied, l.RequestWithdrawn, l.DeadlockBroken,
         l.CapacityReleased, l.LeaseExpired, l.StaleWriteRefused}
    ),
}  # fmt: skip


class Contention(msgspec.Struct, frozen=True):
    """What became of the requests for one lock, barrier or pool.

    `granted` of them in all; `waits` of those that were queued, `given_up` that ended without a grant: too late,
    withdrawn, or as a deadlock's victim. `denied` were not queued at all. `holds` of the grants that have ended, of
    which `expired` were not given back. `stale` writes were refused for an old token. `kept_waiting` is who kept others
    waiting, the worst first: agent and ms.
    """

    domain: str
    name: str
    granted: int
    waits: Spread
    given_up: int
    denied: int
    holds: Spread
    expired: int
    stale: int
    kept_waiting: tuple[tuple[str, int], ...]


class Stay(NamedTuple):
    """A hold or a wait: by whom, in ms of the log's clock; `end_ms` is None if it lasted to the log's end."""

    agent: str
    is_hold: bool
    start_ms: int
    end_ms: int | None


class Stays(msgspec.Struct, frozen=True):
    """The last holds and waits of one name, in the order of their beginning."""

    name: str
    stays: tuple[Stay, ...]
    left_out: int


def contention(source: Source, *, processes: int = 1) -> tuple[Contention, ...]:
    """Every lock, barrier and pool that was asked for, the longest waits together first.

    Args:
        processes: how many to work in; 0 is what pays.

    Raises:
        LogGap, ChainBroken: the log lacks a decision, or one was changed.
    """
    here = tuple(domain for domain in DOMAINS if domain in source.partitions)
    where = list(source.all_partitions(here)) if here else []
    found = [
        one for part in each(source, where, _of_partition, processes or processes_for(source, where)) for one in part
    ]
    return tuple(
        sorted(found, key=lambda one: (-one.waits.total_ms, -one.given_up, -one.granted, one.domain, one.name))
    )


def stays(source: Source, domain: str, name: str) -> Stays:
    """The last holds and waits of one name. Errors as for `contention`."""
    partition = partition_of(name.encode(), source.partitions[domain])
    using, found = Using(), []
    codec, topic = events_codec(domain), events_topic(domain)
    for decision in accepted(source, domain, partition):
        if decision.key == name.encode() and holds(decision.type, _READ[domain]):
            found += using.take(decision.now_ms, decode_record(codec, topic, partition, decision))
    found += using.open
    found.sort(key=lambda stay: stay.start_ms)
    return Stays(name, tuple(found[-HOLDS_MAX:]), max(0, len(found) - HOLDS_MAX))


def _of_partition(source: Source, domain: str, partition: int) -> list[Contention]:
    codec, topic, read = events_codec(domain), events_topic(domain), _READ[domain]
    found: dict[str, Using] = {}
    for decision in accepted(source, domain, partition):
        if holds(decision.type, read):
            using = found.setdefault(decision.key.decode(errors="replace"), Using())
            using.take(decision.now_ms, decode_record(codec, topic, partition, decision))
    return [using.told(domain, name) for name, using in found.items()]


class Using:
    """One name as its decisions are read."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[str, int]] = {}  # by request: who, since when
        self._held: dict[tuple[int, str], tuple[str, int]] = {}  # by token and request
        self._waits: array[int] = durations()
        self._holds: array[int] = durations()
        self._counts: Counter[str] = Counter()
        self._kept_waiting: Counter[str] = Counter()
        self._at_ms = 0

    def take(self, now_ms: int, events: Iterable[Event]) -> list[Stay]:
        """The events of a decision; returns the stays that they end."""
        if self._held and self._waiting:
            behind = len(self._waiting) * (now_ms - self._at_ms)
            for agent in {agent for agent, _ in self._held.values()}:
                self._kept_waiting[agent] += behind
        self._at_ms = now_ms
        return [stay for event in events for stay in self._event(event, now_ms)]

    def _event(self, event: Event, now_ms: int) -> Iterable[Stay]:
        match event:
            case k.LockGranted() | l.CapacityGranted():
                self._counts["granted"] += 1
                yield from self._wait_over(event.request, now_ms, granted=True)
                self._held[event.token, event.request] = event.agent, now_ms
            case k.LockQueued() | l.CapacityQueued() | k.BarrierReached():
                self._waiting[event.request] = event.agent, now_ms
            case k.LockDenied() | l.CapacityDenied():
                if event.request in self._waiting:
                    yield from self._wait_over(event.request, now_ms)
                else:
                    self._counts["denied"] += 1
            case k.RequestWithdrawn() | l.RequestWithdrawn() | k.DeadlockBroken() | l.DeadlockBroken():
                yield from self._wait_over(event.request, now_ms)
            case k.BarrierPassed(requests=requests) | k.BarrierBroken(requests=requests):
                for request in requests:
                    yield from self._wait_over(request, now_ms, granted=isinstance(event, k.BarrierPassed))
            case k.LockReleased() | l.CapacityReleased() | k.LeaseRevoked():
                yield from self._hold_over(event.token, event.request, now_ms)
            case k.ConditionAwaited():
                yield from self._hold_over(event.token, None, now_ms)
            case k.LeaseExpired() | l.LeaseExpired():
                self._counts["expired"] += 1
                yield from self._hold_over(event.token, event.request, now_ms)
            case k.StaleWriteRefused() | l.StaleWriteRefused():
                self._counts["stale"] += 1

    def _wait_over(self, request: str, now_ms: int, *, granted: bool = False) -> Iterable[Stay]:
        waited = self._waiting.pop(request, None)
        if waited is None:
            return
        agent, since_ms = waited
        self._waits.append(now_ms - since_ms)
        if not granted:
            self._counts["given_up"] += 1
        yield Stay(agent, False, since_ms, now_ms)

    def _hold_over(self, token: int, request: str | None, now_ms: int) -> Iterable[Stay]:
        """An exclusive hold's end names the token alone."""
        key = next((key for key in self._held if key[0] == token), None) if request is None else (token, request)
        held = self._held.pop(key, None) if key is not None else None
        if held is not None:
            agent, since_ms = held
            self._holds.append(now_ms - since_ms)
            yield Stay(agent, True, since_ms, now_ms)

    @property
    def open(self) -> list[Stay]:
        """What has not ended."""
        holding = [Stay(agent, True, since_ms, None) for agent, since_ms in self._held.values()]
        return holding + [Stay(agent, False, since_ms, None) for agent, since_ms in self._waiting.values()]

    def told(self, domain: str, name: str) -> Contention:
        """What became of it."""
        count = self._counts
        worst = tuple((agent, ms) for agent, ms in self._kept_waiting.most_common(5) if ms)
        return Contention(
            domain, name, count["granted"], spread(self._waits), count["given_up"], count["denied"],
            spread(self._holds), count["expired"], count["stale"], worst,
        )  # fmt: skip
