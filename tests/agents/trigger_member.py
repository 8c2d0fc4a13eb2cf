"""A process that acts on the matches of a trigger and kills itself, -9, at a named point: `python -m
tests.agents.trigger_member POINT CALLS`, settings from the environment. Each call is a line in the file CALLS.

Points: `called` (nothing is done yet), `submitted` (the log has the task), `returned` (the call is over, and nobody has
noted that).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from accord.agents.signals.subscription import Delivery, Subscription

from accord import Accord, Event, TaskGraph
from accord.triggers import count

POINTS = ("called", "submitted", "returned")
NAME = "too_often"
RULE = count("failed", 3).by("job").within_ms(600_000)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def graph(runs: Path) -> TaskGraph:
    """A step that appends its key to a file."""
    made = TaskGraph("review")

    def review(input: Any) -> None:
        with runs.open("a") as file:
            file.write(f"{input}\n")

    made.add("review", review)
    return made


def declare(hub: Accord, calls: Path, point: str = "") -> None:
    """The function: it submits a task with the match's id."""

    @hub.on(RULE, name=NAME)
    async def too_often(event_data: Any, match: Event) -> None:
        with calls.open("a") as file:
            file.write(f"{match.id}\n")
        if point == "called":
            die()
        await hub.submit(graph(calls), input=event_data["key"], key=match.id)
        if point == "submitted":
            die()


async def main(point: str, calls: Path) -> None:
    if point == "returned":

        def returned(self: Subscription, delivery: Delivery, *, done: bool) -> None:
            die()

        Subscription.returned = returned  # type: ignore[method-assign]
    async with Accord(agent="dying") as hub:
        await asyncio.to_thread(declare, hub, calls, point)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
