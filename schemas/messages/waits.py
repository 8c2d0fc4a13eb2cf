"""Waits: who waits for whom, over locks and pools; the deadlocks that come of it. One aggregate, `GRAPH`."""

from typing import Final

import msgspec
from accord.schemas.messages import Command, Event

GRAPH: Final = "graph"
"""The aggregate's name: who waits for whom can only be seen as a whole."""


class Holding(msgspec.Struct, frozen=True, gc=False):
    """A hold that others wait for."""

    owner: str
    agent: str
    token: int
    amount: int


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A request that waits while its call chain holds something else.

    `needs` is how much of what is held has to be released before it, and those before it who hold nothing else, can be
    granted.
    """

    request: str
    owner: str
    agent: str
    needs: int


class Wait(msgspec.Struct, frozen=True, gc=False):
    """One wait of a deadlock: somebody waits for what the next one holds."""

    agent: str
    owner: str
    request: str
    domain: str
    name: str
    holder: str
    holder_owner: str
    token: int


class ReportWaits(Command, frozen=True):
    domain: str
    name: str
    source: str
    seq: int
    holders: tuple[Holding, ...]
    waiters: tuple[Waiting, ...]


class ForgetWaits(Command, frozen=True):
    source: str
    seq: int


class WaitsReported(Event, frozen=True):
    domain: str
    name: str
    source: str
    seq: int
    holders: tuple[Holding, ...]
    waiters: tuple[Waiting, ...]


class WaitsForgotten(Event, frozen=True):
    source: str
    seq: int


class WaitsIgnored(Event, frozen=True):
    domain: str
    name: str
    source: str
    seq: int
    reason: str


class DeadlockFound(Event, frozen=True):
    victim: str
    cycle: tuple[Wait, ...]


COMMANDS = (ReportWaits, ForgetWaits)
EVENTS = (WaitsReported, WaitsForgotten, WaitsIgnored, DeadlockFound)
