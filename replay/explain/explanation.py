"""`explain`: why something happened, and the causal history that it lies in.

    explained = log.explain("locks/3@1842")
    print(explained.reasons[0].text)        # ada held it: token 41, granted 3.2 s before at 12:00:01.230; ...

What an event rests on is looked up in the log: its command, the state of its aggregate just before, the decisions that
made that state so. The history is chosen from the causal order (`accord.replay.causality`), so no line of it is there
because of its time. Everything is bounded: see the constants.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, Final

import msgspec
from accord.replay import limits, locks
from accord.replay.causality import Causality, Node, causality, of_command, of_decision
from accord.replay.explain.case import Case, Reason
from accord.replay.explain.reasons import reasons
from accord.replay.explain.targets import Target, find
from accord.replay.limits import PoolView
from accord.replay.locks import LockView
from accord.replay.source import Source
from accord.replay.state import rebuild
from accord.replay.timeline import TimelineEvent, decoded, iso
from accord.replay.work import task_at
from accord.schemas.clock import Order
from accord.schemas.codec import commands_codec
from accord.schemas.position import Position
from accord.streams.decider import plain
from accord.streams.partition import Decided, Partition

from accord.errors import BadInput, LogGap, NotFound, SchemaError

STEPS: Final = 15
STEPS_MAX: Final = 500
"""Steps of the history that are told, the event's own included."""
BEFORE_MAX: Final = 6
"""Steps of a history that is only told beside something else."""
EARLIER_MAX: Final = 2_000
"""Decisions about the same aggregate that are looked at before the event."""
CAME_OF_IT_MAX: Final = 5
CONCURRENT_MAX: Final = 8
LOOKED_AT_MAX: Final = 2_000
"""Steps that are looked at for those that are concurrent."""
EVENTS_MAX: Final = 20
"""Events of one decision that are told."""


class Sent(msgspec.Struct, frozen=True):
    """A command. `incarnation` is the agent's entry in vector clocks; None: a worker or a process manager sent it, in
    answer to `because`, where that is known."""

    position: str
    type: str
    sender: str
    incarnation: str | None
    because: str | None
    data: dict[str, Any]


class Told(msgspec.Struct, frozen=True):
    """An event of the decision, and what it rests on."""

    event: TimelineEvent
    reasons: tuple[Reason, ...]


class Step(msgspec.Struct, frozen=True):
    """A step of the history. `process` is a partition or an incarnation of an agent, `text` what happened.

    `order` is how it stands to what is explained: before, equal, after or concurrent. `unseen`: whoever sent the
    command that is explained had not been told of it, nor had its sender been told of that command; for what was
    decided, the two are concurrent. `after` are the positions of the steps right before it, of those that are told.
    Sorted by `lamport`, no step comes before one that it rests on.
    """

    position: str
    process: str
    text: str
    time: str
    order: Order
    unseen: bool
    after: tuple[str, ...]
    lamport: int


class Waiting(msgspec.Struct, frozen=True):
    """A step of a task that is not done, and why."""

    step: str
    status: str
    cause: str
    remedy: str


class Explanation(msgspec.Struct, frozen=True):
    """Why something happened.

    `decided` are the events of the decision; `command` is None where it is no longer in the log. `aggregate` is the
    lock or pool just before, in locks and limits: who held it and who waited. `task` are the steps that are not done,
    if a task was asked about. `came_of_it` are later events about the same request. `history` is oldest first, in an
    order that fits the causal one; `is_cut`: the log has more records than were looked at.
    """

    position: str
    time: str | None
    key: str
    decided: tuple[Told, ...]
    command: Sent | None
    aggregate: LockView | PoolView | None
    task: tuple[Waiting, ...]
    came_of_it: tuple[TimelineEvent, ...]
    history: tuple[Step, ...]
    concurrent: tuple[Step, ...]
    is_cut: bool


def explain(
    source: Source, what: str, *, domains: tuple[str, ...] = (), agent: str | None = None, steps: int = STEPS
) -> Explanation:
    """Explains what a text names.

    Args:
        what: a position, an event's or a command's id, a task's id, or a key, as a lock's name; see `targets.find`.
        domains: look for keys and ids in these alone; all without.
        agent: of what is named, the last decision that concerns this agent.
        steps: how many steps of the history are told, 1 to `STEPS_MAX`.

    Raises:
        NotFound: there is no such thing.
        BadInput: it names things in several domains, or `steps` is out of bounds.
        LogGap, ChainBroken: the log lacks a decision, or one was changed.
    """
    if not 1 <= steps <= STEPS_MAX:
        raise BadInput(f"steps={steps}: 1 to {STEPS_MAX} steps of a history can be told.")
    target = find(source, what, domains=domains, agent=agent)
    past = _Past(source, target)
    told = past.told()
    if target.domain == "transactions":
        told = (*told[:-1], _with_vote(source, past, told[-1])) if told else told
    graph = causality(source, around=past.node.lamport)
    node = graph.at(past.node.position) or past.node
    command = graph.command_of(node)
    came_of_it = past.came_of_it(graph)
    wanted = _chosen(graph, node, [reason for one in told for reason in one.reasons], came_of_it, steps)
    asked = command or node
    beside = _beside(graph, node, asked, wanted)
    both = _by_lamport([*wanted, *beside])
    told = tuple(_with_causes(graph, one) for one in told)
    history = [step_of(graph, one, node, asked, both) for one in wanted]
    concurrent = [step_of(graph, one, node, asked, both) for one in beside]
    return Explanation(
        str(target.position), iso(target.decision.now_ms) if target.decision.now_ms else None, past.key, told,
        past.sent(command), past.aggregate(), _unfinished(source, target), came_of_it, tuple(history),
        tuple(concurrent), graph.is_cut,
    )  # fmt: skip


class _Past:
    """The decision that is explained, and what came before it in its partition."""

    def __init__(self, source: Source, target: Target) -> None:
        self._source, self._target = source, target
        self.key = target.decision.key.decode(errors="replace")
        self.node = of_decision(target.domain, target.partition, target.decision)
        self.numbers: dict[int, str] = {}
        self._earlier: deque[Decided] = deque(maxlen=EARLIER_MAX)
        self._partition: Partition | None = None
        if target.decision.offset > 0:
            before = target.position._replace(offset=target.decision.offset - 1)
            self._partition = rebuild(source, target.domain, target.partition, before, self._see)
        self.before = self._state()

    def _see(self, decided: Decided) -> None:
        decision = decided.decision
        if decision.key == self._target.decision.key and decision.key:
            if len(self._earlier) == EARLIER_MAX:
                self.numbers.pop(self._earlier[0].decision.seq)
            self._earlier.append(decided)
            self.numbers[decision.seq] = str(self._target.position._replace(offset=decision.offset))

    def _state(self) -> dict[str, Any] | None:
        state = None if self._partition is None else self._partition.aggregates.get(self.key)
        return None if state is None else plain(state)

    def told(self) -> tuple[Told, ...]:
        """The events of the decision, each with its reasons. Each rests on the state that those before it left."""
        domain, number, decision = self._target.domain, self._target.partition, self._target.decision
        events = list(decoded(domain, number, decision))
        numbers = {**self.numbers, decision.seq: str(self._target.position)}
        earlier = [one for before in self._earlier for one in decoded(domain, number, before.decision)]
        found, before = [], self.before
        raw = () if self._partition is None else self._partition.read(decision).events
        for place, event in enumerate(events[:EVENTS_MAX]):
            case = Case(event, events, before, earlier, decision.now_ms, numbers)
            found.append(Told(event, tuple(reasons(case))))
            earlier.append(event)
            if self._partition is not None:
                self._fold(raw[place])
                before = self._state()
        return tuple(found)

    def event(self, name: str) -> TimelineEvent | None:
        """The last event of this name, of the decision or of those before it about the same aggregate."""
        domain, number = self._target.domain, self._target.partition
        for decision in [self._target.decision, *[one.decision for one in reversed(self._earlier)]]:
            for event in decoded(domain, number, decision):
                if event.event == name:
                    return event
        return None

    def _fold(self, event: Any) -> None:
        """Takes one event of the decision in, if it is one of the domain's."""
        assert self._partition is not None
        if not type(event).__module__.endswith(".log"):
            state = self._partition.decider.evolve(self._partition.aggregates.get(self.key), event)
            if state is None:
                self._partition.aggregates.pop(self.key, None)
            else:
                self._partition.aggregates[self.key] = state

    def aggregate(self) -> LockView | PoolView | None:
        """The lock or pool just before."""
        view_of: Any = {"locks": locks.view_of, "limits": limits.view_of}.get(self._target.domain)
        if view_of is None or self.before is None:
            return None
        position = str(self.node.cause or self.node.position)
        view: LockView | PoolView = view_of(self.key, self.before, position, self._target.decision.now_ms)
        return view

    def sent(self, command: Node | None) -> Sent | None:
        """The command; None: it is no longer in the log, or there was none."""
        cause = self.node.cause
        if cause is None:
            return None
        try:
            low, end = self._source.bounds(cause.domain, cause.partition, commands=True)
        except LogGap:
            return None
        if not low <= cause.offset < end:
            return None
        record = next(iter(self._source.read(cause.domain, cause.partition, cause.offset, commands=True)), None)
        if record is None or record.offset != cause.offset:
            return None
        fields = {name: value.decode(errors="replace") for name, value in record.headers if value is not None}
        known = command or of_command(self._source, cause.domain, cause.partition, record)
        message_id = fields.get("ce_id", "")
        because = message_id.rpartition("/")[0] if known is None and "@" in message_id else None
        return Sent(
            str(cause), fields.get("ce_type", "").rpartition(".")[2], fields.get("ce_source", ""),
            None if known is None else known.process, because, _fields_of(cause.domain, record.value),
        )  # fmt: skip

    def came_of_it(self, graph: Causality) -> tuple[TimelineEvent, ...]:
        """Later events that name the same request."""
        decision = self._target.decision
        requests = {decision.command_id}
        found: list[TimelineEvent] = []
        partition = f"{self._target.domain}/{self._target.partition}"
        later = (n for n in graph if n.process == partition and n.key == self.key and n.lamport > self.node.lamport)
        for node in sorted(later, key=lambda one: one.count):
            assert node.decision is not None
            for event in decoded(self._target.domain, self._target.partition, node.decision):
                if event.data.get("request") in requests or requests & set(event.data.get("requests") or ()):
                    found.append(event)
        return tuple(found[:CAME_OF_IT_MAX])


def _fields_of(domain: str, value: bytes | None) -> dict[str, Any]:
    """A command's fields; empty if no known schema reads it."""
    try:
        data: dict[str, Any] = msgspec.to_builtins(commands_codec(domain).decode(value))
    except SchemaError:
        return {}
    return data


def _with_vote(source: Source, past: _Past, told: Told) -> Told:
    """Of a transaction that a participant has refused: with the reasons of that, which lie in its partition."""
    decided = past.event("TransactionDecided")
    if decided is None or not decided.data["refused_by"]:
        return told
    vote = _Past(source, find(source, decided.position)).sent(None)
    if vote is None or vote.because is None:
        return told
    try:
        refused = _Past(source, find(source, vote.because)).told()
    except (NotFound, LogGap):
        return told
    who = decided.data["refused_by"]
    more = [
        msgspec.structs.replace(reason, text=f"{who}: {reason.text}")
        for one in refused
        for reason in one.reasons
        if one.event.event in _NO_VOTES
    ]
    return msgspec.structs.replace(told, reasons=(*told.reasons, *more))


_NO_VOTES: Final = ("PrepareRefused", "PinRefused")


def _with_causes(graph: Causality, told: Told) -> Told:
    """An event whose reasons name the commands that they come from."""
    found = []
    for reason in told.reasons:
        node = None if reason.position is None else graph.at(Position.parse(reason.position))
        command = None if node is None else graph.command_of(node)
        cause = None if node is None or node.cause is None else str(node.cause)
        found.append(msgspec.structs.replace(reason, cause=cause, by=None if command is None else command.sender))
    return msgspec.structs.replace(told, reasons=tuple(found))


# -- the history


def _chosen(
    graph: Causality, node: Node, rests_on: Sequence[Reason], came_of_it: Sequence[TimelineEvent], most: int
) -> list[Node]:
    """The steps that are told: going back from the event, what is nearest first.

    A command is as near as its decision. What lies in the same partition only because another key hashes there has
    nothing to do with it: of a partition's earlier decisions those count that are about the same aggregate, and those
    that a reason names.
    """
    found: dict[tuple[str, int], Node] = {node.id: node}
    same = sorted((n for n in graph if (n.process, n.key) == (node.process, node.key)), key=lambda one: one.count)
    numbers = count()
    todo: list[tuple[int, int, int, Node]] = []

    def put(cost: int, one: Node | None) -> None:
        if one is not None and one.id not in found and one.count > 0:  # 0: the partition was opened
            heapq.heappush(todo, (cost, -one.lamport, next(numbers), one))

    def put_before(cost: int, one: Node) -> None:
        if one.process == node.process:  # of its partition's decisions before, the last about the same
            place = bisect_left(same, one.count, key=lambda each: each.count)
            put(cost + 1, same[place - 1] if place else None)
        for before in graph.direct(one):
            if before.process != one.process or one.is_command:
                is_near = before.key == node.key or (node.task and before.task == node.task)
                put(cost + (1 if is_near else 2 if before.process != one.process else 3), before)

    for event in came_of_it:
        later = graph.at(Position.parse(event.position))
        if later is not None:
            found[later.id] = later
    put(0, graph.command_of(node))
    for reason in rests_on:
        put(0, None if reason.position is None else graph.at(Position.parse(reason.position)))
    put_before(0, node)
    while todo and len(found) < most:
        cost, _, _, one = heapq.heappop(todo)
        if one.id not in found:
            found[one.id] = one
            put(cost, graph.command_of(one))
            put_before(cost, one)
    return _by_lamport(found.values())


def _by_lamport(nodes: Iterable[Node]) -> list[Node]:
    return sorted(nodes, key=lambda one: (one.lamport, one.process))


def _beside(graph: Causality, node: Node, asked: Node, told: Iterable[Node]) -> list[Node]:
    """Steps about the same aggregate or task, or of the same processes, that are concurrent with what was asked; those
    whose Lamport time is nearest."""
    known = {one.id for one in told}
    processes = {one.process for one in told if one.is_command}
    near = [
        one
        for one in graph
        if one.id not in known
        and one.count > 0
        and (one.key == node.key or (node.task and one.task == node.task) or one.process in processes)
    ]
    near.sort(key=lambda one: (one.key != node.key, abs(one.lamport - asked.lamport), one.process))
    found = (one for one in near[:LOOKED_AT_MAX] if graph.order(one, asked) == "concurrent")
    return sorted((one for one, _ in zip(found, range(CONCURRENT_MAX), strict=False)), key=lambda one: one.lamport)


def told_before(graph: Causality, node: Node, other: Node | None = None) -> tuple[Step, ...]:
    """What led to a step, itself included: the last `BEFORE_MAX` steps, of those that `other` came not after."""
    found: dict[tuple[str, int], Node] = {node.id: node}
    todo = [node]
    while todo and len(found) < BEFORE_MAX:
        for one in reversed(graph.direct(todo.pop(0))):
            unknown = one.count > 0 and (other is None or not graph.happened_before(one, other))
            if one.id not in found and unknown and len(found) < BEFORE_MAX:
                found[one.id] = one
                todo.append(one)
    told = sorted(found.values(), key=lambda one: (one.lamport, one.process))
    return tuple(step_of(graph, one, node, node, told) for one in told)


def step_of(graph: Causality, one: Node, node: Node, asked: Node, told: Sequence[Node]) -> Step:
    """A step as it is told.

    Args:
        node: what is explained.
        asked: its command, or itself.
        told: all steps that are told, by Lamport time.
    """
    after: list[Node] = []
    for earlier in reversed(told):
        if earlier.lamport < one.lamport and not any(graph.happened_before(earlier, later) for later in after):
            after += [earlier] if graph.happened_before(earlier, one) else []
    return Step(
        str(one.position), one.process, text_of(one), iso(one.at_ms) if one.at_ms else "", graph.order(one, node),
        graph.order(one, asked) == "concurrent", tuple(str(earlier.position) for earlier in reversed(after)),
        one.lamport,
    )  # fmt: skip


def text_of(node: Node) -> str:
    """What a step was, in a line."""
    if node.decision is None:
        agent = _fields_of(node.position.domain, node.value).get("agent") or node.sender
        return f"{agent}: {node.kind} {node.key}"
    try:
        events = list(decoded(node.position.domain, node.position.partition, node.decision))
    except SchemaError:  # a damaged log
        return f"{node.kind} {node.key}, which cannot be decoded".strip()
    told = [f"{event.event} {event.agent or ''}".rstrip() + _token(event) for event in events[:EVENTS_MAX]]
    return f"{', '.join(told) or 'nothing'} {node.key}".rstrip()


def _token(event: TimelineEvent) -> str:
    token = event.data.get("token")
    return "" if token is None else f" (token {token})"


# -- a task


def _unfinished(source: Source, target: Target) -> tuple[Waiting, ...]:
    """Why the steps of a task that are not done are not, at the end of the log."""
    if target.task_id is None:
        return ()
    found = task_at(source, target.task_id)
    if found is None:
        return ()
    return tuple(Waiting(step.name, step.status, step.cause, step.remedy) for step in found.steps if step.cause)
