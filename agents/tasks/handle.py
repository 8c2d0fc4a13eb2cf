"""A task that was submitted: its end, its result, its record.

Rules that act here:
- A task has ended when the log says so. The end that completes its last step brings the result along; else it is asked
  for with `ReadTask`, as the record always is.
- A handle listens from before the submission on, so no end is missed; one that is made later asks first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from accord.agents.artifacts.artifacts import reference, value_of
from accord.agents.connection.connection import Answer, future, settle
from accord.agents.watched import Watched
from accord.schemas.messages.tasks import (
    Artifact,
    CancelTask,
    Payload,
    ReadTask,
    StepCompleted,
    StepRead,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskKnown,
    TaskRead,
    TaskUnknown,
)

from accord.errors import AccordError, TaskCancelledError, TaskFailedError

if TYPE_CHECKING:
    from accord.agents.hub import Hub

_ENDS: Final = (TaskCompleted, TaskFailed, TaskCancelled)
Value = Callable[[Payload], Any]
ENDED: Final = ("completed", "failed", "cancelled")


class Handle(Watched):
    """A task by id; made by `Accord.submit` and `Accord.task`.

    Args:
        last: names of the steps whose results are the task's; empty: asked for.
    """

    def __init__(self, hub: Hub, task_id: str, last: Sequence[str] = ()) -> None:
        self._last = tuple(last)
        self._ended: Future[Answer | None] = future()
        """The decision in which the task ended; None: it had ended before."""
        super().__init__(hub, "tasks", "task", task_id, self._ended)

    def _heard(self, answer: Answer) -> None:
        """A decision about the task; on accord's thread."""
        if any(isinstance(event, _ENDS) for event in answer.events):
            self._settle(answer)

    def _settle(self, answer: Answer | None) -> None:
        self.forget()
        settle(self._ended, answer)

    async def result(self, *, wait_ms: int | None = None) -> Any:
        """The task's result, once it is completed: that of its last step, or of each of several, by name.

        Args:
            wait_ms: how long to wait; None waits without limit.

        Raises:
            TaskFailedError: a step that the task needs was given up; details `step`, `reason`.
            TaskCancelledError: somebody has cancelled it.
            NotFound: it is not remembered any more.
            ArtifactMissing, ArtifactAltered: the result is an artifact, and that is not there, or not the same.
            Unavailable: it has not ended within `wait_ms`, or nobody decides.
        """
        ended = await self._wait(self._ended, wait_ms, "has not ended")
        if ended is not None:
            self._raise_of(ended)
            results = {event.step: event.result for event in ended.events if isinstance(event, StepCompleted)}
            if len(self._last) == 1 and self._last[0] in results:
                return await value_of(self._hub, results[self._last[0]])
        read, told = await self._ask(self._last)
        if read.status != "completed":
            raise self._error(read.status, read.error, None)
        return _result(told, await self._values(read, told))

    def _raise_of(self, ended: Answer) -> None:
        for event in ended.events:
            match event:
                case TaskFailed(_, step, reason):
                    raise self._error("failed", f"{step}: {reason}", str(ended.position))
                case TaskCancelled(agent, reason):
                    raise self._error("cancelled", f"{agent}: {reason}", str(ended.position))

    def _error(self, status: str, reason: str, position: str | None) -> TaskFailedError | TaskCancelledError:
        if status == "cancelled":
            return TaskCancelledError(f"task {self.id} was cancelled by {reason}.", key=self.id, position=position)
        step, _, why = reason.partition(": ")
        return TaskFailedError(
            f"task {self.id} failed at its step {step} ({why}).",
            remedy=f"See: accord tasks show {self.id}. When its cause is gone: accord dlq retry.",
            key=self.id,
            position=position,
            step=step,
            reason=why,
        )

    async def _ask(self, steps: Sequence[str]) -> tuple[TaskRead, list[StepRead]]:
        """What the log tells of the task, in as many parts as it takes."""
        told: list[StepRead] = []
        while True:
            answer = await self.send(ReadTask(self._hub.connection.agent, tuple(steps), len(told)), task=self.id)
            (read,) = [event for event in answer.events if isinstance(event, TaskRead | TaskUnknown)]
            if isinstance(read, TaskUnknown):
                raise self._unknown()
            told += read.steps
            if len(told) >= read.total or not read.steps:
                return read, told

    async def look(self) -> None:
        """Finds out whether the task has ended before. Raises NotFound."""
        read, _ = await self._ask(())
        if read.status in ENDED:
            self._settle(None)

    async def record(self) -> dict[str, Any]:
        """The task as it is: `id`, `type`, `status` (pending, in_progress, completed, failed, cancelled), `input`,
        `created_at`, `steps` (`name`, `completed_at`, `result` of those completed, in that order), `result`,
        `completed_at`; and of those that were not, `failed_steps` (`name`, `status`, `error`). Times are ISO 8601.

        Raises:
            NotFound: it is not remembered any more.
            ArtifactMissing, ArtifactAltered: an input or result is an artifact, and that is not there, or not the same.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
        """
        read, told = await self._ask(())
        return record_of(self.id, read, told, await self._values(read, told))

    async def _values(self, read: TaskRead, told: Sequence[StepRead]) -> Value:
        """What the input and the results are, with the artifacts among them."""
        payloads = [read.input, *[one.result for one in told if one.result is not None]]
        artifacts = list({one for one in payloads if isinstance(one, Artifact)})
        values = [await value_of(self._hub, artifact) for artifact in artifacts]  # one by one: they may be large
        kept = dict(zip(artifacts, values, strict=True))
        return lambda payload: kept[payload] if isinstance(payload, Artifact) else json.loads(payload)

    async def cancel(self, reason: str = "") -> bool:
        """Ends the task; agents that run its steps are told. False: it had ended before.

        Raises:
            NotFound: it is not remembered any more.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
        """
        answer = await self.send(CancelTask(self._hub.connection.agent, reason), task=self.id)
        if any(isinstance(event, TaskUnknown) for event in answer.events):
            raise self._unknown()
        return not any(isinstance(event, TaskKnown) for event in answer.events)

    async def ended(self) -> list[StepRead]:
        """What became of its steps, once it is completed or has failed.

        Raises:
            TaskCancelledError: somebody has cancelled it.
            NotFound: it is not remembered any more.
            Unavailable: nobody decides.
        """
        await self._wait(self._ended, None, "has not ended")
        read, told = await self._ask(())
        if read.status == "cancelled":
            raise self._error(read.status, read.error, None)
        return told

    def abandon(self, reason: str) -> None:
        """Has the task cancelled, and waits for nothing."""
        with suppress(AccordError):
            self._submit(CancelTask(self._hub.connection.agent, reason), task=self.id)


def record_of(task_id: str, read: TaskRead, steps: Sequence[StepRead], value: Value = reference) -> dict[str, Any]:
    """A task as people and programs read it; see `Handle.record`.

    Args:
        value: gives what an input or a result is.
    """
    done = sorted((one for one in steps if one.status == "completed"), key=lambda one: one.ended_ms or 0)
    others = [one for one in steps if one.status in ("failed", "timed_out", "skipped", "blocked")]
    listed = [
        {
            "name": one.step,
            "completed_at": _at(one.ended_ms),
            "result": None if one.result is None else value(one.result),
        }
        for one in done
    ]
    return {
        "id": task_id,
        "type": read.type,
        "status": read.status,
        "input": value(read.input),
        "created_at": _at(read.created_ms),
        "steps": listed,
        "failed_steps": [{"name": one.step, "status": one.status, "error": one.error} for one in others],
        "result": _result(steps, value) if read.status == "completed" else None,
        "completed_at": _at(read.ended_ms),
        "error": read.error,
    }


def _result(steps: Sequence[StepRead], value: Value) -> Any:
    """The result of the last step; of several, each by its name, those that were completed."""
    last = [one for one in steps if one.last]
    found = {one.step: value(one.result) for one in last if one.result is not None}
    return found if len(last) > 1 else next(iter(found.values()), None)


def _at(ms: int | None) -> str | None:
    if ms is None:
        return None
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
