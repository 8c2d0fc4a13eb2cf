"""Barriers: one aggregate a name; so many parties wait until all have come, then go on together.

Rules:
- The last to come lets all go, in one event. The barrier is forgotten with it, so it can be used again at once.
- The number of parties is that of who came first; another one is refused.
- A party has a lease while it waits, and renews it: who does not is taken for dead.
- If one waits too long, is dead or goes away, the barrier is broken for all who wait at it: nobody waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.locks import (
    AcquireLock,
    BarrierBroken,
    BarrierPassed,
    BarrierReached,
    BarrierRefused,
    BreakDeadlock,
    ConditionRefused,
    DropRequest,
    LeaseRenewed,
    LockDenied,
    NotifyCondition,
    PinGone,
    PinLease,
    PinRefused,
    ReachBarrier,
    ReleaseLock,
    ReleaseRefused,
    RenewalRefused,
    RenewLease,
    ReportStaleWrite,
    RevokeLease,
    StaleWriteRefused,
    UnpinLease,
    WaitOnCondition,
    WithdrawRequest,
)
from accord.schemas.messages.log import Tick
from accord.streams.decider import At
from msgspec.structs import replace


class Party(msgspec.Struct, frozen=True, gc=False):
    """Who waits at a barrier; `wait_deadline_ms` None is without limit."""

    request: str
    agent: str
    lease_deadline_ms: int
    wait_deadline_ms: int | None


@final
class Barrier(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A barrier at which somebody waits. `waiting` stand in the order in which they came."""

    parties: int
    waiting: tuple[Party, ...]


class BarrierDecider:
    """The rules of a name that is a barrier's."""

    state_type = Barrier

    def decide(self, state: Barrier | None, command: Command, at: At) -> Sequence[Event]:
        """What a command brings to a barrier of which nothing is due: see `due`."""
        return _ANSWERS[type(command)](state or Barrier(0, ()), command, at)

    def due(self, state: Barrier, now_ms: int) -> list[Event]:
        """The break that the first deadline up to now brings; in order of (deadline, arrival)."""
        ends = [(*_end(party), place) for place, party in enumerate(state.waiting)]
        deadline_ms, reason, place = min(ends)
        return [_broken(state, state.waiting[place].agent, reason)] if deadline_ms <= now_ms else []

    def evolve(self, state: Barrier | None, event: Event) -> Barrier | None:
        barrier = state or Barrier(0, ())
        if type(event) is BarrierReached:
            e = event
            party = Party(e.request, e.agent, e.lease_deadline_ms, e.wait_deadline_ms)
            return Barrier(e.parties, (*barrier.waiting, party))
        if type(event) is BarrierPassed or type(event) is BarrierBroken:
            return None
        if type(event) is LeaseRenewed:
            return Barrier(
                barrier.parties,
                tuple(
                    [
                        replace(party, lease_deadline_ms=event.deadline_ms) if party.request == event.request else party
                        for party in barrier.waiting
                    ]
                ),
            )
        if type(event) in _CHANGE_NOTHING:
            return state
        raise TypeError(f"a barrier has no event {type(event).__name__}")

    def deadline_ms(self, state: Barrier) -> int | None:
        return min([_end(party)[0] for party in state.waiting])


_CHANGE_NOTHING: Final = frozenset(
    {BarrierRefused, RenewalRefused, ReleaseRefused, LockDenied, ConditionRefused, StaleWriteRefused}
    | {PinRefused, PinGone}
)


def _end(party: Party) -> tuple[int, str]:
    """When a party breaks the barrier by doing nothing, and why."""
    lease = party.lease_deadline_ms, "lease"
    return lease if party.wait_deadline_ms is None else min(lease, (party.wait_deadline_ms, "timeout"))


def _broken(barrier: Barrier, agent: str, reason: str) -> BarrierBroken:
    return BarrierBroken(agent, reason, tuple([party.request for party in barrier.waiting]))


def _reach(barrier: Barrier, command: ReachBarrier, at: At) -> list[Event]:
    if barrier.waiting and barrier.parties != command.parties:
        return [BarrierRefused(at.request, command.agent, "parties", barrier.parties)]
    if len(barrier.waiting) + 1 >= command.parties:
        return [BarrierPassed((*[party.request for party in barrier.waiting], at.request))]
    until_ms = None if command.wait_ms is None else at.now_ms + command.wait_ms
    lease_deadline_ms = at.now_ms + command.lease_ms
    terms = (command.parties, command.lease_ms, lease_deadline_ms, until_ms)
    return [BarrierReached(at.request, command.agent, *terms)]


def _renew(barrier: Barrier, command: RenewLease, at: At) -> list[Event]:
    if command.request not in [party.request for party in barrier.waiting]:
        return [RenewalRefused(command.agent, command.token, None, None, command.request)]
    deadline_ms = at.now_ms + command.lease_ms
    return [LeaseRenewed(command.agent, command.token, command.lease_ms, deadline_ms, command.request)]


def _withdraw(barrier: Barrier, command: WithdrawRequest, _: At) -> list[Event]:
    if command.request not in [party.request for party in barrier.waiting]:
        return []
    return [_broken(barrier, command.agent, "withdrawn")]


def _drop(barrier: Barrier, command: DropRequest, _: At) -> list[Event]:
    for party in barrier.waiting:
        if party.request == command.request:
            return [_broken(barrier, party.agent, "failed")]
    return []


def _denied(_: Barrier, command: AcquireLock, at: At) -> list[Event]:
    return [LockDenied(at.request, command.agent, "barrier", "", 0, 0, 0, 0)]


def _no_lock(_: Barrier, command: ReleaseLock | RevokeLease, __: At) -> list[Event]:
    return [ReleaseRefused(command.agent, command.token, None, None, command.request)]


def _no_condition(_: Barrier, command: WaitOnCondition | NotifyCondition, at: At) -> list[Event]:
    return [ConditionRefused(at.request, command.agent, command.token, "not_holder", None, None)]


_ANSWERS: Final[Mapping[type[Command], Callable[[Barrier, Any, At], list[Event]]]] = {
    ReachBarrier: _reach,
    RenewLease: _renew,
    WithdrawRequest: _withdraw,
    AcquireLock: _denied,
    ReleaseLock: _no_lock,
    RevokeLease: _no_lock,
    WaitOnCondition: _no_condition,
    NotifyCondition: _no_condition,
    BreakDeadlock: lambda _, __, ___: [],
    DropRequest: _drop,
    PinLease: lambda _, c, __: [
        PinRefused(c.agent, c.transaction, c.token, "not_holder", "it is a barrier, no lock", None, None)
    ],
    UnpinLease: lambda _, c, __: [PinGone(c.transaction, c.outcome)],
    Tick: lambda _, __, ___: [],
    ReportStaleWrite: lambda _, c, __: [StaleWriteRefused(c.agent, c.resource, c.token, c.highest_token)],
}
