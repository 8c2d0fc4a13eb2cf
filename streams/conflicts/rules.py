"""What collides on a ground, by rule: a function of the terms and of what is intended alone.

- Two intentions can only collide if the times that they are about overlap; without a time it is always.
- Duplicate work: one topic (`wording`), unless both name targets and those differ.
- Contradictory actions: one target, and actions that the terms name as a pair.
- Incompatible modes: one target, and modes that the terms name as a pair.
- Over-demand: what all want of a resource at the same time, at most, is more than there is.

Two intentions collide in one of the first three ways at most: in the first that holds. An agent is not spared for being
the same: two of its processes know as little of each other as two agents do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from accord.schemas.messages.conflicts import Finding, Intent, Pair, Terms
from accord.streams.conflicts.wording import name_key, topic_key

DUPLICATE: Final = "duplicate_work"
CONTRADICTION: Final = "contradictory_actions"
MODES: Final = "incompatible_modes"
DEMAND: Final = "over_demand"
FINDINGS: Final = "findings"

SHARED: Final = "shared"
EXCLUSIVE: Final = "exclusive"
LOOKING: Final = frozenset(
    {"read", "get", "list", "view", "look", "search", "find", "query", "count", "inspect", "watch"}
)
"""Actions that change nothing: without a mode they share."""
CONTRADICTIONS: Final = tuple(
    Pair(one, other)
    for one, other in (
        ("create", "delete"), ("approve", "reject"), ("increase", "decrease"), ("open", "close"), ("start", "stop"),
        ("add", "remove"), ("enable", "disable"), ("grant", "revoke"), ("accept", "decline"), ("buy", "sell"),
    )
)  # fmt: skip
INCOMPATIBLE: Final = (Pair(EXCLUSIVE, EXCLUSIVE), Pair(EXCLUSIVE, SHARED))
JUDGE: Final = "judge"
"""The agent that is asked where no terms name another."""

DEFAULT: Final = Terms(
    capacities=(),
    contradictions=CONTRADICTIONS,
    incompatible=INCOMPATIBLE,
    preemption=False,
    semantic=False,
    judges=(JUDGE,),
    confidence_least_millionths=700_000,
    judging_ms=30_000,
    authority="",
    organisation="",
    authority_ms=300_000,
    keep_ms=3_600_000,
)
"""The terms of a ground that nobody has configured."""


class Declared(Protocol):
    """An intention, as far as it matters here."""

    @property
    def intent(self) -> Intent: ...


def mode_of(intent: Intent) -> str:
    """How it uses its target: as it says, else as its action says. An amount of something is shared by itself."""
    if intent.mode is not None:
        return name_key(intent.mode)
    return SHARED if intent.resource or name_key(intent.action) in LOOKING else EXCLUSIVE


def knows_mode(terms: Terms, intent: Intent) -> bool:
    """Whether the terms say what its mode goes with."""
    known = {SHARED, EXCLUSIVE, *(name_key(mode) for pair in terms.incompatible for mode in (pair.one, pair.other))}
    return mode_of(intent) in known


def capacity_of(terms: Terms, resource: str) -> int | None:
    """How much there is; None: nobody said."""
    key = name_key(resource)
    return next((one.amount for one in terms.capacities if name_key(one.resource) == key), None)


def overlap(one: Intent, other: Intent) -> bool:
    """Whether there is a time that both are about."""
    return _is_before(one.from_ms, other.until_ms) and _is_before(other.from_ms, one.until_ms)


def _is_before(begin: int | None, end: int | None) -> bool:
    return begin is None or end is None or begin < end


def kind_of(terms: Terms, one: Intent, other: Intent) -> str | None:
    """In which way two collide, over-demand aside; None: in none."""
    if not overlap(one, other):
        return None
    targets = name_key(one.target), name_key(other.target)
    if _is_same_work(one, other, targets):
        return DUPLICATE
    if not targets[0] or targets[0] != targets[1]:
        return None
    if _is_among(terms.contradictions, name_key(one.action), name_key(other.action)):
        return CONTRADICTION
    return MODES if _is_among(terms.incompatible, mode_of(one), mode_of(other)) else None


def _is_same_work(one: Intent, other: Intent, targets: tuple[str, str]) -> bool:
    topic = topic_key(one.topic)
    if not topic or topic != topic_key(other.topic):
        return False
    return targets[0] == targets[1] or not all(targets)


def _is_among(pairs: Iterable[Pair], one: str, other: str) -> bool:
    return any((name_key(p.one), name_key(p.other)) in ((one, other), (other, one)) for p in pairs)


def users(resource: str, intent: Intent, others: Iterable[Declared]) -> list[Declared]:
    """Those of others that want some of a resource at a time that an intention is about."""
    key = name_key(resource)
    return [one for one in others if name_key(one.intent.resource) == key and overlap(one.intent, intent)]


def peak(intent: Intent, others: Sequence[Declared]) -> int:
    """How much an intention and others want together at the same time, at most, in the time that it is about.

    The others are those that `users` gave. The sum can only rise where one begins.
    """
    begins = [intent.from_ms, *(one.intent.from_ms for one in others)]
    return intent.amount + max(
        (sum(one.intent.amount for one in others if _covers(one.intent, at)) for at in begins if _covers(intent, at)),
        default=0,
    )


def _covers(intent: Intent, at_ms: int | None) -> bool:
    """Whether it is about a moment; None is before all others."""
    if at_ms is None:
        return intent.from_ms is None
    return (intent.from_ms is None or intent.from_ms <= at_ms) and (intent.until_ms is None or at_ms < intent.until_ms)


class Demand(NamedTuple):
    """How much is wanted of a resource, and how much there is."""

    demanded: int
    capacity: int


def demand(terms: Terms, intent: Intent, others: Sequence[Declared]) -> Demand | None:
    """What an intention and others want of its resource, if that is more than there is.

    The others are those that `users` gave.
    """
    capacity = capacity_of(terms, intent.resource) if intent.resource else None
    if capacity is None:
        return None
    demanded = peak(intent, others)
    return Demand(demanded, capacity) if demanded > capacity else None


def differences(findings: Sequence[Finding]) -> tuple[Pair, ...]:
    """Every pair of findings with different recommendations, by the names of their agents. No recommendation is no
    opinion, and differs from none."""
    said = [finding for finding in findings if finding.recommendation is not None]
    return tuple(
        [
            Pair(one.agent, other.agent)
            for place, one in enumerate(said)
            for other in said[place + 1 :]
            if one.recommendation != other.recommendation
        ]
    )
