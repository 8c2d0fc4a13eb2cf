"""What agents share, locks and pools together: who holds it, who waits, and what those who wait hold meanwhile.

A point is a moment here, for who waits for whom is seen over all partitions: a position stands for its partition up to
that record, and for the others up to the time of its decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from accord.replay import limits, locks
from accord.replay.limits import PoolView
from accord.replay.locks import LockView
from accord.replay.source import Source
from accord.replay.state import Point, state_at
from accord.schemas.position import Position
from accord.streams import domains
from accord.streams.decider import from_plain
from accord.streams.waits.graph import Contended, Graph
from accord.streams.waits.owners import chain_of, encloses

DOMAINS: Final = ("locks", "limits")


class Sharing(msgspec.Struct, frozen=True):
    """Locks, barriers and pools in use, and the pools that are configured, each by name.

    `contended` are those of them where somebody waits who holds something else: what deadlocks are found in.
    """

    locks: tuple[LockView, ...]
    pools: tuple[PoolView, ...]
    contended: Graph


def sharing_at(source: Source, point: Point = None, *, now_ms: int | None = None, processes: int = 1) -> Sharing:
    """Locks and pools at a point.

    Args:
        point: None is the end of the log.
        now_ms: what ages, leases and rates are counted to at the end of the log, in ms since 1970; None: the clock of
            each partition. At another point it is the time of that point.
        processes: how many to work in; 0 is what pays.

    Raises:
        What `state_at` raises.
    """
    partitions, now_ms = _partitions(source, point, now_ms, processes)
    found: dict[str, list[Any]] = {"locks": [], "limits": []}
    contended = []
    for partition in partitions:
        domain = partition["partition"].partition("/")[0]
        view_of: Any = locks.view_of if domain == "locks" else limits.view_of
        at_ms = partition["now_ms"] if now_ms is None else now_ms
        for name, aggregate in partition["aggregates"].items():
            found[domain].append(view_of(name, aggregate, partition["position"], at_ms))
            contended += _contended(domain, name, aggregate, partition["partition"])
    held = _held([*found["locks"], *found["limits"]])
    in_use, pools = [tuple(_with_holds(view, held) for view in _by_name(found[domain])) for domain in DOMAINS]
    return Sharing(in_use, pools, _graph(contended))


def _partitions(
    source: Source, point: Point, now_ms: int | None, processes: int
) -> tuple[list[dict[str, Any]], int | None]:
    """The partitions of both domains at a point, and to what time durations are counted."""
    domains = tuple(domain for domain in DOMAINS if domain in source.partitions)
    if not domains:
        return [], now_ms
    if isinstance(point, Position):
        (own,) = state_at(source, point).partitions
        if not own["now_ms"]:
            return [], now_ms  # its genesis: nothing was decided yet
        moment = datetime.fromtimestamp(own["now_ms"] / 1_000, UTC) + timedelta(microseconds=500)
        others = state_at(source, moment, domains=domains, processes=processes).partitions
        return [own if one["partition"] == own["partition"] else one for one in others], own["now_ms"]
    if isinstance(point, datetime):
        now_ms = int(point.timestamp() * 1_000)
    return list(state_at(source, point, domains=domains, processes=processes).partitions), now_ms


def _contended(domain: str, name: str, aggregate: dict[str, Any], source: str) -> list[Contended]:
    """What the graph of waits is told of a lock or pool; nothing where nobody waits who holds something else."""
    if not aggregate.get("waiters"):
        return []
    rules = domains.DOMAINS[domain]
    assert rules.contention is not None
    state = from_plain(aggregate, rules.versions[rules.newest].state_type)
    waits = rules.contention.waits(state)
    return [] if waits is None else [Contended(domain, name, source, waits.holders, waits.waiters)]


def _graph(contended: list[Contended]) -> Graph:
    places: dict[str, tuple[str, ...]] = {}
    for one in contended:
        for chain in {chain_of(waiting.owner): None for waiting in one.waiters}:
            places[chain] = (*places.get(chain, ()), one.key)
    return Graph(contended={one.key: one for one in contended}, places=places)


def _by_name(views: list[Any]) -> list[Any]:
    return sorted(views, key=lambda view: view.name)


# -- what who waits holds meanwhile


def _held(views: Iterable[LockView | PoolView]) -> dict[str, list[tuple[str, str]]]:
    """What each call chain holds: owner and name."""
    held: dict[str, list[tuple[str, str]]] = {}
    for view in views:
        for holder in view.holders:
            held.setdefault(chain_of(holder.owner), []).append((holder.owner, view.name))
    return held


def _with_holds(view: Any, held: dict[str, list[tuple[str, str]]]) -> Any:
    """A view whose waiters say what they hold."""
    if not any(chain_of(waiter.owner) in held for waiter in view.waiters):
        return view
    waiters = []
    for waiter in view.waiters:
        mine = held.get(chain_of(waiter.owner), ())
        names = tuple(sorted({name for owner, name in mine if waiter.owner and encloses(owner, waiter.owner)}))
        waiters.append(msgspec.structs.replace(waiter, holds=names))
    return msgspec.structs.replace(view, waiters=tuple(waiters))
