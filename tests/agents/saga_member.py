"""A process that runs a saga and kills itself, -9, at a named point: `python -m tests.agents.saga_member POINT ID
FILE`, settings from the environment. Every effect of a step or an undo is a line in the file: its idempotency key.

The last step fails, so all is undone. A point is `WHEN STEP/do` or `WHEN STEP/undo`; WHEN is `after` its effect, or
`told` (its end is on its way to the log). `begun` is when the log has the saga, before any effect.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accord.schemas.messages.sagas import BeginSaga, CompleteStep, FailStep

from accord import Accord, GiveUp, Saga, StepRun

NAME = "trip on kafka"
RUNS = ("room/do", "pay/do", "mail/do", "pay/undo", "room/undo")
POINTS = ("begun", *[f"{when} {run}" for run in RUNS for when in ("after", "told")])
LEASE_MS = 1_000


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def trip(reached: Callable[[str], None] = lambda _: None) -> Saga:
    """The saga, whose input is the file; `reached` is called with the points that lie in its functions."""

    def effect(input: str, step: StepRun) -> None:
        run = f"{step.name}/{'undo' if step.undo else 'do'}"
        if run != "mail/do":
            with Path(input).open("a") as file:
                file.write(f"{step.key}\n")
        reached(f"after {run}")
        if run == "mail/do":
            raise GiveUp("no address")

    return (
        Saga(NAME)
        .step(effect, undo=effect, name="room", pause_ms=0)
        .step(effect, undo=effect, name="pay", pause_ms=0)
        .step(effect, name="mail", pause_ms=0)
    )


async def main(point: str, saga_id: str, effects: str) -> None:
    def reached(here: str) -> None:
        if here == point:
            die()

    async with Accord(agent="dying") as hub:
        submit = hub.connection.submit

        def told(domain: str, key: str, command: Any, **terms: Any) -> Any:
            submission = submit(domain, key, command, **terms)
            if isinstance(command, BeginSaga) and point == "begun":
                submission.decided.add_done_callback(lambda _: die())
            if not isinstance(command, CompleteStep | FailStep):
                return submission
            if point == f"told {command.step}/{'undo' if command.undo else 'do'}":
                hub.connection._sender.close(5)  # type: ignore[union-attr]
                die()
            return submission

        hub.connection.submit = told  # type: ignore[method-assign]
        await hub.run_saga(trip(reached), effects, id=saga_id, lease_ms=LEASE_MS)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
