"""Tasks, as methods of the hub."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from accord.agents.agent import Agent
from accord.agents.hub import Hub
from accord.agents.tasks.fan_out import DEADLINE_MS, fan_out
from accord.agents.tasks.graph import TEAM, TaskGraph
from accord.agents.tasks.handle import Handle
from accord.agents.tasks.submit import KEEP_MS, find, submit
from accord.agents.tasks.work import DRAIN_MS, Work


class TasksHub(Hub):
    """What a hub offers of tasks."""

    async def submit(
        self,
        graph: TaskGraph,
        input: Any = None,
        *,
        key: str | None = None,
        keep_ms: int = KEEP_MS,
        waiting_max: int | None = None,
    ) -> Handle:
        """Begins a task and returns when the log has it.

        Args:
            input: what its steps are given; JSON types, dataclasses or pydantic models. Above 256 KiB it is kept as an
                artifact, of `artifacts.bytes_max` at most.
            key: idempotency key and name of the task: submitted again with the same graph and input it is the same
                task, for as long as it is remembered. None: a new one.
            keep_ms: how long the task is remembered after it was completed or cancelled; a failed one is for 7 days.
            waiting_max: it is not begun while so many steps wait for an agent of the team; 0: however many do. None:
                `client.waiting_max`.

        Raises:
            BadInput: the graph is none, or an argument cannot be right.
            TermsDiffer: another task has this key.
            Overloaded: too many steps wait already; detail `retry_after_ms`.
            TooLarge: its input is larger than an artifact may be.
            Rejected: the log refuses it, say for the size of its graph.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
            Unavailable: the store of artifacts cannot be written.
        """
        return await submit(self, graph, input, key=key, keep_ms=keep_ms, waiting_max=waiting_max)

    async def fan_out(
        self,
        input: Any,
        *,
        agents: Iterable[str | Agent],
        deadline_ms: int = DEADLINE_MS,
        team: str = TEAM,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Asks several agents at once, and returns what they have answered once all have, or at the deadline.

        Args:
            agents: their names; each is run by whoever works as it.
            deadline_ms: by when they must have answered, from now on, by the log's clock.
            team: in which they work.
            key: as for `submit`.

        Returns:
            `query` (the input), `sources` (in the order of `agents`: `agent` and its `data`, or its `error`), `summary`
            (the answers' own, a blank line between them), `completed_agents` (how many have answered), `timed_out`
            (whether the deadline left somebody out), `skipped_agents` (those that were not asked, for they failed too
            often of late).

        Raises:
            TaskFailedError: nobody has answered; details `sources`.
            BadInput: no agents, one of them twice, or an argument that cannot be right.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
        """
        return await fan_out(self, input, agents, deadline_ms=deadline_ms, team=team, key=key)

    async def task(self, task_id: str) -> Handle:
        """A task that was submitted before, by whomever. Raises NotFound: there is none, or it ended long ago."""
        return await find(self, task_id)

    def work(
        self,
        *offered: TaskGraph | Agent,
        capabilities: Iterable[str] | None = None,
        slots: int = 8,
        team: str | None = None,
        lease_ms: int | None = None,
        drain_ms: int = DRAIN_MS,
    ) -> Work:
        """Takes steps and runs them, for as long as `async with` lasts.

        A step runs at least once: if its process dies before its result was recorded, it is run again, with the same
        `step.key`. Once recorded it never is.

        Args:
            offered: agents, and graphs whose functions run here.
            capabilities: what it is able to do; None: all that these agents are, and these functions need.
            slots: how many steps at a time. Plain functions run in as many threads.
            team: None: that of the graphs.
            lease_ms: after so long without a sign of life others get its steps, 1,000 to 86,400,000. None: it hangs on
                the process's heartbeat (`health` in the settings).
            drain_ms: how long leaving waits for what runs; the rest is given back and cancelled.

        Raises (when entered):
            BadInput: an argument cannot be right.
            Overloaded: the team is full.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
        """
        return Work(
            self, offered, capabilities=capabilities, slots=slots, team=team, lease_ms=lease_ms, drain_ms=drain_ms
        )
