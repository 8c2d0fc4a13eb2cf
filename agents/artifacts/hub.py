"""Artifacts, as a property of the hub."""

from __future__ import annotations

from accord.agents.artifacts.artifacts import Artifacts
from accord.agents.hub import Hub


class ArtifactsHub(Hub):
    """What a hub offers of artifacts."""

    @property
    def artifacts(self) -> Artifacts:
        """Contents beside the log: `put` and `get`."""
        return Artifacts(self.blocking_artifacts)
