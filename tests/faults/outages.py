"""How long a fault left a partition without service, as the clients saw it."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise, zip_longest
from typing import NamedTuple

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
PLACES = frozenset(f"{domain}/{partition}" for domain in DOMAINS for partition in range(PARTITIONS))


class Fault(msgspec.Struct):
    """A fault that was done. The partition that it hit hardest answered again at `over_ns`."""

    kind: str
    target: str
    at_ns: int
    over_ns: int = 0


class Answers:
    """When partitions answered.

    Args:
        operations: in any order.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for operation in operations:
            if operation.ok and (where := place(operation)) is not None:
                assert operation.ended_ns is not None
                found[where].append((operation.invoked_ns, operation.ended_ns))
        self._asked: dict[str, list[int]] = {}
        self._answered: dict[str, list[int]] = {}
        """By place and begin of an operation: when the first one that began then or later had ended."""
        for where, pairs in found.items():
            pairs.sort()
            self._asked[where] = [asked for asked, _ in pairs]
            self._answered[where] = list(accumulate((answered for _, answered in reversed(pairs)), min))[::-1]

    def after(self, at_ns: int) -> dict[str, int]:
        """When each partition had answered a question asked after a time; without those that were not asked."""
        found = {}
        for where, asked in self._asked.items():
            first = bisect_right(asked, at_ns)
            if first < len(asked):
                found[where] = self._answered[where][first]
        return found


class Outage(NamedTuple):
    """`alone`: the fault did not meet an earlier outage; `over`: service was back before the next fault came. If it was
    not, the time contains what that did."""

    kind: str
    ms: int
    alone: bool
    over: bool


def outages(faults: Sequence[Fault], operations: Iterable[Operation]) -> Iterator[Outage]:
    """Of each fault how long it was without service."""
    answers = Answers(operations)
    for fault in faults:
        fault.over_ns = max(answers.after(fault.at_ns).values(), default=fault.at_ns)
    over_ns = 0
    for fault, following in zip_longest(faults, faults[1:]):
        over = following is None or fault.over_ns <= following.at_ns
        yield Outage(fault.kind, round((fault.over_ns - fault.at_ns) / 1e6), over_ns <= fault.at_ns, over)
        over_ns = max(over_ns, fault.over_ns)


def handovers_ms(faults: Sequence[Fault], operations: Iterable[Operation]) -> Iterator[int]:
    """From the kill of a client to the next grant of each lock that it held alone and another one waited for; where no
    other fault came in between. Of faults that `outages` has seen."""
    by_key: defaultdict[str, list[Operation]] = defaultdict(list)
    released: set[tuple[str, int]] = set()
    for operation in operations:
        if operation.kind == "acquire" and operation.ok and operation.permits is None:
            by_key[operation.key].append(operation)
        elif operation.kind == "release":  # was on its way, at least
            released.add((operation.process, operation.of))
    for grants in by_key.values():
        grants.sort(key=lambda grant: grant.token or 0)
    for fault in faults:
        if fault.kind != "client kill":
            continue
        others = [other for other in faults if other is not fault]
        for grants in by_key.values():
            for held, following in pairwise(grants):
                if held.process != fault.target or (held.process, held.op) in released:
                    continue
                assert following.ended_ns is not None
                waited = following.queued_ns is not None and following.queued_ns < fault.at_ns
                met = any(other.over_ns > fault.at_ns and other.at_ns < following.ended_ns for other in others)
                if waited and not met and following.ended_ns > fault.at_ns:  # else it had just given it back
                    yield round((following.ended_ns - fault.at_ns) / 1e6)


def place(operation: Operation) -> str | None:
    """The partition that an operation asked, as `locks/0`."""
    domain = DOMAIN_OF.get(operation.kind)
    return f"{domain}/{_home(operation.key)}" if domain else None


@lru_cache(maxsize=10_000)
def _home(key: str) -> int:
    return partition_of(key.encode(), PARTITIONS)
