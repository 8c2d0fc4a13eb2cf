"""Teams of agents: the roster domain's state as people and programs look at it.

Keys are added, never renamed. Durations are counted to one moment: see `accord.replay.work`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from accord.replay.health import Health
from accord.replay.timeline import iso
from accord.streams.roster.presence import ALIVE, FAILED
from accord.streams.roster.team import Breaker, Key, Team

_UNTRIED = Breaker()


class RunView(msgspec.Struct, frozen=True):
    """What an agent has been given. `for_ms` is how long it runs; None: it has not begun."""

    task: str
    step: str
    capability: str
    for_ms: int | None


class MemberView(msgspec.Struct, frozen=True):
    """A process of an agent, by `member`. It is gone once its lease is over. `done` and `took_ms`: see `Pace`.

    `health` is alive, suspected or failed, as its heartbeat tells, since `health_since`; `suspicions` were false. Of
    one that hangs on no heartbeat it is what its lease tells.
    """

    member: str
    agent: str
    capabilities: tuple[str, ...]
    slots: int
    busy: int
    free: int
    lease_left_ms: int
    runs: tuple[RunView, ...]
    done: int
    took_ms: int | None
    health: str = ALIVE
    health_since: str | None = None
    suspicions: int = 0


class BreakerView(msgspec.Struct, frozen=True):
    """What failures have made of a capability: `closed`, `open` until a time, or `half_open`: `trial` is let through.

    `left_ms` is for how long it stays open; 0: the next request is let through as a trial.
    """

    state: str
    failures: int
    reason: str
    until: str | None
    left_ms: int | None
    trial: str | None


class CapabilityView(msgspec.Struct, frozen=True):
    """A queue: how many members are able to do something, how many of their slots are free, what runs, what waits.

    `done` and `took_ms`: see `Pace`.
    """

    capability: str
    able: int
    free: int
    running: int
    waiting: int
    breaker: BreakerView
    done: int = 0
    took_ms: int | None = None


class TeamView(msgspec.Struct, frozen=True):
    """A team. `position` is the last command that the partition had decided."""

    team: str
    slots: int
    busy: int
    waiting: int
    members: tuple[MemberView, ...]
    capabilities: tuple[CapabilityView, ...]
    position: str


class Pace(NamedTuple):
    """How many steps of the tasks that are remembered were completed, and how long their last runs took together."""

    done: int = 0
    took_ms: int = 0

    def and_one(self, took_ms: int) -> Pace:
        return Pace(self.done + 1, self.took_ms + took_ms)

    @property
    def mean_ms(self) -> int | None:
        """How long one took on average; None: there was none."""
        return round(self.took_ms / self.done) if self.done else None


NO_PACE: Final = Pace()


class Queue(NamedTuple):
    """What a step that waits can be told about: how many stand before each slot, and to whom slots were given."""

    view: CapabilityView
    places: Mapping[Key, int]
    given: Mapping[Key, str]


class Running(NamedTuple):
    """The step that runs in a slot, and since when."""

    step: str
    since_ms: int | None


def queues_of(team: Team, now_ms: int) -> dict[str, Queue]:
    """The queues of a team, by capability."""
    places: dict[str, dict[Key, int]] = {}
    given: dict[str, dict[Key, str]] = {}
    for capability, key in team.waiting:
        line = places.setdefault(capability, {})
        line[key] = len(line)
    for key, taken in team.taken:
        given.setdefault(taken.capability, {})[key] = taken.member
    able: dict[str, list[int]] = {}
    for member in team.members:
        for capability in member.capabilities:
            able.setdefault(capability, []).append(member.slots - member.busy)
    return {
        name: Queue(
            CapabilityView(
                name,
                len(able.get(name, ())),
                sum(able.get(name, ())),
                len(given.get(name, ())),
                len(places.get(name, ())),
                _breaker(team.breakers.get(name, _UNTRIED), now_ms),
            ),
            places.get(name, {}),
            given.get(name, {}),
        )
        for name in sorted({*places, *given, *able, *team.breakers})
    }


def view_of(
    name: str,
    team: Team,
    queues: Mapping[str, Queue],
    running: Mapping[Key, Running],
    paces: Mapping[tuple[str, str], Pace],
    position: str,
    now_ms: int,
    healths: Mapping[str, Health],
) -> TeamView:
    """A team as it stands.

    Args:
        queues: what `queues_of` gave.
        running: what runs in which slot, as the tasks tell: who has completed a step goes on in the same slot.
        paces: by `("member", NAME)` and `("capability", NAME)`.
        now_ms: what durations are counted to, in ms since 1970.
        healths: of those of its members that hang on a heartbeat.
    """
    runs: dict[str, list[RunView]] = {}
    for key, taken in team.taken:
        found = running.get(key)
        for_ms = None if found is None or found.since_ms is None else now_ms - found.since_ms
        step = found.step if found else key[1]
        runs.setdefault(taken.member, []).append(RunView(key[0], step, taken.capability, for_ms))
    members = tuple(
        MemberView(
            m.name, m.agent, m.capabilities, m.slots, m.busy, m.slots - m.busy, m.deadline_ms - now_ms,
            tuple(runs.get(m.name, ())), *_measured(paces.get(("member", m.name), NO_PACE)),
            *healths.get(m.name, (ALIVE if m.deadline_ms > now_ms else FAILED, None, 0)),
        )
        for m in team.members
    )  # fmt: skip
    return TeamView(
        name,
        sum(member.slots for member in members),
        sum(member.busy for member in members),
        len(team.waiting),
        members,
        tuple(_paced(queue.view, paces.get(("capability", one), NO_PACE)) for one, queue in queues.items()),
        position,
    )


def _measured(pace: Pace) -> tuple[int, int | None]:
    return pace.done, pace.mean_ms


def _paced(view: CapabilityView, pace: Pace) -> CapabilityView:
    return msgspec.structs.replace(view, done=pace.done, took_ms=pace.mean_ms)


def _breaker(b: Breaker, now_ms: int) -> BreakerView:
    trial = None if b.trial is None else f"{b.trial[0]}/{b.trial[1]}"
    until, left_ms = (iso(b.until_ms), max(0, b.until_ms - now_ms)) if b.until_ms else (None, None)
    return BreakerView(b.state, b.failures, b.reason, until, left_ms, trial)
