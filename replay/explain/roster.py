"""Why a step waits for an agent, or gets none; why a member is gone, a breaker open."""

from __future__ import annotations

from typing import Final

from accord.replay.explain.case import Case, Reason, Reasons, clock, where

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
    since = case.last("MembershipRenewed", "MemberJoined", member=case.data["member"])
    ended = Reason(f"its lease ended at {clock(case.data['deadline_ms'])}")
    return [ended] if since is None else [Reason(f"{since.event} was the last word of it", since.position), ended]


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
}
