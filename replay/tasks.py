"""Tasks: the tasks domain's state as people and programs look at it.

Keys are added, never renamed. Durations are counted to one moment: see `accord.replay.work`. When a run began and ended
is no part of the state, for no rule asks for it; it is read off the decisions: `Times`.

A step that waits, or runs, for more than `STUCK_TIMEOUTS` times as long as a run of it may take is stuck, and so is its
task; the pause after a failure does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from accord.replay.causes import Asked, cause_of
from accord.replay.roster import Queue
from accord.replay.timeline import iso
from accord.schemas.messages import tasks as events
from accord.schemas.messages.tasks import ReadTask, StepRead, TaskRead
from accord.streams.decider import At
from accord.streams.partition import Decided
from accord.streams.tasks.decider import DOMAIN
from accord.streams.tasks.progress import (
    COMPLETED,
    ENDED,
    FAILED,
    GIVEN_UP,
    PENDING,
    READY,
    RETRYING,
    RUNNING,
    Progress,
)
from accord.streams.tasks.task import CANCELLED, IN_PROGRESS, Task

STATUSES: Final = (PENDING, IN_PROGRESS, COMPLETED, FAILED, CANCELLED)
"""Of a task."""
STUCK_TIMEOUTS: Final = 2

Times = dict[str, tuple[int | None, int | None]]
"""Of a task, by step: when its last run began (None: it had none) and ended (None: it has not), in ms since 1970."""

_ENDS_RUN: Final = (
    events.StepCompleted, events.StepFailed, events.StepTimedOut, events.StepLost, events.StepReturned,
    events.StepDeadLettered, events.StepRefused,
)  # fmt: skip


class Clock:
    """When the steps of tasks were begun and ended; told the decisions of a partition, in order."""

    def __init__(self) -> None:
        self.times: dict[str, Times] = {}

    def see(self, decided: Decided) -> None:
        """Takes note of a decision."""
        key, now_ms = decided.decision.key.decode(errors="replace"), decided.decision.now_ms
        for event in decided.events:
            match event:
                case events.TaskSubmitted():
                    self.times[key] = {}
                case events.TaskForgotten():
                    self.times.pop(key, None)
                case events.StepStarted(step=step):
                    self.times[key][step] = now_ms, None
                case events.StepsBlocked(steps=steps):
                    self.times[key] |= dict.fromkeys(steps, (None, now_ms))
                case _ if isinstance(event, _ENDS_RUN):
                    began_ms, ended_ms = self.times[key].get(event.step, (None, None))
                    self.times[key][event.step] = began_ms, ended_ms or now_ms


class StepView(msgspec.Struct, frozen=True):
    """A step. `tries` counts its runs, `failures` those that failed since it was begun or retried by hand.

    `agent` is who runs it, or ran it last. `since` is since when it is as it is, if that is known: runs, waits for an
    agent, waits for its next run, has ended; `for_ms` how long that is. `took_ms` is of its last run, once that is
    over. `cause` says why it is not done, `remedy` what to do about it.
    """

    name: str
    status: str
    after: tuple[str, ...]
    capability: str
    agent: str
    member: str
    tries: int
    failures: int
    since: str | None
    for_ms: int | None
    took_ms: int | None
    stuck: bool
    cause: str
    remedy: str
    error: str


class TaskView(msgspec.Struct, frozen=True):
    """A task. `done` of its `total` steps are completed; `running` and `waiting` (for an agent, or their next run) are
    some of the others, `given_up` those that are dead letters. `waiting_since` is of the one that has waited longest.
    `position` is the last command that the partition had decided.
    """

    id: str
    type: str
    status: str
    team: str
    agent: str
    created_at: str
    completed_at: str | None
    done: int
    total: int
    running: tuple[StepView, ...]
    waiting: tuple[StepView, ...]
    given_up: tuple[str, ...]
    waiting_since: str | None
    stuck: bool
    error: str
    position: str


def view_of(task_id: str, task: Task, times: Times, team: Mapping[str, Queue], position: str, now_ms: int) -> TaskView:
    """A task as it stands.

    Args:
        team: its team's queues, by capability.
        now_ms: what durations are counted to, in ms since 1970.
    """
    by_status: dict[str, list[int]] = {}
    for number, progress in task.steps:
        by_status.setdefault(progress.status, []).append(number)

    def steps(*statuses: str) -> tuple[StepView, ...]:
        numbers = sorted(number for status in statuses for number in by_status.get(status, ()))
        return tuple(step_of(task_id, task, number, times, team, now_ms) for number in numbers)

    running, waiting = ((), ()) if task.has_ended else (steps(RUNNING), steps(READY, RETRYING))
    given_up = [number for status in sorted(GIVEN_UP) for number in by_status.get(status, ())]
    return TaskView(
        task_id,
        task.type,
        task.status,
        task.team,
        task.agent,
        iso(task.created_ms),
        None if task.ended_ms is None else iso(task.ended_ms),
        len(by_status.get(COMPLETED, ())),
        len(task.graph),
        running,
        waiting,
        tuple(task.graph[number].name for number in sorted(given_up)),
        min((step.since for step in waiting if step.since), default=None),
        any(step.stuck for step in (*running, *waiting)),
        task.reason,
        position,
    )


def step_of(task_id: str, task: Task, number: int, times: Times, team: Mapping[str, Queue], now_ms: int) -> StepView:
    """A step of a task as it stands; the arguments are those of `view_of`."""
    step, progress = task.graph[number], task.steps[number]
    status = _status(task, progress)
    began_ms, over_ms = times.get(step.name, (None, None))
    if status == RUNNING:
        since_ms = began_ms
    elif status == READY or (status == RETRYING and progress.untaken):
        since_ms = progress.since_ms
    else:
        since_ms = over_ms
    waits_from_ms = progress.due_ms if status == RETRYING and not progress.untaken else since_ms
    is_open = status in (RUNNING, READY, RETRYING) and waits_from_ms is not None
    stuck = is_open and now_ms - (waits_from_ms or 0) > STUCK_TIMEOUTS * step.timeout_ms
    cause, remedy = cause_of(Asked(task_id, task, number, team.get(step.capability), now_ms, stuck), status)
    return StepView(
        step.name,
        status,
        step.after,
        step.capability,
        progress.agent,
        progress.member,
        progress.tries,
        progress.failures,
        None if since_ms is None else iso(since_ms),
        None if since_ms is None else now_ms - since_ms,
        None if began_ms is None or over_ms is None else over_ms - began_ms,
        stuck,
        cause,
        remedy,
        progress.error,
    )


def steps_of(task_id: str, task: Task, times: Times, team: Mapping[str, Queue], now_ms: int) -> tuple[StepView, ...]:
    """All steps of a task, in the order of its graph."""
    return tuple(step_of(task_id, task, number, times, team, now_ms) for number in range(len(task.graph)))


def _status(task: Task, progress: Progress) -> str:
    return CANCELLED if task.status == CANCELLED and progress.status not in ENDED else progress.status


# -- the record


def read(task_id: str, task: Task) -> tuple[TaskRead, Sequence[StepRead]]:
    """What the log would answer to who asks for a task's record."""
    decider = DOMAIN.versions[DOMAIN.newest]
    told: list[StepRead] = []
    while True:
        (found,) = decider.decide(task, ReadTask("", (), len(told)), _BEFORE_ALL)
        assert isinstance(found, TaskRead)
        told += found.steps
        if len(told) >= found.total:
            return found, told


_BEFORE_ALL: Final = At(0, 0, "")
"""A time at which nothing is due yet."""
