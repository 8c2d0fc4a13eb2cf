"""A process that works for a graph and kills itself, -9, at a named point of a step: `python -m tests.agents.member
POINT STEP EFFECTS`, settings from the environment. What a step does outside is a line in the file EFFECTS.

Points: `given` (the team has given it the step), `started` (the log has said so), `ran` (the step has had its effect),
`told` (its result is on its way), `recorded` (the log has it).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from accord.agents.connection.connection import Answer
from accord.agents.tasks.work import Running, Work
from accord.schemas.messages.roster import Assignment
from accord.schemas.messages.tasks import CompleteStep, StepCompleted
from accord.streams.chain import Decision

from accord import Accord, Run, TaskGraph

POINTS = ("given", "started", "ran", "told", "recorded")
STEPS = ("first", "second", "third")
LEASE_MS = 1_000


def graph(effects: Path, died_at: tuple[str, str] = ("", "")) -> TaskGraph:
    """Three steps one after the other, each of which appends its key to the effects."""
    made = TaskGraph("crashing")

    def effect(step: Run) -> int:
        with effects.open("a") as file:
            file.write(f"{step.key}\n")
        if died_at == ("ran", step.name):
            die()
        return len(step.inputs)

    for before, name in zip((None, *STEPS), STEPS, strict=False):
        made.add(name, effect, after=[before] if before else [])
    return made


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(Work):
    """A member that dies at a point of a step."""

    died_at: tuple[str, str]

    def _take(self, given: Assignment, decision: Decision) -> None:
        if self.died_at == ("given", given.step):
            die()
        super()._take(given, decision)

    def _begin(self, run: Running) -> None:
        if self.died_at == ("started", run.started.step):
            die()
        super()._begin(run)

    def _tell(self, task_id: str, command: Any, told: Any, trace: str | None, message_id: str = "") -> None:
        super()._tell(task_id, command, told, trace, message_id)
        if isinstance(command, CompleteStep) and self.died_at == ("told", command.step):
            die()

    def _started(self, answer: Answer) -> None:
        for event in answer.events:
            if isinstance(event, StepCompleted) and self.died_at == ("recorded", event.step):
                die()
        super()._started(answer)


async def main(point: str, step: str, effects: Path) -> None:
    async with Accord(agent="dying") as hub:
        made = graph(effects, (point, step))
        work = Dying(hub, [made], capabilities=None, slots=2, team=None, lease_ms=LEASE_MS, drain_ms=0)
        work.died_at = point, step
        async with work:
            print("ready", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
