"""What tests of patterns need: agents that say what they were given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accord.agents.agent import Agent


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
