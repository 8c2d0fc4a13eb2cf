"""One question to several agents at once, and what they have answered by a deadline.

Rules that act here:
- The deadline counts from the beginning, on the log's clock. Who has not answered by then is left out, and what it
  says later changes nothing, which is recorded.
- An agent that fails, or whose breaker is open, is left out in the same way: the others are waited for all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from accord.agents.agent import Agent
from accord.agents.tasks.graph import TaskGraph
from accord.agents.tasks.submit import KEEP_MS, submit

from accord.errors import BadInput, TaskFailedError

if TYPE_CHECKING:
    from accord.agents.hub import Hub

DEADLINE_MS: Final = 30_000
FAN_OUT: Final = "fan_out"


def graph_of(agents: Iterable[str | Agent], deadline_ms: int, team: str) -> TaskGraph:
    """A step for each agent, none of which waits for another. Raises BadInput: there is none, or one stands twice."""
    graph = TaskGraph(FAN_OUT, team=team)
    for agent in agents:
        known = agent.name if isinstance(agent, Agent) else agent
        graph.add(known, capability=known, optional=True, deadline_ms=deadline_ms)
    if not graph.steps:
        raise BadInput("fan_out() to no agents: at least one is needed.")
    return graph


async def fan_out(
    hub: Hub, input: Any, agents: Iterable[str | Agent], *, deadline_ms: int, team: str, key: str | None
) -> dict[str, Any]:
    """`Accord.fan_out`, on any hub."""
    graph = graph_of(agents, deadline_ms, team)
    handle = await submit(hub, graph, input, key=key, keep_ms=KEEP_MS)
    await handle.result()
    answers = answers_of(await handle.record(), [step.name for step in graph.steps])
    if not answers["completed_agents"]:
        raise TaskFailedError(
            f"none of {len(answers['sources'])} agents has answered task {handle.id} within {deadline_ms} ms.",
            remedy="Are they there? See: accord agents list.",
            key=handle.id,
            sources=answers["sources"],
        )
    return answers


def answers_of(record: Mapping[str, Any], agents: Sequence[str]) -> dict[str, Any]:
    """What a fan-out has brought, from the record of its task; see `Accord.fan_out`."""
    results = {step["name"]: step["result"] for step in record["steps"]}
    missed = record["failed_steps"]
    errors = {step["name"]: step["error"] or step["status"] for step in missed}
    return joined(record["input"], agents, results, errors, {step["name"]: step["status"] for step in missed})


def joined(
    query: Any,
    agents: Iterable[str],
    results: Mapping[str, Any],
    errors: Mapping[str, str],
    statuses: Mapping[str, str],
) -> dict[str, Any]:
    """The answers of several agents as one; see `Accord.fan_out`.

    Args:
        agents: in the order in which they are to be listed.
        results, errors: of those that have answered, and of those that have not.
        statuses: of the latter, at least: failed, timed_out, skipped.
    """
    asked = [agent for agent in agents if agent in results or agent in errors]
    summaries = [results[agent].get("summary") for agent in asked if isinstance(results.get(agent), Mapping)]
    return {
        "query": query,
        "sources": [
            {"agent": agent, "data": results[agent]} if agent in results else {"agent": agent, "error": errors[agent]}
            for agent in asked
        ],
        "summary": "\n\n".join(str(summary) for summary in summaries if summary),
        "completed_agents": sum(agent in results for agent in asked),
        "timed_out": any(statuses.get(agent) == "timed_out" for agent in asked),
        "skipped_agents": [agent for agent in asked if statuses.get(agent) == "skipped"],
    }
