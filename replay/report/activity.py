"""What was decided when, by whom, and who handed something to whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec
from accord.replay.parallel import each, processes_for
from accord.replay.source import Source
from accord.replay.state import accepted
from accord.schemas.codec import decode_record, events_codec
from accord.schemas.messages import Event
from accord.schemas.messages import locks as k
from accord.schemas.messages import tasks as t
from accord.schemas.messages.log import CommandRejected
from accord.schemas.topics import events_topic
from accord.streams.chain import GENESIS_CAUSE
from accord.streams.decider import holds, names_of

AGENTS_MAX: Final = 10_000
"""Agents, and pairs of them, that are told apart, in a partition; what the others do is counted as `OTHERS`."""
OTHERS: Final = "others"
BUCKETS: Final = 60
SECOND_MS: Final = 1_000
TIMES_MAX: Final = 100_000
"""Moments that are told apart, of a partition; when there are more, its events are counted by second."""
_READ: Final = {
    "locks": names_of({k.LockGranted, k.LockReleased, k.LeaseExpired, k.LeaseRevoked}),
    "tasks": names_of(
        {t.TaskSubmitted, t.StepStarted, t.StepCompleted, t.TaskCompleted, t.TaskFailed, t.TaskCancelled}
    ),
}


class Handover(msgspec.Struct, frozen=True):
    """How often what one agent had went to another: `result`, of a step before to who runs the next; `lock`, of who
    gave it back, or lost it, to who got it with that."""

    giver: str
    taker: str
    kind: str
    count: int


class Activity(msgspec.Struct, frozen=True):
    """`decisions` in all, from `start_ms` to `end_ms` (ms since 1970, 0 if there are none); by domain how many events
    fell into each of the `BUCKETS` equal parts of that time; by agent the events that name it; `rejected` commands; the
    handovers, the most frequent first."""

    decisions: int
    start_ms: int
    end_ms: int
    buckets: dict[str, tuple[int, ...]]
    agents: tuple[tuple[str, int], ...]
    rejected: int
    handovers: tuple[Handover, ...]


def activity(source: Source, *, processes: int = 1) -> Activity:
    """Reads all domains of a log.

    Args:
        processes: how many to work in; 0 is what pays.

    Raises:
        LogGap, ChainBroken: the log lacks a decision, or one was changed.
    """
    where = list(source.all_partitions())
    parts = each(source, where, _of_partition, processes or processes_for(source, where))
    seconds: dict[str, Counter[int]] = {}
    agents: Counter[str] = Counter()
    pairs: Counter[tuple[str, str, str]] = Counter()
    for (domain, _), part in zip(where, parts, strict=True):
        seconds.setdefault(domain, Counter()).update(part.times)
        agents.update(part.agents)
        pairs.update(part.pairs)
    times = [ms for part in parts if part.decisions for ms in (part.start_ms, part.end_ms)]
    start_ms, end_ms = min(times, default=0), max(times, default=0)
    return Activity(
        sum(part.decisions for part in parts),
        start_ms,
        end_ms,
        {domain: _buckets(times, start_ms, end_ms) for domain, times in seconds.items() if times},
        tuple(sorted(agents.items(), key=lambda one: (-one[1], one[0]))),
        sum(part.rejected for part in parts),
        tuple(Handover(*pair, count) for pair, count in sorted(pairs.items(), key=lambda one: (-one[1], one[0]))),
    )


def _buckets(times: Counter[int], start_ms: int, end_ms: int) -> tuple[int, ...]:
    found = [0] * BUCKETS
    for ms, count in times.items():
        found[min(BUCKETS - 1, (ms - start_ms) * BUCKETS // max(1, end_ms - start_ms))] += count
    return tuple(found)


class _Part(msgspec.Struct):
    """What a partition brings. `times` counts events by ms; once they are many, by second."""

    decisions: int = 0
    start_ms: int = 0
    end_ms: int = 0
    rejected: int = 0
    times: Counter[int] = msgspec.field(default_factory=Counter)
    agents: Counter[str] = msgspec.field(default_factory=Counter)
    pairs: Counter[tuple[str, str, str]] = msgspec.field(default_factory=Counter)

    def pair(self, giver: str, taker: str, kind: str) -> None:
        pair = (giver, taker, kind)
        self.pairs[pair if pair in self.pairs or len(self.pairs) < AGENTS_MAX else (OTHERS, OTHERS, kind)] += 1


def _of_partition(source: Source, domain: str, partition: int) -> _Part:
    codec, topic, read = events_codec(domain), events_topic(domain), _READ.get(domain)
    part, results = _Part(), _Results()
    coarse = False
    for decision in accepted(source, domain, partition):
        if decision.cause == GENESIS_CAUSE:
            continue
        now_ms = decision.now_ms
        part.start_ms = part.start_ms or now_ms
        part.end_ms = now_ms
        part.decisions += 1
        events = decode_record(codec, topic, partition, decision)
        part.times[now_ms // SECOND_MS * SECOND_MS if coarse else now_ms] += len(events)
        if not coarse and len(part.times) > TIMES_MAX:
            coarse, fine, part.times = True, part.times, Counter()
            for ms, count in fine.items():
                part.times[ms // SECOND_MS * SECOND_MS] += count
        for event in events:
            part.rejected += isinstance(event, CommandRejected)
            agent = getattr(event, "agent", None)
            if agent:
                part.agents[agent if agent in part.agents or len(part.agents) < AGENTS_MAX else OTHERS] += 1
        if read is not None and holds(decision.type, read):
            if domain == "locks":
                _locks(part, events)
            else:
                results.take(part, decision.key, events)
    return part


def _locks(part: _Part, events: Iterable[Event]) -> None:
    """Who lost a lock, and who got it with that: both are in one decision."""
    giver: str | None = None
    for event in events:
        match event:
            case k.LockReleased() | k.LeaseExpired() | k.LeaseRevoked():
                giver = event.agent
            case k.LockGranted(agent=agent) if giver is not None:
                part.pair(giver, agent, "lock")


class _Results:
    """Of each open task, who has completed which step, and which steps need it."""

    def __init__(self) -> None:
        self._after: dict[bytes, dict[str, tuple[str, ...]]] = {}
        self._done: dict[bytes, dict[str, str]] = {}
        self._runs: dict[bytes, dict[str, str]] = {}

    def take(self, part: _Part, task: bytes, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case t.TaskSubmitted(steps=steps):
                    self._after[task] = {step.name: step.after for step in steps}
                case t.StepStarted(step=step, agent=agent):
                    self._runs.setdefault(task, {})[step] = agent
                    done = self._done.get(task, {})
                    for before in self._after.get(task, {}).get(step, ()):
                        if before in done:
                            part.pair(done[before], agent, "result")
                case t.StepCompleted(step=step):
                    runs = self._runs.get(task, {})
                    if step in runs:
                        self._done.setdefault(task, {})[step] = runs.pop(step)
                case t.TaskCompleted() | t.TaskFailed() | t.TaskCancelled():
                    for of_tasks in (self._after, self._done, self._runs):
                        of_tasks.pop(task, None)
