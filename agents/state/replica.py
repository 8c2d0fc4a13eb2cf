"""A copy of a scope in this process, which follows it: reads that do not ask the log.

    async with scope.replica() as replica:
        replica.get("name")                 # at once: what is known here, maybe a moment old (eventual)
        await replica.read("name")          # after all that was written through `scope` (read your writes)

Rules that act here:
- It begins with the whole scope as at one version and takes every commit after it, in order and without gaps: so all
  replicas go through the same versions, and none goes back.
- It changes from one version to the next at once: what `get` and `items` give was so together, at `version`.
- When the log cannot be followed, reading raises what stopped it: an old copy is never passed off as a current one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from accord.agents.connection.connection import future, settle
from accord.agents.state.feed import Feed
from accord.agents.state.requests import read_range
from accord.agents.state.values import Versioned, check_key, versioned
from accord.schemas.messages.state import ChangesCommitted, Entry

from accord.errors import BadInput

if TYPE_CHECKING:
    from concurrent.futures import Future

    from accord.agents.hub import Hub


class Replica:
    """See the module's text; made by `Scope.replica`, entered once.

    Args:
        written: gives the version that `read` waits for.
    """

    def __init__(self, hub: Hub, scope: str, written: Callable[[], int]) -> None:
        self.version: int = 0
        """The scope's version that it has."""
        self._hub = hub
        self._scope = scope
        self._written = written
        self._entries: dict[str, Entry] = {}
        self._waiting: list[tuple[int, Future[None]]] = []
        self._feed: Feed | None = None
        self._following: asyncio.Task[None] | None = None
        self._ended: BaseException | None = None

    def get(self, key: str) -> Versioned:
        """A key as it is known here. Raises what stopped the replica, if it stopped."""
        self._check()
        return versioned(self._scope, self._entries.get(check_key(key)) or Entry(key, None, 0))

    def items(self, prefix: str = "") -> dict[str, Versioned]:
        """The keys with a prefix as they are known here, in order."""
        self._check()
        return {
            key: versioned(self._scope, self._entries[key]) for key in sorted(self._entries) if key.startswith(prefix)
        }

    async def read(self, key: str, *, version: int | None = None) -> Versioned:
        """A key, once the replica has a version.

        Args:
            version: of the scope, as another agent has told it, say; None: that of the last write through the scope's
                object.
        """
        wanted = self._written() if version is None else version
        self._check()
        if self.version < wanted:
            reached: Future[None] = future()
            self._waiting.append((wanted, reached))
            await asyncio.wrap_future(reached)
        return self.get(key)

    def _check(self) -> None:
        if self._ended is not None:
            raise self._ended
        if self._following is None:
            raise BadInput(f"{self._scope}: the replica is not open.", remedy='Enter it first: "async with".')

    async def __aenter__(self) -> Self:
        if self._feed is not None:
            raise BadInput(f"{self._scope}: a replica is entered once.", remedy="Make another one.")
        self._hub.ensure_open(f"state {self._scope}")
        self._feed = feed = Feed(self._hub, self._scope)
        try:
            entries, self.version = await read_range(self._hub, self._scope, "", None, values=True)
        except BaseException:
            feed.close()
            raise
        feed.after(self.version)
        self._entries = {entry.key: entry for entry in entries}
        self._following = asyncio.create_task(self._follow(feed), name=f"accord-replica-{self._scope}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._feed is not None and self._following is not None
        self._feed.close()
        self._following.cancel()
        with suppress(asyncio.CancelledError):
            await self._following
        self._stop(BadInput(f"{self._scope}: the replica was closed."))

    async def _follow(self, feed: Feed) -> None:
        try:
            while True:
                self._take(await asyncio.wrap_future(feed.next()))
        except Exception as error:
            self._stop(error)

    def _take(self, event: ChangesCommitted) -> None:
        for change in event.changes:
            if change.value is None:
                self._entries.pop(change.key, None)
            else:
                self._entries[change.key] = Entry(change.key, change.value, event.version)
        self.version = event.version
        for wanted, reached in self._waiting:
            if wanted <= event.version:
                settle(reached, None)
        self._waiting = [waiting for waiting in self._waiting if waiting[0] > event.version]

    def _stop(self, error: BaseException) -> None:
        self._ended = self._ended or error
        for _, reached in self._waiting:
            settle(reached, error)
        self._waiting.clear()
