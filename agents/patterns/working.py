"""Agents of a pattern at work in this process, for as long as a run of it lasts.

Runs of the same agents at the same time share one membership of the team: a step of one run is never lost by the end of
another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from accord.agents.agent import Agent
from accord.agents.tasks.work import Work

if TYPE_CHECKING:
    from accord.agents.client import Accord

SLOTS: Final = 64
"""Of a membership. How many calls a run has under way is bounded where it makes them."""


class _Shared:
    def __init__(self) -> None:
        self.users = 0
        self.entering = asyncio.Lock()
        self.work: Work | None = None


_Of = tuple[str, frozenset[Agent]]
_shared: Final[WeakKeyDictionary[Accord, dict[_Of, _Shared]]] = WeakKeyDictionary()


@asynccontextmanager
async def working(hub: Accord, agents: Mapping[str, Agent], team: str) -> AsyncIterator[None]:
    """Has the agents work here. Raises what `Accord.work` raises."""
    if not agents:
        yield
        return
    all_of_hub = _shared.setdefault(hub, {})
    of = team, frozenset(agents.values())
    shared = all_of_hub.setdefault(of, _Shared())
    shared.users += 1
    try:
        async with shared.entering:
            if shared.work is None:
                work = hub.work(*agents.values(), slots=SLOTS, team=team, lease_ms=hub.settings.agents.lease_ms)
                await work.__aenter__()
                shared.work = work
        yield
    finally:
        shared.users -= 1
        if not shared.users:
            del all_of_hub[of]
            if shared.work is not None:
                await shared.work.__aexit__(None, None, None)
