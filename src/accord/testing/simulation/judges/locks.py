"""What a person would note down beside a lock: a list of those who wait, and who holds it.

It decides nothing; it checks what the events claim: alone is alone, no more share than may, tokens grow, nobody is
overtaken or starved.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from accord.schemas.messages import Event
from accord.schemas.messages.locks import (
    LeaseExpired,
    LeaseRenewed,
    LeaseRevoked,
    LockDenied,
    LockGranted,
    LockQueued,
    LockReleased,
    RequestWithdrawn,
)
from accord.streams.locks.bounds import PRIORITY_MAX, SHARED_MAX
from accord.testing.simulation.history import Belief
from accord.testing.simulation.judges.seen import Demand, Seen

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster


def judge(cluster: Cluster, seen: Sequence[Seen], demand: Demand) -> None:
    """Every lock by its model, and what clients believed to hold alone."""
    models: dict[str, Model] = defaultdict(Model)
    for one in seen:
        for event in one.events:
            models[one.key].note(event, one.decision.now_ms)
    if not any(fault.kind == "leap" for fault in cluster.faults):
        by_key: dict[str, list[Belief]] = defaultdict(list)
        for belief in cluster.history.beliefs:
            if belief.domain == "locks":
                by_key[belief.key].append(belief)
        for key, beliefs in by_key.items():
            beliefs.sort(key=lambda belief: belief.since_ms)
            for one_belief, other in itertools.pairwise(beliefs):
                demand(
                    one_belief.until_ms <= other.since_ms or one_belief.agent == other.agent,
                    f"{one_belief} and {other} believe to hold {key} at once",
                )


@dataclass
class Held:
    token: int
    permits: int | None
    deadline_ms: int


@dataclass
class Waiting:
    request: str
    deadline_ms: int | None
    permits: int | None
    priority: int
    """As asked for, and one more for each who overtook it."""
    number: int
    """In the order of arrival."""
    asked_priority: int
    overtaken_by_later: int = 0


def shares(holders: list[Held], permits: int | None) -> bool:
    """Whether one more may join those who hold the lock."""
    everybody = [permits, *[held.permits for held in holders]]
    return len(everybody) == 1 or (None not in everybody and len(everybody) <= (permits or SHARED_MAX))


@dataclass
class Model:
    """What a person would note down beside the lock."""

    holders: dict[str, Held] = field(default_factory=dict)
    """By request."""
    queue: list[Waiting] = field(default_factory=list)
    """In the order of arrival."""
    last_token: int = 0
    arrivals: int = 0
    priorities: dict[str, int] = field(default_factory=dict)
    """Of every request, as asked for."""

    def note(self, event: Event, now_ms: int) -> None:
        match event:
            case LockGranted(request=request, token=token, deadline_ms=deadline_ms, permits=permits):
                assert shares(list(self.holders.values()), permits), "two who do not share the lock"
                together = permits is not None and any(held.token == token for held in self.holders.values())
                assert token > self.last_token or together, "a token that does not grow"
                assert deadline_ms > now_ms, "a grant that is over already"
                ends = [w.deadline_ms for w in self.queue if w.request == request and w.deadline_ms is not None]
                assert not ends or ends[0] > now_ms, "granted after its wait was over"
                self.leave_queue(request)
                self.holders[request], self.last_token = Held(token, permits, deadline_ms), token
            case LockQueued(request=request, deadline_ms=deadline_ms, place=place, permits=permits, priority=priority):
                assert place == 1 + sum(waiting.priority >= priority for waiting in self.queue)
                assert deadline_ms is None or deadline_ms > now_ms
                assert priority == self.priorities.get(request, 0)
                if request in [waiting.request for waiting in self.queue]:
                    return  # sent again after the window of known ids: it keeps its place
                self.arrivals += 1
                self.queue.append(Waiting(request, deadline_ms, permits, priority, self.arrivals, priority))
            case LockReleased(token=token, request=request) | LeaseRevoked(token=token, request=request):
                name = self.named(token, request)
                assert self.holders.pop(name).deadline_ms > now_ms, "released after its lease ended"
            case LeaseExpired(token=token, deadline_ms=deadline_ms, request=request):
                held = self.holders.pop(self.named(token, request))
                assert held.deadline_ms == deadline_ms
                assert deadline_ms <= now_ms, "expired too early"
            case LeaseRenewed(token=token, deadline_ms=deadline_ms, request=request):
                held = self.holders[self.named(token, request)]
                assert held.deadline_ms > now_ms, "renewed after its end"
                held.deadline_ms = deadline_ms
            case LockDenied(request=request, reason=reason):
                deadlines = [w.deadline_ms for w in self.queue if w.request == request and w.deadline_ms is not None]
                assert reason != "timeout" or min(deadlines) <= now_ms, "gave up too early"
                self.forget(request)
            case RequestWithdrawn(request=request):
                assert request in [waiting.request for waiting in self.queue]
                self.forget(request)
            case _:
                pass

    def named(self, token: int, request: str | None) -> str:
        """The request of the holder that an event means; it means exactly one."""
        (name,) = [
            name for name, held in self.holders.items() if held.token == token and (request is None or name == request)
        ]
        return name

    def leave_queue(self, request: str) -> None:
        """A request is granted: it was the first by priority, then by arrival, and those who came before it rise."""
        mine = next((waiting for waiting in self.queue if waiting.request == request), None)
        number = mine.number if mine else self.arrivals + 1
        priority = mine.priority if mine else self.priorities.get(request, 0)
        for other in self.queue:
            if other is mine:
                continue
            assert (other.priority, -other.number) < (priority, -number), "overtaken in the queue"
            if other.number < number:
                other.priority += 1
                other.overtaken_by_later += 1
                assert other.overtaken_by_later <= PRIORITY_MAX - other.asked_priority, "starved"
        if mine is not None:
            self.queue.remove(mine)

    def forget(self, request: str) -> None:
        self.queue = [waiting for waiting in self.queue if waiting.request != request]

    def check_rest(self, now_ms: int) -> None:
        """No lease is left that is over, and nobody waits who could hold the lock, unless waits are left that are."""
        assert all(held.deadline_ms > now_ms for held in self.holders.values()), "a lease that is over"
        if self.queue and not self.overdue(now_ms):
            first = max(self.queue, key=lambda waiting: (waiting.priority, -waiting.number))
            assert not shares(list(self.holders.values()), first.permits), "somebody waits for what is free"
        agreed = {held.permits for held in self.holders.values()} | {waiting.permits for waiting in self.queue}
        agreed.discard(None)
        assert len(agreed) <= 1, "shared in two ways at once"

    def overdue(self, now_ms: int) -> list[Waiting]:
        return [w for w in self.queue if w.deadline_ms is not None and w.deadline_ms <= now_ms]

    def next_deadline(self) -> int | None:
        due = [waiting.deadline_ms for waiting in self.queue if waiting.deadline_ms is not None]
        return min([*due, *[held.deadline_ms for held in self.holders.values()]], default=None)
