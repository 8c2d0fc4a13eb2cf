"""Waits: who waits for whom over all locks and pools; one aggregate, the graph.

Partitions report who waits in them while holding something else (`accord.streams.runtime.waits`), each lock or pool
whole: so reports may be repeated, and an older one is known by its number. What follows from a deadlock is a command to
where its victim waits.

Rules:
- The youngest call chain of a ring gives way. Who is run again keeps its chain, so it becomes the oldest one day.
- Whoever is a victim already counts as gone, even where its partition tells all anew; unless the hold that it waited
  for is gone while it still waits: then nobody has denied it, nor will.
- Not seen: waiting for a notice, a barrier, a handler or anything else that others may bring about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from accord.schemas.messages import Command, Event, limits, locks
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.waits import (
    DeadlockFound,
    ForgetWaits,
    ReportWaits,
    WaitsForgotten,
    WaitsIgnored,
    WaitsReported,
)
from accord.streams.decider import At, Domain, Order
from accord.streams.waits.bounds import VICTIMS_MAX, WAITS_MAX, problem_of
from accord.streams.waits.graph import Contended, Graph, deadlocks
from accord.streams.waits.owners import chain_of
from msgspec.structs import replace


class WaitsDecider:
    """Version 1 of the domain."""

    state_type = Graph

    def decide(self, state: Graph | None, command: Command, at: At) -> Sequence[Event]:
        problem = problem_of(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        return _ANSWERS[type(command)](state or Graph(), command)

    def evolve(self, state: Graph | None, event: Event) -> Graph | None:
        try:
            change = _CHANGES[type(event)]
        except KeyError:
            raise TypeError(f"the graph has no event {type(event).__name__}") from None
        return change(state or Graph(), event)

    def deadline_ms(self, state: Graph) -> int | None:
        return None


def _report(graph: Graph, c: ReportWaits) -> list[Event]:
    key = f"{c.domain}/{c.name}"
    known = graph.contended.get(key)
    if c.seq < graph.told.get(c.source, 0) or (known is None and not c.waiters):
        return []
    others = sum([len(one.waiters) for one in graph.contended.values()]) - (len(known.waiters) if known else 0)
    if others + len(c.waiters) > WAITS_MAX:
        return [WaitsIgnored(c.domain, c.name, c.source, c.seq, "graph_full")]
    reported = WaitsReported(c.domain, c.name, c.source, c.seq, c.holders, c.waiters)
    if not c.waiters:
        return [reported]
    rings = deadlocks(_reported(graph, reported), key)
    return [reported, *[DeadlockFound(ring[0].request, ring) for ring in rings]]


def _forget(graph: Graph, c: ForgetWaits) -> list[Event]:
    return [] if c.seq < graph.told.get(c.source, 0) else [WaitsForgotten(c.source, c.seq)]


def _tick(_: Graph, __: Tick) -> list[Event]:
    return []


_ANSWERS: Final[Mapping[type[Command], Callable[[Graph, Any], list[Event]]]] = {
    ReportWaits: _report,
    ForgetWaits: _forget,
    Tick: _tick,
}


def _reported(graph: Graph, e: WaitsReported) -> Graph:
    now = Contended(e.domain, e.name, e.source, e.holders, e.waiters)
    tokens = {holding.token for holding in e.holders}
    requests = {waiting.request for waiting in e.waiters}
    victims = {
        request: (key, token)
        for request, (key, token) in graph.victims.items()
        if key != now.key or (request in requests and token in tokens)
    }
    told = {**graph.told, e.source: e.seq}
    return replace(_without(graph, graph.contended.get(now.key), now), told=told, victims=victims)


def _ignored(graph: Graph, e: WaitsIgnored) -> Graph:
    return _without(graph, graph.contended.get(f"{e.domain}/{e.name}"), None)


def _forgotten(graph: Graph, e: WaitsForgotten) -> Graph:
    for known in [one for one in graph.contended.values() if one.source == e.source]:
        graph = _without(graph, known, None)
    return replace(graph, told={**graph.told, e.source: e.seq})


def _found(graph: Graph, e: DeadlockFound) -> Graph:
    first = e.cycle[0]
    victims = {**graph.victims, e.victim: (f"{first.domain}/{first.name}", first.token)}
    if len(victims) > VICTIMS_MAX:
        del victims[next(iter(victims))]
    return replace(graph, victims=victims)


_CHANGES: Final[Mapping[type[Event], Callable[[Graph, Any], Graph]]] = {
    WaitsReported: _reported,
    WaitsForgotten: _forgotten,
    WaitsIgnored: _ignored,
    DeadlockFound: _found,
}


def _without(graph: Graph, known: Contended | None, now: Contended | None) -> Graph:
    """The graph with what was known of a lock or pool in place of what is now; without waiters, it is nothing."""
    contended, places = dict(graph.contended), dict(graph.places)
    if known is not None:
        del contended[known.key]
        for chain in {chain_of(waiting.owner) for waiting in known.waiters}:
            left = tuple([key for key in places[chain] if key != known.key])
            if left:
                places[chain] = left
            else:
                del places[chain]
    if now is not None and now.waiters:
        contended[now.key] = now
        for chain in {chain_of(waiting.owner): None for waiting in now.waiters}:
            places[chain] = (*places.get(chain, ()), now.key)
    return replace(graph, contended=contended, places=places)


def _give_way(_: str, found: DeadlockFound) -> list[Order]:
    """The process manager: the victim's request is to be denied where it waits."""
    first = found.cycle[0]
    kind = locks.BreakDeadlock if first.domain == "locks" else limits.BreakDeadlock
    return [Order(first.domain, first.name, kind(found.victim, first.token, found.cycle))]


DOMAIN: Final = Domain("waits", {1: WaitsDecider()}, reactions={DeadlockFound: _give_way})
"""Who waits for whom: one aggregate."""
