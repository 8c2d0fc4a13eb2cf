"""Cost of a step in a graph of ten thousand, with a hundred thousand open tasks, and of an agent for whom as many wait.

Each is measured beside the same with ten, through the pure partition: it decides and applies. In a chain the agent goes
on in its slot, or gives it back after each step; in a wide graph all steps stand before one that joins them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, Final

from accord.schemas.messages import Event
from accord.schemas.messages.roster import FreeAgents, JoinTeam, RequestAgents
from accord.schemas.messages.tasks import (
    CompleteStep,
    FailStep,
    Freed,
    Outcome,
    StartStep,
    Step,
    StepStarted,
    SubmitTask,
    Wanted,
)

from benchmarks.alone import Alone
from benchmarks.report import Goal, Line, Sample, progress, summary

SIZE: Final = 10_000
"""Steps of a graph; ten times as many tasks are open, or wait."""
FEW: Final = 10
SAMPLES: Final = 1_000
"""At least so many steps are measured; the median counts."""
KEEP_MS: Final = 3_600_000
GROWTH_MAX: Final = 1.5
SKILL: Final = "write"


def benchmark(bootstrap_servers: str, runs: int, size: int | None) -> list[Line]:
    """`size` is the number of steps of a graph. Needs no broker."""
    many = size or SIZE
    lines = []
    for name, (measured, factor) in KINDS.items():
        samples = []
        for run in range(runs):
            few = cost_us(measured, FEW)
            samples.append(Sample(cost_us(measured, many * factor), few))
            progress(f"tasks_cost {name} {run + 1}/{runs}", us=samples[-1].value, few_us=few)
        lines.append(summary(f"tasks_{name}", "CPU us", samples, f"of {FEW}", Goal("ratio", "<=", GROWTH_MAX)))
    return lines


def cost_us(measured: Callable[[int], Iterator[float]], count: int) -> float:
    """The median of what `measured` gives, in us, again and again until there is enough of it."""
    found: list[float] = []
    while len(found) < SAMPLES:
        gc.collect()
        found += measured(count)
    return median(found) * 1e6


class Log(Alone):
    """Tasks, or a team, and the commands about them."""

    def submit(self, key: str, steps: list[Step]) -> None:
        self.decide(key, SubmitTask("bench", "graph", "team", "{}", tuple(steps), KEEP_MS))

    def start(self, key: str, step: str, *skills: str) -> int:
        """Starts a step; returns the token of its run."""
        return token_of(self.decide(key, StartStep("bench", "bench-1", "team", step, 1, skills)))

    def complete(self, key: str, step: str, token: int) -> list[Event]:
        return self.decide(key, CompleteStep("bench", step, token, "{}"))


def token_of(events: list[Event]) -> int:
    return next(event.token for event in events if isinstance(event, StepStarted))


def step(name: str, *after: str) -> Step:
    return Step(name, after, SKILL, 3, KEEP_MS, KEEP_MS, None, optional=False, need=None)


def chain(count: int, *skills: str) -> Iterator[float]:
    """A chain of steps, by an agent that is able to do the next one, or by one that has to be assigned each."""
    log = Log("tasks")
    log.submit("t", [step(f"s{n}", *[f"s{n - 1}"] * (n > 0)) for n in range(count)])
    token = log.start("t", "s0", *skills)
    for number in range(count - 1):
        log.lap_s()
        events = log.complete("t", f"s{number}", token)
        token = token_of(events) if skills else log.start("t", f"s{number + 1}")
        yield log.lap_s()


def wide(count: int, *, failing: bool = False) -> Iterator[float]:
    """Steps side by side, and one after all of them."""
    log = Log("tasks")
    names = [f"s{number}" for number in range(count - 1)]
    log.submit("t", [*[step(name) for name in names], step("join", *names)])
    for name in names[:-1]:
        log.lap_s()
        token = log.start("t", name)
        if failing:
            log.decide("t", FailStep("bench", name, token, "OSError", "", final=False))
        else:
            log.complete("t", name, token)
        yield log.lap_s()


def opened(count: int) -> Iterator[float]:
    """A step each of some of many tasks."""
    log = Log("tasks")
    for number in range(count):
        log.submit(f"t{number}", [step("a"), step("b", "a")])
    for number in range(0, count, max(1, count // SAMPLES)):
        log.lap_s()
        log.complete(f"t{number}", "a", log.start(f"t{number}", "a"))
        yield log.lap_s()


def waiting(count: int) -> Iterator[float]:
    """One more waits for an agent, and an agent that has a slot again gets the first of those who wait."""
    log = Log("roster")
    for number in range(count):
        log.decide("team", RequestAgents(f"t{number}", (Wanted("a", 1, SKILL, urgent=False),)))
    log.decide("team", JoinTeam("bench", "bench-1", (SKILL, "draw"), 1, KEEP_MS))
    for number in range(min(count, SAMPLES)):
        log.lap_s()
        log.decide("team", RequestAgents(f"t{count + number}", (Wanted("a", 1, SKILL, urgent=False),)))
        log.decide("team", FreeAgents(f"t{number}", (Freed("a", 1, (Outcome(SKILL, completed=True),)),)))
        yield log.lap_s()


KINDS: Final[dict[str, tuple[Any, int]]] = {
    "chain_going_on": (lambda count: chain(count, SKILL), 1),
    "chain_assigned": (chain, 1),
    "wide": (wide, 1),
    "wide_failing": (lambda count: wide(count, failing=True), 1),
    "open": (opened, 10),
    "waiting": (waiting, 10),
}
"""What is measured, and how much larger it is than a graph."""
