"""Who waits for whom, over locks and pools: the wait-for graph of call chains.

- A request waits for all who hold what it asks for, unless there is room for it: also behind others in the queue, who
  have to be served first; and where any one of several holders would do (permits, capacity). And it comes after who is
  right before it in the queue; that one stands for all before.
- What only time brings (rates, pauses), and a notice on a condition, is no edge.
- A call chain does not wait for itself: tasks of one chain that queue behind each other are no edge.
- A deadlock is what `accord.streams.waits.graph` takes for one: a ring of which no member can go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from accord.replay import limits, locks
from accord.replay.sharing import Sharing
from accord.schemas.messages.waits import Wait
from accord.streams.waits.graph import deadlocks
from accord.streams.waits.owners import chain_of


class Edge(msgspec.Struct, frozen=True):
    """One call chain waits for another: `waiter` asks for `lock`, which `holder` holds, or (token None) is to have
    before it. `domain` is locks, or limits where it is a pool. The owners tell which wait and which hold are meant."""

    waiter: str
    waiter_agent: str
    lock: str
    holder: str
    holder_agent: str
    token: int | None
    domain: str
    waiter_owner: str
    holder_owner: str
    place: int


def wait_graph(sharing: Sharing) -> list[Edge]:
    """Every wait of one chain for another; locks first, then pools, by name and in the order of the turns."""
    edges: list[Edge] = []
    for lock in sharing.locks:
        if lock.kind != "barrier":
            edges += _edges("locks", lock.name, lock.holders, [w for w in lock.waiters if not w.for_notice], 0)
    for pool in sharing.pools:
        served = next((number for number, waiter in enumerate(pool.waiters) if not waiter.fits), len(pool.waiters))
        edges += _edges("limits", pool.name, pool.holders, pool.waiters, served)
    return edges


def _edges(
    domain: str,
    name: str,
    holders: Sequence[locks.Holder | limits.Holder],
    queue: Sequence[locks.Waiter | limits.Waiter],
    served: int,
) -> Iterator[Edge]:
    """The edges of one lock or pool; so many of the first in the queue need nothing that is held."""
    for number, waiter in enumerate(queue):
        mine = chain_of(waiter.owner)
        others: list[tuple[str, str, int | None]] = []
        if number >= served:
            others += [(holder.owner, holder.agent, holder.token) for holder in holders]
        before = [other for other in queue[:number] if chain_of(other.owner) != mine]
        if before:
            others.append((before[-1].owner, before[-1].agent, None))
        for owner, agent, token in others:
            if chain_of(owner) != mine:
                yield Edge(
                    mine, waiter.agent, name, chain_of(owner), agent, token, domain, waiter.owner, owner, waiter.place
                )


def rings(sharing: Sharing) -> list[list[Edge]]:
    """The deadlocks: each a ring of chains of which each waits for the next, the youngest first."""
    places = {
        (domain, view.name, waiter.request): waiter.place
        for domain, views in (("locks", sharing.locks), ("limits", sharing.pools))
        for view in views
        for waiter in view.waiters
    }
    graph, found = sharing.contended, []
    for key in sorted(graph.contended):
        for ring in deadlocks(graph, key):
            graph = msgspec.structs.replace(graph, victims={**graph.victims, ring[0].request: key})
            found.append([_edge(wait, places[wait.domain, wait.name, wait.request]) for wait in ring])
    return found


def _edge(w: Wait, place: int) -> Edge:
    return Edge(
        chain_of(w.owner), w.agent, w.name, chain_of(w.holder_owner), w.holder, w.token, w.domain, w.owner,
        w.holder_owner, place,
    )  # fmt: skip
