"""Tasks for plain functions, and as methods of the sync hub."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final

from accord.agents.agent import Agent
from accord.agents.sync import SyncHub
from accord.agents.tasks import handle as tasks
from accord.agents.tasks.fan_out import DEADLINE_MS, fan_out
from accord.agents.tasks.graph import TEAM, TaskGraph
from accord.agents.tasks.submit import KEEP_MS, find, submit
from accord.agents.tasks.work import DRAIN_MS, Work
from anyio.from_thread import BlockingPortal


class Handle:
    """A task that was submitted; see `accord.agents.tasks.handle.Handle`, whose arguments and errors these have."""

    def __init__(self, loop: BlockingPortal, handle: tasks.Handle) -> None:
        self._loop = loop
        self._handle = handle
        self.id: Final = handle.id

    def result(self, *, wait_ms: int | None = None) -> Any:
        """The task's result, once it is completed."""
        return self._loop.call(partial(self._handle.result, wait_ms=wait_ms))

    def record(self) -> dict[str, Any]:
        """The task as it is."""
        return self._loop.call(self._handle.record)

    def forget(self) -> None:
        """Listens no more: for whoever does not want to know its result."""
        self._handle.forget()

    def cancel(self, reason: str = "") -> bool:
        """Ends the task; False: it had ended before."""
        return self._loop.call(self._handle.cancel, reason)


class SyncTasksHub(SyncHub):
    """What a sync hub offers of tasks."""

    def submit(
        self,
        graph: TaskGraph,
        input: Any = None,
        *,
        key: str | None = None,
        keep_ms: int = KEEP_MS,
        waiting_max: int | None = None,
    ) -> Handle:
        """Begins a task and returns when the log has it; as `accord.Accord.submit`."""
        self.ensure_open("submit()")
        begin = partial(submit, self, graph, input, key=key, keep_ms=keep_ms, waiting_max=waiting_max)
        return Handle(self._loop, self._loop.call(begin))

    def fan_out(
        self,
        input: Any,
        *,
        agents: Iterable[str | Agent],
        deadline_ms: int = DEADLINE_MS,
        team: str = TEAM,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Asks several agents at once; as `accord.Accord.fan_out`."""
        self.ensure_open("fan_out()")
        return self._loop.call(partial(fan_out, self, input, agents, deadline_ms=deadline_ms, team=team, key=key))

    def task(self, task_id: str) -> Handle:
        """A task that was submitted before; as `accord.Accord.task`."""
        self.ensure_open("task()")
        return Handle(self._loop, self._loop.call(partial(find, self, task_id)))

    def work(
        self,
        *offered: TaskGraph | Agent,
        capabilities: Iterable[str] | None = None,
        slots: int = 8,
        team: str | None = None,
        lease_ms: int | None = None,
        drain_ms: int = DRAIN_MS,
    ) -> AbstractContextManager[Work]:
        """Takes steps and runs them in threads, for as long as `with` lasts; as `accord.Accord.work`."""
        self.ensure_open("work()")
        made = Work(
            self, offered, capabilities=capabilities, slots=slots, team=team, lease_ms=lease_ms, drain_ms=drain_ms
        )
        return self._loop.wrap_async_context_manager(made)
