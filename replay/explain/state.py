"""Why a change of shared state was refused, or could not be prepared."""

from __future__ import annotations

from typing import Final

from accord.replay.explain.case import Case, Reason, Reasons, where
from accord.replay.explain.transactions import conflict_text
from accord.replay.timeline import TimelineEvent


def _refused(case: Case) -> list[Reason]:
    data = case.data
    found = [Reason(f"{data['reason']}: {data['description']}".rstrip(": "))]
    for conflict in data["conflicts"]:
        changed = case.last("ChangesCommitted", version=conflict["found"])
        whose = "" if changed is None else f" by {changed.agent}{_in_transaction(case, changed)}"
        found.append(Reason(conflict_text(conflict, whose), where(changed)))
    return found


def _in_transaction(case: Case, changed: TimelineEvent) -> str:
    """Of which transaction over several scopes a change was part."""
    done = case.last("PreparedCommitted", version=changed.data["version"])
    return "" if done is None else f" (transaction {done.data['transaction']})"


def _unprepared(case: Case) -> list[Reason]:
    return [*_refused(case), *_held(case, case.data["holder"])]


def _commit_held(case: Case) -> list[Reason]:
    data = case.data
    text = f"{data['key']} is held by transaction {data['transaction']} of {data['holder']}, which is being committed"
    return [Reason(text, where(case.last("ChangesPrepared", transaction=data["transaction"])))]


def _held(case: Case, transaction: str) -> list[Reason]:
    prepared = case.last("ChangesPrepared", transaction=transaction) if transaction else None
    return [] if prepared is None else [Reason(f"{prepared.agent} had it prepared", prepared.position)]


REASONS: Final[Reasons] = {"CommitRefused": _refused, "PrepareRefused": _unprepared, "CommitHeld": _commit_held}
