"""Heartbeats: one aggregate a process of an agent. It beats; what hangs on its heartbeat ends when it fails.

Rules:
- Alive, suspected, failed: by how long no beat came, on the clock of the log. A beat counts by the time at which it was
  appended, so a worker that is behind suspects nobody.
- Who is suspected and beats was suspected falsely; that is counted. Suspicion ends nothing.
- Who failed has failed for ever: a process that beats again begins anew, under another name. So what is ended for its
  failure can be ended late, and twice, and nothing that it took since is met.
- A process that fails was suspected before, if only in the same decision.
- What hangs on a heartbeat (`Tie`) are requests for locks, granted or waiting, and memberships of teams. It has its
  own lease beside; the heartbeat can only end it sooner. At most `TIES_MAX`; what is more is not tied.

    alive --suspect_ms without a beat--> suspected --fail_ms without a beat--> failed --FORGET_MS--> (forgotten)
    suspected --Beat--> alive        alive, suspected --EndPresence--> (left)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.locks import DropRequest
from accord.schemas.messages.log import Tick
from accord.schemas.messages.roster import (
    AgentAppeared,
    AgentBeat,
    AgentFailed,
    AgentForgotten,
    AgentLeft,
    AgentRecovered,
    AgentSuspected,
    Beat,
    BeatRefused,
    BeginPresence,
    EndPresence,
    FailMember,
    Tie,
)
from accord.streams.decider import At, Order
from accord.streams.roster.bounds import FORGET_MS, TIES_MAX

ALIVE: Final = "alive"
SUSPECTED: Final = "suspected"
FAILED: Final = "failed"
BY: Final = "accord"
"""Who takes a lock away from a process that failed."""

_replace: Final = msgspec.structs.replace


class Presence(msgspec.Struct, frozen=True, tag=True):
    """A process that beats. `suspicions` counts the false ones."""

    agent: str
    beat_ms: int
    suspect_ms: int
    fail_ms: int
    since_ms: int
    beat_at_ms: int
    ties: tuple[Tie, ...] = ()
    suspected_ms: int | None = None
    failed_ms: int | None = None
    suspicions: int = 0

    @property
    def health(self) -> str:
        """`alive`, `suspected` or `failed`."""
        return FAILED if self.failed_ms is not None else SUSPECTED if self.suspected_ms is not None else ALIVE

    @property
    def health_since_ms(self) -> int:
        """Since when it is so, by the partition's clock; of one that recovered since it appeared."""
        return self.failed_ms or self.suspected_ms or self.since_ms


class PresenceDecider:
    """The rules of a name that is a process's."""

    state_type = Presence

    def decide(self, state: Presence | None, command: Command, at: At) -> Sequence[Event]:
        events = [] if state is None else _due(state, at.now_ms)
        for event in events:
            state = self.evolve(state, event)
        return [*events, *_ANSWERS[type(command)](state, command, at)]

    def evolve(self, state: Presence | None, event: Event) -> Presence | None:
        if type(event) is BeatRefused:
            return state
        try:
            change = _CHANGES[type(event)]
        except KeyError:
            raise TypeError(f"a heartbeat has no event {type(event).__name__}") from None
        return change(state, event)

    def deadline_ms(self, state: Presence) -> int | None:
        if state.failed_ms is not None:
            return state.failed_ms + FORGET_MS
        return state.beat_at_ms + (state.suspect_ms if state.suspected_ms is None else state.fail_ms)


def _due(known: Presence, now_ms: int) -> list[Event]:
    """What the time without a beat brings."""
    found: list[Event] = []
    failed_ms = known.failed_ms
    if failed_ms is None:
        suspected_ms, fails_ms = known.beat_at_ms + known.suspect_ms, known.beat_at_ms + known.fail_ms
        if known.suspected_ms is None and suspected_ms <= now_ms:
            found.append(AgentSuspected(known.agent, known.beat_at_ms, suspected_ms))
        if fails_ms <= now_ms:
            found.append(AgentFailed(known.agent, known.beat_at_ms, fails_ms, known.ties))
            failed_ms = fails_ms
    if failed_ms is not None and failed_ms + FORGET_MS <= now_ms:
        found.append(AgentForgotten(known.agent))
    return found


# -- what commands bring


def _begin(known: Presence | None, c: BeginPresence, at: At) -> list[Event]:
    if known is not None:
        return _beat(known, Beat(c.agent, c.tie, ()), at)
    return [AgentAppeared(c.agent, c.beat_ms, c.suspect_ms, c.fail_ms, at.now_ms, tuple(dict.fromkeys(c.tie)))]


def _beat(known: Presence | None, c: Beat, at: At) -> list[Event]:
    if known is None or known.failed_ms is not None:
        return [BeatRefused(c.agent, "unknown" if known is None else "failed")]
    has = dict.fromkeys(known.ties)
    untied = tuple([tie for tie in dict.fromkeys(c.untie) if tie in has])
    new = [tie for tie in dict.fromkeys(c.tie) if tie not in has]
    tied = tuple(new[: TIES_MAX - len(has) + len(untied)])
    beat = AgentBeat(c.agent, at.now_ms, tied, untied)
    if known.suspected_ms is None:
        return [beat]
    silent_ms = at.now_ms - known.beat_at_ms
    return [AgentRecovered(known.agent, known.suspected_ms, silent_ms, known.suspicions + 1), beat]


def _end(known: Presence | None, c: EndPresence, _: At) -> list[Event]:
    return [] if known is None or known.failed_ms is not None else [AgentLeft(c.agent)]


def _tick(_: Presence | None, __: Tick, ___: At) -> list[Event]:
    return []


_ANSWERS: Final[Mapping[type[Command], Callable[[Presence | None, Any, At], list[Event]]]] = {
    BeginPresence: _begin,
    Beat: _beat,
    EndPresence: _end,
    Tick: _tick,
}
OWN_COMMANDS: Final = frozenset({BeginPresence, Beat, EndPresence})


# -- what events change


def _appeared(_: Presence | None, e: AgentAppeared) -> Presence:
    return Presence(e.agent, e.beat_ms, e.suspect_ms, e.fail_ms, e.at_ms, e.at_ms, e.tied)


def _beaten(known: Presence | None, e: AgentBeat) -> Presence:
    assert known is not None
    ties = known.ties
    if e.untied:
        gone = set(e.untied)
        ties = tuple([tie for tie in ties if tie not in gone])
    return _replace(known, beat_at_ms=e.at_ms, ties=(*ties, *e.tied) if e.tied else ties)


def _suspected(known: Presence | None, e: AgentSuspected) -> Presence:
    assert known is not None
    return _replace(known, suspected_ms=e.suspected_ms)


def _recovered(known: Presence | None, e: AgentRecovered) -> Presence:
    assert known is not None
    return _replace(known, suspected_ms=None, suspicions=e.suspicions)


def _failed(known: Presence | None, e: AgentFailed) -> Presence:
    assert known is not None
    return _replace(known, failed_ms=e.failed_ms, ties=())


def _gone(_: Presence | None, __: Event) -> None:
    return None


_CHANGES: Final[Mapping[type[Event], Callable[[Presence | None, Any], Presence | None]]] = {
    AgentAppeared: _appeared,
    AgentBeat: _beaten,
    AgentSuspected: _suspected,
    AgentRecovered: _recovered,
    AgentFailed: _failed,
    AgentLeft: _gone,
    AgentForgotten: _gone,
}
OWN_EVENTS: Final = frozenset({*_CHANGES, BeatRefused})


# -- what follows elsewhere


def tell_failed(presence: str, e: AgentFailed) -> list[Order]:
    """What hung on the heartbeat ends."""
    return [
        Order("locks", tie.key, DropRequest(BY, tie.name, f"no heartbeat of {presence}"))
        if tie.domain == "locks"
        else Order("roster", tie.key, FailMember(e.agent, tie.name, presence, e.failed_ms))
        for tie in e.ties
    ]
