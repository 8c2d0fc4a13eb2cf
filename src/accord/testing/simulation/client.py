"""A client at the level of commands and answers: it asks, asks again under the same id, and believes what the chain of
the partition accepts. Its program is a coroutine that runs in a process of its own.

It reads a partition of events from the point where it first waits for something there, by the anchor that readers use
everywhere, and is told of the answers to its commands and of the events of keys that it watches.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from accord import kafka
from accord.errors import KafkaUnreachable
from accord.schemas.clock import VectorClock
from accord.schemas.codec import commands_codec, events_codec
from accord.schemas.headers import command_headers
from accord.schemas.messages import Command, Event
from accord.schemas.topics import commands_topic, events_topic, partition_of
from accord.streams.chain import Chain, Decision
from accord.streams.partition import Identity
from accord.testing.simulation.history import Operation
from accord.testing.simulation.network import Link
from accord.testing.simulation.process import Process

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster

REST_S: Final = 60.0
"""Who rests looks this often whether the run goes on."""
ANSWER_MS: Final = 30_000
RETRY_MS: Final = 4_000
EVENTS_MAX: Final = 10_000
"""Of a watched key that were not looked at; the oldest are dropped."""


class NoAnswer(Exception):
    """A command was not answered in time; whether it takes effect is not known."""


class Client:
    """One incarnation of an agent.

    Args:
        name: of the agent; the process has it with a number.
        notes: what the agent has on its disk: it outlives the process.
    """

    def __init__(
        self, cluster: Cluster, name: str, process: Process, link: Link, notes: dict[str, Any] | None = None
    ) -> None:
        self.notes = {} if notes is None else notes
        self.cluster = cluster
        self.name = name
        self.process = process
        self.link = link
        self.random = process.random
        self.clock = VectorClock()
        self._asked: dict[str, tuple[Operation, asyncio.Future[tuple[Event, ...]]]] = {}
        self._feeds: dict[tuple[str, int], Feed] = {}
        self._count = 0

    @property
    def going(self) -> bool:
        """Whether new work is to be begun."""
        return self.cluster.scheduler.now_ms < self.cluster.asking_until_ms

    @property
    def time_s(self) -> float:
        return self.process.time_s

    async def pause(self, least_ms: float, most_ms: float) -> None:
        """Does nothing for a time between the two, less in a run of a quicker pace."""
        await asyncio.sleep(self.random.uniform(least_ms, most_ms) * min(1.0, self.cluster.pace) / 1_000)

    async def rest(self, most_ms: float) -> None:
        """Does nothing for up to so long, at the run's pace, quick or slow: between two rounds of what it does. It ends
        soon after the run's faults have."""
        left_s = self.random.uniform(0, most_ms) * self.cluster.pace / 1_000
        await asyncio.sleep(min(left_s, REST_S))
        while self.going and (left_s := left_s - REST_S) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left_s, REST_S))

    # -- asking

    async def ask(
        self, domain: str, key: str, command: Command, *, wait_ms: float = ANSWER_MS, task: str | None = None
    ) -> Operation:
        """Sends a command, again and again under its id, until it is answered.

        Raises:
            NoAnswer: for so long.
        """
        self._count += 1
        return await self.ask_as(f"{self.process.name}-{self._count}", domain, key, command, wait_ms, task)

    async def ask_as(
        self, command_id: str, domain: str, key: str, command: Command, wait_ms: float, task: str | None = None
    ) -> Operation:
        """The same under an id of the caller's."""
        scheduler = self.cluster.scheduler
        operation = Operation(self.process.name, domain, key, command, command_id, scheduler.now_ms)
        self.cluster.history.operations.append(operation)
        feed = self.feed(domain, key)
        answer: asyncio.Future[tuple[Event, ...]] = asyncio.get_running_loop().create_future()
        until_s = self.time_s + wait_ms / 1_000
        await feed.ready(until_s)
        self._asked[command_id] = operation, answer
        try:
            while True:
                self.send(command_id, domain, key, command, task)
                retry_s = self.random.uniform(0.5, 1.5) * RETRY_MS / 1_000
                await asyncio.wait([answer], timeout=min(retry_s, max(0.0, until_s - self.time_s)))
                if answer.done():
                    return operation
                if self.time_s >= until_s:
                    raise NoAnswer(f"{command_id} ({type(command).__name__} {key})")
                operation.tries += 1
        finally:
            del self._asked[command_id]

    def send(self, command_id: str, domain: str, key: str, command: Command, task: str | None = None) -> None:
        """Sends a command and waits for nothing."""
        self.clock = self.clock.advanced(self.process.name)
        codec = commands_codec(domain)
        headers = command_headers(command_id, self.name, codec.type_name(command), self.clock.encode(), task)
        partition = self.cluster.partition_of(key)
        self.link.send(commands_topic(domain), partition, [(key.encode(), codec.encode(command), headers)])

    # -- listening

    def watch(self, domain: str, key: str) -> Watch:
        """The events of a key from now on."""
        return Watch(self, self.feed(domain, key), key)

    def feed(self, domain: str, key: str) -> Feed:
        place = domain, self.cluster.partition_of(key)
        if place not in self._feeds:
            self._feeds[place] = Feed(self, *place)
        return self._feeds[place]

    def heard(self, decision: Decision, events: tuple[Event, ...]) -> None:
        """A decision on a command of its own was read."""
        asked = self._asked.get(decision.command_id)
        if asked is None:
            return
        operation, answer = asked
        if not answer.done():
            operation.ended_ms = self.cluster.scheduler.now_ms
            operation.seq, operation.digest, operation.events = decision.seq, decision.digest, events
            answer.set_result(events)

    def asks(self, command_id: str) -> bool:
        return command_id in self._asked


class Watch:
    """The events of one key. Use it as a context."""

    def __init__(self, client: Client, feed: Feed, key: str) -> None:
        self.client = client
        self.feed = feed
        self.key = key
        self._events: deque[tuple[Decision, Event]] = deque(maxlen=EVENTS_MAX)
        self._more = asyncio.Event()

    async def __aenter__(self) -> Watch:
        self.feed.watches.setdefault(self.key, []).append(self)
        await self.feed.ready(float("inf"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.feed.watches[self.key].remove(self)

    def tell(self, decision: Decision, event: Event) -> None:
        self._events.append((decision, event))
        self._more.set()

    async def until(self, wanted: Callable[[Any], bool], wait_ms: float) -> tuple[Decision, Any] | None:
        """The next event that is wanted, and its decision; None: it did not come in time."""
        until_s = self.client.time_s + wait_ms / 1_000
        while True:
            while self._events:
                decision, event = self._events.popleft()
                if wanted(event):
                    return decision, event
            self._more.clear()
            left_s = until_s - self.client.time_s
            if left_s <= 0:
                return None
            try:
                await asyncio.wait_for(self._more.wait(), left_s)
            except TimeoutError:
                return None


class Feed:
    """Reads a partition of events for a client."""

    def __init__(self, client: Client, domain: str, partition: int) -> None:
        self.client = client
        self.watches: dict[str, list[Watch]] = {}
        self._domain = domain
        self._partition = partition
        self._topic = events_topic(domain)
        self._codec = events_codec(domain)
        self._root = Identity(client.cluster.log.cluster, domain, partition).root
        self._chain: Chain | None = None
        self._offset = 0
        self._started = asyncio.Event()
        self._polling = False
        client.process.on_crash.append(client.link.log.watch(self._topic, partition, self._changed))
        self._changed()

    async def ready(self, until_s: float) -> None:
        """Waits until it has a place to read from."""
        if self._started.is_set():
            return
        left_s = None if until_s == float("inf") else max(0.0, until_s - self.client.time_s)
        try:
            await asyncio.wait_for(self._started.wait(), left_s)
        except TimeoutError:
            raise NoAnswer(f"{self._topic}/{self._partition} cannot be read") from None

    def _changed(self) -> None:
        if not self._polling:
            self._polling = True
            link = self.client.link
            link.process.call_later(link.latency_ms(), partial(link.process.loop.call_soon, self._poll))

    def _poll(self) -> None:
        self._polling = False
        client, link = self.client, self.client.link
        try:
            if self._chain is None:
                self._chain, self._offset = kafka.anchor_in(
                    link.bounds, link.read, self._topic, self._partition, self._root
                )
                self._started.set()
            records = link.read(
                self._topic, self._partition, self._offset, link.bounds(self._topic, self._partition)[1]
            )
        except KafkaUnreachable:
            self._polling = True
            again = partial(link.process.loop.call_soon, self._poll)
            client.cluster.scheduler.call_at(link.cut_until_ms, again, process=link.process)
            return
        for record in records:
            self._offset = record.offset + 1
            decision = self._chain.accept(record)
            if decision is not None:
                self._take(decision)

    def _take(self, decision: Decision) -> None:
        client = self.client
        client.cluster.was_read(self._domain, self._partition, decision)
        watches = self.watches.get(decision.key.decode(errors="replace"), ()) if self.watches else ()
        mine = client.asks(decision.command_id)
        if not mine and not watches:
            return
        client.clock = client.clock.merge(VectorClock.decode(decision.clock), keep=client.process.name)
        events = tuple(self._codec.decode(decision.value))
        for watch in watches:
            for event in events:
                watch.tell(decision, event)
        if mine:
            client.heard(decision, events)


def partition_for(key: str, partitions: int) -> int:
    """The partition of a key."""
    return partition_of(key.encode(), partitions)
