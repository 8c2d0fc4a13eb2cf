"""Why a saga is compensated, or stuck, and why a run of it failed or does not count."""

from __future__ import annotations

from typing import Final

from accord.replay.explain.case import Case, Reason, Reasons, where

_WHY: Final = {
    "failed": "it failed, and is not tried again",
    "timed_out": "it took longer than it may, and is not tried again",
    "lost": "the process that ran it was lost, and it is not tried again",
}
_ENDS: Final = ("StepFailed", "StepTimedOut", "RunnerLost")


def _of_run(case: Case) -> list[Reason]:
    """The run that it is about."""
    started = case.last("StepStarted", run=case.data["run"])
    return [] if started is None else [Reason(f"{started.agent} had started run {case.data['run']}", started.position)]


def _gives_up(case: Case) -> list[Reason]:
    data = case.data
    if data["reason"] == "cancelled":
        return [Reason(f"cancelled: {data['description']}" if data["description"] else "cancelled")]
    found = [Reason(f"{data['step']}: {_WHY.get(data['reason'], data['reason'])}; {data['description']}")]
    earlier = case.last(*_ENDS, step=data["step"], undo=False)
    return found if earlier is None else [*found, Reason(f"an earlier failure of {data['step']}", earlier.position)]


def _compensated(case: Case) -> list[Reason]:
    begun = case.last("CompensationBegun")
    found = [Reason(f"{case.data['step']} was given up ({case.data['reason']}), and all is undone", where(begun))]
    for undone in [event for event in case.earlier if event.event == "StepCompensated"]:
        found.append(Reason(f"{undone.data['step']} was undone", undone.position))
    return found


def _stuck(case: Case) -> list[Reason]:
    data = case.data
    text = f"{data['step']} is not undone after {data['attempts']} runs: {data['error_type']}: {data['error']}"
    done = case.last("StepCompleted", step=data["step"])
    return [Reason(text)] if done is None else [Reason(text), Reason(f"{data['step']} had been done", done.position)]


def _failed(case: Case) -> list[Reason]:
    data = case.data
    again = "it is tried again" if data["retry_ms"] is not None else "it is not tried again"
    doubt = ", it may have taken effect" if data["in_doubt"] else ""
    text = f"{data['error_type']}: {data['error']}{doubt} (failure {data['failures']}); {again}"
    return [Reason(text), *_of_run(case)]


def _timed_out(case: Case) -> list[Reason]:
    return [Reason("its run took longer than it may; it may have taken effect"), *_of_run(case)]


def _lost(case: Case) -> list[Reason]:
    taken = case.last("SagaTaken", attempt=case.data["attempt"])
    why = "its lease was not renewed in time" if case.data["reason"] == "lease" else "it gave the saga back"
    return [Reason(why), Reason(f"it had the saga as runner {case.data['attempt']}", where(taken))]


def _ignored(case: Case) -> list[Reason]:
    lost = case.last("RunnerLost", "StepTimedOut", "CompensationBegun")
    return [Reason(f"run {case.data['run']} does not count: {case.data['reason']}", where(lost))]


REASONS: Final[Reasons] = {
    "CompensationBegun": _gives_up,
    "SagaCompensated": _compensated,
    "SagaStuck": _stuck,
    "StepFailed": _failed,
    "StepTimedOut": _timed_out,
    "RunnerLost": _lost,
    "ResultIgnored": _ignored,
}
