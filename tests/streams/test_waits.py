"""Who waits for whom: reports in, deadlocks out; every branch of the rules."""

from __future__ import annotations

from typing import Any

import pytest
from accord.schemas.messages import limits, locks
from accord.schemas.messages.locks import (
    AcquireLock,
    BreakDeadlock,
    ConditionAwaited,
    ConditionNotified,
    DeadlockBroken,
    LockGranted,
    LockQueued,
    LockReleased,
    NotifyCondition,
)
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.waits import (
    DeadlockFound,
    ForgetWaits,
    Holding,
    ReportWaits,
    Wait,
    Waiting,
    WaitsForgotten,
    WaitsIgnored,
    WaitsReported,
)
from accord.streams.decider import Order, Waits
from accord.streams.limits.decider import DOMAIN as LIMITS
from accord.streams.locks.decider import DOMAIN as LOCKS
from accord.streams.waits.bounds import HOLDERS_MAX, REPORTED_MAX, VICTIMS_MAX, WAITS_MAX
from accord.streams.waits.decider import DOMAIN, WaitsDecider
from accord.streams.waits.owners import chain_of, encloses, is_nested

from tests.streams.spec import Specification

decider = WaitsDecider()
given = Specification(decider)


def told(name: str, holder: str, *waiters: str, seq: int = 5, source: str = "locks/0") -> dict[str, Any]:
    """A lock with one holder, by owner; the waiters by owner, too. The holder's token is the lock's letter."""
    holding = Holding(holder, f"agent-{chain_of(holder)}", ord(name), 1)
    waiting = [Waiting(f"{owner}?", owner, f"agent-{chain_of(owner)}", 1) for owner in waiters]
    return {
        "domain": "locks", "name": name, "source": source, "seq": seq, "holders": (holding,),
        "waiters": tuple(waiting),
    }  # fmt: skip


def wait(owner: str, name: str, holder: str) -> Wait:
    agents = f"agent-{chain_of(owner)}", f"agent-{chain_of(holder)}"
    return Wait(agents[0], owner, f"{owner}?", "locks", name, agents[1], holder, ord(name))


# chain 1 holds a and waits for b, which chain 2 holds; chain 2 waits for a
B = told("b", "2/1", "1/1/1")
A = told("a", "1/1", "2/1/1")
RING = (wait("2/1/1", "a", "1/1"), wait("1/1/1", "b", "2/1"))
FOUND = DeadlockFound("2/1/1?", RING)


def test_a_report_is_taken_in_and_the_last_edge_of_a_ring_finds_it() -> None:
    first = given().when(ReportWaits(**B), 1_000).then(WaitsReported(**B))
    first.when(ReportWaits(**A), 1_000).then(WaitsReported(**A), FOUND)


def test_the_victim_is_denied_where_it_waits() -> None:
    (order,) = DOMAIN.reactions[DeadlockFound]("graph", FOUND)
    assert order == Order("locks", "a", BreakDeadlock("2/1/1?", ord("a"), RING))
    pooled = DeadlockFound("r", (Wait("x", "2/1/1", "r", "limits", "p", "y", "1/1", 3),))
    assert DOMAIN.reactions[DeadlockFound]("graph", pooled) == [
        Order("limits", "p", limits.BreakDeadlock("r", 3, pooled.cycle))
    ]


def test_who_holds_nothing_else_or_waits_for_who_goes_on_is_in_no_ring() -> None:
    given(WaitsReported(**B)).when(ReportWaits(**told("a", "3/1", "2/1/1")), 1_000).then(
        WaitsReported(**told("a", "3/1", "2/1/1"))
    )


def test_a_wait_of_another_task_of_the_chain_keeps_no_hold_of_this_one() -> None:
    """Chain 1 holds a in one task, and waits for b in another: the first lets go of a in its time."""
    sibling = told("b", "2/1", "1/2/1")
    given(WaitsReported(**sibling)).when(ReportWaits(**A), 1_000).then(WaitsReported(**A))


def test_a_victim_counts_as_gone_however_often_it_is_told() -> None:
    again = given(WaitsReported(**B), WaitsReported(**A), FOUND).when(ReportWaits(**A | {"seq": 6}), 1_000)
    again.then(WaitsReported(**A | {"seq": 6}))


def test_a_victim_counts_as_gone_when_its_partition_tells_all_anew() -> None:
    anew = given(WaitsReported(**B), WaitsReported(**A), FOUND, WaitsForgotten("locks/0", 6))
    anew = anew.when(ReportWaits(**B | {"seq": 6}), 1_000).then(WaitsReported(**B | {"seq": 6}))
    anew.when(ReportWaits(**A | {"seq": 6}), 1_000).then(WaitsReported(**A | {"seq": 6}))


def test_a_victim_whose_holder_went_before_it_was_denied_waits_on() -> None:
    """Another hold of the lock, with another token: the denial named the first, so the request still waits."""
    other = A | {"seq": 6, "holders": (Holding("1/1", "agent-1", 99, 1),)}
    ring = (Wait("agent-2", "2/1/1", "2/1/1?", "locks", "a", "agent-1", "1/1", 99), RING[1])
    given(WaitsReported(**B), WaitsReported(**A), FOUND).when(ReportWaits(**other), 1_000).then(
        WaitsReported(**other), DeadlockFound("2/1/1?", ring)
    )


def test_an_older_report_than_the_last_of_its_partition_is_a_zombies() -> None:
    new = told("c", "9/1", "8/1/1", seq=6)
    given(WaitsReported(**B), WaitsReported(**new)).when(ReportWaits(**A), 1_000).then_nothing()
    given(WaitsReported(**B), WaitsReported(**new)).when(ForgetWaits("locks/0", 5), 1_000).then_nothing()
    elsewhere = A | {"source": "locks/1"}
    given(WaitsReported(**B), WaitsReported(**new)).when(ReportWaits(**elsewhere), 1_000).then(
        WaitsReported(**elsewhere), FOUND
    )


def test_what_a_partition_told_before_it_was_assigned_anew_is_forgotten() -> None:
    forgotten = given(WaitsReported(**B)).when(ForgetWaits("locks/0", 7), 1_000).then(WaitsForgotten("locks/0", 7))
    late = A | {"source": "locks/1"}
    forgotten.when(ReportWaits(**late), 1_000).then(WaitsReported(**late))
    given(WaitsReported(**B)).when(ForgetWaits("locks/1", 7), 1_000).then(WaitsForgotten("locks/1", 7)).when(
        ReportWaits(**late), 1_000
    ).then_nothing()


def test_that_nobody_waits_any_more_is_taken_in_once() -> None:
    nobody = B | {"seq": 6, "waiters": ()}
    gone = given(WaitsReported(**B)).when(ReportWaits(**nobody), 1_000).then(WaitsReported(**nobody))
    gone.when(ReportWaits(**nobody | {"seq": 7}), 1_000).then_nothing()
    assert gone.state.contended == {} == gone.state.places


def test_two_rings_through_one_holder_have_a_victim_each() -> None:
    """Chain 3 holds a; 1 and 2 wait for it, and 3 waits for what each of them holds, in two tasks."""
    state = given(WaitsReported(**told("b", "1/1", "3/1/1")), WaitsReported(**told("c", "2/1", "3/1/2")))
    both = told("a", "3/1", "1/1/1", "2/1/1")
    first = (wait("3/1/1", "b", "1/1"), wait("1/1/1", "a", "3/1"))
    second = (wait("3/1/2", "c", "2/1"), wait("2/1/1", "a", "3/1"))
    events = state.when(ReportWaits(**both), 1_000)
    events.then(WaitsReported(**both), DeadlockFound("3/1/1?", first), DeadlockFound("3/1/2?", second))


def test_more_waits_than_are_watched() -> None:
    many = [told(name, "1/1") for name in "wxyz"]
    events = []
    for number, one in enumerate(many):
        waiters = tuple([Waiting(f"r-{number}-{n}", f"{n + 10}/1/1", "x", 1) for n in range(REPORTED_MAX)])
        events.append(WaitsReported(**one | {"waiters": waiters}))
    assert len(events) * REPORTED_MAX == WAITS_MAX
    ignored = WaitsIgnored("locks", "b", "locks/0", 5, "graph_full")
    full = given(*events).when(ReportWaits(**B), 1_000).then(ignored)
    assert sum(len(one.waiters) for one in full.state.contended.values()) == WAITS_MAX
    known = events[0].name
    changed = ReportWaits(**{**B, "name": known})
    full.when(changed, 1_000).then(WaitsReported(**{**B, "name": known}))


def test_an_ignored_report_leaves_nothing_outdated() -> None:
    ignored = WaitsIgnored("locks", "b", "locks/0", 6, "graph_full")
    given(WaitsReported(**B), ignored).when(ReportWaits(**A), 1_000).then(WaitsReported(**A))


def test_victims_are_remembered_up_to_a_bound() -> None:
    state: Any = None
    for number in range(VICTIMS_MAX + 5):
        one = Wait("x", "2/1/1", f"r{number}", "locks", f"k{number}", "y", "1/1", 3)
        state = decider.evolve(state, DeadlockFound(one.request, (one,)))
    assert len(state.victims) == VICTIMS_MAX
    assert "r4" not in state.victims


@pytest.mark.parametrize(
    "wrong",
    [
        {"domain": "tasks"},
        {"name": "x" * 256},
        {"seq": -1},
        {"waiters": tuple([Waiting("r", "1/1", "x", 1)] * (REPORTED_MAX + 1))},
        {"holders": tuple([Holding("1/1", "x", 1, 1)] * (HOLDERS_MAX + 1))},
        {"waiters": (Waiting("r", "1" * 256, "x", 1),)},
        {"holders": (Holding("1/1", "x" * 256, 1, 1),)},
    ],
)
def test_a_report_that_cannot_be_right(wrong: dict[str, Any]) -> None:
    (rejected,) = decider.decide(None, ReportWaits(**B | wrong), None)  # type: ignore[arg-type]
    assert isinstance(rejected, CommandRejected)
    assert rejected.reason == Reason.INVALID


def test_a_report_that_claims_more_need_than_there_is_stops_nothing() -> None:
    strange = B | {"waiters": (Waiting("r", "1/1/1", "x", 10**9),)}
    given().when(ReportWaits(**strange), 1_000).then(WaitsReported(**strange))
    empty = B | {"holders": ()}
    given().when(ReportWaits(**empty), 1_000).then(WaitsReported(**empty))


def test_a_tick_brings_nothing() -> None:
    given(WaitsReported(**B)).when(Tick(), 1_000).then_nothing()


# -- what locks and pools tell


def acquired(owner: str, **terms: Any) -> LockGranted:
    return LockGranted(f"{owner}!", "x", owner, 7, 5_000, 6_000, **terms)


def queued(owner: str, **terms: Any) -> LockQueued:
    return LockQueued(f"{owner}?", "x", owner, 5_000, 1_000, None, 1, **terms)


def waits_of(*events: Any, rules: Any = LOCKS) -> Waits | None:
    state = None
    for event in events:
        state = rules.versions[1].evolve(state, event)
    found: Waits | None = rules.contention.waits(state)
    return found


def needs(waits: Waits | None) -> dict[str, int]:
    return {waiting.owner: waiting.needs for waiting in waits.waiters} if waits else {}


def test_only_who_holds_something_else_is_told_of() -> None:
    assert waits_of(acquired("1/1")) is None
    assert waits_of(acquired("1/1"), queued("2/1")) is None
    told_of = waits_of(acquired("1/1"), queued("2/1"), queued("3/1/1"))
    assert told_of == Waits((Holding("1/1", "x", 7, 1),), (Waiting("3/1/1?", "3/1/1", "x", 1),))


def test_alone_needs_all_and_shared_needs_a_permit() -> None:
    readers = [acquired("1/1", permits=0), acquired("2/1", permits=0)]
    assert needs(waits_of(*readers, queued("3/1/1"), queued("4/1/1", permits=0))) == {"3/1/1": 2, "4/1/1": 0}
    assert needs(waits_of(*readers, queued("3/1"), queued("4/1/1", permits=0))) == {"4/1/1": 2}
    two = [acquired("1/1", permits=2), acquired("2/1", permits=2)]
    assert needs(waits_of(*two, queued("3/1/1", permits=2), queued("4/1/1", permits=2))) == {"3/1/1": 1, "4/1/1": 1}


def test_a_lock_that_is_free_while_waits_are_over_that_were_not_ended_is_waited_for_by_nobody() -> None:
    held = [acquired("1/1", permits=2), queued("3/1/1", permits=2), queued("4/1/1")]
    assert needs(waits_of(*held, LockReleased("x", 7, "1/1!"))) == {"3/1/1": 0, "4/1/1": 0}


def test_turns_count() -> None:
    two = [acquired("1/1", permits=2), acquired("2/1", permits=2)]
    urgent = queued("4/1/1", permits=2, priority=5)
    found = waits_of(*two, queued("3/1/1", permits=2), urgent)
    assert found is not None
    assert [waiting.owner for waiting in found.waiters] == ["4/1/1", "3/1/1"]


def test_who_sleeps_on_a_condition_waits_for_no_holder_and_who_was_woken_does() -> None:
    asleep = ConditionAwaited("w", "x", "1/1/1", 7, 5_000, 1_000, None)
    assert waits_of(acquired("1/1/1"), asleep, acquired("2/1")) is None
    woken = waits_of(acquired("1/1/1"), asleep, acquired("2/1"), ConditionNotified("y", ("w",)))
    assert needs(woken) == {"1/1/1": 1}


def test_a_long_queue_is_told_by_its_first() -> None:
    many = [queued(f"{n}/1/1") for n in range(REPORTED_MAX + 20)]
    assert list(needs(waits_of(acquired("x/1"), *many))) == [f"{n}/1/1" for n in range(REPORTED_MAX)]


def pool_events(*waiting: tuple[str, int], held: tuple[int, ...] = (2, 1)) -> list[Any]:
    configured = limits.PoolConfigured("ops", 3, None, None, (), (), (), 1_000)
    granted = [
        limits.CapacityGranted(f"h{n}", "x", f"{n + 1}/1", "", 7 + n, amount, "shared", 0, 0, 5_000, 6_000, 0, "")
        for n, amount in enumerate(held)
    ]
    queue = [
        limits.CapacityQueued(f"{o}?", "x", o, "", amount, "shared", 0, 0, 5_000, 1_000, None, 1, "capacity")
        for o, amount in waiting
    ]
    return [configured, *granted, *queue]


def test_a_pool_needs_what_is_asked_for_beyond_what_is_free() -> None:
    assert needs(waits_of(*pool_events(("8/1/1", 2), ("9/1/1", 1)), rules=LIMITS)) == {"8/1/1": 2, "9/1/1": 1}
    assert needs(waits_of(*pool_events(("8/1", 3), ("9/1/1", 1)), rules=LIMITS)) == {"9/1/1": 3}
    assert needs(waits_of(*pool_events(("8/1/1", 3), held=(1,)), rules=LIMITS)) == {"8/1/1": 1}
    assert waits_of(*pool_events(("8/1", 3)), rules=LIMITS) is None
    found = waits_of(*pool_events(("9/1/1", 3)), rules=LIMITS)
    assert found is not None
    assert [holding.amount for holding in found.holders] == [2, 1]


# -- the victim where it waits

of_lock = Specification(LOCKS.versions[1])
of_pool = Specification(LIMITS.versions[1])


def test_a_victim_is_denied_and_the_next_is_served() -> None:
    start = of_lock(acquired("1/1"), queued("3/1/1"), queued("4/1"))
    broken = start.when(BreakDeadlock("3/1/1?", 7, RING), 1_500).then(DeadlockBroken("3/1/1?", "x", RING))
    assert [waiter.request for waiter in broken.state.waiters] == ["4/1?"]
    readers = of_lock(acquired("1/1", permits=0), queued("3/1/1"), queued("4/1", permits=0))
    readers.when(BreakDeadlock("3/1/1?", 7, RING), 1_500).then(
        DeadlockBroken("3/1/1?", "x", RING), LockGranted("4/1?", "x", "4/1", 100, 5_000, 6_500, 0)
    )


@pytest.mark.parametrize(("request_id", "token"), [("3/1/1?", 8), ("1/1!", 7), ("gone", 7)])
def test_who_waits_for_another_holder_or_no_longer_is_left_alone(request_id: str, token: int) -> None:
    of_lock(acquired("1/1"), queued("3/1/1")).when(BreakDeadlock(request_id, token, RING), 1_500).then_nothing()
    given_pool = of_pool(*pool_events(("3/1/1", 3)))
    given_pool.when(limits.BreakDeadlock(request_id, token + 2, RING), 1_500).then_nothing()


def test_a_victim_that_was_notified_passes_the_notice_on() -> None:
    sleepers = [ConditionAwaited(f"w{n}", "x", f"{n}/1/1", 7, 5_000, 1_000, None) for n in (1, 2)]
    start = of_lock(acquired("1/1/1"), sleepers[0], acquired("2/1/1"), sleepers[1], acquired("3/1"))
    start = start.when(NotifyCondition("x", 7, 1), 1_200).then(ConditionNotified("x", ("w1",)))
    start.when(BreakDeadlock("w1", 7, RING), 1_500).then(
        DeadlockBroken("w1", "x", RING), ConditionNotified("", ("w2",))
    )


def test_a_pools_victim_is_denied() -> None:
    broken = of_pool(*pool_events(("3/1/1", 3))).when(limits.BreakDeadlock("3/1/1?", 7, RING), 1_500)
    assert broken.then(limits.DeadlockBroken("3/1/1?", "x", RING)).state.waiters == ()


def test_a_lock_that_is_free_or_a_barrier_has_no_victim() -> None:
    of_lock().when(BreakDeadlock("r", 7, RING), 1_500).then_nothing()
    barrier = locks.BarrierReached("r", "x", 2, 5_000, 6_000, None)
    of_lock(barrier).when(BreakDeadlock("r", 7, RING), 1_500).then_nothing()


def test_owners() -> None:
    assert (is_nested("c/1"), is_nested("c/1/1")) == (False, True)
    assert encloses("c/1", "c/1/2")
    assert not encloses("c/1", "c/1")
    assert not encloses("c/1", "c/11/2")
    assert not encloses("c/1/2", "c/1")


def test_asking_again_is_asking() -> None:
    """The owner alone says what a request is inside of: a request at the top of a chain keeps nothing."""
    of_lock(acquired("1/1")).when(AcquireLock("x", "2/1", 5_000, None), 1_500, request="2/1?").then(
        LockQueued("2/1?", "x", "2/1", 5_000, 1_500, None, 1)
    )
