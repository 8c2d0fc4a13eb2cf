"""Pools under any sequence of commands: never over capacity, never over a rate, shares are fair, nobody starves; what a
transaction pins goes to nobody new.

The model below is written from the rules, not from the code: who holds, who waits, and when what was granted. It
decides nothing; it checks what the events claim.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import msgspec
from accord.schemas.messages import Event
from accord.schemas.messages.limits import (
    CapacityDenied,
    CapacityGranted,
    CapacityQueued,
    CapacityReleased,
    ConfigurePool,
    LeaseExpired,
    LeasePinned,
    LeaseRenewed,
    LeaseUnpinned,
    PinLease,
    PoolConfigured,
    PoolPaused,
    PoolResumed,
    ReleaseCapacity,
    RenewLease,
    RequestCapacity,
    RequestWithdrawn,
    UnpinLease,
    WithdrawRequest,
)
from accord.schemas.messages.log import Tick
from accord.streams.decider import At
from accord.streams.limits.decider import LimitDecider
from accord.streams.limits.pool import PASSES_MAX, Pool
from accord.streams.locks.bounds import PRIORITY_MAX
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.counts import examples

AGENTS = st.sampled_from(["ada", "bob", "eve", "kim"])
ROLES = st.sampled_from(["", "writer", "reader"])
AMOUNTS = st.sampled_from([1, 1, 1, 2, 3, 5, 0, -1, 99])
MODES = st.sampled_from(["shared", "shared", "shared", "exclusive"])
LEASES = st.sampled_from([1_000, 1_500, 60_000])
WAITS = st.sampled_from([None, None, 0, 1, 500, 2_000])
PRIORITIES = st.sampled_from([0, 0, 0, 1, 3, -1, PRIORITY_MAX, -PRIORITY_MAX])
TOKENS = st.sampled_from([0, 1, 10, 100, 500])
STEPS = st.sampled_from([0, 0, 1, 499, 500, 1_000, 3_000, 20_000])
RATES = st.sampled_from([None, None, 1, 6, 60, 600])


@dataclass
class Held:
    token: int
    owner: str
    amount: int
    exclusive: bool
    deadline_ms: int
    tokens: int


@dataclass
class Waiting:
    request: str
    owner: str
    amount: int
    exclusive: bool
    deadline_ms: int | None
    priority: int
    """As asked for, and one more for each of a higher one who overtook it."""
    number: int
    """In the order of arrival."""


@dataclass
class Bucket:
    """Filled continuously, in fractions."""

    rate: int
    level: Fraction
    at_ms: int

    def take(self, count: int, now_ms: int, *, may_overdraw: bool = False) -> None:
        level = min(Fraction(self.rate), self.level + Fraction(self.rate * (now_ms - self.at_ms), 60_000))
        assert may_overdraw or level >= count, "faster than the rate"
        self.level, self.at_ms = max(Fraction(-self.rate), min(Fraction(self.rate), level - count)), now_ms


@dataclass
class Model:
    """What a person would note down beside the pool."""

    capacity: int = 1
    configured: bool = False
    roles: tuple[str, ...] = ()
    holders: dict[str, Held] = field(default_factory=dict)
    """By request."""
    queue: list[Waiting] = field(default_factory=list)
    """In the order of arrival."""
    requests: Bucket | None = None
    tokens: Bucket | None = None
    paused_until_ms: int | None = None
    arrivals: int = 0
    pins: dict[str, str] = field(default_factory=dict)
    """The request that a transaction pins."""
    kept: dict[str, Held] = field(default_factory=dict)
    """Who has gone and is pinned, by request."""

    def note(self, event: Event, now_ms: int) -> None:
        match event:
            case CapacityGranted():
                self.grant(event, now_ms)
            case CapacityQueued(request=request, deadline_ms=deadline_ms, priority=priority):
                assert deadline_ms is None or deadline_ms > now_ms
                self.arrivals += 1
                self.queue.append(
                    Waiting(
                        request, event.owner, event.amount, event.mode == "exclusive", deadline_ms, priority,
                        self.arrivals,
                    )
                )  # fmt: skip
            case CapacityReleased(token=token, request=request, used_tokens=used):
                held = self.holders.pop(request)
                assert held.token == token
                assert held.deadline_ms > now_ms, "released after its lease ended"
                if used is not None and self.tokens is not None:
                    self.tokens.take(used - held.tokens, now_ms, may_overdraw=True)
                self.keep(request, held)
            case LeaseExpired(token=token, request=request, deadline_ms=deadline_ms):
                held = self.holders.pop(request)
                assert (held.token, held.deadline_ms) == (token, deadline_ms)
                assert deadline_ms <= now_ms, "expired too early"
                self.keep(request, held)
            case LeaseRenewed(token=token, request=request, deadline_ms=deadline_ms):
                assert self.holders[request].token == token
                assert self.holders[request].deadline_ms > now_ms, "renewed after its end"
                self.holders[request].deadline_ms = deadline_ms
            case CapacityDenied(request=request, reason=reason):
                deadlines = [w.deadline_ms for w in self.queue if w.request == request and w.deadline_ms is not None]
                assert reason != "timeout" or min(deadlines) <= now_ms, "gave up too early"
                self.forget(request)
            case RequestWithdrawn(request=request):
                assert request in [waiting.request for waiting in self.queue]
                self.forget(request)
            case PoolConfigured():
                self.configure(event, now_ms)
            case PoolPaused(until_ms=until_ms):
                assert until_ms >= (self.paused_until_ms or now_ms)
                self.paused_until_ms = until_ms
            case PoolResumed(until_ms=until_ms):
                assert until_ms == self.paused_until_ms
                assert until_ms <= now_ms, "resumed too early"
                self.paused_until_ms = None
            case _:
                self.pin(event, now_ms)

    def pin(self, event: Event, now_ms: int) -> None:
        if isinstance(event, LeasePinned):
            assert self.holders[event.request].token == event.token
            assert event.due_ms > now_ms and event.transaction not in self.pins
            self.pins[event.transaction] = event.request
        elif isinstance(event, LeaseUnpinned):
            request = self.pins.pop(event.transaction)
            if request not in self.pins.values():
                self.kept.pop(request, None)

    def keep(self, request: str, held: Held) -> None:
        """What is left of who has gone."""
        if request in self.pins.values():
            self.kept[request] = held

    def grant(self, event: CapacityGranted, now_ms: int) -> None:
        assert event.deadline_ms == now_ms + event.lease_ms
        assert self.paused_until_ms is None, "granted in a pause"
        assert not self.roles or event.role in self.roles
        exclusive = event.mode == "exclusive"
        assert 0 < event.amount <= self.capacity
        taken = [*self.holders.values(), *self.kept.values()]
        assert not taken or not (exclusive or any(held.exclusive for held in taken)), "not alone"
        assert sum(held.amount for held in taken) + event.amount <= self.capacity, "over capacity"
        if self.requests is not None:
            self.requests.take(1, now_ms)
        if self.tokens is not None:
            self.tokens.take(event.tokens, now_ms)
        mine = next((waiting for waiting in self.queue if waiting.request == event.request), None)
        number = mine.number if mine else self.arrivals + 1
        for other in self.queue:
            if other is mine:
                continue
            assert other.priority <= event.priority, "a higher priority waits"
            if not self.configured and other.priority == event.priority:
                assert other.number > number, "not first come, first served"
            if other.number < number:
                other.priority += other.priority < event.priority
                assert other.priority <= PRIORITY_MAX
        if mine is not None:
            assert event.priority == mine.priority
            self.queue.remove(mine)
        held = Held(event.token, event.owner, event.amount, exclusive, event.deadline_ms, event.tokens)
        self.holders[event.request] = held

    def configure(self, event: PoolConfigured, now_ms: int) -> None:
        self.capacity, self.roles, self.configured = event.capacity, event.roles, True
        for name in ("requests", "tokens"):
            rate, before = getattr(event, f"{name}_per_minute"), getattr(self, name)
            after = None if rate is None else Bucket(rate, Fraction(rate), now_ms)
            if after is not None and before is not None:
                before.take(0, now_ms, may_overdraw=True)
                after.level = before.level * rate / before.rate
            setattr(self, name, after)

    def forget(self, request: str) -> None:
        self.queue = [waiting for waiting in self.queue if waiting.request != request]

    def check_rest(self, now_ms: int) -> None:
        """Nothing due is left."""
        assert all(held.deadline_ms > now_ms for held in self.holders.values()), "a lease that is over"
        assert all(w.deadline_ms is None or w.deadline_ms > now_ms for w in self.queue), "a wait that is over"
        assert self.paused_until_ms is None or self.paused_until_ms > now_ms, "a pause that is over"
        assert all(0 < waiting.amount <= self.capacity for waiting in self.queue), "can never be granted"


class PoolMachine(RuleBasedStateMachine):
    """One pool; commands at any time, right and wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.decider = LimitDecider()
        self.state: Pool | None = None
        self.snapshot: tuple[int, bytes | None] = (0, None)
        self.events: list[Event] = []
        self.model = Model()
        self.now_ms = 1_000_000
        self.seq = 1
        self.requests: list[str] = []
        self.grants: list[CapacityGranted] = []

    def decide(self, command: Any, step_ms: int) -> None:
        self.now_ms += step_ms
        self.seq += 1
        request = f"r-{self.seq}"
        self.requests.append(request)
        for event in self.decider.decide(self.state, command, At(self.now_ms, self.seq, request)):
            self.model.note(event, self.now_ms)
            self.state = self.decider.evolve(self.state, event)
            self.events.append(event)
            if isinstance(event, CapacityGranted):
                assert event.token == self.seq
                self.grants.append(event)
        self.model.check_rest(self.now_ms)
        if self.state is not None:
            following = self.decider.deadline_ms(self.state)
            assert following is None or following > self.now_ms, "something that is due was left"
            assert following is not None or not self.state.waiters, "somebody waits for ever"

    @rule(
        agent=AGENTS, task=st.integers(0, 2), role=ROLES, amount=AMOUNTS, mode=MODES, priority=PRIORITIES,
        tokens=TOKENS, lease_ms=LEASES, wait_ms=WAITS, must_exist=st.booleans(), step_ms=STEPS,
    )  # fmt: skip
    def ask(self, agent: str, task: int, step_ms: int, **terms: Any) -> None:
        self.decide(RequestCapacity(agent, owner=f"{agent}/{task}", **terms), step_ms)

    @rule(
        capacity=st.integers(1, 6), requests=RATES, tokens=RATES, roles=st.sampled_from([(), (), ("writer",)]),
        weighted=st.sampled_from([(), ("ada",), ("ada", "writer")]), step_ms=STEPS,
    )  # fmt: skip
    def configure(
        self, capacity: int, requests: int | None, tokens: int | None, roles: tuple[str, ...],
        weighted: tuple[str, ...], step_ms: int,
    ) -> None:  # fmt: skip
        weights = (5, 2)[: len(weighted)]
        self.decide(ConfigurePool("ops", capacity, requests, tokens, roles, weighted, weights), step_ms)

    @rule(back=st.integers(0, 4), lease_ms=LEASES, step_ms=STEPS)
    def renew(self, back: int, lease_ms: int, step_ms: int) -> None:
        self.decide(RenewLease("ada", *self.grant(back), lease_ms), step_ms)

    @rule(
        back=st.integers(0, 4), used=st.sampled_from([None, None, 0, 5, 2_000]),
        retry_after_ms=st.sampled_from([None, None, None, 0, 400, 30_000]), step_ms=STEPS,
    )  # fmt: skip
    def release(self, back: int, used: int | None, retry_after_ms: int | None, step_ms: int) -> None:
        self.decide(ReleaseCapacity("ada", *self.grant(back), used, retry_after_ms), step_ms)

    @rule(back=st.integers(0, 4), number=st.integers(0, 2), due=st.sampled_from([0, 500, 5_000]), step_ms=STEPS)
    def pin(self, back: int, number: int, due: int, step_ms: int) -> None:
        self.decide(PinLease("ada", f"t{number}", *self.grant(back), self.now_ms + step_ms + due), step_ms)

    @rule(number=st.integers(0, 2), outcome=st.sampled_from(["committed", "aborted"]), step_ms=STEPS)
    def unpin(self, number: int, outcome: str, step_ms: int) -> None:
        self.decide(UnpinLease(f"t{number}", outcome), step_ms)

    @precondition(lambda self: self.requests)
    @rule(back=st.integers(0, 8), step_ms=STEPS)
    def withdraw(self, back: int, step_ms: int) -> None:
        self.decide(WithdrawRequest("ada", self.requests[-1 - back % len(self.requests)]), step_ms)

    @rule(step_ms=STEPS)
    def tick(self, step_ms: int) -> None:
        self.decide(Tick(), step_ms)

    @precondition(lambda self: self.state is not None)
    @rule()
    def tick_when_it_is_due(self) -> None:
        """As the worker does: whoever can be granted by then is, and not a millisecond earlier."""
        assert self.state is not None
        following = self.decider.deadline_ms(self.state)
        if following is not None:
            early = self.decider.decide(self.state, Tick(), At(following - 1, self.seq + 1, "early"))
            assert not early
            self.decide(Tick(), following - self.now_ms)

    @rule()
    def take_snapshot(self) -> None:
        self.snapshot = (len(self.events), None if self.state is None else msgspec.msgpack.encode(self.state))

    def grant(self, back: int) -> tuple[int, str]:
        """Token and request of one of the last grants; sometimes of none that ever was."""
        if not back or not self.grants:
            return 999_999, "r-none"
        grant = self.grants[-min(back, len(self.grants))]
        return grant.token, grant.request

    @invariant()
    def state_agrees_with_the_model(self) -> None:
        model, state = self.model, self.state
        if state is None:
            assert not model.holders
            assert not model.queue
            assert not model.configured
            assert not model.pins
            return
        assert [(h.request, h.token, h.deadline_ms) for h in state.holders] == [
            (request, held.token, held.deadline_ms) for request, held in model.holders.items()
        ]
        assert [(w.request, w.priority) for w in state.waiters] == [(w.request, w.priority) for w in model.queue]
        assert state.paused_until_ms == model.paused_until_ms
        assert {pin.transaction: pin.request for pin in state.pins} == model.pins
        assert [(one.request, one.amount) for one in state.kept] == [(r, held.amount) for r, held in model.kept.items()]

    @invariant()
    def every_way_of_folding_gives_the_same(self) -> None:
        from_scratch: Pool | None = None
        for event in self.events:
            from_scratch = self.decider.evolve(from_scratch, event)
        assert from_scratch == self.state
        count, row = self.snapshot
        resumed = None if row is None else msgspec.msgpack.decode(row, type=self.decider.state_type)
        for event in self.events[count:]:
            resumed = self.decider.evolve(resumed, event)
        assert resumed == self.state

    def teardown(self) -> None:
        """Everybody gives up in the end: once outcomes are known, with time alone all waiters are served or denied, and
        the pool is idle."""
        for transaction in list(self.model.pins):
            self.decide(UnpinLease(transaction, "aborted"), 0)
        for _ in range(300):
            following = None if self.state is None else self.decider.deadline_ms(self.state)
            if following is None:
                break
            self.decide(Tick(), following - self.now_ms)
        assert not self.model.holders
        assert not self.model.queue
        assert (self.state is not None) == self.model.configured


PoolMachine.TestCase.settings = examples(40, stateful_step_count=40)
TestPool = PoolMachine.TestCase


@given(
    weights=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    sizes=st.lists(st.integers(1, 4), min_size=5, max_size=5),
    capacity=st.integers(4, 8),
)
@examples(20)
def test_who_always_waits_gets_by_weight(weights: list[int], sizes: list[int], capacity: int) -> None:
    """Of shares that always wait, none is ahead of another by more than a request of each: start-time fair queueing."""
    decider = LimitDecider()
    names = [f"a{number}" for number in range(len(weights))]
    amounts = dict(zip(names, sizes, strict=False))
    state: Pool | None = None
    seq = 0
    held: list[CapacityGranted] = []
    had = dict.fromkeys(names, 0)

    def decide(command: Any) -> None:
        nonlocal state, seq
        seq += 1
        for event in decider.decide(state, command, At(1_000, seq, f"r-{seq}")):
            state = decider.evolve(state, event)
            if isinstance(event, CapacityGranted):
                held.append(event)

    def ask(name: str) -> None:
        decide(RequestCapacity(name, f"{name}/{seq}", "", amounts[name], "shared", 0, 0, 60_000, None, True))

    decide(ConfigurePool("ops", capacity, None, None, (), tuple(names), tuple(weights)))
    decide(RequestCapacity("first", "first", "", capacity, "shared", 0, 0, 60_000, None, True))
    for name in names * (2 * capacity):  # more than a share can hold, so that it always waits
        ask(name)
    for _ in range(150):
        done = held.pop(0)
        decide(ReleaseCapacity(done.agent, done.token, done.request, None, None))
        if done.agent in had:
            had[done.agent] += done.amount
            ask(done.agent)
    in_use = dict.fromkeys(names, 0)
    for grant in held:
        in_use[grant.agent] += grant.amount
    by_weight = {name: Fraction(had[name] + in_use[name], weight) for name, weight in zip(names, weights, strict=True)}
    for one, weight in zip(names, weights, strict=True):
        for other, others in zip(names, weights, strict=True):
            apart = by_weight[one] - by_weight[other]
            assert apart <= Fraction(amounts[one], weight) + Fraction(amounts[other], others) + Fraction(1, 1_000)


@given(
    adversary=st.lists(
        st.tuples(
            st.sampled_from(["", "heavy"]), st.booleans(), st.integers(-PRIORITY_MAX, PRIORITY_MAX), st.integers(1, 3)
        ),
        min_size=1,
        max_size=6,
    ),
    priority=st.integers(-PRIORITY_MAX, PRIORITY_MAX),
    amount=st.integers(1, 3),
    leads=st.integers(0, 4),
    own=st.integers(0, 1),
)
@examples(20)
def test_whatever_others_ask_for_a_request_is_served_within_the_stated_number(
    adversary: list[tuple[str, bool, int, int]], priority: int, amount: int, leads: int, own: int
) -> None:
    """Others ask without end, in turn for what was drawn: role, whether as a newcomer, priority, amount."""
    decider = LimitDecider()
    state: Pool | None = None
    seq = later = 0
    held: list[CapacityGranted] = []

    def decide(command: Any) -> list[CapacityGranted]:
        nonlocal state, seq
        seq += 1
        granted = []
        for event in decider.decide(state, command, At(1_000, seq, f"r-{seq}")):
            state = decider.evolve(state, event)
            if isinstance(event, CapacityGranted):
                granted.append(event)
        held.extend(granted)
        return granted

    def ask(agent: str, amount: int, priority: int, role: str = "") -> list[CapacityGranted]:
        return decide(RequestCapacity(agent, f"{agent}/{seq}", role, amount, "shared", priority, 0, 60_000, None, True))

    decide(ConfigurePool("ops", 3, None, None, (), ("heavy",), (100,)))
    for _ in range(leads):
        ask("victim", 3, 0)
        decide(ReleaseCapacity("victim", held[0].token, held.pop(0).request, None, None))
    ask("first", 3, 0)
    for _ in range(own):
        ask("victim", 1, priority)
    ask("victim", amount, priority)
    mine, first_later = f"r-{seq}", seq + 1
    bound = PRIORITY_MAX - priority + (own + 1) * PASSES_MAX
    for step in range(2 * bound):
        role, fresh, wanted, size = adversary[step % len(adversary)]
        granted = ask(f"new-{step}" if fresh else "old", size, wanted, role)
        done = held.pop(0)
        granted += decide(ReleaseCapacity(done.agent, done.token, done.request, None, None))
        for grant in granted:
            if grant.request == mine:
                return
            later += int(grant.request[2:]) >= first_later
            assert later <= bound, "starved"
    raise AssertionError("never served")
