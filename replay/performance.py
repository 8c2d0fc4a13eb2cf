"""How long agents take and how often they fail, read off the log.

A run of a step lasts from the decision that started it to the one that ended it, by the log's clock: what the agent's
machine says of the time does not count. Runs that were given back, or lost with their agent, have no duration. What
fails is a step, or the handler of an event.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Final, Literal

import msgspec
from accord.replay.parallel import each, processes_for
from accord.replay.source import Source
from accord.replay.spread import spread
from accord.replay.state import accepted
from accord.schemas.codec import decode_record, events_codec
from accord.schemas.messages import Event
from accord.schemas.messages.signals import HandlerFailed
from accord.schemas.messages.tasks import (
    StepCompleted,
    StepFailed,
    StepLost,
    StepReturned,
    StepStarted,
    StepTimedOut,
    TaskCancelled,
    TaskFailed,
)
from accord.schemas.topics import events_topic
from accord.streams.decider import holds, names_of

By = Literal["agent", "capability"]
DOMAINS: Final = ("tasks", "signals")
ERRORS_MAX: Final = 1_000
"""Texts of errors that are told apart, of an agent; those beyond are counted as `OTHERS`."""
OTHERS: Final = "other errors"
ERROR_CHARS_MAX: Final = 300

_READ: Final = names_of(
    {StepStarted, StepCompleted, StepFailed, StepTimedOut, StepReturned, StepLost, TaskFailed, TaskCancelled,
     HandlerFailed}
)  # fmt: skip


class Performance(msgspec.Struct, frozen=True):
    """The runs of an agent, or of all that are able to do one thing, that came to an end of their own: `count` of them,
    of which `completed`; durations in ms, `p95_ms` by nearest rank."""

    name: str
    count: int
    completed: int
    avg_ms: float
    p95_ms: int
    max_ms: int


class Failures(msgspec.Struct, frozen=True):
    """How often an agent, or what it is able to do, failed; its distinct errors, the most frequent first."""

    name: str
    count: int
    errors: tuple[tuple[str, int], ...]


class Runs(msgspec.Struct):
    """What came of the runs under one name."""

    durations_ms: array[int] = msgspec.field(default_factory=lambda: array("q"))
    completed: int = 0
    errors: Counter[str] = msgspec.field(default_factory=Counter)

    def ended(self, duration_ms: int, error: str = "") -> None:
        self.durations_ms.append(duration_ms)
        if error:
            self.failed(error)
        else:
            self.completed += 1

    def failed(self, error: str, count: int = 1) -> None:
        text = error[:ERROR_CHARS_MAX]
        self.errors[text if text in self.errors or len(self.errors) < ERRORS_MAX else OTHERS] += count

    def add(self, other: Runs) -> None:
        self.durations_ms.extend(other.durations_ms)
        self.completed += other.completed
        for error, count in other.errors.items():
            self.failed(error, count)


def performance(source: Source, *, by: By = "agent", processes: int = 1) -> tuple[Performance, ...]:
    """How long runs take, the slowest on average first.

    Args:
        by: whose: each agent's, or of each capability all agents'.
        processes: how many to work in; 0 is what pays.

    Raises:
        LogGap, ChainBroken: the log lacks a decision, or one was changed.
    """
    return outcomes(source, by=by, processes=processes)[0]


def failures(source: Source, *, by: By = "agent", processes: int = 1) -> tuple[Failures, ...]:
    """What failed, the worst first. Arguments and errors as for `performance`; handlers are the capability
    `handler:NAME`."""
    return outcomes(source, by=by, processes=processes)[1]


def outcomes(
    source: Source, *, by: By = "agent", processes: int = 1
) -> tuple[tuple[Performance, ...], tuple[Failures, ...]]:
    """Both, from one reading of the log; arguments and errors as for either."""
    found = _runs(source, by, processes)
    ended = [_performance(name, runs) for name, runs in found.items() if runs.durations_ms]
    failed = [_failures(name, runs) for name, runs in found.items() if runs.errors]
    return (
        tuple(sorted(ended, key=lambda one: (-one.avg_ms, one.name))),
        tuple(sorted(failed, key=lambda one: (-one.count, one.name))),
    )


def _performance(name: str, runs: Runs) -> Performance:
    took = spread(runs.durations_ms)
    return Performance(name, took.count, runs.completed, round(took.total_ms / took.count, 1), took.p95_ms, took.max_ms)


def _failures(name: str, runs: Runs) -> Failures:
    errors = sorted(runs.errors.items(), key=lambda one: (-one[1], one[0]))
    return Failures(name, runs.errors.total(), tuple(errors))


def _runs(source: Source, by: By, processes: int) -> dict[str, Runs]:
    here = tuple(domain for domain in DOMAINS if domain in source.partitions)
    where = list(source.all_partitions(here)) if here else []
    found: dict[str, Runs] = {}
    for part in each(source, where, partial(_of_partition, by=by), processes or processes_for(source, where)):
        for name, runs in part.items():
            found.setdefault(name, Runs()).add(runs)
    return found


def _of_partition(source: Source, domain: str, partition: int, *, by: By) -> dict[str, Runs]:
    codec, topic = events_codec(domain), events_topic(domain)
    reading = _Reading(by)
    for decision in accepted(source, domain, partition):
        if holds(decision.type, _READ):
            key = decision.key.decode(errors="replace")
            reading.take(key, decision.now_ms, decode_record(codec, topic, partition, decision))
    return reading.found


class _Reading:
    """The runs of a partition as they begin and end. `running`: by task and step, who, and since when."""

    def __init__(self, by: By) -> None:
        self._by = by
        self._running: dict[str, dict[str, tuple[str, int]]] = {}
        self.found: dict[str, Runs] = {}

    def take(self, task: str, now_ms: int, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case StepStarted(agent=agent, step=step, capability=capability):
                    name = agent if self._by == "agent" else capability
                    self._running.setdefault(task, {})[step] = name, now_ms
                case StepCompleted(step=step):
                    self._end(task, step, now_ms, "")
                case StepFailed(step=step, error_type=kind, error=error):
                    self._end(task, step, now_ms, f"{kind}: {error}")
                case StepTimedOut(step=step, limit=limit):
                    self._end(task, step, now_ms, f"TimeoutError: {_LIMITS.get(limit, limit)}")
                case StepReturned(step=step) | StepLost(step=step):
                    self._over(task, step)
                case TaskFailed() | TaskCancelled():
                    self._running.pop(task, None)
                case HandlerFailed(agent=agent, handler=handler, error_type=kind, error=error):
                    name = agent if self._by == "agent" else f"handler:{handler}"
                    self._of(name).failed(f"{kind}: {error}")

    def _end(self, task: str, step: str, now_ms: int, error: str) -> None:
        run = self._over(task, step)
        if run is not None:
            name, since_ms = run
            self._of(name).ended(now_ms - since_ms, error)

    def _over(self, task: str, step: str) -> tuple[str, int] | None:
        of_task = self._running.get(task, {})
        run = of_task.pop(step, None)
        if not of_task:
            self._running.pop(task, None)
        return run

    def _of(self, name: str) -> Runs:
        return self.found.setdefault(name, Runs())


_LIMITS: Final = {"timeout": "the run took too long", "deadline": "not done by its deadline"}
