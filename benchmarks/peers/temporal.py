"""Temporal's replayer: a lock as a workflow that is told of grants and releases by signals, run again from its history.

The history is made here, as Temporal's server records it: each signal, then the workflow task that takes it. Nothing is
executed but the workflow's own code, without Temporal's sandbox, which would take longer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from benchmarks.peers.peer import lacking

MODULE: Final = "temporalio"
ROUNDS: Final = 500
"""Grants of a lock; Temporal bounds a history at some 50,000 events, a signal takes four."""
START_MS: Final = 1_772_000_000_000


def missing() -> str | None:
    """What is not installed; None: it can run."""
    return lacking(MODULE)


def replay_rate(count: int) -> float:
    """Signals a second, grants and releases by turns.

    Args:
        count: of signals, rounded to whole histories.

    Raises:
        RuntimeError: a history is not what the workflow makes of it.
    """
    from temporalio.worker import Replayer, UnsandboxedWorkflowRunner  # noqa: PLC0415

    from benchmarks.peers.temporal_lock import Lock  # noqa: PLC0415

    histories = [_history(f"room-{number}") for number in range(max(1, count // (2 * ROUNDS)))]

    async def given() -> AsyncIterator[Any]:
        for history in histories:
            yield history

    async def replay() -> float:
        replayer = Replayer(workflows=[Lock], workflow_runner=UnsandboxedWorkflowRunner())
        began = time.perf_counter()
        results = await replayer.replay_workflows(given(), raise_on_replay_failure=False)
        seconds = time.perf_counter() - began
        if results.replay_failures:
            raise RuntimeError(f"Temporal's replayer failed: {results.replay_failures}")
        return 2 * ROUNDS * len(histories) / seconds

    return asyncio.run(replay())


def _history(name: str) -> Any:
    from temporalio.client import WorkflowHistory  # noqa: PLC0415

    made = _History(name)
    for token in range(1, ROUNDS + 1):
        agent = f"agent-{token % 8}#5f2c"
        made.signal("grant", f"{token:032x}", agent, f"{agent}:{token}", token, 3_600_000, START_MS + token)
        made.signal("release", agent, token)
    made.complete(ROUNDS)
    return WorkflowHistory(workflow_id=name, events=made.events)


class _History:
    """The events of one workflow, as they come."""

    def __init__(self, name: str) -> None:
        from temporalio.converter import DataConverter  # noqa: PLC0415

        self._payloads = DataConverter.default.payload_converter.to_payloads
        self.events: list[Any] = []
        told = self._event("WORKFLOW_EXECUTION_STARTED").workflow_execution_started_event_attributes
        told.workflow_type.name, told.task_queue.name, told.workflow_id, told.attempt = "Lock", "locks", name, 1
        told.original_execution_run_id = told.first_execution_run_id = name
        told.input.payloads.extend(self._payloads([2 * ROUNDS]))
        self._task = self._work()

    def signal(self, name: str, *arguments: Any) -> None:
        told = self._event("WORKFLOW_EXECUTION_SIGNALED").workflow_execution_signaled_event_attributes
        told.signal_name, told.identity = name, "bench"
        told.input.payloads.extend(self._payloads(arguments))
        self._task = self._work()

    def complete(self, result: int) -> None:
        told = self._event("WORKFLOW_EXECUTION_COMPLETED").workflow_execution_completed_event_attributes
        told.workflow_task_completed_event_id = self._task
        told.result.payloads.extend(self._payloads([result]))

    def _work(self) -> int:
        """A workflow task, from its begin to its end; the number of its last event."""
        scheduled = self._event("WORKFLOW_TASK_SCHEDULED")
        scheduled.workflow_task_scheduled_event_attributes.task_queue.name = "locks"
        started = self._event("WORKFLOW_TASK_STARTED")
        started.workflow_task_started_event_attributes.scheduled_event_id = scheduled.event_id
        completed = self._event("WORKFLOW_TASK_COMPLETED")
        told = completed.workflow_task_completed_event_attributes
        told.scheduled_event_id, told.started_event_id = scheduled.event_id, started.event_id
        return int(completed.event_id)

    def _event(self, kind: str) -> Any:
        from temporalio.api.enums.v1 import EventType  # noqa: PLC0415
        from temporalio.api.history.v1 import HistoryEvent  # noqa: PLC0415

        event = HistoryEvent(event_id=len(self.events) + 1, event_type=EventType.Value(f"EVENT_TYPE_{kind}"))
        event.event_time.FromMilliseconds(START_MS + len(self.events))
        self.events.append(event)
        return event
