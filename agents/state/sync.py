"""Shared state for plain functions, and as methods of the sync hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from accord.agents.locks.locks import RWLock
from accord.agents.locks.sync import Lock
from accord.agents.state import replica as replicas
from accord.agents.state import scope as scopes
from accord.agents.state.judged import WAIT_MS
from accord.agents.state.scope import rule_of
from accord.agents.state.transaction import DEFAULT_ISOLATION, Isolation, Locking, Reading
from accord.agents.state.turns import (
    TRANSACTION_ATTEMPTS,
    TURN_LEASE_MS,
    TURN_WAIT_MS,
    UPDATE_ATTEMPTS,
    Crowd,
    lock_name,
    tries,
)
from accord.agents.state.values import Versioned, check_key
from accord.agents.sync import SyncHub
from anyio.from_thread import BlockingPortal

from accord.errors import LeaseLost, NotOwner, SnapshotTooOld, VersionConflict

R = TypeVar("R")


@contextmanager
def turn(hub: SyncHub, scope: str, *, shared: bool = False) -> Iterator[None]:
    """The lock on which changes of a scope take turns; a lease that is lost stops nobody."""
    lock = RWLock(partial(Lock, hub, lock_name(scope), TURN_LEASE_MS, TURN_WAIT_MS, reentrant=True))
    grant = (lock.read() if shared else lock.write()).acquire()
    try:
        yield
    finally:
        with suppress(LeaseLost, NotOwner):
            grant.release()


class Reader(Reading):
    """What a transaction reads, for plain functions; see `accord.agents.state.transaction.Reader`."""

    def __init__(
        self, hub: SyncHub, loop: BlockingPortal, scope: str, isolation: str, locking: str, done: Callable[[int], None]
    ) -> None:
        super().__init__(hub, scope, isolation, locking, done)
        self._sync_hub = hub
        self._loop = loop

    def get(self, key: str) -> Versioned:
        """A key's value, as it is for this transaction."""
        return self._loop.call(self._get, key)

    def keys(self, prefix: str = "") -> list[str]:
        """The keys with a prefix, in order."""
        entries = self._loop.call(partial(self._range, prefix, values=False))
        return [entry.key for entry in self._buffer.with_own(prefix, entries)]

    def items(self, prefix: str = "") -> dict[str, Versioned]:
        """The keys with a prefix with their values, in order."""
        return self._items(prefix, self._loop.call(partial(self._range, prefix, values=True)))


class Transaction(Reader):
    """A transaction, for `with`; see `accord.agents.state.transaction.Transaction`, whose arguments and errors these
    have."""

    def __init__(
        self, hub: SyncHub, loop: BlockingPortal, scope: str, isolation: str, locking: str, done: Callable[[int], None]
    ) -> None:
        super().__init__(hub, loop, scope, isolation, locking, done)
        self._held = ExitStack()

    def __enter__(self) -> Self:
        self._begin()
        if self._locking != "optimistic":
            self._held.enter_context(turn(self._sync_hub, self.scope, shared=self._locking == "shared"))
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._loop.call(self._commit)
        finally:
            self._open = False
            self._held.close()


class Replica:
    """A copy of a scope; see `accord.agents.state.replica.Replica`."""

    def __init__(self, loop: BlockingPortal, replica: replicas.Replica) -> None:
        self._loop = loop
        self._replica = replica
        self._inside: AbstractContextManager[replicas.Replica] = loop.wrap_async_context_manager(replica)

    @property
    def version(self) -> int:
        """The scope's version that it has."""
        return self._replica.version

    def get(self, key: str) -> Versioned:
        """A key as it is known here."""
        return self._replica.get(key)

    def items(self, prefix: str = "") -> dict[str, Versioned]:
        """The keys with a prefix as they are known here, in order."""
        return self._loop.call(self._items, prefix)

    async def _items(self, prefix: str) -> dict[str, Versioned]:
        return self._replica.items(prefix)  # on the loop that changes them

    def read(self, key: str, *, version: int | None = None) -> Versioned:
        """A key, once the replica has a version: that of the last write through the scope's object, if none is said."""
        return self._loop.call(partial(self._replica.read, key, version=version))

    def __enter__(self) -> Self:
        self._inside.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside.__exit__(kind, error, trace)


class Scope:
    """A scope by name; see `accord.agents.state.scope.Scope`, whose arguments and errors these have."""

    def __init__(self, hub: SyncHub, loop: BlockingPortal, scope: scopes.Scope) -> None:
        self.name: Final = scope.name
        self._hub = hub
        self._loop = loop
        self._scope = scope
        self._crowd = Crowd(hub, scope.name)

    @property
    def written(self) -> int:
        """The newest version that was made through this object."""
        return self._scope.written

    def get(self, key: str, *, at: int | None = None) -> Versioned:
        """A key's value and version; where there is none: None and 0."""
        return self._loop.call(partial(self._scope.get, key, at=at))

    def keys(self, prefix: str = "", *, at: int | None = None) -> list[str]:
        """The keys with a prefix, in order, as at one version."""
        return self._loop.call(partial(self._scope.keys, prefix, at=at))

    def items(self, prefix: str = "", *, at: int | None = None) -> dict[str, Versioned]:
        """The keys with a prefix with their values, as at one version."""
        return self._loop.call(partial(self._scope.items, prefix, at=at))

    def history(self, key: str) -> list[Versioned]:
        """The versions of a key that the scope keeps, oldest first."""
        return self._loop.call(self._scope.history, key)

    def watch(self, key: str, *, since: int | None = None) -> Iterator[Versioned]:
        """How a key is now, then every later version, in order and without gaps, for as long as one asks."""
        versions = self._scope.watch(key, since=since)
        try:
            while True:
                yield self._loop.call(partial(anext, versions))
        finally:
            with suppress(RuntimeError):  # the hub was closed, and its loop with it
                self._loop.call(versions.aclose)

    def replica(self) -> Replica:
        """A copy of the scope in this process that follows it, for `with`."""
        return Replica(self._loop, self._scope.replica())

    def put(self, key: str, value: Any, *, if_version: int | None = None) -> Versioned:
        """Writes a key; returns the value with its new version."""
        return self._loop.call(partial(self._scope.put, key, value, if_version=if_version))

    def put_judged(
        self, key: str, value: Any, *, if_version: int, ground: str | None = None, wait_ms: int = WAIT_MS
    ) -> Versioned:
        """Writes a key; if somebody was faster, a judge says whose value is to be there."""
        judged = partial(self._scope.put_judged, key, value, if_version=if_version, ground=ground, wait_ms=wait_ms)
        return self._loop.call(judged)

    def put_all(self, values: Mapping[str, Any], *, if_versions: Mapping[str, int] | None = None) -> int:
        """Writes several keys at once, all or none; returns the scope's version that this made."""
        return self._loop.call(partial(self._scope.put_all, values, if_versions=if_versions))

    def delete(self, key: str, *, if_version: int | None = None) -> bool:
        """Deletes a key; False: there was none."""
        return self._loop.call(partial(self._scope.delete, key, if_version=if_version))

    def increment(self, key: str, by: int = 1) -> Versioned:
        """Adds to a counter, 0 where there is none; returns what it is then."""
        return self._loop.call(self._scope.increment, key, by)

    def add(self, key: str, *members: str) -> Versioned:
        """Adds members to a set, empty where there is none; returns what it is then, in order."""
        return self._loop.call(partial(self._scope.add, key, *members))

    def discard(self, key: str, *members: str) -> Versioned:
        """Takes members out of a set; returns what it is then."""
        return self._loop.call(partial(self._scope.discard, key, *members))

    def update(
        self, key: str, function: Callable[[Any], Any], *, version: str = "", attempts: int = UPDATE_ATTEMPTS
    ) -> Versioned:
        """Reads a key, calls a function with its value and writes what it returns; again, if somebody was faster."""
        check_key(key)
        rule = rule_of(function, version)
        for last in tries(attempts):
            try:
                with turn(self._hub, self.name) if self._crowd.is_there else nullcontext():
                    now = self.get(key)
                    made = partial(self._scope.replace, key, function(now.value), now.version, rule)
                    return self._loop.call(made)
            except VersionConflict:
                self._crowd.met()
                if last:
                    raise
        raise AssertionError("returned or raised")

    def transaction(self, *, isolation: Isolation = DEFAULT_ISOLATION, locking: Locking = "optimistic") -> Transaction:
        """Several reads and writes as one, for `with`."""
        return Transaction(self._hub, self._loop, self.name, isolation, locking, self._scope.wrote)

    def run_transaction(
        self,
        function: Callable[[Transaction], R],
        *,
        isolation: Isolation = DEFAULT_ISOLATION,
        locking: Locking = "optimistic",
        attempts: int = TRANSACTION_ATTEMPTS,
    ) -> R:
        """Calls a function with a transaction on this scope and commits what it has written; again, if others came in
        between."""
        for last in tries(attempts):
            alone = turn(self._hub, self.name) if self._crowd.is_there else nullcontext()
            try:
                with alone, self.transaction(isolation=isolation, locking=locking) as tx:
                    result = function(tx)
            except (VersionConflict, SnapshotTooOld):
                if last:
                    raise
            else:
                return result
        raise AssertionError("returned or raised")

    def configure(self, *, history: int) -> None:
        """Sets how many changes of keys the scope keeps for reads at earlier versions."""
        self._loop.call(partial(self._scope.configure, history=history))


class SyncStateHub(SyncHub):
    """What a sync hub offers of shared state."""

    def state(self, scope: str) -> Scope:
        """A scope of versioned keys that agents share; as `accord.Accord.state`."""
        self.ensure_open("state()")
        return Scope(self, self._loop, scopes.Scope(self, scope))
