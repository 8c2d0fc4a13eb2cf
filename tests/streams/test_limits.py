"""The limit decider, branch by branch."""

from __future__ import annotations

from typing import Any, get_type_hints

import msgspec
import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import Command, Event, limits
from accord.schemas.messages.limits import (
    CapacityDenied,
    CapacityGranted,
    CapacityQueued,
    CapacityReleased,
    ConfigurePool,
    LeaseExpired,
    LeaseRenewed,
    PoolConfigured,
    PoolPaused,
    PoolResumed,
    ReleaseCapacity,
    ReleaseRefused,
    RenewalRefused,
    RenewLease,
    ReportStaleWrite,
    RequestCapacity,
    RequestWithdrawn,
    StaleWriteRefused,
    WithdrawRequest,
)
from accord.schemas.messages.log import CommandRejected, SwitchRules, Tick
from accord.schemas.messages.signals import EmitSignal
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import At
from accord.streams.domains import DOMAINS
from accord.streams.limits.bounds import (
    CAPACITY_MAX,
    RATE_MAX,
    RETRY_AFTER_MS_MAX,
    ROLES_MAX,
    TOKENS_MAX,
    WAITERS_MAX,
    WEIGHT_MAX,
    WEIGHTS_MAX,
)
from accord.streams.limits.decider import LimitDecider
from accord.streams.limits.pool import HOLDERS_MAX, LEAD_MAX, PASSES_MAX, SHARES_MAX, WHOLE, Bucket, Holder, Pool, Usage
from accord.streams.locks.bounds import LEASE_MS_MAX, LEASE_MS_MIN, PRIORITY_MAX, TEXT_BYTES_MAX, WAIT_MS_MAX

from tests.streams.spec import Given, Specification

decider = LimitDecider()
given = Specification(decider)


def pool(capacity: int = 10, **terms: Any) -> PoolConfigured:
    names = {"requests_per_minute": None, "tokens_per_minute": None, "roles": (), "shares": (), "weights": ()}
    return PoolConfigured("ops", capacity, **(names | terms), configured_ms=0)


def asks(name: str, amount: int = 1, **terms: Any) -> RequestCapacity:
    defaults: dict[str, Any] = {
        "owner": f"{name}/1", "role": "", "mode": "shared", "priority": 0, "tokens": 0, "lease_ms": 5_000,
        "wait_ms": None, "must_exist": False,
    }  # fmt: skip
    return RequestCapacity(name, amount=amount, **(defaults | terms))


def granted(name: str, amount: int = 1, *, now_ms: int = 1_000, **terms: Any) -> CapacityGranted:
    defaults: dict[str, Any] = {
        "owner": f"{name}/1", "role": "", "token": 7, "mode": "shared", "priority": 0, "tokens": 0, "lease_ms": 5_000,
        "waited_ms": 0, "reason": "free",
    }  # fmt: skip
    fields = defaults | terms
    return CapacityGranted(f"r-{name}", name, amount=amount, deadline_ms=now_ms + fields["lease_ms"], **fields)


def queued(name: str, amount: int = 1, place: int = 1, **terms: Any) -> CapacityQueued:
    defaults: dict[str, Any] = {
        "owner": f"{name}/1", "role": "", "mode": "shared", "priority": 0, "tokens": 0, "lease_ms": 5_000,
        "since_ms": 2_000, "deadline_ms": None, "reason": "capacity",
    }  # fmt: skip
    return CapacityQueued(f"r-{name}", name, amount=amount, place=place, **(defaults | terms))


def denied(name: str, reason: str, amount: int = 1, **told: Any) -> CapacityDenied:
    defaults: dict[str, Any] = {
        "role": "", "capacity": 10, "in_use": 0, "holder": "", "place": 0, "waiting": 1, "retry_after_ms": None,
    }  # fmt: skip
    return CapacityDenied(told.pop("request", "new"), name, reason=reason, amount=amount, **(defaults | told))


def new(event: Any, **changes: Any) -> Any:
    """The event as the command under test brings it."""
    return msgspec.structs.replace(event, **({"request": "new"} | changes))


def order(state: Pool) -> list[str]:
    """The agents that wait, in the order in which they would be served if nothing else happened."""
    names = []
    while state.waiters:
        names.append(state.first().agent)
        left = tuple([waiter for waiter in state.waiters if waiter.request != state.first().request])
        state = msgspec.structs.replace(state, waiters=left)
    return names


# -- pools that nobody has configured


def test_a_pool_that_nobody_configured_serves_one_at_a_time_and_is_not_remembered() -> None:
    then = given().when(asks("ada"), 1_000).then(new(granted("ada"), token=100))
    assert then.state.holders == (Holder("new", "ada", "ada/1", 100, 1, False, 0, 5_000, 1_000, 6_000),)
    assert decider.deadline_ms(then.state) == 6_000
    then.when(asks("bob"), 2_000, request="r-bob").then(queued("bob"))
    released = CapacityReleased("ada", 100, "new", 2_000, None)
    assert then.when(ReleaseCapacity("ada", 100, "new", None, None), 2_000).then(released).state is None


def test_a_pool_that_must_exist_is_refused_until_somebody_configures_it() -> None:
    strict = asks("ada", must_exist=True)
    unknown = denied("ada", "unknown_pool", capacity=0)
    assert given().when(strict, 1_000).then(unknown).state is None
    given(granted("bob")).when(strict, 1_000).then(denied("ada", "unknown_pool", capacity=0, in_use=1, holder="bob"))
    given(pool()).when(strict, 1_000).then(new(granted("ada"), token=100))


def test_who_waits_for_a_pool_that_nobody_configured_goes_by_arrival() -> None:
    history = [granted("ada"), queued("ada", owner="ada/2"), queued("bob")]
    assert order(given(*history).state) == ["ada", "bob"]


def test_a_configured_pool_is_remembered() -> None:
    command = ConfigurePool("ops", 10, 60, 1_000, ("writer",), ("ada",), (3,))
    event = PoolConfigured("ops", 10, 60, 1_000, ("writer",), ("ada",), (3,), configured_ms=1_000)
    then = given().when(command, 1_000).then(event)
    assert then.state.usage == Usage(since_ms=1_000)
    assert decider.deadline_ms(then.state) is None
    assert then.state.requests == Bucket(60, 60 * 60_000, 1_000)
    idle = given(event, granted("ada", role="writer"), CapacityReleased("ada", 7, "r-ada", 3_000, None)).state
    assert idle.terms == then.state.terms


# -- amount, mode, capacity


@pytest.mark.parametrize("amount", [0, -1, 11, 1 << 62])
def test_an_amount_that_cannot_be_is_denied(amount: int) -> None:
    given(pool()).when(asks("ada", amount), 1_000).then(denied("ada", "amount", amount))


def test_the_whole_capacity_is_granted_and_no_more() -> None:
    then = given(pool(), granted("ada", 6)).when(asks("bob", 4), 2_000)
    then = then.then(new(granted("bob", 4, now_ms=2_000), token=100))
    assert then.state.in_use == 10
    then.when(asks("eve", 1), 2_000, request="r-eve").then(queued("eve"))


def test_one_that_is_exclusive_waits_for_an_empty_pool_and_keeps_others_out() -> None:
    alone = asks("ada", 2, mode="exclusive")
    then = given(pool()).when(alone, 1_000).then(new(granted("ada", 2, mode="exclusive"), token=100))
    assert then.state.in_use == 10
    then.when(asks("bob"), 2_000, request="r-bob").then(queued("bob"))
    given(pool(), granted("bob")).when(alone, 2_000, request="r-ada").then(queued("ada", 2, mode="exclusive"))


def test_nobody_goes_past_one_who_wants_more_than_there_is_room_for() -> None:
    history = [pool(), granted("ada", 6), queued("big", 5)]
    then = given(*history).when(asks("eve", 1), 3_000, request="r-eve")
    then = then.then(queued("eve", place=2, since_ms=3_000, reason="turn"))
    then.when(ReleaseCapacity("ada", 7, "r-ada", None, None), 4_000).then(
        CapacityReleased("ada", 7, "r-ada", 4_000, None),
        granted("big", 5, now_ms=4_000, token=100, waited_ms=2_000, reason="arrival"),
        granted("eve", 1, now_ms=4_000, token=100, waited_ms=1_000),
    )


def test_no_more_than_the_bound_hold_a_part() -> None:
    crowd = [granted(f"a{i}", token=i) for i in range(HOLDERS_MAX)]
    given(pool(1_000), *crowd).when(asks("bob"), 2_000, request="r-bob").then(queued("bob"))


def test_a_full_queue_denies() -> None:
    queue = [queued(f"b{i}", place=i + 1) for i in range(WAITERS_MAX)]
    given(granted("ada"), *queue).when(asks("eve"), 3_000).then(
        denied("eve", "queue_full", capacity=1, in_use=1, holder="ada", waiting=WAITERS_MAX + 1)
    )
    (last,) = given(granted("ada"), *queue[1:]).when(asks("eve"), 3_000)._events
    assert isinstance(last, CapacityQueued)


# -- roles


def test_only_permitted_roles_are_served_and_denials_are_events() -> None:
    rules = pool(roles=("writer", "editor"))
    given(rules).when(asks("ada"), 1_000).then(denied("ada", "role"))
    given(rules).when(asks("ada", role="reader"), 1_000).then(denied("ada", "role", role="reader"))
    then = given(rules).when(asks("ada", role="editor"), 1_000).then(new(granted("ada", role="editor"), token=100))
    assert then.state.usage.granted == 1
    assert given(rules, denied("ada", "role")).state.usage.denied == 1


# -- trying once


@pytest.mark.parametrize(
    ("history", "reason", "told"),
    [
        ([pool(), granted("bob", 10)], "capacity", {"in_use": 10, "holder": "bob"}),
        ([pool(), granted("bob", 4), queued("eve", 7)], "turn", {"in_use": 4, "holder": "bob", "waiting": 2}),
        (
            [pool(requests_per_minute=1), granted("bob")], "rate",
            {"in_use": 1, "holder": "bob", "retry_after_ms": 59_000},
        ),
        ([pool(), PoolPaused("bob", "r-bob", 9_000)], "paused", {"retry_after_ms": 7_000}),
    ],
)  # fmt: skip
def test_who_tries_once_is_told_why_not(history: list[Event], reason: str, told: dict[str, Any]) -> None:
    given(*history).when(asks("ada", wait_ms=0), 2_000).then(denied("ada", reason, **told))


@pytest.mark.parametrize(
    ("history", "wanted", "own"),
    [
        ([granted("ada")], asks("ada"), True),
        ([pool(), granted("ada", 6)], asks("ada", 5), True),
        ([pool(), granted("ada", 6), granted("bob", 4)], asks("ada", 4), False),  # bob may go
        ([pool(), granted("ada", 1), granted("bob", 4)], asks("ada", 1, mode="exclusive"), True),
        ([pool(), granted("ada", 1, mode="exclusive")], asks("ada"), True),
        ([pool(), granted("ada", 1), queued("bob", mode="exclusive")], asks("ada"), True),  # behind him
        ([pool(), granted("ada", 3), queued("bob", 8)], asks("ada"), True),
        ([pool(), granted("ada", 2), granted("eve", 3), queued("bob", 8)], asks("ada"), False),
        ([pool(1_000), *[granted(f"a{i}", owner="ada/1") for i in range(HOLDERS_MAX)]], asks("ada"), True),
    ],
)  # fmt: skip
def test_who_would_wait_for_itself_is_refused(history: list[Event], wanted: RequestCapacity, own: bool) -> None:
    (event,) = given(*history).when(wanted, 2_000)._events
    assert (isinstance(event, CapacityDenied) and event.reason == "would_self_deadlock") == own


# -- priority, shares, patience


def test_the_higher_priority_goes_first_then_who_has_had_least_then_arrival() -> None:
    history = [
        pool(), granted("ada", 5), granted("bob", 5), CapacityReleased("ada", 7, "r-ada", 1_500, None),
        granted("eve", 5), queued("ada"), queued("bob"), queued("kim"), queued("leo", priority=1), queued("mia"),
    ]  # fmt: skip
    assert order(given(*history).state) == ["leo", "kim", "mia", "ada", "bob"]
    given(*history).when(asks("zoe", 9), 3_000, request="r-zoe").then(
        queued("zoe", 9, place=4, since_ms=3_000, reason="turn")
    )


def test_a_share_of_twice_the_weight_gets_twice_as_much() -> None:
    served = _served(pool(1, shares=("ada",), weights=(2,)), ["ada", "bob"], 30)
    assert served.count("ada") == 20
    assert "".join(served).count("bobbob") == 0


def test_a_role_with_a_weight_shares_it_and_an_agents_own_weight_goes_before() -> None:
    rules = pool(1, shares=("crew", "kim"), weights=(2, 4))
    served = _served(rules, ["ada", "bob", "eve", "kim"], 70, role={"ada": "crew", "bob": "crew", "kim": "crew"})
    counts = {name: served.count(name) for name in ("ada", "bob", "eve", "kim")}
    assert counts["ada"] + counts["bob"] == 20
    assert (counts["eve"], counts["kim"]) == (10, 40)


def test_a_share_counts_the_larger_part_of_capacity_and_tokens() -> None:
    rules = pool(10, tokens_per_minute=1_000)
    state = given(rules, granted("ada", 1, tokens=500), granted("bob", 4, tokens=10)).state
    assert state.leads() == {"ada": WHOLE // 2, "bob": WHOLE * 4 // 10}
    assert given(rules, granted("eve", 1, mode="exclusive")).state.leads() == {"eve": WHOLE}


def test_who_comes_new_has_no_claim_on_what_was_served_before() -> None:
    """ada alone for a while, then bob comes: from then on they take turns."""
    state = given(pool(1), *_uncontended("ada", 50)).state
    assert state.leads() == {"ada": WHOLE}
    served = _served(pool(1), ["ada", "bob"], 10, state=state)
    assert served.count("ada") == 5


def test_a_lead_is_bounded_and_so_are_the_shares() -> None:
    history: list[Event] = [pool(1), queued("bob")]
    for _ in range(1_010):
        history += [granted("ada", priority=10), CapacityReleased("ada", 7, "r-ada", 1_001, None)]
    state = given(*history).state
    assert state.leads() == {"ada": LEAD_MAX}
    others = [event for n in range(SHARES_MAX) for event in _uncontended(f"a{n}", 1)]
    state = given(*history, *others).state
    assert len(state.shares) == SHARES_MAX
    assert "ada" not in state.leads(), "the one that was served least recently is forgotten"


def _uncontended(name: str, count: int) -> list[Event]:
    return [granted(name), CapacityReleased(name, 7, f"r-{name}", 1_001, None)] * count


def _served(
    rules: PoolConfigured, names: list[str], count: int, *, role: dict[str, str] | None = None,
    state: Pool | None = None, held: CapacityGranted | None = None,
) -> list[str]:  # fmt: skip
    """Who is served if everybody always waits, with three requests each, for a pool of one."""
    state = state or given(rules).state
    seq = 0

    def decide(command: Command) -> list[CapacityGranted]:
        nonlocal state, seq
        seq += 1
        brought = decider.decide(state, command, At(2_000, seq, f"r-{seq}"))
        for event in brought:
            state = decider.evolve(state, event)
        return [event for event in brought if isinstance(event, CapacityGranted)]

    def ask(name: str) -> RequestCapacity:
        return asks(name, owner=f"{name}/{seq}", role=(role or {}).get(name, ""))

    held = held or decide(asks("first"))[0]
    for _ in range(3):
        for name in names:
            decide(ask(name))
    served = []
    for _ in range(count):
        (held,) = decide(ReleaseCapacity(held.agent, held.token, held.request, None, None))
        served.append(held.agent)
        if held.agent in names:
            decide(ask(held.agent))
    return served


def test_who_is_overtaken_by_a_higher_priority_rises_and_by_an_equal_one_counts_it() -> None:
    waiting = [granted("ada", 10), queued("bob", 9), queued("eve", 9, priority=2), queued("kim")]
    released = CapacityReleased("ada", 7, "r-ada", 3_000, None)
    state = given(pool(), *waiting, released, granted("eve", 9, priority=2)).state
    assert [(waiter.agent, waiter.priority, waiter.passed) for waiter in state.waiters] == [
        ("bob", 1, 0),
        ("kim", 0, 0),
    ]
    state = given(pool(), *waiting, released, granted("kim")).state
    assert [(waiter.agent, waiter.priority, waiter.passed) for waiter in state.waiters] == [
        ("bob", 0, 1),
        ("eve", 2, 1),
    ]


def test_a_higher_priority_that_comes_overtakes_who_waits_for_more() -> None:
    then = given(pool(), granted("ada", 6), queued("big", 5)).when(asks("eve", priority=1), 3_000)
    event = new(granted("eve", now_ms=3_000, priority=1, reason="priority"), token=100)
    assert then.then(event).state.waiters[0].priority == 1


def _worst(first: int, weight: int, own: int = 0) -> int:
    """How many later ones are served before a request whose share has a lead and `own` that came before, against an
    endless stream of newcomers of the highest priority, which have no lead."""
    rules = pool(1, shares=("fresh",), weights=(weight,))
    history = [queued("eve", priority=10)]
    for _ in range(1_000):  # bob comes with the greatest lead that there is
        history += [granted("bob", priority=10), CapacityReleased("bob", 7, "r-bob", 1_001, None)]
    queue = [queued("bob", priority=first) for _ in range(own + 1)]
    queue = [msgspec.structs.replace(one, request=f"own-{number}") for number, one in enumerate(queue)]
    state = given(rules, *history, RequestWithdrawn("r-eve", "eve"), granted("ada"), *queue).state
    assert state.leads()["bob"] > 900 * WHOLE
    held = granted("ada")
    for grants in range(1_000):
        later = asks(f"new-{grants}", role="fresh", priority=PRIORITY_MAX, owner=f"{grants}")
        for command in (later, ReleaseCapacity("-", held.token, held.request, None, None)):
            for event in decider.decide(state, command, At(2_000, 1_000 + grants, f"n-{grants}")):
                state = decider.evolve(state, event)
                if isinstance(event, CapacityGranted):
                    held = event
                    if event.request == f"own-{own}":
                        return grants - own
    raise AssertionError("starved")


@pytest.mark.parametrize("first", [-PRIORITY_MAX, 0, PRIORITY_MAX])
@pytest.mark.parametrize("weight", [1, WEIGHT_MAX])
def test_against_the_worst_stream_everybody_is_served_within_the_stated_number(first: int, weight: int) -> None:
    assert _worst(first, weight) == PRIORITY_MAX - first + PASSES_MAX
    assert _worst(first, weight, own=2) == PRIORITY_MAX - first + 3 * PASSES_MAX


def test_who_fills_the_queue_gets_no_more_than_a_share() -> None:
    flood: list[Event] = [msgspec.structs.replace(queued("ada"), request=f"flood-{n}") for n in range(WAITERS_MAX - 10)]
    state = given(pool(1), granted("first", token=0), *flood).state
    served = _served(pool(1), ["bob", "eve"], 300, state=state, held=granted("first", token=0))
    assert 99 <= served.count("ada") <= 101


def test_why_it_is_ones_turn_is_told() -> None:
    def reason(*history: Event) -> str:
        release = ReleaseCapacity("ada", 7, "r-ada", None, None)
        event = given(pool(1), granted("ada"), *history).when(release, 3_000)._events[1]
        assert isinstance(event, CapacityGranted)
        return event.reason

    assert reason(queued("bob")) == "free"
    assert reason(queued("bob"), queued("eve")) == "arrival"
    assert reason(queued("bob"), queued("eve", priority=1)) == "priority"
    assert reason(queued("ada"), queued("eve")) == "share"
    passing = [CapacityReleased("ada", 7, "r-ada", 1_001, None)]
    for _ in range(PASSES_MAX):
        passing += [granted("eve"), CapacityReleased("eve", 7, "r-eve", 1_001, None)]
    assert reason(queued("leo"), *passing, granted("ada"), queued("kim")) == "patience"


# -- rates


def test_a_request_waits_until_the_bucket_has_one_and_the_tick_comes_then() -> None:
    rules = pool(requests_per_minute=6)  # one in 10,000 ms; a minute's worth at once
    burst = [granted(f"a{n}", token=n) for n in range(6)]
    then = given(rules, *burst).when(asks("bob"), 2_000, request="r-bob").then(queued("bob", reason="rate"))
    given(rules, *burst[1:]).when(asks("bob"), 2_000).then(new(granted("bob", now_ms=2_000), token=100))
    assert decider.deadline_ms(then.state) == 6_000, "the leases"
    free = given(rules, *burst, *[CapacityReleased("", n, f"r-a{n}", 2_000, None) for n in range(6)], queued("bob"))
    assert decider.deadline_ms(free.state) == 11_000
    free.when(Tick(), 10_999).then_nothing()
    free.when(Tick(), 11_000).then(granted("bob", now_ms=11_000, token=100, waited_ms=9_000))


def test_tokens_are_taken_at_the_grant_and_corrected_at_the_release() -> None:
    rules = pool(tokens_per_minute=600)  # ten a second
    held = given(rules, granted("ada", tokens=500))
    tokens = held.state.tokens
    assert tokens.level_at(1_000) == 100 * 60_000
    for used, left in ((None, 100), (500, 100), (100, 500), (700, -100), (0, 600), (TOKENS_MAX, -600)):
        released = CapacityReleased("ada", 7, "r-ada", 1_000, used)
        then = held.when(ReleaseCapacity("ada", 7, "r-ada", used, None), 1_000).then(released)
        assert then.state.tokens.level_at(1_000) == left * 60_000
        assert then.state.usage.tokens == (500 if used is None else used)
    overdrawn = given(rules, granted("ada", tokens=500), CapacityReleased("ada", 7, "r-ada", 1_000, 700))
    then = overdrawn.when(asks("bob", tokens=0), 1_000, request="r-bob").then(
        queued("bob", since_ms=1_000, reason="rate")
    )
    assert decider.deadline_ms(then.state) == 11_000, "100 tokens at ten a second"


def test_a_request_for_more_tokens_than_a_minute_has_is_denied() -> None:
    rules = pool(tokens_per_minute=600)
    given(rules).when(asks("ada", tokens=601), 1_000).then(denied("ada", "tokens"))
    given(rules).when(asks("ada", tokens=600), 1_000).then(new(granted("ada", tokens=600), token=100))


def test_who_needs_few_tokens_does_not_go_past_who_needs_many() -> None:
    rules = pool(tokens_per_minute=600)
    history = [rules, granted("ada", tokens=500), queued("big", tokens=400, reason="rate")]
    then = given(*history).when(asks("eve", tokens=1), 2_000, request="r-eve")
    then = then.then(queued("eve", tokens=1, place=2, reason="turn"))
    assert then.state.opens_ms(then.state.first()) == 31_000


def test_a_withdrawn_grant_gives_its_tokens_back() -> None:
    rules = pool(tokens_per_minute=600)
    then = given(rules, granted("ada", tokens=500)).when(WithdrawRequest("ada", "r-ada"), 1_000)
    assert then.then(CapacityReleased("ada", 7, "r-ada", 1_000, 0)).state.tokens.level_at(1_000) == 600 * 60_000


@pytest.mark.parametrize(("rate", "count", "ms"), [(1, 1, 60_000), (7, 1, 8_572), (60_000, 1, 1), (RATE_MAX, 1, 1)])
def test_a_bucket_is_exact_and_never_early(rate: int, count: int, ms: int) -> None:
    empty = Bucket(rate, 0, 1_000)
    assert empty.has(count) == 1_000 + ms
    assert empty.level_at(1_000 + ms) >= count * 60_000 > empty.level_at(1_000 + ms - 1)
    assert empty.level_at(10**12) == empty.full


# -- pauses


def test_retry_after_pauses_the_pool_and_the_end_of_the_pause_lets_the_next_in() -> None:
    held = given(pool(), granted("ada"), granted("bob", 9), queued("eve"))
    then = held.when(ReleaseCapacity("ada", 7, "r-ada", None, 3_000), 4_000).then(
        CapacityReleased("ada", 7, "r-ada", 4_000, None), PoolPaused("ada", "r-ada", 7_000)
    )
    assert decider.deadline_ms(then.state) == 6_000
    then = then.when(ReleaseCapacity("bob", 7, "r-bob", None, 1_000), 4_500).then(
        CapacityReleased("bob", 7, "r-bob", 4_500, None), PoolPaused("bob", "r-bob", 7_000)
    )
    assert decider.deadline_ms(then.state) == 7_000
    then.when(asks("kim"), 5_000, request="r-kim").then(queued("kim", place=2, since_ms=5_000, reason="turn"))
    then.when(Tick(), 6_999).then_nothing()
    then.when(Tick(), 7_000).then(PoolResumed(7_000), granted("eve", now_ms=7_000, token=100, waited_ms=5_000))


def test_a_pause_of_a_pool_that_nobody_configured_is_remembered_until_it_ends() -> None:
    then = given(granted("ada")).when(ReleaseCapacity("ada", 7, "r-ada", None, 3_000), 2_000)
    then = then.then(CapacityReleased("ada", 7, "r-ada", 2_000, None), PoolPaused("ada", "r-ada", 5_000))
    then.when(asks("bob"), 3_000, request="r-bob").then(queued("bob", since_ms=3_000, reason="paused"))
    assert then.when(Tick(), 5_000).then(PoolResumed(5_000)).state is None
    then.when(asks("bob"), 6_000).then(PoolResumed(5_000), new(granted("bob", now_ms=6_000), token=100))


# -- renewing, releasing, withdrawing, time


def test_a_grant_is_renewed_by_token_and_request() -> None:
    held = given(pool(), granted("ada"), granted("bob"))
    then = held.when(RenewLease("bob", 7, "r-bob", 9_000), 2_000).then(LeaseRenewed("bob", 7, "r-bob", 9_000, 11_000))
    assert [holder.deadline_ms for holder in then.state.holders] == [6_000, 11_000]
    for token, request in ((7, "r-eve"), (8, "r-bob")):
        same = held.when(RenewLease("bob", token, request, 9_000), 2_000).then(RenewalRefused("bob", token, request))
        assert same.state == held.state


def test_a_release_of_what_is_not_held_is_refused() -> None:
    held = given(pool(), granted("ada"))
    for token, request in ((7, "r-eve"), (8, "r-ada")):
        refused = ReleaseRefused("ada", token, request)
        assert held.when(ReleaseCapacity("ada", token, request, 5, 5_000), 2_000).then(refused).state == held.state
    given(granted("ada")).when(ReleaseCapacity("ada", 7, "r-ada", None, None), 6_000).then(
        LeaseExpired("ada", 7, "r-ada", 6_000), ReleaseRefused("ada", 7, "r-ada")
    )


def test_capacity_of_who_vanished_comes_back_with_its_lease() -> None:
    then = given(granted("ada"), queued("bob")).when(Tick(), 7_000).then(
        LeaseExpired("ada", 7, "r-ada", 6_000), granted("bob", now_ms=7_000, token=100, waited_ms=5_000)
    )  # fmt: skip
    assert then.state.usage.amount_ms == 5_000, "up to its deadline"


def test_a_request_is_withdrawn_whatever_became_of_it() -> None:
    held = given(granted("ada"), queued("bob"), queued("eve"))
    then = held.when(WithdrawRequest("bob", "r-bob"), 3_000).then(RequestWithdrawn("r-bob", "bob"))
    assert order(then.state) == ["eve"]
    held.when(WithdrawRequest("ada", "r-ada"), 3_000).then(
        CapacityReleased("ada", 7, "r-ada", 3_000, 0),
        granted("bob", now_ms=3_000, token=100, waited_ms=1_000, reason="arrival"),
    )
    held.when(WithdrawRequest("kim", "r-kim"), 3_000).then_nothing()


def test_due_deadlines_are_handled_in_their_order_before_the_command() -> None:
    history = [
        pool(), granted("ada", 10), PoolPaused("x", "r-x", 5_500), queued("bob", deadline_ms=4_000),
        queued("eve", deadline_ms=6_000), queued("kim"),
    ]  # fmt: skip
    told = {"in_use": 10, "holder": "ada", "waiting": 3}
    given(*history).when(asks("leo", 10), 7_000, request="r-leo").then(
        denied("bob", "timeout", request="r-bob", place=1, **told),
        PoolResumed(5_500),
        LeaseExpired("ada", 7, "r-ada", 6_000),
        denied("eve", "timeout", request="r-eve", place=2, **told),
        granted("kim", now_ms=7_000, token=100, waited_ms=5_000),
        queued("leo", 10, since_ms=7_000),
    )


def test_what_time_brought_goes_before_a_command_that_came_later() -> None:
    """The bucket had one for eve before kim came, whatever kim's priority."""
    history = [pool(requests_per_minute=1), granted("ada", lease_ms=90_000), queued("eve")]
    events = given(*history).when(asks("kim", priority=10), 61_000, request="r-kim")._events
    assert [type(event) for event in events] == [CapacityGranted, CapacityQueued]


# -- new terms


def test_new_terms_deny_who_can_never_be_granted_and_let_in_who_can() -> None:
    history = [pool(), granted("ada", 6), queued("big", 7), queued("bob", 4, tokens=900), queued("eve", 4)]
    change = ConfigurePool("ops", 6, None, 800, (), (), ())
    then = given(*history).when(change, 3_000)
    told = {"in_use": 6, "holder": "ada", "waiting": 3, "capacity": 6}
    then = then.then(
        PoolConfigured("ops", 6, None, 800, (), (), (), 3_000),
        denied("big", "amount", 7, request="r-big", place=1, **told),
        denied("bob", "tokens", 4, request="r-bob", place=2, **told),
    )
    assert order(then.state) == ["eve"]
    wider = ConfigurePool("ops", 20, None, None, (), (), ())
    events = given(*history).when(wider, 3_000)._events
    assert [type(event) for event in events] == [PoolConfigured] + 2 * [CapacityGranted]
    closed = ConfigurePool("ops", 20, None, None, ("staff",), (), ())
    events = given(*history).when(closed, 3_000)._events
    assert [event.reason for event in events[1:] if isinstance(event, CapacityDenied)] == ["role"] * 3


def test_a_smaller_capacity_takes_nothing_away_and_lets_nobody_in() -> None:
    smaller = PoolConfigured("ops", 2, None, None, (), (), (), 2_000)
    held = given(pool(), granted("ada", 3), granted("bob", 3), smaller)
    then = held.when(asks("eve"), 2_000, request="r-eve").then(queued("eve"))
    then = then.when(ReleaseCapacity("ada", 7, "r-ada", None, None), 3_000)
    assert len(then._events) == 1


def test_a_bucket_keeps_its_part_when_the_rate_changes() -> None:
    half = [pool(requests_per_minute=2), granted("ada")]
    for rate, level in ((4, 2), (1, 0)):
        state = given(*half, PoolConfigured("ops", 10, rate, None, (), (), (), 1_000)).state
        assert state.requests.level_at(1_000) // 60_000 == level
    assert given(*half, PoolConfigured("ops", 10, None, None, (), (), (), 1_000)).state.requests is None


# -- ReportStaleWrite


def test_a_stale_write_is_recorded_and_changes_nothing() -> None:
    report = ReportStaleWrite("bob", "rooms/12", token=6, highest_token=7)
    then = given(granted("ada")).when(report, 2_000).then(StaleWriteRefused("bob", "rooms/12", 6, 7))
    assert then.state == given(granted("ada")).state
    assert given().when(report, 2_000).then(StaleWriteRefused("bob", "rooms/12", 6, 7)).state is None


def test_a_stale_write_reported_after_the_lease_ended_ends_it() -> None:
    held = given(granted("ada"), queued("bob"))
    then = held.when(ReportStaleWrite("ada", "rooms/12", 7, 8), 6_000)
    kinds = [type(event) for event in then._events]
    assert kinds == [LeaseExpired, CapacityGranted, StaleWriteRefused]


# -- usage


def test_usage_is_counted() -> None:
    history = [
        pool(), granted("ada", 4, tokens=5), granted("bob", 2, now_ms=2_000, waited_ms=700), denied("eve", "capacity"),
        CapacityReleased("ada", 7, "r-ada", 3_000, 9), LeaseExpired("bob", 7, "r-bob", 7_000),
    ]  # fmt: skip
    state = given(*history).state
    expected = Usage(
        since_ms=0, granted=2, granted_amount=6, denied=1, denied_amount=1, waited_ms=700, ended=2,
        held_ms=2_000 + 5_000, amount_ms=4 * 2_000 + 2 * 5_000, tokens=9,
    )  # fmt: skip
    assert state.usage == expected
    assert [(share.name, share.grants, share.amount) for share in state.shares] == [("ada", 1, 4), ("bob", 1, 2)]


def test_a_refused_amount_counts_for_no_more_than_a_pool_can_have() -> None:
    refused = [denied("eve", "amount", 1 << 62), denied("eve", "amount", -5), denied("eve", "amount", 1 << 62)]
    assert given(pool(), *refused).state.usage.denied_amount == 2 * CAPACITY_MAX


# -- bounds


def _crowded(**ends: Any) -> Given:
    """As many as can hold and wait, with names as long as can be."""
    name, huge = "n" * TEXT_BYTES_MAX, 1 << 50
    names = [name[:-4] + f"{n:04}" for n in range(max(WAITERS_MAX, ROLES_MAX))]
    rules = PoolConfigured(
        name, CAPACITY_MAX, RATE_MAX, RATE_MAX, tuple(names[:ROLES_MAX]), tuple(names[:WEIGHTS_MAX]),
        (WEIGHT_MAX,) * WEIGHTS_MAX, huge - 1,
    )  # fmt: skip
    events: list[Event] = [rules]
    for number in range(HOLDERS_MAX):
        event = granted(name, token=huge, lease_ms=LEASE_MS_MAX, now_ms=huge, owner=name, role=name, tokens=TOKENS_MAX)
        events.append(msgspec.structs.replace(event, request=names[number], agent=names[number]))
    for number in range(WAITERS_MAX):
        terms = {
            "owner": name,
            "role": names[0],
            "tokens": RATE_MAX // HOLDERS_MAX,
            "lease_ms": LEASE_MS_MAX,
            "since_ms": huge,
        }
        event = queued(name, **(terms | ends))
        events.append(msgspec.structs.replace(event, request=names[number], agent=names[number]))
    return given(*events)


@pytest.mark.parametrize("deadline_ms", [None, 1 << 50])
def test_all_that_can_happen_at_once_fits_a_decision(deadline_ms: int | None) -> None:
    """Or the pool could never be decided again: every later command would bring the same events."""
    name = "n" * TEXT_BYTES_MAX
    crowded = _crowded(deadline_ms=deadline_ms)
    now_ms = (1 << 50) + 2 * LEASE_MS_MAX
    closed = ConfigurePool(name, CAPACITY_MAX, RATE_MAX, RATE_MAX, (name,), (), ())
    request = asks(name, owner=name, role=name, lease_ms=LEASE_MS_MAX, tokens=TOKENS_MAX)
    for command in (Tick(), request, closed):
        events = crowded.when(command, now_ms, seq=1 << 50)._events
        assert len(events) >= 2 * HOLDERS_MAX
        assert len(events_codec("limits").encode(events)) <= DECISION_BYTES_MAX
    assert len(msgspec.msgpack.encode(crowded.state)) <= DECISION_BYTES_MAX


LONG = "n" * (TEXT_BYTES_MAX + 1)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (asks("a", lease_ms=LEASE_MS_MIN - 1), "lease_ms=999"),
        (asks("a", lease_ms=LEASE_MS_MAX + 1), "lease_ms="),
        (asks("a", wait_ms=-1), "wait_ms=-1"),
        (asks("a", wait_ms=WAIT_MS_MAX + 1), "wait_ms="),
        (asks("a", priority=PRIORITY_MAX + 1), "priority=11"),
        (asks("a", priority=-PRIORITY_MAX - 1), "priority=-11"),
        (asks("a", tokens=-1), "tokens=-1"),
        (asks("a", tokens=TOKENS_MAX + 1), "tokens="),
        (asks("a", mode="both"), "mode='both'"),
        (asks(LONG), "agent has more than 255 bytes"),
        (asks("a", owner=LONG), "owner has more than 255 bytes"),
        (asks("a", role=LONG), "role has more than 255 bytes"),
        (RenewLease("a", 7, "r-ada", 0), "lease_ms=0"),
        (RenewLease("a", 7, LONG, 5_000), "request has more than 255 bytes"),
        (ReleaseCapacity("a", 7, "r-ada", -1, None), "used_tokens=-1"),
        (ReleaseCapacity("a", 7, "r-ada", TOKENS_MAX + 1, None), "used_tokens="),
        (ReleaseCapacity("a", 7, "r-ada", None, -1), "retry_after_ms=-1"),
        (ReleaseCapacity("a", 7, "r-ada", None, RETRY_AFTER_MS_MAX + 1), "retry_after_ms="),
        (ReportStaleWrite("a", LONG, 1, 2), "resource has more than 255 bytes"),
        (WithdrawRequest("a", LONG), "request has more than 255 bytes"),
        (ConfigurePool("a", 0, None, None, (), (), ()), "capacity=0"),
        (ConfigurePool("a", CAPACITY_MAX + 1, None, None, (), (), ()), "capacity="),
        (ConfigurePool("a", 1, 0, None, (), (), ()), "requests_per_minute=0"),
        (ConfigurePool("a", 1, None, RATE_MAX + 1, (), (), ()), "tokens_per_minute="),
        (ConfigurePool("a", 1, None, None, ("",), (), ()), "'': a role"),
        (ConfigurePool("a", 1, None, None, (LONG,), (), ()), "has 1 to 255 bytes"),
        (ConfigurePool("a", 1, None, None, ("x", "x"), (), ()), "twice"),
        (ConfigurePool("a", 1, None, None, (), ("x", "x"), (1, 1)), "twice"),
        (ConfigurePool("a", 1, None, None, (), ("x",), ()), "weights=()"),
        (ConfigurePool("a", 1, None, None, (), ("x",), (0,)), "weights=(0,)"),
        (ConfigurePool("a", 1, None, None, (), ("x",), (WEIGHT_MAX + 1,)), "weights=(101,)"),
        (ConfigurePool("a", 1, None, None, tuple(map(str, range(ROLES_MAX + 1))), (), ()), "51 roles"),
        (ConfigurePool("a", 1, None, None, (), tuple(map(str, range(WEIGHTS_MAX + 1))), ()), "51 weights"),
    ],
)
def test_a_command_that_cannot_be_right_is_rejected_and_changes_nothing(command: Command, problem: str) -> None:
    (event,) = given(granted("ada"), queued("bob")).when(command, 9_000)._events
    assert isinstance(event, CommandRejected)
    assert event.reason == "invalid"
    assert problem in event.description


@pytest.mark.parametrize("command", [EmitSignal("a", "{}", ()), SwitchRules(2, "")])
def test_a_command_of_another_domain_is_a_bug(command: Command) -> None:
    with pytest.raises(TypeError, match="no command"):
        given().when(command, 1_000)


def test_an_event_of_another_domain_is_a_bug() -> None:
    with pytest.raises(TypeError, match="no event CommandRejected"):
        given(CommandRejected("invalid", ""))


def test_every_event_of_the_domain_evolves() -> None:
    """`evolve` knows every event that the schema has; a new one without a rule fails here."""
    start = given(pool(), msgspec.structs.replace(granted("x"), request="x", token=1)).state
    for event_type in limits.EVENTS:
        hints = get_type_hints(event_type)
        fields = {name: "x" if "str" in str(kind) else 1 for name, kind in hints.items()}
        fields |= {name: () for name, kind in hints.items() if "tuple" in str(kind)}
        state = decider.evolve(start, event_type(**fields))
        assert isinstance(state, Pool)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=decider.state_type) == state


def test_the_domain_is_among_the_domains() -> None:
    assert DOMAINS["limits"].newest == 1
