"""What the parts of a client share: the hub, the history, and how a lock is taken, believed in and given back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import msgspec
from accord.agents.locks.locks import Leased
from accord.schemas.topics import partition_of

from accord import Accord, AccordError, Grant, emit
from tests.faults.history import History
from tests.faults.resource import Counter

LEASE_MS = 2_000
RETRY_S = 0.2
LOOK_S = 0.1
"""How often a holder looks whether its grant is valid."""

Turn = Callable[[], Awaitable[bool]]
"""Does something once; returns whether there is more to do."""


class Config(msgspec.Struct):
    """`seat` is the client's place among the clients; who takes the place of a killed one has the same, and another
    name. `think_ms` is the mean pause between the turns of a task."""

    name: str
    seat: str
    history: str
    seed: int
    partitions: int
    parts: list[str]
    counters_port: int
    api_port: int
    increments: int
    """How often it still has to count up."""
    items: int
    """How many items it still has to put into the store."""
    items_total: int
    """How many come out of it in the end."""
    parties: int
    think_ms: int
    load_per_s: float = 0.0
    """How many events it sends beside its other parts."""
    fills: bool = False
    """Whether it takes all seats at the end."""


class Player:
    def __init__(
        self, config: Config, hub: Accord, history: History, counter: Counter, generator: random.Random
    ) -> None:
        self.config = config
        self.hub = hub
        self.history = history
        self.counter = counter
        self.random = generator
        self.stopping = asyncio.Event()
        self._names = 0

    def new_name(self, partition: int) -> str:
        """A new name that lies in a partition."""
        while True:
            self._names += 1
            name = f"{self.config.name}-{self._names}"
            if partition_of(name.encode(), self.config.partitions) == partition:
                return name

    async def acquire(
        self,
        lock: Leased[Grant],
        *,
        kind: str = "acquire",
        permits: int | None = None,
        wait_ms: int | None = None,
        raises: bool = False,
    ) -> tuple[int, Grant] | None:
        """Asks; returns the number of the operation and the grant, or None if there is none.

        Args:
            kind: of the operation in the history.
            permits: with how many it is asked for, for the history; None is alone.
            raises: whether an error is raised once it is noted.
        """
        op = self.history.invoke(kind, lock.name, permits=permits, lease_ms=LEASE_MS)
        lock.on_queued = lambda _: self.history.queued(op)
        try:
            grant = await lock.acquire(wait_ms=wait_ms)
        except AccordError as error:
            await self.failed(op, error)
            if raises:
                raise
            return None
        self.history.ok(op, token=grant.token, position=str(grant.position))
        return op, grant

    async def release(self, acquired: int, grant: Grant, *, kind: str = "release") -> None:
        op = self.history.invoke(kind, grant.key, token=grant.token, of=acquired)
        try:
            await grant.release()
        except AccordError as error:
            await self.failed(op, error)
        else:
            self.history.ok(op)

    async def send(self, event: str) -> None:
        """Sends an event and waits until it is recorded."""
        op = self.history.invoke("emit", event)
        try:
            receipt = emit(event, {"op": op})
            position = await receipt
        except AccordError as error:
            await self.failed(op, error)
        else:
            self.history.ok(op, position=str(position), message_id=receipt.id)

    async def failed(self, op: int, error: AccordError) -> None:
        self.history.fail(op, error.code, str(error), error.position or "")
        await asyncio.sleep(RETRY_S)

    def believed(self, op: int, grant: Grant, since_ns: int | None = None) -> int | None:
        """Notes whether the grant is valid now; returns since when it has been seen so."""
        before_ns = time.monotonic_ns()
        if not grant.valid:
            return since_ns
        since_ns = since_ns or time.monotonic_ns()
        self.history.belief(op, since_ns, max(before_ns, since_ns))
        return since_ns

    async def hold(self, op: int, grant: Grant, seconds: float, since_ns: int | None) -> None:
        """Holds it so long, and looks again and again whether it is valid."""
        end = time.monotonic() + seconds
        while True:
            await asyncio.sleep(min(LOOK_S, max(0.0, end - time.monotonic())))
            self.believed(op, grant, since_ns)
            if time.monotonic() >= end:
                break
