"""Signals: numbers of a group are 1, 2, 3, ...; the vector clocks order whatever happened before something else, and
who delivers causes first is given every signal after what caused it, in whatever order partitions are read."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from accord.schemas.clock import VectorClock
from accord.schemas.messages.signals import SignalEmitted, SignalNumbered
from accord.streams.signals.causal import CausalBuffer
from accord.testing.simulation.judges.orders import causal_violations
from accord.testing.simulation.judges.seen import Demand, Seen

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster

MISSING_AFTER_S = 1e9


def judge(cluster: Cluster, seen: Sequence[Seen], demand: Demand) -> None:
    numbers: dict[str, int] = defaultdict(int)
    causes: dict[str | int, list[str | int]] = {}
    names: dict[tuple[int, int], str] = {}
    logs: dict[int, list[Seen]] = defaultdict(list)
    for one in seen:
        logs[one.partition].append(one)
        for event in one.events:
            if isinstance(event, SignalNumbered):
                numbers[one.key] += 1
                demand(
                    event.number == numbers[one.key], f"{one.key} has {event.number} where {numbers[one.key]} is due"
                )
            if isinstance(event, SignalEmitted | SignalNumbered) and event.data.startswith('{"id"'):
                told = json.loads(event.data)
                causes[told["id"]] = told["after"]
                names[one.partition, one.decision.offset] = told["id"]
    given = _given(cluster, logs, names)
    demand(len(given) == len(names), f"{len(names) - len(given)} signals are not delivered")
    wrong = causal_violations(given, causes)
    demand(not wrong, f"delivered before what caused it: {wrong[:3]}")


def _given(cluster: Cluster, logs: Mapping[int, list[Seen]], names: Mapping[tuple[int, int], str]) -> list[str]:
    """What a subscriber that asks for causes first is given, if it reads the partitions in some order."""
    chance = cluster.scheduler.stream("subscriber")
    buffer: CausalBuffer[str] = CausalBuffer("signals", range(cluster.log.partitions), MISSING_AFTER_S)
    places = dict.fromkeys(logs, 0)
    given = []
    while left := [partition for partition, place in places.items() if place < len(logs[partition])]:
        partition = chance.choice(left)
        one = logs[partition][places[partition]]
        places[partition] += 1
        clock = VectorClock.decode(one.decision.clock)
        buffer.read(partition, one.decision.offset, clock, names.get((partition, one.decision.offset)))
        given += _taken(buffer, logs)
    return given + _taken(buffer, logs)


def _taken(buffer: CausalBuffer[str], logs: Mapping[int, list[Seen]]) -> list[str]:
    taken = []
    if buffer.wants_ends:
        buffer.know_ends({partition: log[-1].decision.offset + 1 for partition, log in logs.items()})
    while (ready := buffer.take()) is not None:
        taken.append(ready.item)
    return taken
