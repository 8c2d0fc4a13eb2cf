"""Locks: one a key, held by one alone or shared by several, with leases, fencing tokens and a queue."""

from accord.schemas.messages import Command, Event
from accord.schemas.messages.waits import Wait


class AcquireLock(Command, frozen=True):
    agent: str
    owner: str
    lease_ms: int
    wait_ms: int | None
    permits: int | None = None
    priority: int = 0


class RenewLease(Command, frozen=True):
    agent: str
    token: int
    lease_ms: int
    request: str | None = None


class ReleaseLock(Command, frozen=True):
    agent: str
    token: int
    request: str | None = None


class WithdrawRequest(Command, frozen=True):
    agent: str
    request: str


class RevokeLease(Command, frozen=True):
    agent: str
    token: int
    reason: str
    request: str | None = None


class DropRequest(Command, frozen=True):
    by: str
    request: str
    reason: str


class BreakDeadlock(Command, frozen=True):
    request: str
    token: int
    cycle: tuple[Wait, ...]


class WaitOnCondition(Command, frozen=True):
    agent: str
    token: int
    wait_ms: int | None


class NotifyCondition(Command, frozen=True):
    agent: str
    token: int
    count: int | None


class ReachBarrier(Command, frozen=True):
    agent: str
    parties: int
    lease_ms: int
    wait_ms: int | None


class ReportStaleWrite(Command, frozen=True):
    agent: str
    resource: str
    token: int
    highest_token: int


class PinLease(Command, frozen=True):
    agent: str
    transaction: str
    token: int
    request: str | None
    due_ms: int


class UnpinLease(Command, frozen=True):
    transaction: str
    outcome: str


class LockGranted(Event, frozen=True):
    request: str
    agent: str
    owner: str
    token: int
    lease_ms: int
    deadline_ms: int
    permits: int | None = None


class LockQueued(Event, frozen=True):
    request: str
    agent: str
    owner: str
    lease_ms: int
    since_ms: int
    deadline_ms: int | None
    place: int
    permits: int | None = None
    priority: int = 0


class LockDenied(Event, frozen=True):
    request: str
    agent: str
    reason: str
    holder: str
    token: int
    held_ms: int
    place: int
    waiting: int
    permits: int | None = None


class RequestWithdrawn(Event, frozen=True):
    request: str
    agent: str


class DeadlockBroken(Event, frozen=True):
    request: str
    agent: str
    cycle: tuple[Wait, ...]


class LeaseRenewed(Event, frozen=True):
    agent: str
    token: int
    lease_ms: int
    deadline_ms: int
    request: str | None = None


class LockReleased(Event, frozen=True):
    agent: str
    token: int
    request: str | None = None


class LeaseExpired(Event, frozen=True):
    agent: str
    token: int
    deadline_ms: int
    request: str | None = None


class LeaseRevoked(Event, frozen=True):
    agent: str
    token: int
    by: str
    reason: str
    request: str | None = None


class RenewalRefused(Event, frozen=True):
    agent: str
    token: int
    holder: str | None
    current_token: int | None
    request: str | None = None


class ReleaseRefused(Event, frozen=True):
    agent: str
    token: int
    holder: str | None
    current_token: int | None
    request: str | None = None


class ConditionAwaited(Event, frozen=True):
    request: str
    agent: str
    owner: str
    token: int
    lease_ms: int
    since_ms: int
    deadline_ms: int | None


class ConditionNotified(Event, frozen=True):
    agent: str
    requests: tuple[str, ...]


class ConditionTimedOut(Event, frozen=True):
    request: str
    agent: str
    deadline_ms: int


class ConditionRefused(Event, frozen=True):
    request: str
    agent: str
    token: int
    reason: str
    holder: str | None
    current_token: int | None


class BarrierReached(Event, frozen=True):
    request: str
    agent: str
    parties: int
    lease_ms: int
    lease_deadline_ms: int
    wait_deadline_ms: int | None


class BarrierPassed(Event, frozen=True):
    requests: tuple[str, ...]


class BarrierBroken(Event, frozen=True):
    agent: str
    reason: str
    requests: tuple[str, ...]


class BarrierRefused(Event, frozen=True):
    request: str
    agent: str
    reason: str
    parties: int


class StaleWriteRefused(Event, frozen=True):
    agent: str
    resource: str
    token: int
    highest_token: int


class LeasePinned(Event, frozen=True):
    agent: str
    transaction: str
    token: int
    request: str | None
    due_ms: int
    pinned_ms: int


class PinRefused(Event, frozen=True):
    agent: str
    transaction: str
    token: int
    reason: str
    description: str
    holder: str | None
    current_token: int | None


class PinRepeated(Event, frozen=True):
    transaction: str


class LeaseUnpinned(Event, frozen=True):
    agent: str
    transaction: str
    outcome: str


class PinGone(Event, frozen=True):
    transaction: str
    outcome: str


class PinOutcomeWanted(Event, frozen=True):
    transaction: str
    times: int
    asked_ms: int


COMMANDS = (
    AcquireLock,
    RenewLease,
    ReleaseLock,
    WithdrawRequest,
    RevokeLease,
    WaitOnCondition,
    NotifyCondition,
    ReachBarrier,
    ReportStaleWrite,
    BreakDeadlock,
    PinLease,
    UnpinLease,
    DropRequest,
)
EVENTS = (
    LockGranted,
    LockQueued,
    LockDenied,
    RequestWithdrawn,
    LeaseRenewed,
    LockReleased,
    LeaseExpired,
    LeaseRevoked,
    RenewalRefused,
    ReleaseRefused,
    ConditionAwaited,
    ConditionNotified,
    ConditionTimedOut,
    ConditionRefused,
    BarrierReached,
    BarrierPassed,
    BarrierBroken,
    BarrierRefused,
    StaleWriteRefused,
    DeadlockBroken,
    LeasePinned,
    PinRefused,
    PinRepeated,
    LeaseUnpinned,
    PinGone,
    PinOutcomeWanted,
)
