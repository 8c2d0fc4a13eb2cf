"""What the tests of the service share: its application as a client meets it, and its agents at work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any, Self

from accord.agents.client import Accord
from accord.agents.service.app import build
from accord.agents.service.asking import Asker
from accord.agents.service.content import TEAM
from accord.agents.service.parts import agents_of
from starlette.testclient import TestClient

from accord.settings import Settings

LEASE_MS = 86_400_000
"""Of members: some tests move the log's clock."""


class Client:
    """HTTP from an async test: the application runs on a loop of its own."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    async def get(self, path: str, **more: Any) -> Any:
        return await asyncio.to_thread(partial(self._client.get, path, **more))

    async def post(self, path: str, **more: Any) -> Any:
        return await asyncio.to_thread(partial(self._client.post, path, **more))

    async def ended(self, task_id: str) -> dict[str, Any]:
        """A task's record once it has ended."""
        return await self._record(task_id, lambda record: record.get("completed_at") is not None)

    async def recorded(self, task_id: str, steps: int) -> dict[str, Any]:
        """A task's record once so many steps are completed."""
        return await self._record(task_id, lambda record: len(record.get("steps", ())) >= steps)

    async def _record(self, task_id: str, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                record: dict[str, Any] = (await self.get(f"/task/{task_id}")).json()
                if true(record):
                    return record
                await asyncio.sleep(0.02)


@contextmanager
def served(hub: Accord, **more: Any) -> Iterator[Client]:
    """The application over an open hub. Its defects are answers, as in production."""
    with TestClient(build(hub, **more), raise_server_exceptions=False) as client:
        yield Client(client)


class Agents:
    """The service's agents at work on a hub: `async with Agents(hub, "content")`."""

    def __init__(self, hub: Accord, *parts: str, settings: Settings | None = None) -> None:
        self._hub, self._parts, self._settings = hub, parts, settings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        settings = self._settings or self._hub.settings
        asker = await self._stack.enter_async_context(Asker(settings))
        agents = agents_of(self._parts, asker, settings)
        await self._stack.enter_async_context(self._hub.work(*agents, team=TEAM, lease_ms=LEASE_MS, drain_ms=0))
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.aclose()
