"""Sagas: steps in order, each done once; compensations in reverse; one process at a time; all end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from accord.schemas.messages.sagas import (
    CompensationBegun,
    SagaBegun,
    SagaCompensated,
    SagaCompleted,
    SagaForgotten,
    SagaTaken,
    StepCompensated,
    StepCompleted,
    StepStarted,
)
from accord.testing.simulation.judges.seen import Demand, Seen

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster


@dataclass
class _Saga:
    steps: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    attempt: int = 0
    undoing: bool = False
    ended: bool = False


def judge(cluster: Cluster, seen: Sequence[Seen], demand: Demand) -> None:  # noqa: PLR0912
    sagas: dict[str, _Saga] = defaultdict(_Saga)
    for one in seen:
        saga, key = sagas[one.key], one.key
        for event in one.events:
            match event:
                case SagaBegun(steps=steps):
                    demand(not saga.steps, f"{key} was begun twice")
                    saga.steps = [step.name for step in steps]
                case SagaTaken(attempt=attempt):
                    demand(attempt > saga.attempt, f"{key} is taken under a token that does not grow")
                    saga.attempt = attempt
                case StepStarted(step=step, undo=undo):
                    demand(not saga.ended, f"a step of {key} runs after its end")
                    done = saga.undone if undo else saga.done
                    demand(step not in done, f"{step} of {key} runs again, although it was done")
                    if not undo:
                        demand(not saga.undoing, f"{step} of {key} runs, although it is being undone")
                        demand(saga.done == saga.steps[: saga.steps.index(step)], f"{step} of {key} is not the next")
                case StepCompleted(step=step):
                    demand(step not in saga.done, f"{step} of {key} is completed twice")
                    saga.done.append(step)
                case CompensationBegun():
                    saga.undoing = True
                case StepCompensated(step=step):
                    places = [saga.steps.index(name) for name in [*saga.undone, step]]
                    demand(places == sorted(places, reverse=True), f"{key} is not undone in reverse order")
                    saga.undone.append(step)
                case SagaCompleted():
                    demand(saga.done == saga.steps and not saga.undoing, f"{key} is completed, and is not done")
                    saga.ended = True
                case SagaCompensated():
                    demand(set(saga.done) <= set(saga.undone), f"{key} is undone, but for some steps")
                    saga.ended = True
                case SagaForgotten():
                    del sagas[key]
                case _:
                    pass
    left = [name for name, saga in sagas.items() if saga.steps and not saga.ended]
    demand(not left, f"sagas that never end: {left}")
