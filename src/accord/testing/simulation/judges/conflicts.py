"""Conflicts: what acts at once fits; an intention acts once, and ends once; a conflict is resolved once, and decided on
appeal once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from accord.schemas.messages import Event
from accord.schemas.messages.conflicts import (
    AppealDecided,
    Capacity,
    ConflictEscalated,
    ConflictFound,
    ConflictResolved,
    ConflictRuledOut,
    GroundConfigured,
    Intent,
    IntentionAllowed,
    IntentionDeclared,
    IntentionEnded,
    IntentionFavoured,
    IntentionRenewed,
    JudgementWanted,
)
from accord.testing.simulation.judges.seen import Demand, Seen, is_overdue

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster

GROUND: Final = "project"


@dataclass
class _Intentions:
    demand: Demand
    intents: dict[str, Intent] = field(default_factory=dict)
    lasts_ms: dict[str, int] = field(default_factory=dict)
    acting: dict[str, Intent] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def note(self, event: Event) -> None:
        match event:
            case IntentionDeclared(intention=name, intent=intent, deadline_ms=deadline_ms):
                self.demand(name not in self.intents, f"{name} is declared twice")
                self.intents[name], self.lasts_ms[name] = intent, deadline_ms
            case IntentionRenewed(intention=name, deadline_ms=deadline_ms):
                self.lasts_ms[name] = deadline_ms
            case IntentionFavoured(intention=name, deadline_ms=deadline_ms):
                self.ended.discard(name)
                self.lasts_ms[name] = deadline_ms
            case IntentionAllowed(intention=name):
                self.demand(name not in self.acting and name not in self.ended, f"{name} acts twice, or after its end")
                self.acting[name] = self.intents[name]
            case IntentionEnded(intention=name):
                self.demand(name not in self.ended, f"{name} ends twice")
                self.ended.add(name)
                self.acting.pop(name, None)
            case _:
                pass

    def check_capacities(self, capacities: Sequence[Capacity]) -> None:
        used: Counter[str] = Counter()
        for intent in self.acting.values():
            used[intent.resource] += intent.amount
        for limit in capacities:
            in_use = used[limit.resource]
            self.demand(in_use <= limit.amount, f"{in_use} of {limit.amount} {limit.resource} are in use")


def judge(cluster: Cluster, seen: Sequence[Seen], demand: Demand) -> None:
    intentions = _Intentions(demand)
    capacities: tuple[Capacity, ...] = ()
    ends: Counter[str] = Counter()
    found: set[str] = set()
    due_ms: dict[str, int] = {}
    for one in seen:
        for event in one.events:
            intentions.note(event)
            match event:
                case GroundConfigured(terms=terms):
                    capacities = terms.capacities
                case ConflictFound(conflict=name):
                    demand(name not in found, f"{name} is found twice")
                    found.add(name)
                case (
                    JudgementWanted(conflict=name, due_ms=until_ms) | ConflictEscalated(conflict=name, due_ms=until_ms)
                ):
                    due_ms[name] = until_ms or 0
                case ConflictResolved(conflict=name) | ConflictRuledOut(conflict=name):
                    ends[name] += 1
                    demand(ends[name] == 1, f"{name} is resolved twice")
                case AppealDecided(conflict=name):
                    ends[f"appeal of {name}"] += 1
                    demand(ends[f"appeal of {name}"] == 1, f"an appeal of {name} is decided twice")
                case _:
                    pass
        intentions.check_capacities(capacities)
    lasts_ms = intentions.lasts_ms
    left = [name for name in set(lasts_ms) - intentions.ended if is_overdue(cluster, GROUND, lasts_ms[name])]
    demand(not left, f"intentions that never end: {left}")
    unresolved = [name for name in found if not ends[name] and is_overdue(cluster, GROUND, due_ms.get(name, 0))]
    demand(not unresolved, f"conflicts that are never resolved: {unresolved}")
