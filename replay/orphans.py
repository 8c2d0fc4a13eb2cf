"""What nobody looks after any more: leases, slots, waits and steps whose other side is gone; and what mends each.

Domains tell each other what follows from their decisions by commands, at least once. So none of this comes about while
workers run, but for a process that dies with long leases: it takes commands that were lost from the log, topics that
were deleted, or domains that no worker serves.

Kinds, and the command that is the repair. Its decision names it as its cause, and its source is who repaired:
- due: a deadline is long over and nothing happened, for no worker served the partition: a tick to it.
- lost_holder: a lock is held by an agent whose last process was lost, and which has not renewed it since: its lease is
  revoked.
- lost_run: a step runs at a process that its team does not know any more: it is given back to its task, and runs again.
- lost_request: a step waits for an agent, and its team has no such request: it is asked for anew.
- lost_slot: a team keeps a slot, or a place in the line, for a step that needs none: it is freed.
- lost_wait: the graph of waits has a lock or pool where nobody waits so: it is told that.
- stuck, in_doubt: of transactions, as `agreement.check` has them.

Partitions are told of each other with some delay. So what is found counts only if it was so `SLACK_MS` before, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from accord.replay import agreement
from accord.replay.agreement import SLACK_MS
from accord.replay.history import History, everything
from accord.replay.source import Source
from accord.replay.state import Point, fold, new_partition, rebuild
from accord.replay.timeline import iso
from accord.replay.transactions import DOMAIN as TRANSACTIONS
from accord.schemas.messages import Command, roster
from accord.schemas.messages.locks import RevokeLease
from accord.schemas.messages.log import Tick
from accord.schemas.messages.roster import FreeAgents
from accord.schemas.messages.tasks import Freed, LoseSteps, Slot
from accord.schemas.messages.transactions import Participant, RepairTransaction
from accord.schemas.messages.waits import GRAPH, ReportWaits
from accord.schemas.position import Position
from accord.streams.domains import DOMAINS
from accord.streams.partition import Deadlines, Decided, Partition
from accord.streams.roster.team import Team
from accord.streams.tasks.progress import READY
from accord.streams.tasks.task import Task
from accord.streams.waits.graph import Contended

DUE: Final = "due"
LOST_HOLDER: Final = "lost_holder"
LOST_RUN: Final = "lost_run"
LOST_REQUEST: Final = "lost_request"
LOST_SLOT: Final = "lost_slot"
LOST_WAIT: Final = "lost_wait"
_RELATED: Final = ("tasks", "roster", "waits", "locks", "limits")
_EMPTY: Final = Team()


class Orphan(NamedTuple):
    """What nobody looks after. `position` is the last command that its partition had decided; `command` is the repair,
    to be sent to `key` in `domain`."""

    kind: str
    domain: str
    key: str
    text: str
    position: str
    command: Command

    @property
    def identity(self) -> tuple[str, ...]:
        return self.kind, self.domain, self.key, self.text


def orphans(source: Source, *, by: str, now_ms: int | None = None, processes: int = 1) -> tuple[Orphan, ...]:
    """Everything that nobody looks after at the end of the log.

    Args:
        by: who repairs; the commands name it.
        now_ms: this moment, in ms since 1970; None: the newest decision's.
        processes: how many to work in where that pays; 0 is what pays.

    Raises:
        What `state_at` raises.
    """
    folded: list[Partition] = []
    for domain, number in source.all_partitions():
        partition = new_partition(source, domain, number)
        partition.deadlines = Deadlines()
        folded.append(fold(source, partition))
    now_ms = max((partition.now_ms for partition in folded), default=0) if now_ms is None else now_ms
    found = [one for partition in folded for one in _due(partition, now_ms - SLACK_MS)]
    related = list(_drift(folded))
    if related:
        moment = datetime.fromtimestamp((now_ms - SLACK_MS) / 1_000, UTC)
        before = {one.identity for one in _drift(_related(source, moment))}
        found += [one for one in related if one.identity in before]
    found += _lost_holders(source, folded, by, now_ms, processes)
    found += _of_transactions(source, by, now_ms, processes)
    return tuple(found)


def _related(source: Source, point: Point) -> list[Partition]:
    domains = tuple(domain for domain in _RELATED if domain in source.partitions)
    return [rebuild(source, *where, point) for where in source.all_partitions(domains)] if domains else []


def _at(partition: Partition) -> str:
    return str(Position(partition.identity.domain, partition.identity.partition, partition.position, commands=True))


def _aggregates(folded: list[Partition], domain: str) -> dict[str, tuple[Any, Partition]]:
    return {
        key: (state, partition)
        for partition in folded
        if partition.identity.domain == domain
        for key, state in partition.aggregates.items()
    }


def _teams(folded: list[Partition]) -> dict[str, tuple[Team, Partition]]:
    """Of the roster, without the processes that beat."""
    return {name: found for name, found in _aggregates(folded, "roster").items() if isinstance(found[0], Team)}


def _due(partition: Partition, until_ms: int) -> Iterator[Orphan]:
    for key in partition.deadlines.due(until_ms):
        text = f"something of it was due more than {SLACK_MS // 1_000} s ago, and nothing happened"
        yield Orphan(DUE, partition.identity.domain, key, text, _at(partition), Tick())


# -- what one domain has and the other has not


def _drift(folded: list[Partition]) -> Iterator[Orphan]:
    tasks, teams = _aggregates(folded, "tasks"), _teams(folded)
    yield from _of_tasks(tasks, teams)
    yield from _of_teams(tasks, teams)
    yield from _of_waits(folded)


def _of_tasks(
    tasks: Mapping[str, tuple[Task, Partition]], teams: Mapping[str, tuple[Team, Partition]]
) -> Iterator[Orphan]:
    for key, (task, partition) in sorted(tasks.items(), key=lambda item: item[0]):
        if task.has_ended:
            continue
        team = teams[task.team][0] if task.team in teams else _EMPTY
        for number, progress in task.steps:
            name = task.graph[number].name
            if progress.slot is not None and team.members.get(progress.member) is None:
                text = f"its step {name} runs at {progress.member} of {progress.agent}, which team {task.team} has not"
                command = LoseSteps(progress.agent, progress.member, (progress.slot,))
                yield Orphan(LOST_RUN, "tasks", key, text, _at(partition), command)
            elif progress.status == READY and progress.slot is None:
                slot = key, name, progress.attempt
                if team.taken.get(slot) is None and slot not in team.waiting:
                    text = f"its step {name} waits for an agent, and team {task.team} has no such request"
                    lost = LoseSteps("", "", (Slot(name, progress.attempt),))
                    yield Orphan(LOST_REQUEST, "tasks", key, text, _at(partition), lost)


def _of_teams(
    tasks: Mapping[str, tuple[Task, Partition]], teams: Mapping[str, tuple[Team, Partition]]
) -> Iterator[Orphan]:
    for name, (team, partition) in sorted(teams.items(), key=lambda item: item[0]):
        wanted = [slot for slot, _ in team.taken] + [slot for _, slot in team.waiting]
        for slot in wanted:
            key, step, attempt = slot
            if not _needs(tasks[key][0] if key in tasks else None, step, attempt):
                text = f"it keeps a slot for step {step} of task {key} (request {attempt}), which needs none"
                command = FreeAgents(key, (Freed(step, attempt, ()),))
                yield Orphan(LOST_SLOT, "roster", name, text, _at(partition), command)


def _needs(task: Task | None, step: str, attempt: int) -> bool:
    if task is None or task.has_ended:
        return False
    for number, progress in task.steps:
        if progress.slot == Slot(step, attempt):
            return True
        if task.graph[number].name == step and progress.status == READY and progress.attempt == attempt:
            return True
    return False


def _of_waits(folded: list[Partition]) -> Iterator[Orphan]:
    states: dict[str, dict[str, tuple[Any, Partition]]] = {d: _aggregates(folded, d) for d in ("locks", "limits")}
    for graph, partition in _aggregates(folded, "waits").values():
        for one in graph.contended.values():
            if not _waits(states.get(one.domain, {}), one):
                text = f"{one.domain} {one.name} is told to be waited for, and nobody waits there so"
                command = ReportWaits(one.domain, one.name, one.source, graph.told.get(one.source, 0), (), ())
                yield Orphan(LOST_WAIT, "waits", GRAPH, text, _at(partition), command)


def _waits(states: Mapping[str, tuple[Any, Partition]], one: Contended) -> bool:
    rules = DOMAINS[one.domain].contention
    if one.name not in states or rules is None:
        return False
    return rules.waits(states[one.name][0]) is not None


# -- locks of agents that were lost


class _Losses(History[dict[str, tuple[int, str]]]):
    """Of a team, by agent whose last word was the loss of a process: when, and where it stands."""

    def see(self, decided: Decided) -> None:
        team, position = self.place(decided)
        for event in decided.events:
            match event:
                case roster.MemberLost(agent):
                    self.kept.setdefault(team, {})[agent] = decided.decision.now_ms, position
                case roster.MemberJoined(agent) | roster.MemberLeft(agent) | roster.MembershipRenewed(agent):
                    self.kept.get(team, {}).pop(agent, None)


def _lost_holders(source: Source, folded: list[Partition], by: str, now_ms: int, processes: int) -> Iterator[Orphan]:
    losses: dict[str, tuple[int, str]] = {}
    for _, lost in everything(source, "roster", _Losses, None, processes):
        losses.update(lost)
    alive = {member.agent for team, _ in _teams(folded).values() for member in team.members}
    for name, (state, partition) in sorted(_aggregates(folded, "locks").items(), key=lambda item: item[0]):
        for holder in getattr(state, "holders", ()):
            lost_ms, position = losses.get(holder.agent, (0, ""))
            renewed_ms = holder.deadline_ms - holder.lease_ms
            if position and holder.agent not in alive and renewed_ms <= lost_ms < now_ms - SLACK_MS:
                text = f"{holder.agent} holds it (token {holder.token}), whose last process was lost at {position}"
                reason = f"repair: {holder.agent} was lost at {iso(lost_ms)} ({position})"
                command = RevokeLease(by, holder.token, reason, holder.request)
                yield Orphan(LOST_HOLDER, "locks", name, text, _at(partition), command)


def _of_transactions(source: Source, by: str, now_ms: int, processes: int) -> Iterator[Orphan]:
    if TRANSACTIONS not in source.partitions:
        return
    for problem in agreement.check(source, None, now_ms=now_ms, processes=processes):
        if problem.repair:
            who = Participant(problem.domain, problem.scope) if problem.scope else None
            command = RepairTransaction(by, problem.kind, who)
            text = f"{problem.scope}: {problem.description}" if problem.scope else problem.description
            yield Orphan(problem.kind, TRANSACTIONS, problem.transaction, text, problem.position, command)
