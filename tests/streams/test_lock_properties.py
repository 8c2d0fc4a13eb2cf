"""Locks under any sequence of commands: alone is alone, no more share than may, tokens grow, nobody starves.

The model below is written from the rules, not from the code: a list of waiters and who holds. It decides nothing; it
checks what the events claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from accord.schemas.messages import Event
from accord.schemas.messages.locks import (
    AcquireLock,
    LockDenied,
    LockGranted,
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
from accord.streams.locks.bounds import DUE_MAX, PRIORITY_MAX
from accord.streams.locks.decider import Lock, NameDecider
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from accord.testing.simulation.judges.locks import Held, Model
from tests.counts import examples

AGENTS = st.sampled_from(["ada", "bob", "eve", "kim"])
LEASES = st.sampled_from([1_000, 1_500, 4_000])
WAITS = st.sampled_from([None, None, 0, 1, 500, 2_000])
PERMITS = st.sampled_from([None, None, None, 0, 0, 2, 3])
PRIORITIES = st.sampled_from([0, 0, 0, 1, 3, -1, PRIORITY_MAX, -PRIORITY_MAX])
STEPS = st.sampled_from([0, 0, 1, 499, 500, 1_000, 3_000])


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
