"""What happened before what: the causal order of a log's records, by their vector clocks and causes.

    graph = causality(source, around=9_000)
    graph.order(one, other)                  # before, after, concurrent: time is never asked

Nodes are steps of processes: the decisions of a partition, and the commands of an incarnation of an agent. a happened
before b if a chain of these leads from a to b:

- a partition's decision and its next one; an incarnation's command and its next one;
- a command and its decision, which takes the command's clock in (a command whose envelope is refused is no step);
- what a clock says: a step that its sender had been told of, directly or through others.

Rules that hold here:
- An edge is there because the log has it. Two steps without a chain of edges between them are concurrent, whatever
  their times are.
- What a process manager or a worker sends carries its partition's clock as it was, and is no step of its own: what it
  brings comes right after the decision that brought it.
- A clock without its oldest entries (it holds `ENTRIES_MAX`) may not name what it knew. Then the steps that it does
  name are followed back, so an order is missed only where the graph was cut.
- The graph is bounded: of each topic's partition so many records are kept before a Lamport time, and some after it.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import chain as chained
from typing import Final

import msgspec
from accord.replay.source import Source
from accord.replay.state import accepted
from accord.schemas import headers as h
from accord.schemas.clock import ENTRIES_MAX, Order, VectorClock
from accord.schemas.headers import Record
from accord.schemas.position import Position
from accord.streams.chain import GENESIS_CAUSE, Decision

from accord.errors import ChainBroken, LogGap

RECORDS_MAX: Final = 60_000
"""Of a graph, over all partitions."""
PARTITION_MIN: Final = 500
"""So many records of each partition are kept, however many partitions there are."""
DECODED_MAX: Final = 16_384
"""Clocks that are kept decoded."""
PASTS_MAX: Final = 256
"""Steps of which is kept what they knew, where clocks have lost entries."""
AFTER_SHARE: Final = 4
"""One in so many is kept for what came after."""


class Node(msgspec.Struct, frozen=True, gc=False):
    """A step of a process.

    `process` is a partition, `locks/3`, or an incarnation of an agent, `booker#5f2c`; `count` its own entry in its
    clock, which has so many `entries`. `kind` are the types of the events, joined by `+`, or that of the command.
    `cause` is the position of a decision's command. `sender` is who sent a command, `command_id` its id. `at_ms` is its
    time, which is shown and never compared. `value` is its record's, `decision` what a partition's step is.
    """

    process: str
    count: int
    lamport: int
    entries: int
    encoded: bytes
    position: Position
    kind: str
    key: str
    task: str
    sender: str
    command_id: str
    at_ms: int
    cause: Position | None
    value: bytes
    decision: Decision | None = None

    @property
    def id(self) -> tuple[str, int]:
        return self.process, self.count

    @property
    def is_command(self) -> bool:
        return self.position.commands

    @property
    def clock(self) -> dict[str, int]:
        """The entries of its clock, decoded when they are needed: they would be most of a step's memory."""
        return _entries(self.encoded)

    @property
    def is_full(self) -> bool:
        """Whether its clock may lack entries."""
        return self.entries >= ENTRIES_MAX

    def knew(self, other: Node) -> bool:
        """Whether its clock says that it came after another step, or is it."""
        return self.clock.get(other.process, -1) >= other.count or self.id == other.id


class Causality:
    """The causal order of some steps.

    Args:
        nodes: in any order; of two with the same count of the same process, the first counts.
        is_cut: whether there are records that are not among them.
    """

    def __init__(self, nodes: Iterable[Node], *, is_cut: bool = False) -> None:
        by_process: dict[str, dict[int, Node]] = {}
        self._at: dict[Position, Node] = {}
        for node in nodes:
            if by_process.setdefault(node.process, {}).setdefault(node.count, node) is node:
                self._at[node.position] = node
        for decision in [node for node in self._at.values() if node.cause in self._at]:
            command = self._at[decision.cause]  # type: ignore[index]
            if not decision.knew(command):  # its envelope was refused, and its clock with it
                del by_process[command.process][command.count], self._at[command.position]
        self._counts = {process: sorted(known) for process, known in by_process.items()}
        self._nodes = by_process
        self._pasts: dict[tuple[str, int], _Past] = {}
        self.is_cut = is_cut

    def __iter__(self) -> Iterator[Node]:
        return iter(self._at.values())

    def __len__(self) -> int:
        return len(self._at)

    def at(self, position: Position) -> Node | None:
        """The step at a position; None: there is none, or it is not among those that are known."""
        return self._at.get(position)

    def command_of(self, node: Node) -> Node | None:
        """The command that a decision decided, if it was a step of an agent."""
        return None if node.cause is None else self._at.get(node.cause)

    def direct(self, node: Node) -> list[Node]:
        """The steps right before one: those that came before it, and before none that came before it; oldest first."""
        near = sorted(self.named(node), key=lambda one: (one.lamport, one.process))
        return [one for one in near if not any(later is not one and later.knew(one) for later in near)]

    def happened_before(self, one: Node, other: Node) -> bool:
        """Whether a chain of edges leads from one step to the other."""
        if one.id == other.id:
            return False
        if other.knew(one):
            return True
        return other.is_full and self._past_of(other).has(one)

    def order(self, one: Node, other: Node) -> Order:
        """How one step stands to the other."""
        if one.id == other.id:
            return "equal"
        if self.happened_before(one, other):
            return "before"
        return "after" if self.happened_before(other, one) else "concurrent"

    def _past_of(self, node: Node) -> _Past:
        past = self._pasts.pop(node.id, None) or _Past(self, node)
        self._pasts[node.id] = past
        if len(self._pasts) > PASTS_MAX:
            del self._pasts[next(iter(self._pasts))]
        return past

    def named(self, node: Node) -> Iterator[Node]:
        """The last known step of each process that a step's clock names, but itself."""
        for process, count in node.clock.items():
            known = self._last(process, count - 1 if process == node.process else count)
            if known is not None:
                yield known

    def _last(self, process: str, count: int) -> Node | None:
        """The last known step of a process up to one of its counts."""
        counts = self._counts.get(process, ())
        place = bisect_right(counts, count)
        return self._nodes[process][counts[place - 1]] if place else None


class _Past:
    """What a step knew, with what its clock has lost: looked up by going back, no farther than was asked."""

    def __init__(self, graph: Causality, node: Node) -> None:
        self._graph = graph
        self._counts: dict[str, int] = {}
        self._seen = {node.id}
        self._todo = [(-node.lamport, node.id, node)]

    def has(self, wanted: Node) -> bool:
        """Whether a step lies in it."""
        while self._counts.get(wanted.process, -1) < wanted.count:
            if not self._todo or -self._todo[0][0] <= wanted.lamport:
                return False
            _, _, node = heapq.heappop(self._todo)
            for process, count in node.clock.items():
                if process != node.process and count > self._counts.get(process, -1):
                    self._counts[process] = count
            for one in self._graph.named(node):
                if one.id not in self._seen:
                    self._seen.add(one.id)
                    heapq.heappush(self._todo, (-one.lamport, one.id, one))
            self._counts[node.process] = max(self._counts.get(node.process, -1), node.count)
        return True


def causality(
    source: Source, *, around: int | None = None, records_max: int = RECORDS_MAX, damaged: bool = False
) -> Causality:
    """Reads the steps of a log.

    Args:
        around: the Lamport time around which records are kept, if they are more than the bound; None: all the last.
        records_max: how many are kept, over all partitions.
        damaged: take what there is of a log that lacks a decision, or in which one was changed.

    Raises:
        LogGap, ChainBroken: the log lacks a decision, or one was changed.
    """
    where = source.all_partitions()
    most = max(PARTITION_MIN, records_max // max(1, 2 * len(where)))
    kept = [
        _Kept(_whole(chosen) if damaged else chosen, around, most)
        for one in where
        for chosen in (decisions(source, *one), commands(source, *one))
    ]
    nodes = chained.from_iterable(one.nodes for one in kept)
    return Causality(nodes, is_cut=any(one.is_cut for one in kept))


def _whole(nodes: Iterator[Node]) -> Iterator[Node]:
    """The steps before the first damage."""
    with suppress(LogGap, ChainBroken):
        yield from nodes


class _Kept:
    """Of one partition's records, those around a Lamport time."""

    def __init__(self, nodes: Iterable[Node], around: int | None, most: int) -> None:
        before: deque[Node] = deque(maxlen=most)
        after: list[Node] = []
        self.is_cut = False
        for node in nodes:
            if around is None or node.lamport <= around:
                self.is_cut |= len(before) == most
                before.append(node)
            elif len(after) < most // AFTER_SHARE:
                after.append(node)
            else:
                self.is_cut = True
        self.nodes = [*before, *after]


def decisions(source: Source, domain: str, partition: int) -> Iterator[Node]:
    """The accepted decisions of a partition, as steps."""
    for decision in accepted(source, domain, partition):
        yield of_decision(domain, partition, decision)


def of_decision(domain: str, partition: int, decision: Decision) -> Node:
    """A decision as a step of its partition."""
    process = f"{domain}/{partition}"
    clock = _clock_of(decision.clock)
    cause = None if decision.cause == GENESIS_CAUSE else Position(domain, partition, decision.cause, commands=True)
    return Node(
        process, clock.entries.get(process, 0), clock.lamport, len(clock.entries), decision.clock,
        Position(domain, partition, decision.offset), _short(decision.type), decision.key.decode(errors="replace"),
        decision.task.decode(errors="replace"), "", decision.command_id, decision.now_ms, cause, decision.value,
        decision,
    )  # fmt: skip


def commands(source: Source, domain: str, partition: int) -> Iterator[Node]:
    """The commands of a partition that agents sent, as steps of their incarnations. What is no longer kept is left out;
    so is what carries no clock."""
    try:
        start, _ = source.bounds(domain, partition, commands=True)
    except LogGap:  # the topic was deleted; its events were not
        return
    for record in source.read(domain, partition, start, commands=True):
        node = of_command(source, domain, partition, record)
        if node is not None:
            yield node


def of_command(source: Source, domain: str, partition: int, record: Record) -> Node | None:
    """A command as a step of the agent that sent it; None: it is none."""
    fields = {name: value for name, value in record.headers if value is not None}
    clock = _clock_of(fields.get(h.CLOCK, b""))
    process = next(reversed(clock.entries), None)  # who advances its entry moves it to the end
    if process is None or _is_partition(source, process):
        return None
    text = {name: fields.get(name, b"").decode(errors="replace") for name in (h.TYPE, h.SOURCE, h.TASK, h.ID)}
    return Node(
        process, clock.entries[process], clock.lamport, len(clock.entries), fields[h.CLOCK],
        Position(domain, partition, record.offset, commands=True), _short(text[h.TYPE].encode()),
        (record.key or b"").decode(errors="replace"), text[h.TASK], text[h.SOURCE], text[h.ID], record.timestamp, None,
        record.value or b"",
    )  # fmt: skip


@lru_cache(maxsize=DECODED_MAX)
def _entries(encoded: bytes) -> dict[str, int]:
    return _clock_of(encoded).entries


def _clock_of(encoded: bytes) -> VectorClock:
    try:
        return VectorClock.decode(encoded) if encoded else VectorClock()
    except ValueError:  # of a command that was rejected for it
        return VectorClock()


def _is_partition(source: Source, process: str) -> bool:
    domain, slash, number = process.rpartition("/")
    return bool(slash) and domain in source.partitions and number.isdecimal()


def _short(kind: bytes) -> str:
    """`accord.locks.v1.LockGranted` without what its position says, too."""
    return kind.decode(errors="replace").rpartition(".")[2]
