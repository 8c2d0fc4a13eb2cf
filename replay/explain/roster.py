"""Why a step waits for an agent, or gets none; why a member is gone, a process suspected, a breaker open."""

from __future__ import annotations

from typing import Any, Final

from accord.replay.explain.case import Case, Reason, Reasons, clock, span, where

_REFUSED: Final = {"breaker_open": "its breaker is open", "team_full": "too many steps wait already"}
_OPENED: Final = {"absent": "nobody was there who could take it", "failures": "it failed too often"}
LISTED_MAX: Final = 5


def _awaited(case: Case) -> list[Reason]:
    absent = case.data["absent"]
    if absent:
        return [Reason(f"nobody in the team is able to {', '.join(absent[:LISTED_MAX])}")]
    return [Reason("nobody who is able has a free slot, or others wait before it")]


def _refused(case: Case) -> list[Reason]:
    found = []
    for refusal in case.data["refusals"][:LISTED_MAX]:
        opened = case.last("BreakerOpened", capability=refusal["capability"])
        why = _REFUSED.get(refusal["reason"], refusal["reason"])
        position = where(opened) if refusal["reason"] == "breaker_open" else None
        found.append(Reason(f"{refusal['step']} needs {refusal['capability']}: {why}", position))
    return found


def _assigned(case: Case) -> list[Reason]:
    found = []
    for one in case.data["assignments"][:LISTED_MAX]:
        joined = case.last("MemberJoined", member=one["member"])
        found.append(Reason(f"{one['agent']} is able to {one['capability']} and had a free slot", where(joined)))
    return found


def _lost(case: Case) -> list[Reason]:
    failed = next((one for one in case.decided if one.event == "MemberFailed"), None)
    failed = failed or case.last("MemberFailed", member=case.data["member"])
    if failed is not None and failed.data["deadline_ms"] == case.data["deadline_ms"]:
        return [Reason(_of_process(failed.data))]
    since = case.last("MembershipRenewed", "MemberJoined", member=case.data["member"])
    ended = Reason(f"its lease ended at {clock(case.data['deadline_ms'])}")
    return [ended] if since is None else [Reason(f"{since.event} was the last word of it", since.position), ended]


def _of_process(data: dict[str, Any]) -> str:
    return f"its process {data['presence']} failed at {clock(data['failed_ms'])}"


def _member_failed(case: Case) -> list[Reason]:
    return [Reason(_of_process(case.data))]


def _silent(case: Case) -> list[Reason]:
    """What the last beat, and the time since, make of a process."""
    beat_ms, data = case.data["beat_at_ms"], case.data
    until_ms = data["failed_ms"] if case.event.event == "AgentFailed" else data["suspected_ms"]
    last = case.last("AgentBeat", "AgentAppeared")
    silence = f"its last beat was at {clock(beat_ms)}, and for {span(until_ms - beat_ms)} there was none"
    found = [Reason(silence, where(last))]
    ties = data.get("ties", ())
    if ties:
        names = ", ".join(f"{tie['domain']} {tie['key']}" for tie in ties[:LISTED_MAX])
        more = f" and {len(ties) - LISTED_MAX} more" if len(ties) > LISTED_MAX else ""
        found.append(Reason(f"what hung on its heartbeat ends: {names}{more}"))
    return found


def _recovered(case: Case) -> list[Reason]:
    silent = span(case.data["silent_ms"])
    text = f"it beat again after {silent}: it had been suspected falsely"
    return [Reason(text, where(case.last("AgentSuspected")))]


def _beat_refused(case: Case) -> list[Reason]:
    if case.data["reason"] == "failed":
        text = "it counts as failed, for good: it begins anew under another name"
        return [Reason(text, where(case.last("AgentFailed")))]
    return [Reason("no process of this name beats: it never began, has left, or failed long ago")]


def _forgotten(case: Case) -> list[Reason]:
    return [Reason("it failed long ago", where(case.last("AgentFailed")))]


def _opened(case: Case) -> list[Reason]:
    data = case.data
    times = f": {data['failures']} times in a row" if data["failures"] else ""
    return [Reason(_OPENED.get(data["reason"], data["reason"]) + times)]


REASONS: Final[Reasons] = {
    "AgentsAwaited": _awaited,
    "AgentsRefused": _refused,
    "AgentsAssigned": _assigned,
    "MemberLost": _lost,
    "BreakerOpened": _opened,
    "MemberFailed": _member_failed,
    "AgentSuspected": _silent,
    "AgentFailed": _silent,
    "AgentRecovered": _recovered,
    "AgentForgotten": _forgotten,
    "BeatRefused": _beat_refused,
}
