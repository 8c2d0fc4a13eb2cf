"""A Faust table addressed by partition, with writes that are acknowledged.

Faust's own `table[key] = value` takes the partition from the event being processed, sends one changelog record at
a time (about 0.3 ms each) and tells nobody when it is acknowledged. The runtime writes many rows of one partition
behind the decisions, and must know when they are safe. So rows go out here in record batches through Faust's
aiokafka producer; changelog topic, local store, persisted offset, recovery and standbys remain Faust's.

Rules that hold here:

- The changelog comes first: a row is in the local store only after its changelog record is acknowledged.
- Rows and the changelog offset that they reflect enter the local store in one atomic write.
- Keys and values are bytes; a value of None deletes the row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, cast

import faust
import rocksdict
from aiokafka.structs import RecordMetadata
from faust.stores.rocksdb import Store
from faust.transport.drivers.aiokafka import Producer
from faust.types import TP

WRITE_BUFFER_BYTES = 4 << 20
"""RocksDB memtable of one partition; Faust's default of 64 MiB, three times, is for few and large stores."""
CHANGELOG_BATCH_BYTES = 256 << 10
"""Size at which a changelog record batch is sent: below the broker's default limit of about 1 MiB."""


class PartitionStore(Store):
    """RocksDB, one database a partition, with one block cache for all of a worker's databases."""

    logger = Store.logger

    def __init__(self, *args: Any, cache: rocksdict.Cache, **kwargs: Any) -> None:
        self._cache = cache
        super().__init__(*args, driver="rocksdict", **kwargs)

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

    async def _try_open_db_for_partition(self, partition: int, *args: Any, **kwargs: Any) -> rocksdict.Rdict | None:
        """Opens what an earlier worker has left; a database that is not there is made with its first row. One takes
        some milliseconds, and a worker has one for each partition of each domain, most of them empty."""
        if self.existing(partition) is None:
            return None
        db: rocksdict.Rdict | None = await super()._try_open_db_for_partition(partition, *args, **kwargs)
        return db

    def existing(self, partition: int) -> rocksdict.Rdict | None:
        """The database of a partition, None while it has no row."""
        there = partition in self._dbs or self.partition_path(partition).exists()
        return self._db_for_partition(partition) if there else None

    def persisted_offset(self, tp: TP) -> int | None:
        return None if self.existing(tp.partition) is None else super().persisted_offset(tp)

    def revoke_partitions(self, table: Any, tps: set[TP]) -> None:
        """Closes the databases of partitions. Faust drops them and runs the garbage collector, at every rebalance, over
        the whole process: the heap of whoever embeds a worker."""
        for tp in tps:
            db = self._dbs.pop(tp.partition, None) if tp.topic in table.changelog_topic.topics else None
            if db is not None:
                db.close()

    async def stop(self) -> None:
        """Closes all databases; see `revoke_partitions`."""
        for db in self._dbs.values():
            db.close()
        self._dbs.clear()


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
        """The row's value as the last finished `write_rows` or the recovery left it."""
        db = self.data.existing(partition)
        value: bytes | None = None if db is None else db.get(key)
        return value

    def rows(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """All rows of the partition by ascending key, as they stand when the iteration begins."""
        db = self.data.existing(partition)
        if db is not None:
            yield from self.data._visible_items(db)

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
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in rows.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        # What faust/tables/base.py:Collection._on_changelog_sent does, but in the same write as the rows.
        batch.put(self.data.offset_key, str(offset).encode())
        self.data._db_for_partition(partition).write(batch)
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
