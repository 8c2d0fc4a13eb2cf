"""Runs by their seed: what takes part is drawn from it, too. And the smallest part of a failing run that still fails.

simulate(7)                                    # raises what is wrong with it
found = first_failure(range(1_000))
print(shrink(found.seed))                      # which faults and agents it takes
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from accord.errors import AccordError
from accord.testing.simulation.cluster import Cluster
from accord.testing.simulation.drivers import DRIVERS
from accord.testing.simulation.faults import Fault, text_of
from accord.testing.simulation.quiet import quiet

T = TypeVar("T")
MINUTES: Final = 2.0
"""Of a run with faults; to come to rest takes it a little longer."""


@dataclass(frozen=True)
class Failure:
    """What is wrong with a run."""

    seed: int
    error: BaseException

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.error!r}"


@dataclass(frozen=True)
class Shrunk:
    """The smallest part of a run found that still fails."""

    seed: int
    faults: list[Fault]
    agents: list[str]
    error: BaseException
    tries: int

    def __str__(self) -> str:
        return f"seed {self.seed}, agents {', '.join(self.agents) or 'none'}\n{text_of(self.faults)}\n{self.error!r}"


def build(
    seed: int,
    *,
    drivers: Sequence[str] | None = None,
    faults: Sequence[Fault] | None = None,
    agents: Iterable[str] | None = None,
    **options: Any,
) -> Cluster:
    """The run of a seed, before it begins.

    Args:
        drivers: whose agents take part; drawn by default: one to three.
        faults: the schedule; drawn by default.
        agents: who of them takes part; all by default.
        options: of `Cluster`; what is not given is drawn.
    """
    probe = Cluster(seed, workers=0, domains=())
    chance = probe.scheduler.stream("mix")
    count, workers, partitions = chance.choice([1, 1, 2, 3]), chance.choice([1, 2, 2, 3]), chance.choice([1, 2, 3])
    pace = chance.choice([1.0, 1.0, 0.1])
    drawn = chance.sample(sorted(DRIVERS), count)
    chosen = [DRIVERS[name] for name in (drawn if drivers is None else drivers)]
    cluster = Cluster(
        seed,
        **{
            "workers": workers,
            "partitions": partitions,
            "domains": [driver.domain for driver in chosen],
            "faults": faults,
            "pace": pace,
            "minutes": MINUTES if pace == 1.0 else MINUTES / 3,
            "latency_ms": chance.choice([4.0, 4.0, 40.0, 300.0]),
            **options,
        },
    )
    wanted = None if agents is None else set(agents)
    for driver in chosen:
        for name, program in driver.agents:
            if wanted is None or name in wanted:
                cluster.add_agent(name, program)
    return cluster


def simulate(seed: int, **options: Any) -> Cluster:
    """One run, to its end; `options` as of `build`.

    Raises:
        AssertionError, AccordError: something that must hold does not; the seed brings it back.
    """
    cluster = build(seed, **options)
    with quiet():
        cluster.run()
    return cluster


def failure_of(seed: int, **options: Any) -> Failure | None:
    """What is wrong with a run; None: nothing."""
    try:
        simulate(seed, **options)
    except Exception as error:  # whatever it raises is a finding
        return Failure(seed, error)
    return None


def first_failure(seeds: Iterable[int], **options: Any) -> Failure | None:
    """The first of these runs that is wrong."""
    for seed in seeds:
        if (failure := failure_of(seed, **options)) is not None:
            return failure
    return None


def shrink(seed: int, *, tries_max: int = 400, **options: Any) -> Shrunk:
    """Takes faults and agents away from a failing run as long as it fails.

    Raises:
        ValueError: the run does not fail.
    """
    found = failure_of(seed, **options)
    if found is None:
        raise ValueError(f"seed {seed} does not fail")
    whole = build(seed, **options)
    with quiet(), contextlib.suppress(AssertionError, AccordError):
        whole.begin()
    errors, tries = [found.error], 1

    def fails(faults: list[Fault], agents: list[str]) -> bool:
        nonlocal tries
        if tries >= tries_max:
            return False
        tries += 1
        failure = failure_of(seed, **{**options, "faults": faults, "agents": agents})
        if failure is not None:
            errors.append(failure.error)
        return failure is not None

    def befalling(agents: list[str]) -> list[Fault]:
        """The faults without those of agents that are left out."""
        return [fault for fault in whole.faults if fault.target in agents or fault.target not in whole.agents]

    agents = smallest(list(whole.agents), lambda part: fails(befalling(part), part))
    faults = smallest(befalling(agents), lambda part: fails(part, agents))
    return Shrunk(seed, faults, agents, errors[-1], tries)


def smallest(whole: list[T], fails: Callable[[list[T]], bool]) -> list[T]:
    """A part of a list that fails, of which no single one can be left out (delta debugging, Zeller and Hildebrandt
    2002). The whole list fails."""
    part, pieces = whole, 2
    while part:
        size = max(1, -(-len(part) // pieces))
        for start in range(0, len(part), size):
            rest = part[:start] + part[start + size :]
            if fails(rest):
                part, pieces = rest, max(2, pieces - 1)
                break
        else:
            if size == 1:
                break
            pieces = min(len(part), 2 * pieces)
    return part
