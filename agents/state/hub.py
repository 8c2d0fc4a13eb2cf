"""Shared state, as methods of the hub."""

from __future__ import annotations

from accord.agents.hub import Hub
from accord.agents.state.scope import Scope


class StateHub(Hub):
    """What a hub offers of shared state."""

    def state(self, scope: str) -> Scope:
        """A scope of versioned keys that agents share; it comes into being when it is first written to.

        Args:
            scope: its name, 1 to 249 bytes of UTF-8, say `customer_456`. What must change together is in one scope; all
                of a scope is decided in one place, so what need not is better in several.

        Raises:
            BadInput: it cannot be a name.
        """
        return Scope(self, scope)
