"""How long a fault left a partition without service, as the clients saw it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from statistics import quantiles

import msgspec
from accord.schemas.topics import partition_of

from tests.faults.cluster import PARTITIONS
from tests.faults.history import Operation

DOMAIN_OF = {
    "acquire": "locks",
    "release": "locks",
    "wait": "locks",
    "take": "limits",
    "give": "limits",
    "emit": "signals",
}
"""Which domain answers an operation."""
DOMAINS = frozenset(DOMAIN_OF.values())


class Fault(msgspec.Struct):
    """A fault that was done. The partition that it hit hardest answered again at `over_ns`."""

    kind: str
    target: str
    at_ns: int
    over_ns: int = 0


def outages_ms(faults: Sequence[Fault], operations: Sequence[Operation]) -> Iterator[tuple[str, dict[str, float]]]:
    """Times without service, by kind of fault, of the faults that stand alone: see `run.Report`."""
    for fault in faults:
        fault.over_ns = answered_ns(fault.at_ns, operations)
    alone: defaultdict[str, list[float]] = defaultdict(list)
    over_ns = 0
    for fault, following in zip_longest(faults, faults[1:]):
        if over_ns <= fault.at_ns and (following is None or fault.over_ns <= following.at_ns):
            alone[fault.kind].append(round((fault.over_ns - fault.at_ns) / 1e6))
        over_ns = max(over_ns, fault.over_ns)
    for kind, found in sorted(alone.items()):
        percentiles = quantiles(found, n=100, method="inclusive") if len(found) > 1 else found * 99
        yield kind, {"p50": percentiles[49], "p99": percentiles[98], "max": max(found), "count": len(found)}


def place(operation: Operation) -> str | None:
    """The partition that an operation asked, as `locks/0`."""
    domain = DOMAIN_OF.get(operation.kind)
    return f"{domain}/{partition_of(operation.key.encode(), PARTITIONS)}" if domain else None


def answered_ns(at_ns: int, operations: Sequence[Operation]) -> int:
    """When each partition had answered a question asked after a fault."""
    first: dict[str, int] = {}
    for operation in operations:
        if operation.ok and operation.invoked_ns > at_ns:
            assert operation.ended_ns is not None
            if (where := place(operation)) is None:
                continue
            first[where] = min(first.get(where, operation.ended_ns), operation.ended_ns)
    return max(first.values(), default=at_ns)
