"""Verify: decides every command of a log again and compares with what was recorded, byte for byte.

Along each partition's chain, for each accepted decision: the command at its cause is decided by the version of the
rules in force there; hash and value must be those recorded. Then the decision is taken in, and the next one follows.

- The genesis and `CommandsLost` answer no command: they are made again from what they say.
- A rejection for bytes that no schema of the worker's read (`DECODE_REASONS`) is taken as recorded.
- A command between two causes got no decision: a divergence. Commands after the last one are undecided, which is no
  error: a worker may be about to.
- Repeats and forks are skipped and counted, as every reader does. A decision that continues one which is not in the
  log shows that it was removed: a divergence.
- Commands that retention took cannot be decided again; the chain alone vouches for their decisions. The report says
  from which command on it could.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec
from accord.replay.causality import Causality, Node, causality, of_command
from accord.replay.causality import of_decision as step_of_decision
from accord.replay.damage import Damage, differing_fields, of_chain, of_decision
from accord.replay.explain.explanation import Step, told_before
from accord.replay.parallel import each, processes_for
from accord.replay.source import Source
from accord.replay.state import NoDeadlines
from accord.schemas.headers import Record
from accord.schemas.messages.log import CommandRejected, CommandsLost, PartitionOpened, Reason
from accord.schemas.position import Position
from accord.streams.chain import GENESIS_CAUSE, Chain, Decision, parse
from accord.streams.domains import DOMAINS
from accord.streams.partition import DECODE_REASONS, Decided, Partition

from accord.errors import AccordError, ChainBroken, SchemaError

STRAYS_MAX: Final = 10_000
"""Skipped decisions of a partition that are remembered; of more, the oldest count as unknown."""
HISTORIES_MAX: Final = 100
"""Divergences that are told with their causal chain."""
DIVERGENCES_MAX: Final = 1_000
"""Most divergences that a report lists in one partition; it stops there."""


class Divergence(msgspec.Struct, frozen=True):
    """Where the log is not what its commands and rules say.

    `expected` and `got` are decisions as plain data, or text; `causes` are positions of the commands concerned. `kind`
    names the damage and `told` the records that it is about (`accord.replay.damage`). `history` is the causal chain
    that led there, oldest first, as in `explain`.
    """

    position: str
    key: str
    expected: Any
    got: Any
    causes: tuple[str, ...] = ()
    kind: str = ""
    told: str = ""
    history: tuple[Step, ...] = ()


class Gap(msgspec.Struct, frozen=True):
    """A stretch that could not be decided again, and why. `retention` gaps are no error."""

    position: str
    reason: str
    description: str
    decisions: int


class Report(msgspec.Struct, frozen=True):
    """What came of it. `ok`: all that could be decided again is identical, and nothing that should be there is missing.

    `commands` counts those decided again, `decisions` the accepted ones and `events` what these hold; `taken` decisions
    were taken as recorded; `skipped` records were repeats or forks; `undecided` commands lie after the last decision.
    """

    ok: bool
    commands: int
    decisions: int
    events: int
    partitions: int
    divergences: tuple[Divergence, ...]
    gaps: tuple[Gap, ...]
    taken: int
    skipped: int
    undecided: int
    duration_ms: int

    @property
    def could_look(self) -> bool:
        """Whether everything but what retention took was looked at."""
        return all(gap.reason == "retention" for gap in self.gaps)


def verify(source: Source, *, every: bool = False, domains: tuple[str, ...] = (), processes: int = 1) -> Report:
    """Decides a log again.

    Args:
        every: report every divergence of a partition, not the first alone; after one, goes on with what was recorded.
        domains: only these; all without.
        processes: how many to work in; 0 is what pays. More than 1 needs the caller's main module to be importable.

    Raises:
        LogGap: an events log does not start at its first decision.
        UnknownRules: the log was decided by rules that this release does not have.
        ArtifactDamaged, KafkaUnreachable, NotFound: the log cannot be read.
    """
    started = time.perf_counter()
    where = source.all_partitions(domains)
    found = each(source, where, partial(_check, every=every), processes or processes_for(source, where))
    divergences = with_histories(source, [divergence for outcome in found for divergence in outcome.divergences])
    gaps = tuple([outcome.gap for outcome in found if outcome.gap is not None])
    return Report(
        ok=not divergences and all(gap.reason == "retention" for gap in gaps),
        commands=sum(outcome.commands for outcome in found),
        decisions=sum(outcome.decisions for outcome in found),
        events=sum(outcome.events for outcome in found),
        partitions=len(found),
        divergences=divergences,
        gaps=gaps,
        taken=sum(outcome.taken for outcome in found),
        skipped=sum(outcome.skipped for outcome in found),
        undecided=sum(outcome.undecided for outcome in found),
        duration_ms=round((time.perf_counter() - started) * 1_000),
    )


def with_histories(source: Source, divergences: list[Divergence]) -> tuple[Divergence, ...]:
    """The divergences, the first `HISTORIES_MAX` of them with the causal chain that led there."""
    graph: Causality | None = None
    found: list[Divergence] = []
    for divergence in divergences[:HISTORIES_MAX]:
        node = _node(source, divergence)
        if node is not None and (graph is None or (graph.is_cut and graph.at(node.position) is None)):
            graph = causality(source, around=node.lamport, damaged=True)
        told = () if node is None or graph is None else told_before(graph, node)
        found.append(msgspec.structs.replace(divergence, history=told))
    return (*found, *divergences[HISTORIES_MAX:])


def _node(source: Source, divergence: Divergence) -> Node | None:
    """The step where a log diverges: its decision as it was recorded or, where that is none, its command."""
    for text in (divergence.position, *divergence.causes):
        domain, number, offset, commands = Position.parse(text)
        with suppress(ValueError, AccordError):
            record = next(source.read(domain, number, offset, commands=commands), None)
            if record is None or record.offset != offset:
                continue
            if commands:
                node = of_command(source, domain, number, record)
            else:
                node = step_of_decision(domain, number, parse(source.root(domain, number), record))
            if node is not None and node.entries:
                return node
    return None


class _Outcome(msgspec.Struct):
    """What came of one partition."""

    commands: int = 0
    decisions: int = 0
    events: int = 0
    taken: int = 0
    skipped: int = 0
    undecided: int = 0
    gap: Gap | None = None
    divergences: list[Divergence] = []


def _check(source: Source, domain: str, partition: int, every: bool) -> _Outcome:
    check = _PartitionCheck(source, domain, partition, every=every)
    check.run()
    return check.outcome


class _Stop(Exception):
    """This partition is done: its first divergence was found."""


class _PartitionCheck:
    def __init__(self, source: Source, domain: str, partition: int, *, every: bool) -> None:
        self.source, self.domain, self.number, self.every = source, domain, partition, every
        self.partition = Partition(source.identity(domain, partition), DOMAINS[domain])
        self.partition.deadlines = NoDeadlines()
        self.chain = Chain(self.partition.root)
        self.outcome = _Outcome()
        self._strays = _Strays()

    def run(self) -> None:
        with suppress(_Stop):
            self._run()
        self.outcome.skipped = self.chain.skipped

    def _run(self) -> None:
        source, chain = self.source, self.chain
        queue = _Commands(source, self.domain, self.number)
        for record in source.events(self.domain, self.number):
            try:
                decision = chain.accept(record)
            except ChainBroken as error:
                damage = of_chain(source, self.domain, self.number, chain.head)
                self._diverged(record.offset, record.key, "an unbroken chain", str(error), damage=damage)
                raise _Stop from error
            if decision is None:
                self._strays.add(chain, record)
                continue
            self.outcome.decisions += 1
            decided = self._check(decision, queue)
            self.outcome.events += len(decided.events)
            self._apply(decided)
        self._check_end()
        self.outcome.undecided = queue.rest()

    def _check(self, decision: Decision, queue: _Commands) -> Decided:
        """The decision, decoded and compared with what it should be."""
        partition, cause = self.partition, decision.cause
        if cause == GENESIS_CAUSE:
            return self._compared(decision, self._genesis)
        if decision.type.endswith(_LOST):
            queue.skip_to(cause + 1)
            return self._compared(decision, self._lost)
        for passed in queue.passed(cause):
            self._undecided(passed)
        command = queue.take(cause)
        if command is None:
            self._not_looked_at(decision, queue)
            return self._decoded(decision)
        self.outcome.commands += 1
        again = partition.decide(command, recorded=decision)
        return again if again.decision is decision else self._differs(decision, again)

    def _apply(self, decided: Decided) -> None:
        """Takes a decision in. Only a divergent one can fail to fit the state; nothing after it can be judged."""
        try:
            self.partition.apply(decided)
        except AccordError:
            raise
        except Exception as error:
            decision = decided.decision
            got = f"{_text(decided)}: {error!r}"
            damage = Damage("decision", f"{self._at(decision.offset)} does not fit the state before it.")
            self._diverged(decision.offset, decision.key, "events that fit the state", got, damage=damage)
            raise _Stop from error
        self.partition.changed.clear()

    def _compared(self, decision: Decision, make: Callable[[Decided], Decided | None]) -> Decided:
        recorded = self._decoded(decision)
        again = make(recorded)
        if again is None or again.decision.digest != decision.digest:
            damage = self._damage(again, recorded)
            expected = _show(again) if again else _NOT_THAT
            self._diverged(decision.offset, decision.key, expected, _show(recorded), damage=damage)
        return recorded

    def _genesis(self, recorded: Decided) -> Decided | None:
        """The genesis again, from the rules that were newest to its writer."""
        match recorded.events:
            case (PartitionOpened(_, rules, timestamps),):
                domain = self.partition.domain
                then = {version: decider for version, decider in domain.versions.items() if version <= rules}
                before = Partition(self.partition.identity, domain._replace(versions=then))
                before.rules = rules
                assert before.decider  # raises UnknownRules
                return before.open(self.source.partitions[self.domain], timestamps)
            case _:
                return None

    def _lost(self, recorded: Decided) -> Decided | None:
        match recorded.events:
            case (CommandsLost(first, last),) if first == self.partition.position + 1 and first <= last:
                return self.partition.lost(first, last)
            case _:
                return None

    def _differs(self, decision: Decision, again: Decided) -> Decided:
        """A decision that is not what its command brings today: taken as recorded, not looked at, or a divergence."""
        recorded = self._decoded(decision)
        match recorded.events, again.events:
            case (CommandRejected(reason, _),), _ if reason in DECODE_REASONS:
                self.outcome.taken += 1
                self.outcome.commands -= 1
            case _, [CommandRejected(Reason.UNKNOWN_SCHEMA, description)]:
                self.outcome.commands -= 1
                self._add_gap(decision, "unknown_schema", f"The command cannot be read here: {description}")
            case _:
                damage = self._damage(again, recorded)
                self._diverged(
                    decision.offset, decision.key, _show(again), _show(recorded), decision.cause, damage=damage
                )
        return recorded

    def _damage(self, again: Decided | None, recorded: Decided) -> Damage:
        """What is wrong with a recorded decision."""
        if again is None:
            return Damage("decision", f"{self._at(recorded.decision.offset)} does not follow from what was before it.")
        differing = differing_fields(_show(again), _show(recorded))
        return of_decision(self.source, self.domain, self.number, recorded.decision, again.decision, differing)

    def _decoded(self, decision: Decision) -> Decided:
        """A recorded decision; one that cannot be decoded ends this partition."""
        try:
            return self.partition.read(decision)
        except (SchemaError, ValueError) as error:
            damage = of_decision(self.source, self.domain, self.number, decision, None, frozenset({"value"}))
            got = f"bytes that are none: {error}"
            self._diverged(decision.offset, decision.key, "a decision", got, decision.cause, damage=damage)
            raise _Stop from error

    def _undecided(self, command: Record) -> None:
        at = self._at(command.offset, commands=True)
        got = "none: later commands were decided, this one never was"
        damage = Damage("undecided", f"{at} was passed over.")
        self._diverged(None, command.key, "a decision", got, damage=damage, at=at)

    def _not_looked_at(self, decision: Decision, queue: _Commands) -> None:
        if decision.cause < queue.low:
            first = self._at(queue.low, commands=True)
            self._add_gap(
                decision, "retention", f"Commands before {first} are gone; their decisions stand on the chain alone."
            )
        else:
            at = self._at(decision.cause, commands=True)
            self._add_gap(decision, "missing_command", f"{at} was decided, but is not in the log.")

    def _add_gap(self, decision: Decision, reason: str, description: str) -> None:
        """The first gap of each kind stands for all; one that is an error replaces one that is not."""
        self.outcome.taken += 1
        gap = self.outcome.gap
        if gap is None or (gap.reason == "retention" and reason != "retention"):
            self.outcome.gap = Gap(self._at(decision.cause, commands=True), reason, description, 1)
        elif gap.reason == reason:
            self.outcome.gap = msgspec.structs.replace(gap, decisions=gap.decisions + 1)

    def _check_end(self) -> None:
        """The chain must not end before decisions that continue what is not there."""
        head = self.chain.head
        if head.seq == 0 and self.chain.skipped:
            low, _ = self.source.bounds(self.domain, self.number)
            got = f"{self.chain.skipped} records that do not start its chain: another cluster, prefix or log"
            damage = of_chain(self.source, self.domain, self.number, head)
            self._diverged(low, b"", "the genesis of this partition", got, damage=damage)
            return
        stray = self._strays.unexplained(head.seq)
        if stray is not None:
            expected = f"decision {head.seq + 1}, after decision {head.seq} at offset {head.offset}"
            got = f"decision {stray.seq}, which continues a decision that is not in the log before it"
            damage = of_chain(self.source, self.domain, self.number, head)
            self._diverged(stray.offset, stray.key, expected, got, damage=damage)

    def _diverged(
        self, offset: int | None, key: bytes | None, expected: Any, got: Any, cause: int | None = None, *,
        damage: Damage, at: str = "",
    ) -> None:  # fmt: skip
        causes = (self._at(cause, commands=True),) if cause is not None else ()
        at = at or self._at(offset or 0)
        name = (key or b"").decode(errors="replace")
        self.outcome.divergences.append(Divergence(at, name, expected, got, causes, *damage))
        if not self.every or len(self.outcome.divergences) >= DIVERGENCES_MAX:
            raise _Stop

    def _at(self, offset: int, *, commands: bool = False) -> str:
        return str(Position(self.domain, self.number, offset, commands))


class _Commands:
    """A partition's commands, taken in step with the decisions on them. `low` is where their log starts."""

    def __init__(self, source: Source, domain: str, partition: int) -> None:
        self.low, _ = source.bounds(domain, partition, commands=True)
        self._records: Iterator[Record] = source.read(domain, partition, self.low, commands=True)
        self._next = next(self._records, None)

    def passed(self, offset: int) -> Iterator[Record]:
        """The commands before an offset that were not taken."""
        while self._next is not None and self._next.offset < offset:
            yield self._next
            self._next = next(self._records, None)

    def skip_to(self, offset: int) -> None:
        for _ in self.passed(offset):
            pass

    def take(self, offset: int) -> Record | None:
        """The command at an offset; None when the log does not have it."""
        record = self._next
        if record is None or record.offset != offset:
            return None
        self._next = next(self._records, None)
        return record

    def rest(self) -> int:
        """How many were not taken."""
        return (self._next is not None) + sum(1 for _ in self._records)


class _Strays:
    """Skipped decisions that are ahead of the chain, and whether what they continue was seen.

    A stale writer may be ahead with decisions of its own, all of which are in the log. If what a decision continues is
    not there, either it was removed, or it failed and its writer goes on from an earlier one: then the chain gets past.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, None] = {}
        self._loose: dict[int, Decision] = {}

    def add(self, chain: Chain, record: Record) -> None:
        try:
            decision = parse(chain.root, record)
        except ValueError:
            return
        head = chain.head
        if decision.seq > head.seq and decision.prev != head.digest and decision.prev not in self._seen:
            self._loose.setdefault(decision.seq, decision)
        self._seen[decision.digest] = None
        for bounded in (self._seen, self._loose):
            if len(bounded) > STRAYS_MAX:
                del bounded[next(iter(bounded))]  # type: ignore[arg-type]

    def unexplained(self, head_seq: int) -> Decision | None:
        """The first in the log that is still ahead of the chain at its end."""
        ahead = [decision for seq, decision in self._loose.items() if seq > head_seq]
        return min(ahead, key=lambda decision: decision.offset, default=None)


_LOST: Final = b".CommandsLost"
_NOT_THAT: Final = "a decision that follows from the one before"


def _text(decided: Decided) -> str:
    return "; ".join(repr(event) for event in decided.events)


def _show(decided: Decided) -> dict[str, Any]:
    """A decision as plain data, with all that its hash covers."""
    decision = decided.decision
    return {
        "seq": decision.seq,
        "now_ms": decision.now_ms,
        "rules": decision.rules,
        "command_id": decision.command_id,
        "key": decision.key.decode(errors="replace"),
        "task_id": decision.task.decode(errors="replace") or None,
        "clock": decision.clock.decode(errors="replace"),
        "type": decision.type.decode(errors="replace"),
        "events": [{"event": type(e).__name__, **msgspec.to_builtins(e)} for e in decided.events],
        "value": decision.value.hex() if len(decision.value) <= 512 else f"{len(decision.value)} bytes",
        "digest": decision.digest.hex(),
    }
