"""A ground: what is intended on it, its conflicts, and what events make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from accord.schemas.messages import Event
from accord.schemas.messages.conflicts import (
    AppealDecided,
    AppealRefused,
    Brief,
    ComparisonRefused,
    ConfigurationRefused,
    ConflictEscalated,
    ConflictFound,
    ConflictKnown,
    ConflictRead,
    ConflictResolved,
    ConflictRuledOut,
    ConflictUnknown,
    Finding,
    FindingsAgree,
    GroundConfigured,
    GroundRead,
    Intent,
    IntentionAllowed,
    IntentionDeclared,
    IntentionEnded,
    IntentionFavoured,
    IntentionKnown,
    IntentionQueued,
    IntentionRefused,
    IntentionRenewed,
    IntentionUnknown,
    JudgementDeclined,
    JudgementGiven,
    JudgementIgnored,
    JudgementWanted,
    Loser,
    Pair,
    Party,
    RecordsForgotten,
    RulingRefused,
    Standing,
    Terms,
    VerdictIgnored,
)
from accord.streams.conflicts.rules import DEFAULT

ACTING: Final = "acting"
QUEUED: Final = "queued"
HELD: Final = "held"
LIVE: Final = (ACTING, QUEUED, HELD)

DONE: Final = "done"
WITHDRAWN: Final = "withdrawn"
EXPIRED: Final = "expired"
DENIED: Final = "denied"
TAKEN: Final = "duplicate"
PREEMPTED: Final = "preempted"
LOST: Final = (DENIED, TAKEN, PREEMPTED)
"""How an intention ends that a conflict ended; an appeal may bring it back."""
FINISHES: Final = "finishes"
OVERRULED: Final = "overruled"

JUDGING: Final = "judging"
ESCALATED: Final = "escalated"
RESOLVED: Final = "resolved"
RULED_OUT: Final = "ruled_out"
STATUSES: Final = (JUDGING, ESCALATED, RESOLVED, RULED_OUT)
SUSPECTED: Final = "suspected"
"""The kind of what is no conflict yet: judges are asked whether it is one."""

BY_RULE: Final = "rule"
BY_MODEL: Final = "model"
BY_AUTHORITY: Final = "authority"

_replace: Final = msgspec.structs.replace


class Intention(msgspec.Struct, frozen=True, gc=False):
    """An intention. `arrival` is its place in the order of arrival, `favoured` who goes first by an authority's word.

    `conflict` is what it is held by, or ended with; `by` are the agents that won over it then.
    """

    intention: str
    agent: str
    intent: Intent
    arrival: int
    deadline_ms: int
    status: str = QUEUED
    favoured: bool = False
    conflict: str = ""
    by: tuple[str, ...] = ()
    ended_ms: int | None = None

    @property
    def is_live(self) -> bool:
        return self.ended_ms is None

    @property
    def rank(self) -> tuple[bool, int, int]:
        """Who goes first among those who do not act yet: the least."""
        return (not self.favoured, -self.intent.priority, self.arrival)

    @property
    def party(self) -> Party:
        return Party(self.intention, self.agent)

    @property
    def standing(self) -> Standing:
        return Standing(self.intention, self.agent, self.intent, self.status, self.deadline_ms, self.conflict)


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """A conflict. `against` are, of what was suspected, the parties that a judge sees the new one in conflict with.
    `due_ms` is until when a judgement or a verdict counts; `contenders` are the parties between whom the authority or
    the organisation that is asked decides, `request` is what the latter is asked by."""

    conflict: str
    agent: str
    kind: str
    parties: tuple[Party, ...]
    status: str = JUDGING
    findings: tuple[Finding, ...] = ()
    pairs: tuple[Pair, ...] = ()
    judges: tuple[str, ...] = ()
    declined: tuple[str, ...] = ()
    judge: str = ""
    against: tuple[str, ...] = ()
    trail: tuple[str, ...] = ()
    authority: str = ""
    organisation: str = ""
    request: str = ""
    contenders: tuple[Party, ...] = ()
    due_ms: int | None = None
    method: str = ""
    winners: tuple[Party, ...] = ()
    losers: tuple[Loser, ...] = ()
    reasoning: str = ""
    confidence_millionths: int = 0
    fallback: str = ""
    by_rule: str = ""
    by: str = ""
    appealed: bool = False
    ended_ms: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether something is waited for: a judgement, or a verdict."""
        return self.due_ms is not None

    @property
    def is_of_findings(self) -> bool:
        return bool(self.findings)

    def party(self, name: str) -> Party | None:
        return next((party for party in self.parties if party.party == name), None)

    @property
    def brief(self) -> Brief:
        return Brief(self.conflict, self.kind, self.status, self.winners[0].party if self.winners else "")


class Ground(msgspec.Struct, frozen=True, gc=False):
    """A ground. Intentions and conflicts stand in the order in which they came; those that ended are remembered for a
    while. Without an owner nobody has configured it."""

    owner: str = ""
    terms: Terms = DEFAULT
    intentions: tuple[Intention, ...] = ()
    conflicts: tuple[Conflict, ...] = ()

    @property
    def live(self) -> list[Intention]:
        return [one for one in self.intentions if one.ended_ms is None]

    def intention(self, name: str) -> Intention | None:
        return next((one for one in self.intentions if one.intention == name), None)

    def conflict(self, name: str) -> Conflict | None:
        return next((one for one in self.conflicts if one.conflict == name), None)


def evolve(state: Ground | None, event: Event) -> Ground | None:
    """The ground after an event; None: nothing of it is left to remember."""
    change = _CHANGES.get(type(event))
    if change is None:
        raise TypeError(f"the conflicts domain has no event {type(event).__name__}")
    ground = change(state or Ground(), event)
    return ground if ground.owner or ground.intentions or ground.conflicts else None


def _with(ground: Ground, name: str, **changes: Any) -> Ground:
    """The ground with an intention changed."""
    changed = [_replace(one, **changes) if one.intention == name else one for one in ground.intentions]
    return _replace(ground, intentions=tuple(changed))


def _with_conflict(ground: Ground, name: str, **changes: Any) -> Ground:
    changed = [_replace(one, **changes) if one.conflict == name else one for one in ground.conflicts]
    return _replace(ground, conflicts=tuple(changed))


def _configured(ground: Ground, e: GroundConfigured) -> Ground:
    return _replace(ground, owner=ground.owner or e.agent, terms=e.terms)


def _declared(ground: Ground, e: IntentionDeclared) -> Ground:
    new = Intention(e.intention, e.agent, e.intent, e.arrival, e.deadline_ms)
    return _replace(ground, intentions=(*ground.intentions, new))


def _found(ground: Ground, e: ConflictFound) -> Ground:
    """A new conflict, or what was suspected is one."""
    if ground.conflict(e.conflict) is not None:
        return _with_conflict(ground, e.conflict, kind=e.kind, against=tuple([p.party for p in e.parties[1:]]))
    new = Conflict(e.conflict, e.agent, e.kind, e.parties, findings=e.findings, pairs=e.pairs)
    return _replace(ground, conflicts=(*ground.conflicts, new))


def _wanted(ground: Ground, e: JudgementWanted) -> Ground:
    asked: dict[str, Any] = {"judges": e.judges, "trail": e.trail, "due_ms": e.due_ms}
    if ground.conflict(e.conflict) is not None:
        return _with_conflict(ground, e.conflict, **asked)
    suspected = Conflict(e.conflict, e.agent, e.kind, e.parties, **asked)
    ground = _replace(ground, conflicts=(*ground.conflicts, suspected))
    return _with(ground, e.parties[0].party, status=HELD, conflict=e.conflict)


def _given(ground: Ground, e: JudgementGiven) -> Ground:
    return _with_conflict(
        ground, e.conflict, judge=e.agent, reasoning=e.reasoning, confidence_millionths=e.confidence_millionths
    )


def _declined(ground: Ground, e: JudgementDeclined) -> Ground:
    conflict = ground.conflict(e.conflict)
    assert conflict is not None
    return _with_conflict(ground, e.conflict, declined=(*conflict.declined, e.agent))


def _escalated(ground: Ground, e: ConflictEscalated) -> Ground:
    status = {} if e.reason == "appeal" else {"status": ESCALATED}
    appealed = {"appealed": True} if e.reason == "appeal" else {}
    return _with_conflict(
        ground, e.conflict, authority=e.authority, organisation=e.organisation, request=e.request,
        contenders=e.parties, due_ms=e.due_ms, **status, **appealed,
    )  # fmt: skip


def _resolved(ground: Ground, e: ConflictResolved) -> Ground:
    return _with_conflict(
        _released(ground, e.conflict), e.conflict, status=RESOLVED, method=e.method, winners=e.winners, losers=e.losers,
        reasoning=e.reasoning, confidence_millionths=e.confidence_millionths, fallback=e.fallback, by_rule=e.by_rule,
        by=e.by, due_ms=None, ended_ms=e.resolved_ms,
    )  # fmt: skip


def _ruled_out(ground: Ground, e: ConflictRuledOut) -> Ground:
    ground = _released(ground, e.conflict)
    return _with_conflict(
        ground, e.conflict, status=RULED_OUT, method=e.method, reasoning=e.reasoning,
        confidence_millionths=e.confidence_millionths, fallback=e.fallback, by=e.by, due_ms=None, ended_ms=e.ended_ms,
    )  # fmt: skip


def _released(ground: Ground, name: str) -> Ground:
    """The ground once a conflict holds nobody any more."""
    released = [
        _replace(one, status=QUEUED, conflict="") if one.status == HELD and one.conflict == name else one
        for one in ground.intentions
    ]
    return _replace(ground, intentions=tuple(released))


def _appeal_decided(ground: Ground, e: AppealDecided) -> Ground:
    changes: dict[str, Any] = {"due_ms": None, "ended_ms": e.decided_ms}
    if not e.upheld:
        changes |= {"winners": (e.winner,), "losers": e.losers, "method": e.method, "reasoning": e.reasoning}
        changes |= {"fallback": e.fallback, "by": e.by}
    return _with_conflict(ground, e.conflict, **changes)


def _allowed(ground: Ground, e: IntentionAllowed) -> Ground:
    return _with(ground, e.intention, status=ACTING)


def _queued(ground: Ground, e: IntentionQueued) -> Ground:
    return _with(ground, e.intention, status=QUEUED, conflict="")


def _favoured(ground: Ground, e: IntentionFavoured) -> Ground:
    return _with(
        ground, e.intention, status=QUEUED, favoured=True, conflict="", by=(), deadline_ms=e.deadline_ms, ended_ms=None
    )


def _renewed(ground: Ground, e: IntentionRenewed) -> Ground:
    return _with(ground, e.intention, deadline_ms=e.deadline_ms)


def _ended(ground: Ground, e: IntentionEnded) -> Ground:
    return _with(ground, e.intention, status=e.outcome, conflict=e.conflict, by=e.by, ended_ms=e.ended_ms)


def _forgotten(ground: Ground, e: RecordsForgotten) -> Ground:
    return _replace(
        ground,
        intentions=tuple([one for one in ground.intentions if one.intention not in e.intentions]),
        conflicts=tuple([one for one in ground.conflicts if one.conflict not in e.conflicts]),
    )


def _unchanged(ground: Ground, _: Event) -> Ground:
    return ground


_CHANGES: Final[Mapping[type[Event], Callable[[Ground, Any], Ground]]] = {
    GroundConfigured: _configured,
    ConfigurationRefused: _unchanged,
    IntentionDeclared: _declared,
    IntentionKnown: _unchanged,
    IntentionRefused: _unchanged,
    ConflictFound: _found,
    JudgementWanted: _wanted,
    JudgementGiven: _given,
    JudgementDeclined: _declined,
    JudgementIgnored: _unchanged,
    ConflictEscalated: _escalated,
    ConflictResolved: _resolved,
    ConflictRuledOut: _ruled_out,
    AppealDecided: _appeal_decided,
    AppealRefused: _unchanged,
    RulingRefused: _unchanged,
    VerdictIgnored: _unchanged,
    IntentionAllowed: _allowed,
    IntentionQueued: _queued,
    IntentionFavoured: _favoured,
    IntentionRenewed: _renewed,
    IntentionEnded: _ended,
    IntentionUnknown: _unchanged,
    FindingsAgree: _unchanged,
    ComparisonRefused: _unchanged,
    ConflictKnown: _unchanged,
    ConflictUnknown: _unchanged,
    RecordsForgotten: _forgotten,
    GroundRead: _unchanged,
    ConflictRead: _unchanged,
}
