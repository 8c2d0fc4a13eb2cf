"""Why a step is not done, and what to do about it, in words.

What its agents are, and who waits before it, is told by its team.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from accord.replay.roster import Queue
from accord.replay.timeline import iso
from accord.streams.roster.team import CLOSED, HALF_OPEN
from accord.streams.tasks.progress import BLOCKED, FAILED, READY, RETRYING, RUNNING, SKIPPED, TIMED_OUT, Progress
from accord.streams.tasks.task import Task

DECIDE: Final = "Is there a worker? accord doctor."
MORE: Final = "Start more agents, or give them more slots."

Cause = tuple[str, str]
"""The cause, and its remedy."""
NONE: Final[Cause] = "", ""


class Asked(NamedTuple):
    """The step that is asked about. `queue` is what its team has for its capability."""

    task_id: str
    task: Task
    number: int
    queue: Queue | None
    now_ms: int
    stuck: bool

    @property
    def progress(self) -> Progress:
        return self.task.steps[self.number]

    @property
    def capability(self) -> str:
        return self.task.graph[self.number].capability


def cause_of(asked: Asked, status: str) -> Cause:
    """Why a step is not done; empty: nothing is in its way."""
    told = _CAUSES.get(status)
    return NONE if told is None else told(asked)


def _of_running(asked: Asked) -> Cause:
    return ("its limit of time has passed, but nobody decides", DECIDE) if asked.stuck else NONE


def _of_retrying(asked: Asked) -> Cause:
    progress, due = asked.progress, _clock(asked.progress.due_ms)
    if progress.untaken:
        cause, remedy = _breaker(asked) or (f"the team {asked.task.team} had refused it", MORE)
        return f"{cause}; asked again at {due}", remedy
    if asked.stuck:
        return f"was to run again at {due}, but nobody decides", DECIDE
    why = f"{progress.error_type}: {progress.error}" if progress.error_type else "a run took too long"
    runs = asked.task.graph[asked.number].retries + 1
    trace = f"See: accord tasks trace {asked.task_id}."
    return f"failed {progress.failures} of at most {runs} times, runs again at {due} ({why})", trace


def _of_ready(asked: Asked) -> Cause:
    task, queue = asked.task, asked.queue
    key = (asked.task_id, task.graph[asked.number].name, asked.progress.attempt)
    if queue is not None and key in queue.given:
        see = f"See: accord agents list --team {task.team}."
        return f"was given to {queue.given[key]}, who has not begun it", see
    if queue is None or key not in queue.places:
        return f"the team {task.team} has not been asked yet", DECIDE
    if not queue.view.able:
        return f"nobody in the team {task.team} is able to do {asked.capability}", "Start an agent that is."
    before = f", {queue.places[key]} before it" if queue.places[key] else ""
    return f"no slot is free of the {queue.view.able} able to do {asked.capability}{before}", MORE


def _breaker(asked: Asked) -> Cause | None:
    """What the breaker of its capability has to do with it, if anything."""
    breaker = asked.queue.view.breaker if asked.queue else None
    if breaker is None or breaker.state == CLOSED:
        return None
    if breaker.state == HALF_OPEN:
        return f"the breaker of {asked.capability} tries another run ({breaker.trial})", "Wait for how that ends."
    until = f"is open until {_clock(breaker.until)}" if breaker.left_ms else "is open, but lets the next one through"
    why = "nobody was there" if breaker.reason == "absent" else f"{breaker.failures} failures in a row"
    return f"the breaker of {asked.capability} {until} ({why})", "Find out why it fails: accord dlq list."


def _of_blocked(asked: Asked) -> Cause:
    return f"{asked.progress.reason} was not completed", f"See: accord dlq list --task {asked.task_id}."


def _of_given_up(asked: Asked) -> Cause:
    progress = asked.progress
    why = f" ({progress.error_type}: {progress.error})" if progress.error_type else ""
    cause = (progress.reason or "dropped") + why
    if asked.task.graph[asked.number].optional:
        return cause, "It is optional: the steps after it go on without it."
    if not progress.reason:
        return cause, "It cannot be retried any more."
    return cause, f"When its cause is gone: accord dlq retry --task {asked.task_id}."


_CAUSES: Final[Mapping[str, Callable[[Asked], Cause]]] = {
    RUNNING: _of_running,
    RETRYING: _of_retrying,
    READY: _of_ready,
    BLOCKED: _of_blocked,
    FAILED: _of_given_up,
    TIMED_OUT: _of_given_up,
    SKIPPED: _of_given_up,
}


def _clock(time: int | str | None) -> str:
    """The time of day of a time, in ms since 1970 or as text."""
    return (iso(time) if isinstance(time, int) else time or "")[11:19] + "Z"
