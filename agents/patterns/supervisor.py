"""A supervisor: it gives a task to the agents that are needed for it, and collects what they bring.

    supervisor = Supervisor([research, facts, style])
    results = await supervisor.route_and_execute("an article on whales", ["research", "facts"])
    await supervisor.resolve(results)                # whose result counts, where they differ

Rules that act here:
- An agent that fails is given the task once more; then the error is its result: a `Failure`, as a value. So it is for
  one that takes too long, and its run is cancelled. None of them stops the others.
- Side by side, or one after the other; then each is given the results so far (`context`).
- What was recorded under a `key` is never run again: a supervisor that died goes on where it was (see flow.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from accord.agents.agent import Agent
from accord.agents.context import current
from accord.agents.patterns.flow import MAX_RUNNING, RETRIES, TIMEOUT_MS, Flow, agents_of, by_name, together
from accord.agents.tasks.call import Called, same
from accord.agents.tasks.graph import TEAM

from accord.errors import BadInput, Failure

if TYPE_CHECKING:
    from accord.agents.client import Accord

LOG_MAX: Final = 10_000
"""Runs that the execution log has; the oldest are dropped. The log on Kafka has them all."""


class Supervisor:
    """What gives tasks to agents.

    Args:
        agents: those that there are. An `Agent` works in this process while it is needed; a name is of one that works
            elsewhere: `hub.work(agent)`.
        timeout_ms: how long an agent may take for a task, with its retries, by the log's clock.
        max_running: how many may be at work at a time, for one call of the supervisor.
        retries: how often an agent that failed is given the task again: after 5 s, then 10, then always 15.
        team: in which the agents work.
        hub: None: the one that is open where it is used.

    Raises:
        BadInput: two agents have one name, or one is none.
    """

    def __init__(
        self,
        agents: Iterable[Agent | str],
        *,
        timeout_ms: int = TIMEOUT_MS,
        max_running: int = MAX_RUNNING,
        retries: int = RETRIES,
        team: str = TEAM,
        hub: Accord | None = None,
    ) -> None:
        given = list(agents)
        agents_of(given)
        self._agents: dict[str, Any] = by_name("Supervisor", given, least=0)
        self._terms = hub, timeout_ms, retries, max_running, team
        self.log: Final[deque[dict[str, Any]]] = deque(maxlen=LOG_MAX)
        """The execution log: `{agent, status, result}` of every run, as the log on Kafka has it. A run that failed and
        is tried again has its own; `status` is completed, failed, timed_out, lost (its process was), returned (its
        process left) or skipped."""

    async def route_and_execute(
        self, task: Any, required_agents: Sequence[str], parallel: bool = True, *, key: str | None = None
    ) -> dict[str, Any]:
        """Gives a task to several agents.

        Args:
            task: JSON types, dataclasses or pydantic models.
            required_agents: their names; none is nothing to do.
            parallel: side by side. Else one after the other, in this order; each has in `context` the `task` and the
                `results` so far, by agent.
            key: of this run, 1 to 120 bytes: made again with the same key, task and agents within a day, it goes on
                where it was. None: a new run.

        Returns:
            The result of each by its name, in the order of `required_agents`; a `Failure`, which is also the mapping
            `{"error": text}`, in place of one that there is not.

        Raises:
            BadInput: an agent is unknown or named twice. Nothing was begun.
            TermsDiffer: the key has been used for something else.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
        """
        needed = self._needed(required_agents)
        if not needed:
            return {}
        async with self._flow(needed, key) as flow:
            if parallel:
                called = await together({name: flow.call(name, task) for name in needed})
                return {name: one.value for name, one in called.items()}
            results: dict[str, Any] = {}
            for name in needed:
                results[name] = (await flow.call(name, task, results=results)).value
            return results

    async def route_and_execute_all(
        self, tasks: Sequence[Any], required_agents: Sequence[str], *, key: str | None = None
    ) -> list[dict[str, Any]]:
        """Gives several tasks to several agents, side by side, and each agent no task twice.

        Tasks that are the same (equal as JSON) are one for an agent, and all of them have its result. An agent with a
        `batch` is given as many different ones together, in the order in which they stand here.

        Returns:
            For each task what `route_and_execute` returns. Arguments and errors are its own.
        """
        needed = self._needed(required_agents)
        if not needed or not tasks:
            return [{} for _ in tasks]
        different = {same(task): task for task in tasks}
        async with self._flow(needed, key) as flow:
            brought = await together({name: self._brought(flow, name, different) for name in needed})
        return [{name: brought[name][same(task)] for name in needed} for task in tasks]

    async def resolve(
        self, results: Mapping[str, Any], *, ground: str | None = None, key: str | None = None,
        wait_ms: int | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Whose result counts, where the agents have found different things; see `Accord.findings`.

        Args:
            results: by agent, as the methods above return them. Who failed takes no part. An object with a
                `recommendation` recommends that, and what else it has is told the judge; any other result is what is
                recommended. What a result says sets nobody's priority.
            ground: whose judges are asked; None: `judge`, which any process may be: `hub.judge(model)`.
            key: of this resolution; made again with the same results it is the same one. None: a new one.
            wait_ms: how long to wait for it; None: without limit.

        Returns:
            `{"status": "no_conflicts", "findings": [...]}`, or `{"status": "resolved", "resolution": {...}}` with
            `winner`, `reasoning`, `confidence` and more.

        Raises:
            What `Accord.findings` raises.
        """
        findings = [_finding(name, result) for name, result in results.items() if not isinstance(result, Failure)]
        if not findings:
            return {"status": "no_conflicts", "findings": []}
        hub = self._terms[0] or cast("Accord", current("Supervisor.resolve()"))
        return await hub.findings(findings, ground=ground, key=key, wait_ms=wait_ms)

    async def _brought(self, flow: Flow, name: str, different: dict[str, Any]) -> dict[str, Any]:
        """What an agent has brought for each task, by the task's text."""
        agent = self._agents[name]
        size = agent.batch if isinstance(agent, Agent) else 1
        texts = list(different)
        batches = [texts[first : first + size] for first in range(0, len(texts), size)]
        part = flow.at(name)
        if size == 1:
            made = {text: part.call(name, different[text], place=str(number)) for number, text in enumerate(texts)}
            return {text: one.value for text, one in (await together(made)).items()}
        calls = {
            str(number): part.call(name, [different[text] for text in batch], together=True, place=str(number))
            for number, batch in enumerate(batches)
        }
        found: dict[str, Any] = {}
        for batch, called in zip(batches, (await together(calls)).values(), strict=True):
            results = called.result if called.failure is None else [called.failure] * len(batch)
            found |= zip(batch, results, strict=True)
        return found

    def _needed(self, required_agents: Sequence[str]) -> list[str]:
        needed = list(required_agents)
        unknown = [name for name in needed if name not in self._agents]
        if unknown:
            raise BadInput(f"unknown agents: {', '.join(map(repr, unknown))}. There are: {', '.join(self._agents)}.")
        if len(set(needed)) < len(needed):
            raise BadInput(f"required_agents={needed!r}: one is named twice.")
        return needed

    def _flow(self, needed: Sequence[str], key: str | None) -> Flow:
        here = agents_of(self._agents[name] for name in needed)
        hub, timeout_ms, retries, max_running, team = self._terms
        flow = Flow("Supervisor", here, key, hub, timeout_ms, retries, max_running, team)
        flow.heard = self._record
        return flow

    def _record(self, called: Called) -> None:
        entries = [(run.status, Failure(run.error or run.status)) for run in called.runs]
        if called.failure is not None and called.runs and called.status == called.runs[-1].status:
            del entries[-1]  # it is what the call ended with
        entries.append((called.status, called.value))
        self.log.extend({"agent": called.agent, "status": status, "result": result} for status, result in entries)


def _finding(agent: str, result: Any) -> dict[str, Any]:
    if not isinstance(result, Mapping) or "recommendation" not in result:
        return {"agent": agent, "recommendation": result}
    return {name: value for name, value in result.items() if name != "priority"} | {"agent": agent}
