"""Why a proposal ended as it did."""

from __future__ import annotations

from typing import Final

from accord.replay.explain.case import Case, Reason, Reasons, where

LISTED_MAX: Final = 20


def _decided(case: Case) -> list[Reason]:
    data = case.data
    found = [
        Reason(f"{data['yes']} yes, {data['no']} no, {data['abstain']} abstained; {data['voted']} voted yes or no")
    ]
    opened = case.last("ProposalOpened")
    if opened is not None:
        quorum = opened.data.get("quorum")
        share = f"{opened.data['threshold_numerator']}/{opened.data['threshold_denominator']}"
        terms = f"a threshold of {share}" + (f" and a quorum of {quorum}" if quorum else "")
        found.append(Reason(f"it was opened with {terms}", opened.position))
    for ballot in data["ballots"][:LISTED_MAX]:
        cast = case.last("VoteCast", agent=ballot["voter"])
        why = f": {ballot['reason']}" if ballot["reason"] else ""
        found.append(Reason(f"{ballot['voter']} voted {ballot['choice']}{why}", where(cast)))
    return found


def _refused(case: Case) -> list[Reason]:
    return [Reason(f"{case.data['choice']} does not count: {case.data['reason']}")]


def _late(case: Case) -> list[Reason]:
    ended = case.last("ProposalDecided", "ProposalWithdrawn")
    return [Reason(f"it had ended, {case.data['status']}", where(ended))]


REASONS: Final[Reasons] = {"ProposalDecided": _decided, "VoteRefused": _refused, "VoteLate": _late}
