"""Locks: one aggregate a lock name; a mutex with lease, fencing token and a first-come queue.

Rules:
- At most one holder. Its token is the number (seq) of the granting decision, so tokens only grow, for ever.
- The queue is first come, first served. A decision grants at most once, after everything else that it does.
- A lease or a wait ends when a command or a tick carries the clock to its deadline, not before.
- A lock that is free and has no queue is not remembered.
- Types are compared with `is`: an isinstance() of a msgspec struct takes ten times as long.
- State has no cycles: gc=False spares the garbage collector going through every lock that is held, again and again.

    (free) --AcquireLock--> held --ReleaseLock | deadline--> next waiter, or free
                             |  RenewLease: new deadline
    waiting --grant--> held  |  waiting --deadline | WithdrawRequest--> gone
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.locks import (
    COMMANDS,
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
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.streams.decider import At, Domain

LEASE_MS_MIN: Final = 1_000
"""Shorter leases end before a renewal can cross the log under load."""
LEASE_MS_MAX: Final = 24 * 3_600_000
WAIT_MS_MAX: Final = 30 * 24 * 3_600_000
TEXT_BYTES_MAX: Final = 255
"""Of each name in a command, and (`schemas.headers`) of its message id."""
WAITERS_MAX: Final = 1_000
"""Longest queue of one lock; beyond it a request is denied with `queue_full`. If all time out at once, the decision has
at most 1,000 x (3 x 255 + 45) bytes: it must fit `DECISION_BYTES_MAX`, or the lock could never be decided again."""


class Holder(msgspec.Struct, frozen=True, gc=False):
    request: str
    agent: str
    owner: str
    token: int
    lease_ms: int
    granted_ms: int
    deadline_ms: int


class Waiter(msgspec.Struct, frozen=True, gc=False):
    request: str
    agent: str
    owner: str
    lease_ms: int
    since_ms: int
    deadline_ms: int | None


class Lock(msgspec.Struct, frozen=True, gc=False):
    """A lock that is held or waited for."""

    holder: Holder | None
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
        elif type(command) is ReportStaleWrite:
            decided = [StaleWriteRefused(command.agent, command.resource, command.token, command.highest_token)]
        elif type(command) is Tick:
            decided = []
        else:
            raise TypeError(f"the locks domain has no command {type(command).__name__}")
        if lock.waiters and (events or decided):
            for event in decided:
                lock = self.evolve(lock, event) or _FREE
            if lock.holder is None and lock.waiters:
                decided = [*decided, _grant(lock.waiters[0], at)]
        return [*events, *decided] if events else decided

    def evolve(self, state: Lock | None, event: Event) -> Lock | None:
        lock = state or _FREE
        if type(event) is LockGranted:
            e = event
            granted_ms = e.deadline_ms - e.lease_ms
            holder = Holder(e.request, e.agent, e.owner, e.token, e.lease_ms, granted_ms, e.deadline_ms)
            return Lock(holder, _without(lock.waiters, e.request))
        if type(event) is LockReleased or type(event) is LeaseExpired:
            return Lock(None, lock.waiters) if lock.waiters else None
        if type(event) is LeaseRenewed:
            assert lock.holder is not None
            renewed = msgspec.structs.replace(lock.holder, lease_ms=event.lease_ms, deadline_ms=event.deadline_ms)
            return Lock(renewed, lock.waiters)
        if type(event) is LockQueued:
            q = event
            waiter = Waiter(q.request, q.agent, q.owner, q.lease_ms, q.since_ms, q.deadline_ms)
            return Lock(lock.holder, (*lock.waiters, waiter))
        if type(event) is LockDenied or type(event) is RequestWithdrawn:
            waiters = _without(lock.waiters, event.request)
            return Lock(lock.holder, waiters) if lock.holder or waiters else None
        if type(event) in _CHANGE_NOTHING:
            return state
        raise TypeError(f"the locks domain has no event {type(event).__name__}")

    def deadline_ms(self, state: Lock) -> int | None:
        if not state.waiters:
            return state.holder.deadline_ms if state.holder is not None else None
        due = [w.deadline_ms for w in state.waiters if w.deadline_ms is not None]
        if state.holder is not None:
            due.append(state.holder.deadline_ms)
        return min(due, default=None)


_FREE: Final = Lock(None)
_CHANGE_NOTHING: Final = frozenset({RenewalRefused, ReleaseRefused, StaleWriteRefused})


def _due(lock: Lock, now_ms: int) -> list[Event]:
    """What the deadlines up to now bring, in order of (deadline, arrival). None of them grants."""
    due: list[tuple[int, int, Event]] = []
    holder = lock.holder
    if holder is not None and holder.deadline_ms <= now_ms:
        expired = LeaseExpired(holder.agent, holder.token, holder.deadline_ms)
        due.append((holder.deadline_ms, 0, expired))
    for place, waiter in enumerate(lock.waiters, start=1):
        if waiter.deadline_ms is not None and waiter.deadline_ms <= now_ms:
            denied = _denied(lock, waiter, "timeout", now_ms, place=place)
            due.append((waiter.deadline_ms, place, denied))
    if len(due) > 1:
        due.sort(key=lambda item: item[:2])
    return [event for _, _, event in due]


def _acquire(lock: Lock, command: AcquireLock, at: At) -> list[Event]:
    deadline_ms = None if command.wait_ms is None else at.now_ms + command.wait_ms
    waiter = Waiter(at.request, command.agent, command.owner, command.lease_ms, at.now_ms, deadline_ms)
    if lock.holder is None and not lock.waiters:
        return [_grant(waiter, at)]
    if lock.holder is not None and lock.holder.owner == command.owner:
        return [_denied(lock, waiter, "would_self_deadlock", at.now_ms)]
    if command.wait_ms == 0:
        return [_denied(lock, waiter, "held", at.now_ms)]
    if len(lock.waiters) >= WAITERS_MAX:
        return [_denied(lock, waiter, "queue_full", at.now_ms)]
    place = len(lock.waiters) + 1
    queued = LockQueued(at.request, command.agent, command.owner, command.lease_ms, at.now_ms, deadline_ms, place)
    return [queued]


def _renew(lock: Lock, command: RenewLease, at: At) -> list[Event]:
    if lock.holder is None or lock.holder.token != command.token:
        return [RenewalRefused(command.agent, command.token, *_current(lock))]
    return [LeaseRenewed(command.agent, command.token, command.lease_ms, at.now_ms + command.lease_ms)]


def _release(lock: Lock, command: ReleaseLock) -> list[Event]:
    if lock.holder is None or lock.holder.token != command.token:
        return [ReleaseRefused(command.agent, command.token, *_current(lock))]
    return [LockReleased(command.agent, command.token)]


def _withdraw(lock: Lock, command: WithdrawRequest) -> list[Event]:
    """Takes a request back, whatever became of it; one that is gone already needs nothing."""
    if lock.holder is not None and lock.holder.request == command.request:
        return [LockReleased(command.agent, lock.holder.token)]
    if any(waiter.request == command.request for waiter in lock.waiters):
        return [RequestWithdrawn(command.request, command.agent)]
    return []


def _grant(waiter: Waiter, at: At) -> LockGranted:
    deadline_ms = at.now_ms + waiter.lease_ms
    return LockGranted(waiter.request, waiter.agent, waiter.owner, at.seq, waiter.lease_ms, deadline_ms)


def _denied(lock: Lock, waiter: Waiter, reason: str, now_ms: int, place: int = 0) -> LockDenied:
    holder = lock.holder
    return LockDenied(
        waiter.request,
        waiter.agent,
        reason,
        holder=holder.agent if holder else "",
        token=holder.token if holder else 0,
        held_ms=now_ms - holder.granted_ms if holder else 0,
        place=place,
        waiting=len(lock.waiters) + (place == 0),
    )


def _current(lock: Lock) -> tuple[str | None, int | None]:
    return (lock.holder.agent, lock.holder.token) if lock.holder else (None, None)


def _without(waiters: tuple[Waiter, ...], request: str) -> tuple[Waiter, ...]:
    return tuple([w for w in waiters if w.request != request]) if waiters else waiters


def _problem(command: Command) -> str | None:
    """Why a command from a careless sender cannot be decided; accord's own client refuses these earlier."""
    if type(command) is AcquireLock or type(command) is RenewLease:
        lease_ms = command.lease_ms
        if not LEASE_MS_MIN <= lease_ms <= LEASE_MS_MAX:
            return f"lease_ms={lease_ms}: a lease is {LEASE_MS_MIN} to {LEASE_MS_MAX} ms"
    if type(command) is AcquireLock:
        wait_ms = command.wait_ms
        if wait_ms is not None and not 0 <= wait_ms <= WAIT_MS_MAX:
            return f"wait_ms={wait_ms}: a wait is 0 to {WAIT_MS_MAX} ms, or null for no limit"
    for name in _TEXTS.get(type(command), ()):
        if len(getattr(command, name).encode()) > TEXT_BYTES_MAX:
            return f"{name} has more than {TEXT_BYTES_MAX} bytes"
    return None


_TEXTS: Final[dict[type[Command], tuple[str, ...]]] = {
    kind: tuple([name for name in ("agent", "owner", "request", "resource") if name in kind.__struct_fields__])
    for kind in COMMANDS
}
"""The fields of each command that a sender fills with text."""


DOMAIN: Final = Domain("locks", {1: LockDecider()})
