"""Language models, as a method of the sync hub."""

from __future__ import annotations

from accord.agents.hub import Hub
from accord.agents.llm.model import SyncModel

from accord.settings import LlmSettings


class SyncLlmHub(Hub):
    """What a sync hub offers of language models."""

    def model(self, settings: LlmSettings | None = None, *, agent: str | None = None) -> SyncModel:
        """A language model whose calls are recorded and whose answers are reused; as `accord.Accord.model`."""
        return SyncModel(settings, hub=self, agent=agent)
