"""How a task begins, and how one that was submitted before is found."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from accord.agents.artifacts.artifacts import payload_of
from accord.agents.locks.arguments import check_number
from accord.agents.operations import Operation
from accord.agents.signals.plain import NotPlain, as_json
from accord.agents.signals.signals import new_task
from accord.agents.tasks.graph import TaskGraph
from accord.agents.tasks.handle import Handle
from accord.schemas.messages.roster import ReadTeam, TeamRead
from accord.schemas.messages.tasks import CancelTask, SubmitTask, TaskKnown, TaskRefused
from accord.streams.roster.bounds import WAITING_MAX
from accord.streams.tasks.bounds import LIMIT_MS_MAX

from accord.errors import BadInput, Overloaded, TermsDiffer
from accord.tracing import SpanKind, traceparent

if TYPE_CHECKING:
    from accord.agents.hub import Hub

KEEP_MS: Final = 3_600_000


RETRY_AFTER_MS_MAX: Final = 60_000
STEP_MS: Final = 1_000
"""How long a step is taken to last when it is guessed how long those that wait will."""


async def submit(
    hub: Hub, graph: TaskGraph, input: Any, *, key: str | None, keep_ms: int, waiting_max: int | None = None
) -> Handle:
    """`Accord.submit`, on any hub."""
    hub.ensure_open("submit()")
    given = check_task(graph, input, keep_ms)
    most = hub.settings.client.waiting_max
    if waiting_max is not None:
        most = check_number("waiting_max", waiting_max, 0, WAITING_MAX)
    task_id = key or new_task()
    with Operation(hub, "submit", task_id, kind=SpanKind.PRODUCER, graph=graph.name):
        if most:
            await check_room(hub, graph.team, most)
        command = await command_of(hub, graph, given, keep_ms)
        return await _begin(hub, Handle(hub, task_id, graph.last), command, again=key is not None)


def check_task(graph: TaskGraph, input: Any, keep_ms: int) -> str:
    """The input of a task, as JSON. Raises BadInput: the graph, the input or a duration cannot be one."""
    graph.check()
    try:
        given = as_json(input)
    except NotPlain as error:
        raise BadInput(f"the input of {graph.name} has {error}; it must be JSON.") from None
    check_number("keep_ms", keep_ms, 0, LIMIT_MS_MAX)
    return given


async def command_of(hub: Hub, graph: TaskGraph, given: str, keep_ms: int) -> SubmitTask:
    """The command that begins a task, with its input in the log or beside it. Raises what `payload_of` raises."""
    payload = await payload_of(hub, given)
    return SubmitTask(hub.agent, graph.name, graph.team, payload, graph.check(), keep_ms, traceparent() or "")


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


async def check_room(hub: Hub, team: str, waiting_max: int) -> None:
    """Asks a team how many steps wait for its agents. Many who ask at the same time are all told the same.

    Raises:
        Overloaded: as many as there may be; `retry_after_ms` is a guess at how long they take.
    """
    submission = hub.connection.submit("roster", team, ReadTeam(hub.agent))
    answer = await asyncio.wrap_future(submission.decided)
    (read,) = [event for event in answer.events if isinstance(event, TeamRead)]
    if read.waiting < waiting_max:
        return
    guess_ms = STEP_MS * read.waiting // read.slots if read.slots else RETRY_AFTER_MS_MAX
    raise Overloaded(
        f"{read.waiting} steps wait for an agent of the team {team}, which has {read.slots} slots: a task is begun "
        f"while fewer than {waiting_max} do.",
        remedy="Try again later, or start more agents. See: accord agents list.",
        key=team,
        position=str(answer.position),
        retry_after_ms=min(max(STEP_MS, guess_ms), RETRY_AFTER_MS_MAX),
    )


async def find(hub: Hub, task_id: str) -> Handle:
    """`Accord.task`, on any hub."""
    hub.ensure_open("task()")
    return await Handle(hub, task_id).looked()
