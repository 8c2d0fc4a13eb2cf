"""One question to four researchers at once, and one answer from what they have said by the deadline.

Rules that act here:
- The deadline counts from the submission, on the log's clock: the aggregator's step begins when all four have ended,
  and that a step without an answer ends at the deadline is a decision of the log. So it is kept whoever dies meanwhile.
- Who fails, is late, or is skipped since it failed too often of late, is marked in `sources`; the others count. With no
  answer at all the task has failed.
"""

from __future__ import annotations

from typing import Any, Final

from accord.agents.agent import Agent
from accord.agents.service.asking import Asker
from accord.agents.service.content import TEAM
from accord.agents.tasks.fan_out import joined
from accord.agents.tasks.graph import Run, TaskGraph

from accord.settings import AgentsSettings

FIELDS: Final = {
    "web": "what general sources on the web say",
    "academic": "what papers, studies and textbooks say",
    "news": "what the press reports, and when",
    "social": "what people say in forums and social media",
}
"""The researchers, and what each looks for."""
AGGREGATION: Final = "aggregation-queue"
RETRIES: Final = 2
"""After 5 and 10 s; a third retry, 15 s later, would begin when the default deadline is over."""
RESEARCHER: Final = "You are a researcher. Summarise {field}. Say so where you know of nothing."


def queue_of(kind: str) -> str:
    """The capability that a researcher's step needs."""
    return f"{kind}-research-queue"


def research_graph(deadline_ms: int) -> TaskGraph:
    """The task `parallel_research`; its input is `{query, agents}`, its result that of `aggregate`.

    Args:
        deadline_ms: by when the researchers must have answered, from the submission on.
    """
    graph = TaskGraph("parallel_research", team=TEAM)
    for kind in FIELDS:
        graph.add(kind, capability=queue_of(kind), optional=True, deadline_ms=deadline_ms, retries=RETRIES)
    graph.add("aggregate", after=list(FIELDS), capability=AGGREGATION, need=1)
    return graph


class ResearchAgents:
    """The four researchers; each asks the model from its own point of view. None of them reads the web itself."""

    def __init__(self, asker: Asker, settings: AgentsSettings) -> None:
        self._ask: Final = asker.ask
        self._settings: Final = settings

    def agents(self) -> dict[str, Agent]:
        """Each by its name."""
        return {kind: Agent(queue_of(kind), self.research, shown=kind) for kind in FIELDS}

    async def research(self, input: dict[str, Any], step: Run) -> dict[str, str]:
        instructions = RESEARCHER.format(field=FIELDS[step.name])
        prompt = f"As the {step.name} researcher, answer: {input['query']}"
        text = await self._ask(
            step.name, prompt, instructions=instructions, max_tokens=self._settings.research_max_tokens
        )
        return {"summary": text}


async def aggregate(input: dict[str, Any], step: Run) -> dict[str, Any]:
    """`query`, `sources`, `summary`, `completed_agents`, `timed_out`, `skipped_agents`; see `Accord.fan_out`."""
    return joined(input["query"], input["agents"], step.inputs, step.errors, step.statuses)


def aggregator() -> Agent:
    """The agent that puts the answers together. It asks no model."""
    return Agent(AGGREGATION, aggregate, shown="aggregator")
