"""Limits: one aggregate a pool of capacity, shared by leases: API calls at a time and a minute, GPUs, budgets.

Rules:
- Never more than the capacity is granted, and who is exclusive is alone.
- A grant takes one request and the expected tokens out of buckets that fill by the minute's rates, on the log's clock.
  Who releases may tell the tokens really used, and for how long the resource wants no call: nothing is granted then.
- The queue goes by priority, then the share that has had least by its weight, then by arrival. The first is served
  next; nobody goes past it because he would fit and it does not: who wants much is not starved.
- Who is overtaken by a higher priority rises by one. The first of a share counts how often later ones of its own
  priority pass it; after `PASSES_MAX` times it goes before those who were not passed so often. So a request waits for
  those before it, n of them of its own share, and for at most `PRIORITY_MAX - priority + (n + 1) * PASSES_MAX` who came
  later, whatever they ask for; and who fills the queue gets no more than his share by it.
- What time brought is done first (leases, waits and pauses end, who can be granted is), then the command, then who can
  be granted is.
- A request that can never be granted is denied, with the reason; also when new terms make it one.
- A pool that nobody has configured serves one at a time, first come, first served among equal priorities. When it is
  idle, and nothing of it is pinned, it is not remembered; a configured one is.
- A grant is named by token and request: those who are served by one decision have one token.
- What a transaction pins (`accord.streams.pins`) is granted to nobody new while its holder is gone: it is in use as
  before, but has ended in the figures about use.
- Types are compared with `is`: an isinstance() of a msgspec struct takes ten times as long.

    (nothing) --RequestCapacity--> held --ReleaseCapacity | deadline--> given back
                                    |  RenewLease: new deadline
    waiting --its turn, room, rate--> held  |  waiting --deadline | WithdrawRequest | BreakDeadlock--> gone
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from accord.schemas.messages import Command, Event, limits
from accord.schemas.messages.limits import (
    BreakDeadlock,
    CapacityDenied,
    CapacityGranted,
    CapacityQueued,
    CapacityReleased,
    ConfigurePool,
    DeadlockBroken,
    LeaseExpired,
    LeasePinned,
    LeaseRenewed,
    LeaseUnpinned,
    PinGone,
    PinLease,
    PinOutcomeWanted,
    PinRefused,
    PinRepeated,
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
    UnpinLease,
    WithdrawRequest,
)
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.streams.decider import At, Contention, Domain
from accord.streams.limits.bounds import CAPACITY_MAX, EXCLUSIVE, MODES, WAITERS_MAX, problem_of
from accord.streams.limits.pool import (
    HOLDERS_MAX,
    PASSES_MAX,
    UNCONFIGURED,
    WHOLE,
    Holder,
    Pool,
    Terms,
    Usage,
    Waiter,
    bucket,
)
from accord.streams.limits.waits import waits_of
from accord.streams.pins import Pins, asked, pinned, unpinned

_replace: Final = msgspec.structs.replace
_NONE: Final = Pool()


class LimitDecider:
    """Version 1."""

    state_type = Pool

    def decide(self, state: Pool | None, command: Command, at: At) -> Sequence[Event]:
        problem = problem_of(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        pool = state or _NONE
        events = _due(pool, at.now_ms)
        pool = self._fold(pool, events)
        if pool.waiters:
            granted = list(self._grants(pool, at))
            pool = self._fold(pool, granted)
            events += granted
        decided = _ANSWERS[type(command)](pool, command, at)
        if pool.waiters and decided:
            decided += self._grants(self._fold(pool, decided), at)
        return [*events, *decided]

    def _grants(self, pool: Pool, at: At) -> Iterator[Event]:
        """Lets in from the queue who is next, as long as there is room and the rates permit it."""
        while pool.waiters and pool.obstacle(first := pool.first(), at.now_ms) is None:
            granted = _grant(pool, first, at)
            yield granted
            pool = self._fold(pool, [granted])

    def _fold(self, pool: Pool, events: Sequence[Event]) -> Pool:
        for event in events:
            pool = self.evolve(pool, event) or _NONE
        return pool

    def evolve(self, state: Pool | None, event: Event) -> Pool | None:
        change = _CHANGES.get(type(event))
        if change is None:
            raise TypeError(f"the limits domain has no event {type(event).__name__}")
        pool: Pool = change(state or _NONE, event)
        idle = not pool.holders and not pool.waiters and not pool.pins and pool.paused_until_ms is None
        return None if idle and pool.terms is None else pool

    def deadline_ms(self, state: Pool) -> int | None:
        due = [holder.deadline_ms for holder in state.holders] + [pin.next_ask_ms for pin in state.pins]
        if state.paused_until_ms is not None:
            due.append(state.paused_until_ms)
        if state.waiters:
            due += [waiter.deadline_ms for waiter in state.waiters if waiter.deadline_ms is not None]
            if (state.requests is not None or state.tokens is not None) and state.fits(first := state.first()):
                due.append(state.opens_ms(first))
        return min(due, default=None)


# -- what commands bring


def _due(pool: Pool, now_ms: int) -> list[Event]:
    """What the deadlines up to now bring, in order of (deadline, arrival). None of them grants."""
    due: list[tuple[int, int, Event]] = []
    if pool.paused_until_ms is not None and pool.paused_until_ms <= now_ms:
        due.append((pool.paused_until_ms, -HOLDERS_MAX - 1, PoolResumed(pool.paused_until_ms)))
    for place, holder in enumerate(pool.holders, start=-len(pool.holders)):
        if holder.deadline_ms <= now_ms:
            expired = LeaseExpired(holder.agent, holder.token, holder.request, holder.deadline_ms)
            due.append((holder.deadline_ms, place, expired))
    for place, waiter in enumerate(pool.waiters, start=1):
        if waiter.deadline_ms is not None and waiter.deadline_ms <= now_ms:
            due.append((waiter.deadline_ms, place, _denied(pool, waiter, "timeout", now_ms, place)))
    due.sort(key=lambda item: item[:2])
    found = [event for _, _, event in due]
    return [*found, *PINS.asks_due(pool, now_ms)] if pool.pins else found


def _request(pool: Pool, command: RequestCapacity, at: At) -> list[Event]:
    c = command
    deadline_ms = None if c.wait_ms is None else at.now_ms + c.wait_ms
    waiter = Waiter(
        at.request, c.agent, c.owner, c.role, c.amount, c.mode == EXCLUSIVE, c.priority, c.tokens, c.lease_ms,
        at.now_ms, deadline_ms,
    )  # fmt: skip
    *turns, turn = pool.turns((*pool.waiters, waiter))
    before = [other for other, others in zip(pool.waiters, turns, strict=True) if others < turn]
    obstacle = "turn" if before else pool.obstacle(waiter, at.now_ms)
    if c.must_exist and pool.terms is None:
        reason: str | None = "unknown_pool"
    elif (reason := _objection(pool.terms or UNCONFIGURED, waiter)) is None:
        if obstacle is None:
            return [_grant(pool, waiter, at)]
        if _waits_for_itself(pool, before, waiter):
            reason = "would_self_deadlock"
        elif c.wait_ms == 0:
            reason = obstacle
        elif len(pool.waiters) >= WAITERS_MAX:
            reason = "queue_full"
    if reason is not None:
        return [_denied(pool, waiter, reason, at.now_ms)]
    assert obstacle is not None
    return [
        CapacityQueued(
            at.request, c.agent, c.owner, c.role, c.amount, c.mode, c.priority, c.tokens, c.lease_ms, at.now_ms,
            deadline_ms, len(before) + 1, obstacle,
        )
    ]  # fmt: skip


def _objection(terms: Terms, waiter: Waiter) -> str | None:
    """Why a request can never be granted on these terms."""
    if terms.roles and waiter.role not in terms.roles:
        return "role"
    if not 0 < waiter.amount <= terms.capacity:
        return "amount"
    if terms.tokens_per_minute is not None and waiter.tokens > terms.tokens_per_minute:
        return "tokens"
    return None


def _waits_for_itself(pool: Pool, before: Sequence[Waiter], waiter: Waiter) -> bool:
    """Whether a request can only be granted once its own owner has given something back."""
    mine = [holder for holder in pool.holders if holder.owner == waiter.owner]
    if not mine:
        return False
    wanted = max(pool.needs(one) for one in (*before, waiter))
    return sum(pool.needs(holder) for holder in mine) + wanted > pool.capacity or len(mine) >= HOLDERS_MAX


def _configure(pool: Pool, command: ConfigurePool, at: At) -> list[Event]:
    configured = PoolConfigured(**msgspec.structs.asdict(command), configured_ms=at.now_ms)
    return [configured, *_no_longer_possible(_configured(pool, configured), at.now_ms)]


def _no_longer_possible(pool: Pool, now_ms: int) -> Iterator[Event]:
    """Denies who waits and can never be granted on the pool's terms."""
    for place, waiter in enumerate(pool.waiters, start=1):
        reason = _objection(pool.terms or UNCONFIGURED, waiter)
        if reason is not None:
            yield _denied(pool, waiter, reason, now_ms, place)


def _renew(pool: Pool, command: RenewLease, at: At) -> list[Event]:
    c = command
    if _held(pool, c.token, c.request) is None:
        return [RenewalRefused(c.agent, c.token, c.request)]
    return [LeaseRenewed(c.agent, c.token, c.request, c.lease_ms, at.now_ms + c.lease_ms)]


def _release(pool: Pool, command: ReleaseCapacity, at: At) -> list[Event]:
    c, now_ms = command, at.now_ms
    if _held(pool, c.token, c.request) is None:
        return [ReleaseRefused(c.agent, c.token, c.request)]
    released: list[Event] = [CapacityReleased(c.agent, c.token, c.request, now_ms, c.used_tokens)]
    if c.retry_after_ms:
        until_ms = max(pool.paused_until_ms or 0, now_ms + c.retry_after_ms)
        released.append(PoolPaused(c.agent, c.request, until_ms))
    return released


def _withdraw(pool: Pool, command: WithdrawRequest, at: At) -> list[Event]:
    """Takes a request back, whatever became of it; one that is gone already needs nothing."""
    for holder in pool.holders:
        if holder.request == command.request:
            return [CapacityReleased(command.agent, holder.token, holder.request, at.now_ms, used_tokens=0)]
    if any(waiter.request == command.request for waiter in pool.waiters):
        return [RequestWithdrawn(command.request, command.agent)]
    return []


def _break(pool: Pool, command: BreakDeadlock, _: At) -> list[Event]:
    """Denies a deadlock's victim, if it still waits for who held of the pool then."""
    if any(holder.token == command.token for holder in pool.holders):
        for waiter in pool.waiters:
            if waiter.request == command.request:
                return [DeadlockBroken(waiter.request, waiter.agent, command.cycle)]
    return []


def _report(_: Pool, command: ReportStaleWrite, __: At) -> list[Event]:
    return [StaleWriteRefused(command.agent, command.resource, command.token, command.highest_token)]


def _not_held(_: Pool, c: PinLease) -> str:
    """Why a transaction cannot be guarded by a grant."""
    return f"token {c.token} is not current: nothing is held under it"


PINS: Final = Pins[Pool]("limits", "pool", limits, _not_held)
"""Transactions that are committed only under a part of the pool."""


def _tick(_: Pool, __: Tick, ___: At) -> list[Event]:
    return []


_ANSWERS: Final[Mapping[type[Command], Callable[[Pool, Any, At], list[Event]]]] = {
    RequestCapacity: _request,
    ReleaseCapacity: _release,
    RenewLease: _renew,
    WithdrawRequest: _withdraw,
    ConfigurePool: _configure,
    BreakDeadlock: _break,
    ReportStaleWrite: _report,
    PinLease: PINS.pin,
    UnpinLease: PINS.unpin,
    Tick: _tick,
}
"""What each command brings, to a pool of which nothing is due any more."""


def _grant(pool: Pool, waiter: Waiter, at: At) -> CapacityGranted:
    w = waiter
    return CapacityGranted(
        w.request, w.agent, w.owner, w.role, at.seq, w.amount, MODES[w.exclusive], w.priority, w.tokens, w.lease_ms,
        at.now_ms + w.lease_ms, at.now_ms - w.since_ms, _why(pool, waiter),
    )  # fmt: skip


def _why(pool: Pool, waiter: Waiter) -> str:
    """Why it is this one's turn, for the audit."""
    rivals = [other for other in pool.waiters if other.request != waiter.request]
    if not rivals:
        return "free"
    rivals = [other for other in rivals if other.priority == waiter.priority]
    if not rivals:
        return "priority"
    if waiter.passed >= PASSES_MAX:
        return "patience"
    terms, leads = pool.terms or UNCONFIGURED, pool.leads()
    mine = terms.share_of(waiter.agent, waiter.role)
    others = {terms.share_of(rival.agent, rival.role) for rival in rivals} - {mine}
    return "share" if others and leads.get(mine, 0) < min([leads.get(name, 0) for name in others]) else "arrival"


def _denied(pool: Pool, waiter: Waiter, reason: str, now_ms: int, place: int = 0) -> CapacityDenied:
    retry_after_ms = pool.opens_ms(waiter) - now_ms if reason in ("rate", "paused") else None
    return CapacityDenied(
        waiter.request,
        waiter.agent,
        waiter.role,
        reason,
        waiter.amount,
        capacity=0 if reason == "unknown_pool" else pool.capacity,
        in_use=pool.in_use,
        holder=next((holder.agent for holder in (*pool.holders, *pool.kept)), ""),
        place=place,
        waiting=len(pool.waiters) + (place == 0),
        retry_after_ms=retry_after_ms,
    )


# -- what events change


def _granted(pool: Pool, event: CapacityGranted) -> Pool:
    e = event
    now_ms = e.deadline_ms - e.lease_ms
    exclusive = e.mode == EXCLUSIVE
    holder = Holder(
        e.request, e.agent, e.owner, e.token, e.amount, exclusive, e.tokens, e.lease_ms, now_ms, e.deadline_ms
    )
    usage = _replace(
        pool.usage,
        granted=pool.usage.granted + 1,
        granted_amount=pool.usage.granted_amount + e.amount,
        waited_ms=pool.usage.waited_ms + e.waited_ms,
        tokens=pool.usage.tokens + e.tokens,
    )
    shares = pool.shares
    if pool.terms is not None:
        shares = pool.served(pool.terms.share_of(e.agent, e.role), e.amount, _cost(pool.terms, e))
    return _replace(
        pool,
        holders=(*pool.holders, holder),
        waiters=_overtaken(pool, e.request, e.priority),
        shares=shares,
        requests=pool.requests and pool.requests.without(1, now_ms),
        tokens=pool.tokens and pool.tokens.without(e.tokens, now_ms),
        usage=usage,
    )


def _queued(pool: Pool, event: CapacityQueued) -> Pool:
    e = event
    waiter = Waiter(
        e.request, e.agent, e.owner, e.role, e.amount, e.mode == EXCLUSIVE, e.priority, e.tokens, e.lease_ms,
        e.since_ms, e.deadline_ms,
    )  # fmt: skip
    return _replace(pool, waiters=(*pool.waiters, waiter))


def _refused(pool: Pool, event: CapacityDenied) -> Pool:
    amount = max(0, min(event.amount, CAPACITY_MAX))  # whatever was asked for, the sum stays bounded
    usage = _replace(pool.usage, denied=pool.usage.denied + 1, denied_amount=pool.usage.denied_amount + amount)
    return _replace(pool, waiters=_without(pool.waiters, event.request), usage=usage)


def _withdrawn(pool: Pool, event: RequestWithdrawn | DeadlockBroken) -> Pool:
    return _replace(pool, waiters=_without(pool.waiters, event.request))


def _renewed(pool: Pool, event: LeaseRenewed) -> Pool:
    renewed = [
        _replace(holder, lease_ms=event.lease_ms, deadline_ms=event.deadline_ms)
        if _is(holder, event.token, event.request)
        else holder
        for holder in pool.holders
    ]
    return _replace(pool, holders=tuple(renewed))


def _released(pool: Pool, event: CapacityReleased) -> Pool:
    """Given back; a call may have taken other than the expected tokens."""
    holder = _held(pool, event.token, event.request)
    assert holder is not None
    if event.used_tokens is not None:
        more = event.used_tokens - holder.tokens
        usage = _replace(pool.usage, tokens=pool.usage.tokens + more)
        pool = _replace(pool, tokens=pool.tokens and pool.tokens.without(more, event.released_ms), usage=usage)
    return _given_back(pool, holder, event.released_ms)


def _expired(pool: Pool, event: LeaseExpired) -> Pool:
    holder = _held(pool, event.token, event.request)
    assert holder is not None
    return _given_back(pool, holder, event.deadline_ms)


def _cost(terms: Terms, event: CapacityGranted) -> int:
    """What part of the whole a grant is, of the capacity or of a minute's tokens, whichever is more."""
    if event.mode == EXCLUSIVE:
        return WHOLE
    cost = event.amount * WHOLE // terms.capacity
    return max(cost, event.tokens * WHOLE // terms.tokens_per_minute) if terms.tokens_per_minute else cost


def _overtaken(pool: Pool, request: str, priority: int) -> tuple[Waiter, ...]:
    """The queue after a request was granted: those who came before it have risen, or were passed once more."""
    waiters, terms = pool.waiters, pool.terms or UNCONFIGURED
    if not waiters or waiters[0].request == request:
        return waiters[1:]
    left = []
    passed: set[str] = set()
    before = True
    for waiter in waiters:
        if waiter.request == request:
            before = False
        elif not before:
            left.append(waiter)
        elif waiter.priority < priority:
            left.append(_replace(waiter, priority=waiter.priority + 1))
        elif (share := terms.share_of(waiter.agent, waiter.role)) in passed:
            left.append(waiter)  # it waits for the first of its own share
        else:
            passed.add(share)
            left.append(_replace(waiter, passed=waiter.passed + 1))
    return tuple(left)


def _given_back(pool: Pool, holder: Holder, ended_ms: int) -> Pool:
    held_ms = ended_ms - holder.granted_ms
    usage = _replace(
        pool.usage,
        ended=pool.usage.ended + 1,
        held_ms=pool.usage.held_ms + held_ms,
        amount_ms=pool.usage.amount_ms + pool.needs(holder) * held_ms,
    )
    return _replace(pool.without(holder), usage=usage)


def _configured(pool: Pool, event: PoolConfigured) -> Pool:
    e = event
    return _replace(
        pool,
        terms=Terms(e.capacity, e.requests_per_minute, e.tokens_per_minute, e.roles, e.shares, e.weights),
        requests=bucket(e.requests_per_minute, pool.requests, e.configured_ms),
        tokens=bucket(e.tokens_per_minute, pool.tokens, e.configured_ms),
        usage=Usage(since_ms=e.configured_ms) if pool.terms is None else pool.usage,
    )


def _paused(pool: Pool, event: PoolPaused) -> Pool:
    return _replace(pool, paused_until_ms=event.until_ms)


def _resumed(pool: Pool, _: PoolResumed) -> Pool:
    return _replace(pool, paused_until_ms=None)


def _pinned(pool: Pool, event: LeasePinned) -> Pool:
    return pool.pinned_by(pinned(pool.pins, event))


def _asked(pool: Pool, event: PinOutcomeWanted) -> Pool:
    return pool.pinned_by(asked(pool.pins, event))


def _unpinned(pool: Pool, event: LeaseUnpinned) -> Pool:
    return pool.pinned_by(unpinned(pool.pins, event))


def _unchanged(pool: Pool, _: Event) -> Pool:
    return pool


_CHANGES: Final[dict[type[Event], Callable[[Pool, Any], Pool]]] = {
    CapacityGranted: _granted,
    CapacityQueued: _queued,
    CapacityDenied: _refused,
    RequestWithdrawn: _withdrawn,
    DeadlockBroken: _withdrawn,
    LeaseRenewed: _renewed,
    CapacityReleased: _released,
    LeaseExpired: _expired,
    RenewalRefused: _unchanged,
    ReleaseRefused: _unchanged,
    StaleWriteRefused: _unchanged,
    LeasePinned: _pinned,
    PinOutcomeWanted: _asked,
    LeaseUnpinned: _unpinned,
    PinRefused: _unchanged,
    PinRepeated: _unchanged,
    PinGone: _unchanged,
    PoolConfigured: _configured,
    PoolPaused: _paused,
    PoolResumed: _resumed,
}


def _held(pool: Pool, token: int, request: str) -> Holder | None:
    """The holder that a command means."""
    for holder in pool.holders:
        if _is(holder, token, request):
            return holder
    return None


def _is(holder: Holder, token: int, request: str) -> bool:
    return holder.token == token and holder.request == request


def _without(waiters: tuple[Waiter, ...], request: str) -> tuple[Waiter, ...]:
    return tuple([waiter for waiter in waiters if waiter.request != request]) if waiters else waiters


_CONTENTION: Final = Contention(frozenset({CapacityQueued, PoolConfigured}), waits_of)
DOMAIN: Final = Domain("limits", {1: LimitDecider()}, reactions=PINS.reactions, contention=_CONTENTION)
"""Limits: one pool of capacity a key, shared by leases, rates a minute, priorities and weights."""
