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
- A lease or a wait ends when a command or a tick carries the clock to its deadline, not before.
- A lock that is free and has no queue is not remembered.
- Types are compared with `is`: an isinstance() of a msgspec struct takes ten times as long.
- State has no cycles: gc=False spares the garbage collector going through every lock that is held, again and again.

    (free) --AcquireLock--> held --ReleaseLock | deadline--> next waiter, or free
                             |  RenewLease: new deadline
    waiting --grant--> held  |  waiting --deadline | WithdrawRequest--> gone
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.locks import (
    COMMANDS,
    AcquireLock,
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
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.streams.decider import At, Domain

LEASE_MS_MIN: Final = 1_000
"""Shorter leases end before a renewal can cross the log under load."""
LEASE_MS_MAX: Final = 24 * 3_600_000
WAIT_MS_MAX: Final = 30 * 24 * 3_600_000
TEXT_BYTES_MAX: Final = 255
"""Of each name in a command, and (`schemas.headers`) of its message id."""
WAITERS_MAX: Final = 800
"""Longest queue of one lock; beyond it a request is denied with `queue_full`. If all time out at once, the decision has
at most 800 x (3 x 255 + 45) bytes and those of the holders whose leases end: it must fit `DECISION_BYTES_MAX`, or the
lock could never be decided again."""
SHARED_MAX: Final = 200
"""Most who share a lock; more readers queue."""
PRIORITY_MAX: Final = 10


class Holder(msgspec.Struct, frozen=True, gc=False):
    request: str
    agent: str
    owner: str
    token: int
    lease_ms: int
    granted_ms: int
    deadline_ms: int
    permits: int | None = None


class Waiter(msgspec.Struct, frozen=True, gc=False):
    request: str
    agent: str
    owner: str
    lease_ms: int
    since_ms: int
    deadline_ms: int | None
    permits: int | None = None
    priority: int = 0
    """As asked for, and one more for each who overtook it."""


class Lock(msgspec.Struct, frozen=True, gc=False):
    """A lock that is held or waited for. Holders and waiters stand in the order in which they came."""

    holders: tuple[Holder, ...]
    waiters: tuple[Waiter, ...] = ()


class LockDecider:
    """Version 1."""

    state_type = Lock

    def decide(self, state: Lock | None, command: Command, at: At) -> Sequence[Event]:
        lock = state or _FREE
        problem = _problem(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        events = _due(lock, at.now_ms)
        for event in events:
            lock = self.evolve(lock, event) or _FREE
        if type(command) is AcquireLock:
            decided = _acquire(lock, command, at)
        elif type(command) is ReleaseLock:
            decided = _release(lock, command)
        elif type(command) is RenewLease:
            decided = _renew(lock, command, at)
        elif type(command) is WithdrawRequest:
            decided = _withdraw(lock, command)
        elif type(command) is RevokeLease:
            decided = _revoke(lock, command)
        elif type(command) is ReportStaleWrite:
            decided = [StaleWriteRefused(command.agent, command.resource, command.token, command.highest_token)]
        elif type(command) is Tick:
            decided = []
        else:
            raise TypeError(f"the locks domain has no command {type(command).__name__}")
        if lock.waiters and (events or decided):
            for event in decided:
                lock = self.evolve(lock, event) or _FREE
            decided = [*decided, *self._grants(lock, at)]
        return [*events, *decided] if events else decided

    def _grants(self, lock: Lock, at: At) -> Iterator[Event]:
        """Lets in from the queue who fits."""
        while lock.waiters and _fits(lock, (waiter := _first(lock.waiters)).permits):
            granted = _grant(waiter, at)
            yield granted
            lock = self.evolve(lock, granted) or _FREE

    def evolve(self, state: Lock | None, event: Event) -> Lock | None:
        lock = state or _FREE
        if type(event) is LockGranted:
            e = event
            granted_ms = e.deadline_ms - e.lease_ms
            holder = Holder(e.request, e.agent, e.owner, e.token, e.lease_ms, granted_ms, e.deadline_ms, e.permits)
            return Lock((*lock.holders, holder), _overtaken(lock.waiters, e.request))
        if type(event) is LockReleased or type(event) is LeaseExpired or type(event) is LeaseRevoked:
            holders = tuple([h for h in lock.holders if not _is(h, event.token, event.request)])
            return Lock(holders, lock.waiters) if holders or lock.waiters else None
        if type(event) is LeaseRenewed:
            assert _held(lock, event.token, event.request) is not None
            renewed = [
                msgspec.structs.replace(h, lease_ms=event.lease_ms, deadline_ms=event.deadline_ms)
                if _is(h, event.token, event.request)
                else h
                for h in lock.holders
            ]
            return Lock(tuple(renewed), lock.waiters)
        if type(event) is LockQueued:
            q = event
            waiter = Waiter(q.request, q.agent, q.owner, q.lease_ms, q.since_ms, q.deadline_ms, q.permits, q.priority)
            return Lock(lock.holders, (*lock.waiters, waiter))
        if type(event) is LockDenied or type(event) is RequestWithdrawn:
            waiters = _without(lock.waiters, event.request)
            return Lock(lock.holders, waiters) if lock.holders or waiters else None
        if type(event) in _CHANGE_NOTHING:
            return state
        raise TypeError(f"the locks domain has no event {type(event).__name__}")

    def deadline_ms(self, state: Lock) -> int | None:
        if not state.waiters and len(state.holders) == 1:
            return state.holders[0].deadline_ms
        due = [holder.deadline_ms for holder in state.holders]
        due += [waiter.deadline_ms for waiter in state.waiters if waiter.deadline_ms is not None]
        return min(due, default=None)


_FREE: Final = Lock(())
_CHANGE_NOTHING: Final = frozenset({RenewalRefused, ReleaseRefused, StaleWriteRefused})


def _due(lock: Lock, now_ms: int) -> list[Event]:
    """What the deadlines up to now bring, in order of (deadline, arrival). None of them grants."""
    due: list[tuple[int, int, Event]] = []
    for place, holder in enumerate(lock.holders, start=-len(lock.holders)):
        if holder.deadline_ms <= now_ms:
            expired = LeaseExpired(holder.agent, holder.token, holder.deadline_ms, _told(holder))
            due.append((holder.deadline_ms, place, expired))
    for place, waiter in enumerate(lock.waiters, start=1):
        if waiter.deadline_ms is not None and waiter.deadline_ms <= now_ms:
            denied = _denied(lock, waiter, "timeout", now_ms, place=place)
            due.append((waiter.deadline_ms, place, denied))
    if len(due) > 1:
        due.sort(key=lambda item: item[:2])
    return [event for _, _, event in due]


def _acquire(lock: Lock, command: AcquireLock, at: At) -> list[Event]:
    c = command
    deadline_ms = None if c.wait_ms is None else at.now_ms + c.wait_ms
    waiter = Waiter(at.request, c.agent, c.owner, c.lease_ms, at.now_ms, deadline_ms, c.permits, c.priority)
    if not lock.holders and not lock.waiters:
        return [_grant(waiter, at)]
    before = [other for other in lock.waiters if other.priority >= c.priority]
    in_force = _permits_in_force(lock)
    if None not in (c.permits, in_force) and c.permits != in_force:
        reason = "permits"
    elif not before and _fits(lock, c.permits):
        return [_grant(waiter, at)]
    elif _waits_for_itself(lock, before, waiter):
        reason = "would_self_deadlock"
    elif c.wait_ms == 0:
        reason = "held"
    elif len(lock.waiters) >= WAITERS_MAX:
        reason = "queue_full"
    else:
        place = len(before) + 1
        terms = (c.agent, c.owner, c.lease_ms, at.now_ms, deadline_ms, place, c.permits, c.priority)
        return [LockQueued(at.request, *terms)]
    return [_denied(lock, waiter, reason, at.now_ms)]


def _waits_for_itself(lock: Lock, before: Sequence[Waiter], waiter: Waiter) -> bool:
    """Whether a request can only be granted once its own owner has let go of the lock."""
    mine = [holder for holder in lock.holders if holder.owner == waiter.owner]
    if not mine:
        return False
    alone = waiter.permits is None or mine[0].permits is None or any(other.permits is None for other in before)
    return alone or len(mine) == len(lock.holders)


def _renew(lock: Lock, command: RenewLease, at: At) -> list[Event]:
    holder = _held(lock, command.token, command.request)
    if holder is None:
        return [RenewalRefused(command.agent, command.token, *_current(lock), command.request)]
    deadline_ms = at.now_ms + command.lease_ms
    return [LeaseRenewed(command.agent, command.token, command.lease_ms, deadline_ms, _told(holder))]


def _release(lock: Lock, command: ReleaseLock) -> list[Event]:
    holder = _held(lock, command.token, command.request)
    if holder is None:
        return [ReleaseRefused(command.agent, command.token, *_current(lock), command.request)]
    return [LockReleased(command.agent, command.token, _told(holder))]


def _revoke(lock: Lock, command: RevokeLease) -> list[Event]:
    holder = _held(lock, command.token, command.request)
    if holder is None:
        return [ReleaseRefused(command.agent, command.token, *_current(lock), command.request)]
    return [LeaseRevoked(holder.agent, holder.token, command.agent, command.reason, _told(holder))]


def _withdraw(lock: Lock, command: WithdrawRequest) -> list[Event]:
    """Takes a request back, whatever became of it; one that is gone already needs nothing."""
    for holder in lock.holders:
        if holder.request == command.request:
            return [LockReleased(command.agent, holder.token, _told(holder))]
    if any(waiter.request == command.request for waiter in lock.waiters):
        return [RequestWithdrawn(command.request, command.agent)]
    return []


def _fits(lock: Lock, permits: int | None) -> bool:
    """Whether the lock, as it is held, takes one more who would share it so."""
    if not lock.holders:
        return True
    if permits is None or lock.holders[0].permits is None:
        return False
    return len(lock.holders) < (permits or SHARED_MAX)


def _first(waiters: tuple[Waiter, ...]) -> Waiter:
    """Whose turn it is: `max` takes the first of equals."""
    return max(waiters, key=_priority)


_priority: Final = attrgetter("priority")


def _permits_in_force(lock: Lock) -> int | None:
    """The number that who shares this lock has agreed on; None while nobody shares it."""
    agreed = [one.permits for one in lock.holders if one.permits is not None]
    agreed = agreed or [one.permits for one in lock.waiters if one.permits is not None]
    return agreed[0] if agreed else None


def _grant(waiter: Waiter, at: At) -> LockGranted:
    deadline_ms = at.now_ms + waiter.lease_ms
    return LockGranted(waiter.request, waiter.agent, waiter.owner, at.seq, waiter.lease_ms, deadline_ms, waiter.permits)


def _denied(lock: Lock, waiter: Waiter, reason: str, now_ms: int, place: int = 0) -> LockDenied:
    holder = lock.holders[0] if lock.holders else None
    return LockDenied(
        waiter.request,
        waiter.agent,
        reason,
        holder=holder.agent if holder else "",
        token=holder.token if holder else 0,
        held_ms=now_ms - holder.granted_ms if holder else 0,
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


def _current(lock: Lock) -> tuple[str | None, int | None]:
    return (lock.holders[0].agent, lock.holders[0].token) if lock.holders else (None, None)


def _without(waiters: tuple[Waiter, ...], request: str) -> tuple[Waiter, ...]:
    return tuple([w for w in waiters if w.request != request]) if waiters else waiters


def _overtaken(waiters: tuple[Waiter, ...], request: str) -> tuple[Waiter, ...]:
    """The queue after a request was granted; those who came before it have risen."""
    if not waiters or waiters[0].request == request:
        return waiters[1:]
    left = []
    before = True
    for waiter in waiters:
        if waiter.request == request:
            before = False
        elif before:
            left.append(msgspec.structs.replace(waiter, priority=waiter.priority + 1))
        else:
            left.append(waiter)
    return tuple(left)


def _problem(command: Command) -> str | None:
    """Why a command from a careless sender cannot be decided; accord's own client refuses these earlier."""
    if type(command) is AcquireLock or type(command) is RenewLease:
        lease_ms = command.lease_ms
        if not LEASE_MS_MIN <= lease_ms <= LEASE_MS_MAX:
            return f"lease_ms={lease_ms}: a lease is {LEASE_MS_MIN} to {LEASE_MS_MAX} ms"
    if type(command) is AcquireLock:
        wait_ms, permits, priority = command.wait_ms, command.permits, command.priority
        if wait_ms is not None and not 0 <= wait_ms <= WAIT_MS_MAX:
            return f"wait_ms={wait_ms}: a wait is 0 to {WAIT_MS_MAX} ms, or null for no limit"
        if permits is not None and not 0 <= permits <= SHARED_MAX:
            return f"permits={permits}: a lock is shared by 1 to {SHARED_MAX}, by 0 for any number, or null for alone"
        if not -PRIORITY_MAX <= priority <= PRIORITY_MAX:
            return f"priority={priority}: a priority is {-PRIORITY_MAX} to {PRIORITY_MAX}"
    for name in _TEXTS.get(type(command), ()):
        if len((getattr(command, name) or "").encode()) > TEXT_BYTES_MAX:
            return f"{name} has more than {TEXT_BYTES_MAX} bytes"
    return None


_TEXTS: Final[dict[type[Command], tuple[str, ...]]] = {
    kind: tuple(
        [name for name in ("agent", "owner", "request", "resource", "reason") if name in kind.__struct_fields__]
    )
    for kind in COMMANDS
}
"""The fields of each command that a sender fills with text."""


DOMAIN: Final = Domain("locks", {1: LockDecider()})
