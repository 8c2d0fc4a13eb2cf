"""Who waits for whom, over locks and pools: the wait-for graph of call chains.

- A request waits for those who hold what it asks for, unless there is room for it beside them; where any one of several
  holders would do (permits, capacity), it has an edge to each. And it waits for who is to have it before.
- Of those before it in the queue, the one right before it stands for all.
- What only time brings (rates, pauses), and a notice on a condition, is no edge.
- A call chain does not wait for itself: tasks of one chain that queue behind each other are no edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import msgspec
from accord.replay import limits, locks
from accord.replay.sharing import Sharing, chain_of, encloses
from accord.streams.locks.bounds import SHARED_MAX


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
            queue = [(waiter, _fits(lock.holders, waiter)) for waiter in lock.waiters if not waiter.for_notice]
            edges += _edges("locks", lock.name, lock.holders, queue)
    for pool in sharing.pools:
        edges += _edges("limits", pool.name, pool.holders, [(waiter, waiter.fits) for waiter in pool.waiters])
    return edges


def _edges(
    domain: str,
    name: str,
    holders: Sequence[locks.Holder | limits.Holder],
    queue: Sequence[tuple[locks.Waiter | limits.Waiter, bool]],
) -> Iterator[Edge]:
    """The edges of one lock or pool; `queue` says of each waiter whether there is room for it."""
    for number, (waiter, fits) in enumerate(queue):
        mine = chain_of(waiter.owner)
        others: list[tuple[str, str, int | None]] = []
        if not fits:
            others += [(holder.owner, holder.agent, holder.token) for holder in holders]
        before = [other for other, _ in queue[:number] if chain_of(other.owner) != mine]
        if before:
            others.append((before[-1].owner, before[-1].agent, None))
        for owner, agent, token in others:
            if chain_of(owner) != mine:
                yield Edge(
                    mine, waiter.agent, name, chain_of(owner), agent, token, domain, waiter.owner, owner, waiter.place
                )


def _fits(holders: Iterable[locks.Holder], waiter: locks.Waiter) -> bool:
    """Whether a lock takes one more who would share it so, if nobody came before."""
    beside = [holder.permits for holder in holders]
    if not beside:
        return True
    return waiter.permits is not None and None not in beside and len(beside) < (waiter.permits or SHARED_MAX)


def deadlocks(edges: Iterable[Edge]) -> list[list[Edge]]:
    """Rings of chains that wait for each other. Of rings that share a chain, one is told.

    A ring may dissolve where a request waits for any one of several holders, and one of them is not in the ring.
    """
    left = list(edges)
    found = []
    while True:
        by_chain: dict[str, list[Edge]] = {}
        for edge in left:
            by_chain.setdefault(edge.waiter, []).append(edge)
        try:
            TopologicalSorter({edge: _next(edge, by_chain) for edge in left}).prepare()
        except CycleError as error:
            ring = [edge for edge, _ in pairwise(error.args[1][::-1])]  # its last is its first; reversed, each waits on
            found.append(ring)
            chains = {edge.waiter for edge in ring}
            left = [edge for edge in left if not {edge.waiter, edge.holder} & chains]
        else:
            return found


def _next(edge: Edge, by_chain: dict[str, list[Edge]]) -> list[Edge]:
    """What the other side of an edge waits for itself, before it can get out of the way."""
    theirs = by_chain.get(edge.holder, [])
    if edge.token is None:
        return [one for one in theirs if one.waiter_owner == edge.holder_owner]
    return [one for one in theirs if encloses(edge.holder_owner, one.waiter_owner)]


def youngest(ring: Iterable[Edge]) -> str:
    """The chain of a ring that was begun last: chains are named by UUIDs of version 7."""
    return max(edge.waiter for edge in ring)
