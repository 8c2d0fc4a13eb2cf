"""The lock decider, branch by branch."""

from __future__ import annotations

from typing import get_type_hints

import msgspec
import pytest
from accord.schemas.messages import Command, Event
from accord.schemas.messages.locks import (
    AcquireLock,
    LeaseExpired,
    LeaseRenewed,
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
    StaleWriteRefused,
    WithdrawRequest,
)
from accord.schemas.messages.log import CommandRejected, SwitchRules, Tick
from accord.schemas.messages.signals import EmitSignal
from accord.streams.locks import (
    DOMAIN,
    LEASE_MS_MAX,
    LEASE_MS_MIN,
    TEXT_BYTES_MAX,
    WAIT_MS_MAX,
    WAITERS_MAX,
    Holder,
    Lock,
    LockDecider,
    Waiter,
)

from tests.streams.spec import Specification

decider = LockDecider()
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
    assert then.state == Lock(Holder("new", "kim", "kim/1", 100, 5_000, granted_ms=1_000, deadline_ms=6_000))
    assert decider.deadline_ms(then.state) == 6_000


def test_a_free_lock_is_granted_to_who_tries_once() -> None:
    once = AcquireLock("kim", "kim/1", 5_000, wait_ms=0)
    given().when(once, 1_000).then(LockGranted("new", "kim", "kim/1", 100, 5_000, 6_000))


def test_a_held_lock_queues_the_request() -> None:
    then = given(HELD).when(WANTED, 3_000).then(LockQueued("new", "kim", "kim/1", 5_000, 3_000, None, place=1))
    assert then.state.waiters == (Waiter("new", "kim", "kim/1", 5_000, 3_000, None),)
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


def test_a_full_queue_denies() -> None:
    queue = [LockQueued(f"r-{i}", "bob", f"bob/{i}", 2_000, 2_000, None, i) for i in range(1, WAITERS_MAX + 1)]
    then = (
        given(HELD, *queue)
        .when(WANTED, 3_000)
        .then(
            LockDenied(
                "new", "kim", "queue_full", holder="ada", token=7, held_ms=2_000, place=0, waiting=WAITERS_MAX + 1
            )
        )
    )
    assert len(then.state.waiters) == WAITERS_MAX
    given(HELD, *queue[:-1]).when(WANTED, 3_000).then(
        LockQueued("new", "kim", "kim/1", 5_000, 3_000, None, WAITERS_MAX)
    )


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
    assert then.state.holder.agent == "eve"
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


# -- RenewLease


def test_a_renewal_sets_a_new_deadline_from_now() -> None:
    then = given(HELD).when(RenewLease("ada", 7, 8_000), 4_000).then(LeaseRenewed("ada", 7, 8_000, 12_000))
    assert then.state.holder.deadline_ms == 12_000
    assert then.state.holder.granted_ms == 1_000
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
    assert then.state.holder == Holder("r-bob", "bob", "bob/1", 100, 2_000, 3_000, 5_000)
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


def test_all_waits_ending_at_once_fit_a_decision() -> None:
    """Or the lock could never be decided again: every later command would bring the same events."""
    from accord.schemas.codec import events_codec  # noqa: PLC0415
    from accord.schemas.topics import DECISION_BYTES_MAX  # noqa: PLC0415

    name = "n" * TEXT_BYTES_MAX
    huge = 1 << 50
    held = LockGranted(name, name, name, huge, LEASE_MS_MAX, huge + LEASE_MS_MAX)
    queue = [LockQueued(name[:-4] + f"{i:04}", name, name, LEASE_MS_MAX, huge, huge, i + 1) for i in range(WAITERS_MAX)]
    state = given(held, *queue).state
    commands = [Tick(), AcquireLock(name, name, LEASE_MS_MAX, None), ReleaseLock(name, huge)]
    for command in commands:
        events = given(held, *queue).when(command, huge + 2 * LEASE_MS_MAX, seq=huge)._events
        assert len(events) > WAITERS_MAX
        assert len(events_codec("locks").encode(events)) <= DECISION_BYTES_MAX
    assert len(msgspec.msgpack.encode(state)) <= DECISION_BYTES_MAX


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
        state = given(HELD).state
        assert decider.evolve(state, event_type(**fields)) is None or isinstance(state, Lock)


def test_the_state_survives_its_bytes() -> None:
    state = given(HELD, BOB, EVE).state
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=decider.state_type) == state


def test_the_domain_has_one_version() -> None:
    assert DOMAIN.newest == 1
    assert DOMAIN.name == "locks"
