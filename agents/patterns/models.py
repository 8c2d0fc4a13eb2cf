"""A language model as an agent's function.

editor = Agent("editor", asks("You are an editor. Return the text, improved."))
tagger = Agent("tagger", asks("Answer with one word."), simple=True)       # the cheaper model
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from accord.agents.llm.model import Model
from accord.agents.tasks.graph import GiveUp

from accord.errors import BadInput


def asks(instructions: str, *, max_tokens: int | None = None) -> Callable[..., Awaitable[str]]:
    """A function for `Agent`: it asks the agent's model, and returns the text of the answer.

    The task is the question; what is no text is written as JSON. Results so far come after it. A question that was
    answered before is not asked again (docs/llm.md).

    Args:
        instructions: what holds for every question.
        max_tokens: most tokens of an answer; None for the setting's.
    """

    async def ask(task: Any, context: dict[str, Any], model: Model) -> str:
        question = _text(task)
        for name, result in context["results"].items():
            question += f"\n\n{name}:\n{_text(result)}"
        try:
            return (await model.ask(question, instructions=instructions, max_tokens=max_tokens)).text
        except BadInput as error:
            if error.code == BadInput.__name__:  # another try is of no use; a ConfigError may be this process's alone
                raise GiveUp(str(error)) from error
            raise

    return ask


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
