"""Barriers: all together or all broken, and ready for the next round at once."""

from __future__ import annotations

import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.locks import (
    AcquireLock,
    BarrierBroken,
    BarrierPassed,
    BarrierReached,
    BarrierRefused,
    ConditionRefused,
    LeaseRenewed,
    LockDenied,
    LockGranted,
    NotifyCondition,
    ReachBarrier,
    ReleaseLock,
    ReleaseRefused,
    RenewalRefused,
    RenewLease,
    ReportStaleWrite,
    RevokeLease,
    StaleWriteRefused,
    WithdrawRequest,
)
from accord.schemas.messages.log import CommandRejected, Tick
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import At, dump, restore
from accord.streams.locks.barriers import Barrier, Party
from accord.streams.locks.bounds import PARTIES_MAX
from accord.streams.locks.decider import Lock, NameDecider
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.counts import examples
from tests.streams.spec import Specification

decider = NameDecider()
given = Specification(decider)

# ada came at 1,000 with a lease to 6,000, bob at 2,000 with one to 4,000; bob waits until 3,500
ADA = BarrierReached("r-ada", "ada", 3, 5_000, 6_000, None)
BOB = BarrierReached("r-bob", "bob", 3, 2_000, 4_000, 3_500)
COMES = ReachBarrier("kim", 3, 5_000, None)


def test_who_comes_waits() -> None:
    then = given().when(COMES, 1_000).then(BarrierReached("new", "kim", 3, 5_000, 6_000, None))
    assert then.state == Barrier(3, (Party("new", "kim", 6_000, None),))
    assert decider.deadline_ms(then.state) == 6_000
    then = given(ADA).when(ReachBarrier("kim", 3, 9_000, 700), 2_000)
    then = then.then(BarrierReached("new", "kim", 3, 9_000, 11_000, 2_700))
    assert decider.deadline_ms(then.state) == 2_700


def test_the_last_lets_all_go_and_the_barrier_is_as_new() -> None:
    then = given(ADA, BOB).when(COMES, 3_000).then(BarrierPassed(("r-ada", "r-bob", "new")))
    assert then.state is None


def test_a_barrier_of_one_is_passed_at_once() -> None:
    given().when(ReachBarrier("kim", 1, 5_000, None), 1_000).then(BarrierPassed(("new",)))


def test_another_number_of_parties_is_refused() -> None:
    then = given(ADA).when(ReachBarrier("kim", 2, 5_000, None), 2_000)
    assert then.then(BarrierRefused("new", "kim", "parties", 3)).state == given(ADA).state


def test_a_wait_that_ends_breaks_the_barrier_for_all() -> None:
    broken = BarrierBroken("bob", "timeout", ("r-ada", "r-bob"))
    given(ADA, BOB).when(Tick(), 3_499).then_nothing()
    assert given(ADA, BOB).when(Tick(), 3_500).then(broken).state is None


def test_a_lease_that_is_not_renewed_breaks_the_barrier_for_all() -> None:
    given(ADA).when(Tick(), 6_000).then(BarrierBroken("ada", "lease", ("r-ada",)))
    renewed = LeaseRenewed("bob", 0, 2_000, 5_000, "r-bob")
    then = given(ADA, BOB).when(RenewLease("bob", 0, 2_000, "r-bob"), 3_000).then(renewed)
    assert [party.lease_deadline_ms for party in then.state.waiting] == [6_000, 5_000]
    given(ADA, renewed).when(RenewLease("kim", 0, 2_000, "r-kim"), 3_000).then(
        RenewalRefused("kim", 0, None, None, "r-kim")
    )


def test_who_goes_away_breaks_the_barrier_for_all() -> None:
    broken = BarrierBroken("ada", "withdrawn", ("r-ada", "r-bob"))
    assert given(ADA, BOB).when(WithdrawRequest("ada", "r-ada"), 3_000).then(broken).state is None
    given(ADA).when(WithdrawRequest("kim", "r-kim"), 3_000).then_nothing()


def test_who_comes_after_it_broke_starts_the_next_round() -> None:
    given(ADA).when(COMES, 6_000).then(
        BarrierBroken("ada", "lease", ("r-ada",)), BarrierReached("new", "kim", 3, 5_000, 11_000, None)
    )


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (AcquireLock("kim", "kim/1", 5_000, None), LockDenied("new", "kim", "barrier", "", 0, 0, 0, 0)),
        (ReleaseLock("kim", 3), ReleaseRefused("kim", 3, None, None)),
        (RevokeLease("kim", 3, "?"), ReleaseRefused("kim", 3, None, None)),
        (NotifyCondition("kim", 3, 1), ConditionRefused("new", "kim", 3, "not_holder", None, None)),
        (ReportStaleWrite("kim", "rooms", 3, 4), StaleWriteRefused("kim", "rooms", 3, 4)),
    ],
)
def test_a_name_in_use_as_a_barrier_is_no_lock(command: Command, event: Event) -> None:
    assert given(ADA).when(command, 2_000).then(event).state == given(ADA).state


def test_a_name_in_use_as_a_lock_is_no_barrier() -> None:
    held = LockGranted("r-ada", "ada", "ada/1", 7, 5_000, 6_000)
    given(held).when(COMES, 2_000).then(BarrierRefused("new", "kim", "lock", 0))
    given(ADA).when(AcquireLock("kim", "kim/1", 5_000, None), 6_000).then(
        BarrierBroken("ada", "lease", ("r-ada",)), LockGranted("new", "kim", "kim/1", 100, 5_000, 11_000)
    )


@pytest.mark.parametrize("parties", [0, -1, PARTIES_MAX + 1])
def test_a_number_of_parties_that_cannot_be_right_is_rejected(parties: int) -> None:
    (event,) = given().when(ReachBarrier("kim", parties, 5_000, None), 1_000)._events
    assert isinstance(event, CommandRejected)
    assert f"parties={parties}" in event.description


def test_the_largest_barrier_fits_a_decision_and_a_row() -> None:
    name = "n" * 255
    crowd = [BarrierReached(name, name, PARTIES_MAX, 5_000, 6_000, 1 << 50) for _ in range(PARTIES_MAX - 1)]
    state = given(*crowd).state
    events = given(*crowd).when(ReachBarrier(name, PARTIES_MAX, 5_000, None), 2_000)._events
    assert len(events_codec("locks").encode(events)) <= DECISION_BYTES_MAX
    row = dump(state)
    assert len(row) <= DECISION_BYTES_MAX
    assert restore(row, decider.state_type) == state


def test_both_kinds_of_state_survive_their_bytes() -> None:
    for state in (given(ADA, BOB).state, given(LockGranted("r", "ada", "ada/1", 7, 5_000, 6_000)).state):
        assert restore(dump(state), decider.state_type) == state


class BarrierMachine(RuleBasedStateMachine):
    """Parties that come, renew, go away and fall silent; each round ends for all of its parties in the same way."""

    def __init__(self) -> None:
        super().__init__()
        self.state: Barrier | Lock | None = None
        self.now_ms, self.seq = 1_000, 1
        self.waiting: list[str] = []
        self.over: set[str] = set()

    def decide(self, command: Command, step_ms: int) -> None:
        self.now_ms += step_ms
        self.seq += 1
        request = f"r-{self.seq}"
        for event in decider.decide(self.state, command, At(self.now_ms, self.seq, request)):
            self.state = decider.evolve(self.state, event)
            match event:
                case BarrierReached():
                    assert event.request == request
                    self.waiting.append(request)
                    assert len(self.waiting) < event.parties, "all had come"
                case BarrierPassed(requests):
                    assert isinstance(command, ReachBarrier)
                    assert list(requests) == [*self.waiting, request]
                    assert len(requests) == command.parties
                    self.end(requests)
                case BarrierBroken(requests=requests):
                    assert list(requests) == self.waiting
                    self.end(requests)

    def end(self, requests: tuple[str, ...]) -> None:
        assert not self.over & set(requests), "one request, two outcomes"
        self.over |= set(requests)
        self.waiting = []

    @rule(parties=st.sampled_from([2, 3, 3, 3]), wait_ms=st.sampled_from([None, 0, 2_500]), step_ms=st.integers(0, 500))
    def comes(self, parties: int, wait_ms: int | None, step_ms: int) -> None:
        self.decide(ReachBarrier("a", parties, 1_000, wait_ms), step_ms)

    @rule(place=st.integers(0, 2), step_ms=st.integers(0, 500))
    def renews(self, place: int, step_ms: int) -> None:
        name = self.waiting[place % len(self.waiting)] if self.waiting else "r-0"
        self.decide(RenewLease("a", 0, 1_000, name), step_ms)

    @rule(place=st.integers(0, 2))
    def goes(self, place: int) -> None:
        name = self.waiting[place % len(self.waiting)] if self.waiting else "r-0"
        self.decide(WithdrawRequest("a", name), 0)

    @rule(step_ms=st.integers(0, 2_000))
    def tick(self, step_ms: int) -> None:
        self.decide(Tick(), step_ms)

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        assert (self.state is None) == (not self.waiting)
        if self.state is not None:
            assert (decider.deadline_ms(self.state) or 0) <= self.now_ms + 1_000


BarrierMachine.TestCase.settings = examples(40, stateful_step_count=30)
TestBarrier = BarrierMachine.TestCase
