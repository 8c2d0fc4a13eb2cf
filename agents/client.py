"""The hub: what an agent program opens to take part. Interface first; the implementation follows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from accord.agents.connection import Connection

from accord.settings import Settings

Hook = Callable[[], "Future[None] | None"]


class Hub:
    """What the async and the sync hub share.

    `connection`, `settings` and `agent` are there while it is open.
    """

    settings: Settings
    agent: str
    connection: Connection
    is_open: bool = False

    def on_drain(self, hook: Hook) -> None:
        """Has `drain` call `hook` and wait for the future that it returns. Hooks run one after the other."""
        raise NotImplementedError

    def on_close(self, hook: Hook) -> None:
        """Has closing call `hook` and wait for its future, newest hook first, while the connection still works."""
        raise NotImplementedError
