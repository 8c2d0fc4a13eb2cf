"""What tests of patterns need: agents that say what they were given, and a run without a log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from accord.agents.agent import Agent
from accord.agents.patterns import Flow, Pattern
from accord.agents.patterns.publishing import PUBLISHER
from accord.agents.signals.plain import as_json
from accord.agents.tasks.call import Called

from accord.errors import Failure


def says(name: str, answer: Any = None, told: list[tuple[str, Any]] | None = None, **terms: Any) -> Agent:
    """An agent that answers the same, a function's word on its task, or raises what it is given.

    Args:
        answer: None: `name(task)`.
        told: where (name, task) goes of every task that it was given.
    """

    async def run(task: Any) -> Any:
        if told is not None:
            told.append((name, task))
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Callable):  # type: ignore[arg-type]
            return answer(task)
        return f"{name}({task})" if answer is None else answer

    return Agent(name, run, **terms)


class Direct(Flow):
    """A run whose calls are made at once and are on no log: for what patterns make of the answers."""

    def __init__(self) -> None:
        self.run = "direct"  # type: ignore[misc]
        self.events: list[dict[str, Any]] = []
        self._place = ()

    async def call(
        self, agent: Agent | str, task: Any, *, results: Mapping[str, Any] | None = None, together: bool = False,
        place: str = "",
    ) -> Called:  # fmt: skip
        assert isinstance(agent, Agent)
        if agent is PUBLISHER:
            self.events.append(task["data"])
            return Called(agent.name, "completed", None, None, ())
        try:
            result = await agent.function.call(json.loads(as_json(task)))
        except Exception as error:
            return Called(agent.name, "failed", None, Failure(str(error), agent=agent.name, status="failed"), ())
        return Called(agent.name, "completed", json.loads(as_json(result)), None, ())


def directly(pattern: Pattern, input: Any = "x", flow: Direct | None = None) -> Any:
    """What a pattern makes of its agents' answers."""
    return asyncio.run(asyncio.wait_for(pattern.flow(flow or Direct(), input), 10))
