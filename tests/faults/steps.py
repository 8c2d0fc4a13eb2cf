"""Judges what became of tasks from the log: accord's own fold of it has no say.

Rules:
- `once`: a step is completed at most once, by the run that was started last, and never started after that.
- `ended`: a task that was submitted some time before the log's end has ended, whatever happened to who submitted it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from accord.schemas.codec import events_codec
from accord.schemas.messages.tasks import (
    StepCompleted,
    StepStarted,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskSubmitted,
)

from tests.faults.checker import Decided, Violation


class Done(NamedTuple):
    """How many tasks were submitted, how many of them were completed, how many failed; how many steps were started."""

    submitted: int
    completed: int
    failed: int
    started: int


def judged(log: Mapping[str, Decided], grace_ms: int) -> tuple[Done, list[Violation]]:
    """What became of the tasks in a log, by partition as `tasks/0`; `grace_ms` is how long before its end a task may
    have been submitted and not have ended."""
    submitted: dict[bytes, int] = {}
    ended: dict[bytes, bool] = {}
    runs: dict[tuple[bytes, str], int] = {}
    completed: set[tuple[bytes, str]] = set()
    violations: list[Violation] = []
    started, last_ms = 0, 0
    for key, event, now_ms in _events(log):
        last_ms = max(last_ms, now_ms)
        match event:
            case TaskSubmitted():
                submitted[key] = now_ms
            case TaskCompleted() | TaskFailed() | TaskCancelled():
                ended[key] = isinstance(event, TaskCompleted)
            case StepStarted():
                started += 1
                runs[key, event.step] = event.token
                if (key, event.step) in completed:
                    violations.append(Violation("once", f"{key!r}: {event.step} was started after it was completed"))
            case StepCompleted():
                if (key, event.step) in completed:
                    violations.append(Violation("once", f"{key!r}: {event.step} was completed twice"))
                if runs.get((key, event.step)) != event.token:
                    violations.append(Violation("once", f"{key!r}: {event.step} was completed by an earlier run"))
                completed.add((key, event.step))
    for key, at_ms in submitted.items():
        if key not in ended and at_ms < last_ms - grace_ms:
            violations.append(Violation("ended", f"{key!r} was submitted {last_ms - at_ms} ms ago and has no end"))
    done = sum(ended.values())
    return Done(len(submitted), done, len(ended) - done, started), violations


def _events(log: Mapping[str, Decided]) -> Iterator[tuple[bytes, object, int]]:
    decode = events_codec("tasks").decode
    for where, partition in log.items():
        if where.startswith("tasks/"):
            for record in partition.events.accepted.values():
                now_ms = int(record.headers["accord-chain"].split(b" ")[1])
                for event in decode(record.value):
                    yield record.key, event, now_ms
