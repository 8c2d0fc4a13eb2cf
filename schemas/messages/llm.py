"""Calls of language models: who makes them, what they cost, and the answers that are kept for the next who asks."""

from accord.schemas.messages import Command, Event


class RequestAnswer(Command, frozen=True):
    agent: str
    task: str
    step: str
    run: int
    model: str
    ttl_ms: int
    lease_ms: int


class RenewLease(Command, frozen=True):
    agent: str
    token: int
    lease_ms: int


class RecordCall(Command, frozen=True):
    agent: str
    task: str
    step: str
    model: str
    token: int | None
    outcome: str
    answered_by: str
    input_tokens: int
    output_tokens: int
    cost_microusd: int | None
    duration_ms: int
    tries: int
    ttl_ms: int
    error_type: str
    error: str
    text: str | None


class WithdrawRequest(Command, frozen=True):
    agent: str
    request: str


class ForgetAnswer(Command, frozen=True):
    agent: str


class AnswerReused(Event, frozen=True):
    agent: str
    task: str
    step: str
    model: str
    answered_by: str
    input_tokens: int
    output_tokens: int
    cost_microusd: int | None
    recorded_ms: int
    text: str


class AnswerAwaited(Event, frozen=True):
    request: str
    agent: str
    task: str
    step: str
    run: int
    model: str
    lease_ms: int


class AnswerDenied(Event, frozen=True):
    agent: str
    reason: str
    waiting: int


class CallGranted(Event, frozen=True):
    request: str
    agent: str
    task: str
    step: str
    run: int
    model: str
    token: int
    lease_ms: int
    deadline_ms: int


class LeaseRenewed(Event, frozen=True):
    agent: str
    token: int
    deadline_ms: int


class RenewalRefused(Event, frozen=True):
    agent: str
    token: int


class LeaseEnded(Event, frozen=True):
    request: str
    agent: str
    token: int
    reason: str


class RequestWithdrawn(Event, frozen=True):
    request: str
    agent: str


class CallRecorded(Event, frozen=True):
    agent: str
    task: str
    step: str
    model: str
    token: int | None
    outcome: str
    answered_by: str
    input_tokens: int
    output_tokens: int
    cost_microusd: int | None
    duration_ms: int
    tries: int
    recorded_ms: int
    until_ms: int | None
    requests: tuple[str, ...]
    error_type: str
    error: str
    text: str | None


class AnswerExpired(Event, frozen=True):
    until_ms: int


class AnswerForgotten(Event, frozen=True):
    agent: str
    was_kept: bool


COMMANDS = (RequestAnswer, RenewLease, RecordCall, WithdrawRequest, ForgetAnswer)
EVENTS = (
    AnswerReused,
    AnswerAwaited,
    AnswerDenied,
    CallGranted,
    LeaseRenewed,
    RenewalRefused,
    LeaseEnded,
    RequestWithdrawn,
    CallRecorded,
    AnswerExpired,
    AnswerForgotten,
)
