"""What ends on the log some time, by its id: a task, a proposal, an auction; and who listens for its end.

It listens from before the first command about it on, so nothing is missed; one that was made before asks with `look`.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from accord.agents.connection.connection import Answer, settle
from accord.agents.locks.arguments import check_name
from accord.agents.signals import signals
from accord.schemas.messages import Command

from accord.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from accord.agents.hub import Hub

T = TypeVar("T")


class Watched:
    """One of a domain, by id. What inherits it has `_heard` and `look`.

    Args:
        domain: its domain, which is also the command that lists it: `accord tasks list`.
        noun: what it is called: `task`.
        awaited: what is waited for; they all fail with the connection.
        key: the aggregate that it is part of; None: it is one of its own.
    """

    def __init__(
        self, hub: Hub, domain: str, noun: str, id_: str, *awaited: Future[Any], key: str | None = None
    ) -> None:
        self.id: Final = check_name(id_, noun)
        self._key = key or self.id
        self._hub = hub
        self._domain = domain
        self._noun = noun
        self._awaited = awaited
        self._unwatch = hub.connection.watch(domain, self._key, self._heard)
        self._end = hub.connection.on_failure(self._failed)

    def _heard(self, answer: Answer) -> None:
        """A decision about it; on accord's thread."""
        raise NotImplementedError

    async def look(self) -> Any:
        """How it stands. Raises NotFound."""
        raise NotImplementedError

    async def looked(self) -> Self:
        """It, once it is known how it stands; if there is none, nothing is listened to. Raises what `look` does."""
        try:
            await self.look()
        except BaseException:
            self.forget()
            raise
        return self

    async def send(self, command: Command, *, task: str | None = None, **terms: Any) -> Answer:
        """Has a command about it decided. Raises what `Connection.submit` raises."""
        return await asyncio.wrap_future(self._submit(command, task=task, **terms))

    def _submit(self, command: Command, *, task: str | None = None, **terms: Any) -> Future[Answer]:
        task = task or signals.current_task()
        return self._hub.connection.submit(self._domain, self._key, command, task=task, **terms).decided

    def _failed(self, error: BaseException) -> None:
        self.forget()
        for future in self._awaited:
            settle(future, error)

    def forget(self) -> None:
        """Listens no more."""
        self._unwatch()
        self._end()

    async def _wait(self, awaited: Future[T], wait_ms: int | None, yet: str) -> T:
        """Waits for something of it.

        Args:
            yet: what it is not by then, for the error: `has not ended`.

        Raises:
            Unavailable: it took longer than `wait_ms`.
        """
        try:
            async with asyncio.timeout(None if wait_ms is None else wait_ms / 1_000) as waiting:
                return await asyncio.shield(asyncio.wrap_future(awaited))
        except TimeoutError:
            if not waiting.expired():
                raise
            raise Unavailable(
                f"{self._noun} {self.id} {yet} within {wait_ms} ms.", remedy="Nothing is lost by it: wait longer."
            ) from None

    def _unknown(self) -> NotFound:
        return NotFound(
            f"there is no {self._noun} {self.id}, or it ended long ago.",
            remedy=f"See: accord {self._domain} list.",
            key=self.id,
        )
