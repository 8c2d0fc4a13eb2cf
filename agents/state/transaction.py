"""Transactions inside one scope.

    async def transfer(tx):
        ada, bob = await tx.get("ada"), await tx.get("bob")
        if ada.value < 10:
            raise ValueError("too little")
        tx.put("ada", ada.value - 10)
        tx.put("bob", bob.value + 10)

    await hub.state("accounts").run_transaction(transfer)   # again, if others came in between
    async with hub.state("accounts").transaction() as tx:   # once: VersionConflict, if they did
        tx.put("ada", 100)

Rules that act here:
- Nothing is written before the end: what a transaction writes it alone sees until then, and an exception leaves nothing
  to undo. The end is one command, which is decided wholly or not at all.
- What may have changed meanwhile is a matter of the isolation; see `accord.agents.state.buffer`.
- `exclusive` and `shared` transactions hold the scope's lock while they run. It keeps them out of each other's way;
  what they commit is looked at all the same, so a lease that was lost costs a conflict at most.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from accord.agents.locks.locks import Lock, RWLock
from accord.agents.state.buffer import Buffer, Terms
from accord.agents.state.requests import commit, read_key, read_range
from accord.agents.state.turns import TURN_LEASE_MS, TURN_WAIT_MS, Crowd, lock_name
from accord.agents.state.values import ISOLATIONS, Versioned, as_text, check_key, entry_of, versioned
from accord.schemas.messages.state import Entry
from accord.streams.state.bounds import SERIALIZABLE

from accord.errors import BadInput, SnapshotTooOld, VersionConflict

if TYPE_CHECKING:
    from accord.agents.hub import Hub

Isolation = Literal["serializable", "snapshot", "read_committed"]
Locking = Literal["optimistic", "exclusive", "shared"]
DEFAULT_ISOLATION: Final[Isolation] = SERIALIZABLE
LOCKINGS: Final = ("optimistic", "exclusive", "shared")


class Reading:
    """What the async and the sync transaction share: what was read and written, and when it is over."""

    def __init__(self, hub: Hub, scope: str, isolation: str, locking: str, done: Callable[[int], None]) -> None:
        if isolation not in ISOLATIONS:
            raise BadInput(f"isolation={isolation!r}: one of {', '.join(ISOLATIONS)} is needed.")
        if locking not in LOCKINGS:
            raise BadInput(f"locking={locking!r}: one of {', '.join(LOCKINGS)} is needed.")
        self.scope: Final = scope
        self.version: int | None = None
        """The scope's version that it made, once it was committed; None: it has written nothing."""
        self._hub = hub
        self._crowd = Crowd(hub, scope)
        self._buffer = Buffer(isolation)
        self._locking = locking
        self._done = done
        self._begun = False
        self._open = False

    def _begin(self) -> None:
        """Raises BadInput: it was begun before."""
        if self._begun:
            raise BadInput(f"{self.scope}: a transaction runs once.", remedy="Begin another one.")
        self._begun = True

    def open(self) -> None:
        """From now on it reads and writes."""
        self._open = True

    def close(self) -> None:
        """It is over."""
        self._open = False

    @property
    def terms(self) -> Terms:
        """What a commit of it says."""
        return self._buffer.terms()

    def committed(self) -> None:
        """What it has written is so now."""
        self._crowd.wrote(self._buffer.changes)

    def put(self, key: str, value: Any) -> None:
        """Writes a key at the end. Raises BadInput, TooLarge: it cannot be its value; or this only reads."""
        self._check_writable()
        self._buffer.put(check_key(key), as_text(key, value))

    def delete(self, key: str) -> None:
        """Deletes a key at the end. Raises BadInput: this only reads."""
        self._check_writable()
        self._buffer.delete(check_key(key))

    def _check_writable(self) -> None:
        self._check_open()
        if self._locking == "shared":
            raise BadInput(
                f'{self.scope}: a transaction with locking="shared" only reads.',
                remedy='Take "exclusive" or "optimistic" for one that writes.',
            )

    def _check_open(self) -> None:
        if not self._open:
            raise BadInput(f"{self.scope}: the transaction is over, or was not entered.", remedy="Begin another one.")

    def _own(self, key: str) -> Versioned:
        """What it has written itself."""
        return versioned(self.scope, Entry(key, self._buffer.written(key), 0))

    def _items(self, prefix: str, entries: tuple[Entry, ...]) -> dict[str, Versioned]:
        return {entry.key: versioned(self.scope, entry) for entry in self._buffer.with_own(prefix, entries)}

    async def _get(self, key: str) -> Versioned:
        self._check_open()
        check_key(key)
        if self._buffer.has_written(key):
            return self._own(key)
        entry = self._buffer.known(key)
        if entry is None:
            read = await read_key(self._hub, self.scope, key, self._buffer.read_at)
            entry = entry_of(read)
            self._buffer.note(entry, read.version)
            self._crowd.saw(key, entry.value)
        return versioned(self.scope, entry)

    async def _range(self, prefix: str, *, values: bool) -> tuple[Entry, ...]:
        self._check_open()
        entries = self._buffer.known_range(prefix, values=values)
        if entries is None:
            entries, version = await read_range(self._hub, self.scope, prefix, self._buffer.read_at, values=values)
            self._buffer.note_range(prefix, entries, version, values=values)
        return entries

    async def _commit(self) -> None:
        """Commits what it has written. Raises what `accord.agents.state.requests.commit` raises."""
        command = self._buffer.command(self._hub.agent)
        if command is None:
            return
        try:
            self.version = (await commit(self._hub, self.scope, command)).version
        except (VersionConflict, SnapshotTooOld):
            self._crowd.met()
            raise
        self.committed()
        self._done(self.version)


def turn(hub: Hub, scope: str, *, shared: bool = False) -> Lock:
    """The lock on which changes of a scope take turns; a lease that is lost stops nobody."""
    lock = RWLock(partial(Lock, hub, lock_name(scope), TURN_LEASE_MS, TURN_WAIT_MS, "flag", reentrant=True))
    return lock.read() if shared else lock.write()


class Reader(Reading):
    """What a transaction reads of a scope, for async programs."""

    async def get(self, key: str) -> Versioned:
        """A key's value, as it is for this transaction.

        What it has written itself has version 0.

        Raises:
            SnapshotTooOld: so much was changed since the first read that the scope does not keep it any more.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        return await self._get(key)

    async def keys(self, prefix: str = "") -> list[str]:
        """The keys with a prefix, in order. Raises what `get` raises."""
        entries = await self._range(prefix, values=False)
        return [entry.key for entry in self._buffer.with_own(prefix, entries)]

    async def items(self, prefix: str = "") -> dict[str, Versioned]:
        """The keys with a prefix with their values, in order. Raises what `get` raises."""
        return self._items(prefix, await self._range(prefix, values=True))


class Transaction(Reader):
    """A transaction, for `async with`; made by `Scope.transaction`."""

    def __init__(self, hub: Hub, scope: str, isolation: str, locking: str, done: Callable[[int], None]) -> None:
        super().__init__(hub, scope, isolation, locking, done)
        self._held = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._begin()
        if self._locking != "optimistic":
            await self._held.enter_async_context(turn(self._hub, self.scope, shared=self._locking == "shared"))
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._commit()
        finally:
            self._open = False
            await self._held.aclose()
