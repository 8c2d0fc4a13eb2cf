"""Bulk reading: a partition's records as fast as Python can have them.

librdkafka takes 0.6 us for each header that it hands over, most of what a decision costs to read. Here a fetch is sent
with aiokafka's client and taken apart by its compiled parser, whose records need no copying: an eighth of the time.
The rules are those of `accord.kafka.read`: read uncommitted, in order, an offset out of range is an error.

The client's event loop runs in a thread of its own, so this works on a thread whose own loop is running. While one
answer is taken apart, the next is under way, so at most two are held.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition, errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest, OffsetResetStrategy
from aiokafka.record.memory_records import MemoryRecords

from accord.errors import KafkaUnreachable, LogGap
from accord.kafka import READ_TIMEOUT_S, bootstrap, ssl_context
from accord.schemas.headers import Record
from accord.settings import KafkaSettings

T = TypeVar("T")

FETCH_BYTES: Final = 4 * 1024 * 1024
FETCH_WAIT_MS: Final = 100
"""How long a broker holds a fetch that finds nothing; what is read here is there already."""
RETRY_S: Final = 0.1
RETRY_MAX_S: Final = 1.0
"""The pause after a failed try doubles up to this: a cluster that is away is asked by all who read, again and again."""


class Fetcher:
    """Reads ranges of a cluster's partitions, for any number of threads over one connection a broker. It connects when
    it is first asked, and `close` ends its own thread."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="accord-fetch", daemon=True)
        self._thread.start()

    def read(
        self, topic: str, partition: int, start: int, end: int, *, fetch_bytes: int = FETCH_BYTES
    ) -> Iterator[Record]:
        """The records of `[start, end)` in order. Several readings may go on side by side.

        Args:
            fetch_bytes: size of an answer; two are held.

        Raises:
            LogGap: `start` is below the log's start, or the log changed while reading.
            KafkaUnreachable: no record for `READ_TIMEOUT_S`.
        """
        where = TopicPartition(topic, partition)
        answer = self._start(self._fetch(where, start, fetch_bytes)) if start < end else None
        try:
            while answer is not None:
                batches, following = _batches(answer.result(), start)
                answer = self._start(self._fetch(where, following, fetch_bytes)) if following < end else None
                for batch in batches:
                    for record in batch:
                        if start <= record.offset < end:
                            yield record
                start = following
        finally:
            if answer is not None:
                answer.cancel()

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset and end (one past the last) of a partition.

        Raises:
            KafkaUnreachable: no answer for `READ_TIMEOUT_S`.
        """
        return self._start(self._bounds(TopicPartition(topic, partition))).result()

    def close(self) -> None:
        """Disconnects and ends the thread; what is still asked ends with `CancelledError`. Safe to call twice."""
        if not self._thread.is_alive():
            return
        self._start(self._disconnect()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _disconnect(self) -> None:
        asking = asyncio.all_tasks() - {asyncio.current_task()}
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    async def _fetch(self, where: TopicPartition, offset: int, size: int) -> bytes:
        """What the partition's leader has from an offset on: whole batches, the first of which holds the offset."""

        async def fetch() -> bytes | None:
            request = FetchRequest(FETCH_WAIT_MS, 1, size, 0, [(where.topic, [(where.partition, offset, size)])])
            _, error_code, *_, records = await self._ask(where, request)
            _check(error_code)
            return records or None

        try:
            return await self._answer(where, fetch, f"nothing from offset {offset} on")
        except errors.OffsetOutOfRangeError as error:
            raise LogGap(
                f"{where.topic}/{where.partition}: offset {offset} is not there any more; the log was cut or rewritten."
            ) from error

    async def _bounds(self, where: TopicPartition) -> tuple[int, int]:
        async def offset(strategy: int) -> int:
            request = OffsetRequest(-1, 0, [(where.topic, [(where.partition, strategy)])])
            _, error_code, *_, found = await self._ask(where, request)
            _check(error_code)
            return int(found)

        async def offsets() -> tuple[int, int]:
            return await offset(OffsetResetStrategy.EARLIEST), await offset(OffsetResetStrategy.LATEST)

        return await self._answer(where, offsets, "no bounds")

    async def _answer(self, where: TopicPartition, ask: Callable[[], Awaitable[T | None]], failed: str) -> T:
        """What `ask` returns once it is not None. A leader may be new, or not known yet: that is waited for."""
        deadline = time.monotonic() + READ_TIMEOUT_S
        problem: object = "it has no such record"
        pause = RETRY_S
        while time.monotonic() < deadline:
            try:
                async with asyncio.timeout_at(self._loop.time() + deadline - time.monotonic()):
                    answer = await ask()
            except errors.OffsetOutOfRangeError:
                raise
            except (errors.KafkaError, OSError) as error:  # a TimeoutError is one
                problem = error
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_MAX_S)
            else:
                if answer is not None:
                    return answer
        raise KafkaUnreachable(f"{where.topic}/{where.partition}: {failed} for {READ_TIMEOUT_S:g} s: {problem!r}.")

    async def _ask(self, where: TopicPartition, request: Any) -> Any:
        """The leader's answer for the one partition that the request names."""
        client = await self._connected()
        await client.add_topic(where.topic)
        leader = client.cluster.leader_for_partition(where)
        try:
            if leader is None or leader < 0:
                raise errors.LeaderNotAvailableError
            response = await client.send(leader, request)
        except errors.KafkaError:
            client.force_metadata_update()  # in the background
            raise
        return response.topics[0][1][0]

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is None:
                client: Any = AIOKafkaClient(bootstrap_servers=bootstrap(self._settings), **_security(self._settings))
                try:
                    await client.bootstrap()
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            return self._client

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)


def _check(error_code: int) -> None:
    error = errors.for_code(error_code)
    if error is not errors.NoError:
        raise error


def _batches(data: bytes, offset: int) -> tuple[list[Any], int]:
    """The batches of records in an answer, and the offset after them. Control batches hold no records of ours."""
    found = []
    records = MemoryRecords(data)
    while records.has_next():
        batch = records.next_batch()
        offset = max(offset, batch.next_offset)
        if not batch.is_control_batch:
            found.append(batch)
    return found, offset


def _security(settings: KafkaSettings) -> dict[str, Any]:
    """The security settings as aiokafka wants them: what `accord.kafka.client_config` is to librdkafka."""
    config: dict[str, Any] = {"security_protocol": settings.security_protocol, "ssl_context": ssl_context(settings)}
    if settings.security_protocol.startswith("SASL"):
        config["sasl_mechanism"] = settings.sasl_mechanism or "PLAIN"
        config["sasl_plain_username"] = settings.sasl_username
        config["sasl_plain_password"] = settings.sasl_password
    return config
