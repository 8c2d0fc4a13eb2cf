"""Why a transaction was committed or aborted: who said no, what was changed, who held it."""

from __future__ import annotations

from typing import Any, Final

from accord.replay.explain.case import Case, Reason, Reasons, where
from accord.replay.timeline import TimelineEvent

_REFUSED: Final = {
    "unknown": "there is no such transaction, or it ended long ago",
    "exists": "there is one of this name already",
    "nothing": "it has no changes",
    "not_owner": "another agent has begun it",
    "not_member": "it is none of its members",
    "enlisted": "a scope, a lock, a pool or a task of it is enlisted already",
    "too_much": "together that is more than a transaction may have",
}


def _decided(case: Case) -> list[Reason]:
    return _of_decision(case, case.event)


def _as_decided(case: Case) -> list[Reason]:
    """What comes after the decision rests on it."""
    decided = case.last("TransactionDecided")
    return [] if decided is None else _of_decision(case, decided)


def _of_decision(case: Case, decided: TimelineEvent) -> list[Reason]:
    data = decided.data
    if data["outcome"] == "committed":
        votes = [one for one in case.earlier if one.event == "VoteRecorded" and one.data["yes"]]
        return [Reason(f"committed: {vote.data['key']} voted yes", vote.position) for vote in votes]
    whose = f"{data['refused_by']}: " if data["refused_by"] else ""
    found = [Reason(f"aborted, {data['reason']}: {whose}{data['description']}".rstrip(": "), where(decided))]
    for conflict in data["conflicts"]:
        found.append(Reason(f"{data['refused_by']}/{conflict_text(conflict)}"))
    if data["holder"]:
        found.append(Reason(f"transaction {data['holder']} held it"))
    return found


def conflict_text(conflict: dict[str, Any], whose: str = "") -> str:
    """What was changed since it was read."""
    what = f"a key that begins with {conflict['key']}" if conflict["is_prefix"] else conflict["key"]
    return f"{what} was changed{whose}: version {conflict['expected']} was read, {conflict['found']} was there"


def _refused(case: Case) -> list[Reason]:
    reason = case.data["reason"]
    return [Reason(_REFUSED.get(reason, f"it is {reason} already"))]


REASONS: Final[Reasons] = {
    "TransactionDecided": _decided,
    "TransactionEnded": _as_decided,
    "TransactionForgotten": _as_decided,
    "OutcomeAcknowledged": _as_decided,
    "AcknowledgementIgnored": _as_decided,
    "VoteIgnored": _as_decided,
    "OutcomeTold": _as_decided,
    "OutcomeToldAgain": _as_decided,
    "GuardsReleased": _as_decided,
    "TransactionRefused": _refused,
}
