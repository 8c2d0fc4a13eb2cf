"""accord's command line for tests that move the log's clock and kill what runs:
`python -m tests.agents.service.program AHEAD serve --port 0`.

AHEAD is a file that holds by how many ms the time of this program's commands is ahead of the machine's. Two variables
make an agent a bad one: `TEST_DIES_AT="started aggregate"` kills it, -9, at a point of a step (see
`tests.agents.member`); with `TEST_IS_DEAF=1` it is not told that the log has ended its runs, and tells their results.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from accord.agents import client
from accord.agents.connection.connection import Answer
from accord.agents.tasks.work import Running, Work

from accord.cli import main
from tests.agents.member import Dying


def clock(ahead: Path) -> Callable[[], int]:
    """The log's time in ms, as a file moves it."""
    return lambda: time.time_ns() // 1_000_000 + int(ahead.read_text())


class Deaf(Work):
    """A member that does not hear what becomes of its runs."""

    def _of(self, run: Running, answer: Answer) -> None:
        del run, answer


def made(work: Work) -> Work:
    """The kind of member that the environment asks for."""
    if os.environ.get("TEST_IS_DEAF"):
        work.__class__ = Deaf
    point, _, step = os.environ.get("TEST_DIES_AT", "").partition(" ")
    if point:
        work.__class__, work.died_at = Dying, (point, step)  # type: ignore[attr-defined]
    return work


class Moved(client.Accord):
    """A hub whose commands carry the moved time."""

    async def __aenter__(self) -> Self:
        self.use(self.settings, clock(AHEAD))
        return await super().__aenter__()

    def work(self, *offered: Any, **terms: Any) -> Work:
        return made(super().work(*offered, **terms))


if __name__ == "__main__":
    AHEAD = Path(sys.argv.pop(1))
    client.Accord = Moved  # type: ignore[misc]
    main()
