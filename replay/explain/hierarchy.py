"""By what authority something was decided, why a request went on, and why a decision was refused."""

from __future__ import annotations

from typing import Any, Final

from accord.replay.explain.case import Case, Reason, Reasons, where

_PASSED: Final = {
    "timeout": "there was no answer in time",
    "escalated": "whoever was asked passed it on",
    "absent": "the member is absent, and so is its deputy, if it has one",
    "authority_lost": "the authority that it had when it was asked is gone",
}
_REFUSED: Final = {
    "not_a_member": "who decides is no member",
    "absent": "who decides is absent",
    "beyond_boundary": "it is beyond what the member may decide",
    "unknown_member": "it is about somebody who is no member",
    "exists": "another decision has this id",
    "full": "too many requests are open",
    "circular_trigger": "it comes of itself",
}


def amount(millionths: int) -> str:
    """An amount in the type's own unit."""
    return f"{millionths / 1_000_000:,.6f}".rstrip("0").rstrip(".")


def _made(case: Case) -> list[Reason]:
    data = case.data
    authority = data["authority"]
    who = "its own" if authority["member"] == case.event.agent else f"{authority['member']}'s, as the deputy"
    tree = case.last("OrganisationDefined")
    kind = (
        f"{data['type']}: up to {amount(authority['limit_millionths'])}, and it was {amount(data['amount_millionths'])}"
    )
    found = [Reason(f"by {who} {authority['basis']} for {kind}", where(tree))]
    for delegation in authority["delegations"]:
        given = _delegated(case, delegation["delegation"])
        found.append(Reason(f"{delegation['delegator']} gave {delegation['delegate']} a part of it", given))
    asked = [_step(case, step) for step in data["path"]]
    return found + asked + ([Reason(data["reason"])] if data["reason"] else [])


def _delegated(case: Case, name: str) -> str | None:
    for event in reversed(case.earlier):
        if event.event == "DelegationGranted" and event.data["delegation"]["delegation"] == name:
            return event.position
    return None


def _step(case: Case, step: dict[str, Any]) -> Reason:
    asked = "was asked" if step["asked"] == step["member"] else f"was asked through {step['asked']}"
    ended = _PASSED.get(step["ended"], step["ended"] or "is asked still")
    return Reason(f"{step['member']} {asked}: {ended}")


def _asked(case: Case) -> list[Reason]:
    data = case.data
    authority = data["authority"]
    limit = amount(authority["limit_millionths"])
    found = [Reason(f"{authority['member']} may decide it, up to {limit}, by {authority['basis']}")]
    passed = case.last("AuthorityPassed", decision=data["decision"])
    if passed is not None:
        why = _PASSED.get(passed.data["ended"], passed.data["ended"])
        found.append(Reason(f"{passed.data['member']} did not decide: {why}", passed.position))
    return found


def _passed(case: Case) -> list[Reason]:
    data = case.data
    asked = case.last("AuthorityAsked", decision=data["decision"])
    why = _PASSED.get(data["ended"], data["ended"])
    return [Reason(f"{why}{': ' if data['reason'] else ''}{data['reason']}", where(asked))]


def _defaulted(case: Case) -> list[Reason]:
    return [Reason("nobody decided, so it is as was said for that case"), *[_step(case, s) for s in case.data["path"]]]


def _refused(case: Case) -> list[Reason]:
    reason = case.data["reason"]
    return [Reason(_REFUSED.get(reason, reason), where(case.last("OrganisationDefined")))]


REASONS: Final[Reasons] = {
    "DecisionMade": _made,
    "DecisionDefaulted": _defaulted,
    "AuthorityAsked": _asked,
    "AuthorityPassed": _passed,
    "DecisionRefused": _refused,
}
