"""Language models, as a method of the hub."""

from __future__ import annotations

from accord.agents.hub import Hub
from accord.agents.llm.model import Model

from accord.settings import LlmSettings


class LlmHub(Hub):
    """What a hub offers of language models."""

    def model(self, settings: LlmSettings | None = None, *, agent: str | None = None) -> Model:
        """A language model whose calls are recorded on the log, and whose answers are reused; for `async with`.

        Args:
            settings: where and whom to ask; None: the hub's settings, `llm`.
            agent: whose calls they are, for `accord llm costs`; None: this agent's.

        Raises:
            ConfigError: there is no key for the endpoint.
        """
        return Model(settings, hub=self, agent=agent)
