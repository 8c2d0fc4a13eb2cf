"""To how many agents a task was given, as its team decides right after the submission.

    with Dispatch(hub, TEAM) as dispatch:
        handle = await hub.submit(graph, input)
        skipped = await dispatch.refused(handle.id)

Rules that act here:
- It listens from before the submission on, so the team's word is not missed, and waits for it `WAIT_MS` at most: then
  nobody is taken to be refused, and the task's result tells.
- A client that reads its answers from an inbox does not hear the team: there, too, the result tells.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from accord.agents.connection.connection import Answer
from accord.schemas.messages.roster import AgentsAwaited, AgentsRefused

if TYPE_CHECKING:
    from accord.agents.hub import Hub

WAIT_MS: Final = 1_000


class Dispatch:
    """What a team says of tasks, while it is entered."""

    def __init__(self, hub: Hub, team: str) -> None:
        self._hub = hub
        self._team = team
        self._hears = hub.settings.client.answers == "events"
        self._refused: Counter[str] = Counter()
        """By task: for how many of its steps there is nobody. A task that the team has not spoken of is not there."""
        self._told = asyncio.Condition()

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._unwatch = self._hub.connection.watch("roster", self._team, self._heard) if self._hears else lambda: None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unwatch()

    def _heard(self, answer: Answer) -> None:
        """A decision of the team; on accord's thread."""
        refused: Counter[str] = Counter()
        for event in answer.events:
            match event:
                case AgentsAwaited(task):
                    refused[task] += 0
                case AgentsRefused(task, refusals):
                    refused[task] += len(refusals)
        if refused:
            asyncio.run_coroutine_threadsafe(self._tell(refused), self._loop)

    async def _tell(self, refused: Counter[str]) -> None:
        async with self._told:
            for task, count in refused.items():
                self._refused.setdefault(task, count)  # its first word: later ones are on later tries
            self._told.notify_all()

    async def refused(self, task_id: str) -> int:
        """For how many steps of a task nobody was asked, since they failed too often of late."""
        if not self._hears:
            return 0
        try:
            async with asyncio.timeout(WAIT_MS / 1_000), self._told:
                await self._told.wait_for(lambda: task_id in self._refused)
        except TimeoutError:
            return 0
        return self._refused[task_id]
