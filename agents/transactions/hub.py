"""Transactions over several scopes, as methods of the hub."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from accord.agents.hub import Hub
from accord.agents.state.transaction import DEFAULT_ISOLATION, Isolation
from accord.agents.state.turns import TRANSACTION_ATTEMPTS
from accord.agents.transactions.transaction import TIMEOUT_MS, Transaction, run_transaction

R = TypeVar("R")


class TransactionsHub(Hub):
    """What a hub offers of transactions."""

    async def run_transaction(
        self,
        function: Callable[[Transaction], Awaitable[R]],
        *,
        isolation: Isolation = DEFAULT_ISOLATION,
        timeout_ms: int = TIMEOUT_MS,
        attempts: int = TRANSACTION_ATTEMPTS,
    ) -> R:
        """Calls a function with a transaction and commits what it has written, in all scopes or in none; again, from
        its beginning, if others came in between. Returns what the function returns.

        Args:
            function: is given the transaction; `tx.scope(name)` has `get`, `keys`, `items`, `put`, `delete`. It is
                called as often as there are conflicts: let it do nothing else that lasts.
            isolation, timeout_ms: see `transaction`.
            attempts: how often to try, 1 to 1,000. After a conflict all who change the same scopes take turns.

        Raises:
            VersionConflict, SnapshotTooOld, KeyHeld: others came in between each time.
            What the function raises: then nothing is written.
            And what `transaction` raises.
        """
        return await run_transaction(
            self, function, isolation=isolation, timeout_ms=timeout_ms, attempts=attempts
        )  # fmt: skip

    def transaction(self, *, isolation: Isolation = DEFAULT_ISOLATION, timeout_ms: int = TIMEOUT_MS) -> Transaction:
        """Reads and writes in several scopes as one, for `async with`; see `accord.agents.transactions.transaction`.

        A body cannot be run again, yet after a conflict it must be: `run_transaction` does that.

        Args:
            isolation: as of `Scope.transaction`, over all scopes. Under `snapshot` each scope has one of its own.
            timeout_ms: how long it may take until all scopes have agreed, by the log's clock, from its end on (or from
                `share`); 1 to 600,000. Then it is aborted.

        Raises (at the end):
            VersionConflict: what it has read, or writes, was changed meanwhile.
            LeaseLost: a lock or capacity that guards it (`Transaction.guard`) is held no more.
            KeyHeld: another transaction that is being committed holds a key; in one scope alone after 10 s of trying.
            SnapshotTooOld: so much was changed meanwhile that nobody can tell.
            TransactionTimeout: not all agreed within `timeout_ms`.
            TransactionAborted, ExceedsCapacity, Overloaded, Rejected: a scope, or the log, does not take it.
            Of all these nothing was written.
            Degraded, Unavailable: nobody decides, or no broker answers; it may be decided later.
        """
        return Transaction(self, isolation, timeout_ms)

    def join_transaction(self, transaction: str, *, isolation: Isolation = DEFAULT_ISOLATION) -> Transaction:
        """Takes part in a transaction that another agent has begun and shared (`Transaction.share`): at the end of
        `async with`, what this agent has read and written is enlisted, each scope once; it is committed with the rest.

        Raises (at the end):
            Denied: this agent is none of its members.
            TransactionAborted: it is over, or being committed; or a scope is enlisted already.
            NotFound: there is none, or it ended long ago.
        """
        return Transaction(self, isolation, joined=transaction)
