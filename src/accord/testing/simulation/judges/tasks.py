"""Tasks: a step runs once those before it are completed, one run at a time; a completed one never again; all end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from accord.schemas.messages.tasks import (
    ResultIgnored,
    StepCompleted,
    StepFailed,
    StepLost,
    StepReturned,
    StepStarted,
    StepTimedOut,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskForgotten,
    TaskSubmitted,
)
from accord.testing.simulation.judges.seen import Demand, Seen

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster


@dataclass
class _Task:
    after: dict[str, tuple[str, ...]] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    completed: set[str] = field(default_factory=set)
    last_token: int = 0
    ended: bool = False


def judge(cluster: Cluster, seen: Sequence[Seen], demand: Demand) -> None:
    tasks: dict[str, _Task] = defaultdict(_Task)
    for one in seen:
        task, key = tasks[one.key], one.key
        for event in one.events:
            match event:
                case TaskSubmitted(steps=steps):
                    demand(not task.after, f"the task {key} was submitted twice")
                    task.after = {step.name: step.after for step in steps}
                case StepStarted(step=step, token=token):
                    demand(step not in task.running, f"two runs of {key}/{step} at once")
                    demand(step not in task.completed, f"{key}/{step} runs again, although it was completed")
                    demand(token >= task.last_token, f"a token of {key} that does not grow")
                    demand(task.completed.issuperset(task.after[step]), f"{key}/{step} runs before what it needs")
                    task.running[step] = task.last_token = token
                case StepCompleted(step=step, token=token):
                    demand(task.running.pop(step, None) == token, f"{key}/{step} is completed by another run")
                    task.completed.add(step)
                case StepFailed(step=step) | StepReturned(step=step) | StepLost(step=step) | StepTimedOut(step=step):
                    task.running.pop(step, None)
                case ResultIgnored(step=step, token=token):
                    demand(task.running.get(step) != token, f"the word of the run of {key}/{step} is ignored")
                case TaskCompleted():
                    demand(set(task.after) == task.completed, f"{key} is completed without all its steps")
                    task.ended = True
                case TaskFailed() | TaskCancelled():
                    task.ended = True
                    task.running.clear()
                case TaskForgotten():
                    del tasks[key]
                case _:
                    pass
    left = [name for name, task in tasks.items() if task.after and not task.ended]
    demand(not left, f"tasks that never end: {left}")
