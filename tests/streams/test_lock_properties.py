"""Locks under any sequence of commands: alone is alone, no more share than may, tokens grow, nobody starves.

The model below is written from the rules, not from the code: a list of waiters and who holds. It decides nothing; it
checks what the events claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from accord.schemas.messages import Event
from accord.schemas.messages.locks import (
    AcquireLock,
    LeaseExpired,
    LeaseRenewed,
    LeaseRevoked,
    LockDenied,
    LockGranted,
    LockQueued,
    LockReleased,
    ReleaseLock,
    RenewLease,
    ReportStaleWrite,
    RequestWithdrawn,
    RevokeLease,
    WithdrawRequest,
)
from accord.schemas.messages.log import Tick
from accord.streams.decider import At, dump, restore
from accord.streams.locks import decider as locks
from accord.streams.locks.bounds import DUE_MAX, PRIORITY_MAX, SHARED_MAX
from accord.streams.locks.decider import Lock, NameDecider
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.counts import examples

AGENTS = st.sampled_from(["ada", "bob", "eve", "kim"])
LEASES = st.sampled_from([1_000, 1_500, 4_000])
WAITS = st.sampled_from([None, None, 0, 1, 500, 2_000])
PERMITS = st.sampled_from([None, None, None, 0, 0, 2, 3])
PRIORITIES = st.sampled_from([0, 0, 0, 1, 3, -1, PRIORITY_MAX, -PRIORITY_MAX])
STEPS = st.sampled_from([0, 0, 1, 499, 500, 1_000, 3_000])


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
        agreed = {one.permits for one in (*self.holders.values(), *self.queue)} - {None}
        assert len(agreed) <= 1, "shared in two ways at once"

    def overdue(self, now_ms: int) -> list[Waiting]:
        return [w for w in self.queue if w.deadline_ms is not None and w.deadline_ms <= now_ms]

    def next_deadline(self) -> int | None:
        due = [waiting.deadline_ms for waiting in self.queue if waiting.deadline_ms is not None]
        return min([*due, *[held.deadline_ms for held in self.holders.values()]], default=None)


class LockMachine(RuleBasedStateMachine):
    """One lock from its first request on, over any number of lives; commands at any time, right and wrong."""

    due_max = DUE_MAX

    def __init__(self) -> None:
        super().__init__()
        self.decider = NameDecider()
        self.state: Lock | None = None
        self.snapshot: tuple[int, bytes | None] = (0, None)
        self.events: list[Event] = []
        self.model = Model()
        self.now_ms = 1_000_000
        self.seq = 1
        self.requests: list[str] = []
        self.grants: list[LockGranted] = []

    def decide(self, command: Any, step_ms: int) -> None:
        self.now_ms += step_ms
        self.seq += 1
        request = f"r-{self.seq}"
        self.requests.append(request)
        self.model.priorities[request] = getattr(command, "priority", 0)
        with patch.object(locks, "DUE_MAX", self.due_max):
            events = self.decider.decide(self.state, command, At(self.now_ms, self.seq, request))
        self.check_ends(events, request)
        granting = [isinstance(event, LockGranted) for event in events]
        assert granting == sorted(granting), "something after a grant"
        for event in events:
            self.model.note(event, self.now_ms)
            self.state = self.decider.evolve(self.state, event)
            self.events.append(event)
            if isinstance(event, LockGranted):
                assert event.token == self.seq
                self.grants.append(event)
        self.model.check_rest(self.now_ms)

    def check_ends(self, events: Sequence[Event], request: str) -> None:
        """The first waits that are over have ended, as many as may, and nobody was let in before the others."""
        over = sorted(self.model.overdue(self.now_ms), key=lambda waiting: (waiting.deadline_ms, waiting.number))
        ended = [event.request for event in events if isinstance(event, LockDenied) and event.reason == "timeout"]
        assert ended == [waiting.request for waiting in over][: self.due_max]
        if len(over) > self.due_max:
            withdrawn = {event.request for event in events if isinstance(event, RequestWithdrawn)}
            granted = {event.request for event in events if isinstance(event, LockGranted)}
            left = {waiting.request for waiting in over[self.due_max :]} - withdrawn
            assert not left or granted <= {request}, "granted out of the queue while waits are over"

    @rule(
        agent=AGENTS, task=st.integers(0, 2), lease_ms=LEASES, wait_ms=WAITS, permits=PERMITS, priority=PRIORITIES,
        step_ms=STEPS,
    )  # fmt: skip
    def acquire(
        self, agent: str, task: int, lease_ms: int, wait_ms: int | None, permits: int | None, priority: int,
        step_ms: int,
    ) -> None:  # fmt: skip
        self.decide(AcquireLock(agent, f"{agent}/{task}", lease_ms, wait_ms, permits, priority), step_ms)

    @rule(agent=AGENTS, back=st.integers(0, 4), lease_ms=LEASES, step_ms=STEPS)
    def renew(self, agent: str, back: int, lease_ms: int, step_ms: int) -> None:
        token, request = self.grant(back)
        self.decide(RenewLease(agent, token, lease_ms, request), step_ms)

    @rule(agent=AGENTS, back=st.integers(0, 4), step_ms=STEPS)
    def release(self, agent: str, back: int, step_ms: int) -> None:
        self.decide(ReleaseLock(agent, *self.grant(back)), step_ms)

    @rule(agent=AGENTS, back=st.integers(0, 4), step_ms=STEPS)
    def revoke(self, agent: str, back: int, step_ms: int) -> None:
        token, request = self.grant(back)
        self.decide(RevokeLease(agent, token, "an operator's word", request), step_ms)

    @precondition(lambda self: self.requests)
    @rule(agent=AGENTS, back=st.integers(0, 8), step_ms=STEPS)
    def withdraw(self, agent: str, back: int, step_ms: int) -> None:
        self.decide(WithdrawRequest(agent, self.requests[-1 - back % len(self.requests)]), step_ms)

    @rule(step_ms=STEPS)
    def tick(self, step_ms: int) -> None:
        self.decide(Tick(), step_ms)

    @rule(agent=AGENTS, step_ms=STEPS)
    def report(self, agent: str, step_ms: int) -> None:
        self.decide(ReportStaleWrite(agent, "rooms", 1, 2), step_ms)

    @rule()
    def take_snapshot(self) -> None:
        self.snapshot = (len(self.events), None if self.state is None else dump(self.state))

    def grant(self, back: int) -> tuple[int, str | None]:
        """Token and request of one of the last grants; sometimes of none that ever was."""
        if not back or not self.grants:
            return 999_999, None
        grant = self.grants[-min(back, len(self.grants))]
        return grant.token, None if grant.permits is None else grant.request

    @invariant()
    def state_agrees_with_the_model(self) -> None:
        model, state = self.model, self.state
        if state is None:
            assert not model.holders
            assert not model.queue
            return
        assert state.holders or model.overdue(self.now_ms), "a lock without a holder is not remembered"
        assert model.holders == {h.request: Held(h.token, h.permits, h.deadline_ms) for h in state.holders}
        assert [(w.request, w.deadline_ms, w.permits, w.priority) for w in model.queue] == [
            (waiter.request, waiter.deadline_ms, waiter.permits, waiter.priority) for waiter in state.waiters
        ]
        assert self.decider.deadline_ms(state) == model.next_deadline()

    @invariant()
    def every_way_of_folding_gives_the_same(self) -> None:
        from_scratch: Lock | None = None
        for event in self.events:
            from_scratch = self.decider.evolve(from_scratch, event)
        assert from_scratch == self.state
        count, row = self.snapshot
        resumed = None if row is None else restore(row, self.decider.state_type)
        for event in self.events[count:]:
            resumed = self.decider.evolve(resumed, event)
        assert resumed == self.state

    def teardown(self) -> None:
        """Everybody gives up in the end: with time alone the lock becomes free."""
        for _ in range(200):
            if self.state is None:
                break
            following = self.decider.deadline_ms(self.state)
            assert following is not None, "a lock that no deadline will ever free"
            self.decide(Tick(), max(0, following - self.now_ms))
        assert self.state is None


LockMachine.TestCase.settings = examples(40, stateful_step_count=40)
TestLock = LockMachine.TestCase


class OneAtATime(LockMachine):
    """The same when a decision ends no more than one wait: the others are ended by what comes next."""

    due_max = 1

    @rule(count=st.integers(2, 5), lease_ms=LEASES, wait_ms=st.sampled_from([1, 500]), permits=PERMITS)
    def crowd(self, count: int, lease_ms: int, wait_ms: int, permits: int | None) -> None:
        for number in range(count):
            self.decide(AcquireLock("leo", f"leo/{self.seq}/{number}", lease_ms, wait_ms, permits), 0)


OneAtATime.TestCase.settings = examples(40, stateful_step_count=40)
TestOneAtATime = OneAtATime.TestCase
