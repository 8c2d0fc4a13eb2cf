"""The consumer group, in which every rebalance revokes all partitions of all members and then assigns them anew.

A member that is silent for the session's time, or does not give up its partitions in time, is put out: others get its
partitions while it may still believe that they are its own. It finds out when it is heard again, gives up what it
has, and joins.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from accord.testing.simulation.scheduler import Event, Scheduler

if TYPE_CHECKING:
    from accord.testing.simulation.worker import Worker

SESSION_MS: Final = 10_000.0
REBALANCE_MS: Final = 15_000.0
CHECK_MS: Final = 2_500.0
NOTICE_MS: Final = 3_000.0
"""A member is told of a rebalance with its next heartbeat."""


class Group:
    """See the module's text.

    Args:
        places: all partitions that there are to assign.
    """

    def __init__(self, scheduler: Scheduler, places: list[tuple[str, int]]) -> None:
        self.scheduler = scheduler
        self.places = places
        self.random = scheduler.stream("group")
        self.generation = 0
        self.members: dict[str, Worker] = {}
        self.rebalances_count = 0
        self._incarnations: dict[str, int] = {}
        self._heard_ms: dict[str, float] = {}
        self._waiting: set[str] = set()
        self._timeout: Event | None = None
        scheduler.call_later(CHECK_MS, self._check)

    def join(self, worker: Worker) -> None:
        """A worker has come."""
        self.members[worker.name] = worker
        self._incarnations[worker.name] = worker.starts
        self._heard_ms[worker.name] = self.scheduler.now_ms
        self.rebalance()

    def heard(self, worker: Worker) -> None:
        """A sign of life."""
        if self.members.get(worker.name) is worker and self._incarnations[worker.name] == worker.starts:
            self._heard_ms[worker.name] = self.scheduler.now_ms
        elif worker.processors:
            self.join(worker)  # it was put out; with the rebalance it gives up what it has

    def rebalance(self) -> None:
        """All give up what they have and are given partitions anew."""
        self.generation += 1
        self.rebalances_count += 1
        self._waiting = set(self.members)
        for worker in self.members.values():
            delay_ms = 0.0 if not worker.owned else self.random.random() * NOTICE_MS
            tell = partial(self._tell, worker, self.generation)
            self.scheduler.call_later(delay_ms, tell, process=worker.process)
        if self._timeout is not None:
            self._timeout.cancel()
        self._timeout = self.scheduler.call_later(REBALANCE_MS, self._put_out_waiting)

    def _tell(self, worker: Worker, generation: int) -> None:
        if generation != self.generation:
            return
        if worker.hears:
            worker.revoke(generation)
        else:
            self.scheduler.call_later(1_000.0, lambda: self._tell(worker, generation), process=worker.process)

    def ready(self, worker: Worker, generation: int) -> None:
        """A member has given up what it had."""
        if generation == self.generation:
            self._waiting.discard(worker.name)
            self._assign_when_ready()

    def _put_out_waiting(self) -> None:
        for name in sorted(self._waiting):
            del self.members[name]
        self._waiting.clear()
        self._assign_when_ready()

    def _assign_when_ready(self) -> None:
        if self._waiting or self._timeout is None:
            return
        self._timeout.cancel()
        self._timeout = None
        names = sorted(self.members)
        shares: dict[str, set[tuple[str, int]]] = {name: set() for name in names}
        places = list(self.places)
        self.random.shuffle(places)
        for number, place in enumerate(places if names else ()):
            shares[names[number % len(names)]].add(place)
        for name in names:
            worker = self.members[name]
            share = frozenset(shares[name])
            if worker.alive and self._incarnations[name] == worker.starts:
                hand_over = partial(self._assign, worker, share, self.generation)
                self.scheduler.call_later(self.random.random() * 100, hand_over, process=worker.process)

    def _assign(self, worker: Worker, share: frozenset[tuple[str, int]], generation: int) -> None:
        if generation == self.generation:  # else another rebalance has begun, and brings another assignment
            worker.assign(share)

    def double(self, name: str, ms: float) -> None:
        """Gives another member the partitions that one has, and does not tell that one; after so long all is assigned
        anew."""
        worker = self.members.get(name)
        others = [other for other in self.members.values() if other is not worker and other.hears and other.processors]
        if worker is not None and others:
            self.random.choice(others).assign(frozenset(worker.owned))
            self.scheduler.call_later(ms, self.rebalance)

    def _check(self) -> None:
        now_ms = self.scheduler.now_ms
        silent = [name for name in self.members if now_ms - self._heard_ms[name] > SESSION_MS]
        for name in silent:
            del self.members[name]
        if silent:
            self.rebalance()
        self.scheduler.call_later(CHECK_MS, self._check)
