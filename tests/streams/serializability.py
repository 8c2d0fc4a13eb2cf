"""Whether a history of transactions is serializable, by its own reads and writes alone; in the manner of Elle
(Kingsbury and Alvaro, 2020).

Every write appends elements that nobody else writes to a list, so a list that was read tells in which order its
elements were written. From that follow the dependencies: who wrote after whom (ww), who read from whom (wr), who
wrote after whom had read (rw). The same for sets of keys: who made a key, and who did not see it. A history is
serializable if and only if they have no cycle. Nothing here knows of versions or of how the store works.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

import msgspec


class Done(msgspec.Struct, frozen=True):
    """A transaction as its client saw it.

    `reads` are lists by key (`SCOPE/KEY`, say), `appended` the elements that it appended to a key, in their order
    (after reading it, so its own are not in `reads`), `seen` the keys that it saw with a prefix, `made` keys that it
    made and nobody deletes.
    """

    name: str
    reads: dict[str, tuple[str, ...]]
    appended: dict[str, tuple[str, ...]]
    seen: dict[str, frozenset[str]] = {}
    made: frozenset[str] = frozenset()
    committed: bool = True


class Problem(NamedTuple):
    """What cannot be in a serializable history: `aborted_read` (G1a), `intermediate_read` (G1b), `lost_write`,
    `incompatible_order`, or a `cycle` with the kinds of its dependencies: all ww is G0, ww and wr G1c, one rw G-single,
    more of them G2."""

    kind: str
    what: str


def problem_of(history: Sequence[Done], final: dict[str, tuple[str, ...]]) -> Problem | None:
    """The first problem of a history; None: it is serializable.

    Args:
        final: the lists in the end, read when all was over.
    """
    committed = [done for done in history if done.committed]
    writer = {
        (key, element): done.name
        for done in committed
        for key, elements in done.appended.items()
        for element in elements
    }
    found = _elements(committed, final, writer)
    if found is not None:
        return found
    edges = _edges(committed, final, writer)
    try:
        TopologicalSorter({name: {before for before, _ in into} for name, into in edges.items()}).prepare()
    except CycleError as error:
        cycle = error.args[1]
        kinds = [
            "/".join(sorted({kind for before, kind in edges[after] if before == one}))
            for one, after in itertools.pairwise(cycle)
        ]
        steps = " ".join(f"{one} -{kind}->" for one, kind in zip(cycle, kinds, strict=False))
        return Problem("cycle", f"{steps} {cycle[-1]}")
    return None


def _elements(
    committed: Sequence[Done], final: dict[str, tuple[str, ...]], writer: dict[tuple[str, str], str]
) -> Problem | None:
    """Whether what was read was written, once, and in one order."""
    for (key, element), name in writer.items():
        if final.get(key, ()).count(element) != 1:
            return Problem("lost_write", f"{element} of {name} is not once in {key}: {final.get(key, ())}")
    last = {(key, elements[-1]) for done in committed for key, elements in done.appended.items()}
    for done in committed:
        for key, read in done.reads.items():
            for element in read:
                if (key, element) not in writer:
                    return Problem("aborted_read", f"{done.name} read {element} of {key}, which nobody committed")
            if read and (key, read[-1]) not in last:
                return Problem("intermediate_read", f"{done.name} read {key} as {read}, in the midst of a transaction")
            if final.get(key, ())[: len(read)] != read:
                return Problem("incompatible_order", f"{done.name} read {key} as {read}, then it was {final[key]}")
    return None


def _edges(
    committed: Sequence[Done], final: dict[str, tuple[str, ...]], writer: dict[tuple[str, str], str]
) -> dict[str, set[tuple[str, str]]]:
    """By transaction, those that must come before it, and why."""
    before: dict[str, set[tuple[str, str]]] = defaultdict(set)

    def add(one: str, other: str, kind: str) -> None:
        if one != other:
            before[other].add((one, kind))

    for key, elements in final.items():
        for one, other in itertools.pairwise(elements):
            add(writer[key, one], writer[key, other], "ww")
    makers = {key: done.name for done in committed for key in done.made}
    for done in committed:
        for key, read in done.reads.items():
            if read:
                add(writer[key, read[-1]], done.name, "wr")
            if len(read) < len(final.get(key, ())):
                add(done.name, writer[key, final[key][len(read)]], "rw")
        for prefix, seen in done.seen.items():
            for key, maker in makers.items():
                if key.startswith(prefix):
                    if key in seen:
                        add(maker, done.name, "wr")
                    else:
                        add(done.name, maker, "rw")
    return before
