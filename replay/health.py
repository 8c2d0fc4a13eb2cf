"""The health of agents' processes, and roles: who beats, who has which role, who stands by.

Keys are added, never renamed. A point is as in `accord.replay.work`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from accord.replay.locks import LockView
from accord.replay.sharing import sharing_at
from accord.replay.source import Source
from accord.replay.state import Point
from accord.replay.timeline import iso
from accord.streams.roster.bounds import ROLE_PREFIX
from accord.streams.roster.presence import Presence


class ProcessView(msgspec.Struct, frozen=True):
    """A process that beats. `health` is alive, suspected or failed, on the log's clock; `since` is when that began.

    `silent_ms` is since its last beat. `suspicions` counts those that were false. `hangs` names what ends with it:
    `locks NAME`, `team NAME`. `position` is the last command that the partition had decided.
    """

    process: str
    agent: str
    health: str
    since: str
    silent_ms: int
    beat_ms: int
    suspect_ms: int
    fail_ms: int
    suspicions: int
    hangs: tuple[str, ...]
    position: str


class Standby(msgspec.Struct, frozen=True):
    """One that stands by for a role. `place` 1 is next."""

    agent: str
    place: int
    waiting_ms: int


class RoleView(msgspec.Struct, frozen=True):
    """A role in use. `holder`, `token` and `held_ms` are None while nobody has it."""

    role: str
    holder: str | None
    token: int | None
    held_ms: int | None
    since: str | None
    standbys: tuple[Standby, ...]
    position: str


class Health(NamedTuple):
    """That of a member, as its heartbeat tells it."""

    health: str
    since: str
    suspicions: int


def process_of(name: str, known: Presence, position: str, now_ms: int) -> ProcessView:
    """A process as it stands; `now_ms` is what durations are counted to, in ms since 1970."""
    hangs = tuple(f"{'team' if tie.domain == 'roster' else tie.domain} {tie.key}" for tie in known.ties)
    return ProcessView(
        name,
        known.agent,
        known.health,
        iso(known.health_since_ms),
        max(0, now_ms - known.beat_at_ms),
        known.beat_ms,
        known.suspect_ms,
        known.fail_ms,
        known.suspicions,
        hangs,
        position,
    )


def healths_of(presences: Mapping[str, Presence]) -> dict[tuple[str, str], Health]:
    """The health of members, by team and name, from the processes on whose heartbeats they hang."""
    return {
        (tie.key, tie.name): Health(known.health, iso(known.health_since_ms), known.suspicions)
        for known in presences.values()
        for tie in known.ties
        if tie.domain == "roster"
    }


def roles_at(
    source: Source, point: Point = None, *, now_ms: int | None = None, processes: int = 1
) -> tuple[RoleView, ...]:
    """The roles that somebody has or wants at a point, by name. Arguments and errors as for `sharing_at`."""
    shared = sharing_at(source, point, now_ms=now_ms, processes=processes)
    return tuple(_role(view) for view in shared.locks if view.name.startswith(ROLE_PREFIX))


def _role(view: LockView) -> RoleView:
    holder = view.holders[0] if view.holders else None
    return RoleView(
        view.name.removeprefix(ROLE_PREFIX),
        view.holder,
        view.token,
        holder.held_ms if holder else None,
        view.since,
        tuple(Standby(one.agent, one.place, one.waiting_ms) for one in view.waiters),
        view.position,
    )
