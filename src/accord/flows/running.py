"""Running flows: this process takes its share of them, and gives it back when it leaves.

All processes with the same flows are one consumer group. Each flow runs in one of them; when that one leaves or dies,
another goes on from its last checkpoint. Checkpoints belong to the group: another group with one of the flows folds it
again from where it began, and emits nothing twice.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from accord.agents.hub import Hub
from accord.errors import AccordError, BadInput
from accord.flows.run import FlowRun, Save
from accord.streams.flows.flow import Flow

if TYPE_CHECKING:
    from accord.streams.runtime.flows import FlowTable

FLOWS_MAX: Final = 64
"""Flows of a process: each has a thread, and reads its events itself."""
WATCH_S: Final = 0.5
"""How soon a process whose flows have all failed says so."""


class Running:
    """The flows of this process; made by `running`."""

    def __init__(self, hub: Hub, flows: Mapping[str, Flow], group: str) -> None:
        from accord.streams.runtime.flows import FlowTable  # noqa: PLC0415  Faust is for those alone who run flows

        self._hub = hub
        self._flows = flows
        self._runs: dict[str, FlowRun] = {}
        self._loop = asyncio.get_running_loop()
        self._table: FlowTable = FlowTable(
            hub.settings, group, embedded=hub.is_local, assigned=self._assigned, revoked=self._revoked
        )

    @property
    def here(self) -> tuple[str, ...]:
        """The names of the flows that run in this process now."""
        return tuple(sorted(name for name, run in self._runs.items() if run.failure is None))

    @property
    def failures(self) -> dict[str, AccordError]:
        """Why flows have stopped, by name: a function that raised, a flow that is another than the log has."""
        return {name: run.failure for name, run in self._runs.items() if run.failure is not None}

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """By flow that runs here: how many events it has taken since it began, and how many it passed over, and why."""
        return {name: run.counts for name, run in self._runs.items()}

    async def failed(self) -> BaseException:
        """Returns what ended the work of this process, when something does: all its flows failed, or it lost its
        place in the group."""
        membership = asyncio.ensure_future(self._table.wait_failed())
        try:
            while True:
                done, _ = await asyncio.wait({membership}, timeout=WATCH_S)
                if done:
                    return membership.result()
                if self._runs and not self.here:
                    return next(iter(self.failures.values()))
        finally:
            membership.cancel()

    async def start(self) -> None:
        """Joins the group; returns when the flows that run here have begun."""
        await self._table.start()
        try:
            for run in list(self._runs.values()):
                await asyncio.wrap_future(run.begun)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Makes last checkpoints and leaves."""
        await self._table.stop()
        await self._end(list(self._runs))

    async def _assigned(self, partitions: frozenset[int]) -> None:
        for name, flow in self._flows.items():
            if self._table.place_of(name) in partitions and name not in self._runs:
                kept = await asyncio.to_thread(self._table.load, name)
                run = self._runs[name] = FlowRun(flow, self._hub, kept, self._saver(name))
                run.start()

    def _saver(self, name: str) -> Save:
        def save(data: bytes) -> Future[None]:
            return asyncio.run_coroutine_threadsafe(self._table.save(name, data), self._loop)

        return save

    async def _revoked(self, partitions: frozenset[int]) -> None:
        await self._end([name for name in self._runs if self._table.place_of(name) in partitions])

    async def _end(self, names: list[str]) -> None:
        runs = [self._runs.pop(name) for name in names]
        await asyncio.gather(*[asyncio.to_thread(run.stop) for run in runs])


_GROUP: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


@asynccontextmanager
async def running(hub: Hub, *flows: Flow, group: str | None = None) -> AsyncGenerator[Running]:
    """Runs this process's share of some flows while the `async with` lasts.

    Args:
        hub: an open hub, of `accord.local()` or `accord.Accord()`.
        flows: each with an `emit`, at most 64, of different names.
        group: name of those who share these flows: letters, digits, `.`, `_`, `-`. Every process of a group must have
            the same flows. Without it, all who have flows of just these names.

    Raises:
        BadInput: they cannot be run.
        ConfigError: the log has one of them as another flow.
        NotConnected: the hub is not open.
        KafkaUnreachable, NoWorker: no broker answers, or nobody decides.
    """
    by_name = {flow.name: flow for flow in flows}
    if not 0 < len(flows) <= FLOWS_MAX or len(by_name) < len(flows):
        raise BadInput(f"running(): 1 to {FLOWS_MAX} flows of different names are needed.")
    for flow in flows:
        if not flow.event:
            raise BadInput(f"flow {flow.name!r} has no emit(): nothing would come of it.")
    if group is None:
        group = blake2b("\n".join(sorted(by_name)).encode(), digest_size=8).hexdigest()
    if not _GROUP.fullmatch(group):
        raise BadInput(f"group {group!r}: 1 to 100 letters, digits, '.', '_' and '-' are needed.")
    hub.ensure_open("running()")
    work = Running(hub, by_name, group)
    await work.start()
    try:
        yield work
    finally:
        await work.stop()
