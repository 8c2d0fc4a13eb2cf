"""Who runs which flow, and how far each is: a Faust app of its own, with one table.

What is Faust's here is the group, the assignment, the table with its changelog, and its recovery. A flow has its place
by its name, like an aggregate: whoever is assigned that partition runs it, and finds its checkpoint in the table. What
is not Faust's: reading (a flow reads the partitions in which its events lie, through the chain), windows (Faust's go
by each worker's own stream and clock), and the order of writes (see `PartitionTable`).

A checkpoint is a cache. It stands in parts, under one of two generations by turns, and the row that names generation,
parts and hash comes last: so one that was not written to its end leaves the one before it as it was.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
from accord.schemas.topics import events_topic, partition_of
from accord.streams.runtime.app import StreamApp, StreamOptions
from accord.streams.runtime.worker import FETCH_WAIT_MAX_MS, credentials

from accord import logs
from accord.kafka import bootstrap, client_config
from accord.settings import Settings

logger = logs.get("accord.flows")

TABLE: Final = "flows"
SOURCE: Final = "signals"
"""The domain whose events topic has as many partitions as the table."""
PART_BYTES: Final = 200_000


class Head(msgspec.Struct, frozen=True, array_like=True):
    """The row that names the parts of a checkpoint."""

    generation: int
    parts: int
    digest: bytes


NO_CHECKPOINT: Final = Head(1, 0, b"")
_decode_head: Final = msgspec.msgpack.Decoder(Head).decode


class FlowTable:
    """Membership of the group that runs flows, and their checkpoints. On one event loop.

    Args:
        group: name of those who share flows.
        embedded: the broker is librdkafka's mock cluster.
        assigned: told of partitions whose flows are to be run here now.
        revoked: told of partitions whose flows are not, any more; awaited before another process may have them.
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        *,
        embedded: bool,
        assigned: Callable[[frozenset[int]], Awaitable[None]],
        revoked: Callable[[frozenset[int]], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._group = group
        self._embedded = embedded
        self._assigned, self._revoked = assigned, revoked
        self._folder: str | None = None
        self._app: StreamApp | None = None

    def place_of(self, flow: str) -> int:
        """The partition that a flow belongs to."""
        return partition_of(flow.encode(), self._settings.topics.partitions)

    async def start(self) -> None:
        """Joins the group; returns when the first assignment was told.

        Raises:
            Exception: whatever kept it from that.
        """
        settings = self._settings
        self._folder = tempfile.mkdtemp(prefix="accord-flows-")  # the changelog is what lasts
        self._app = app = StreamApp(
            StreamOptions(
                group=f"{settings.topics.prefix}.{TABLE}.{self._group}",
                bootstrap_servers=bootstrap(settings.kafka),
                data_dir=Path(self._folder),
                fetch_wait_ms=min(settings.kafka.fetch_wait_ms, FETCH_WAIT_MAX_MS),
                session_timeout_ms=settings.worker.session_timeout_ms,
                heartbeat_ms=max(100, settings.worker.session_timeout_ms * 3 // 10),
                create_changelogs=not self._embedded,
                changelog_replication=settings.topics.replication,
                client=client_config(settings.kafka),
                faust=credentials(settings.kafka),
            )
        )
        self._domain = app.domain(
            TABLE,
            events_topic(SOURCE, settings.topics.prefix),
            on_batch=None,
            on_assigned=self._on_assigned,
            on_revoked=self._revoked,
        )
        try:
            await app.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Leaves the group, once `revoked` was told of all that was held. Safe to call twice."""
        app, self._app = self._app, None
        if app is not None:
            await app.stop()
        folder, self._folder = self._folder, None
        if folder is not None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def wait_failed(self) -> BaseException:
        """Returns what ended the membership, when something does."""
        assert self._app is not None, "not started"
        return await self._app.wait_failed()

    async def _on_assigned(self, partitions: frozenset[int]) -> None:
        await self._assigned(partitions)

    def load(self, flow: str) -> bytes | None:
        """The last checkpoint of a flow that belongs here; None: there is none, or it is damaged."""
        place, table, head = self.place_of(flow), self._domain.table, self._head(flow)
        parts = [table.get_row(place, _part(flow, head.generation, number)) or b"" for number in range(head.parts)]
        data = b"".join(parts)
        return data if _digest(data) == head.digest else None

    def _head(self, flow: str) -> Head:
        """What names the parts of the last checkpoint; nothing, if there is none or it cannot be read."""
        row = self._domain.table.get_row(self.place_of(flow), flow.encode())
        try:
            return _decode_head(row) if row is not None else NO_CHECKPOINT
        except msgspec.MsgspecError:
            return NO_CHECKPOINT

    async def save(self, flow: str, data: bytes) -> None:
        """Makes a checkpoint; returns when the changelog has acknowledged it.

        Raises:
            aiokafka.errors.KafkaError: it has not. The one before holds.
        """
        place, table = self.place_of(flow), self._domain.table
        generation = 1 - self._head(flow).generation
        cut = [data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES)]
        rows: dict[bytes, bytes | None] = {_part(flow, generation, number): part for number, part in enumerate(cut)}
        rows |= dict.fromkeys(self._left_over(place, flow, generation, len(cut)))
        rows[flow.encode()] = msgspec.msgpack.encode(Head(generation, len(cut), _digest(data)))
        await table.write_rows(place, rows)

    def _left_over(self, place: int, flow: str, generation: int, count: int) -> list[bytes]:
        """The parts that a longer checkpoint of this generation had."""
        found: list[bytes] = []
        while self._domain.table.get_row(place, key := _part(flow, generation, count + len(found))) is not None:
            found.append(key)
        return found


def _part(flow: str, generation: int, number: int) -> bytes:
    return flow.encode() + b"\0%d/%d" % (generation, number)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
