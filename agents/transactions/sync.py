"""Transactions over several scopes for plain functions, and as methods of the sync hub."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from accord.agents.state.sync import Reader, turn
from accord.agents.state.transaction import DEFAULT_ISOLATION, Isolation
from accord.agents.state.turns import TRANSACTION_ATTEMPTS, Crowd, tries
from accord.agents.sync import SyncHub
from accord.agents.tasks.graph import TaskGraph
from accord.agents.tasks.submit import KEEP_MS
from accord.agents.tasks.sync import Handle
from accord.agents.transactions.transaction import AGAIN, TIMEOUT_MS, OutOfTurn, Parts
from anyio.from_thread import BlockingPortal

R = TypeVar("R")


class Part(Reader):
    """What a transaction does in one scope."""


class Transaction(Parts[Part]):
    """A transaction over several scopes, for `with`; see `accord.agents.transactions.transaction.Transaction`, whose
    arguments and errors these have."""

    def __init__(
        self,
        hub: SyncHub,
        loop: BlockingPortal,
        isolation: str,
        timeout_ms: int = TIMEOUT_MS,
        joined: str | None = None,
    ) -> None:
        super().__init__(hub, isolation, timeout_ms, joined, self._part)
        self._sync_hub = hub
        self._loop = loop

    def _part(self, scope: str) -> Part:
        return Part(self._sync_hub, self._loop, scope, self._isolation, "optimistic", lambda _: None)

    def submit(self, graph: TaskGraph, input: Any = None, *, keep_ms: int = KEEP_MS) -> Handle:
        """A task that begins when the transaction is committed, once, and never if it is not."""
        return Handle(self._loop, self._loop.call(partial(self._submit, graph, input, keep_ms)))

    def share(self, *members: str) -> str:
        """Lets other agents take part; returns its id for `join_transaction`."""
        return self._loop.call(partial(self._share, *members))

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call(self._end, error)


class SyncTransactionsHub(SyncHub):
    """What a sync hub offers of transactions."""

    def run_transaction(
        self,
        function: Callable[[Transaction], R],
        *,
        isolation: Isolation = DEFAULT_ISOLATION,
        timeout_ms: int = TIMEOUT_MS,
        attempts: int = TRANSACTION_ATTEMPTS,
    ) -> R:
        """Calls a function with a transaction and commits what it has written, in all scopes or in none; as
        `accord.Accord.run_transaction`."""
        scopes: set[str] = set()
        left = len(tries(attempts))
        while True:
            tx = self.transaction(isolation=isolation, timeout_ms=timeout_ms).in_turn(scopes)
            try:
                with ExitStack() as held:
                    for scope in sorted(scopes):
                        if Crowd(self, scope).is_there:
                            held.enter_context(turn(self, scope))
                    with tx:
                        return function(tx)
            except OutOfTurn as met:
                scopes.add(met.scope)
            except AGAIN:
                left -= 1
                if not left:
                    raise
                scopes.update(tx.scopes)

    def transaction(self, *, isolation: Isolation = DEFAULT_ISOLATION, timeout_ms: int = TIMEOUT_MS) -> Transaction:
        """Reads and writes in several scopes as one, for `with`; as `accord.Accord.transaction`."""
        self.ensure_open("transaction()")
        return Transaction(self, self._loop, isolation, timeout_ms)

    def join_transaction(self, transaction: str, *, isolation: Isolation = DEFAULT_ISOLATION) -> Transaction:
        """Takes part in a transaction that another agent has begun and shared; as `accord.Accord.join_transaction`."""
        self.ensure_open("join_transaction()")
        return Transaction(self, self._loop, isolation, joined=transaction)
