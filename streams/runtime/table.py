"""A Faust table addressed by partition, with writes that are acknowledged.

Faust's own `table[key] = value` takes the partition from the event being processed, sends one changelog record at
a time (about 0.3 ms each) and tells nobody when it is acknowledged. The runtime writes many rows of one partition
behind the decisions, and must know when they are safe. So rows go out here in record batches through Faust's
aiokafka producer; changelog topic, local store, persisted offset, recovery and standbys remain Faust's.

Rules that hold here:

- The changelog comes first: a row is in the local store only after its changelog record is acknowledged.
- Rows and the changelog offset that they reflect enter the local store in one atomic write.
- A disk that fails costs the local copy and nothing else: rows are in memory then, and go on to the changelog.
- Keys and values are bytes; a value of None deletes the row.
"""

from __future__ import annotations

import asyncio
import fcntl
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import faust
import rocksdict
from aiokafka.structs import RecordMetadata
from faust.stores.rocksdb import Store
from faust.transport.drivers.aiokafka import Producer
from faust.types import TP

from accord import logs

logger = logs.get("accord.worker")

WRITE_BUFFER_BYTES = 4 << 20
"""RocksDB memtable of one partition; Faust's default of 64 MiB, three times, is for few and large stores."""
CHANGELOG_BATCH_BYTES = 256 << 10
"""Size at which a changelog record batch is sent: below the broker's default limit of about 1 MiB."""
DISK_RETRY_S: Final = 5.0
"""How soon a disk that failed is tried again. RocksDB takes as long to notice that there is room again."""
LOCKED: Final = re.compile("lock hold by|[Ww]hile lock file")
"""RocksDB's words for a database that another process, or this one, has open."""


class TableDamaged(Exception):
    """A row cannot be read. The copy was thrown away: the table's rows are to be written anew, all of them."""


class InMemory:
    """A partition's rows while the disk does not take them. `why` is the last attempt's error."""

    __slots__ = ("retry_s", "rows", "why")

    def __init__(self, rows: dict[bytes, bytes], why: str) -> None:
        self.rows = rows
        self.why = why
        self.retry_s = time.monotonic() + DISK_RETRY_S


class PartitionStore(Store):
    """RocksDB, one database a partition, with one block cache for all of a worker's databases; memory where the disk
    fails.

    A database that cannot be written (no room, no permission, an I/O error) is left, and its rows are in memory until a
    new one can be made, which is tried every `DISK_RETRY_S`. One that cannot be opened or read is thrown away. Neither
    loses anything: the changelog has the rows, and the log what they stand for.
    """

    logger = Store.logger

    def __init__(self, *args: Any, cache: rocksdict.Cache, **kwargs: Any) -> None:
        self._cache = cache
        self.in_memory: dict[int, InMemory] = {}
        """The partitions whose rows the disk did not take."""
        super().__init__(*args, driver="rocksdict", **kwargs)

    # -- rows

    def row(self, partition: int, key: bytes) -> bytes | None:
        """A row's value.

        Raises:
            TableDamaged: the disk has it no more.
        """
        if (kept := self.in_memory.get(partition)) is not None:
            return kept.rows.get(key)
        try:
            db = self.existing(partition)
            value: bytes | None = None if db is None else db.get(key)
        except Exception as error:
            self.discard(partition, str(error))
            raise TableDamaged(str(error)) from error
        return value

    def rows(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """All rows by ascending key; where the disk cannot be read on, those before. A checkpoint's sum tells."""
        if (kept := self.in_memory.get(partition)) is not None:
            yield from sorted(item for item in kept.rows.items() if item[0] != self.offset_key)
            return
        try:
            db = self.existing(partition)
            if db is not None:
                yield from self._visible_items(db)
        except Exception as error:
            logger.warning("a table's local copy cannot be read", partition=self._name(partition), why=str(error))

    def put(self, partition: int, rows: Mapping[bytes, bytes | None], offset: int) -> None:
        """Writes and deletes rows, and the changelog's offset that they reflect, at once; in memory if need be."""
        changes: dict[bytes, bytes | None] = {**rows, self.offset_key: str(offset).encode()}
        if partition not in self.in_memory or self.to_disk(partition):
            try:
                self._db_for_partition(partition).write(_batch(changes))
                return
            except Exception as error:
                self._to_memory(partition, error)
        kept = self.in_memory[partition].rows
        for key, value in changes.items():
            if value is None:
                kept.pop(key, None)
            else:
                kept[key] = value

    def discard(self, partition: int, why: str) -> None:
        """Throws the copy of a partition away."""
        logger.warning("a table's local copy is thrown away", partition=self._name(partition), why=why)
        self._close(partition)
        self.in_memory[partition] = InMemory({}, why)
        self._make_anew(partition)

    # -- between memory and disk

    def _to_memory(self, partition: int, error: Exception) -> None:
        rows: dict[bytes, bytes] = {}
        with suppress(Exception):
            if (db := self._dbs.get(partition)) is not None:
                rows.update(db.items())
        self._close(partition)
        self.in_memory[partition] = InMemory(rows, str(error))
        logger.warning("the disk does not take a table's rows", partition=self._name(partition), why=str(error))

    def to_disk(self, partition: int) -> bool:
        """Tries to bring a partition's rows back to the disk, if it is time to. Returns whether they are there."""
        kept = self.in_memory.get(partition)
        if kept is None:
            return True
        if time.monotonic() < kept.retry_s or not self._make_anew(partition):
            return False
        logger.info("the disk takes a table's rows again", partition=self._name(partition))
        return True

    def _make_anew(self, partition: int) -> bool:
        """Makes a new database of the rows in memory, in place of what there is. False: the disk does not take it."""
        kept, path = self.in_memory[partition], self.partition_path(partition)
        try:
            if path.exists():
                _check_unlocked(path)
                shutil.rmtree(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            db = self._db_for_partition(partition)
            if kept.rows:
                db.write(_batch(kept.rows))
        except Exception as error:
            self._close(partition)
            kept.why, kept.retry_s = str(error), time.monotonic() + DISK_RETRY_S
            return False
        del self.in_memory[partition]
        return True

    def _close(self, partition: int) -> None:
        db = self._dbs.pop(partition, None)
        if db is not None:
            with suppress(Exception):  # it writes when it closes
                db.close()

    def _name(self, partition: int) -> str:
        return f"{self.table.name}/{partition}"

    # -- what Faust calls

    def _open_for_partition(self, partition: int) -> rocksdict.Rdict:
        """Replaces faust/stores/rocksdb.py:RocksDBOptions.open, which makes a block cache a database."""
        blocks = rocksdict.BlockBasedOptions()
        blocks.set_block_cache(self._cache)
        blocks.set_bloom_filter(10, block_based=False)
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_keep_log_file_num(1)
        options.set_block_based_table_factory(blocks)
        return rocksdict.Rdict(str(self.partition_path(partition)), options=options)

    async def _try_open_db_for_partition(
        self, partition: int, max_retries: int = 30, retry_delay: float = 1.0, generation_id: int = 0
    ) -> rocksdict.Rdict | None:
        """Opens what an earlier worker has left; a database that is not there is made with its first row. One takes
        some milliseconds, and a worker has one for each partition of each domain, most of them empty.

        Replaces faust/stores/rocksdb.py, which gives up at all errors but those with the letters "lock" in them. One
        that another process has open is waited for; one that cannot be opened is thrown away.
        """
        for attempt in range(1, max_retries + 1):
            try:
                return self.existing(partition)
            except Exception as error:
                if not LOCKED.search(str(error)):
                    self.discard(partition, str(error))
                    return None
                if attempt == max_retries:
                    raise
                if generation_id != self.app.consumer_generation_id:
                    return None
                await asyncio.sleep(retry_delay)
        return None

    def existing(self, partition: int) -> rocksdict.Rdict | None:
        """The database of a partition; None while it has no row, or its rows are in memory."""
        if partition in self.in_memory:
            return None
        there = partition in self._dbs or self.partition_path(partition).exists()
        return self._db_for_partition(partition) if there else None

    def apply_changelog_batch(
        self, batch: Iterable[Any], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """Rows from the changelog, in recovery and on a standby."""
        found: dict[int, tuple[dict[bytes, bytes | None], int]] = {}
        for event in batch:
            message = event.message
            rows, last = found.get(message.partition, ({}, -1))
            rows[message.key] = message.value
            found[message.partition] = rows, max(last, message.offset)
        for partition, (rows, offset) in found.items():
            self.put(partition, rows, offset)

    def persisted_offset(self, tp: TP) -> int | None:
        with suppress(TableDamaged):
            offset = self.row(tp.partition, self.offset_key)
            return None if offset is None else int(offset)
        return None

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        self.put(tp.partition, {}, offset)

    async def need_active_standby_for(self, tp: TP) -> bool:
        """Faust asks whether another worker of this machine has it open: each has a directory of its own."""
        return True

    def revoke_partitions(self, table: Any, tps: set[TP]) -> None:
        """Closes the databases of partitions. Faust drops them and runs the garbage collector, at every rebalance, over
        the whole process: the heap of whoever embeds a worker."""
        for tp in tps:
            if tp.topic in table.changelog_topic.topics:
                self.in_memory.pop(tp.partition, None)
                self._close(tp.partition)

    async def stop(self) -> None:
        """Closes all databases; see `revoke_partitions`."""
        for partition in list(self._dbs):
            self._close(partition)


def _batch(changes: Mapping[bytes, bytes | None]) -> rocksdict.WriteBatch:
    batch = rocksdict.WriteBatch(raw_mode=True)
    for key, value in changes.items():
        if value is None:
            batch.delete(key)
        else:
            batch.put(key, value)
    return batch


def _check_unlocked(path: Path) -> None:
    """Raises OSError if another process has the database open, as RocksDB locks it."""
    lock = path / "LOCK"
    if lock.exists():
        with lock.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class PartitionTable(faust.Table[bytes, bytes]):
    """A table of bytes by bytes, one key space a partition.

    Args:
        app: the Faust app.
        cache: RocksDB block cache shared by all tables of the worker.
        kwargs: as for `faust.Table`.
    """

    logger = faust.Table.logger
    data: PartitionStore

    def __init__(self, app: Any, *, cache: rocksdict.Cache, **kwargs: Any) -> None:
        self._cache = cache
        super().__init__(app, key_type=bytes, value_type=bytes, **kwargs)

    def _new_store(self) -> PartitionStore:
        return PartitionStore(
            "rocksdb:",
            self.app,
            self,
            table_name=self.name,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            loop=self.loop,
            cache=self._cache,
        )

    def get_row(self, partition: int, key: bytes) -> bytes | None:
        """The row's value as the last finished `write_rows` or the recovery left it.

        Raises:
            TableDamaged: it cannot be read.
        """
        return self.data.row(partition, key)

    def rows(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """All rows of the partition by ascending key, as they stand when the iteration begins."""
        return self.data.rows(partition)

    def discard(self, partition: int, why: str) -> None:
        """Throws the local copy of a partition away. Its changelog is not touched: write what it is to have."""
        self.data.discard(partition, why)

    @property
    def in_memory(self) -> dict[int, str]:
        """The partitions whose rows the disk does not take, and why; tries the disk again where it is time to."""
        return {
            partition: kept.why
            for partition, kept in list(self.data.in_memory.items())
            if not self.data.to_disk(partition)
        }

    async def write_rows(self, partition: int, rows: Mapping[bytes, bytes | None]) -> int | None:
        """Write and delete rows; returns when the changelog has acknowledged them all.

        Returns:
            The changelog offset of the last row, None without rows.

        Raises:
            aiokafka.errors.KafkaError: the changelog did not acknowledge; the local store is then unchanged, and the
                changelog may hold any part of the rows. Writing them again is safe.
        """
        if not rows:
            return None
        offset = await self._send_rows(partition, rows)
        # What faust/tables/base.py:Collection._on_changelog_sent does, but in the same write as the rows.
        self.data.put(partition, rows, offset)
        return offset

    async def _send_rows(self, partition: int, rows: Mapping[bytes, bytes | None]) -> int:
        producer = cast(Producer, self.app.producer)._ensure_producer()
        topic = self.changelog_topic_name
        builder = producer.create_batch()
        reports: list[asyncio.Future[RecordMetadata]] = []
        for key, value in rows.items():
            if builder.append(timestamp=None, key=key, value=value) is None:  # full
                reports.append(await producer.send_batch(builder, topic, partition=partition))
                builder = producer.create_batch()
                builder.append(timestamp=None, key=key, value=value)
        reports.append(await producer.send_batch(builder, topic, partition=partition))
        await asyncio.gather(*reports)
        return int(reports[-1].result().offset) + int(builder.record_count()) - 1
