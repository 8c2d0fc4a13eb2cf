"""A decision about a ground as it comes into being: its events, and the ground after them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from accord.schemas.messages import Event
from accord.schemas.messages.conflicts import (
    ConflictResolved,
    ConflictRuledOut,
    GroundConfigured,
    IntentionAllowed,
    IntentionEnded,
    IntentionFavoured,
    Party,
    RecordsForgotten,
    Terms,
)
from accord.streams.conflicts.bounds import REMEMBERED_MAX
from accord.streams.conflicts.ground import (
    ACTING,
    BY_RULE,
    DENIED,
    ESCALATED,
    JUDGING,
    QUEUED,
    Ground,
    Intention,
    evolve,
)
from accord.streams.conflicts.rules import demand, kind_of, users
from accord.streams.decider import At

MAKES_WAY: Final = (IntentionEnded, ConflictResolved, ConflictRuledOut, GroundConfigured, IntentionFavoured)
"""Events after which somebody who waited may act."""


class Draft:
    def __init__(self, ground: Ground | None, at: At) -> None:
        self.ground: Ground = ground or Ground()
        self.at = at
        self.events: list[Event] = []
        self._makes_way = False

    @property
    def terms(self) -> Terms:
        return self.ground.terms

    def add(self, event: Event) -> None:
        self.events.append(event)
        self._makes_way = self._makes_way or isinstance(event, MAKES_WAY)
        self.ground = evolve(self.ground, event) or Ground()

    def end(
        self, one: Intention, outcome: str, *, conflict: str = "", by: Iterable[Party] = (), reason: str = ""
    ) -> None:
        """Ends an intention; what was suspected of it, or against it alone, is no matter any more."""
        winners = tuple(dict.fromkeys([party.agent for party in by]))
        self.add(IntentionEnded(one.agent, one.intention, outcome, conflict, winners, reason, self.at.now_ms))
        live = {other.intention for other in self.ground.live}
        for suspicion in self.ground.conflicts:
            if suspicion.status not in (JUDGING, ESCALATED) or suspicion.is_of_findings:
                continue
            first, *others = [party.party for party in suspicion.parties]
            if first not in live or live.isdisjoint(suspicion.against or others):
                self.add(
                    ConflictRuledOut(suspicion.conflict, BY_RULE, "who it was about is gone", 0, "", "", self.at.now_ms)
                )

    def advance(self) -> None:
        """Has those act who waited and need not any more, the first first. Who waits keeps his place: nobody behind him
        takes what he waits for."""
        if not self._makes_way:
            return
        self._makes_way = False
        terms, live = self.terms, self.ground.live
        ahead = [one for one in live if one.status == ACTING]
        for one in sorted([one for one in live if one.status != ACTING], key=lambda one: one.rank):
            if one.status == QUEUED:
                if not is_blocked(terms, one, ahead):
                    self.add(IntentionAllowed(one.agent, one.intention, self.at.now_ms))
                elif not one.intent.waits and not one.favoured:
                    before = in_the_way(terms, one, ahead)
                    self.end(one, DENIED, by=[other.party for other in before], reason="it would have to wait")
                    continue
            ahead.append(one)

    def forget(self) -> None:
        """Forgets what ended long ago, and of too much what ended first."""
        horizon = self.at.now_ms - self.terms.keep_ms
        intentions = [(one.ended_ms, one.intention) for one in self.ground.intentions if one.ended_ms is not None]
        conflicts = [
            (one.ended_ms, one.conflict)
            for one in self.ground.conflicts
            if one.ended_ms is not None and not one.is_open
        ]
        gone = [_outdated(ended, horizon) for ended in (intentions, conflicts)]
        if any(gone):
            self.add(RecordsForgotten(*map(tuple, gone)))


def _outdated(ended: list[tuple[int, str]], horizon_ms: int) -> list[str]:
    """The names of those to forget: until the horizon, and so many that no more than may be are left."""
    ended.sort(key=lambda one: one[0])
    surplus = len(ended) - REMEMBERED_MAX
    return [name for place, (ended_ms, name) in enumerate(ended) if ended_ms <= horizon_ms or place < surplus]


def is_blocked(terms: Terms, one: Intention, ahead: Sequence[Intention]) -> bool:
    """Whether it collides with those ahead."""
    if any(kind_of(terms, one.intent, other.intent) is not None for other in ahead):
        return True
    return demand(terms, one.intent, users(one.intent.resource, one.intent, ahead)) is not None


def in_the_way(terms: Terms, one: Intention, ahead: Sequence[Intention]) -> list[Intention]:
    """Those of the ones ahead with whom it collides."""
    found = [other for other in ahead if kind_of(terms, one.intent, other.intent) is not None]
    using = [other for other in users(one.intent.resource, one.intent, ahead) if isinstance(other, Intention)]
    if demand(terms, one.intent, using) is not None:
        found += [other for other in using if other not in found]
    return found
