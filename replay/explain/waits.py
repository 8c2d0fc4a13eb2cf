"""What closed a ring of waits."""

from __future__ import annotations

from typing import Final

from accord.replay.explain.case import Case, Reason, Reasons


def _found(case: Case) -> list[Reason]:
    ring = [
        Reason(f"{one['agent']} waits for {one['name']}, held by {one['holder']} (token {one['token']})")
        for one in case.data["cycle"]
    ]
    return [*ring, Reason("the youngest of them gives way")]


REASONS: Final[Reasons] = {"DeadlockFound": _found}
