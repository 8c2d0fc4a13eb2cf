"""What may be intended, found and judged, and how much of it is kept: all bounds in one place."""

from __future__ import annotations

from typing import Final

from accord.schemas.messages import Command
from accord.schemas.messages.conflicts import (
    COMMANDS,
    CompareFindings,
    ConfigureGround,
    DeclareIntention,
    Intent,
    JudgeConflict,
    Terms,
)
from accord.streams.bounds import Bounds
from accord.streams.locks.bounds import LEASE_MS_MAX, LEASE_MS_MIN, PRIORITY_MAX, TEXT_BYTES_MAX
from accord.streams.tasks.bounds import LIMIT_MS_MAX, problem_of_names

LIVE_MAX: Final = 100
"""Intentions that stand on one ground; another is refused as `full`. All of them fit a decision: 3,000 bytes each."""
OPEN_MAX: Final = 50
"""Conflicts of one ground that wait for a judgement or a verdict; what would bring another is refused as `full`."""
REMEMBERED_MAX: Final = 100
"""Intentions that ended, and as many conflicts; of more, the first that ended are forgotten before their time."""
DUE_MAX: Final = 10
"""Conflicts whose time one decision lets pass; the others are still due after it. Each has at most 50,000 bytes of
events, if all who may stand take part: with all leases that end they must fit `DECISION_BYTES_MAX`."""
TEXT_MAX_BYTES: Final = 1_000
"""Of what an intention says in free text, and of the reasoning of a judgement or a verdict."""
FINDINGS_MAX: Final = 30
"""Of one comparison: each may differ from each other, and every pair is recorded."""
FINDINGS_BYTES_MAX: Final = 64_000
"""Of all findings of a comparison."""
SUSPECTS_MAX: Final = 20
"""Intentions that judges compare a new one with: those that came last."""
CAPACITIES_MAX: Final = 100
PAIRS_MAX: Final = 100
JUDGES_MAX: Final = 10
AMOUNT_MAX: Final = 10**12
TIME_MS_MAX: Final = 1 << 60
MILLION: Final = 1_000_000
"""Confidences are in millionths."""
TRAIL_NAMES_MAX: Final = 100
"""Names that a trail may have to be refused as circular rather than as no trail."""


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = _BOUNDS.of_numbers(command) or _BOUNDS.of_texts(command)
    if problem is not None:
        return problem
    match command:
        case ConfigureGround(terms=terms):
            return _problem_of_terms(terms)
        case DeclareIntention(intention=name, intent=intent, trail=trail):
            return problem_of_names("intention", [name], 1) or problem_of_intent(intent) or _problem_of_trail(trail)
        case CompareFindings(trail=trail):
            return _problem_of_findings(command) or _problem_of_trail(trail)
        case JudgeConflict(against=against, reasoning=reasoning):
            return problem_of_names("against", against, LIVE_MAX) or _problem_of_text("reasoning", reasoning)
    return _problem_of_text("reasoning", getattr(command, "reasoning", ""))


def _problem_of_text(name: str, text: str) -> str | None:
    return f"{name} has more than {TEXT_MAX_BYTES} bytes" if len(text.encode()) > TEXT_MAX_BYTES else None


def _problem_of_trail(trail: tuple[str, ...]) -> str | None:
    return problem_of_names("trail", trail, TRAIL_NAMES_MAX)


def _problem_of_terms(terms: Terms) -> str | None:
    for what, pairs in (("contradictions", terms.contradictions), ("incompatible", terms.incompatible)):
        names = [name for pair in pairs for name in (pair.one, pair.other)]
        problem = problem_of_names(what, names, 2 * PAIRS_MAX)
        if problem is not None:
            return problem
    for capacity in terms.capacities:
        if not 0 < capacity.amount <= AMOUNT_MAX:
            return f"the capacity of {capacity.resource[:40]} is {capacity.amount}: 1 to {AMOUNT_MAX} are possible"
    for name, (low, high) in _OF_TERMS.items():
        value = getattr(terms, name)
        if not low <= value <= high:
            return f"{name}={value}: {low} to {high} are possible"
    if len(set(terms.judges)) < len(terms.judges):
        return "judges: one is named twice"
    if terms.authority and terms.organisation:
        return "authority, organisation: one of them rules"
    return (
        problem_of_names("capacities", [one.resource for one in terms.capacities], CAPACITIES_MAX)
        or problem_of_names("judges", terms.judges, JUDGES_MAX)
        or problem_of_names("authority", [name for name in (terms.authority, terms.organisation) if name], 1)
    )


def problem_of_intent(intent: Intent) -> str | None:
    """Why this cannot be intended."""
    names = (intent.action, intent.target, intent.resource, intent.topic, intent.mode)
    problem = problem_of_names("intent", [name for name in names if name], len(names))
    if problem is not None:
        return problem
    if not intent.action or not (intent.target or intent.resource or intent.topic or intent.text):
        return "an intention has an action, and a target, a resource, a topic or a text"
    if bool(intent.amount) != bool(intent.resource):
        return f"amount={intent.amount} of {intent.resource[:40] or 'no resource'}: one is of no use without the other"
    if intent.mode == "":
        return "mode='': it is null, or a mode"
    return _problem_of_numbers(intent) or _problem_of_text("text", intent.text)


def _problem_of_numbers(intent: Intent) -> str | None:
    for name, (low, high) in _OF_INTENT.items():
        value = getattr(intent, name)
        if value is not None and not low <= value <= high:
            return f"{name}={value}: {low} to {high} are possible"
    if intent.from_ms is not None and intent.until_ms is not None and intent.from_ms >= intent.until_ms:
        return f"from_ms={intent.from_ms}, until_ms={intent.until_ms}: it ends before it begins"
    return None


def _problem_of_findings(command: CompareFindings) -> str | None:
    names = [finding.agent for finding in command.findings]
    problem = problem_of_names("findings", names, FINDINGS_MAX) or problem_of_names("conflict", [command.conflict], 1)
    if problem is not None:
        return problem
    if len(set(names)) < len(names):
        return "findings: an agent has two"
    most = PRIORITY_MAX
    size = sum(len((one.recommendation or "").encode()) + len(one.text.encode()) for one in command.findings)
    if size > FINDINGS_BYTES_MAX:
        return f"the findings have {size} bytes: at most {FINDINGS_BYTES_MAX}; keep the rest elsewhere, and name it"
    for finding in command.findings:
        if abs(finding.priority) > most:
            return (
                f"the finding of {finding.agent[:40]} has priority {finding.priority}: {-most} to {most} are possible"
            )
    return None


_OF_TERMS: Final = {
    "confidence_least_millionths": (0, MILLION),
    "judging_ms": (1, LIMIT_MS_MAX),
    "authority_ms": (1, LIMIT_MS_MAX),
    "keep_ms": (0, LIMIT_MS_MAX),
}
_OF_INTENT: Final = {
    "amount": (0, AMOUNT_MAX),
    "from_ms": (0, TIME_MS_MAX),
    "until_ms": (0, TIME_MS_MAX),
    "priority": (-PRIORITY_MAX, PRIORITY_MAX),
    "lease_ms": (LEASE_MS_MIN, LEASE_MS_MAX),
}
_BOUNDS: Final = Bounds(
    "conflicts",
    COMMANDS,
    ("agent", "intention", "conflict", "party", "winner", "kind", "reason", "request", "organisation", "verdict"),
    TEXT_BYTES_MAX,
    {},
)
