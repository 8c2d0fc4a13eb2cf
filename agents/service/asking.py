"""The model that the service's agents ask.

Rules that act here:
- It is made at the first question: without a key a step fails, and says what to set; the process goes on.
- Its calls are on the log of the hub that works, each under its agent's name, and what was answered before is not asked
  again: see `docs/llm.md`.
- A question that the endpoint cannot take will not be taken later either: its step is given up at once. Whatever else
  fails is tried again, by the client within a run, then by the log after 5, 10 and 15 s.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from accord.agents.context import current
from accord.agents.llm.model import Model
from accord.agents.tasks.graph import GiveUp

from accord.errors import BadInput
from accord.settings import Settings


class Asker:
    """One model for all agents of a process. Use it with `async with`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.llm.model_copy(update={"model": settings.agents.model})
        self._model: Model | None = None

    async def ask(self, agent: str, prompt: str, *, instructions: str, max_tokens: int) -> str:
        """The model's answer. Raises as `Model.ask`, and GiveUp: it cannot take this question."""
        if self._model is None:
            self._model = Model(self._settings, hub=current("An agent of the service"))
        try:
            reply = await self._model.ask(prompt, instructions=instructions, max_tokens=max_tokens, agent=agent)
        except BadInput as error:
            if error.code == BadInput.__name__:  # a ConfigError may be that of this process alone
                raise GiveUp(str(error)) from error
            raise
        return reply.text

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._model is not None:
            await self._model.__aexit__(kind, error, trace)
