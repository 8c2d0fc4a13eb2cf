"""Locks: a mutex a key, with lease, fencing token and a first-come queue."""

from accord.schemas.messages import Command, Event


class AcquireLock(Command, frozen=True):
    agent: str
    owner: str
    lease_ms: int
    wait_ms: int | None


class RenewLease(Command, frozen=True):
    agent: str
    token: int
    lease_ms: int


class ReleaseLock(Command, frozen=True):
    agent: str
    token: int


class WithdrawRequest(Command, frozen=True):
    agent: str
    request: str


class ReportStaleWrite(Command, frozen=True):
    agent: str
    resource: str
    token: int
    highest_token: int


class LockGranted(Event, frozen=True):
    request: str
    agent: str
    owner: str
    token: int
    lease_ms: int
    deadline_ms: int


class LockQueued(Event, frozen=True):
    request: str
    agent: str
    owner: str
    lease_ms: int
    since_ms: int
    deadline_ms: int | None
    place: int


class LockDenied(Event, frozen=True):
    request: str
    agent: str
    reason: str
    holder: str
    token: int
    held_ms: int
    place: int
    waiting: int


class RequestWithdrawn(Event, frozen=True):
    request: str
    agent: str


class LeaseRenewed(Event, frozen=True):
    agent: str
    token: int
    lease_ms: int
    deadline_ms: int


class LockReleased(Event, frozen=True):
    agent: str
    token: int


class LeaseExpired(Event, frozen=True):
    agent: str
    token: int
    deadline_ms: int


class RenewalRefused(Event, frozen=True):
    agent: str
    token: int
    holder: str | None
    current_token: int | None


class ReleaseRefused(Event, frozen=True):
    agent: str
    token: int
    holder: str | None
    current_token: int | None


class StaleWriteRefused(Event, frozen=True):
    agent: str
    resource: str
    token: int
    highest_token: int


COMMANDS = (AcquireLock, RenewLease, ReleaseLock, WithdrawRequest, ReportStaleWrite)
EVENTS = (
    LockGranted,
    LockQueued,
    LockDenied,
    RequestWithdrawn,
    LeaseRenewed,
    LockReleased,
    LeaseExpired,
    RenewalRefused,
    ReleaseRefused,
    StaleWriteRefused,
)
