"""Shared state, as methods of the hub."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import TypeVar

from accord.agents.hub import Hub
from accord.agents.state.scope import Scope
from accord.agents.state.transaction import DEFAULT_ISOLATION, Isolation, Locking, Transaction, turn
from accord.agents.state.turns import TRANSACTION_ATTEMPTS, Crowd, tries

from accord.errors import SnapshotTooOld, VersionConflict

R = TypeVar("R")


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

    async def run_transaction(
        self,
        scope: str | Scope,
        function: Callable[[Transaction], Awaitable[R]],
        *,
        isolation: Isolation = DEFAULT_ISOLATION,
        locking: Locking = "optimistic",
        attempts: int = TRANSACTION_ATTEMPTS,
    ) -> R:
        """Calls a function with a transaction on a scope and commits what it has written; again, from its beginning, if
        others came in between. Returns what the function returns.

        Args:
            function: is given the transaction (`get`, `keys`, `items`, `put`, `delete`). It is called as often as there
                are conflicts: let it do nothing else that lasts.
            isolation, locking: see `Scope.transaction`.
            attempts: how often to try, 1 to 1,000. After a conflict all who change the scope take turns.

        Raises:
            VersionConflict, SnapshotTooOld: others came in between each time.
            What the function raises: then nothing is written.
            And what `Scope.transaction` raises.
        """
        known = scope if isinstance(scope, Scope) else self.state(scope)
        crowd = Crowd(self, known.name)
        for last in tries(attempts):
            alone = turn(self, known.name) if crowd.is_there else nullcontext()
            try:
                async with alone, known.transaction(isolation=isolation, locking=locking) as tx:
                    result = await function(tx)
            except (VersionConflict, SnapshotTooOld):
                if last:
                    raise
            else:
                return result
        raise AssertionError("returned or raised")
