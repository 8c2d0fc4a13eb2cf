"""One agent is asked to do one thing: a task of one step, and how it went.

Rules that act here:
- The deadline counts from the submission, on the log's clock, and is for all runs together: at the deadline the run is
  cancelled and nothing follows. A run that fails before is repeated after a pause, as often as was said.
- The task's key names the call: who calls again with it gets what the log has, and nothing is run twice that was
  recorded. So no call that ended needs the process that made it.
- An agent that works elsewhere is not asked while its breaker is open. One of the caller's own process is waited for:
  the process may have died, and come back.
- Whoever is cancelled while it waits, and gave no key, takes the call back: nobody else could ask for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from accord.agents.artifacts.artifacts import value_of
from accord.agents.tasks.given import CALL, RESULTS
from accord.agents.tasks.graph import TASK, TASKS, TaskGraph
from accord.agents.tasks.submit import submit
from accord.schemas.messages.tasks import EndedRun, StepRead
from accord.streams.tasks.bounds import LIMIT_MS_MAX, TIMEOUT_MS_MAX

from accord.errors import Failure

if TYPE_CHECKING:
    from accord.agents.hub import Hub

KEEP_MS: Final = 24 * 3_600_000
"""How long a call is remembered once it has ended: for so long it can be made again and is the same."""
KEEP_MINE_MS: Final = 3_600_000
"""The same for one that nobody else can make again."""
GRACE_MS: Final = 10_000
"""A run is ended by the call's deadline, which the log keeps; so much later by its own process."""


class Called(NamedTuple):
    """How a call went: `result`, or the `failure`; and before it, the `runs` that brought no result.

    `status` is completed, failed, timed_out or skipped.
    """

    agent: str
    status: str
    result: Any
    failure: Failure | None
    runs: Sequence[EndedRun]

    @property
    def value(self) -> Any:
        """The result, or the failure in its place."""
        return self.result if self.failure is None else self.failure


class Terms(NamedTuple):
    """Of every call that a pattern makes; see `Supervisor`."""

    timeout_ms: int
    retries: int
    team: str


async def call(
    hub: Hub,
    agent: str,
    task: Any,
    terms: Terms,
    *,
    key: str,
    results: Mapping[str, Any] | None = None,
    together: bool = False,
    mine: bool = False,
    here: bool = False,
) -> Called:
    """Has an agent do something, and waits until it has, or has failed, or is too late.

    Args:
        agent: its name; whoever works as it in the team is given the step.
        key: of the task.
        results: what others have brought so far, by agent: the `results` of the context.
        together: `task` is a list of tasks, which the agent takes together.
        mine: nobody else knows the key.
        here: the agent works in this process.

    Raises:
        TermsDiffer: the key has another call.
        BadInput, TooLarge: what is asked is no JSON, or too much.
        TaskCancelledError: somebody has ended the task.
        NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
    """
    graph = TaskGraph(CALL, team=terms.team)
    graph.add(
        agent, capability=agent, optional=not here, retries=terms.retries, deadline_ms=terms.timeout_ms,
        timeout_ms=min(terms.timeout_ms + GRACE_MS, TIMEOUT_MS_MAX), wait_ms=LIMIT_MS_MAX,
    )  # fmt: skip
    input = {TASKS: task} if together else {TASK: task, RESULTS: results or {}}
    handle = await submit(hub, graph, input, key=key, keep_ms=KEEP_MINE_MS if mine else KEEP_MS)
    try:
        (step,) = await handle.ended()
    except asyncio.CancelledError:
        if mine:
            handle.abandon("whoever asked has given up")
        raise
    if step.status == "completed":
        assert step.result is not None
        return Called(agent, step.status, await value_of(hub, step.result), None, step.runs)
    return Called(agent, step.status, None, _failure(agent, step), step.runs)


def _failure(agent: str, step: StepRead) -> Failure:
    text = {
        "timed_out": f"{agent} timed out",
        "skipped": f"{agent} was not asked: it failed too often of late",
    }.get(step.status, step.error or f"{agent} failed")
    return Failure(text, agent=agent, status=step.status)


def same(value: Any) -> str:
    """A text that is the same for the same value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
