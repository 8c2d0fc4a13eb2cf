"""Sagas: one aggregate a saga; steps one after the other and, if one cannot be done, the undoing of those before it.

    running --all steps done--> completed
       |  a step is given up, or somebody cancels
       v
    compensating --all undone--> compensated
       ^  |  a compensation is given up
       |  v
    stuck: a dead letter, until somebody retries it

Rules:
- Only the last step may be without a compensation: of every other step that was done it can be undone.
- One process at a time runs a saga, under a lease by the log's clock. It is told which step to run by an event, and the
  end of a run brings the next one. What is told of any other run than the one under way does not count.
- A failed run is repeated after a pause that grows, as often as the step says; then the step is given up.
- Compensations run in reverse order, one after the other, from the step before the one that was given up. That one is
  undone, too, if a run of it is in doubt: it took too long, its process was lost, or it said so itself.
- A step that was done is never run again, nor is a compensation that was. One that is in doubt is run again: so both
  run at least once, under a key that stays the same.
- A compensation that was given up stops the saga: nothing before it is undone until somebody has it run again.
- Nobody runs a saga that was begun so, whose lease is over, or that was given back. It is offered, again and again.
- A saga that ended is remembered for as long as who began it said; then its id is free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.sagas import (
    BeginSaga,
    CancelSaga,
    CompensationBegun,
    CompleteStep,
    FailStep,
    LeaseRenewed,
    ReadSaga,
    ReleaseSaga,
    RenewalRefused,
    RenewSaga,
    ResultIgnored,
    RetryRefused,
    RetrySaga,
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
    StepRead,
    StepStarted,
    StepTimedOut,
    TakeRefused,
    TakeSaga,
)
from accord.schemas.messages.signals import EmitSignal
from accord.streams.decider import At, Domain, Failure, Order
from accord.streams.sagas.bounds import ERROR_CHARS_MAX, PAUSE_MS_CAP, problem_of
from accord.streams.sagas.saga import RUNNING, STUCK, Progress, Saga, evolve
from accord.streams.signals.decider import TRAIL_MAX

CANCELLED: Final = "cancelled"
FAILED: Final = "failed"
TIMED_OUT: Final = "timed_out"
LOST: Final = "lost"


class SagaDecider:
    """Version 1."""

    state_type = Saga

    def decide(self, state: Saga | None, command: Command, at: At) -> Sequence[Event]:
        problem = problem_of(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        draft = Draft(state, at)
        draft.let_time_pass()
        if draft.saga is None:
            _of_no_saga(draft, command)
        else:
            _ANSWERS[type(command)](draft, draft.saga, command)
        return draft.events

    def evolve(self, state: Saga | None, event: Event) -> Saga | None:
        return evolve(state, event)

    def deadline_ms(self, state: Saga) -> int | None:
        return state.next_ms


class Draft:
    """A decision as it comes into being: its events, and the saga after them."""

    def __init__(self, saga: Saga | None, at: At) -> None:
        self.saga: Any = saga
        self.at = at
        self.events: list[Event] = []

    def add(self, event: Event) -> None:
        self.events.append(event)
        self.saga = evolve(self.saga, event)

    # -- time

    def let_time_pass(self) -> None:
        """What is due by now, in order of time."""
        while self.saga is not None and self.saga.next_ms is not None and self.saga.next_ms <= self.at.now_ms:
            self._is_due(self.saga)

    def _is_due(self, saga: Saga) -> None:
        if saga.ended_ms is not None:
            self.add(SagaForgotten(saga.ended_ms))
        elif not saga.runner:
            self.offer()
        elif saga.due_ms is None or saga.until_ms < saga.due_ms:
            self.lose("lease")
        elif saga.run is None:
            self.start()
        else:
            self._time_is_over(saga, saga.run)

    def _time_is_over(self, saga: Saga, run: int) -> None:
        step, turn = self.turn()
        failures = turn.failures + 1
        retry_ms = self.retry_ms(failures)
        self.add(StepTimedOut(saga.runner_agent, saga.runner, step.name, saga.undoes, run, failures, retry_ms))
        if retry_ms is None:
            self.give_up(TIMED_OUT)

    # -- what follows from the end of a run

    def turn(self) -> tuple[SagaStep, Progress]:
        """The step whose turn it is, or its compensation's."""
        return self.saga.steps[self.saga.at], self.saga.progress[self.saga.at]

    def retry_ms(self, failures: int) -> int | None:
        """When the run that has failed is repeated; None: it was the last."""
        step, _ = self.turn()
        if failures > (step.undo_retries if self.saga.undoes else step.retries):
            return None
        pause_ms: int = min(step.pause_ms << min(failures - 1, 16), max(step.pause_ms, PAUSE_MS_CAP))
        return self.at.now_ms + pause_ms

    def give_up(self, reason: str, *, final: bool = False) -> None:
        """No run of the step, or of its compensation, is going to follow."""
        saga = self.saga
        step, turn = self.turn()
        if saga.undoes:
            why = "Failed" if final else "MaxRetriesExceeded"
            self.add(
                SagaStuck(
                    saga.agent, saga.runner, saga.name, step.name, why, turn.error_type, turn.error, turn.undo_tries,
                    self.at.now_ms,
                )
            )  # fmt: skip
        else:
            self.compensate(saga.agent, reason, f"{turn.error_type}: {turn.error}")

    def compensate(self, agent: str, reason: str, description: str) -> None:
        """Has what was done undone, the last first."""
        saga = self.saga
        step, turn = self.turn()
        itself = step.undo and (turn.doubtful or saga.run is not None)
        names = [one.name for one in saga.steps[: saga.at + itself]]
        self.add(CompensationBegun(agent, saga.runner, step.name, reason, description, tuple(reversed(names))))
        self.go_on()

    def go_on(self) -> None:
        """Starts what comes next, ends the saga if nothing does, or offers it if nobody is there to run it."""
        saga, now_ms = self.saga, self.at.now_ms
        if saga.at is None and saga.undoes:
            failed = saga.steps[saga.failed].name
            self.add(SagaCompensated(saga.agent, saga.runner, failed, saga.reason, now_ms))
        elif saga.at is None:
            self.add(SagaCompleted(saga.agent, saga.runner, now_ms))
        elif not saga.runner:
            if not saga.times:
                self.offer()
        elif saga.due_ms is None or saga.due_ms <= now_ms:
            self.start()

    def start(self) -> None:
        """Has the runner run the step whose turn it is, or its compensation."""
        saga = self.saga
        step, turn = self.turn()
        tries = turn.undo_tries if saga.undoes else turn.tries
        due_ms = self.at.now_ms + step.timeout_ms
        self.add(
            StepStarted(
                saga.runner_agent, saga.runner, step.name, saga.undoes, saga.runs + 1, tries, step.timeout_ms, due_ms
            )
        )

    # -- runners

    def offer(self) -> None:
        saga = self.saga
        self.add(SagaOffered(saga.agent, saga.name, saga.times + 1, saga.trail, self.at.now_ms))

    def take(self, agent: str, runner: str, lease_ms: int) -> None:
        self.add(SagaTaken(agent, runner, self.saga.attempt + 1, lease_ms, self.at.now_ms + lease_ms))

    def lose(self, reason: str, unbegun: int | None = None) -> None:
        """The runner is gone. A run that it has begun, as far as is known, is in doubt and counts as failed."""
        saga = self.saga
        step, turn = self.turn()
        run = None if saga.run == unbegun else saga.run
        failures = turn.failures + (run is not None)
        over = run is not None and self.retry_ms(failures) is None
        self.add(
            RunnerLost(
                saga.runner_agent, saga.runner, saga.attempt, reason, step.name, saga.undoes, run, failures
            )
        )  # fmt: skip
        if over:
            self.give_up(LOST)
        if not self.saga.has_ended:
            self.go_on()

    def read(self, agent: str) -> None:
        """Tells how it stands."""
        s = self.saga
        steps = [
            StepRead(step.name, p.status, p.tries, p.undo_tries, p.result, p.error_type, p.error)
            for step, p in zip(s.steps, s.progress, strict=True)
        ]
        turn = "" if s.at is None else s.steps[s.at].name
        failed = "" if s.failed is None else s.steps[s.failed].name
        self.add(
            SagaRead(
                agent, s.agent, s.name, s.status, s.input, tuple(steps), turn, failed, s.reason, s.description,
                s.runner_agent, s.attempt, s.trail, s.begun_ms, s.ended_ms,
            )
        )  # fmt: skip


# -- what commands bring


def _of_no_saga(draft: Draft, command: Command) -> None:
    """To a saga that there is not, or not any more."""
    match command:
        case BeginSaga(agent=agent, trail=trail) if len(trail) > TRAIL_MAX:
            draft.add(SagaRefused(agent, "circular_trigger"))
        case BeginSaga():
            _begin(draft, command)
        case Tick():
            pass
        case _:
            draft.add(SagaUnknown(command.agent, type(command).__name__))  # type: ignore[attr-defined]


def _begin(draft: Draft, c: BeginSaga) -> None:
    draft.add(SagaBegun(c.agent, c.name, c.steps, c.input, c.keep_ms, c.trail, draft.at.now_ms))
    if c.runner:
        draft.take(c.agent, c.runner, c.lease_ms)
    draft.go_on()


def _begin_again(draft: Draft, saga: Saga, c: BeginSaga) -> None:
    same = (c.name, c.input, shape(c.steps)) == (saga.name, saga.input, shape(saga.steps))
    draft.add(SagaKnown(c.agent, saga.status) if same else SagaRefused(c.agent, "exists"))


def shape(steps: Sequence[SagaStep]) -> list[tuple[str, bool]]:
    """What two definitions have in common under which the same sagas can be run: the steps, and which can be undone."""
    return [(step.name, step.undo) for step in steps]


def _take(draft: Draft, saga: Saga, c: TakeSaga) -> None:
    if saga.has_ended or saga.runner:
        draft.add(TakeRefused(c.agent, c.runner, saga.status if saga.has_ended else "held"))
        return
    draft.take(c.agent, c.runner, c.lease_ms)
    draft.read(c.agent)
    draft.go_on()


def _renew(draft: Draft, saga: Saga, c: RenewSaga) -> None:
    if _is_runner(draft, saga, c):
        draft.add(LeaseRenewed(c.agent, c.attempt, draft.at.now_ms + saga.lease_ms))


def _release(draft: Draft, saga: Saga, c: ReleaseSaga) -> None:
    if _is_runner(draft, saga, c):
        draft.lose("released", c.unbegun)


def _is_runner(draft: Draft, saga: Saga, c: RenewSaga | ReleaseSaga) -> bool:
    """Whether it comes from who runs the saga; if not, that is recorded."""
    if saga.has_ended:
        reason = saga.status
    elif c.attempt != saga.attempt:
        reason = "taken_over"
    elif not saga.runner:
        reason = LOST
    else:
        return True
    draft.add(RenewalRefused(c.agent, c.attempt, reason))
    return False


def _complete(draft: Draft, saga: Saga, c: CompleteStep) -> None:
    if not _is_under_way(draft, saga, c):
        return
    if c.undo:
        draft.add(StepCompensated(c.agent, c.step, c.run, draft.at.now_ms))
    else:
        draft.add(StepCompleted(c.agent, c.step, c.run, c.result, draft.at.now_ms))
    draft.go_on()


def _fail(draft: Draft, saga: Saga, c: FailStep) -> None:
    if not _is_under_way(draft, saga, c):
        return
    _, turn = draft.turn()
    failures = turn.failures + 1
    retry_ms = None if c.final else draft.retry_ms(failures)
    error = c.error[:ERROR_CHARS_MAX]
    draft.add(
        StepFailed(
            c.agent, saga.runner, c.step, c.undo, c.run, c.error_type, error, c.in_doubt, failures, retry_ms
        )
    )  # fmt: skip
    if retry_ms is None:
        draft.give_up(FAILED, final=c.final)
    else:
        draft.go_on()


def _is_under_way(draft: Draft, saga: Saga, c: CompleteStep | FailStep) -> bool:
    """Whether it is told of the run that is under way; if not, that is recorded."""
    if saga.has_ended:
        reason = saga.status
    elif saga.run is None:
        reason = "not_running"
    elif (saga.run, saga.undoes, draft.turn()[0].name) != (c.run, c.undo, c.step):
        reason = "taken_over"
    else:
        return True
    draft.add(ResultIgnored(c.agent, c.step, c.undo, c.run, reason))
    return False


def _cancel(draft: Draft, saga: Saga, c: CancelSaga) -> None:
    if saga.status == RUNNING:
        draft.compensate(c.agent, CANCELLED, c.reason)
    else:
        draft.add(SagaKnown(c.agent, saga.status))


def _retry(draft: Draft, saga: Saga, c: RetrySaga) -> None:
    if saga.status == STUCK:
        draft.add(SagaRetried(c.agent, draft.turn()[0].name))
        draft.go_on()
    elif not saga.has_ended and not saga.runner:
        draft.offer()
    else:
        draft.add(RetryRefused(c.agent, saga.status))


def _read(draft: Draft, _: Saga, c: ReadSaga) -> None:
    draft.read(c.agent)


def _tick(_: Draft, __: Saga, ___: Tick) -> None:
    pass


_ANSWERS: Final[Mapping[type[Command], Callable[[Draft, Saga, Any], None]]] = {
    BeginSaga: _begin_again,
    TakeSaga: _take,
    RenewSaga: _renew,
    ReleaseSaga: _release,
    CompleteStep: _complete,
    FailStep: _fail,
    CancelSaga: _cancel,
    RetrySaga: _retry,
    ReadSaga: _read,
    Tick: _tick,
}


# -- what follows elsewhere


def offers(name: str) -> str:
    """The name of the signals by which sagas of a definition are offered."""
    return f"saga_offered:{name}"


def queue_of(name: str) -> str:
    """What a dead letter of a definition's sagas names as its queue."""
    return f"saga:{name}"


def _offer(key: str, e: SagaOffered) -> list[Order]:
    data = {"saga": key}
    return [Order("signals", offers(e.name), EmitSignal(e.agent, msgspec.json.encode(data).decode(), e.trail))]


def _letter(e: SagaStuck) -> Failure:
    description = f"{e.step} is not undone: {e.error_type}: {e.error}"
    return Failure(queue_of(e.name), e.reason, description, "", b"", e.agent, e.attempts)


DOMAIN: Final = Domain(
    "sagas", {1: SagaDecider()}, dead_letters={SagaStuck: _letter}, reactions={SagaOffered: _offer}
)  # fmt: skip
"""Sagas, by id."""
