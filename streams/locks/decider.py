"""Locks: one aggregate a lock name, held by one alone or shared by several, with leases, fencing tokens and a queue.

Each request says with how many it would share the lock, its `permits`: None is alone (a mutex, a writer), 0 is with any
number (readers), n is with n - 1 others (a semaphore). So one set of rules makes them all.

Rules:
- Who holds the lock alone is alone. Who shares it is among at most `permits`; while it is used, that number stays.
- A token is the number (seq) of the granting decision, so tokens only grow, for ever. Who came to share the lock by one
  decision has one token; `request` tells them apart.
- The queue goes by priority, then first come, first served. Nobody goes past one who is before him, even if he would
  fit and that one does not: so writers and the impatient are not starved.
- Who is overtaken rises by one priority. So a request waits for those before it, and for at most
  `PRIORITY_MAX - priority` who came later.
- A decision grants after everything else that it does, as many as fit.
- A lease or a wait ends when a command or a tick carries the clock to its deadline, not before. One decision ends at
  most `DUE_MAX` waits; while more are due, nobody is granted out of the queue, and the next command or tick goes on.
- A condition: who holds the lock alone may give it back and wait for a notice; who was notified, or waited too long,
  queues for the lock again. One command notifies at most `NOTIFIED_MAX`. A notice to one who is gone since goes to the
  next, so no wake-up is lost; one too many is possible, as with any condition variable.
- A lock that a transaction pins goes to nobody new while its holder is gone (`accord.streams.pins`).
- A lock that is free and that nobody waits for or pins is not remembered. A name that is used by a barrier
  (`barriers.py`) is none of a lock, and the other way round.
- No command costs more for those who wait than the logarithm of how many they are (`queue.py`).
- Rules are found by type: an isinstance() of a msgspec struct takes ten times as long.
- State has no cycles: gc=False spares the garbage collector going through every lock that is held, again and again.

    (free) --AcquireLock--> held --ReleaseLock | deadline--> next waiter, or free
                             |  RenewLease: new deadline
    waiting --grant--> held  |  waiting --deadline | WithdrawRequest | DropRequest | BreakDeadlock--> gone
    held --RevokeLease | DropRequest--> next waiter, or free
    held --WaitOnCondition--> sleeping --NotifyCondition | deadline--> waiting
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, Final

import msgspec
from accord.schemas.messages import Command, Event, locks
from accord.schemas.messages.locks import (
    AcquireLock,
    BarrierPassed,
    BarrierReached,
    BarrierRefused,
    BreakDeadlock,
    ConditionAwaited,
    ConditionNotified,
    ConditionRefused,
    ConditionTimedOut,
    DeadlockBroken,
    DropRequest,
    LeaseExpired,
    LeasePinned,
    LeaseRenewed,
    LeaseRevoked,
    LeaseUnpinned,
    LockDenied,
    LockGranted,
    LockQueued,
    LockReleased,
    NotifyCondition,
    PinGone,
    PinLease,
    PinOutcomeWanted,
    PinRefused,
    PinRepeated,
    ReachBarrier,
    ReleaseLock,
    ReleaseRefused,
    RenewalRefused,
    RenewLease,
    ReportStaleWrite,
    RequestWithdrawn,
    RevokeLease,
    StaleWriteRefused,
    UnpinLease,
    WaitOnCondition,
    WithdrawRequest,
)
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.streams.decider import At, Contention, Decider, Domain
from accord.streams.locks.barriers import Barrier, BarrierDecider
from accord.streams.locks.bounds import DUE_MAX, NOTIFIED_MAX, SHARED_MAX, WAITERS_MAX, problem_of
from accord.streams.locks.queue import EMPTY, NEVER, Queue, Waiter
from accord.streams.locks.waits import waits_of
from accord.streams.pins import Pin, Pins, asked, pinned, unpinned
from msgspec.structs import replace


class Holder(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    request: str
    agent: str
    owner: str
    token: int
    lease_ms: int
    granted_ms: int
    deadline_ms: int
    permits: int | None = None
    notified: bool = False


class Lock(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A lock that is held or waited for. Holders, waiters and sleepers stand in the order in which they came."""

    holders: tuple[Holder, ...]
    waiters: Queue = EMPTY
    sleepers: Queue = EMPTY
    """Who waits for a notice."""
    pins: tuple[Pin, ...] = ()


class LockDecider:
    """The rules of a name that is a lock's."""

    state_type = Lock

    def decide(self, state: Lock | None, command: Command, at: At) -> Sequence[Event]:
        lock = state or _FREE
        events = _due(lock, at.now_ms)
        if type(command) is Tick and _held_alone(lock) and lock.holders[0].deadline_ms > at.now_ms:
            return events  # whoever's wait is over, nobody is let in
        lost = 0
        for event in events:
            lost += _loses_notice(lock, event, command)
            lock = self.evolve(lock, event) or _FREE
        decided = _ANSWERS[type(command)](lock, command, at)
        if not events and type(command) in _FREE_NOTHING:
            return decided
        if (lock.waiters is not EMPTY or lock.sleepers is not EMPTY) and (events or decided):
            for event in decided:
                lost += _loses_notice(lock, event, command)
                lock = self.evolve(lock, event) or _FREE
            if lost and lock.sleepers is not EMPTY:
                passed_on = ConditionNotified("", _next_asleep(lock, lost))
                lock = self.evolve(lock, passed_on) or _FREE
                decided = [*decided, passed_on]
            decided = [*decided, *self._grants(lock, at)]
        return [*events, *decided] if events else decided

    def _grants(self, lock: Lock, at: At) -> Iterator[Event]:
        """Lets in from the queue who fits; nobody while some wait is over that was not ended yet."""
        if _wait_is_over(lock, at.now_ms) or _keeps_out(lock) is not None:
            return
        while lock.waiters is not EMPTY and not _held_alone(lock):
            waiter = lock.waiters.first()
            if not _fits(lock, waiter.permits):
                return
            granted = _grant(waiter, at)
            yield granted
            if waiter.permits is None:
                return
            lock = self.evolve(lock, granted) or _FREE

    def evolve(self, state: Lock | None, event: Event) -> Lock | None:
        if type(event) in _CHANGE_NOTHING:
            return state
        try:
            change = _CHANGES[type(event)]
        except KeyError:
            raise TypeError(f"a lock has no event {type(event).__name__}") from None
        return change(state or _FREE, event)

    def deadline_ms(self, state: Lock) -> int | None:
        if len(state.holders) == 1 and state.waiters is EMPTY and state.sleepers is EMPTY and not state.pins:
            return state.holders[0].deadline_ms
        following = min(state.waiters.deadline_ms, state.sleepers.deadline_ms)
        ends = [holder.deadline_ms for holder in state.holders]
        following = min([following, *ends, *[pin.next_ask_ms for pin in state.pins]])
        return None if following == NEVER else following


_FREE: Final = Lock(())
_CHANGE_NOTHING: Final = frozenset(
    {RenewalRefused, ReleaseRefused, ConditionRefused, BarrierRefused, BarrierPassed, StaleWriteRefused}
    | {PinRefused, PinRepeated, PinGone}
)
_FREE_NOTHING: Final = frozenset({AcquireLock, RenewLease, NotifyCondition, ReportStaleWrite, PinLease})
"""After these alone nobody who waits can be granted who could not before."""


def _due(lock: Lock, now_ms: int) -> list[Event]:
    """What the deadlines up to now bring, in order of (deadline, arrival). None of them grants."""
    ends: list[tuple[int, Event]]
    ends = [(holder.deadline_ms, _expired(holder)) for holder in lock.holders if holder.deadline_ms <= now_ms]
    if len(ends) > 1:
        ends.sort(key=_deadline)
    if _wait_is_over(lock, now_ms):
        denied = (
            (deadline_ms, _denied(lock, waiter, "timeout", now_ms, lock.waiters.place(waiter.request)))
            for deadline_ms, waiter in lock.waiters.due(now_ms)
        )
        timed_out = (
            (deadline_ms, ConditionTimedOut(sleeper.request, sleeper.agent, deadline_ms))
            for deadline_ms, sleeper in lock.sleepers.due(now_ms)
        )
        waits: Iterator[tuple[int, Event]] = heapq.merge(denied, timed_out, key=_deadline)
        ends = list(heapq.merge(ends, islice(waits, DUE_MAX), key=_deadline))
    found = [event for _, event in ends]
    return [*found, *PINS.asks_due(lock, now_ms)] if lock.pins else found


_deadline: Final = itemgetter(0)


def _keeps_out(lock: Lock) -> Pin | None:
    """The pin because of which nobody is granted the lock: its holder has gone. None: there is none."""
    for pin in lock.pins:
        if not any(pin.is_for(holder) for holder in lock.holders):
            return pin
    return None


def _wait_is_over(lock: Lock, now_ms: int) -> bool:
    return lock.waiters.deadline_ms <= now_ms or lock.sleepers.deadline_ms <= now_ms


def _acquire(lock: Lock, command: AcquireLock, at: At) -> list[Event]:
    c = command
    deadline_ms = None if c.wait_ms is None else at.now_ms + c.wait_ms
    waiter = Waiter(at.request, c.agent, c.owner, c.lease_ms, at.now_ms, deadline_ms, c.permits, c.priority)
    if not lock.holders and lock.waiters is EMPTY and not lock.pins:
        return [_grant(waiter, at)]
    before = lock.waiters.count_from(c.priority)
    in_force = _permits_in_force(lock)
    if None not in (c.permits, in_force) and c.permits != in_force:
        reason = "permits"
    elif not before and _fits(lock, c.permits) and _keeps_out(lock) is None:
        return [_grant(waiter, at)]
    elif _waits_for_itself(lock, waiter):
        reason = "would_self_deadlock"
    elif c.wait_ms == 0:
        reason = "held"
    elif len(lock.waiters) + len(lock.sleepers) >= WAITERS_MAX:
        reason = "queue_full"
    else:
        place = before + 1
        terms = (c.agent, c.owner, c.lease_ms, at.now_ms, deadline_ms, place, c.permits, c.priority)
        return [LockQueued(at.request, *terms)]
    return [_denied(lock, waiter, reason, at.now_ms)]


def _waits_for_itself(lock: Lock, waiter: Waiter) -> bool:
    """Whether a request can only be granted once its own owner has let go of the lock."""
    mine = [holder for holder in lock.holders if holder.owner == waiter.owner]
    if not mine:
        return False
    alone = waiter.permits is None or mine[0].permits is None or lock.waiters.alone_from(waiter.priority)
    return alone or len(mine) == len(lock.holders)


def _renew(lock: Lock, command: RenewLease, at: At) -> list[Event]:
    holder = _held(lock, command.token, command.request)
    if holder is None:
        return [RenewalRefused(command.agent, command.token, *_current(lock), command.request)]
    deadline_ms = at.now_ms + command.lease_ms
    return [LeaseRenewed(command.agent, command.token, command.lease_ms, deadline_ms, _told(holder))]


def _release(lock: Lock, command: ReleaseLock, _: At) -> list[Event]:
    holder = _held(lock, command.token, command.request)
    if holder is None:
        return [ReleaseRefused(command.agent, command.token, *_current(lock), command.request)]
    return [_released(holder, command.agent)]


def _revoke(lock: Lock, command: RevokeLease, _: At) -> list[Event]:
    holder = _held(lock, command.token, command.request)
    if holder is None:
        return [ReleaseRefused(command.agent, command.token, *_current(lock), command.request)]
    return [LeaseRevoked(holder.agent, holder.token, command.agent, command.reason, _told(holder))]


def _withdraw(lock: Lock, command: WithdrawRequest, _: At) -> list[Event]:
    """Takes a request back, whatever became of it; one that is gone already needs nothing."""
    for holder in lock.holders:
        if holder.request == command.request:
            return [_released(holder, command.agent)]
    if command.request in lock.waiters or command.request in lock.sleepers:
        return [RequestWithdrawn(command.request, command.agent)]
    return []


def _drop(lock: Lock, command: DropRequest, _: At) -> list[Event]:
    """Ends the request of one whose process has failed; one that is gone already needs nothing."""
    for holder in lock.holders:
        if holder.request == command.request:
            return [LeaseRevoked(holder.agent, holder.token, command.by, command.reason, _told(holder))]
    waiter = lock.waiters.get(command.request) or lock.sleepers.get(command.request)
    return [] if waiter is None else [RequestWithdrawn(waiter.request, waiter.agent)]


def _break(lock: Lock, command: BreakDeadlock, _: At) -> list[Event]:
    """Denies a deadlock's victim, if it still waits for who held the lock then."""
    if any(holder.token == command.token for holder in lock.holders):
        waiter = lock.waiters.get(command.request)
        if waiter is not None:
            return [DeadlockBroken(waiter.request, waiter.agent, command.cycle)]
    return []


def _wait_on_condition(lock: Lock, command: WaitOnCondition, at: At) -> list[Event]:
    holder = _alone(lock, command.token)
    full = len(lock.waiters) + len(lock.sleepers) >= WAITERS_MAX
    if holder is None or full:
        reason = "not_holder" if holder is None else "queue_full"
        return [ConditionRefused(at.request, command.agent, command.token, reason, *_current(lock))]
    deadline_ms = None if command.wait_ms is None else at.now_ms + command.wait_ms
    terms = (holder.owner, holder.token, holder.lease_ms, at.now_ms, deadline_ms)
    return [ConditionAwaited(at.request, holder.agent, *terms)]


def _notify(lock: Lock, command: NotifyCondition, at: At) -> list[Event]:
    if _alone(lock, command.token) is None:
        return [ConditionRefused(at.request, command.agent, command.token, "not_holder", *_current(lock))]
    return [ConditionNotified(command.agent, _next_asleep(lock, command.count or NOTIFIED_MAX))]


def _report(_: Lock, command: ReportStaleWrite, __: At) -> list[Event]:
    return [StaleWriteRefused(command.agent, command.resource, command.token, command.highest_token)]


def _no_barrier(_: Lock, command: ReachBarrier, at: At) -> list[Event]:
    return [BarrierRefused(at.request, command.agent, "lock", 0)]


def _tick(_: Lock, __: Tick, ___: At) -> list[Event]:
    return []


def _not_held(lock: Lock, c: PinLease) -> str:
    """Why a transaction cannot be guarded by a token."""
    now = lock.holders[0] if lock.holders else None
    whose = "it is free" if now is None else f"{now.agent} holds it with token {now.token}"
    return f"token {c.token} is not the lock's current one: {whose}"


def _current(lock: Lock) -> tuple[str | None, int | None]:
    return (lock.holders[0].agent, lock.holders[0].token) if lock.holders else (None, None)


PINS: Final = Pins[Lock]("locks", "lock", locks, _not_held, _current)
"""Transactions that are committed only under the lock."""

_ANSWERS: Final[Mapping[type[Command], Callable[[Lock, Any, At], list[Event]]]] = {
    AcquireLock: _acquire,
    RenewLease: _renew,
    ReleaseLock: _release,
    Tick: _tick,
    WithdrawRequest: _withdraw,
    RevokeLease: _revoke,
    BreakDeadlock: _break,
    WaitOnCondition: _wait_on_condition,
    NotifyCondition: _notify,
    ReachBarrier: _no_barrier,
    ReportStaleWrite: _report,
    PinLease: PINS.pin,
    UnpinLease: PINS.unpin,
    DropRequest: _drop,
}
"""What each command brings, to a lock of which nothing is due any more."""


def _granted(lock: Lock, e: LockGranted) -> Lock:
    waiting = lock.waiters.get(e.request)
    notified = waiting is not None and waiting.notified
    granted_ms = e.deadline_ms - e.lease_ms
    holder = Holder(e.request, e.agent, e.owner, e.token, e.lease_ms, granted_ms, e.deadline_ms, e.permits, notified)
    return Lock((*lock.holders, holder), lock.waiters.served(e.request), lock.sleepers, lock.pins)


def _queued(lock: Lock, q: LockQueued) -> Lock:
    waiter = Waiter(q.request, q.agent, q.owner, q.lease_ms, q.since_ms, q.deadline_ms, q.permits, q.priority)
    return Lock(lock.holders, lock.waiters.appended(waiter), lock.sleepers, lock.pins)


def _left(lock: Lock, event: LockReleased | LeaseExpired | LeaseRevoked) -> Lock | None:
    holders = tuple([holder for holder in lock.holders if not _is(holder, event.token, event.request)])
    return _kept(holders, lock.waiters, lock.sleepers, lock.pins)


def _renewed(lock: Lock, event: LeaseRenewed) -> Lock:
    renewed = _held(lock, event.token, event.request)
    assert renewed is not None
    longer = replace(renewed, lease_ms=event.lease_ms, deadline_ms=event.deadline_ms)
    holders = tuple([longer if holder is renewed else holder for holder in lock.holders])
    return Lock(holders, lock.waiters, lock.sleepers, lock.pins)


def _gone(lock: Lock, event: LockDenied | RequestWithdrawn | DeadlockBroken) -> Lock | None:
    return _kept(lock.holders, lock.waiters.without(event.request), lock.sleepers.without(event.request), lock.pins)


def _asleep(lock: Lock, a: ConditionAwaited) -> Lock:
    sleeper = Waiter(a.request, a.agent, a.owner, a.lease_ms, a.since_ms, a.deadline_ms)
    return Lock((), lock.waiters, lock.sleepers.appended(sleeper), lock.pins)


def _unpinned(lock: Lock, e: LeaseUnpinned) -> Lock | None:
    return _kept(lock.holders, lock.waiters, lock.sleepers, unpinned(lock.pins, e))


def _kept(holders: tuple[Holder, ...], waiters: Queue, sleepers: Queue, left: tuple[Pin, ...]) -> Lock | None:
    """What is left of a lock; None when that is nothing."""
    if holders or waiters is not EMPTY or sleepers is not EMPTY or left:
        return Lock(holders, waiters, sleepers, left)
    return None


def _woken(lock: Lock, requests: Sequence[str], *, notified: bool) -> Lock | None:
    """These sleepers queue for the lock, without limit: they have to have it before they can go on."""
    waiters, sleepers = lock.waiters, lock.sleepers
    for request in requests:
        sleeper = sleepers.get(request)
        if sleeper is not None:
            sleepers = sleepers.without(request)
            waiters = waiters.appended(replace(sleeper, deadline_ms=None, notified=notified))
    return _kept(lock.holders, waiters, sleepers, lock.pins)


_CHANGES: Final[Mapping[type[Event], Callable[[Lock, Any], Lock | None]]] = {
    LockGranted: _granted,
    LockReleased: _left,
    LeaseExpired: _left,
    LeaseRevoked: _left,
    LeaseRenewed: _renewed,
    LockQueued: _queued,
    LockDenied: _gone,
    RequestWithdrawn: _gone,
    DeadlockBroken: _gone,
    ConditionAwaited: _asleep,
    ConditionNotified: lambda lock, event: _woken(lock, event.requests, notified=True),
    ConditionTimedOut: lambda lock, event: _woken(lock, (event.request,), notified=False),
    LeasePinned: lambda lock, event: replace(lock, pins=pinned(lock.pins, event)),
    PinOutcomeWanted: lambda lock, event: replace(lock, pins=asked(lock.pins, event)),
    LeaseUnpinned: _unpinned,
}
"""What each event makes of the lock."""


def _loses_notice(lock: Lock, event: Event, command: Command) -> bool:
    """Whether with an event one is gone who was notified, and perhaps never came to know."""
    if type(event) is LockReleased and type(command) is not WithdrawRequest:
        return False
    if type(event) is LockReleased or type(event) is LeaseExpired or type(event) is LeaseRevoked:
        holder = _held(lock, event.token, event.request)
        return holder is not None and holder.notified
    if type(event) is RequestWithdrawn or type(event) is DeadlockBroken:
        waiter = lock.waiters.get(event.request)
        return waiter is not None and waiter.notified
    return False


def _alone(lock: Lock, token: int) -> Holder | None:
    """The holder with this token, if it holds the lock alone."""
    holder = _held(lock, token, None)
    return holder if holder is not None and holder.permits is None else None


def _held_alone(lock: Lock) -> bool:
    return bool(lock.holders) and lock.holders[0].permits is None


def _fits(lock: Lock, permits: int | None) -> bool:
    """Whether the lock, as it is held, takes one more who would share it so."""
    if not lock.holders:
        return True
    if permits is None or _held_alone(lock):
        return False
    return len(lock.holders) < (permits or SHARED_MAX)


def _next_asleep(lock: Lock, count: int) -> tuple[str, ...]:
    """The requests of those whom a notice to so many wakes."""
    return tuple([sleeper.request for sleeper in islice(lock.sleepers, count)])


def _permits_in_force(lock: Lock) -> int | None:
    """The number that who shares this lock has agreed on; None while nobody shares it."""
    for holder in lock.holders:
        if holder.permits is not None:
            return holder.permits
    return lock.waiters.permits


def _grant(waiter: Waiter, at: At) -> LockGranted:
    deadline_ms = at.now_ms + waiter.lease_ms
    return LockGranted(waiter.request, waiter.agent, waiter.owner, at.seq, waiter.lease_ms, deadline_ms, waiter.permits)


def _expired(holder: Holder) -> LeaseExpired:
    return LeaseExpired(holder.agent, holder.token, holder.deadline_ms, _told(holder))


def _denied(lock: Lock, waiter: Waiter, reason: str, now_ms: int, place: int = 0) -> LockDenied:
    holder = lock.holders[0] if lock.holders else None
    kept = _keeps_out(lock) if holder is None else None
    return LockDenied(
        waiter.request,
        waiter.agent,
        reason,
        holder=holder.agent if holder else kept.agent if kept else "",
        token=holder.token if holder else kept.token if kept else 0,
        held_ms=now_ms - holder.granted_ms if holder else now_ms - kept.pinned_ms if kept else 0,
        place=place,
        waiting=len(lock.waiters) + (place == 0),
        permits=_permits_in_force(lock) if reason == "permits" else None,
    )


def _held(lock: Lock, token: int, request: str | None) -> Holder | None:
    """The holder that a command means."""
    for holder in lock.holders:
        if _is(holder, token, request):
            return holder
    return None


def _is(holder: Holder, token: int, request: str | None) -> bool:
    return holder.token == token and (request is None or holder.request == request)


def _told(holder: Holder) -> str | None:
    """What tells a holder from others with its token; one who is alone needs nothing."""
    return None if holder.permits is None else holder.request


def _released(holder: Holder, agent: str) -> LockReleased:
    """The release by an agent; one who released another's lock has to tell whose."""
    return LockReleased(agent, holder.token, holder.request if agent != holder.agent else _told(holder))


class NameDecider:
    """Version 1 of the domain. A name is a lock's or a barrier's, as long as it is used."""

    state_type: Any = Lock | Barrier

    def __init__(self) -> None:
        self._locks, self._barriers = LockDecider(), BarrierDecider()

    def decide(self, state: Lock | Barrier | None, command: Command, at: At) -> Sequence[Event]:
        problem = problem_of(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        if type(state) is not Barrier:
            if state is None and type(command) is ReachBarrier:
                return self._barriers.decide(None, command, at)
            return self._locks.decide(state, command, at)
        broken = self._barriers.due(state, at.now_ms)
        return [*broken, *self.decide(None, command, at)] if broken else self._barriers.decide(state, command, at)

    def evolve(self, state: Lock | Barrier | None, event: Event) -> Lock | Barrier | None:
        if type(state) is Barrier or (state is None and type(event) is BarrierReached):
            return self._barriers.evolve(state, event)
        return self._locks.evolve(state, event)

    def deadline_ms(self, state: Lock | Barrier) -> int | None:
        rules: Decider[Any] = self._locks if type(state) is Lock else self._barriers
        return rules.deadline_ms(state)


_CONTENTION: Final = Contention(frozenset({LockQueued, ConditionNotified, ConditionTimedOut}), waits_of)
DOMAIN: Final = Domain("locks", {1: NameDecider()}, reactions=PINS.reactions, contention=_CONTENTION)
