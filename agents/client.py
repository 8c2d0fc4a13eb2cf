"""The hub: what an agent program opens to take part.

    async with accord.Accord("localhost:9092", agent="booker-1") as hub:
        async with hub.lock("room_12") as grant:
            ...

Nothing is connected before `async with`. Closing runs the hooks of what was attached (handlers), then withdraws what
is asked, releases what is held, waits a bounded time for the delivery of what was sent, and ends accord's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from accord.agents.artifacts.hub import ArtifactsHub
from accord.agents.auctions.hub import AuctionsHub
from accord.agents.conflicts.hub import ConflictsHub
from accord.agents.hierarchy.hub import HierarchyHub
from accord.agents.hub import Hook, not_drained
from accord.agents.leases.call_chain import one_chain, runs
from accord.agents.limits.hub import LimitsHub
from accord.agents.llm.hub import LlmHub
from accord.agents.locks.arguments import check_wait_ms
from accord.agents.locks.hub import LocksHub
from accord.agents.proposals.hub import ProposalsHub
from accord.agents.sagas.hub import SagasHub
from accord.agents.state.hub import StateHub
from accord.agents.tasks.hub import TasksHub
from accord.agents.transactions.hub import TransactionsHub
from accord.agents.triggers.hub import TriggersHub

from accord.errors import DeadlockVictim

__all__ = ["Accord"]

P = ParamSpec("P")
R = TypeVar("R")


class Accord(
    LocksHub,
    LimitsHub,
    TasksHub,
    LlmHub,
    ProposalsHub,
    AuctionsHub,
    HierarchyHub,
    StateHub,
    TransactionsHub,
    ConflictsHub,
    TriggersHub,
    SagasHub,
    ArtifactsHub,
):
    """A hub for async programs; see the module's text. Enter it with `async with`.

    Raises (when entered):
        KafkaUnreachable: no broker answers within `kafka.connect_timeout_ms`.
        TopicMismatch: a topic is missing, or its partition count is another than the settings say.
        ConfigError: a setting cannot be right.
    """

    async def __aenter__(self) -> Self:
        opening = self._connect()
        try:
            await asyncio.wrap_future(opening)
            self.loop = asyncio.get_running_loop()
            for opener in self._enter():
                await _finished(opener)
        except BaseException:
            await self._shut()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        await self._shut()
        return None

    async def _shut(self) -> None:
        """Runs all hooks and closes, whatever is raised meanwhile; the first error comes out in the end."""
        problem: BaseException | None = None
        for hook in self._take_close_hooks():
            try:
                await _finished(hook)
            except BaseException as error:
                problem = problem or error
        closing = asyncio.wrap_future(self._leave())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError as cancelled:  # the thread ends by itself
            problem = problem or cancelled
        if problem is not None:
            raise problem

    async def run(self, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls a function, and again from its beginning if it was a deadlock's victim; returns what it returns.

        The call chain keeps its age, and the youngest gives way: so it is the oldest one day, and nobody starves. What
        the function did before it gave way is not undone: let it take its locks first, or be able to do it twice. In a
        call chain that holds something already it is only called: who holds that has to give way.

        Raises:
            DeadlockVictim: `RUNS_MAX` times.
            Whatever the function raises.
        """
        with one_chain():
            for last in runs():
                try:
                    return await function(*args, **kwargs)
                except DeadlockVictim:
                    if last:
                        raise
        raise AssertionError("returned or raised")

    async def drain(self, *, wait_ms: int | None = None) -> None:
        """Returns when all that was emitted is recorded and the handlers of this hub have caught up.

        That is: they are through with everything recorded before the call, and with what that made them emit.

        Args:
            wait_ms: how long to wait; None waits without limit.

        Raises:
            What was lost: the first error of an emitted event that nobody waited for.
            Unavailable: not done within `wait_ms`.
        """
        self.ensure_open("drain()")
        check_wait_ms(wait_ms)
        try:
            async with asyncio.timeout(None if wait_ms is None else wait_ms / 1_000) as waiting:
                for hook in list(self._drain_hooks):
                    await _finished(hook)
        except TimeoutError:
            if not waiting.expired():
                raise
            raise not_drained(wait_ms) from None


async def _finished(hook: Hook) -> None:
    waiting = hook()
    if waiting is not None:
        await asyncio.wrap_future(waiting)
