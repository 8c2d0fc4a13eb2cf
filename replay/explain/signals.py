"""What a result of a flow was made of, which match an event tells, and why a handler was stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from accord.replay.explain.case import Case, Reason, Reasons, positions, span, where
from accord.schemas.position import Position


def _result(case: Case) -> list[Reason]:
    """The flow names the first and the last event of a window, or the two that it joined."""
    data = next((event.data.get("data") for event in case.decided if event.event == "SignalEmitted"), None)
    causes = data.get("causes") if isinstance(data, Mapping) else None
    flow = case.data["flow"]
    begun = Reason(f"the flow {flow} was begun", where(case.last("FlowBegun", flow=flow)))
    return [*positions("it was made of this event", causes if isinstance(causes, list | tuple) else ()), begun]


def _result_known(case: Case) -> list[Reason]:
    number, last = case.data["number"], case.data["last"]
    emitted = where(case.last("ResultEmitted", flow=case.data["flow"], number=number))
    return [Reason(f"result {number} had been emitted before: {last} were", emitted)]


def _match(case: Case) -> list[Reason]:
    return [Reason("it tells of this match", str(Position("triggers", case.data["partition"], case.data["offset"])))]


def _match_known(case: Case) -> list[Reason]:
    before = case.last("MatchEmitted", **case.data)
    return [*_match(case), Reason("it, or a later one, had been told before", where(before))]


def _refused(case: Case) -> list[Reason]:
    return [Reason(f"{case.data['reason']}: events had set each other off {len(case.data['trail'])} times")]


def _failed(case: Case) -> list[Reason]:
    d = case.data
    text = f"{d['handler']} failed {d['attempts']} times, the last time with {d['error_type']}: {d['error']}"
    return [Reason(text), Reason("it was given this event", d["position"])]


def _missing(case: Case) -> list[Reason]:
    d = case.data
    what = "given to it, marked" if d["delivered"] else "held back, and nothing after it is given"
    waited = f"{d['handler']} waited {span(d['waited_ms'])} for what comes before this event"
    return [Reason(f"{waited}: {what}", d["position"]), *positions("this was not found", d["causes"])]


REASONS: Final[Reasons] = {
    "ResultEmitted": _result,
    "ResultKnown": _result_known,
    "MatchEmitted": _match,
    "MatchKnown": _match_known,
    "SignalRefused": _refused,
    "HandlerFailed": _failed,
    "CausesMissing": _missing,
}
