"""A ground that is played with: commands go in, events come out, and the state is what the events make of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.conflicts import (
    CompareFindings,
    ConfigureGround,
    ConflictFound,
    ConflictResolved,
    DeclareIntention,
    Finding,
    FinishIntention,
    Intent,
    JudgeConflict,
    Terms,
)
from accord.schemas.messages.log import CommandRejected, Tick
from accord.streams.conflicts.decider import ConflictDecider
from accord.streams.conflicts.ground import Ground, Intention
from accord.streams.conflicts.rules import DEFAULT
from accord.streams.decider import At, dump, restore

decider = ConflictDecider()
E = TypeVar("E", bound=Event)
T0 = 1_000_000


def intent(action: str = "write", target: str = "report", **other: Any) -> Intent:
    fields = {
        "resource": "", "amount": 0, "mode": None, "topic": "", "text": "", "from_ms": None, "until_ms": None,
        "priority": 0, "lease_ms": 30_000, "waits": True,
    }  # fmt: skip
    return Intent(action, target, **(fields | other))


def terms(**other: Any) -> Terms:
    return msgspec.structs.replace(DEFAULT, **other)


def finding(agent: str, recommendation: str | None, priority: int = 0, text: str = "{}") -> Finding:
    return Finding(agent, recommendation, text, priority)


class Played:
    """`now_ms` is the partition's clock, `seq` the number of the last decision."""

    def __init__(self, configured: Terms | None = None) -> None:
        self.state: Ground | None = None
        self.now_ms = T0
        self.seq = 0
        self.events: list[Event] = []
        if configured is not None:
            self.do(ConfigureGround("owner", configured))

    @property
    def ground(self) -> Ground:
        return self.state or Ground()

    def do(self, command: Command, *, after_ms: int = 0) -> list[Event]:
        """Has a command decided. What is decided is a function, and what is kept survives a checkpoint."""
        self.now_ms += after_ms
        self.seq += 1
        at = At(self.now_ms, self.seq, f"r{self.seq}")
        events = list(decider.decide(self.state, command, at))
        kept = None if self.state is None else restore(dump(self.state), decider.state_type)
        assert events == list(decider.decide(kept, command, at)), "not a function"
        for event in events:
            if not isinstance(event, CommandRejected):
                self.state = decider.evolve(self.state, event)
        self.events += events
        return events

    def tick(self, after_ms: int) -> list[Event]:
        return self.do(Tick(), after_ms=after_ms)

    def declare(self, agent: str, what: Intent | None = None, name: str | None = None, **other: Any) -> list[Event]:
        what = what or intent(**other)
        return self.do(DeclareIntention(agent, name or agent, what, ()))

    def done(self, agent: str, name: str | None = None) -> list[Event]:
        return self.do(FinishIntention(agent, name or agent))

    def compare(self, *findings: Finding, conflict: str = "f") -> list[Event]:
        return self.do(CompareFindings("boss", conflict, findings, ()))

    def judge(self, winner: str | None, conflict: str = "f", **other: Any) -> list[Event]:
        fields = {
            "kind": "findings", "against": (), "reasoning": "because", "confidence_millionths": 900_000, "request": "h"
        }  # fmt: skip
        agent = other.pop("agent", "judge")
        return self.do(JudgeConflict(agent, conflict, winner, **(fields | other)))

    def status(self, name: str) -> str:
        return self.one(name).status

    def one(self, name: str) -> Intention:
        found = self.ground.intention(name)
        assert found is not None
        return found

    def told(self, kind: type[E]) -> list[E]:
        return told(self.events, kind)

    @property
    def found(self) -> set[tuple[str, frozenset[str]]]:
        """Kind and parties of every conflict that was found."""
        return {(e.kind, frozenset(p.party for p in e.parties)) for e in self.told(ConflictFound)}


def told(events: Sequence[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def only(events: Sequence[Event], kind: type[E]) -> E:
    """The one event of its kind."""
    (found,) = told(events, kind)
    return found


def resolution(events: Sequence[Event]) -> tuple[list[str], dict[str, str]]:
    """Winners and losers of the one conflict that these events resolve."""
    e = only(events, ConflictResolved)
    return [party.party for party in e.winners], {loser.party: loser.outcome for loser in e.losers}
