"""Why a model was called or not: an answer that was there, a call that was awaited."""

from __future__ import annotations

from typing import Final

from accord.replay.explain.case import Case, Reason, Reasons, where

_ENDED: Final = {
    "expired": "there was no sign of life in time",
    "superseded": "a later run of its step asks",
    "forgotten": "its answer must not be used",
}


def _reused(case: Case) -> list[Reason]:
    recorded = case.last("CallRecorded")
    return [
        Reason(
            f"{case.data['answered_by']} had answered this before, {case.ago(case.data['recorded_ms'])} ago",
            where(recorded),
        )
    ]


def _awaited(case: Case) -> list[Reason]:
    granted = case.last("CallGranted")
    return [
        Reason(
            "this is being asked already" if granted is None else f"{granted.agent} asks this already", where(granted)
        )
    ]


def _granted(case: Case) -> list[Reason]:
    ended = case.last("LeaseEnded", "AnswerExpired", "AnswerForgotten", "CallRecorded")
    told = {
        "LeaseEnded": "whoever asked before is not waited for any more",
        "AnswerExpired": "the answer that there was is too old",
        "AnswerForgotten": "the answer that there was must not be used",
        "CallRecorded": "the call before has brought no answer that is kept",
    }
    return [Reason("nobody had asked this" if ended is None else told[ended.event], where(ended))]


def _ended(case: Case) -> list[Reason]:
    granted = case.last("CallGranted", token=case.data["token"])
    return [Reason(_ENDED.get(case.data["reason"], case.data["reason"]), where(granted))]


def _recorded(case: Case) -> list[Reason]:
    data = case.data
    granted = case.last("CallGranted", token=data["token"]) if data["token"] is not None else None
    found = [
        Reason(
            f"{data['model']} was called {data['tries']} times"
            if data["tries"] != 1
            else f"{data['model']} was called",
            where(granted),
        )
    ]
    return [*found, Reason(f"{data['error_type']}: {data['error']}")] if data["error"] else found


def _denied(case: Case) -> list[Reason]:
    return [Reason(f"{case.data['waiting']} wait for this answer already: too many")]


REASONS: Final[Reasons] = {
    "AnswerReused": _reused,
    "AnswerAwaited": _awaited,
    "AnswerDenied": _denied,
    "CallGranted": _granted,
    "CallRecorded": _recorded,
    "LeaseEnded": _ended,
}
