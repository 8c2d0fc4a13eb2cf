"""Why a change of shared state was refused."""

from __future__ import annotations

from typing import Final

from accord.replay.explain.case import Case, Reason, Reasons, where


def _refused(case: Case) -> list[Reason]:
    data = case.data
    found = [Reason(f"{data['reason']}: {data['description']}".rstrip(": "))]
    for conflict in data["conflicts"]:
        what = f"a key that begins with {conflict['key']}" if conflict["is_prefix"] else conflict["key"]
        changed = case.last("ChangesCommitted", version=conflict["found"])
        whose = "" if changed is None else f" by {changed.agent}"
        text = f"{what} was changed{whose}: version {conflict['expected']} was read, {conflict['found']} was there"
        found.append(Reason(text, where(changed)))
    return found


REASONS: Final[Reasons] = {"CommitRefused": _refused}
