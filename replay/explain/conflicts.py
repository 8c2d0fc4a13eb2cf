"""Why an intention had to wait or was given up, and why a conflict ended as it did."""

from __future__ import annotations

from typing import Final

from accord.replay.explain.case import Case, Reason, Reasons, where

LISTED_MAX: Final = 5
_KINDS: Final = {
    "over_demand": "together they want more than there is",
    "incompatible_modes": "their modes do not go together",
    "contradictory_actions": "their actions contradict each other",
    "duplicate_work": "they do the same work",
    "findings": "their findings do not agree",
}
_ESCALATED: Final = {
    "low_confidence": "the judgement was not sure enough",
    "tie": "the rule found no winner",
    "appeal": "who lost appealed",
}


def _found(case: Case) -> list[Reason]:
    data = case.data
    of = data["target"] or data["resource"] or data["topic"]
    found = [Reason(_KINDS.get(data["kind"], data["kind"]) + (f": {of}" if of else ""))]
    if data["demanded"] is not None:
        found.append(Reason(f"{data['demanded']} are wanted of {data['capacity']}"))
    for party in data["parties"][:LISTED_MAX]:
        declared = case.last("IntentionDeclared", intention=party["party"])
        found.append(Reason(f"{party['agent']} takes part", where(declared)))
    return found


def _resolved(case: Case) -> list[Reason]:
    data = case.data
    why = data["fallback"] or data["reasoning"]
    found = [Reason(f"{_by(data)}{': ' if why else ''}{why}")]
    judged = case.last("JudgementGiven", conflict=data["conflict"])
    if judged is not None:
        sure, winner = judged.data["confidence_millionths"] / 1e6, judged.data["winner"] or "nobody"
        text = f"{judged.agent} judged for {winner}, {sure:.2f} sure: {judged.data['reasoning']}"
        found.append(Reason(text, judged.position))
    came = case.last("ConflictFound", conflict=data["conflict"])
    return found if came is None else [*found, Reason("it was found before", came.position)]


def _by(data: dict[str, object]) -> str:
    match data["method"]:
        case "rule":
            return "by rule"
        case "model":
            return f"judged by {data['by']}"
    return f"decided by {data['by']}"


def _escalated(case: Case) -> list[Reason]:
    data = case.data
    why = _ESCALATED.get(data["reason"], data["reason"])
    judged = case.last("JudgementGiven", conflict=data["conflict"])
    found = [Reason(f"{why}{': ' if data['detail'] else ''}{data['detail']}", where(judged))]
    return [*found, Reason(f"{data['authority']} is asked")] if data["authority"] else found


def _queued(case: Case) -> list[Reason]:
    found = []
    for party in case.data["behind"][:LISTED_MAX]:
        stands = case.last("IntentionAllowed", "IntentionDeclared", intention=party["party"])
        found.append(Reason(f"{party['agent']} goes before it", where(stands)))
    if len(case.data["behind"]) > LISTED_MAX:
        found.append(Reason(f"and {len(case.data['behind']) - LISTED_MAX} more"))
    return found


def _ended(case: Case) -> list[Reason]:
    data = case.data
    found = [Reason(data["reason"])] if data["reason"] else []
    if data["outcome"] == "expired":
        renewed = case.last("IntentionRenewed", "IntentionAllowed", "IntentionDeclared", intention=data["intention"])
        return [*found, Reason("its lease was not renewed", where(renewed))]
    resolved = case.last("ConflictResolved", "AppealDecided", conflict=data["conflict"]) if data["conflict"] else None
    if data["by"]:
        found.append(Reason(f"{', '.join(data['by'][:LISTED_MAX])} won over it", where(resolved)))
    return found


def _refused(case: Case) -> list[Reason]:
    return [Reason(": ".join(text for text in (case.data["reason"], case.data["detail"]) if text))]


REASONS: Final[Reasons] = {
    "ConflictFound": _found,
    "ConflictResolved": _resolved,
    "ConflictEscalated": _escalated,
    "IntentionQueued": _queued,
    "IntentionEnded": _ended,
    "IntentionRefused": _refused,
}
