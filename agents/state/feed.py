"""The commits of a scope as they come, for who watches it or keeps a replica.

Rules that act here:
- It listens from before the first read on, so that nothing is missed between what was read and what comes after.
- The scope's version grows by one with each commit, so a gap would be seen: it ends the feed, rather than pass in
  silence.
- At most `WAITING_MAX` commits wait to be taken. Beyond it the feed ends, and says from where to go on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from accord.agents.connection.connection import Answer, future, settle
from accord.agents.state.values import DOMAIN
from accord.schemas.messages.state import ChangesCommitted

from accord.errors import ConfigError, LogGap, Overloaded

if TYPE_CHECKING:
    from accord.agents.hub import Hub

WAITING_MAX: Final = 10_000


class Feed:
    """Commits of a scope from now on, one after the other; from any thread.

    Raises:
        ConfigError: this program is told its own answers alone.
    """

    def __init__(self, hub: Hub, scope: str) -> None:
        if hub.settings.client.answers == "inbox":
            raise ConfigError(
                f'{scope} cannot be watched: with client.answers="inbox" a program is told its own answers alone.',
                remedy='Watch with a hub that has client.answers="events".',
                key=scope,
            )
        self._scope = scope
        self._lock = threading.Lock()
        self._waiting: deque[ChangesCommitted] = deque()
        self._wanted: Future[ChangesCommitted] | None = None
        self._ended: BaseException | None = None
        self._taken = -1
        self._unwatch: Callable[[], None] = hub.connection.watch(DOMAIN, scope, self._heard)
        self._forget: Callable[[], None] = hub.connection.on_failure(self._end)

    def after(self, version: int) -> None:
        """What is wanted is what comes after a version, of which all is known."""
        with self._lock:
            self._taken = version
            while self._waiting and self._waiting[0].version <= version:
                self._waiting.popleft()

    def next(self) -> Future[ChangesCommitted]:
        """The next commit. Its future raises what ended the feed: LogGap, Overloaded, or the connection's end."""
        wanted: Future[ChangesCommitted] = future()
        with self._lock:
            self._wanted = wanted
            self._hand_over()
        return wanted

    def close(self) -> None:
        self._unwatch()
        self._forget()

    def _heard(self, answer: Answer) -> None:
        """A decision about the scope; on accord's thread."""
        with self._lock:
            for event in answer.events:
                if isinstance(event, ChangesCommitted) and event.changes and event.version > self._taken:
                    self._waiting.append(event)
            if len(self._waiting) > WAITING_MAX:
                self._ended = Overloaded(
                    f"{WAITING_MAX} commits to {self._scope} wait to be taken.",
                    remedy=f"Take them faster. To go on: watch(key, since={self._taken}).",
                    key=self._scope,
                )
                self._waiting.clear()
            self._hand_over()
        if self._ended is not None:
            self.close()

    def _end(self, error: BaseException) -> None:
        with self._lock:
            self._ended = self._ended or error
            self._hand_over()

    def _hand_over(self) -> None:
        """Settles who waits, if there is anything; holds the lock."""
        wanted = self._wanted
        if wanted is None or not (self._waiting or self._ended):
            return
        self._wanted = None
        if not self._waiting:
            settle(wanted, self._ended)
            return
        event = self._waiting.popleft()
        if self._taken >= 0 and event.version != self._taken + 1:
            self._ended = LogGap(
                f"{self._scope}: after version {self._taken} comes {event.version}.", key=self._scope
            )  # fmt: skip
            settle(wanted, self._ended)
            return
        self._taken = event.version
        settle(wanted, event)
