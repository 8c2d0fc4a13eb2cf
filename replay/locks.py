"""What is locked, who holds it and who waits: the locks domain's state as people and programs look at it."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

import msgspec
from accord.replay.source import Source
from accord.replay.state import Point, state_at


class Holder(msgspec.Struct, frozen=True):
    agent: str
    token: int
    held_ms: int
    lease_left_ms: int
    owner: str
    request: str


class Waiter(msgspec.Struct, frozen=True):
    """`place` 1 is next. `for_notice`: it sleeps on the condition, and has no place."""

    agent: str
    place: int
    waiting_ms: int
    priority: int
    for_notice: bool
    owner: str
    request: str


class LockView(msgspec.Struct, frozen=True):
    """A name in use. `kind` is mutex, semaphore, rwlock or barrier; `holder` and `token` are the first holder's.

    `position` is the last command that the partition had decided.
    """

    name: str
    kind: str
    permits: int | None
    holder: str | None
    token: int | None
    holders: tuple[Holder, ...]
    waiters: tuple[Waiter, ...]
    position: str


def locks_at(source: Source, point: Point = None, *, now_ms: int | None = None, processes: int = 1) -> list[LockView]:
    """Every name in use at a point, by name.

    Args:
        point: as for `state_at`.
        now_ms: what ages and leases are counted to, in ms since 1970; None: each partition's clock.

    Raises:
        What `state_at` raises.
    """
    world = state_at(source, point, domains=("locks",), processes=processes)
    found = [
        _view(name, state, partition, partition["now_ms"] if now_ms is None else now_ms)
        for partition in world.partitions
        for name, state in partition["aggregates"].items()
    ]
    return sorted(found, key=lambda view: view.name)


class Edge(msgspec.Struct, frozen=True):
    """One call chain waits for another: `waiter` asks for `lock`, which `holder` holds, or is to have before it.

    A chain is named as in `accord.agents.leases.leases`: by what stands before the `/` of an owner.
    """

    waiter: str
    waiter_agent: str
    lock: str
    holder: str
    holder_agent: str
    token: int | None


def wait_graph(views: Iterable[LockView]) -> list[Edge]:
    """Who waits for whom: for every holder that is in the way, and for those whose turn comes before.

    A waiter does not wait for itself: tasks of one chain that queue behind each other are no edge.
    """
    edges = []
    for view in views:
        for place, waiter in enumerate(view.waiters):
            if waiter.for_notice or view.kind == "barrier":
                continue
            before = [other for other in view.waiters[:place] if not other.for_notice]
            in_the_way = [(holder.owner, holder.agent, holder.token) for holder in view.holders]
            for owner, agent, token in [*in_the_way, *[(other.owner, other.agent, None) for other in before]]:
                if chain_of(owner) != chain_of(waiter.owner):
                    edges.append(Edge(chain_of(waiter.owner), waiter.agent, view.name, chain_of(owner), agent, token))
    return edges


def chain_of(owner: str) -> str:
    return owner.partition("/")[0]


def cycles(edges: Iterable[Edge]) -> list[list[Edge]]:
    """Deadlocks: chains that wait for each other in a ring. Of rings that share a chain, one is told."""
    left = {(edge.waiter, edge.holder): edge for edge in edges}
    found = []
    while True:
        graph: dict[str, set[str]] = {}
        for waiter, holder in left:
            graph.setdefault(waiter, set()).add(holder)
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            ring: list[str] = error.args[1][::-1]  # its last is its first; reversed, each waits for the next
            found.append([left[pair] for pair in pairwise(ring)])
            left = {pair: edge for pair, edge in left.items() if not set(pair) & set(ring)}
        else:
            return found


def _view(name: str, state: dict[str, Any], partition: dict[str, Any], now_ms: int) -> LockView:
    position = partition["position"]
    if state["type"] == "Barrier":
        waiting = tuple(
            Waiter(party["agent"], place, 0, 0, False, "", party["request"])
            for place, party in enumerate(state["waiting"], start=1)
        )
        return LockView(name, "barrier", state["parties"], None, None, (), waiting, position)
    holders = tuple(
        Holder(h["agent"], h["token"], now_ms - h["granted_ms"], h["deadline_ms"] - now_ms, h["owner"], h["request"])
        for h in state["holders"]
    )
    in_turn = sorted(state["waiters"], key=lambda waiter: -waiter.get("priority", 0))
    waiters = tuple(
        Waiter(w["agent"], place, now_ms - w["since_ms"], w.get("priority", 0), False, w["owner"], w["request"])
        for place, w in enumerate(in_turn, start=1)
    )
    sleepers = tuple(
        Waiter(s["agent"], 0, now_ms - s["since_ms"], 0, True, s["owner"], s["request"]) for s in state["sleepers"]
    )
    permits = [one.get("permits") for one in (*state["holders"], *state["waiters"]) if one.get("permits") is not None]
    kind = "mutex" if not permits else "semaphore" if permits[0] else "rwlock"
    first = holders[0] if holders else None
    return LockView(
        name,
        kind,
        permits[0] if permits else None,
        first.agent if first else None,
        first.token if first else None,
        holders,
        (*waiters, *sleepers),
        position,
    )
