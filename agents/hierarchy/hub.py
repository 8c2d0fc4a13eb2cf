"""Hierarchies, as a method of the hub."""

from __future__ import annotations

from accord.agents.hierarchy.organisation import Organisation
from accord.agents.hub import Hub


class HierarchyHub(Hub):
    """What a hub offers of hierarchies."""

    def hierarchy(self, name: str, *, agent: str | None = None) -> Organisation:
        """An organisation, a tree of who may decide what, by name; there need be none yet.

        Args:
            agent: in whose name it is used, one of several agents of this program; None: the hub's agent.

        Raises:
            BadInput: a name cannot be one.
        """
        return Organisation(self, name, agent)
