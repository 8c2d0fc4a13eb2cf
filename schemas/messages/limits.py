from accord.schemas.messages import Command, Event
from accord.schemas.messages.waits import Wait


class ConfigurePool(Command, frozen=True):
    agent: str
    capacity: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    roles: tuple[str, ...]
    shares: tuple[str, ...]
    weights: tuple[int, ...]


class RequestCapacity(Command, frozen=True):
    agent: str
    owner: str
    role: str
    amount: int
    mode: str
    priority: int
    tokens: int
    lease_ms: int
    wait_ms: int | None
    must_exist: bool


class RenewLease(Command, frozen=True):
    agent: str
    token: int
    request: str
    lease_ms: int


class ReleaseCapacity(Command, frozen=True):
    agent: str
    token: int
    request: str
    used_tokens: int | None
    retry_after_ms: int | None


class WithdrawRequest(Command, frozen=True):
    agent: str
    request: str


class ReportStaleWrite(Command, frozen=True):
    agent: str
    resource: str
    token: int
    highest_token: int


class BreakDeadlock(Command, frozen=True):
    request: str
    token: int
    cycle: tuple[Wait, ...]


class PinLease(Command, frozen=True):
    agent: str
    transaction: str
    token: int
    request: str
    due_ms: int


class UnpinLease(Command, frozen=True):
    transaction: str
    outcome: str


class PoolConfigured(Event, frozen=True):
    agent: str
    capacity: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    roles: tuple[str, ...]
    shares: tuple[str, ...]
    weights: tuple[int, ...]
    configured_ms: int


class CapacityGranted(Event, frozen=True):
    request: str
    agent: str
    owner: str
    role: str
    token: int
    amount: int
    mode: str
    priority: int
    tokens: int
    lease_ms: int
    deadline_ms: int
    waited_ms: int
    reason: str


class CapacityQueued(Event, frozen=True):
    request: str
    agent: str
    owner: str
    role: str
    amount: int
    mode: str
    priority: int
    tokens: int
    lease_ms: int
    since_ms: int
    deadline_ms: int | None
    place: int
    reason: str


class CapacityDenied(Event, frozen=True):
    request: str
    agent: str
    role: str
    reason: str
    amount: int
    capacity: int
    in_use: int
    holder: str
    place: int
    waiting: int
    retry_after_ms: int | None


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
    request: str
    lease_ms: int
    deadline_ms: int


class CapacityReleased(Event, frozen=True):
    agent: str
    token: int
    request: str
    released_ms: int
    used_tokens: int | None


class LeaseExpired(Event, frozen=True):
    agent: str
    token: int
    request: str
    deadline_ms: int


class RenewalRefused(Event, frozen=True):
    agent: str
    token: int
    request: str


class ReleaseRefused(Event, frozen=True):
    agent: str
    token: int
    request: str


class PoolPaused(Event, frozen=True):
    agent: str
    request: str
    until_ms: int


class PoolResumed(Event, frozen=True):
    until_ms: int


class StaleWriteRefused(Event, frozen=True):
    agent: str
    resource: str
    token: int
    highest_token: int


class LeasePinned(Event, frozen=True):
    agent: str
    transaction: str
    token: int
    request: str
    due_ms: int
    pinned_ms: int


class PinRefused(Event, frozen=True):
    agent: str
    transaction: str
    token: int
    reason: str
    description: str


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
    ConfigurePool,
    RequestCapacity,
    RenewLease,
    ReleaseCapacity,
    WithdrawRequest,
    BreakDeadlock,
    ReportStaleWrite,
    PinLease,
    UnpinLease,
)
EVENTS = (
    PoolConfigured,
    CapacityGranted,
    CapacityQueued,
    CapacityDenied,
    RequestWithdrawn,
    LeaseRenewed,
    CapacityReleased,
    LeaseExpired,
    RenewalRefused,
    ReleaseRefused,
    PoolPaused,
    PoolResumed,
    DeadlockBroken,
    StaleWriteRefused,
    LeasePinned,
    PinRefused,
    PinRepeated,
    LeaseUnpinned,
    PinGone,
    PinOutcomeWanted,
)
