"""Checkpoints: a partition's state as rows of a table that is only a cache.

A row holds an aggregate's value, the seq that it reflects, and the hash of its value at the checkpoint before. The
checkpoint names a decision and the sum of the row hashes at it. Rows are written first, the checkpoint after they are
acknowledged; a crash between leaves rows that are ahead, whose hash at the checkpoint they still carry. So the sum
can be checked in every case, and rows ahead of the checkpoint skip the decisions that they reflect already.

A deleted aggregate stays as a row without a value until a later checkpoint. A value that is too large for a record of
the changelog stands in parts, each under its own hash, and the row names them. They are written before the row that
names them, and those that it no longer names are deleted with a later checkpoint: so a row that is there is whole.
Parts that a crash left without a row are deleted after the next load. Whatever does not add up, or is not what
the log says at that point, is thrown away, and the partition is rebuilt from its events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec
from accord.schemas.headers import Confirmed
from accord.streams.chain import Head
from accord.streams.partition import Partition

CHECKPOINT_KEY: Final = b"checkpoint"
ROW_PREFIX: Final = b"row:"
PART_PREFIX: Final = b"part:"
PART_BYTES: Final = 200_000
"""Of a larger value, each part: a record batch of the changelog has room for it (`runtime/table.py`)."""
FORMAT: Final = 2
_MODULUS: Final = 1 << 64


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One aggregate. `before` is the hash of its value at the checkpoint before `seq`, `parts` are those of a large
    value's parts. No value and no parts: deleted."""

    seq: int
    before: int
    value: bytes | None
    parts: tuple[bytes, ...] = ()


class Checkpoint(msgspec.Struct, frozen=True, array_like=True):
    """What the rows reflect. `window` is where the known command ids start."""

    format: int
    root: bytes
    seq: int
    digest: bytes
    offset: int
    cause: int
    now_ms: int
    clock: bytes
    rules: int
    partition_count: int
    timestamps: str
    window_offset: int
    window_seq: int
    window_digest: bytes
    total: int

    @property
    def head(self) -> Head:
        return Head(self.seq, self.digest, self.cause, self.offset)

    @property
    def window(self) -> Confirmed:
        return Confirmed(self.window_offset, self.window_seq, self.window_digest)

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)


class Snapshot(NamedTuple):
    """The aggregates that changed since the last checkpoint, as they were at one decision; None: deleted."""

    checkpoint: Checkpoint
    changed: dict[str, bytes | None]


class Loaded(NamedTuple):
    """A checkpoint whose rows add up. `ahead` are rows newer than it, `stale` those that nobody needs any more: to be
    deleted with the next checkpoint."""

    checkpoint: Checkpoint
    values: dict[str, bytes]
    ahead: dict[str, int]
    stale: list[bytes]


def snapshot(partition: Partition) -> Snapshot:
    """Takes the changed aggregates, and forgets that they changed. `total` is filled in by `rows_of`."""
    head = partition.head
    window = partition.window.oldest() or Confirmed(head.offset, head.seq, head.digest)
    checkpoint = Checkpoint(
        format=FORMAT,
        root=partition.root,
        seq=head.seq,
        digest=head.digest,
        offset=head.offset,
        cause=head.cause,
        now_ms=partition.now_ms,
        clock=partition.clock.encode(),
        rules=partition.rules,
        partition_count=partition.partition_count,
        timestamps=partition.timestamps,
        window_offset=window.offset,
        window_seq=window.seq,
        window_digest=window.digest,
        total=0,
    )
    changed = {key: partition.dump(key) for key in partition.changed}
    partition.changed.clear()
    return Snapshot(checkpoint, changed)


def rows_of(
    taken: Snapshot, last: Checkpoint | None, get_row: Callable[[bytes], bytes | None]
) -> tuple[dict[bytes, bytes | None], Checkpoint, list[bytes]]:
    """The rows to write for a snapshot.

    Args:
        last: the checkpoint in the table; None when the table is empty or was thrown away.
        get_row: reads a row of the table as it stands.

    Returns:
        The rows, to be written in this order; the checkpoint to write once they are acknowledged; and the rows that
        nobody needs after that, to be deleted from the table with the next checkpoint.
    """
    total = last.total if last else 0
    last_seq = last.seq if last else 0
    rows: dict[bytes, bytes | None] = {}
    stale: list[bytes] = []
    for name, value in taken.changed.items():
        key = ROW_PREFIX + name.encode()
        stored = get_row(key) if last else None
        if value is None and stored is None:
            continue
        old = _decode_row(stored) if stored else _NONE
        before = _at(key, old, last_seq)
        parts = dict(_parts_of(key, value)) if value is not None and len(value) > PART_BYTES else {}
        row = Row(taken.checkpoint.seq, before, None if parts else value, tuple(parts))
        rows.update({PART_PREFIX + part: content for part, content in parts.items()})
        rows[key] = msgspec.msgpack.encode(row)
        total = (total - before + _hash_of(key, row)) % _MODULUS
        stale += [PART_PREFIX + part for part in old.parts if part not in parts]
        if value is None:
            stale.append(key)
    return rows, msgspec.structs.replace(taken.checkpoint, total=total), stale


def load(root: bytes, rows: Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]]) -> Loaded | None:
    """The checkpoint of a table, if there is one of this log and its rows add up."""
    stored = dict(rows)
    try:
        checkpoint = _decode_checkpoint(stored.pop(CHECKPOINT_KEY))
        if checkpoint.format != FORMAT or checkpoint.root != root:
            return None
        values: dict[str, bytes] = {}
        ahead: dict[str, int] = {}
        total = 0
        parts = {key: stored.pop(key) for key in list(stored) if key.startswith(PART_PREFIX)}
        stale = set(parts)
        for key, data in stored.items():
            row = _decode_row(data)
            total = (total + _at(key, row, checkpoint.seq)) % _MODULUS
            name = key.removeprefix(ROW_PREFIX).decode()
            if row.parts:
                named = [PART_PREFIX + part for part in row.parts]
                values[name] = b"".join([parts[part] for part in named])
                stale.difference_update(named)
                if tuple(dict(_parts_of(key, values[name]))) != row.parts:
                    return None
            elif row.value is not None:
                values[name] = row.value
            if row.seq > checkpoint.seq:
                ahead[name] = row.seq
            elif row.value is None and not row.parts:
                stale.add(key)
    except (KeyError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return Loaded(checkpoint, values, ahead, sorted(stale)) if total == checkpoint.total else None


def restore(partition: Partition, loaded: Loaded) -> None:
    """Puts a loaded checkpoint into a new partition; the window comes from the log's headers."""
    checkpoint = loaded.checkpoint
    partition.head = checkpoint.head
    partition.now_ms = checkpoint.now_ms
    partition.clock = partition.clock.decode(checkpoint.clock)
    partition.rules = checkpoint.rules
    partition.partition_count = checkpoint.partition_count
    partition.timestamps = checkpoint.timestamps
    for name, value in loaded.values.items():
        partition.restore(name, value)
    partition.changed.clear()
    partition.changed.update(loaded.ahead)


def row_hash(key: bytes, value: bytes | None) -> int:
    """What a row adds to the sum: 0 without a value."""
    if value is None:
        return 0
    return int.from_bytes(blake2b(b"%d %s%s" % (len(key), key, value), digest_size=8).digest(), "big")


def _hash_of(key: bytes, row: Row) -> int:
    return row_hash(key, b"".join(row.parts) if row.parts else row.value)


def _at(key: bytes, row: Row, seq: int) -> int:
    """The hash that a row had at the checkpoint `seq`."""
    return _hash_of(key, row) if row.seq <= seq else row.before


def _parts_of(key: bytes, value: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The parts of a value by the hash that each is stored under; it covers the place, so no two are the same."""
    for start in range(0, len(value), PART_BYTES):
        part = value[start : start + PART_BYTES]
        yield blake2b(b"%d %s%d %s" % (len(key), key, start, part), digest_size=16).digest(), part


_decode_row: Final = msgspec.msgpack.Decoder(Row).decode
_decode_checkpoint: Final = msgspec.msgpack.Decoder(Checkpoint).decode
_NONE: Final = Row(0, 0, None)
