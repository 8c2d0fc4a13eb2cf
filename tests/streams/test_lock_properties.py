"""Locks under any sequence of commands: never two holders, tokens only grow, first come first served.

The model below is written from the rules, not from the code: a list of waiters and one holder. It decides nothing; it
checks what the events claim.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from accord.schemas.messages import Event
from accord.schemas.messages.locks import (
    AcquireLock,
    LeaseExpired,
    LeaseRenewed,
    LockDenied,
    LockGranted,
    LockQueued,
    LockReleased,
    ReleaseLock,
    RenewLease,
    ReportStaleWrite,
    RequestWithdrawn,
    WithdrawRequest,
)
from accord.schemas.messages.log import Tick
from accord.streams.decider import At
from accord.streams.locks import Lock, LockDecider
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

AGENTS = st.sampled_from(["ada", "bob", "eve", "kim"])
LEASES = st.sampled_from([1_000, 1_500, 4_000])
WAITS = st.sampled_from([None, None, 0, 1, 500, 2_000])
STEPS = st.sampled_from([0, 0, 1, 499, 500, 1_000, 3_000])


@dataclass
class Model:
    """What a person would note down beside the lock."""

    holder: tuple[int, str, int] | None = None
    """Token, request and deadline."""
    queue: list[tuple[str, int | None]] = field(default_factory=list)
    """Request and deadline, first come first."""
    last_token: int = 0

    def note(self, event: Event, now_ms: int) -> None:
        match event:
            case LockGranted(request=request, token=token, deadline_ms=deadline_ms):
                assert self.holder is None, "two holders"
                assert token > self.last_token, "a token that does not grow"
                assert deadline_ms > now_ms, "a grant that is over already"
                if self.queue:
                    assert self.queue[0][0] == request, "overtaken in the queue"
                    self.forget(request)
                self.holder, self.last_token = (token, request, deadline_ms), token
            case LockQueued(request=request, deadline_ms=deadline_ms, place=place):
                assert place == len(self.queue) + 1
                assert deadline_ms is None or deadline_ms > now_ms
                self.queue.append((request, deadline_ms))
            case LockReleased(token=token):
                assert self.holder is not None
                assert self.holder[0] == token
                assert self.holder[2] > now_ms, "released after its lease ended"
                self.holder = None
            case LeaseExpired(token=token, deadline_ms=deadline_ms):
                assert self.holder is not None
                assert (self.holder[0], self.holder[2]) == (token, deadline_ms)
                assert deadline_ms <= now_ms, "expired too early"
                self.holder = None
            case LeaseRenewed(token=token, deadline_ms=deadline_ms):
                assert self.holder is not None
                assert self.holder[0] == token
                assert self.holder[2] > now_ms, "renewed after its end"
                self.holder = (token, self.holder[1], deadline_ms)
            case LockDenied(request=request, reason=reason):
                deadlines = [deadline for name, deadline in self.queue if name == request and deadline is not None]
                assert reason != "timeout" or min(deadlines) <= now_ms, "gave up too early"
                self.forget(request)
            case RequestWithdrawn(request=request):
                assert request in dict(self.queue)
                self.forget(request)
            case _:
                pass

    def forget(self, request: str) -> None:
        """A request leaves the queue, however often it asked: under one id it is one request."""
        self.queue = [waiting for waiting in self.queue if waiting[0] != request]

    def check_rest(self, now_ms: int) -> None:
        """Nothing due is left, and a free lock has no queue."""
        assert self.holder is None or self.holder[2] > now_ms, "a lease that is over"
        assert all(deadline is None or deadline > now_ms for _, deadline in self.queue), "a wait that is over"
        assert self.holder is not None or not self.queue, "a free lock that somebody waits for"

    def next_deadline(self) -> int | None:
        due = [deadline for _, deadline in self.queue if deadline is not None]
        return min([*due, *([self.holder[2]] if self.holder else [])], default=None)


class LockMachine(RuleBasedStateMachine):
    """One lock from its first request on, over any number of lives; commands at any time, right and wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.decider = LockDecider()
        self.state: Lock | None = None
        self.snapshot: tuple[int, bytes | None] = (0, None)
        self.events: list[Event] = []
        self.model = Model()
        self.now_ms = 1_000_000
        self.seq = 1
        self.requests: list[str] = []
        self.tokens: list[int] = []

    def decide(self, command: Any, step_ms: int) -> None:
        self.now_ms += step_ms
        self.seq += 1
        request = f"r-{self.seq}"
        self.requests.append(request)
        events = self.decider.decide(self.state, command, At(self.now_ms, self.seq, request))
        assert sum(isinstance(event, LockGranted) for event in events) <= 1, "two grants in one decision"
        assert not any(isinstance(event, LockGranted) for event in events[:-1]), "something after the grant"
        for event in events:
            self.model.note(event, self.now_ms)
            self.state = self.decider.evolve(self.state, event)
            self.events.append(event)
            if isinstance(event, LockGranted):
                assert event.token == self.seq
                self.tokens.append(event.token)
        self.model.check_rest(self.now_ms)

    @rule(agent=AGENTS, task=st.integers(0, 2), lease_ms=LEASES, wait_ms=WAITS, step_ms=STEPS)
    def acquire(self, agent: str, task: int, lease_ms: int, wait_ms: int | None, step_ms: int) -> None:
        self.decide(AcquireLock(agent, f"{agent}/{task}", lease_ms, wait_ms), step_ms)

    @rule(agent=AGENTS, back=st.integers(0, 3), lease_ms=LEASES, step_ms=STEPS)
    def renew(self, agent: str, back: int, lease_ms: int, step_ms: int) -> None:
        self.decide(RenewLease(agent, self.token(back), lease_ms), step_ms)

    @rule(agent=AGENTS, back=st.integers(0, 3), step_ms=STEPS)
    def release(self, agent: str, back: int, step_ms: int) -> None:
        self.decide(ReleaseLock(agent, self.token(back)), step_ms)

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
        self.snapshot = (len(self.events), None if self.state is None else msgspec.msgpack.encode(self.state))

    def token(self, back: int) -> int:
        """One of the last tokens, the current one above all; sometimes none that ever was."""
        return self.tokens[-back] if 0 < back <= len(self.tokens) else (self.tokens[-1] if self.tokens else 999)

    @invariant()
    def state_agrees_with_the_model(self) -> None:
        model, state = self.model, self.state
        if state is None:
            assert model.holder is None
            assert not model.queue
            return
        assert state.holder is not None, "a lock without a holder is not remembered"
        assert model.holder == (state.holder.token, state.holder.request, state.holder.deadline_ms)
        assert model.queue == [(waiter.request, waiter.deadline_ms) for waiter in state.waiters]
        assert self.decider.deadline_ms(state) == model.next_deadline()

    @invariant()
    def every_way_of_folding_gives_the_same(self) -> None:
        from_scratch: Lock | None = None
        for event in self.events:
            from_scratch = self.decider.evolve(from_scratch, event)
        assert from_scratch == self.state
        count, row = self.snapshot
        resumed = None if row is None else msgspec.msgpack.decode(row, type=self.decider.state_type)
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


LockMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40)
TestLock = LockMachine.TestCase
