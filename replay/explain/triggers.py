"""Which signals completed a pattern, and why one does not count."""

from __future__ import annotations

from typing import Final

from accord.replay.explain.case import Case, Reason, Reasons, positions, where

_IGNORED: Final = {
    "late": "a later one was taken before, or an absence was found",
    "repeated": "it is known",
    "outdated": "it is of an older version of the trigger",
}


def _matched(case: Case) -> list[Reason]:
    found = positions("this signal is a part of it", case.data["causes"])
    return [*found, Reason("the key was opened for the pattern", where(case.last("KeyOpened")))]


def _ignored(case: Case) -> list[Reason]:
    return [Reason(_IGNORED.get(case.data["reason"], case.data["reason"]), case.data["source"])]


def _failed(case: Case) -> list[Reason]:
    return [Reason(f"{case.data['event']} cannot be watched: {case.data['problem']}")]


REASONS: Final[Reasons] = {"TriggerMatched": _matched, "SignalIgnored": _ignored, "TriggerFailed": _failed}
