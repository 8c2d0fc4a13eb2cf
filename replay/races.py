"""Races: what agents did to the same thing without knowing of each other.

Two accesses race if at least one is a write, neither agent had been told of the other's when it made its own (their
commands' clocks are concurrent), and no one grant of a lock covers both. What counts as an access is the table in
`accord.replay.accesses`. Seven kinds are told apart:

    write_write   both wrote, under no common lock
    read_write    one read what the other changed meanwhile, under no common lock
    lost_update   one read, another wrote, and the first wrote by what it had read
    lost_lease    both under the same lock, by grants of which one had ended: its holder went on after its lease
    shared_lock   both under the same lock, which lets several in at once, and at least one wrote
    unguarded     two bodies of one `coordinate` name at the same time, one under a lock and one under none
    stale_token   a write or a result that was refused, for its token had passed on: what would have been a race

Rules that act here:
- Whether two are concurrent is a matter of clocks alone (`accord.replay.causality`), never of times. An agent's
  incarnation has one entry in a clock: what runs side by side in one process counts as one after the other.
- Agents whose accesses happened to be ordered by a message do not race, whether they had a lock or not: what is found
  is what did happen, not all that could. A partition's clock counts as such a message: whoever is told a decision is
  taken to know of all that was decided in that partition before, other keys included.
- An agent has a lock from the grant that it had been told of until it sends its release; it may be mistaken.
- Of the same pair of incarnations, one race of each kind is told for a resource, and how many there were.
- Bounded: of a long log the last records are looked at; see `causality`. What could not be looked at is said.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Literal, NamedTuple

import msgspec
from accord.replay.accesses import Access, Body, accesses, body, stale, tells
from accord.replay.causality import Causality, Node, causality
from accord.replay.explain.explanation import Step, told_before
from accord.replay.source import Source
from accord.replay.timeline import TimelineEvent, decoded, iso
from accord.schemas.codec import commands_codec
from accord.schemas.messages.locks import LockGranted, ReleaseLock, WaitOnCondition

from accord.errors import SchemaError

Kind = Literal["write_write", "read_write", "lost_update", "lost_lease", "shared_lock", "unguarded", "stale_token"]

RECORDS_MAX: Final = 100_000
"""Records that are looked at, over all partitions, unless another number is named."""
RACES_MAX: Final = 1_000
"""More are counted, but not told."""


class Side(msgspec.Struct, frozen=True):
    """One of the two. `locks` are those that it had, with the token of each; `history` what it did and was told that
    the other did not know, oldest first."""

    position: str
    command: str | None
    process: str
    agent: str | None
    event: str
    time: str | None
    locks: dict[str, int]
    history: tuple[Step, ...]


class Race(msgspec.Struct, frozen=True):
    """Two accesses that did not know of each other. `times` is how often these two raced so for this resource. `sure`
    is False where clocks had lost entries and the log before was not looked at: they may have been ordered."""

    kind: Kind
    resource: str
    text: str
    first: Side
    second: Side | None
    times: int
    sure: bool


class Races(msgspec.Struct, frozen=True):
    """What was found. `untold` are races beyond the bound; `unknown` accesses whose commands are no longer in the log,
    which cannot be compared; `is_cut`: the log has more records than were looked at."""

    accesses: int
    resources: int
    races: tuple[Race, ...]
    untold: int
    unknown: int
    is_cut: bool


class _Touch(msgspec.Struct, frozen=True, eq=False):
    """An access with the step of the agent that made it."""

    access: Access
    event: TimelineEvent
    asked: Node
    locks: dict[str, int]


class _Run(msgspec.Struct, frozen=True, eq=False):
    """A coordinated body that began and ended."""

    body: Body
    event: TimelineEvent
    began: Node
    ended: Node


class _Grant(NamedTuple):
    """A lock that an incarnation asked for at one of its counts and let go at another; None: it never did."""

    asked: int
    let_go: int | None
    node: Node
    lock: str
    token: int


class _Pair(msgspec.Struct):
    kind: Kind
    resource: str
    text: str
    first: _Touch
    second: _Touch
    times: int = 1


def races(source: Source, *, domains: tuple[str, ...] = (), records_max: int = RECORDS_MAX) -> Races:
    """Finds the races of a log.

    Args:
        domains: look for accesses in these alone; all without.
        records_max: how many records are looked at, over all partitions.

    Raises:
        NotFound: the log has no such domain.
        LogGap, ChainBroken: the log lacks a decision, or one was changed.
    """
    source.all_partitions(domains)
    graph = causality(source, records_max=records_max)
    looked = _Looked(graph, domains)
    pairs = [*looked.accesses(), *looked.overlapping()]
    found = [_race(graph, pair) for pair in pairs[:RACES_MAX]]
    refused = [_stale_race(graph, looked, *one) for one in looked.stale[: RACES_MAX - len(found)]]
    untold = len(pairs) + len(looked.stale) - len(found) - len(refused)
    resources = {one.access.resource for one in looked.touches}
    return Races(
        len(looked.touches) + len(looked.runs), len(resources), (*found, *refused), untold, looked.unknown, graph.is_cut
    )


class _Looked:
    """The accesses that a log tells of, and who had which lock."""

    def __init__(self, graph: Causality, domains: tuple[str, ...]) -> None:
        self._graph = graph
        self.touches: list[_Touch] = []
        self.runs: list[_Run] = []
        self.stale: list[tuple[TimelineEvent, Node]] = []
        self.unknown = 0
        self.shared: set[tuple[str, int]] = set()
        """Grants, by lock and token, that let others in, too."""
        self._began: dict[tuple[str, str, int | None, str | None], list[tuple[Body, TimelineEvent, Node]]] = {}
        self._grants: dict[str, list[tuple[Node, str, int]]] = {}
        self._let_go: dict[tuple[str, str, int], int] = {}
        self._granted_to: dict[str, deque[_Grant]] = {}
        self._held: dict[str, list[_Grant]] = {}
        nodes = sorted(graph, key=lambda node: (node.lamport, node.process))
        self._committed: set[str] = set()
        self._enlisted: dict[str, set[str]] = {}
        """By transaction, the scopes in which others than who commits it have said what they change."""
        self._learn_locks(nodes)
        self._learn_transactions(nodes)
        for node in nodes:
            domain = node.position.domain
            if node.decision is not None and tells(domain) and (not domains or domain in domains):
                for event in decoded(domain, node.position.partition, node.decision):
                    self._look(node, event)

    def _learn_locks(self, nodes: list[Node]) -> None:
        """Whose grants there are, and where their holders let go."""
        for node in nodes:
            if node.position.domain != "locks":
                continue
            if node.decision is not None and "LockGranted" in node.kind:
                for event in decoded("locks", node.position.partition, node.decision):
                    if event.event == LockGranted.__name__:
                        self._granted(node, event)
            elif node.is_command and node.kind in (ReleaseLock.__name__, WaitOnCondition.__name__):
                command: Any = _decoded(node)
                if command is not None:
                    self._let_go.setdefault((node.process, node.key, command.token), node.count)
        for node in nodes:
            for grant, lock, token in self._grants.get(node.command_id, ()) if node.is_command else ():
                let_go = self._let_go.get((node.process, lock, token))
                self._granted_to.setdefault(node.process, deque()).append(
                    _Grant(node.count, let_go, grant, lock, token)
                )

    def _learn_transactions(self, nodes: list[Node]) -> None:
        """Which were committed, and what was enlisted before."""
        for node in nodes:
            if node.position.domain != "transactions" or node.decision is None:
                continue
            if "TransactionDecided" in node.kind or "ChangesEnlisted" in node.kind:
                for event in decoded("transactions", node.position.partition, node.decision):
                    if event.event == "TransactionDecided" and event.data["outcome"] == "committed":
                        self._committed.add(event.key)
                    elif event.event == "ChangesEnlisted":
                        self._enlisted.setdefault(event.key, set()).update(of["scope"] for of in event.data["changes"])

    def _of_transaction(self, event: TimelineEvent, touched: list[Access]) -> list[Access]:
        """What an event of a transaction says was done: nothing, if it was not committed."""
        if event.key not in self._committed:
            return []
        if event.event == "ChangesEnlisted":
            return touched
        others = tuple(f"{scope}/" for scope in self._enlisted.get(event.key, ()))
        return [access for access in touched if not access.resource.startswith(others)]

    def _granted(self, node: Node, event: TimelineEvent) -> None:
        token = event.data["token"]
        if event.data.get("permits") is not None:
            self.shared.add((node.key, token))
        self._grants.setdefault(event.data["request"], []).append((node, node.key, token))

    def _look(self, node: Node, event: TimelineEvent) -> None:
        touched, run = accesses(event), body(event)
        if touched and event.position.startswith("transactions/"):
            touched = self._of_transaction(event, touched)
        if touched and "PreparedCommitted" in node.kind:
            return  # the transaction tells of it
        if stale(event) is not None:
            self.stale.append((event, node))
        if not touched and run is None:
            return
        asked = self._graph.command_of(node)
        if asked is None:
            self.unknown += len(touched) or 1
            return
        if touched:
            locks = self._locks_of(asked) | _declared(event)
            self.touches += [_Touch(access, event, asked, locks) for access in touched]
        if run is not None:
            self._note(run, event, asked)

    def _locks_of(self, asked: Node) -> dict[str, int]:
        """The locks that an agent had when it sent a command, as far as it knew. To be asked in the agent's order."""
        held, coming = self._held.get(asked.process, []), self._granted_to.get(asked.process, ())
        while coming and coming[0].asked < asked.count:
            held.append(coming.popleft())
        held = [grant for grant in held if grant.let_go is None or grant.let_go > asked.count]
        self._held[asked.process] = held
        return {grant.lock: grant.token for grant in held if asked.knew(grant.node)}

    def _note(self, run: Body, event: TimelineEvent, asked: Node) -> None:
        key = (asked.process, run.name, run.token, event.task_id)
        if not run.ended:
            self._began.setdefault(key, []).append((run, event, asked))
        elif self._began.get(key):
            first, began_event, began = self._began[key].pop(0)
            self.runs.append(_Run(first, began_event, began, asked))

    # -- pairs

    def accesses(self) -> list[_Pair]:
        """Accesses of one resource that race."""
        by_resource: dict[str, list[_Touch]] = {}
        for touch in sorted(self.touches, key=lambda one: (one.asked.lamport, one.asked.process)):
            by_resource.setdefault(touch.access.resource, []).append(touch)
        found: list[_Pair] = []
        for resource, touches in by_resource.items():
            if len({touch.asked.process for touch in touches}) > 1:
                found += self._of_resource(resource, touches)
        return found

    def _of_resource(self, resource: str, touches: list[_Touch]) -> list[_Pair]:
        """Each access is compared with the last ones of the other incarnations: who knows of the last knows of all."""
        last: dict[tuple[str, str, frozenset[str]], _Touch] = {}
        reads: dict[str, _Touch] = {}
        pairs: dict[tuple[Kind, frozenset[str]], _Pair] = {}
        for touch in touches:
            for other in last.values():
                kind = self._kind(other, touch)
                if kind is not None:
                    updated = self._updated(kind, other, touch, reads)
                    key = ("lost_update" if updated else kind, frozenset((other.asked.process, touch.asked.process)))
                    if key in pairs:
                        pairs[key].times += 1
                    else:
                        pairs[key] = _Pair(key[0], resource, _text(key[0], resource, other, touch), other, touch)
            last[touch.asked.process, touch.access.kind, frozenset(touch.locks)] = touch
            if touch.access.kind == "read":
                reads[touch.asked.process] = touch
        lost = {processes for kind, processes in pairs if kind == "lost_update"}
        return [pair for (kind, processes), pair in pairs.items() if kind != "read_write" or processes not in lost]

    def _kind(self, one: _Touch, other: _Touch) -> Kind | None:
        """How two accesses race, if they do."""
        if one.asked.process == other.asked.process or "write" not in (one.access.kind, other.access.kind):
            return None
        if one.access.value is not None and one.access.value == other.access.value:
            return None
        if self._graph.order(one.asked, other.asked) != "concurrent":
            return None
        common = one.locks.keys() & other.locks.keys()
        if any(one.locks[lock] == other.locks[lock] for lock in common):
            return None
        if common:
            grants = [(lock, touch.locks[lock]) for lock in common for touch in (one, other)]
            return "shared_lock" if all(grant in self.shared for grant in grants) else "lost_lease"
        return "write_write" if one.access.kind == other.access.kind else "read_write"

    def _updated(self, kind: Kind, one: _Touch, other: _Touch, reads: dict[str, _Touch]) -> bool:
        """Whether one of two writers had read before, and did not know of the other's write then."""
        if kind != "write_write":
            return False
        for writer, against in ((one, other), (other, one)):
            read = reads.get(writer.asked.process)
            if read is not None and read.asked.count <= writer.asked.count and not read.asked.knew(against.asked):
                return True
        return False

    def overlapping(self) -> list[_Pair]:
        """Coordinated bodies that ran at the same time and should not have. Each is compared with the last ones of the
        other incarnations, as accesses are."""
        under: dict[str, dict[str, _Run]] = {}
        named: dict[str, dict[tuple[str, bool], _Run]] = {}
        found: dict[tuple[Kind, str, frozenset[str]], _Pair] = {}
        for run in sorted(self.runs, key=lambda one: (one.began.lamport, one.began.process)):
            process, lock = run.began.process, run.body.lock
            if lock is not None:
                last = under.setdefault(lock, {})
                for other in last.values():
                    if other.body.token != run.body.token and self._overlap(other, run):
                        self._add(found, "lost_lease", lock, other, run)
                last[process] = run
            of_name = named.setdefault(run.body.name, {})
            for (_, guarded), other in of_name.items():
                if guarded != (lock is not None) and self._overlap(other, run):
                    self._add(found, "unguarded", run.body.name, other, run)
            of_name[process, lock is not None] = run
        return list(found.values())

    def _overlap(self, one: _Run, other: _Run) -> bool:
        """Whether neither of two bodies had ended, for all that was known, when the other began."""
        if one.began.process == other.began.process:
            return False
        before = self._graph.happened_before
        return not before(one.ended, other.began) and not before(other.ended, one.began)

    def _add(
        self, found: dict[tuple[Kind, str, frozenset[str]], _Pair], kind: Kind, resource: str, one: _Run, other: _Run
    ) -> None:
        key = (kind, resource, frozenset((one.began.process, other.began.process)))
        if key in found:
            found[key].times += 1
            return
        first, second = (
            _Touch(Access("write", resource), run.event, run.began, _lock_of(run.body)) for run in (one, other)
        )
        found[key] = _Pair(kind, resource, _text(kind, resource, first, second), first, second)


def _decoded(node: Node) -> Any:
    """A command; None: no known schema reads it."""
    try:
        return commands_codec(node.position.domain).decode(node.value)
    except SchemaError:
        return None


def _declared(event: TimelineEvent) -> dict[str, int]:
    """The lock that a signal says it was sent under."""
    data = event.data.get("data")
    if not isinstance(data, dict):
        return {}
    lock, token = data.get("lock"), data.get("token")
    return {lock: token} if isinstance(lock, str) and isinstance(token, int) else {}


def _lock_of(run: Body) -> dict[str, int]:
    return {} if run.lock is None or run.token is None else {run.lock: run.token}


# -- what is told


def _text(kind: Kind, resource: str, one: _Touch, other: _Touch) -> str:
    who, whom = _who(one), _who(other)
    did = {"read": "read", "write": "wrote"}
    match kind:
        case "lost_lease":
            lock = next(iter(one.locks.keys() & other.locks.keys()))
            return f"{who} and {whom} both went on under {lock}: token {one.locks[lock]} and token {other.locks[lock]}"
        case "shared_lock":
            lock = next(iter(one.locks.keys() & other.locks.keys()))
            return f"{who} and {whom} touched {resource} at once: {lock} lets several in, and one of them wrote"
        case "lost_update":
            return f"{who} and {whom} wrote {resource}, one of them by what it had read before the other's write"
        case "unguarded":
            return f"{who} ran {resource} under {_under(one)}, {whom} at the same time under {_under(other)}"
        case _:
            first = f"{who} {did[one.access.kind]} {resource} under {_under(one)}"
            return f"{first}, {whom} {did[other.access.kind]} it under {_under(other)}; neither knew of the other"


def _who(touch: _Touch) -> str:
    return touch.event.agent or touch.asked.sender or touch.asked.process


def _under(touch: _Touch) -> str:
    return ", ".join(f"{lock} (token {token})" for lock, token in sorted(touch.locks.items())) or "no lock"


def _race(graph: Causality, pair: _Pair) -> Race:
    one, other = pair.first, pair.second
    sure = not (graph.is_cut and (one.asked.is_full or other.asked.is_full))
    first, second = _side(graph, one, other.asked), _side(graph, other, one.asked)
    return Race(pair.kind, pair.resource, pair.text, first, second, pair.times, sure)


def _side(graph: Causality, touch: _Touch, other: Node) -> Side:
    asked, event = touch.asked, touch.event
    return Side(
        event.position, str(asked.position), asked.process, event.agent, event.event, event.time, touch.locks,
        told_before(graph, asked, other),
    )  # fmt: skip


def _stale_race(graph: Causality, looked: _Looked, event: TimelineEvent, node: Node) -> Race:
    """A refused write, with the grant that had come before it."""
    refused = stale(event)
    assert refused is not None
    later = _grant(graph, node, refused.later)
    seen = "another had taken it over" if refused.later is None else f"token {refused.later} had been there"
    asked = graph.command_of(node)
    first = Side(
        event.position, None if node.cause is None else str(node.cause),
        node.process if asked is None else asked.process, event.agent, event.event, event.time,
        {event.key: refused.token},
        told_before(graph, node, later),
    )  # fmt: skip
    text = f"{event.agent or 'somebody'} came to {refused.resource} with token {refused.token}, but {seen}: refused"
    second = None if later is None else _granting_side(graph, later, node, refused.later)
    return Race("stale_token", refused.resource, text, first, second, 1, True)


def _grant(graph: Causality, node: Node, token: int | None) -> Node | None:
    """The decision that granted a token: the one of this number in its partition."""
    if token is None or node.decision is None:
        return None
    same = (one for one in graph if one.process == node.process and one.decision is not None)
    return next((one for one in same if one.decision is not None and one.decision.seq == token), None)


def _granting_side(graph: Causality, later: Node, node: Node, token: int | None) -> Side:
    assert later.decision is not None
    events = list(decoded(later.position.domain, later.position.partition, later.decision))
    event = next((one for one in events if one.data.get("token") == token), events[0] if events else None)
    asked = graph.command_of(later)
    return Side(
        str(later.position), None if later.cause is None else str(later.cause),
        later.process if asked is None else asked.process, None if event is None else event.agent,
        later.kind if event is None else event.event, iso(later.at_ms) if later.at_ms else None,
        {} if token is None else {later.key: token}, told_before(graph, later),
    )  # fmt: skip
