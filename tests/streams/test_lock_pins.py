"""Locks that a transaction pins: who holds them may go, but nobody else comes before the outcome."""

from __future__ import annotations

from typing import Any

import pytest
from accord.schemas.messages.locks import (
    AcquireLock,
    BarrierReached,
    ConditionAwaited,
    LeaseExpired,
    LeasePinned,
    LeaseRevoked,
    LeaseUnpinned,
    LockDenied,
    LockGranted,
    LockQueued,
    LockReleased,
    PinGone,
    PinLease,
    PinOutcomeWanted,
    PinRefused,
    PinRepeated,
    ReleaseLock,
    RevokeLease,
    UnpinLease,
    WaitOnCondition,
)
from accord.schemas.messages.log import CommandRejected, Tick
from accord.schemas.messages.transactions import AcknowledgeOutcome, AskOutcome, RecordVote
from accord.streams.decider import Order
from accord.streams.locks.decider import DOMAIN, NameDecider
from accord.streams.pins import PIN_ASK_MS, PIN_ASK_MS_MAX, PINS_MAX

from tests.streams.spec import Specification

decider = NameDecider()
given = Specification(decider)
DUE = 9_000

HELD = LockGranted("r-ada", "ada", "ada/1", token=7, lease_ms=5_000, deadline_ms=6_000)
BOB = LockQueued("r-bob", "bob", "bob/1", lease_ms=2_000, since_ms=2_000, deadline_ms=None, place=1)
PIN = PinLease("ada", "t1", 7, None, DUE)
PINNED = LeasePinned("ada", "t1", 7, None, DUE, 2_000)
UNPINNED = LeaseUnpinned("ada", "t1", "committed")
READER = LockGranted("r-eve", "eve", "eve/1", 8, 5_000, 6_000, permits=0)
WANTED = AcquireLock("bob", "bob/1", lease_ms=2_000, wait_ms=None)


def refused(reason: str, description: str, holder: str | None = "ada", token: int | None = 7) -> PinRefused:
    return PinRefused("ada", "t1", 7, reason, description, holder, token)


def test_who_holds_it_pins_it_and_the_outcome_lets_go() -> None:
    pinned = given(HELD).when(PIN, 2_000).then(PINNED)
    pinned.when(PIN, 2_500).then(PinRepeated("t1"))
    pinned.when(UnpinLease("t1", "committed"), 3_000).then(UNPINNED)
    assert pinned.when(UnpinLease("t1", "aborted"), 3_000).then(LeaseUnpinned("ada", "t1", "aborted")).state == (
        given(HELD).state
    )


@pytest.mark.parametrize(
    ("history", "command", "now_ms", "why"),
    [
        ((), PIN, 2_000, refused("not_holder", "token 7 is not the lock's current one: it is free", None, None)),
        ((HELD, LockReleased("ada", 7), BOB, LockGranted("r-bob", "bob", "bob/1", 9, 2_000, 5_000)), PIN, 3_000,
         refused("not_holder", "token 7 is not the lock's current one: bob holds it with token 9", "bob", 9)),
        ((READER,), PinLease("ada", "t1", 8, "r-kim", DUE), 2_000,
         PinRefused("ada", "t1", 8, "not_holder", "token 8 is not the lock's current one: eve holds it with token 8",
                    "eve", 8)),
        ((HELD,), PinLease("ada", "t1", 7, None, 2_000), 2_000, refused("late", "the transaction's time is over")),
        ((HELD, *[LeasePinned("ada", f"x{n}", 7, None, DUE, 1_000) for n in range(PINS_MAX)]), PIN, 2_000,
         refused("busy", f"{PINS_MAX} transactions pin this lock")),
        ((BarrierReached("r", "eve", 2, 5_000, 9_000, None),), PIN, 2_000,
         refused("not_holder", "it is a barrier, no lock", None, None)),
    ],
)  # fmt: skip
def test_a_token_that_is_not_the_current_one_is_a_no(history: Any, command: Any, now_ms: int, why: Any) -> None:
    given(*history).when(command, now_ms).then(why)


def test_a_lease_that_is_over_at_the_vote_is_a_no() -> None:
    why = refused("not_holder", "token 7 is not the lock's current one: it is free", None, None)
    given(HELD).when(PIN, 6_000).then(LeaseExpired("ada", 7, 6_000), why)


@pytest.mark.parametrize(
    ("command", "now_ms", "gone"),
    [
        (ReleaseLock("ada", 7), 3_000, LockReleased("ada", 7)),
        (Tick(), 6_000, LeaseExpired("ada", 7, 6_000)),
        (RevokeLease("chief", 7, "stop"), 3_000, LeaseRevoked("ada", 7, "chief", "stop")),
        (WaitOnCondition("ada", 7, None), 3_000,
         ConditionAwaited("new", "ada", "ada/1", 7, 5_000, 3_000, None)),
    ],
)  # fmt: skip
def test_its_holder_may_go_but_nobody_comes_before_the_outcome(command: Any, now_ms: int, gone: Any) -> None:
    free = given(HELD, PINNED, BOB).when(command, now_ms).then(gone)
    kim = AcquireLock("kim", "kim/1", lease_ms=2_000, wait_ms=None)
    more = free.when(kim, 6_500).then(LockQueued("new", "kim", "kim/1", 2_000, 6_500, None, 2))
    granted = LockGranted("r-bob", "bob", "bob/1", 100, 2_000, 9_000)
    more.when(UnpinLease("t1", "committed"), 7_000).then(UNPINNED, granted)
    given(HELD, BOB).when(command, now_ms).then(gone, LockGranted("r-bob", "bob", "bob/1", 100, 2_000, now_ms + 2_000))


def test_who_comes_while_it_is_kept_queues_or_is_told_by_whom() -> None:
    kept = given(HELD, PINNED, LockReleased("ada", 7))
    assert kept.state.pins and not kept.state.holders
    kept.when(WANTED, 3_000).then(LockQueued("new", "bob", "bob/1", 2_000, 3_000, None, 1))
    at_once = AcquireLock("bob", "bob/1", lease_ms=2_000, wait_ms=0)
    kept.when(at_once, 3_000).then(LockDenied("new", "bob", "held", "ada", 7, 1_000, 0, 1))
    gone = kept.when(UnpinLease("t1", "aborted"), 3_000).then(LeaseUnpinned("ada", "t1", "aborted"))
    assert gone.state is None, "a free lock is not remembered"


def test_readers_share_it_while_one_who_pins_it_is_among_them() -> None:
    pin = LeasePinned("eve", "t1", 8, "r-eve", DUE, 2_000)
    reads = AcquireLock("kim", "kim/1", 2_000, None, 0)
    shared = given(READER, pin).when(reads, 2_000)
    assert isinstance(shared._events[-1], LockGranted)
    left = shared.then(*shared._events).when(ReleaseLock("eve", 8, "r-eve"), 2_500)
    late = left.then(*left._events).when(AcquireLock("bob", "bob/1", 2_000, None, 0), 2_600)
    assert isinstance(late._events[-1], LockQueued), "after its end a reader would be let in by nobody but the outcome"


def test_once_the_time_is_over_it_asks_ever_more_rarely() -> None:
    kept = given(HELD, PINNED, LockReleased("ada", 7))
    due_ms, waits = decider.deadline_ms(kept.state), []
    assert due_ms == DUE + PIN_ASK_MS and decider.deadline_ms(given(HELD, PINNED).state) == 6_000
    kept.when(Tick(), due_ms - 1).then_nothing()
    for times in range(1, 8):
        assert due_ms is not None
        kept = kept.when(Tick(), due_ms).then(PinOutcomeWanted("t1", times, due_ms))
        next_ms = decider.deadline_ms(kept.state)
        assert next_ms is not None
        waits.append(next_ms - due_ms)
        due_ms = next_ms
    assert waits == [2_000, 4_000, 8_000, 16_000, 32_000, PIN_ASK_MS_MAX, PIN_ASK_MS_MAX]
    alone = LockGranted("r-ada", "ada", "ada/1", token=7, lease_ms=5_000, deadline_ms=90_000)
    given(alone, PINNED).when(Tick(), DUE + PIN_ASK_MS).then(PinOutcomeWanted("t1", 1, DUE + PIN_ASK_MS))


def test_an_outcome_for_which_nothing_is_pinned_is_acknowledged() -> None:
    for history in ((), (HELD,), (BarrierReached("r", "eve", 2, 5_000, 9_000, None),)):
        given(*history).when(UnpinLease("t1", "aborted"), 2_000).then(PinGone("t1", "aborted"))


def test_votes_acknowledgements_and_questions_follow() -> None:
    yes = [Order("transactions", "t1", RecordVote("locks", "room", True, "", "", (), ""))]
    assert DOMAIN.reactions[LeasePinned]("room", PINNED) == yes
    assert DOMAIN.reactions[PinRepeated]("room", PinRepeated("t1")) == yes
    assert DOMAIN.reactions[PinRefused]("room", refused("late", "why")) == [
        Order("transactions", "t1", RecordVote("locks", "room", False, "late", "why", (), ""))
    ]
    done = [Order("transactions", "t1", AcknowledgeOutcome("locks", "room", "committed"))]
    assert DOMAIN.reactions[LeaseUnpinned]("room", UNPINNED) == done
    assert DOMAIN.reactions[PinGone]("room", PinGone("t1", "committed")) == done
    wanted = PinOutcomeWanted("t1", 1, DUE)
    assert DOMAIN.reactions[PinOutcomeWanted]("room", wanted) == [
        Order("transactions", "t1", AskOutcome("locks", "room"))
    ]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (UnpinLease("t1", "unknown"), "outcome='unknown': one of committed, aborted is needed"),
        (UnpinLease("t" * 256, "aborted"), "transaction has more than 255 bytes"),
        (PinLease("ada", "t1", 7, None, -1), "due_ms=-1: a time is 0 to 9007199254740992 ms since 1970"),
    ],
)
def test_what_is_out_of_bounds_is_rejected(command: Any, problem: str) -> None:
    given(HELD).when(command, 2_000).then(CommandRejected("invalid", problem))
