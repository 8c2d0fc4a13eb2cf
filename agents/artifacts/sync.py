"""Artifacts, as a property of the sync hub."""

from __future__ import annotations

from accord.agents.artifacts.artifacts import BlockingArtifacts
from accord.agents.hub import Hub


class SyncArtifactsHub(Hub):
    """What a sync hub offers of artifacts."""

    @property
    def artifacts(self) -> BlockingArtifacts:
        """Contents beside the log: `put` and `get`."""
        return self.blocking_artifacts
