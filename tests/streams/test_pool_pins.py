"""Parts of pools that a transaction pins: who holds one may go, but nobody else gets it before the outcome."""

from __future__ import annotations

from typing import Any

import pytest
from accord.schemas.messages.limits import (
    CapacityReleased,
    ConfigurePool,
    LeaseExpired,
    LeasePinned,
    LeaseUnpinned,
    PinGone,
    PinLease,
    PinOutcomeWanted,
    PinRefused,
    PinRepeated,
    PoolConfigured,
    ReleaseCapacity,
    UnpinLease,
    WithdrawRequest,
)
from accord.schemas.messages.log import CommandRejected, Tick
from accord.schemas.messages.transactions import AcknowledgeOutcome, AskOutcome, RecordVote
from accord.streams.decider import Order, dump, restore
from accord.streams.limits.decider import DOMAIN, LimitDecider
from accord.streams.limits.pool import HOLDERS_MAX, Pool
from accord.streams.limits.waits import waits_of
from accord.streams.pins import PIN_ASK_MS, PINS_MAX

from tests.streams.spec import Specification
from tests.streams.test_limits import asks, denied, granted, new, pool, queued

decider = LimitDecider()
given = Specification(decider)
DUE = 9_000

ADA = granted("ada", 6)
PIN = PinLease("ada", "t1", 7, "r-ada", DUE)
PINNED = LeasePinned("ada", "t1", 7, "r-ada", DUE, 2_000)
UNPINNED = LeaseUnpinned("ada", "t1", "committed")
RELEASED = CapacityReleased("ada", 7, "r-ada", 2_500, None)
ENDED = (pool(), ADA, PINNED, RELEASED)
"""A pool of 10, 6 of them kept."""


def refused(reason: str, description: str, token: int = 7) -> PinRefused:
    return PinRefused("ada", "t1", token, reason, description)


def test_who_holds_a_part_pins_it_and_the_outcome_lets_go() -> None:
    pinned = given(pool(), ADA).when(PIN, 2_000).then(PINNED)
    pinned.when(PIN, 2_500).then(PinRepeated("t1"))
    assert pinned.when(UnpinLease("t1", "committed"), 3_000).then(UNPINNED).state == given(pool(), ADA).state
    pinned.when(UnpinLease("t1", "aborted"), 3_000).then(LeaseUnpinned("ada", "t1", "aborted"))
    pinned.when(asks("bob", 4), 2_500).then(new(granted("bob", 4, now_ms=2_500, token=100)))


@pytest.mark.parametrize(
    ("history", "command", "now_ms", "why"),
    [
        ((), PIN, 2_000, refused("not_holder", "token 7 is not current: nothing is held under it")),
        ((pool(), ADA, RELEASED), PIN, 3_000,
         refused("not_holder", "token 7 is not current: nothing is held under it")),
        ((pool(), ADA), PinLease("ada", "t1", 7, "r-eve", DUE), 2_000,
         refused("not_holder", "token 7 is not current: nothing is held under it")),
        ((pool(), ADA), PinLease("ada", "t1", 8, "r-ada", DUE), 2_000,
         refused("not_holder", "token 8 is not current: nothing is held under it", 8)),
        (ENDED, PinLease("ada", "t1", 7, "r-eve", DUE), 3_000, PinRepeated("t1")),
        ((pool(), ADA), PinLease("ada", "t1", 7, "r-ada", 2_000), 2_000,
         refused("late", "the transaction's time is over")),
        ((pool(), ADA, *[LeasePinned("ada", f"x{n}", 7, "r-ada", DUE, 1_000) for n in range(PINS_MAX)]), PIN, 2_000,
         refused("busy", f"{PINS_MAX} transactions pin this pool")),
    ],
)  # fmt: skip
def test_a_grant_that_is_not_current_is_a_no(history: Any, command: Any, now_ms: int, why: Any) -> None:
    given(*history).when(command, now_ms).then(why)


def test_what_is_kept_is_no_grant_that_another_transaction_could_pin() -> None:
    why = PinRefused("ada", "t2", 7, "not_holder", "token 7 is not current: nothing is held under it")
    given(*ENDED).when(PinLease("ada", "t2", 7, "r-ada", DUE), 3_000).then(why)


def test_a_lease_that_is_over_at_the_vote_is_a_no() -> None:
    why = refused("not_holder", "token 7 is not current: nothing is held under it")
    given(pool(), ADA).when(PIN, 6_000).then(LeaseExpired("ada", 7, "r-ada", 6_000), why)


@pytest.mark.parametrize(
    ("command", "now_ms", "gone"),
    [
        (ReleaseCapacity("ada", 7, "r-ada", None, None), 2_500, RELEASED),
        (WithdrawRequest("ada", "r-ada"), 2_500, CapacityReleased("ada", 7, "r-ada", 2_500, 0)),
        (Tick(), 6_000, LeaseExpired("ada", 7, "r-ada", 6_000)),
    ],
)
@pytest.mark.parametrize("mode", ["shared", "exclusive"])
def test_its_holder_may_go_but_nobody_gets_that_part_before_the_outcome(
    command: Any, now_ms: int, gone: Any, mode: str
) -> None:
    held, wanted = granted("ada", 6, mode=mode), queued("bob", 5)
    free = given(pool(), held, PINNED, wanted).when(command, now_ms).then(gone)
    kept = 10 if mode == "exclusive" else 6
    assert (free.state.holders, free.state.in_use) == ((), kept)
    late = asks("kim", 1, wait_ms=0)
    free.when(late, 6_500).then(denied("kim", "turn", in_use=kept, holder="ada", waiting=2))
    given_bob = granted("bob", 5, now_ms=7_000, token=100, waited_ms=5_000)
    done = free.when(UnpinLease("t1", "committed"), 7_000).then(UNPINNED, given_bob)
    assert (done.state.kept, done.state.in_use) == ((), 5)
    at_once = granted("bob", 5, now_ms=now_ms, token=100, waited_ms=now_ms - 2_000)
    given(pool(), held, wanted).when(command, now_ms).then(gone, at_once)


def test_what_is_beside_it_is_granted_and_an_exclusive_one_keeps_all() -> None:
    given(*ENDED).when(asks("bob", 4), 3_000).then(new(granted("bob", 4, now_ms=3_000, token=100)))
    given(*ENDED).when(asks("bob", 5), 3_000).then(new(queued("bob", 5, since_ms=3_000)))
    alone = given(*ENDED).when(asks("bob", 1, mode="exclusive"), 3_000)
    alone.then(new(queued("bob", 1, mode="exclusive", since_ms=3_000)))
    all_of_it = given(pool(), granted("ada", 6, mode="exclusive"), PINNED, RELEASED)
    all_of_it.when(asks("bob", 1), 3_000).then(new(queued("bob", 1, since_ms=3_000)))
    all_of_it.when(asks("bob", 1, wait_ms=0), 3_000).then(denied("bob", "capacity", in_use=10, holder="ada"))


def test_what_two_transactions_pin_is_kept_until_both_have_their_outcome_and_counts_once() -> None:
    second = LeasePinned("eve", "t2", 7, "r-ada", DUE, 2_100)
    both = given(pool(), ADA, PINNED, second, RELEASED)
    assert both.state.in_use == 6
    one = both.when(UnpinLease("t1", "committed"), 3_000).then(UNPINNED)
    assert one.state.in_use == 6
    two = one.when(UnpinLease("t2", "aborted"), 3_000).then(LeaseUnpinned("eve", "t2", "aborted"))
    assert (two.state.in_use, two.state.kept, two.state.pins) == (0, (), ())


def test_terms_that_change_meanwhile_count_what_is_kept() -> None:
    def configured(capacity: int) -> Any:
        command = ConfigurePool("ops", capacity, None, None, (), (), ())
        terms = (capacity, None, None, (), (), ())
        return command, PoolConfigured("ops", *terms, 3_000)

    command, event = configured(4)
    small = given(*ENDED).when(command, 3_000).then(event)
    assert small.state.in_use == 6
    small.when(asks("bob", 1), 3_000).then(new(queued("bob", 1, since_ms=3_000)))
    more, grown = configured(20)
    all_of_it = given(pool(), granted("ada", 6, mode="exclusive"), PINNED, RELEASED).when(more, 3_000).then(grown)
    assert all_of_it.state.in_use == 20
    all_of_it.when(asks("bob", 1), 3_000).then(new(queued("bob", 1, since_ms=3_000)))


def test_what_is_kept_is_one_of_those_who_hold_at_a_time() -> None:
    many = [granted(f"a{n}", 1) for n in range(HOLDERS_MAX)]
    pin = LeasePinned("a0", "t1", 7, "r-a0", DUE, 2_000)
    kept = given(pool(1_000), *many, pin, CapacityReleased("a0", 7, "r-a0", 2_500, None))
    assert len(kept.state.holders) == HOLDERS_MAX - 1
    kept.when(asks("bob"), 3_000).then(new(queued("bob", since_ms=3_000)))


def test_use_has_ended_with_the_holder() -> None:
    with_pin, without = given(*ENDED).state, given(pool(), ADA, RELEASED).state
    assert with_pin.usage == without.usage
    ended = given(*ENDED).when(UnpinLease("t1", "committed"), 8_000).then(UNPINNED)
    assert ended.state.usage == without.usage and ended.state == without


def test_a_pool_that_nobody_has_configured_is_remembered_while_it_is_pinned() -> None:
    kept = given(granted("ada"), PINNED, RELEASED)
    assert isinstance(kept.state, Pool) and kept.state.in_use == 1
    assert restore(dump(kept.state), Pool) == kept.state
    gone = kept.when(UnpinLease("t1", "aborted"), 3_000).then(LeaseUnpinned("ada", "t1", "aborted"))
    assert gone.state is None


def test_who_holds_it_may_not_wait_for_itself_but_may_for_what_is_kept_of_it() -> None:
    held = given(pool(), ADA, PINNED).when(asks("ada", 5), 2_500)
    held.then(denied("ada", "would_self_deadlock", 5, in_use=6, holder="ada"))
    given(*ENDED).when(asks("ada", 5), 3_000).then(new(queued("ada", 5, since_ms=3_000)))


def test_who_waits_behind_a_pin_waits_for_no_call_chain() -> None:
    nested = queued("eve", 5, owner="8/1/1")
    found = waits_of(given(*ENDED, granted("kim", 4, owner="9/1"), nested).state)
    assert found is not None
    assert [holding.owner for holding in found.holders] == ["9/1"]
    assert [waiting.needs for waiting in found.waiters] == [0], "once the outcome is known there is room beside kim"
    more = waits_of(given(*ENDED, granted("kim", 4, owner="9/1"), queued("eve", 7, owner="8/1/1")).state)
    assert more is not None and [waiting.needs for waiting in more.waiters] == [1]


def test_once_the_time_is_over_it_asks_and_never_decides() -> None:
    kept = given(*ENDED, queued("bob", 5))
    due_ms = decider.deadline_ms(kept.state)
    assert due_ms == DUE + PIN_ASK_MS and decider.deadline_ms(given(pool(), ADA, PINNED).state) == 6_000
    kept.when(Tick(), due_ms - 1).then_nothing()
    waits = []
    for times in range(1, 8):
        assert due_ms is not None
        kept = kept.when(Tick(), due_ms).then(PinOutcomeWanted("t1", times, due_ms))
        next_ms = decider.deadline_ms(kept.state)
        assert next_ms is not None
        waits.append(next_ms - due_ms)
        due_ms = next_ms
    assert waits == [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
    assert kept.state.in_use == 6


def test_an_outcome_for_which_nothing_is_pinned_is_acknowledged() -> None:
    for history in ((), (pool(), ADA)):
        given(*history).when(UnpinLease("t1", "aborted"), 2_000).then(PinGone("t1", "aborted"))


def test_votes_acknowledgements_and_questions_follow() -> None:
    yes = [Order("transactions", "t1", RecordVote("limits", "gpus", True, "", "", (), ""))]
    assert DOMAIN.reactions[LeasePinned]("gpus", PINNED) == yes
    assert DOMAIN.reactions[PinRepeated]("gpus", PinRepeated("t1")) == yes
    assert DOMAIN.reactions[PinRefused]("gpus", refused("late", "why")) == [
        Order("transactions", "t1", RecordVote("limits", "gpus", False, "late", "why", (), ""))
    ]
    done = [Order("transactions", "t1", AcknowledgeOutcome("limits", "gpus", "committed"))]
    assert DOMAIN.reactions[LeaseUnpinned]("gpus", UNPINNED) == done
    assert DOMAIN.reactions[PinGone]("gpus", PinGone("t1", "committed")) == done
    wanted = PinOutcomeWanted("t1", 1, DUE)
    assert DOMAIN.reactions[PinOutcomeWanted]("gpus", wanted) == [
        Order("transactions", "t1", AskOutcome("limits", "gpus"))
    ]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (UnpinLease("t1", "unknown"), "outcome='unknown': one of committed, aborted is needed"),
        (UnpinLease("t" * 256, "aborted"), "transaction has more than 255 bytes"),
        (PinLease("ada", "t1", 7, "r", -1), "due_ms=-1: a time is 0 to 9007199254740992 ms since 1970"),
    ],
)
def test_what_is_out_of_bounds_is_rejected(command: Any, problem: str) -> None:
    given(pool(), ADA).when(command, 2_000).then(CommandRejected("invalid", problem))
