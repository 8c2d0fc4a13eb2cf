"""The narrow interface behind which a connection's answers come from.

There are two sources. `EventsReader` reads the events of the partitions that are waited on, through the chain: a few
microseconds an event whoever it is for, right for tens of processes. `InboxReader` reads what workers tell the agent of
the decisions that concern it, one hop later: what it reads does not grow with the number of clients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from accord.streams.chain import Decision
from confluent_kafka import Consumer

from accord.errors import AccordError

Place = tuple[str, int]
"""A domain and a partition."""


class Listener(Protocol):
    """Who takes the answers; called on the thread that polls."""

    def wants(self, domain: str, decision: Decision) -> bool:
        """Whether anybody waits for this decision."""

    def take(self, place: Place, decision: Decision) -> None:
        """A decision that somebody waits for, not decoded yet."""

    def started(self, place: Place, error: AccordError | None) -> None:
        """A partition is followed from here on, or could not be."""


class Answers(Protocol):
    """A source of decisions. `start`, `recall` and `look_for` may be called from any thread, all else by the one that
    polls."""

    consumer: Consumer

    def open(self, found: Any) -> None:
        """Begins; blocks until it is known from where on is read.

        Args:
            found: the cluster's metadata.

        Raises:
            ConfigError: the cluster has no such source.
            KafkaUnreachable: no broker answers.
        """

    def start(self, place: Place) -> bool:
        """Follows a partition; `Listener.started` says from when on. True: it is followed already."""

    def stop(self, place: Place) -> None:
        """Follows a partition no more."""

    def recall(self, place: Place, cause: int, found: Callable[[Decision | None], None]) -> None:
        """Looks for the decision on the command at offset `cause` and hands it to `found`; None: it is not there."""

    def look_for(self, place: Place, cause: int | None) -> None:
        """No answer has come for long to the command at offset `cause` (None: not known): makes sure that one would.
        If not, `poll` says so."""

    def check(self) -> None:
        """Makes sure, in the background, that what is followed is still there; if it is not, `poll` says so."""

    def poll(self, timeout_s: float) -> None:
        """Waits for decisions, hands over what somebody waits for.

        Raises:
            LogGap, ChainBroken: the log cannot be followed any more.
            ConfigError: no worker tells this source.
        """

    def close(self) -> None: ...
