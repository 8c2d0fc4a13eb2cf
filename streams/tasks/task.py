"""A task: its graph, how far its steps are, and what events make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from accord.schemas.messages import Event
from accord.schemas.messages.tasks import (
    AgentsFreed,
    AgentsWanted,
    EndedRun,
    Payload,
    ResultIgnored,
    RetryRefused,
    StartRefused,
    StepCompleted,
    StepDeadLettered,
    StepDropped,
    StepFailed,
    StepLost,
    StepRefused,
    StepRetried,
    StepReturned,
    StepsBlocked,
    StepStarted,
    StepTimedOut,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskForgotten,
    TaskKnown,
    TaskRead,
    TaskRefused,
    TaskSubmitted,
    TaskUnknown,
)
from accord.streams.tasks.bounds import FAILED_KEEP_MS, RUN_ERROR_CHARS_MAX, RUNS_KEPT
from accord.streams.tasks.graph import Graph
from accord.streams.tasks.progress import (
    BLOCKED,
    COMPLETED,
    FAILED,
    FAILING,
    GIVEN_UP,
    NO_COUNTS,
    NO_STEPS,
    PENDING,
    READY,
    RETRYING,
    RUNNING,
    SKIPPED,
    TIMED_OUT,
    Counts,
    Progress,
    Steps,
)

IN_PROGRESS: Final = "in_progress"
CANCELLED: Final = "cancelled"

_replace: Final = msgspec.structs.replace


class Task(msgspec.Struct, frozen=True):
    """A task. `left` counts the steps that have not ended, `missing` of each step those before it that keep it waiting;
    one that is not in it waits for all."""

    agent: str
    type: str
    team: str
    input: Payload
    graph: Graph
    created_ms: int
    keep_ms: int
    left: int
    steps: Steps = NO_STEPS
    missing: Counts = NO_COUNTS
    status: str = PENDING
    reason: str = ""
    ended_ms: int | None = None
    trace: str = ""

    @property
    def has_ended(self) -> bool:
        return self.ended_ms is not None

    def missing_of(self, number: int) -> int:
        return self.missing.get(number, len(self.graph.before[number]))

    def deadline_of(self, number: int) -> int | None:
        """By when a step must be done; None: no such limit."""
        limit_ms = self.graph[number].deadline_ms
        return None if limit_ms is None or self.steps[number].retried else self.created_ms + limit_ms

    @property
    def due_ms(self) -> int | None:
        """When something happens of itself: to a step, or, if it has ended, that it is not remembered any more."""
        if self.ended_ms is None:
            return self.steps.due_ms
        return self.ended_ms + (max(self.keep_ms, FAILED_KEEP_MS) if self.status == FAILED else self.keep_ms)

    def frees(self, number: int) -> list[int]:
        """The steps that wait for a step and need not, once it has ended without being completed."""
        optional = self.graph[number].optional
        return [one for one in self.graph.after[number] if optional or self.graph[one].need is not None]


def evolve(state: Task | None, event: Event) -> Task | None:
    """The task after an event."""
    change = _CHANGES.get(type(event))
    if change is None:
        raise TypeError(f"the tasks domain has no event {type(event).__name__}")
    return change(state, event)


def _submitted(_: Task | None, e: TaskSubmitted) -> Task:
    graph, steps = Graph(e.steps), NO_STEPS
    for number, step in enumerate(graph):
        if step.deadline_ms is not None:
            steps = steps.put(number, Progress(PENDING, due_ms=e.created_ms + step.deadline_ms))
    left = len(graph)
    return Task(e.agent, e.type, e.team, e.input, graph, e.created_ms, e.keep_ms, left, steps, trace=e.trace)


def _unchanged(task: Task | None, _: Event) -> Task | None:
    return task


def _at(task: Task, name: str) -> tuple[int, Progress]:
    number = task.graph.number(name)
    assert number is not None, name
    return number, task.steps[number]


def _wanted(task: Task, e: AgentsWanted) -> Task:
    steps = task.steps
    for wanted in e.wanted:
        number, progress = _at(task, wanted.step)
        since_ms = progress.since_ms if progress.untaken else e.since_ms
        expiry_ms, by_ms = since_ms + task.graph[number].wait_ms, task.deadline_of(number)
        due_ms = expiry_ms if by_ms is None else min(expiry_ms, by_ms)
        steps = steps.put(
            number, _replace(progress, status=READY, attempt=wanted.attempt, since_ms=since_ms, due_ms=due_ms)
        )
    return _replace(task, steps=steps, status=IN_PROGRESS)


def _started(task: Task, e: StepStarted) -> Task:
    number, progress = _at(task, e.step)
    running = _replace(
        progress, status=RUNNING, attempt=e.attempt, tries=e.tries + 1, agent=e.agent, member=e.member, token=e.token,
        slot=e.slot, capabilities=e.capabilities, outcomes=e.outcomes, due_ms=e.deadline_ms, untaken=False,
    )  # fmt: skip
    return _replace(task, steps=task.steps.put(number, running), status=IN_PROGRESS)


def _idle(progress: Progress, status: str, **changes: Any) -> Progress:
    """The progress of a step that does not run any more."""
    return _replace(
        progress, status=status, slot=None, capabilities=(), outcomes=(), due_ms=changes.pop("due_ms", None), **changes
    )


def _ran(progress: Progress, status: str, error: str = "") -> Progress:
    """With a run more that ended without a result. A step that nobody has begun to run has none."""
    if progress.status != RUNNING:
        return progress
    ended = EndedRun(progress.agent, status, error[:RUN_ERROR_CHARS_MAX])
    return _replace(progress, runs=(*progress.runs, ended)[-RUNS_KEPT:])


def _completed(task: Task, e: StepCompleted) -> Task:
    number, progress = _at(task, e.step)
    done = _idle(progress, COMPLETED, result=e.result, ended_ms=e.ended_ms, error_type="", error="")
    return _relieved(_replace(task, steps=task.steps.put(number, done), left=task.left - 1), task.graph.after[number])


def _relieved(task: Task, numbers: Iterable[int]) -> Task:
    """These steps wait for one less."""
    missing = task.missing
    for number in numbers:
        missing = missing.put(number, missing.get(number, len(task.graph.before[number])) - 1)
    return _replace(task, missing=missing)


def _later(task: Task, number: int, retry_ms: int | None) -> int | None:
    """When a step that is to be run again is due: its deadline may come first."""
    by_ms = task.deadline_of(number)
    return retry_ms if retry_ms is None or by_ms is None else min(retry_ms, by_ms)


def _failed(task: Task, e: StepFailed) -> Task:
    number, progress = _at(task, e.step)
    status = FAILING if e.retry_ms is None else RETRYING
    due_ms = _later(task, number, e.retry_ms)
    ran = _ran(progress, FAILED, e.error)
    failing = _idle(ran, status, failures=e.failures, error_type=e.error_type, error=e.error, due_ms=due_ms)
    return _replace(task, steps=task.steps.put(number, failing))


def _timed_out(task: Task, e: StepTimedOut) -> Task:
    number, progress = _at(task, e.step)
    status = FAILING if e.retry_ms is None else RETRYING
    ran = _ran(progress, TIMED_OUT)
    failing = _idle(ran, status, failures=e.failures, due_ms=_later(task, number, e.retry_ms))
    return _replace(task, steps=task.steps.put(number, failing))


def _lost(task: Task, e: StepLost) -> Task:
    number, progress = _at(task, e.step)
    idle = _idle(_ran(progress, "lost"), FAILING, losses=e.losses, untaken=progress.status == READY)
    return _replace(task, steps=task.steps.put(number, idle))


def _returned(task: Task, e: StepReturned) -> Task:
    number, progress = _at(task, e.step)
    return _replace(task, steps=task.steps.put(number, _idle(_ran(progress, "returned"), FAILING)))


def _refused(task: Task, e: StepRefused) -> Task:
    number, progress = _at(task, e.step)
    if e.retry_ms is not None:
        expiry_ms = progress.since_ms + task.graph[number].wait_ms
        due_ms = _later(task, number, min(e.retry_ms, expiry_ms))
        waiting = _idle(progress, RETRYING, due_ms=due_ms, untaken=True)
        return _replace(task, steps=task.steps.put(number, waiting))
    return _gone(task, number, _idle(progress, SKIPPED, reason=e.reason, error=f"skipped: {e.reason}"))


def _dead(task: Task, e: StepDeadLettered) -> Task:
    number, progress = _at(task, e.step)
    status = TIMED_OUT if e.reason in ("DeadlineMissed", "Expired") else FAILED
    given_up = _idle(progress, status, reason=e.reason, error_type=e.error_type, error=e.error)
    return _gone(task, number, given_up)


def _gone(task: Task, number: int, progress: Progress) -> Task:
    """A step has ended and was not completed."""
    task = _replace(task, steps=task.steps.put(number, progress), left=task.left - 1)
    return _relieved(task, task.frees(number))


def _blocked(task: Task, e: StepsBlocked) -> Task:
    for name in e.steps:
        number, progress = _at(task, name)
        task = _gone(task, number, _idle(progress, BLOCKED, reason=e.because))
    return task


def _retried(task: Task, e: StepRetried) -> Task:
    """The step begins anew, and what was blocked by it alone waits for it again."""
    number, progress = _at(task, e.step)
    task = _replace(task, status=IN_PROGRESS, reason="", ended_ms=None)
    task = _begun_anew(task, number, Progress(PENDING, attempt=progress.attempt, tries=progress.tries, retried=True))
    todo = list(task.graph.after[number])
    while todo:
        one = todo.pop()
        if task.steps[one].status == BLOCKED and not is_blocked(task, one):
            task = _begun_anew(task, one, Progress(PENDING, retried=True))
            todo += task.graph.after[one]
    return task


def _begun_anew(task: Task, number: int, progress: Progress) -> Task:
    """What need not wait for a step any more, does again."""
    missing = task.missing
    for after in task.frees(number):
        missing = missing.put(after, task.missing_of(after) + 1)
    return _replace(task, steps=task.steps.put(number, progress), missing=missing, left=task.left + 1)


def is_blocked(task: Task, number: int) -> bool:
    """Whether a step still needs one that was given up."""
    if task.graph[number].need is not None:
        return False
    return any(
        task.steps[one].status in GIVEN_UP | {BLOCKED} and not task.graph[one].optional
        for one in task.graph.before[number]
    )


def _dropped(task: Task, e: StepDropped) -> Task:
    number, progress = _at(task, e.step)
    return _replace(task, steps=task.steps.put(number, _replace(progress, reason="")))


def _ended(status: str, reason: Callable[[Any], str]) -> Callable[[Task, Any], Task]:
    def ended(task: Task, e: Any) -> Task:
        return _replace(task, status=status, reason=reason(e), ended_ms=e.ended_ms, steps=task.steps.never_due())

    return ended


def _forgotten(_: Task, __: TaskForgotten) -> None:
    return None


_CHANGES: Final[Mapping[type[Event], Callable[[Any, Any], Task | None]]] = {
    TaskSubmitted: _submitted,
    TaskKnown: _unchanged,
    TaskRefused: _unchanged,
    TaskUnknown: _unchanged,
    AgentsWanted: _wanted,
    StepStarted: _started,
    StartRefused: _unchanged,
    AgentsFreed: _unchanged,
    StepCompleted: _completed,
    StepFailed: _failed,
    StepReturned: _returned,
    StepLost: _lost,
    StepTimedOut: _timed_out,
    StepRefused: _refused,
    StepDeadLettered: _dead,
    StepsBlocked: _blocked,
    ResultIgnored: _unchanged,
    StepRetried: _retried,
    StepDropped: _dropped,
    RetryRefused: _unchanged,
    TaskCompleted: _ended(COMPLETED, lambda _: ""),
    TaskFailed: _ended(FAILED, lambda e: f"{e.step}: {e.reason}"),
    TaskCancelled: _ended(CANCELLED, lambda e: e.reason),
    TaskForgotten: _forgotten,
    TaskRead: _unchanged,
}
