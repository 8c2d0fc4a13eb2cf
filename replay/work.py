"""What agents work on, tasks and teams together: what runs where, what waits and why.

A point is a moment here, for a step waits in one domain for what another has: a position stands for its partition up to
that record, and for the others up to the time of its decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec
from accord.replay import health, roster, tasks
from accord.replay.health import ProcessView
from accord.replay.parallel import each, processes_for
from accord.replay.roster import NO_PACE, Pace, Queue, Running, TeamView
from accord.replay.source import Source
from accord.replay.state import Point, rebuild, time_of
from accord.replay.tasks import Clock, StepView, TaskView, Times
from accord.schemas.position import Position
from accord.schemas.topics import partition_of
from accord.streams.decider import dump, restore
from accord.streams.roster.presence import Presence
from accord.streams.roster.team import Key, Team
from accord.streams.tasks.progress import COMPLETED
from accord.streams.tasks.task import Task

from accord.errors import NotFound

TASKS: Final = "tasks"
ROSTER: Final = "roster"
_NO_TEAM: Final = Team()
_ROSTER: Final[Any] = Team | Presence

Where = tuple[str, int]


class TaskInFull(msgspec.Struct, frozen=True):
    """One task, its steps in the order of its graph, and its state."""

    view: TaskView
    steps: tuple[StepView, ...]
    state: Task


class _Folded(msgspec.Struct, frozen=True):
    """A partition at the point. Aggregates are their dumps: they may come from another process."""

    position: str
    now_ms: int
    aggregates: dict[str, bytes]
    times: dict[str, Times]


def tasks_at(
    source: Source, point: Point = None, *, now_ms: int | None = None, processes: int = 1
) -> tuple[TaskView, ...]:
    """The tasks that are remembered at a point, oldest first.

    Args:
        point: None is the end of the log.
        now_ms: what ages and leases are counted to at the end of the log, in ms since 1970; None: the clock of each
            partition. At another point it is the time of that point.
        processes: how many to work in; 0 is what pays.

    Raises:
        What `state_at` raises.
    """
    found = _everything(source, point, now_ms, processes).tasks()
    return tuple(sorted(found, key=lambda task: (task.created_at, task.id)))


def teams_at(
    source: Source, point: Point = None, *, now_ms: int | None = None, processes: int = 1
) -> tuple[TeamView, ...]:
    """The teams at a point, by name. Arguments and errors as for `tasks_at`."""
    return tuple(sorted(_everything(source, point, now_ms, processes).teams(), key=lambda team: team.team))


def processes_at(
    source: Source, point: Point = None, *, now_ms: int | None = None, processes: int = 1
) -> tuple[ProcessView, ...]:
    """The processes that beat at a point, and those that failed of late, by name. Arguments and errors as for
    `tasks_at`."""
    found = _everything(source, point, now_ms, processes, (ROSTER,)).processes()
    return tuple(sorted(found, key=lambda one: one.process))


def _everything(
    source: Source, point: Point, now_ms: int | None, processes: int, domains: tuple[str, ...] = (TASKS, ROSTER)
) -> _View:
    here = tuple(domain for domain in domains if domain in source.partitions)
    view = _View(source, point, now_ms)
    view.fold(source.all_partitions(here) if here else (), processes)
    return view


def task_at(source: Source, task_id: str, point: Point = None, *, now_ms: int | None = None) -> TaskInFull | None:
    """A task at a point, or None. Arguments and errors as for `tasks_at`; only two partitions are read."""
    if TASKS not in source.partitions:
        return None
    view = _View(source, point, now_ms)
    view.fold([view.where(TASKS, task_id)])
    state = view.task(task_id)
    if state is None:
        return None
    if ROSTER in source.partitions:
        view.fold([view.where(ROSTER, state.team)])
    shown, steps = view.task_in_full(task_id, state)
    return TaskInFull(shown, steps, state)


def states_at(source: Source, task_ids: Iterable[str], *, processes: int = 1) -> dict[str, Task]:
    """The tasks with these ids that are remembered at the end of the log, by id."""
    if TASKS not in source.partitions:
        return {}
    view, wanted = _View(source, None, None), set(task_ids)
    view.fold(sorted({view.where(TASKS, task_id) for task_id in wanted}), processes)
    found = {task_id: view.task(task_id) for task_id in wanted}
    return {task_id: state for task_id, state in found.items() if state is not None}


class _View:
    """Partitions of both domains at one moment."""

    def __init__(self, source: Source, point: Point, now_ms: int | None) -> None:
        self._source = source
        self._point: Point = point
        self._own: Where | None = None
        self._moment: Point = point
        self._now_ms = now_ms
        self._folded: dict[Where, _Folded] = {}
        self._queues: dict[str, dict[str, Queue]] = {}
        if isinstance(point, Position):
            at_ms = time_of(source, point)
            self._own = point.domain, point.partition
            self._moment = datetime.fromtimestamp(at_ms / 1_000, UTC) + timedelta(microseconds=500)
            self._now_ms = at_ms
        elif isinstance(point, datetime):
            self._now_ms = int(point.timestamp() * 1_000)

    def where(self, domain: str, key: str) -> Where:
        return domain, partition_of(key.encode(), self._source.partitions[domain])

    def fold(self, where: Iterable[Where], processes: int = 1) -> None:
        """Reads partitions.

        Raises:
            NotFound: the moment is before the first command of all of them.
        """
        chosen = list(where)
        points = {one: self._point if one == self._own else self._moment for one in chosen}
        count = processes or processes_for(self._source, chosen)
        self._folded |= zip(chosen, each(self._source, chosen, partial(_fold, points=points), count), strict=True)
        if isinstance(self._point, datetime) and not any(folded.now_ms for folded in self._folded.values()):
            raise NotFound(
                f"{self._point.isoformat()} is before the first decision on a command in {self._source.name}."
            )

    def task(self, task_id: str) -> Task | None:
        folded = self._folded[self.where(TASKS, task_id)]
        row = folded.aggregates.get(task_id)
        return None if row is None else restore(row, Task)

    def tasks(self) -> list[TaskView]:
        return [
            self._task(task_id, restore(row, Task), folded)
            for (domain, _), folded in self._folded.items()
            if domain == TASKS
            for task_id, row in folded.aggregates.items()
        ]

    def task_in_full(self, task_id: str, state: Task) -> tuple[TaskView, tuple[StepView, ...]]:
        folded = self._folded[self.where(TASKS, task_id)]
        queues, times = self._queues_of(state.team), folded.times.get(task_id, {})
        steps = tasks.steps_of(task_id, state, times, queues, self._now_of(folded))
        return self._task(task_id, state, folded), steps

    def _task(self, task_id: str, state: Task, folded: _Folded) -> TaskView:
        queues, times = self._queues_of(state.team), folded.times.get(task_id, {})
        return tasks.view_of(task_id, state, times, queues, folded.position, self._now_of(folded))

    def teams(self) -> list[TeamView]:
        running, paces = self._running(), self._paces()
        healths: dict[str, dict[str, health.Health]] = {}
        for (team, member), known in health.healths_of(dict(self._presences())).items():
            healths.setdefault(team, {})[member] = known
        found = []
        for (domain, _), folded in self._folded.items():
            for name, row in folded.aggregates.items() if domain == ROSTER else ():
                team, now_ms = restore(row, _ROSTER), self._now_of(folded)
                if isinstance(team, Team):
                    queues, pace = self._queues_of(name), paces.get(name, {})
                    position, of_members = folded.position, healths.get(name, {})
                    found.append(roster.view_of(name, team, queues, running, pace, position, now_ms, of_members))
        return found

    def _presences(self) -> Iterator[tuple[str, Presence]]:
        for (domain, _), folded in self._folded.items():
            for name, row in folded.aggregates.items() if domain == ROSTER else ():
                known = restore(row, _ROSTER)
                if isinstance(known, Presence):
                    yield name, known

    def processes(self) -> list[ProcessView]:
        found = []
        for name, known in self._presences():
            folded = self._folded[self.where(ROSTER, name)]
            found.append(health.process_of(name, known, folded.position, self._now_of(folded)))
        return found

    def _paces(self) -> dict[str, dict[tuple[str, str], Pace]]:
        """By team: how many steps each member, and each capability, has completed, and in what time."""
        paces: dict[str, dict[tuple[str, str], Pace]] = {}
        for (domain, _), folded in self._folded.items():
            for task_id, row in folded.aggregates.items() if domain == TASKS else ():
                state: Task = restore(row, Task)
                of = paces.setdefault(state.team, {})
                for number, progress in state.steps:
                    step = state.graph[number]
                    began_ms, ended_ms = folded.times.get(task_id, {}).get(step.name, (None, None))
                    if progress.status == COMPLETED and began_ms is not None and ended_ms is not None:
                        for key in (("member", progress.member), ("capability", step.capability)):
                            of[key] = of.get(key, NO_PACE).and_one(ended_ms - began_ms)
        return paces

    def _running(self) -> dict[Key, Running]:
        """What runs in each slot."""
        running: dict[Key, Running] = {}
        for (domain, _), folded in self._folded.items():
            for task_id, row in folded.aggregates.items() if domain == TASKS else ():
                state: Task = restore(row, Task)
                for number, progress in state.steps if not state.has_ended else ():
                    if progress.slot is not None:
                        name = state.graph[number].name
                        since_ms, _ = folded.times.get(task_id, {}).get(name, (None, None))
                        slot = progress.slot
                        running[task_id, slot.step, slot.attempt] = Running(name, since_ms)
        return running

    def _queues_of(self, team: str) -> Mapping[str, Queue]:
        known = self._queues.get(team)
        if known is None:
            folded = self._folded.get(self.where(ROSTER, team)) if ROSTER in self._source.partitions else None
            row = folded.aggregates.get(team) if folded else None
            now_ms = self._now_of(folded) if folded else 0
            state = _NO_TEAM if row is None else restore(row, _ROSTER)
            of_team = state if isinstance(state, Team) else _NO_TEAM
            known = self._queues[team] = roster.queues_of(of_team, now_ms)
        return known

    def _now_of(self, folded: _Folded) -> int:
        return folded.now_ms if self._now_ms is None else self._now_ms


def _fold(source: Source, domain: str, number: int, *, points: Mapping[Where, Point]) -> _Folded:
    clock = Clock()
    seen: Any = clock.see if domain == TASKS else None
    partition = rebuild(source, domain, number, points[domain, number], seen)
    position = str(Position(domain, number, partition.position, commands=True))
    aggregates = {key: dump(state) for key, state in partition.aggregates.items()}
    return _Folded(position, partition.now_ms, aggregates, clock.times)
