"""What came of something that ran here, told to the log until it is decided; and leases that are renewed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from accord.agents.connection.connection import Answer, Connection
from accord.agents.leases.leases import RENEWALS_A_LEASE
from accord.schemas.messages import Command

from accord import logs
from accord.errors import AccordError

if TYPE_CHECKING:
    from accord.agents.hub import Hub

logger = logs.get("accord.telling")

TELL_AGAIN_S: Final = 1.0


async def tell(hub: Hub, domain: str, key: str, command: Command, needed: Callable[[], bool]) -> None:
    """Has a command decided, sent again under the same id after a failure.

    Args:
        needed: whether anybody still has to know; asked before each time.
    """
    connection = hub.connection
    message_id = connection.new_id()
    while needed():
        try:
            submission = connection.submit(domain, key, command, message_id=message_id)
            await asyncio.wrap_future(submission.decided)
            return
        except AccordError as error:
            about = {"agent": hub.agent, "key": key, "action": type(command).__name__}
            logger.warning("what came of it is not recorded yet", domain=domain, why=str(error), **about)
            if not hub.is_open:
                return
        await asyncio.sleep(TELL_AGAIN_S)


class Renewals:
    """Renews a lease on accord's own thread, however busy the program is, until it is stopped.

    Args:
        renew: sends a renewal; returns the decision that it waits for.
        renewed: called back with the decision, or with its failure, on accord's thread.
    """

    def __init__(
        self,
        connection: Connection,
        lease_ms: int,
        renew: Callable[[], Future[Answer]],
        renewed: Callable[[Future[Answer]], None],
    ) -> None:
        self._connection = connection
        self._delay_ms = lease_ms / RENEWALS_A_LEASE
        self._renew = renew
        self._renewed = renewed
        self._stopped = False
        self._cancel: Callable[[], None] = lambda: None
        self._later()

    def _later(self) -> None:
        self._cancel = self._connection.call_later(self._delay_ms, self._due)

    def _due(self) -> None:
        if self._stopped:
            return
        try:
            self._renew().add_done_callback(self._renewed)
        except AccordError as error:  # it is tried again; the log ends the lease if that comes to nothing
            logger.info("a lease was not renewed", why=str(error))
        self._later()

    def stop(self) -> None:
        self._stopped = True
        self._cancel()
