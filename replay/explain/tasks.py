"""Why a step of a task started, ended or was given up."""

from __future__ import annotations

from typing import Final

from accord.replay.explain.case import Case, Reason, Reasons, where

_LIMITS: Final = {
    "deadline": "the task was not done by its deadline",
    "wait": "nobody took it in the time that it may wait",
    "timeout": "its run took longer than it may",
}


def _of_run(case: Case) -> list[Reason]:
    """The run that it is about."""
    step = case.data["step"]
    started = case.last("StepStarted", step=step)
    return [] if started is None else [Reason(f"{started.agent} had started {step}", started.position)]


def _failed(case: Case) -> list[Reason]:
    data = case.data
    again = "it is tried again" if data["retry_ms"] is not None else "it is not tried again"
    return [Reason(f"{data['error_type']}: {data['error']} (failure {data['failures']}); {again}"), *_of_run(case)]


def _timed_out(case: Case) -> list[Reason]:
    return [Reason(_LIMITS.get(case.data["limit"], case.data["limit"])), *_of_run(case)]


def _given_up(case: Case) -> list[Reason]:
    data = case.data
    found = [Reason(f"{data['reason']} after {data['attempts']} runs: {data['error_type']} {data['error']}".rstrip())]
    last = case.last("StepFailed", "StepTimedOut", "StepRefused", step=data["step"])
    return found if last is None else [*found, Reason(f"{last.event} was its last end", last.position)]


def _blocked(case: Case) -> list[Reason]:
    because = case.data["because"]
    ended = case.last("StepDeadLettered", "StepDropped", "StepTimedOut", "StepFailed", step=because)
    return [Reason(f"{because} comes before them and was not completed", where(ended))]


def _ignored(case: Case) -> list[Reason]:
    started = case.last("StepStarted", step=case.data["step"])
    why = Reason(f"token {case.data['token']} does not count any more: the step is {case.data['reason']}")
    if started is None:
        return [why]
    return [why, Reason(f"its run is that of {started.agent}, token {started.data['token']}", started.position)]


REASONS: Final[Reasons] = {
    "StepCompleted": _of_run,
    "StepFailed": _failed,
    "StepTimedOut": _timed_out,
    "StepDeadLettered": _given_up,
    "StepsBlocked": _blocked,
    "ResultIgnored": _ignored,
}
