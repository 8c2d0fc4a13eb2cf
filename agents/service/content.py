"""An article from a topic: research, writing, editing, publishing, one after the other.

Rules that act here:
- The capabilities of the steps are the names of the queues; the next one gets what the one before has recorded.
- What was recorded is never done again. A step whose process died first is: the model is then asked a second time,
  unless its answer was recorded already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from accord.agents.agent import Agent
from accord.agents.service.asking import Asker
from accord.agents.tasks.graph import Run, TaskGraph

from accord.settings import AgentsSettings

TEAM: Final = "service"
"""Of all agents of the service."""
STEPS: Final = {
    "research": "research-tasks",
    "writing": "writer-tasks",
    "editing": "editor-tasks",
    "publishing": "publisher-tasks",
}
"""The steps in their order, each with the capability that it needs."""

RESEARCHER: Final = "You are a researcher. Collect facts, figures and points of view; name what is disputed."
WRITER: Final = "You are a writer. Write clear prose for readers who are new to the topic, from the research alone."
EDITOR: Final = "You are an editor. Return the whole article, improved in structure, wording and grammar; nothing else."


def content_graph() -> TaskGraph:
    """The task `content_creation`; its input is `{topic}`, its result `{topic, final_article, word_count}`."""
    graph = TaskGraph("content_creation", team=TEAM)
    before: list[str] = []
    for name, capability in STEPS.items():
        graph.add(name, after=before, capability=capability)
        before = [name]
    return graph


class ContentAgents:
    """The agents of the steps. All but the publisher ask the model."""

    def __init__(self, asker: Asker, settings: AgentsSettings) -> None:
        self._ask: Final = asker.ask
        self._settings: Final = settings

    def agents(self) -> dict[str, Agent]:
        """Each by its name."""
        runs: dict[str, Callable[..., Any]] = {
            "researcher": self.research,
            "writer": self.write,
            "editor": self.edit,
            "publisher": self.publish,
        }
        return {name: Agent(queue, runs[name], shown=name) for name, queue in zip(runs, STEPS.values(), strict=True)}

    async def research(self, input: dict[str, str]) -> dict[str, str]:
        prompt = f"Research this topic for an article: {input['topic']}"
        text = await self._ask(
            "researcher", prompt, instructions=RESEARCHER, max_tokens=self._settings.research_max_tokens
        )
        return {"research": text}

    async def write(self, input: dict[str, str], step: Run) -> dict[str, str]:
        prompt = f"Write an article about: {input['topic']}\n\nResearch:\n{step.inputs['research']['research']}"
        text = await self._ask("writer", prompt, instructions=WRITER, max_tokens=self._settings.writer_max_tokens)
        return {"draft": text}

    async def edit(self, input: dict[str, str], step: Run) -> dict[str, str]:
        prompt = f"Edit this draft of an article about: {input['topic']}\n\nDraft:\n{step.inputs['writing']['draft']}"
        text = await self._ask("editor", prompt, instructions=EDITOR, max_tokens=self._settings.editor_max_tokens)
        return {"article": text}

    async def publish(self, input: dict[str, str], step: Run) -> dict[str, Any]:
        article = step.inputs["editing"]["article"]
        return {"topic": input["topic"], "final_article": article, "word_count": len(article.split())}
