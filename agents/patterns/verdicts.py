"""Whether somebody approves: what functions and models answer, as a verdict. What is none approves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

APPROVED: Final = frozenset({"approved", "approve", "yes"})
REJECTED: Final = frozenset({"rejected", "reject", "no"})
SHOWN_CHARS: Final = 80


class Verdict(NamedTuple):
    """`approved`, and the `reason` if there is one."""

    approved: bool
    reason: str


def verdict_of(answer: Any) -> Verdict:
    """The verdict that an answer is: True or False, `{approved, reason}`, or one of the words and nothing else."""
    match answer:
        case bool():
            return Verdict(answer, "")
        case Mapping() if isinstance(answer.get("approved"), bool):
            return Verdict(answer["approved"], str(answer.get("reason", "")))
        case str() if answer.strip().strip(".").lower() in APPROVED | REJECTED:
            return Verdict(answer.strip().strip(".").lower() in APPROVED, "")
    return Verdict(False, f"no verdict: {str(answer)[:SHOWN_CHARS]}")
