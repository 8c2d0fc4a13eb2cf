"""Why a task took as long as it took: its critical path.

The path goes back from the step that ended last to the step that it had waited for, the last one before it to end, and
so on to the submission. Making a step of the path faster makes the task faster; making another faster does not. Each
step of the path is told in three parts, by the log's clock: waiting for an agent, running, and pausing between runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec
from accord.replay.parallel import each, processes_for
from accord.replay.source import Source
from accord.replay.spread import Spread, durations, spread
from accord.replay.state import accepted
from accord.schemas.codec import decode_record, events_codec
from accord.schemas.messages import Event
from accord.schemas.messages import tasks as t
from accord.schemas.topics import events_topic
from accord.streams.decider import holds, names_of

DOMAIN: Final = "tasks"
SLOWEST: Final = 10
"""Tasks whose path is told."""
_READ: Final = names_of(
    {t.TaskSubmitted, t.StepStarted, t.StepCompleted, t.StepFailed, t.StepTimedOut, t.StepReturned, t.StepLost,
     t.TaskCompleted, t.TaskFailed, t.TaskCancelled}
)  # fmt: skip


class Leg(msgspec.Struct, frozen=True):
    """A step of a critical path: ready at `ready_ms`, ended at `end_ms` (ms since 1970), run by `agent` last. Of the
    time between, `waited_ms` passed before and `paused_ms` between its runs; `ran_ms` are the `runs` themselves."""

    step: str
    capability: str
    agent: str
    ready_ms: int
    end_ms: int
    waited_ms: int
    ran_ms: int
    paused_ms: int
    runs: int


class Path(msgspec.Struct, frozen=True):
    """A task that has ended, and its critical path from the submission on."""

    task: str
    type: str
    status: str
    start_ms: int
    end_ms: int
    legs: tuple[Leg, ...]

    @property
    def took_ms(self) -> int:
        return self.end_ms - self.start_ms


class Share(msgspec.Struct, frozen=True):
    """What a step costs the tasks of a type: how many of their paths it is on, and the time there."""

    type: str
    step: str
    paths: int
    waited: Spread
    ran: Spread
    paused: Spread


class Tasks(msgspec.Struct, frozen=True):
    """The tasks that have ended: how many, how long they took, the slowest with their paths, and what each step costs,
    the dearest first."""

    ended: int
    took: Spread
    slowest: tuple[Path, ...]
    shares: tuple[Share, ...]


def tasks(source: Source, *, processes: int = 1) -> Tasks:
    """Reads the tasks of a log.

    Args:
        processes: how many to work in; 0 is what pays.

    Raises:
        LogGap, ChainBroken: the log lacks a decision, or one was changed.
    """
    where = list(source.all_partitions((DOMAIN,))) if DOMAIN in source.partitions else []
    ended, took = 0, durations()
    slowest: list[Path] = []
    costs: dict[tuple[str, str], _Cost] = {}
    for part in each(source, where, _of_partition, processes or processes_for(source, where)):
        ended += len(part.took)
        took.extend(part.took)
        slowest += part.slowest
        for key, cost in part.costs.items():
            costs.setdefault(key, _Cost()).add(cost)
    slowest.sort(key=_slowness)
    shares = [cost.told(*key) for key, cost in costs.items()]
    shares.sort(key=lambda share: (-(share.waited.total_ms + share.ran.total_ms + share.paused.total_ms), share.step))
    return Tasks(ended, spread(took), tuple(slowest[:SLOWEST]), tuple(shares))


class _Cost(msgspec.Struct):
    """A step's time on the paths of tasks."""

    waited: list[int] = msgspec.field(default_factory=list)
    ran: list[int] = msgspec.field(default_factory=list)
    paused: list[int] = msgspec.field(default_factory=list)

    def add(self, other: _Cost) -> None:
        self.waited += other.waited
        self.ran += other.ran
        self.paused += other.paused

    def told(self, type: str, step: str) -> Share:
        return Share(type, step, len(self.ran), spread(self.waited), spread(self.ran), spread(self.paused))


class _Part(msgspec.Struct):
    """What a partition brings."""

    took: list[int] = msgspec.field(default_factory=list)
    slowest: list[Path] = msgspec.field(default_factory=list)
    costs: dict[tuple[str, str], _Cost] = msgspec.field(default_factory=dict)

    def ended(self, path: Path) -> None:
        self.took.append(path.took_ms)
        self.slowest.append(path)
        if len(self.slowest) > 4 * SLOWEST:
            self.slowest.sort(key=_slowness)
            del self.slowest[SLOWEST:]
        for leg in path.legs:
            cost = self.costs.setdefault((path.type, leg.step), _Cost())
            cost.waited.append(leg.waited_ms)
            cost.ran.append(leg.ran_ms)
            cost.paused.append(leg.paused_ms)


def _slowness(path: Path) -> tuple[int, str]:
    return -path.took_ms, path.task


def _of_partition(source: Source, domain: str, partition: int) -> _Part:
    codec, topic = events_codec(domain), events_topic(domain)
    running: dict[str, Course] = {}
    part = _Part()
    for decision in accepted(source, domain, partition):
        if not holds(decision.type, _READ):
            continue
        key = decision.key.decode(errors="replace")
        for event in decode_record(codec, topic, partition, decision):
            if isinstance(event, t.TaskSubmitted):
                running[key] = Course(event, decision.now_ms)
            elif key in running:
                status = running[key].take(event, decision.now_ms)
                if status is not None:
                    part.ended(running.pop(key).path(key, status, decision.now_ms))
    return part


class Run(NamedTuple):
    """A run of a step."""

    agent: str
    start_ms: int
    end_ms: int


class Course:
    """A task as its events come."""

    def __init__(self, submitted: t.TaskSubmitted, now_ms: int) -> None:
        self._submitted = submitted
        self._start_ms = now_ms
        self._running: dict[str, tuple[str, int]] = {}
        self._runs: dict[str, list[Run]] = {}
        self._ended: dict[str, int] = {}

    def take(self, event: Event, now_ms: int) -> str | None:
        """Takes an event in; returns how the task ended, if it did."""
        match event:
            case t.StepStarted(step=step, agent=agent):
                self._running[step] = agent, now_ms
            case t.StepCompleted(step=step) | t.StepFailed(step=step) | t.StepTimedOut(step=step):
                self._run_over(step, now_ms)
                self._ended[step] = now_ms
            case t.StepReturned(step=step) | t.StepLost(step=step):
                self._run_over(step, now_ms)
            case t.TaskCompleted():
                return "completed"
            case t.TaskFailed():
                return "failed"
            case t.TaskCancelled():
                return "cancelled"
        return None

    def _run_over(self, step: str, now_ms: int) -> None:
        running = self._running.pop(step, None)
        if running is not None:
            self._runs.setdefault(step, []).append(Run(*running, now_ms))

    def path(self, task: str, status: str, now_ms: int) -> Path:
        """The critical path, now that the task has ended."""
        for step in list(self._running):
            self._run_over(step, now_ms)
        ends = self._ended | {step: runs[-1].end_ms for step, runs in self._runs.items()}
        steps = {step.name: step for step in self._submitted.steps}
        legs: list[Leg] = []
        last = _last(steps, ends)
        while last is not None:
            before = _before(steps[last], ends)
            ready_ms = ends[before] if before is not None else self._start_ms
            legs.append(self._leg(steps[last], ready_ms, ends[last]))
            last = before
        submitted = self._submitted
        return Path(task, submitted.type, status, self._start_ms, now_ms, tuple(reversed(legs)))

    def _leg(self, step: t.Step, ready_ms: int, end_ms: int) -> Leg:
        runs = self._runs.get(step.name, [])
        ran_ms = sum(run.end_ms - max(run.start_ms, ready_ms) for run in runs)
        waited_ms = (runs[0].start_ms if runs else end_ms) - ready_ms
        waited_ms = max(0, waited_ms)
        agent = runs[-1].agent if runs else ""
        return Leg(
            step.name, step.capability, agent, ready_ms, end_ms, waited_ms, ran_ms,
            end_ms - ready_ms - waited_ms - ran_ms, len(runs),
        )  # fmt: skip


def _last(steps: Iterable[str], ends: Mapping[str, int]) -> str | None:
    """The step that ended last; of several the one that was defined last."""
    found: str | None = None
    for step in steps:
        if step in ends and (found is None or ends[step] >= ends[found]):
            found = step
    return found


def _before(step: t.Step, ends: Mapping[str, int]) -> str | None:
    """The step that this one had waited for: of those before it, the last one to end, or as many as it needs."""
    before = sorted((name for name in step.after if name in ends), key=lambda name: ends[name])
    if not before:
        return None
    return before[min(len(before), step.need or len(before)) - 1]
