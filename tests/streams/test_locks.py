"""The lock decider, branch by branch."""

from __future__ import annotations

from typing import get_type_hints

import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.locks import (
    AcquireLock,
    BarrierReached,
    LeaseExpired,
    LeaseRenewed,
    LeaseRevoked,
    LockDenied,
    LockGranted,
    LockQueued,
    LockReleased,
    ReleaseLock,
    ReleaseRefused,
    RenewalRefused,
    RenewLease,
    ReportStaleWrite,
    RequestWithdrawn,
    RevokeLease,
    StaleWriteRefused,
    WithdrawRequest,
)
from accord.schemas.messages.log import CommandRejected, SwitchRules, Tick
from accord.schemas.messages.signals import EmitSignal
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import At, dump, restore
from accord.streams.locks import decider as locks
from accord.streams.locks.bounds import (
    DUE_MAX,
    LEASE_MS_MAX,
    LEASE_MS_MIN,
    PRIORITY_MAX,
    SHARED_MAX,
    TEXT_BYTES_MAX,
    WAIT_MS_MAX,
)
from accord.streams.locks.decider import DOMAIN, Holder, Lock, NameDecider
from accord.streams.locks.queue import Queue, Waiter

from tests.streams.spec import Specification

decider = NameDecider()
given = Specification(decider)

# ada was granted the lock at 1,000 with a lease to 6,000; bob and eve wait, bob until 4,000
HELD = LockGranted("r-ada", "ada", "ada/1", token=7, lease_ms=5_000, deadline_ms=6_000)
BOB = LockQueued("r-bob", "bob", "bob/1", lease_ms=2_000, since_ms=2_000, deadline_ms=4_000, place=1)
EVE = LockQueued("r-eve", "eve", "eve/1", lease_ms=3_000, since_ms=2_500, deadline_ms=None, place=2)
WANTED = AcquireLock("kim", "kim/1", lease_ms=5_000, wait_ms=None)


def granted(waiter: LockQueued, now_ms: int, token: int = 100) -> LockGranted:
    return LockGranted(waiter.request, waiter.agent, waiter.owner, token, waiter.lease_ms, now_ms + waiter.lease_ms)


# -- AcquireLock


def test_a_free_lock_is_granted() -> None:
    then = given().when(WANTED, 1_000).then(LockGranted("new", "kim", "kim/1", 100, 5_000, 6_000))
    assert then.state == Lock((Holder("new", "kim", "kim/1", 100, 5_000, granted_ms=1_000, deadline_ms=6_000),))
    assert decider.deadline_ms(then.state) == 6_000


def test_a_free_lock_is_granted_to_who_tries_once() -> None:
    once = AcquireLock("kim", "kim/1", 5_000, wait_ms=0)
    given().when(once, 1_000).then(LockGranted("new", "kim", "kim/1", 100, 5_000, 6_000))


def test_a_held_lock_queues_the_request() -> None:
    then = given(HELD).when(WANTED, 3_000).then(LockQueued("new", "kim", "kim/1", 5_000, 3_000, None, place=1))
    assert then.state.waiters == Queue.of([Waiter("new", "kim", "kim/1", 5_000, 3_000, None)])
    assert decider.deadline_ms(then.state) == 6_000, "who waits without limit has no deadline"


def test_a_request_queues_behind_those_before_it_and_until_its_own_deadline() -> None:
    patient = AcquireLock("kim", "kim/1", 5_000, wait_ms=500)
    then = (
        given(HELD, BOB, EVE)
        .when(patient, 3_000)
        .then(LockQueued("new", "kim", "kim/1", 5_000, since_ms=3_000, deadline_ms=3_500, place=3))
    )
    assert decider.deadline_ms(then.state) == 3_500


def test_who_tries_once_is_denied_and_told_who_holds_the_lock() -> None:
    once = AcquireLock("kim", "kim/1", 5_000, wait_ms=0)
    then = (
        given(HELD, BOB)
        .when(once, 3_000)
        .then(LockDenied("new", "kim", "held", holder="ada", token=7, held_ms=2_000, place=0, waiting=2))
    )
    assert then.state == given(HELD, BOB).state


def test_asking_again_while_owning_the_lock_is_refused() -> None:
    again = AcquireLock("ada", "ada/1", 5_000, None)
    given(HELD).when(again, 3_000).then(
        LockDenied("new", "ada", "would_self_deadlock", holder="ada", token=7, held_ms=2_000, place=0, waiting=1)
    )


def test_another_task_of_the_same_agent_queues() -> None:
    other = AcquireLock("ada", "ada/2", 5_000, None)
    given(HELD).when(other, 3_000).then(LockQueued("new", "ada", "ada/2", 5_000, 3_000, None, 1))


def test_a_full_queue_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "WAITERS_MAX", 20)
    queue = [LockQueued(f"r-{i}", "bob", f"bob/{i}", 2_000, 2_000, None, i) for i in range(1, 21)]
    then = (
        given(HELD, *queue)
        .when(WANTED, 3_000)
        .then(LockDenied("new", "kim", "queue_full", holder="ada", token=7, held_ms=2_000, place=0, waiting=21))
    )
    assert len(then.state.waiters) == 20
    given(HELD, *queue[:-1]).when(WANTED, 3_000).then(LockQueued("new", "kim", "kim/1", 5_000, 3_000, None, 20))


def test_a_request_after_the_lease_ended_takes_the_lock_over() -> None:
    given(HELD).when(WANTED, 6_000).then(
        LeaseExpired("ada", 7, 6_000), LockGranted("new", "kim", "kim/1", 100, 5_000, 11_000)
    )


def test_a_lease_holds_until_its_deadline() -> None:
    given(HELD).when(WANTED, 5_999).then(LockQueued("new", "kim", "kim/1", 5_000, 5_999, None, 1))


def test_a_request_after_the_lease_ended_queues_behind_who_came_first() -> None:
    then = (
        given(HELD, EVE)
        .when(WANTED, 6_000)
        .then(
            LeaseExpired("ada", 7, 6_000),
            LockQueued("new", "kim", "kim/1", 5_000, 6_000, None, place=2),
            granted(EVE, 6_000),
        )
    )
    assert then.state.holders[0].agent == "eve"
    assert [waiter.agent for waiter in then.state.waiters] == ["kim"]


def test_who_tries_once_does_not_overtake_the_queue_of_an_expired_lock() -> None:
    once = AcquireLock("kim", "kim/1", 5_000, wait_ms=0)
    given(HELD, EVE).when(once, 6_000).then(
        LeaseExpired("ada", 7, 6_000),
        LockDenied("new", "kim", "held", holder="", token=0, held_ms=0, place=0, waiting=2),
        granted(EVE, 6_000),
    )


def test_the_owner_of_an_expired_lease_may_ask_again() -> None:
    given(HELD).when(AcquireLock("ada", "ada/1", 5_000, None), 6_000).then(
        LeaseExpired("ada", 7, 6_000), LockGranted("new", "ada", "ada/1", 100, 5_000, 11_000)
    )


# -- shared: semaphores and readers


def shared(name: str, permits: int, token: int) -> LockGranted:
    return LockGranted(f"r-{name}", name, f"{name}/1", token, 5_000, 6_000, permits)


def asks(name: str, permits: int | None, *, wait_ms: int | None = None, priority: int = 0) -> AcquireLock:
    return AcquireLock(name, f"{name}/1", 5_000, wait_ms, permits, priority)


def queued(name: str, place: int, permits: int | None, priority: int = 0) -> LockQueued:
    return LockQueued(f"r-{name}", name, f"{name}/1", 5_000, 2_000, None, place, permits, priority)


ADA, TWO = shared("ada", 2, 7), shared("bob", 2, 8)


def test_a_semaphore_is_held_by_as_many_as_it_has_permits() -> None:
    then = given(ADA).when(asks("bob", 2), 2_000).then(LockGranted("new", "bob", "bob/1", 100, 5_000, 7_000, 2))
    assert [holder.agent for holder in then.state.holders] == ["ada", "bob"]
    assert decider.deadline_ms(then.state) == 6_000
    given(ADA, TWO).when(asks("kim", 2), 2_000).then(LockQueued("new", "kim", "kim/1", 5_000, 2_000, None, 1, 2))


def test_a_permit_that_comes_back_goes_to_the_next() -> None:
    given(ADA, TWO, queued("kim", 1, 2)).when(ReleaseLock("bob", 8, "r-bob"), 3_000).then(
        LockReleased("bob", 8, "r-bob"), LockGranted("r-kim", "kim", "kim/1", 100, 5_000, 8_000, 2)
    )


def test_a_crashed_holders_permit_comes_back_with_its_lease() -> None:
    renewed = LeaseRenewed("ada", 7, 5_000, 9_000, "r-ada")
    then = given(ADA, TWO, renewed).when(Tick(), 6_000).then(LeaseExpired("bob", 8, 6_000, "r-bob"))
    assert [holder.agent for holder in then.state.holders] == ["ada"]


def test_readers_share_and_a_writer_waits_for_all_of_them() -> None:
    readers = [shared("ada", 0, 7), shared("bob", 0, 8)]
    given(*readers).when(asks("eve", 0), 2_000).then(LockGranted("new", "eve", "eve/1", 100, 5_000, 7_000, 0))
    writing = (
        given(*readers).when(asks("kim", None), 2_000).then(LockQueued("new", "kim", "kim/1", 5_000, 2_000, None, 1))
    )
    assert writing.state.waiters.first().permits is None
    given(*readers, queued("kim", 1, None)).when(ReleaseLock("ada", 7, "r-ada"), 3_000).then(
        LockReleased("ada", 7, "r-ada")
    )
    given(readers[0], queued("kim", 1, None)).when(ReleaseLock("ada", 7, "r-ada"), 3_000).then(
        LockReleased("ada", 7, "r-ada"), LockGranted("r-kim", "kim", "kim/1", 100, 5_000, 8_000)
    )


def test_a_reader_does_not_go_past_a_writer_who_waits() -> None:
    given(shared("ada", 0, 7), queued("kim", 1, None)).when(asks("eve", 0), 2_500).then(
        LockQueued("new", "eve", "eve/1", 5_000, 2_500, None, 2, 0)
    )
    given(shared("ada", 0, 7), queued("kim", 1, None)).when(asks("eve", 0, wait_ms=0), 2_500).then(
        LockDenied("new", "eve", "held", "ada", 7, 1_500, 0, 2)
    )


def test_readers_who_waited_for_a_writer_come_in_together_up_to_the_next_writer() -> None:
    history = [HELD, queued("bob", 1, 0), queued("eve", 2, 0), queued("kim", 3, None), queued("leo", 4, 0)]
    then = (
        given(*history)
        .when(ReleaseLock("ada", 7), 3_000)
        .then(
            LockReleased("ada", 7),
            LockGranted("r-bob", "bob", "bob/1", 100, 5_000, 8_000, 0),
            LockGranted("r-eve", "eve", "eve/1", 100, 5_000, 8_000, 0),
        )
    )
    assert [waiter.agent for waiter in then.state.waiters] == ["kim", "leo"]


def test_who_came_by_one_decision_is_told_apart_by_request() -> None:
    pair = [shared("ada", 0, 7), shared("bob", 0, 7)]
    then = given(*pair).when(ReleaseLock("bob", 7, "r-bob"), 2_000).then(LockReleased("bob", 7, "r-bob"))
    assert [holder.agent for holder in then.state.holders] == ["ada"]
    renewed = LeaseRenewed("bob", 7, 9_000, 11_000, "r-bob")
    then = given(*pair).when(RenewLease("bob", 7, 9_000, "r-bob"), 2_000).then(renewed)
    assert [holder.deadline_ms for holder in then.state.holders] == [6_000, 11_000]
    given(*pair).when(RenewLease("kim", 7, 9_000, "r-kim"), 2_000).then(RenewalRefused("kim", 7, "ada", 7, "r-kim"))
    given(*pair).when(WithdrawRequest("bob", "r-bob"), 2_000).then(LockReleased("bob", 7, "r-bob"))


def test_no_more_than_the_bound_share_a_lock() -> None:
    crowd = [shared(f"a{i}", 0, 7) for i in range(SHARED_MAX)]
    given(*crowd).when(asks("kim", 0), 2_000).then(LockQueued("new", "kim", "kim/1", 5_000, 2_000, None, 1, 0))
    given(*crowd[1:]).when(asks("kim", 0), 2_000).then(LockGranted("new", "kim", "kim/1", 100, 5_000, 7_000, 0))


@pytest.mark.parametrize("used", [[ADA], [HELD, queued("bob", 1, 2)]])
def test_another_number_of_permits_is_refused_while_the_lock_is_shared(used: list[Event]) -> None:
    for permits in (0, 3):
        (denied,) = given(*used).when(asks("kim", permits), 2_000)._events
        assert isinstance(denied, LockDenied)
        assert (denied.reason, denied.permits) == ("permits", 2)
    (free,) = given(ADA, LockReleased("ada", 7, "r-ada")).when(asks("kim", 3), 2_000)._events
    assert isinstance(free, LockGranted), "a lock that is free has no number of permits"


@pytest.mark.parametrize(
    ("held", "wanted", "reason"),
    [
        ([shared("ada", 0, 7)], None, "would_self_deadlock"),  # a reader does not become a writer
        ([shared("ada", 0, 7), shared("bob", 0, 8)], None, "would_self_deadlock"),
        ([HELD], 0, "would_self_deadlock"),
        ([shared("ada", 0, 7), queued("kim", 1, None)], 0, "would_self_deadlock"),  # behind a writer who waits for ada
        ([shared("ada", 1, 7)], 1, "would_self_deadlock"),  # the only permit
        ([shared("ada", 2, 7), shared("bob", 2, 8)], 2, None),  # bob may go
        ([shared("ada", 2, 7)], 2, None),
        ([shared("ada", 0, 7)], 0, None),
    ],
)
def test_who_would_wait_for_itself_is_refused(held: list[Event], wanted: int | None, reason: str | None) -> None:
    (event,) = given(*held).when(asks("ada", wanted), 2_000)._events
    assert (event.reason if isinstance(event, LockDenied) else None) == reason


# -- priority


def test_the_higher_priority_goes_first_and_equals_by_arrival() -> None:
    history = [HELD, queued("bob", 1, None), queued("eve", 1, None, 2), queued("kim", 2, None, 2)]
    given(*history).when(asks("leo", None, priority=2), 2_500).then(
        LockQueued("new", "leo", "leo/1", 5_000, 2_500, None, place=3, priority=2)
    )
    given(*history).when(asks("leo", None, priority=3), 2_500).then(
        LockQueued("new", "leo", "leo/1", 5_000, 2_500, None, place=1, priority=3)
    )
    then = given(*history).when(ReleaseLock("ada", 7), 3_000)
    assert then._events[1] == LockGranted("r-eve", "eve", "eve/1", 100, 5_000, 8_000)


def test_who_is_overtaken_rises() -> None:
    history = [HELD, queued("bob", 1, None), queued("eve", 1, None, 2), queued("kim", 2, None, 1)]
    granted = LockGranted("r-eve", "eve", "eve/1", 9, 5_000, 8_000)
    state = given(*history, LockReleased("ada", 7), granted).state
    assert [(waiter.agent, waiter.priority) for waiter in state.waiters] == [("bob", 1), ("kim", 1)], "kim came later"


def test_a_higher_priority_may_join_those_who_share_past_one_who_waits() -> None:
    waiting = [shared("ada", 2, 7), queued("kim", 1, None)]
    then = (
        given(*waiting)
        .when(asks("bob", 2, priority=1), 2_500)
        .then(LockGranted("new", "bob", "bob/1", 100, 5_000, 7_500, 2))
    )
    assert [waiter.priority for waiter in then.state.waiters] == [1]


@pytest.mark.parametrize("first", [-PRIORITY_MAX, 0, PRIORITY_MAX])
def test_against_an_endless_stream_of_the_highest_everybody_is_served_within_a_stated_number(first: int) -> None:
    state = given(HELD, queued("bob", 1, None, first)).state
    grants = 0
    for number in range(100):
        adversary = AcquireLock("eve", f"eve/{number}", 5_000, None, None, PRIORITY_MAX)
        for command in (adversary, ReleaseLock("-", state.holders[0].token)):
            for event in decider.decide(state, command, At(2_000, 1_000 + number, f"e-{number}")):
                state = decider.evolve(state, event)
                if isinstance(event, LockGranted):
                    grants += 1
                    if event.agent == "bob":
                        assert grants <= PRIORITY_MAX - first + 1
                        return
    pytest.fail("starved")


# -- RevokeLease


def test_a_lease_can_be_taken_away() -> None:
    revoke = RevokeLease("ops", 7, "stuck since noon")
    revoked = LeaseRevoked("ada", 7, "ops", "stuck since noon")
    assert given(HELD).when(revoke, 3_000).then(revoked).state is None
    given(HELD, EVE).when(revoke, 3_000).then(revoked, granted(EVE, 3_000))
    given(HELD).when(RevokeLease("ops", 6, "?"), 3_000).then(ReleaseRefused("ops", 6, "ada", 7))
    given(ADA, TWO).when(RevokeLease("ops", 8, "?", "r-bob"), 3_000).then(LeaseRevoked("bob", 8, "ops", "?", "r-bob"))


# -- RenewLease


def test_a_renewal_sets_a_new_deadline_from_now() -> None:
    then = given(HELD).when(RenewLease("ada", 7, 8_000), 4_000).then(LeaseRenewed("ada", 7, 8_000, 12_000))
    assert then.state.holders[0].deadline_ms == 12_000
    assert then.state.holders[0].granted_ms == 1_000
    assert decider.deadline_ms(then.state) == 12_000


def test_a_renewal_may_shorten_the_lease() -> None:
    given(HELD).when(RenewLease("ada", 7, 1_000), 4_000).then(LeaseRenewed("ada", 7, 1_000, 5_000))


def test_a_renewal_keeps_the_queue() -> None:
    then = given(HELD, EVE).when(RenewLease("ada", 7, 5_000), 4_000).then(LeaseRenewed("ada", 7, 5_000, 9_000))
    assert [waiter.agent for waiter in then.state.waiters] == ["eve"]


def test_a_renewal_with_another_token_is_refused() -> None:
    given(HELD).when(RenewLease("bob", 6, 5_000), 4_000).then(RenewalRefused("bob", 6, "ada", 7))


def test_a_renewal_of_a_free_lock_is_refused() -> None:
    then = given().when(RenewLease("ada", 7, 5_000), 4_000).then(RenewalRefused("ada", 7, None, None))
    assert then.state is None


def test_a_renewal_that_comes_too_late_is_refused() -> None:
    given(HELD).when(RenewLease("ada", 7, 5_000), 6_000).then(
        LeaseExpired("ada", 7, 6_000), RenewalRefused("ada", 7, None, None)
    )


def test_a_renewal_that_comes_too_late_lets_the_next_in() -> None:
    given(HELD, EVE).when(RenewLease("ada", 7, 5_000), 6_000).then(
        LeaseExpired("ada", 7, 6_000), RenewalRefused("ada", 7, None, None), granted(EVE, 6_000)
    )


# -- ReleaseLock


def test_a_release_without_a_queue_leaves_nothing() -> None:
    assert given(HELD).when(ReleaseLock("ada", 7), 3_000).then(LockReleased("ada", 7)).state is None


def test_a_release_lets_the_first_in_the_queue_in() -> None:
    then = given(HELD, BOB, EVE).when(ReleaseLock("ada", 7), 3_000).then(LockReleased("ada", 7), granted(BOB, 3_000))
    assert then.state.holders[0] == Holder("r-bob", "bob", "bob/1", 100, 2_000, 3_000, 5_000)
    assert [waiter.agent for waiter in then.state.waiters] == ["eve"]


def test_a_release_by_another_is_refused() -> None:
    then = given(HELD).when(ReleaseLock("bob", 6), 3_000).then(ReleaseRefused("bob", 6, "ada", 7))
    assert then.state == given(HELD).state


def test_a_release_of_a_free_lock_is_refused() -> None:
    assert given().when(ReleaseLock("ada", 7), 3_000).then(ReleaseRefused("ada", 7, None, None)).state is None


def test_a_release_after_the_lease_ended_is_refused() -> None:
    given(HELD).when(ReleaseLock("ada", 7), 6_000).then(
        LeaseExpired("ada", 7, 6_000), ReleaseRefused("ada", 7, None, None)
    )


# -- WithdrawRequest


def test_a_request_that_waits_can_be_withdrawn() -> None:
    then = given(HELD, BOB, EVE).when(WithdrawRequest("bob", "r-bob"), 3_000).then(RequestWithdrawn("r-bob", "bob"))
    assert [waiter.agent for waiter in then.state.waiters] == ["eve"]


def test_withdrawing_the_last_request_leaves_the_holder() -> None:
    then = given(HELD, BOB).when(WithdrawRequest("bob", "r-bob"), 3_000).then(RequestWithdrawn("r-bob", "bob"))
    assert then.state == given(HELD).state


def test_withdrawing_a_request_that_was_granted_releases() -> None:
    assert given(HELD).when(WithdrawRequest("ada", "r-ada"), 3_000).then(LockReleased("ada", 7)).state is None


def test_withdrawing_a_granted_request_lets_the_next_in() -> None:
    given(HELD, EVE).when(WithdrawRequest("ada", "r-ada"), 3_000).then(LockReleased("ada", 7), granted(EVE, 3_000))


def test_withdrawing_what_is_gone_needs_nothing() -> None:
    given(HELD, EVE).when(WithdrawRequest("bob", "r-bob"), 3_000).then_nothing()
    assert given().when(WithdrawRequest("bob", "r-bob"), 3_000).then_nothing().state is None


def test_withdrawing_a_request_whose_wait_just_ended_needs_nothing_more() -> None:
    given(HELD, BOB).when(WithdrawRequest("bob", "r-bob"), 4_000).then(
        LockDenied("r-bob", "bob", "timeout", holder="ada", token=7, held_ms=3_000, place=1, waiting=1)
    )


# -- Tick and deadlines


def test_a_tick_before_any_deadline_brings_nothing() -> None:
    given(HELD, BOB, EVE).when(Tick(), 3_999).then_nothing()
    assert given().when(Tick(), 3_999).then_nothing().state is None


def test_a_tick_ends_a_lease() -> None:
    assert given(HELD).when(Tick(), 6_000).then(LeaseExpired("ada", 7, 6_000)).state is None


def test_a_tick_ends_a_lease_and_lets_the_next_in() -> None:
    given(HELD, EVE).when(Tick(), 9_000).then(LeaseExpired("ada", 7, 6_000), granted(EVE, 9_000))


def test_a_tick_ends_a_wait() -> None:
    then = (
        given(HELD, BOB, EVE)
        .when(Tick(), 4_000)
        .then(LockDenied("r-bob", "bob", "timeout", holder="ada", token=7, held_ms=3_000, place=1, waiting=2))
    )
    assert [waiter.agent for waiter in then.state.waiters] == ["eve"]
    assert decider.deadline_ms(then.state) == 6_000


def test_due_deadlines_are_handled_in_their_order_and_grant_last() -> None:
    late = LockQueued("r-kim", "kim", "kim/1", 2_000, 2_600, deadline_ms=6_000, place=3)
    later = LockQueued("r-leo", "leo", "leo/1", 2_000, 2_700, deadline_ms=3_900, place=4)
    given(HELD, BOB, EVE, late, later).when(Tick(), 7_000).then(
        LockDenied("r-leo", "leo", "timeout", holder="ada", token=7, held_ms=6_000, place=4, waiting=4),
        LockDenied("r-bob", "bob", "timeout", holder="ada", token=7, held_ms=6_000, place=1, waiting=4),
        LeaseExpired("ada", 7, 6_000),
        LockDenied("r-kim", "kim", "timeout", holder="ada", token=7, held_ms=6_000, place=3, waiting=4),
        granted(EVE, 7_000),
    )


def test_equal_deadlines_are_handled_in_order_of_arrival() -> None:
    one = LockQueued("r-1", "bob", "bob/1", 2_000, 2_000, 6_000, 1)
    two = LockQueued("r-2", "eve", "eve/1", 2_000, 2_000, 6_000, 2)
    events = [
        LeaseExpired("ada", 7, 6_000),
        LockDenied("r-1", "bob", "timeout", "ada", 7, 5_000, 1, 2),
        LockDenied("r-2", "eve", "timeout", "ada", 7, 5_000, 2, 2),
    ]
    assert given(HELD, one, two).when(Tick(), 6_000).then(*events).state is None


def waiting(count: int, deadline_ms: int) -> list[Event]:
    return [LockQueued(f"r-{n}", "bob", f"bob/{n}", 2_000, 1_500, deadline_ms, n) for n in range(1, count + 1)]


def test_a_decision_ends_a_bounded_number_of_waits_and_the_next_goes_on() -> None:
    last = LockQueued("r-last", "eve", "eve/1", 2_000, 1_500, None, 1)
    state = given(HELD, *waiting(2 * DUE_MAX + 1, 4_000), last).state
    told: list[str] = []
    for ended in (DUE_MAX, 2 * DUE_MAX, 2 * DUE_MAX + 1):
        assert decider.deadline_ms(state) == 4_000, "still due, so the next tick comes at once"
        for event in decider.decide(state, Tick(), At(7_000, 100, "tick")):
            state = decider.evolve(state, event)
            if isinstance(event, LockDenied):
                told.append(event.request)
        assert told == [f"r-{n}" for n in range(1, ended + 1)]
    assert [holder.request for holder in state.holders] == ["r-last"]
    assert decider.deadline_ms(state) == 9_000


@pytest.mark.parametrize("command", [Tick(), ReleaseLock("ada", 7), WANTED, WithdrawRequest("kim", "r-kim")])
def test_nobody_is_granted_out_of_the_queue_while_a_wait_is_over_that_was_not_ended(command: Command) -> None:
    eager = LockQueued("r-eager", "eve", "eve/1", 2_000, 1_500, None, 1, None, 5)
    history = [HELD, *waiting(DUE_MAX + 1, 4_000), eager]
    then = given(*history).when(command, 6_500)
    assert not [event for event in then._events if isinstance(event, LockGranted)]
    granted = then.then(*then._events).when(Tick(), 6_500)._events
    assert [event.request for event in granted if isinstance(event, LockGranted)] == ["r-eager"]


def test_leases_end_however_many_waits_are_over() -> None:
    renewed = LeaseRenewed("ada", 7, 5_000, 9_000)
    (*_, expired, refused) = (
        given(HELD, renewed, *waiting(2 * DUE_MAX, 4_000)).when(RenewLease("ada", 7, 5_000), 9_000)._events
    )
    assert expired == LeaseExpired("ada", 7, 9_000)
    assert refused == RenewalRefused("ada", 7, None, None)


def test_what_one_decision_ends_and_grants_fits_it() -> None:
    """Or the lock could never be decided again: every later command would bring the same events."""
    name = "n" * TEXT_BYTES_MAX
    huge = 1 << 50
    crowd = range(SHARED_MAX)
    held = [LockGranted(name[:-5] + f"{i:05}", name, name, huge, LEASE_MS_MAX, huge + LEASE_MS_MAX, 0) for i in crowd]
    ends = [huge] * DUE_MAX + [None] * SHARED_MAX
    queue = [
        LockQueued(name[:-5] + f"{i:05}", name, name, LEASE_MS_MAX, huge, end, i + 1, 0) for i, end in enumerate(ends)
    ]
    commands = [Tick(), AcquireLock(name, name, LEASE_MS_MAX, None), ReleaseLock(name, huge)]
    for command in commands:
        events = given(*held, *queue).when(command, huge + 2 * LEASE_MS_MAX, seq=huge)._events
        assert len(events) >= DUE_MAX + 2 * SHARED_MAX
        assert len(events_codec("locks").encode(events)) <= DECISION_BYTES_MAX


# -- ReportStaleWrite


def test_a_stale_write_is_recorded_and_changes_nothing() -> None:
    report = ReportStaleWrite("bob", "rooms/12", token=6, highest_token=7)
    then = given(HELD).when(report, 3_000).then(StaleWriteRefused("bob", "rooms/12", 6, 7))
    assert then.state == given(HELD).state
    assert given().when(report, 3_000).then(StaleWriteRefused("bob", "rooms/12", 6, 7)).state is None


def test_a_stale_write_reported_after_the_lease_ended_ends_it() -> None:
    given(HELD, EVE).when(ReportStaleWrite("bob", "rooms/12", 6, 7), 6_000).then(
        LeaseExpired("ada", 7, 6_000), StaleWriteRefused("bob", "rooms/12", 6, 7), granted(EVE, 6_000)
    )


# -- what cannot be decided

LONG = "n" * (TEXT_BYTES_MAX + 1)
WIDE = "ж" * (TEXT_BYTES_MAX // 2 + 1)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (AcquireLock("a", "o", LEASE_MS_MIN - 1, None), "lease_ms=999"),
        (AcquireLock("a", "o", 0, None), "lease_ms=0"),
        (AcquireLock("a", "o", -1, None), "lease_ms=-1"),
        (AcquireLock("a", "o", LEASE_MS_MAX + 1, None), "lease_ms=86400001"),
        (AcquireLock("a", "o", 5_000, -1), "wait_ms=-1"),
        (AcquireLock("a", "o", 5_000, WAIT_MS_MAX + 1), "wait_ms=2592000001"),
        (AcquireLock(LONG, "o", 5_000, None), "agent has more than 255 bytes"),
        (AcquireLock(WIDE, "o", 5_000, None), "agent has more than 255 bytes"),
        (AcquireLock("a", LONG, 5_000, None), "owner has more than 255 bytes"),
        (AcquireLock("a", "o", 5_000, None, -1), "permits=-1"),
        (AcquireLock("a", "o", 5_000, None, SHARED_MAX + 1), "permits=201"),
        (AcquireLock("a", "o", 5_000, None, None, PRIORITY_MAX + 1), "priority=11"),
        (AcquireLock("a", "o", 5_000, None, None, -PRIORITY_MAX - 1), "priority=-11"),
        (RevokeLease("a", 7, LONG), "reason has more than 255 bytes"),
        (ReleaseLock("a", 7, LONG), "request has more than 255 bytes"),
        (RenewLease("a", 7, 0), "lease_ms=0"),
        (RenewLease("a", 7, LEASE_MS_MAX + 1), "lease_ms=86400001"),
        (WithdrawRequest("a", LONG), "request has more than 255 bytes"),
        (ReleaseLock(LONG, 7), "agent has more than 255 bytes"),
        (ReportStaleWrite("a", LONG, 1, 2), "resource has more than 255 bytes"),
    ],
)
def test_a_command_that_cannot_be_right_is_rejected_and_changes_nothing(command: Command, problem: str) -> None:
    (event,) = given(HELD, BOB).when(command, 9_000)._events
    assert isinstance(event, CommandRejected)
    assert event.reason == "invalid"
    assert problem in event.description


@pytest.mark.parametrize(
    "command",
    [
        AcquireLock("a", "o", LEASE_MS_MIN, 0),
        AcquireLock("n" * TEXT_BYTES_MAX, "ж" * (TEXT_BYTES_MAX // 2), LEASE_MS_MAX, WAIT_MS_MAX),
        AcquireLock("", "", LEASE_MS_MIN, None),
    ],
)
def test_what_is_just_within_the_bounds_is_granted(command: AcquireLock) -> None:
    (event,) = given().when(command, 9_000)._events
    assert isinstance(event, LockGranted)


@pytest.mark.parametrize("command", [EmitSignal("a", "{}", ()), SwitchRules(2, "")])
def test_a_command_of_another_domain_is_a_bug(command: Command) -> None:
    with pytest.raises(TypeError, match="no command"):
        given().when(command, 1_000)


def test_an_event_of_another_domain_is_a_bug() -> None:
    with pytest.raises(TypeError, match="no event CommandRejected"):
        given(HELD, CommandRejected("invalid", ""))


@pytest.mark.parametrize(
    "event",
    [
        RenewalRefused("bob", 6, "ada", 7),
        ReleaseRefused("bob", 6, "ada", 7),
        StaleWriteRefused("bob", "rooms", 6, 7),
        LockDenied("r-x", "kim", "held", "ada", 7, 1, 0, 1),
        RequestWithdrawn("r-x", "kim"),
    ],
)
def test_a_refusal_changes_no_state(event: Event) -> None:
    assert given(HELD, BOB, event).state == given(HELD, BOB).state
    assert given(event).state is None


def test_every_event_of_the_domain_evolves() -> None:
    """`evolve` knows every event that the schema has; a new one without a rule fails here."""
    from accord.schemas.messages import locks  # noqa: PLC0415

    for event_type in locks.EVENTS:
        fields = {name: "x" if "str" in str(kind) else 1 for name, kind in get_type_hints(event_type).items()}
        fields |= {"requests": ("x",)} if "requests" in fields else {}
        held = LockGranted("x", "ada", "ada/1", 1, 5_000, 6_000)
        waited_at = BarrierReached("x", "ada", 2, 5_000, 6_000, None)
        history = waited_at if event_type.__name__.startswith("Barrier") else held
        decider.evolve(given(history).state, event_type(**fields))


def test_the_state_survives_its_bytes() -> None:
    state = given(HELD, BOB, EVE).state
    assert restore(dump(state), decider.state_type) == state


def test_the_domain_has_one_version() -> None:
    assert DOMAIN.newest == 1
    assert DOMAIN.name == "locks"
