"""Conflicts: what collided, on what grounds it was decided, what became of who lost; and grounds as they stand.

Keys are added, never renamed. They are read off the events, not off the state, so what is not remembered any more is
there, too. Beside what was decided stands whom the rule would have had win: nobody, and no model, is asked again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from accord.replay.history import History, everything, one_of
from accord.replay.source import Source
from accord.replay.state import Point
from accord.replay.timeline import iso
from accord.schemas.messages import conflicts as events
from accord.schemas.messages.conflicts import Finding, Intent, Terms
from accord.streams.conflicts.bounds import MILLION
from accord.streams.conflicts.ground import (
    ESCALATED,
    JUDGING,
    RESOLVED,
    RULED_OUT,
    STATUSES,
    SUSPECTED,
    Ground,
    evolve,
)
from accord.streams.partition import Decided

__all__ = ["STATUSES", "ConflictView", "GroundView", "conflict_at", "conflicts_at", "ground_at"]

DOMAIN: Final = "conflicts"


class PartyView(msgspec.Struct, frozen=True):
    """Who takes part. `intent` is what an intention was about, `recommendation` and `finding` are JSON of a finding.

    `outcome` is won, or what became of who lost; None: it is not decided, or the party neither won nor lost.
    """

    party: str
    agent: str
    intent: Intent | None
    recommendation: str | None
    finding: str | None
    outcome: str | None


class JudgementView(msgspec.Struct, frozen=True):
    """What a judge said. `counted` is None if it did, else why it did not; `request` is the hash of what a model was
    asked (`accord llm show`)."""

    judge: str
    winner: str | None
    kind: str
    confidence: float | None
    reasoning: str
    request: str
    counted: str | None
    at: str


class EscalationView(msgspec.Struct, frozen=True):
    """Where a conflict was taken. Without an authority the rule decided."""

    reason: str
    by: str
    authority: str
    detail: str
    at: str


class AppealView(msgspec.Struct, frozen=True):
    """What became of an appeal."""

    upheld: bool
    winner: str
    method: str
    reasoning: str
    fallback: str
    by: str
    at: str


class ConflictView(msgspec.Struct, frozen=True):
    """A conflict. `by_rule` is the party that the rule would have had win, `agrees` whether it won.

    `fallback` says why the rule stood in for a judgement or a verdict. `position` is its last event.
    """

    ground: str
    id: str
    kind: str
    status: str
    rule: str
    agent: str
    target: str
    resource: str
    topic: str
    demanded: int | None
    capacity: int | None
    parties: tuple[PartyView, ...]
    pairs: tuple[tuple[str, str], ...]
    judgements: tuple[JudgementView, ...]
    escalations: tuple[EscalationView, ...]
    method: str | None
    winner: str | None
    reasoning: str
    confidence: float | None
    fallback: str
    by: str
    by_rule: str | None
    agrees: bool | None
    appeal: AppealView | None
    found_at: str
    ended_at: str | None
    position: str


class IntentionView(msgspec.Struct, frozen=True):
    """An intention as it stands, or as it ended."""

    id: str
    agent: str
    status: str
    intent: Intent
    lease_until: str
    conflict: str


class GroundView(msgspec.Struct, frozen=True):
    """A ground: its terms, what is intended on it, its conflicts. Without an owner nobody has configured it."""

    ground: str
    owner: str
    terms: Terms
    intentions: tuple[IntentionView, ...]
    conflicts: tuple[ConflictView, ...]


class Noted(msgspec.Struct):
    """A conflict as the events tell it."""

    agent: str
    kind: str
    parties: tuple[events.Party, ...]
    found_ms: int
    found: events.ConflictFound | None = None
    judgements: list[JudgementView] = []
    escalations: list[EscalationView] = []
    resolved: events.ConflictResolved | None = None
    ruled_out: events.ConflictRuledOut | None = None
    appeal: events.AppealDecided | None = None
    position: str = ""

    @property
    def status(self) -> str:
        if self.resolved is not None:
            return RESOLVED
        if self.ruled_out is not None:
            return RULED_OUT
        return ESCALATED if self.escalations else JUDGING


class Kept(msgspec.Struct):
    """A ground as the events tell it, with what its state does without."""

    state: Ground
    intents: dict[str, Intent] = {}
    findings: dict[str, dict[str, Finding]] = {}
    conflicts: dict[str, Noted] = {}


class Grounds(History[Kept]):
    """The grounds of a partition, by name."""

    def see(self, decided: Decided) -> None:
        key, at = self.place(decided)
        now_ms = decided.decision.now_ms
        for event in decided.events:
            if not isinstance(event, events.EVENTS):
                continue
            kept = self.kept.setdefault(key, Kept(Ground()))
            kept.state = evolve(kept.state, event) or Ground()
            if isinstance(event, events.IntentionDeclared):
                kept.intents[event.intention] = event.intent
            elif hasattr(event, "conflict") and not isinstance(event, NO_CHANGE):
                _note(kept, event, iso(now_ms), now_ms, at)


NO_CHANGE: Final = (
    events.IntentionKnown, events.IntentionEnded, events.IntentionFavoured, events.ConflictRead, events.ConflictKnown,
    events.ConflictUnknown, events.AppealRefused, events.RulingRefused, events.ComparisonRefused, events.FindingsAgree,
)  # fmt: skip
"""Events that name a conflict and change nothing about it."""


def _note(kept: Kept, event: Any, when: str, now_ms: int, at: str) -> None:
    """Takes note of an event about a conflict."""
    if event.conflict not in kept.conflicts:
        if not hasattr(event, "parties"):  # a judgement of what is unknown here
            return
        kept.conflicts[event.conflict] = Noted(event.agent, event.kind, event.parties, now_ms)
    noted = kept.conflicts[event.conflict]
    noted.position = at
    match event:
        case events.ConflictFound():
            noted.found, noted.kind = event, event.kind
            kept.findings[event.conflict] = {finding.agent: finding for finding in event.findings}
        case events.JudgementGiven():
            noted.judgements.append(_judgement(event, when))
        case events.JudgementDeclined(agent=judge, reason=reason):
            noted.judgements.append(JudgementView(judge, None, "", None, "", "", f"declined: {reason}", when))
        case events.JudgementIgnored(agent=judge, winner=winner, reason=reason):
            noted.judgements.append(JudgementView(judge, winner, "", None, "", "", f"ignored: {reason}", when))
        case events.ConflictEscalated(_, reason, agent, detail, _, authority, organisation):
            noted.escalations.append(EscalationView(reason, agent, authority or organisation, detail, when))
        case events.ConflictResolved():
            noted.resolved = event
        case events.ConflictRuledOut():
            noted.ruled_out = event
        case events.AppealDecided():
            noted.appeal = event


def _judgement(e: events.JudgementGiven, when: str) -> JudgementView:
    confidence = e.confidence_millionths / MILLION
    return JudgementView(e.agent, e.winner, e.kind, confidence, e.reasoning, e.request, None, when)


def conflicts_at(source: Source, point: Point = None, *, processes: int = 1) -> tuple[ConflictView, ...]:
    """Every conflict that was found or suspected up to a point, oldest first.

    Raises:
        What `state_at` raises.
    """
    found = everything(source, DOMAIN, Grounds, point, processes)
    views = [_view(name, kept, conflict) for name, kept in found for conflict in kept.conflicts]
    return tuple(sorted(views, key=lambda view: (view.found_at, view.ground, view.id)))


def ground_at(source: Source, name: str, point: Point = None) -> GroundView | None:
    """A ground at a point, or None. Only its partition is read."""
    kept = one_of(source, DOMAIN, Grounds, point, name)
    if kept is None:
        return None
    standing = tuple(
        [
            IntentionView(one.intention, one.agent, one.status, one.intent, iso(one.deadline_ms), one.conflict)
            for one in kept.state.intentions
        ]
    )
    views = tuple([_view(name, kept, conflict) for conflict in kept.conflicts])
    return GroundView(name, kept.state.owner, kept.state.terms, standing, views)


def conflict_at(source: Source, ground: str, conflict: str, point: Point = None) -> ConflictView | None:
    """A conflict at a point, or None. Only its partition is read."""
    kept = one_of(source, DOMAIN, Grounds, point, ground)
    return None if kept is None or conflict not in kept.conflicts else _view(ground, kept, conflict)


def _view(ground: str, kept: Kept, conflict: str) -> ConflictView:
    noted = kept.conflicts[conflict]
    found, end, out = noted.found, noted.resolved, noted.ruled_out
    winner = _winner(noted)
    return ConflictView(
        ground=ground,
        id=conflict,
        kind=noted.kind,
        status=noted.status,
        rule="" if found is None else found.rule,
        agent=noted.agent,
        target="" if found is None else found.target,
        resource="" if found is None else found.resource,
        topic="" if found is None else found.topic,
        demanded=None if found is None else found.demanded,
        capacity=None if found is None else found.capacity,
        parties=tuple(_parties(kept, noted, conflict)),
        pairs=() if found is None else tuple([(pair.one, pair.other) for pair in found.pairs]),
        judgements=tuple(noted.judgements),
        escalations=tuple(noted.escalations),
        method=end.method if end else out.method if out else None,
        winner=winner,
        reasoning=end.reasoning if end else out.reasoning if out else "",
        confidence=_confidence(end or out),
        fallback=end.fallback if end else out.fallback if out else "",
        by=end.by if end else out.by if out else "",
        by_rule=None if end is None else end.by_rule,
        agrees=None if end is None or winner is None else winner == end.by_rule,
        appeal=_appeal(noted.appeal),
        found_at=iso(noted.found_ms),
        ended_at=iso(end.resolved_ms) if end else iso(out.ended_ms) if out else None,
        position=noted.position,
    )


def _winner(noted: Noted) -> str | None:
    if noted.appeal is not None:
        return noted.appeal.winner.party
    return None if noted.resolved is None else noted.resolved.winners[0].party


def _confidence(end: events.ConflictResolved | events.ConflictRuledOut | None) -> float | None:
    return None if end is None else end.confidence_millionths / MILLION


def _parties(kept: Kept, noted: Noted, conflict: str) -> Iterable[PartyView]:
    outcomes: dict[str, str] = {}
    if noted.resolved is not None:
        outcomes |= {party.party: "won" for party in noted.resolved.winners}
        outcomes |= {loser.party: loser.outcome for loser in noted.resolved.losers}
    if noted.appeal is not None:
        outcomes |= {loser.party: loser.outcome for loser in noted.appeal.losers} | {noted.appeal.winner.party: "won"}
    findings = kept.findings.get(conflict, {})
    parties = noted.parties if noted.found is None or noted.kind == SUSPECTED else noted.found.parties
    for party in parties:
        finding = findings.get(party.party)
        yield PartyView(
            party.party,
            party.agent,
            None if finding is not None else kept.intents.get(party.party),
            None if finding is None else finding.recommendation,
            None if finding is None else finding.text,
            outcomes.get(party.party),
        )


def _appeal(e: events.AppealDecided | None) -> AppealView | None:
    if e is None:
        return None
    return AppealView(e.upheld, e.winner.party, e.method, e.reasoning, e.fallback, e.by, iso(e.decided_ms))
