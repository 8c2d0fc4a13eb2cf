"""How a task begins, and how one that was submitted before is found."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from accord.agents.locks.arguments import check_number
from accord.agents.operations import Operation
from accord.agents.signals.plain import NotPlain, as_json
from accord.agents.signals.signals import new_task
from accord.agents.tasks.graph import TaskGraph
from accord.agents.tasks.handle import Handle
from accord.schemas.messages.tasks import CancelTask, SubmitTask, TaskKnown, TaskRefused
from accord.streams.tasks.bounds import LIMIT_MS_MAX

from accord.errors import BadInput, TermsDiffer
from accord.tracing import SpanKind, traceparent

if TYPE_CHECKING:
    from accord.agents.client import Hub

KEEP_MS: Final = 3_600_000


async def submit(hub: Hub, graph: TaskGraph, input: Any, *, key: str | None, keep_ms: int) -> Handle:
    """`Accord.submit`, on any hub."""
    hub.ensure_open("submit()")
    steps = graph.check()
    try:
        given = as_json(input)
    except NotPlain as error:
        raise BadInput(f"the input of {graph.name} has {error}; it must be JSON.") from None
    check_number("keep_ms", keep_ms, 0, LIMIT_MS_MAX)
    task_id = key or new_task()
    with Operation(hub, "submit", task_id, kind=SpanKind.PRODUCER, graph=graph.name):
        command = SubmitTask(hub.agent, graph.name, graph.team, given, steps, keep_ms, traceparent() or "")
        return await _begin(hub, Handle(hub, task_id, graph.last), command, again=key is not None)


async def _begin(hub: Hub, handle: Handle, command: SubmitTask, *, again: bool) -> Handle:
    """Sends the command, and returns when the log has the task.

    Args:
        again: who submits it may do so again.
    """
    # Nobody knows the id of a task that was submitted in vain, unless it is a key that may be tried again.
    withdrawal = None if again else lambda _: CancelTask(hub.agent, "whoever submitted it has given up")
    try:
        submission = hub.connection.submit("tasks", handle.id, command, task=handle.id, withdrawal=withdrawal)
        answer = await asyncio.wrap_future(submission.decided)
        first = answer.events[0]
        if isinstance(first, TaskRefused):
            raise TermsDiffer(
                f"{handle.id} is another task of {first.type}, with another graph or input.",
                remedy="Take another key.",
                key=handle.id,
                position=str(answer.position),
            )
        if isinstance(first, TaskKnown):
            await handle.look()
    except BaseException:
        handle.forget()
        raise
    return handle


async def find(hub: Hub, task_id: str) -> Handle:
    """`Accord.task`, on any hub."""
    hub.ensure_open("task()")
    handle = Handle(hub, task_id)
    try:
        await handle.look()
    except BaseException:
        handle.forget()
        raise
    return handle
