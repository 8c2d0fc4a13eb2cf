"""Condition variables: waiting frees the lock, a notice brings it back, and no wake-up is lost."""

from __future__ import annotations

import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.locks import (
    AcquireLock,
    ConditionAwaited,
    ConditionNotified,
    ConditionRefused,
    ConditionTimedOut,
    LeaseExpired,
    LeaseRevoked,
    LockDenied,
    LockGranted,
    LockQueued,
    LockReleased,
    NotifyCondition,
    ReleaseLock,
    RequestWithdrawn,
    RevokeLease,
    WaitOnCondition,
    WithdrawRequest,
)
from accord.schemas.messages.log import CommandRejected, Tick
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import At
from accord.streams.locks import decider as locks
from accord.streams.locks.bounds import DUE_MAX, LEASE_MS_MAX, NOTIFIED_MAX, TEXT_BYTES_MAX
from accord.streams.locks.decider import Lock, NameDecider
from accord.streams.locks.queue import EMPTY, Queue, Waiter
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.counts import examples
from tests.streams.spec import Specification

decider = NameDecider()
given = Specification(decider)

HELD = LockGranted("r-ada", "ada", "ada/1", token=7, lease_ms=5_000, deadline_ms=6_000)
SHARED = LockGranted("r-ada", "ada", "ada/1", token=7, lease_ms=5_000, deadline_ms=6_000, permits=2)


def asleep(name: str, deadline_ms: int | None = None) -> ConditionAwaited:
    return ConditionAwaited(f"w-{name}", name, f"{name}/1", 3, 5_000, 1_500, deadline_ms)


def regranted(name: str, now_ms: int, token: int = 100) -> LockGranted:
    return LockGranted(f"w-{name}", name, f"{name}/1", token, 5_000, now_ms + 5_000)


# bob and eve wait for a notice, bob until 4,000; ada holds the lock
SLEEPING = [asleep("bob", 4_000), asleep("eve"), HELD]


def test_waiting_gives_the_lock_back_and_keeps_the_place_of_the_owner() -> None:
    awaited = ConditionAwaited("new", "ada", "ada/1", 7, 5_000, 2_000, 2_500)
    then = given(HELD).when(WaitOnCondition("ada", 7, 500), 2_000).then(awaited)
    assert then.state == Lock((), EMPTY, Queue.of([Waiter("new", "ada", "ada/1", 5_000, 2_000, 2_500)]))
    assert decider.deadline_ms(then.state) == 2_500


def test_waiting_lets_the_next_in() -> None:
    kim = LockQueued("r-kim", "kim", "kim/1", 5_000, 1_200, None, 1)
    given(HELD, kim).when(WaitOnCondition("ada", 7, None), 2_000).then(
        ConditionAwaited("new", "ada", "ada/1", 7, 5_000, 2_000, None),
        LockGranted("r-kim", "kim", "kim/1", 100, 5_000, 7_000),
    )


def test_a_notice_wakes_the_first_who_then_waits_for_the_lock() -> None:
    then = given(*SLEEPING).when(NotifyCondition("ada", 7, 1), 2_000).then(ConditionNotified("ada", ("w-bob",)))
    assert [waiter.agent for waiter in then.state.waiters] == ["bob"]
    assert [sleeper.agent for sleeper in then.state.sleepers] == ["eve"]
    assert decider.deadline_ms(then.state) == 6_000, "who was notified waits for the lock without limit"
    given(*SLEEPING, ConditionNotified("ada", ("w-bob",))).when(ReleaseLock("ada", 7), 2_500).then(
        LockReleased("ada", 7), regranted("bob", 2_500)
    )


def test_a_notice_to_all_wakes_all_and_one_to_nobody_is_no_debt() -> None:
    given(*SLEEPING).when(NotifyCondition("ada", 7, None), 2_000).then(ConditionNotified("ada", ("w-bob", "w-eve")))
    given(*SLEEPING).when(NotifyCondition("ada", 7, 5), 2_000).then(ConditionNotified("ada", ("w-bob", "w-eve")))
    then = given(HELD).when(NotifyCondition("ada", 7, 1), 2_000).then(ConditionNotified("ada", ()))
    assert then.state == given(HELD).state


def test_who_waited_too_long_takes_the_lock_all_the_same() -> None:
    given(*SLEEPING).when(Tick(), 4_000).then(ConditionTimedOut("w-bob", "bob", 4_000))
    given(asleep("bob", 4_000)).when(Tick(), 4_000).then(
        ConditionTimedOut("w-bob", "bob", 4_000), regranted("bob", 4_000)
    )


def test_a_lock_that_is_free_and_slept_on_is_granted_at_once_and_remembered() -> None:
    then = given(asleep("bob")).when(AcquireLock("kim", "kim/1", 5_000, None), 2_000)
    then = then.then(LockGranted("new", "kim", "kim/1", 100, 5_000, 7_000))
    assert [sleeper.agent for sleeper in then.state.sleepers] == ["bob"]
    assert decider.deadline_ms(given(asleep("bob")).state) is None


@pytest.mark.parametrize("command", [WaitOnCondition("kim", 6, None), NotifyCondition("kim", 6, 1)])
def test_who_does_not_hold_the_lock_alone_is_refused(command: Command) -> None:
    given(HELD).when(command, 2_000).then(ConditionRefused("new", "kim", 6, "not_holder", "ada", 7))
    given().when(command, 2_000).then(ConditionRefused("new", "kim", 6, "not_holder", None, None))
    shared = type(command)("ada", 7, 1)
    given(SHARED).when(shared, 2_000).then(ConditionRefused("new", "ada", 7, "not_holder", "ada", 7))


def test_a_full_queue_takes_no_more_sleepers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "WAITERS_MAX", 20)
    many = [asleep(f"a{n}") for n in range(20)]
    given(*many, HELD).when(WaitOnCondition("ada", 7, None), 2_000).then(
        ConditionRefused("new", "ada", 7, "queue_full", "ada", 7)
    )


def test_one_command_notifies_a_bounded_number_and_the_next_the_others() -> None:
    many = [asleep(f"a{n}") for n in range(NOTIFIED_MAX + 2)]
    first = ConditionNotified("ada", tuple(f"w-a{n}" for n in range(NOTIFIED_MAX)))
    others = ConditionNotified("ada", (f"w-a{NOTIFIED_MAX}", f"w-a{NOTIFIED_MAX + 1}"))
    then = given(*many, HELD).when(NotifyCondition("ada", 7, None), 2_000).then(first)
    assert not then.when(NotifyCondition("ada", 7, None), 2_000).then(others).state.sleepers


def test_the_largest_notice_fits_a_decision_that_ends_waits() -> None:
    name = "n" * TEXT_BYTES_MAX
    huge = 1 << 50
    names = [name[:-5] + f"{n:05}" for n in range(NOTIFIED_MAX)]
    many = [ConditionAwaited(request, name, name, huge, LEASE_MS_MAX, huge, None) for request in names]
    held = LockGranted(name, name, name, huge, LEASE_MS_MAX, huge + LEASE_MS_MAX)
    queue = [LockQueued(f"{n}" + request[9:], name, name, 5_000, huge, huge, 1) for n, request in enumerate(names)]
    notice = NotifyCondition(name, huge, None)
    (*ended, notified) = given(*many, held, *queue).when(notice, huge + 1)._events
    assert isinstance(notified, ConditionNotified)
    assert (len(ended), len(notified.requests)) == (DUE_MAX, NOTIFIED_MAX)
    assert len(events_codec("locks").encode([*ended, notified])) <= DECISION_BYTES_MAX


def test_waits_for_a_lock_and_for_a_notice_end_together_in_order_and_within_the_bound() -> None:
    queue = [LockQueued(f"r-{n}", "bob", f"bob/{n}", 2_000, 1_500, 4_000, 1) for n in range(DUE_MAX)]
    sleeping = [asleep("eve", 3_999), asleep("kim", 4_000)]
    events = given(*sleeping, HELD, *queue).when(Tick(), 5_000)._events
    assert events[0] == ConditionTimedOut("w-eve", "eve", 3_999)
    assert [event.request for event in events[1:] if isinstance(event, LockDenied)] == [
        f"r-{n}" for n in range(DUE_MAX - 1)
    ]
    assert len(events) == DUE_MAX


# -- no wake-up is lost


def test_a_notice_to_one_who_dies_before_the_grant_was_of_use_goes_to_the_next() -> None:
    notified = [*SLEEPING, ConditionNotified("ada", ("w-bob",)), LockReleased("ada", 7), regranted("bob", 2_000, 9)]
    given(*notified).when(Tick(), 7_000).then(
        LeaseExpired("bob", 9, 7_000), ConditionNotified("", ("w-eve",)), regranted("eve", 7_000)
    )
    given(*notified).when(RevokeLease("ops", 9, "stuck"), 3_000).then(
        LeaseRevoked("bob", 9, "ops", "stuck"), ConditionNotified("", ("w-eve",)), regranted("eve", 3_000)
    )


def test_a_notice_to_one_who_goes_away_goes_to_the_next() -> None:
    notified = [*SLEEPING, ConditionNotified("ada", ("w-bob",))]
    given(*notified).when(WithdrawRequest("bob", "w-bob"), 3_000).then(
        RequestWithdrawn("w-bob", "bob"), ConditionNotified("", ("w-eve",))
    )
    granted = [*notified, LockReleased("ada", 7), regranted("bob", 2_000, 9)]
    given(*granted).when(WithdrawRequest("bob", "w-bob"), 3_000).then(
        LockReleased("bob", 9), ConditionNotified("", ("w-eve",)), regranted("eve", 3_000)
    )


def test_who_used_its_notice_or_had_none_passes_nothing_on() -> None:
    granted = [*SLEEPING, ConditionNotified("ada", ("w-bob",)), LockReleased("ada", 7), regranted("bob", 2_000, 9)]
    given(*granted).when(ReleaseLock("bob", 9), 3_000).then(LockReleased("bob", 9))
    given(*SLEEPING).when(WithdrawRequest("bob", "w-bob"), 3_000).then(RequestWithdrawn("w-bob", "bob"))
    timed_out = [*SLEEPING, ConditionTimedOut("w-bob", "bob", 4_000)]
    given(*timed_out).when(WithdrawRequest("bob", "w-bob"), 5_000).then(RequestWithdrawn("w-bob", "bob"))


@pytest.mark.parametrize(
    ("command", "problem"),
    [(WaitOnCondition("a", 1, -1), "wait_ms=-1"), (NotifyCondition("a", 1, 0), "count=0")],
)
def test_a_command_that_cannot_be_right_is_rejected(command: Command, problem: str) -> None:
    (event,) = given(HELD).when(command, 2_000)._events
    assert isinstance(event, CommandRejected)
    assert problem in event.description


class ConditionMachine(RuleBasedStateMachine):
    """A buffer guarded by a condition: consumers that die at any moment; what was put in is taken in the end.

    The property is what people use conditions for: while something is in the buffer and somebody sleeps, a wake-up is
    on its way, so nothing stays in it for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self.state: Lock | None = None
        self.now_ms, self.seq = 1_000, 1
        self.items = 0
        self.holder: LockGranted | None = None
        self.dead: set[str] = set()

    def decide(self, command: Command, step_ms: int = 1) -> list[Event]:
        self.now_ms += step_ms
        self.seq += 1
        events = list(decider.decide(self.state, command, At(self.now_ms, self.seq, f"r-{self.seq}")))
        for event in events:
            self.state = decider.evolve(self.state, event)
            if isinstance(event, LockGranted):
                self.holder = event
            if isinstance(event, LeaseExpired | LockReleased | ConditionAwaited):
                self.holder = None
        if self.holder is not None and self.holder.agent.startswith("eater") and self.holder.request not in self.dead:
            self.eat()
        return events

    def eat(self) -> None:
        """A consumer that holds the lock takes an item, or sleeps when there is none."""
        holder = self.holder
        assert holder is not None
        if self.items:
            self.items -= 1
            self.decide(ReleaseLock(holder.agent, holder.token))
        else:
            self.decide(WaitOnCondition(holder.agent, holder.token, None))

    @rule(wait_ms=st.sampled_from([None, 1_500]))
    def consumer_comes(self, wait_ms: int | None) -> None:
        self.decide(AcquireLock("eater", f"eater/{self.seq}", 1_000, wait_ms))

    @rule(count=st.integers(1, 2))
    def producer_puts(self, count: int) -> None:
        self.decide(AcquireLock("cook", f"cook/{self.seq}", 1_000, None))
        if self.holder is not None and self.holder.agent == "cook":
            self.items += count
            self.decide(NotifyCondition("cook", self.holder.token, count))
            self.decide(ReleaseLock("cook", self.holder.token))

    @rule(place=st.integers(0, 3))
    def sleeper_dies(self, place: int) -> None:
        if self.state is not None and self.state.sleepers:
            self.dead.add(self.asleep(place))

    @rule(place=st.integers(0, 3))
    def sleeper_goes_away(self, place: int) -> None:
        if self.state is not None and self.state.sleepers:
            self.decide(WithdrawRequest("eater", self.asleep(place)))

    def asleep(self, place: int) -> str:
        assert self.state is not None
        sleepers = list(self.state.sleepers)
        return sleepers[place % len(sleepers)].request

    @rule(step_ms=st.sampled_from([1, 400, 1_000, 3_000]))
    def time_passes(self, step_ms: int) -> None:
        self.decide(Tick(), step_ms)

    @invariant()
    def no_wake_up_is_lost(self) -> None:
        """Play on without anybody new: what is in the buffer is eaten as long as a living one sleeps."""
        saved = (self.state, self.now_ms, self.seq, self.items, self.holder)
        for _ in range(50):
            if self.state is None or not (self.state.holders or self.state.waiters):
                break
            self.decide(Tick(), 1_000)
        alive = [s for s in (self.state.sleepers if self.state else ()) if s.request not in self.dead]
        assert not (self.items and alive), "somebody sleeps beside a full buffer"
        self.state, self.now_ms, self.seq, self.items, self.holder = saved


ConditionMachine.TestCase.settings = examples(40, stateful_step_count=30)
TestCondition = ConditionMachine.TestCase
