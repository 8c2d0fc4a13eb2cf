"""A process that runs sagas which nobody runs: begun for others, or left behind by a process that died.

Rules that act here:
- A saga that nobody runs is offered by a signal of its definition's name, again and again: at least once each time, to
  one process that serves it. Who takes it first by the log runs it.
- A process takes as many as it has slots for; what else is offered waits for one of them.
- Who leaves takes nothing new, waits a bounded time for the steps that run, and gives back the sagas.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from accord.agents.asked import Asked
from accord.agents.locks.arguments import check_lease_ms, check_number
from accord.agents.sagas.definition import Saga
from accord.agents.sagas.running import Running, is_runnable
from accord.streams.sagas.decider import offers

from accord.errors import BadInput

if TYPE_CHECKING:
    from accord.agents.hub import Hub

SLOTS: Final = 8
SLOTS_MAX: Final = 1_000
DRAIN_MS: Final = 10_000


class _Offered(Asked):
    """Takes the sagas of one definition."""

    def __init__(self, serving: Serving, hub: Hub, saga: Saga) -> None:
        super().__init__(hub)
        self._serving = serving
        self._saga = saga

    def _listens(self) -> tuple[str, str]:
        return offers(self._saga.name), offers(self._saga.name)

    async def _asked(self, asked: Mapping[str, Any]) -> None:
        await self._serving.run(self._saga, asked["saga"])


class Serving:
    """Runs sagas for as long as `async with` lasts; made by `Accord.serve_sagas`."""

    def __init__(self, hub: Hub, sagas: Sequence[Saga], slots: int, lease_ms: int, drain_ms: int) -> None:
        names = [saga.name for saga in sagas]
        if not sagas or len(set(names)) < len(names):
            what = "none is given" if not sagas else "two have one name"
            raise BadInput(f"serve_sagas(): {what}.", remedy="Give each definition once.")
        for saga in sagas:
            saga.check()
        self._hub = hub
        self._sagas = tuple(sagas)
        self._free = asyncio.Semaphore(check_number("slots", slots, 1, SLOTS_MAX))
        self._lease_ms = check_lease_ms(lease_ms, 0)
        self._drain_ms = drain_ms
        self._listening = AsyncExitStack()
        self._runs: dict[Running, asyncio.Task[None]] = {}
        self._closing = False
        self._context = contextvars.copy_context()

    async def __aenter__(self) -> Self:
        self._hub.ensure_open("serve_sagas()")
        self._context = contextvars.copy_context()
        try:
            for saga in self._sagas:
                await self._listening.enter_async_context(_Offered(self, self._hub, saga))
        except BaseException:
            await self._listening.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for running in self._runs:
            running.begin_no_more()
        self._free.release()  # who waits for a slot need not wait any more
        await self._listening.aclose()
        await asyncio.gather(*[running.leave(self._drain_ms) for running in self._runs])
        await asyncio.gather(*self._runs.values())

    async def run(self, saga: Saga, saga_id: str) -> None:
        """Takes a saga once there is a slot, if nobody else has it by then; returns when it has begun to run."""
        await self._free.acquire()
        # In the context of who serves, not in that of the signal: steps may emit long after that was handled.
        running = self._context.copy().run(Running, self._hub, saga, saga_id, self._lease_ms, waits=False)
        try:
            if not self._closing and await is_runnable(self._hub, saga, saga_id) and await running.take():
                self._runs[running] = asyncio.get_running_loop().create_task(self._see_to(running))
                if self._closing:  # meanwhile
                    running.begin_no_more()
                return
        except BaseException:
            self._drop(running)
            raise
        self._drop(running)

    def _drop(self, running: Running) -> None:
        running.forget()
        self._free.release()

    async def _see_to(self, running: Running) -> None:
        """Until it is not run here any more."""
        try:
            await running.over.wait()
        finally:
            del self._runs[running]
            self._drop(running)
