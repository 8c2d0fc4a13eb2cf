"""Sagas: steps with compensations; see `accord.streams.sagas`."""

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.tasks import Payload


class SagaStep(msgspec.Struct, frozen=True, gc=False):
    """A step as it was defined; `undo` says whether it has a compensation. Times are in ms."""

    name: str
    undo: bool
    retries: int
    undo_retries: int
    pause_ms: int
    timeout_ms: int


class StepRead(msgspec.Struct, frozen=True, gc=False):
    """A step as it stands. `error_type` and `error` are of its last failure, in either direction."""

    name: str
    status: str
    tries: int
    undo_tries: int
    result: Payload | None
    error_type: str
    error: str


class BeginSaga(Command, frozen=True):
    agent: str
    runner: str
    name: str
    steps: tuple[SagaStep, ...]
    input: Payload
    lease_ms: int
    keep_ms: int
    trail: tuple[str, ...]


class TakeSaga(Command, frozen=True):
    agent: str
    runner: str
    lease_ms: int


class RenewSaga(Command, frozen=True):
    agent: str
    attempt: int


class ReleaseSaga(Command, frozen=True):
    agent: str
    attempt: int
    unbegun: int | None


class CompleteStep(Command, frozen=True):
    agent: str
    step: str
    undo: bool
    run: int
    result: Payload


class FailStep(Command, frozen=True):
    agent: str
    step: str
    undo: bool
    run: int
    error_type: str
    error: str
    final: bool
    in_doubt: bool


class CancelSaga(Command, frozen=True):
    agent: str
    reason: str


class RetrySaga(Command, frozen=True):
    agent: str


class ReadSaga(Command, frozen=True):
    agent: str


class SagaBegun(Event, frozen=True):
    agent: str
    name: str
    steps: tuple[SagaStep, ...]
    input: Payload
    keep_ms: int
    trail: tuple[str, ...]
    begun_ms: int


class SagaKnown(Event, frozen=True):
    agent: str
    status: str


class SagaRefused(Event, frozen=True):
    agent: str
    reason: str


class SagaUnknown(Event, frozen=True):
    agent: str
    command: str


class SagaOffered(Event, frozen=True):
    agent: str
    name: str
    times: int
    trail: tuple[str, ...]
    offered_ms: int


class SagaTaken(Event, frozen=True):
    agent: str
    runner: str
    attempt: int
    lease_ms: int
    until_ms: int


class TakeRefused(Event, frozen=True):
    agent: str
    runner: str
    reason: str


class LeaseRenewed(Event, frozen=True):
    agent: str
    attempt: int
    until_ms: int


class RenewalRefused(Event, frozen=True):
    agent: str
    attempt: int
    reason: str


class RunnerLost(Event, frozen=True):
    agent: str
    runner: str
    attempt: int
    reason: str
    step: str
    undo: bool
    run: int | None
    failures: int


class StepStarted(Event, frozen=True):
    agent: str
    runner: str
    step: str
    undo: bool
    run: int
    tries: int
    timeout_ms: int
    due_ms: int


class StepCompleted(Event, frozen=True):
    agent: str
    step: str
    run: int
    result: Payload
    completed_ms: int


class StepCompensated(Event, frozen=True):
    agent: str
    step: str
    run: int
    compensated_ms: int


class StepFailed(Event, frozen=True):
    agent: str
    runner: str
    step: str
    undo: bool
    run: int
    error_type: str
    error: str
    in_doubt: bool
    failures: int
    retry_ms: int | None


class StepTimedOut(Event, frozen=True):
    agent: str
    runner: str
    step: str
    undo: bool
    run: int
    failures: int
    retry_ms: int | None


class ResultIgnored(Event, frozen=True):
    agent: str
    step: str
    undo: bool
    run: int
    reason: str


class CompensationBegun(Event, frozen=True):
    agent: str
    runner: str
    step: str
    reason: str
    description: str
    steps: tuple[str, ...]


class SagaCompleted(Event, frozen=True):
    agent: str
    runner: str
    ended_ms: int


class SagaCompensated(Event, frozen=True):
    agent: str
    runner: str
    step: str
    reason: str
    ended_ms: int


class SagaStuck(Event, frozen=True):
    agent: str
    runner: str
    name: str
    step: str
    reason: str
    error_type: str
    error: str
    attempts: int
    stuck_ms: int


class SagaRetried(Event, frozen=True):
    agent: str
    step: str


class RetryRefused(Event, frozen=True):
    agent: str
    status: str


class SagaForgotten(Event, frozen=True):
    ended_ms: int


class SagaRead(Event, frozen=True):
    agent: str
    beginner: str
    name: str
    status: str
    input: Payload
    steps: tuple[StepRead, ...]
    at: str
    failed_step: str
    reason: str
    description: str
    runner_agent: str
    attempt: int
    trail: tuple[str, ...]
    begun_ms: int
    ended_ms: int | None


COMMANDS = (
    BeginSaga,
    TakeSaga,
    RenewSaga,
    ReleaseSaga,
    CompleteStep,
    FailStep,
    CancelSaga,
    RetrySaga,
    ReadSaga,
)
EVENTS = (
    SagaBegun,
    SagaKnown,
    SagaRefused,
    SagaUnknown,
    SagaOffered,
    SagaTaken,
    TakeRefused,
    LeaseRenewed,
    RenewalRefused,
    RunnerLost,
    StepStarted,
    StepCompleted,
    StepCompensated,
    StepFailed,
    StepTimedOut,
    ResultIgnored,
    CompensationBegun,
    SagaCompleted,
    SagaCompensated,
    SagaStuck,
    SagaRetried,
    RetryRefused,
    SagaForgotten,
    SagaRead,
)
