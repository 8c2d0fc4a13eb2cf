"""Deadlocks in the graph of who waits for whom.

A request is stuck if too little of what it waits for can be released by holders who are not stuck themselves; a hold
is stuck while something that it encloses is. The stuck requests are the greatest set for which that is true: all are
taken to be stuck, then those who can go on are taken out until nothing changes. That is right for who must wait for all
holders (a lock wanted alone), for any of them (a semaphore) and for enough of them (a pool). Nobody is let in before
those whose turn is earlier, so a request needs what they need, too.

Why what is found is a deadlock although the partitions tell of their waits at different times: a request that waits
keeps the holds that enclose it, and it is granted only after the holds that it waits for were released. So in a ring
each wait ends after the next one, which no first could: unless one ends otherwise, by its time limit, by being taken
back or by the loss of a lease. Such an end is told, too; the victim is denied only if it still waits for the same hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from accord.schemas.messages.waits import Holding, Wait, Waiting
from accord.streams.waits.owners import chain_of, encloses


class Contended(msgspec.Struct, frozen=True, gc=False):
    """A lock or pool with waiters who hold something else, in turn, as its partition told it last."""

    domain: str
    name: str
    source: str
    holders: tuple[Holding, ...]
    waiters: tuple[Waiting, ...]

    @property
    def key(self) -> str:
        return f"{self.domain}/{self.name}"


class Graph(msgspec.Struct, frozen=True):
    """Who waits for whom.

    `told` is the number of the newest decision of which each partition has told; `contended` is by domain and name;
    `places` are, for each chain, the keys in `contended` where it waits; `victims` are requests that are to give way,
    with the key where they wait and the token of the holder that they wait for.
    """

    told: dict[str, int] = {}
    contended: dict[str, Contended] = {}
    places: dict[str, tuple[str, ...]] = {}
    victims: dict[str, tuple[str, int]] = {}


class Node(NamedTuple):
    """A request that waits, and where."""

    key: str
    waiting: Waiting


def deadlocks(graph: Graph, key: str) -> Iterator[tuple[Wait, ...]]:
    """The rings in which a request that waits at `key` stands, or waits for; each begins with its youngest.

    Each ring is broken by its youngest before the next is looked for.
    """
    victims = set(graph.victims)
    while True:
        stuck = _stuck(graph, key, victims)
        if not stuck:
            return
        ring = _ring(graph, stuck)
        youngest = max(range(len(ring)), key=lambda place: (chain_of(ring[place].owner), ring[place].owner))
        ring = [*ring[youngest:], *ring[:youngest]]
        victims.add(ring[0].request)
        yield tuple(ring)


def _stuck(graph: Graph, key: str, victims: set[str]) -> dict[str, Node]:
    """The requests that cannot go on, of those at `key` and those that they wait for; by request."""
    stuck: dict[str, Node] = {}
    todo = [Node(key, waiting) for waiting in graph.contended[key].waiters if waiting.request not in victims]
    while todo:
        node = todo.pop()
        if node.waiting.request not in stuck:
            stuck[node.waiting.request] = node
            for holding in graph.contended[node.key].holders:
                todo += [inner for inner in _inside(graph, holding) if inner.waiting.request not in victims]
    while True:
        going = [node for node in stuck.values() if _can_go_on(graph, node, stuck, victims)]
        if not going:
            return stuck
        for node in going:
            del stuck[node.waiting.request]


def _can_go_on(graph: Graph, node: Node, stuck: dict[str, Node], victims: set[str]) -> bool:
    needs = 0
    for ahead in graph.contended[node.key].waiters:
        if ahead.request not in victims:
            needs = max(needs, ahead.needs)
        if ahead.request == node.waiting.request:
            break
    held, released = 0, 0
    for holding in graph.contended[node.key].holders:
        held += holding.amount
        if not any(inner.waiting.request in stuck for inner in _inside(graph, holding)):
            released += holding.amount
    return released >= min(needs, held)


def _inside(graph: Graph, holding: Holding) -> Iterator[Node]:
    """The requests that a hold encloses."""
    for key in graph.places.get(chain_of(holding.owner), ()):
        for waiting in graph.contended[key].waiters:
            if encloses(holding.owner, waiting.owner):
                yield Node(key, waiting)


def _ring(graph: Graph, stuck: dict[str, Node]) -> list[Wait]:
    """Some ring of stuck requests: from the first on, each to the next that keeps a hold that it waits for."""
    node = next(iter(stuck.values()))
    way: dict[str, Wait] = {}
    while node.waiting.request not in way:
        way[node.waiting.request], node = _step(graph, node, stuck)
    requests = list(way)
    return [way[request] for request in requests[requests.index(node.waiting.request) :]]


def _step(graph: Graph, node: Node, stuck: dict[str, Node]) -> tuple[Wait, Node]:
    contended, waiting = graph.contended[node.key], node.waiting
    for holding in contended.holders:
        for inner in _inside(graph, holding):
            if inner.waiting.request in stuck:
                wait = Wait(
                    waiting.agent,
                    waiting.owner,
                    waiting.request,
                    contended.domain,
                    contended.name,
                    holding.agent,
                    holding.owner,
                    holding.token,
                )
                return wait, inner
    raise AssertionError("who is stuck waits for somebody who is")
