"""What an agent knows of partitions that nobody decides: which are off, and what is asked of them meanwhile.

- A partition is off once a command to it was waited for in vain, for long enough to tell; it is on again with the next
  decision that comes from it.
- Essential domains are asked on, each command with all of its time: who needs a lock waits for a worker.
- Of another domain's partition that is off, one command at a time is tried, and not for long; all others are refused
  at once, and nothing is written for them.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from accord.agents.connection.answers import Place
from accord.schemas.topics import ESSENTIAL

from accord.errors import Degraded


class Outages:
    """Of one connection."""

    def __init__(self) -> None:
        self._off: dict[Place, str | None] = {}
        """By partition that is off, the id of the command by which it is tried."""
        self._on: set[Place] = set()
        self.kafka: str = ""
        """Why no broker takes anything; empty: one does."""

    # -- told by the connection

    def may_send(self, place: Place, command_id: str) -> bool:
        """Whether a command is sent at all. If so, and the partition is off, it is the one that tries it."""
        if place not in self._off or place[0] in ESSENTIAL:
            return True
        if self._off[place] is not None:
            return False
        self._off[place] = command_id
        return True

    def is_off(self, place: Place) -> bool:
        return place in self._off

    def decided(self, place: Place) -> bool:
        """A decision came. Returns whether the partition was off."""
        was_off = place in self._off
        self._off.pop(place, None)
        self._on.add(place)
        return was_off

    def ended(self, place: Place, command_id: str) -> None:
        """A command is not under way any more, whatever came of it."""
        if self._off.get(place) == command_id:
            self._off[place] = None

    def silent(self, place: Place) -> bool:
        """A command was waited for in vain. Returns whether that is news."""
        is_news = place not in self._off
        self._off.setdefault(place, None)
        self._on.discard(place)
        return is_news

    # -- asked

    @property
    def off(self) -> list[str]:
        """The partitions that are off, as `auctions/2`."""
        return [f"{domain}/{partition}" for domain, partition in sorted(self._off)]

    @property
    def works(self) -> list[str]:
        """The domains that were heard of, and of which no partition is off."""
        return sorted({domain for domain, _ in self._on} - {domain for domain, _ in self._off})

    def error(self, what: str, place: Place, why: str, remedy: str, **details: Any) -> Degraded:
        """The error for a command to an optional domain that nobody decides."""
        domain, partition = place
        return Degraded(
            f"{what}: {domain} is off: {why}.",
            remedy=f"{remedy} Still working: {_listed(self.works)}.",
            off=f"{domain}/{partition}",
            works=self.works,
            **details,
        )


def _listed(names: Collection[str]) -> str:
    return (
        ", ".join(names) or "reading the log (accord locks list, accord replay), and what holds a lease until it ends"
    )
