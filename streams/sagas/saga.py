"""A saga: its steps and how far they are, who runs it, and what events make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from accord.schemas.messages import Event
from accord.schemas.messages.sagas import (
    CompensationBegun,
    LeaseRenewed,
    RenewalRefused,
    ResultIgnored,
    RetryRefused,
    RunnerLost,
    SagaBegun,
    SagaCompensated,
    SagaCompleted,
    SagaForgotten,
    SagaKnown,
    SagaOffered,
    SagaRead,
    SagaRefused,
    SagaRetried,
    SagaStep,
    SagaStuck,
    SagaTaken,
    SagaUnknown,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepStarted,
    StepTimedOut,
    TakeRefused,
)
from accord.schemas.messages.tasks import Payload
from accord.streams.sagas.bounds import OFFER_MS, OFFER_MS_MAX, OFFERS_MAX, STUCK_KEEP_MS

RUNNING: Final = "running"
COMPENSATING: Final = "compensating"
COMPLETED: Final = "completed"
COMPENSATED: Final = "compensated"
STUCK: Final = "stuck"
STATUSES: Final = (RUNNING, COMPENSATING, COMPLETED, COMPENSATED, STUCK)
ENDS: Final = (COMPLETED, COMPENSATED, STUCK)

PENDING: Final = "pending"
FAILED: Final = "failed"
IN_DOUBT: Final = "in_doubt"

_replace: Final = msgspec.structs.replace


class Progress(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How far a step is. `failures` are those since it began, was begun to be undone, or was retried by hand.

    `doubtful`: some run of it ended so that nobody knows whether it has taken effect.
    """

    status: str = PENDING
    tries: int = 0
    undo_tries: int = 0
    failures: int = 0
    doubtful: bool = False
    result: Payload | None = None
    error_type: str = ""
    error: str = ""


class Saga(msgspec.Struct, frozen=True, omit_defaults=True):
    """A saga. `at` is the number of the step whose turn it is, or its compensation's; None: all is done.

    `runs` counts the runs, `run` is the one under way. `due_ms` is when that takes too long; without one, before when
    the next does not begin. `runner` is empty while nobody runs it; then it was offered `times` times, last at
    `offered_ms`. `failed` is the number of the step at which it was given up.
    """

    agent: str
    name: str
    steps: tuple[SagaStep, ...]
    input: Payload
    keep_ms: int
    trail: tuple[str, ...]
    begun_ms: int
    progress: tuple[Progress, ...]
    status: str = RUNNING
    at: int | None = 0
    runs: int = 0
    run: int | None = None
    due_ms: int | None = None
    attempt: int = 0
    runner: str = ""
    runner_agent: str = ""
    lease_ms: int = 0
    until_ms: int = 0
    times: int = 0
    offered_ms: int = 0
    failed: int | None = None
    reason: str = ""
    description: str = ""
    ended_ms: int | None = None

    @property
    def has_ended(self) -> bool:
        return self.ended_ms is not None

    @property
    def undoes(self) -> bool:
        return self.status == COMPENSATING

    @property
    def next_ms(self) -> int | None:
        """When something happens of itself."""
        if self.ended_ms is not None:
            return self.ended_ms + (STUCK_KEEP_MS if self.status == STUCK else self.keep_ms)
        if self.runner:
            return self.until_ms if self.due_ms is None else min(self.until_ms, self.due_ms)
        if not 0 < self.times < OFFERS_MAX:
            return None
        return self.offered_ms + min(OFFER_MS << min(self.times - 1, 16), OFFER_MS_MAX)


def evolve(state: Saga | None, event: Event) -> Saga | None:
    """The saga after an event."""
    change = _CHANGES.get(type(event))
    if change is None:
        raise TypeError(f"the sagas domain has no event {type(event).__name__}")
    return change(state, event)


def _with(saga: Saga, **terms: Any) -> tuple[Progress, ...]:
    """The progress of all steps, with something new of the one whose turn it is."""
    at = saga.at
    return tuple([_replace(one, **terms) if number == at else one for number, one in enumerate(saga.progress)])


def _turn(saga: Saga) -> Progress:
    assert saga.at is not None
    return saga.progress[saga.at]


def _begun(_: Saga | None, e: SagaBegun) -> Saga:
    progress = (Progress(),) * len(e.steps)
    return Saga(e.agent, e.name, e.steps, e.input, e.keep_ms, e.trail, e.begun_ms, progress)


def _offered(saga: Saga, e: SagaOffered) -> Saga:
    return _replace(saga, times=e.times, offered_ms=e.offered_ms)


def _taken(saga: Saga, e: SagaTaken) -> Saga:
    return _replace(
        saga,
        runner=e.runner,
        runner_agent=e.agent,
        attempt=e.attempt,
        lease_ms=e.lease_ms,
        until_ms=e.until_ms,
        times=0,
    )


def _renewed(saga: Saga, e: LeaseRenewed) -> Saga:
    return _replace(saga, until_ms=e.until_ms)


def _lost(saga: Saga, e: RunnerLost) -> Saga:
    progress, due_ms = saga.progress, saga.due_ms
    if e.run is not None:
        error = f"its process ({e.agent}) was lost" if e.reason == "lease" else f"its process ({e.agent}) gave it back"
        progress = _with(saga, failures=e.failures, doubtful=True, error_type="RunnerLost", error=error)
    if saga.run is not None:
        due_ms = None
    return _replace(saga, progress=progress, run=None, due_ms=due_ms, runner="", runner_agent="")


def _started(saga: Saga, e: StepStarted) -> Saga:
    if e.undo:
        progress = _with(saga, status=COMPENSATING, undo_tries=e.tries + 1)
    else:
        progress = _with(saga, status=RUNNING, tries=e.tries + 1)
    return _replace(saga, progress=progress, runs=e.run, run=e.run, due_ms=e.due_ms)


def _completed(saga: Saga, e: StepCompleted) -> Saga:
    assert saga.at is not None
    progress = _with(saga, status=COMPLETED, failures=0, result=e.result)
    at = saga.at + 1
    return _replace(saga, progress=progress, at=at if at < len(saga.steps) else None, run=None, due_ms=None)


def _compensated(saga: Saga, _: StepCompensated) -> Saga:
    return _replace(
        saga, progress=_with(saga, status=COMPENSATED), at=saga.at - 1 if saga.at else None, run=None, due_ms=None
    )


def _failed(saga: Saga, e: StepFailed) -> Saga:
    doubtful = _turn(saga).doubtful or (e.in_doubt and not e.undo)
    progress = _with(saga, failures=e.failures, doubtful=doubtful, error_type=e.error_type, error=e.error)
    return _replace(saga, progress=progress, run=None, due_ms=e.retry_ms)


def _timed_out(saga: Saga, e: StepTimedOut) -> Saga:
    assert saga.at is not None
    error = f"took more than {saga.steps[saga.at].timeout_ms} ms"
    progress = _with(saga, failures=e.failures, doubtful=True, error_type="TimeoutError", error=error)
    return _replace(saga, progress=progress, run=None, due_ms=e.retry_ms)


def _gives_up(saga: Saga, e: CompensationBegun) -> Saga:
    assert saga.at is not None
    turn = _turn(saga)
    doubtful = turn.doubtful or saga.run is not None
    status = IN_DOUBT if doubtful else FAILED if turn.failures else PENDING
    progress = _with(saga, status=status, failures=0, doubtful=doubtful)
    first = saga.at if len(e.steps) > saga.at else saga.at - 1
    return _replace(
        saga, progress=progress, status=COMPENSATING, at=first if e.steps else None, run=None, due_ms=None,
        failed=saga.at, reason=e.reason, description=e.description,
    )  # fmt: skip


def _ended(status: str) -> Callable[[Saga, Any], Saga]:
    def ended(saga: Saga, e: Any) -> Saga:
        return _replace(saga, status=status, ended_ms=e.ended_ms, runner="", runner_agent="")

    return ended


def _stuck(saga: Saga, e: SagaStuck) -> Saga:
    return _replace(
        saga, status=STUCK, progress=_with(saga, status=STUCK), ended_ms=e.stuck_ms, runner="", runner_agent="",
        due_ms=None,
    )  # fmt: skip


def _retried(saga: Saga, _: SagaRetried) -> Saga:
    progress = _with(saga, status=COMPENSATING, failures=0)
    return _replace(saga, status=COMPENSATING, progress=progress, ended_ms=None)


def _forgotten(_: Saga, __: SagaForgotten) -> None:
    return None


def _unchanged(saga: Saga | None, _: Event) -> Saga | None:
    return saga


_CHANGES: Final[Mapping[type[Event], Callable[[Any, Any], Saga | None]]] = {
    SagaBegun: _begun,
    SagaOffered: _offered,
    SagaTaken: _taken,
    LeaseRenewed: _renewed,
    RunnerLost: _lost,
    StepStarted: _started,
    StepCompleted: _completed,
    StepCompensated: _compensated,
    StepFailed: _failed,
    StepTimedOut: _timed_out,
    CompensationBegun: _gives_up,
    SagaCompleted: _ended(COMPLETED),
    SagaCompensated: _ended(COMPENSATED),
    SagaStuck: _stuck,
    SagaRetried: _retried,
    SagaForgotten: _forgotten,
    **dict.fromkeys(
        (SagaKnown, SagaRefused, SagaUnknown, TakeRefused, RenewalRefused, ResultIgnored, RetryRefused, SagaRead),
        _unchanged,
    ),
}
