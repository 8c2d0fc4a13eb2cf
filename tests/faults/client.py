"""A client of a fault run: `python -m tests.faults.client CONFIG`, settings from the environment.

Until its input ends it takes locks that others want too (with a read and a write of a guarded counter under each),
locks and slots of limits of its own, and emits events, each kind in several tasks. The last three keep to one partition
a task, so that a partition out of service shows as such. A careless program: it writes under a grant that it no longer
believes in; the fence is there to stop it. Everything is noted in its history before and after it is done.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from accord.schemas.topics import partition_of

from accord import Accord, AccordError, Grant, emit, logs
from tests.faults.history import History
from tests.faults.resource import Counter

LEASE_MS = 2_000
SHORT_WAIT_MS = 500
RETRY_S = 0.2


class Config(msgspec.Struct):
    """`shared` are the locks that all clients want; `think_ms` is the mean pause of a task between operations."""

    name: str
    history: str
    seed: int
    partitions: int
    shared: list[str]
    shared_tasks: int
    counters_port: int
    think_ms: int = 60


class Client:
    def __init__(self, config: Config, hub: Accord) -> None:
        self.config = config
        self.hub = hub
        self.history = History(Path(config.history))
        self.random = random.Random(config.seed)
        self.counter = Counter(config.counters_port)
        self.stopping = asyncio.Event()
        self._names = 0

    async def run(self) -> None:
        asyncio.get_running_loop().run_in_executor(None, sys.stdin.read).add_done_callback(
            lambda _: self.stopping.set()
        )
        works: list[Callable[[], Awaitable[None]]] = [self.take_shared] * self.config.shared_tasks
        for partition in range(self.config.partitions):
            works.append(lambda partition=partition: self.take_own(partition))  # type: ignore[misc]
            works.append(lambda partition=partition: self.take_slot(partition))  # type: ignore[misc]
            works.append(lambda partition=partition: self.emit(partition))  # type: ignore[misc]
        async with asyncio.TaskGroup() as tasks:
            for work in works:
                tasks.create_task(self._again(work))

    async def _again(self, work: Callable[[], Awaitable[None]]) -> None:
        while not self.stopping.is_set():
            await work()
            await asyncio.sleep(self.random.expovariate(1_000 / self.config.think_ms))

    def _name(self, partition: int) -> str:
        """A new name that lies in a partition."""
        while True:
            self._names += 1
            name = f"{self.config.name}-{self._names}"
            if partition_of(name.encode(), self.config.partitions) == partition:
                return name

    async def take_shared(self) -> None:
        key = self.random.choice(self.config.shared)
        wait_ms = SHORT_WAIT_MS if self.random.random() < 0.2 else None
        op, grant = await self._acquire(key, wait_ms)
        if grant is None:
            return
        since_ns = self._believed(op, grant, None)
        value = self.counter.ask(key, grant.token)
        # Now and then a body outlasts its lease and lives on renewals.
        end = time.monotonic() + (1.5 * LEASE_MS / 1_000 if self.random.random() < 0.02 else self.random.random() / 50)
        while True:
            await asyncio.sleep(min(0.1, max(0.0, end - time.monotonic())))
            self._believed(op, grant, since_ns)
            if time.monotonic() >= end:
                break
        if value is not None:
            self.counter.ask(key, grant.token, value + 1)
        self._believed(op, grant, since_ns)
        await self._release(grant)

    async def take_own(self, partition: int) -> None:
        _, grant = await self._acquire(self._name(partition), None)
        if grant is not None:
            await self._release(grant)

    async def take_slot(self, partition: int) -> None:
        """A slot of a limit of its own."""
        key = self._name(partition)
        op = self.history.invoke("take", key)
        try:
            slot = await self.hub.limit(key, lease_ms=LEASE_MS).acquire()
        except AccordError as error:
            await self._failed(op, error)
            return
        self.history.ok(op, token=slot.token, position=str(slot.position))
        op = self.history.invoke("give", key, token=slot.token)
        try:
            await slot.release()
        except AccordError as error:
            await self._failed(op, error)
        else:
            self.history.ok(op)

    async def emit(self, partition: int) -> None:
        event = self._name(partition)
        op = self.history.invoke("emit", event)
        try:
            receipt = emit(event, {"op": op})
            position = await receipt
        except AccordError as error:
            await self._failed(op, error)
        else:
            self.history.ok(op, position=str(position), message_id=receipt.id)

    async def _acquire(self, key: str, wait_ms: int | None) -> tuple[int, Grant | None]:
        op = self.history.invoke("acquire", key)
        try:
            grant = await self.hub.lock(key, lease_ms=LEASE_MS, wait_ms=wait_ms).acquire()
        except AccordError as error:
            await self._failed(op, error)
            return op, None
        self.history.ok(op, token=grant.token, position=str(grant.position))
        return op, grant

    async def _release(self, grant: Grant) -> None:
        op = self.history.invoke("release", grant.key, token=grant.token)
        try:
            await grant.release()
        except AccordError as error:
            await self._failed(op, error)
        else:
            self.history.ok(op)

    async def _failed(self, op: int, error: AccordError) -> None:
        self.history.fail(op, error.code, str(error))
        await asyncio.sleep(RETRY_S)

    def _believed(self, op: int, grant: Grant, since_ns: int | None) -> int | None:
        """Notes whether the grant is valid now; returns since when it has been seen so."""
        before_ns = time.monotonic_ns()
        if not grant.valid:
            return since_ns
        since_ns = since_ns or time.monotonic_ns()
        self.history.belief(op, since_ns, max(before_ns, since_ns))
        return since_ns


async def main(config: Config) -> None:
    logs.show()
    async with Accord(agent=config.name) as hub:
        print("client ready", flush=True)
        await Client(config, hub).run()


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Config)))
