"""Checkpoints of a log's state on this machine: the state at a point in the time that a short tail takes.

    hotel.accord.checkpoints/
        locks-0@000000020000.checkpoint      the fold of locks/0 up to offset 20,000
        ...

Rules:
- A checkpoint is a cache. It names its log, the decision that it reflects and the release that made it; whatever does
  not fit is passed over for the one before, and that is told.
- A file begins with the SHA-256 of all the rest: what a power failure leaves of one is found to be damaged.
- A fold that goes on from a checkpoint reads the decision that it names from the log first: its hash must be the same.
- Bounded: at most `CHECKPOINTS_MAX` of a partition; who wants more names a greater distance.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from accord.replay.parallel import each, processes_for
from accord.replay.source import Source
from accord.replay.state import Point, accepted, fold, is_beyond, new_partition
from accord.schemas.position import Position
from accord.streams import checkpoint as cp
from accord.streams.partition import Decided, Partition

import accord
from accord.errors import BadInput, ChainBroken, LogGap

EVERY: Final = 5_000
EVERY_MIN: Final = 100
"""Decisions between two checkpoints of a partition."""
CHECKPOINTS_MAX: Final = 5_000
FORMAT: Final = 1
SUFFIX: Final = ".checkpoint"
_HASH_BYTES: Final = 32


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """What a checkpoint is of. `release` made it: another one may write states otherwise."""

    format: int
    release: str
    checkpoint: cp.Checkpoint


class Made(msgspec.Struct, frozen=True):
    """What became of a partition's checkpoints: how many were written, how many were there, what was wrong with those
    that were written again."""

    partition: str
    decisions: int
    written: int
    kept: int
    bytes: int
    unusable: tuple[str, ...]


class Checkpoints:
    """A directory of checkpoints. It is picklable, and need not be there."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    @classmethod
    def beside(cls, archive: str | Path) -> Checkpoints:
        """Those beside an archive."""
        path = Path(archive)
        return cls(path.with_name(f"{path.name}.checkpoints"))

    def nearest(self, source: Source, domain: str, number: int, point: Point) -> tuple[Partition, list[str]]:
        """A partition as its last usable checkpoint up to a point has it; before its first decision, if there is none.

        Returns:
            The partition, and what is wrong with the checkpoints that would have been nearer.
        """
        unusable: list[str] = []
        for path in reversed(self._files(domain, number)):
            if isinstance(point, Position) and not point.commands and _offset_of(path) > point.offset:
                continue
            try:
                head = _read_head(path)
                if point is not None and is_beyond(head.checkpoint, point):
                    continue
                return self._load(source, domain, number, path), unusable
            except (_Unusable, ChainBroken, LogGap) as error:
                unusable.append(f"{path}: {error}")
        return new_partition(source, domain, number), unusable

    def make(self, source: Source, domain: str, number: int, every: int = EVERY) -> Made:
        """Writes the checkpoints of a partition missing or unusable: one every so many decisions and the last.

        Raises:
            BadInput: there would be more than `CHECKPOINTS_MAX`, or the directory cannot be written.
            What `state_at` raises.
        """
        usable, unusable = self._usable(source, domain, number)
        partition = new_partition(source, domain, number)
        written, size = 0, 0
        seqs = {head.checkpoint.seq: path for path, head in usable}
        start = _last_in_a_row(sorted(seqs), every)
        if start:
            partition = self._load(source, domain, number, seqs[start])

        def look(decided: Decided) -> None:
            """Is told of each decision before it is folded in: so of the one after that of the checkpoint."""
            nonlocal written, size
            seq = partition.head.seq
            if seq and seq % every == 0 and seq not in seqs:
                size += self._save(partition)
                written += 1
                if written > CHECKPOINTS_MAX:
                    raise BadInput(
                        f"{partition.name} has more than {CHECKPOINTS_MAX:,} times {every:,} decisions.",
                        remedy="Give a greater --every.",
                    )

        fold(source, partition, None, look)
        if partition.head.seq and partition.head.seq not in seqs:
            size += self._save(partition)
            written += 1
        return Made(partition.name, partition.head.seq, written, len(seqs), size, tuple(unusable))

    def _usable(self, source: Source, domain: str, number: int) -> tuple[list[tuple[Path, _Head]], list[str]]:
        """The checkpoints that are whole and of this log, and what is wrong with the others, which are deleted."""
        usable, unusable = [], []
        for path in self._files(domain, number):
            try:
                self._load(source, domain, number, path)
                usable.append((path, _read_head(path)))
            except (_Unusable, ChainBroken, LogGap) as error:
                unusable.append(f"{path}: {error}")
                path.unlink()
        return usable, unusable

    def _files(self, domain: str, number: int) -> list[Path]:
        return sorted(self.directory.glob(f"{domain}-{number}@*{SUFFIX}"), key=_offset_of)

    def _save(self, partition: Partition) -> int:
        """Writes the state of a partition; returns the size in bytes."""
        partition.changed.clear()
        partition.changed.update(partition.aggregates)
        taken = cp.snapshot(partition)
        head = msgspec.msgpack.encode(_Head(FORMAT, accord.__version__, taken.checkpoint))
        body = msgspec.msgpack.encode(dict(sorted(taken.changed.items())))
        content = len(head).to_bytes(4, "big") + head + body
        domain, number = partition.identity.domain, partition.identity.partition
        path = self.directory / f"{domain}-{number}@{partition.head.offset:012}{SUFFIX}"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_bytes(sha256(content).digest() + content)
            part.replace(path)
        except OSError as error:
            raise BadInput(f"{path} cannot be written: {error.strerror}.") from error
        return len(content) + _HASH_BYTES

    def _load(self, source: Source, domain: str, number: int, path: Path) -> Partition:
        """A partition as a checkpoint has it.

        Raises:
            _Unusable: the file is damaged, or of another release or log.
            ChainBroken, LogGap: the log does not hold what it names.
        """
        content = path.read_bytes()
        if sha256(content[_HASH_BYTES:]).digest() != content[:_HASH_BYTES]:
            raise _Unusable("it is damaged: its checksum differs")
        head = _read_head(path)
        partition = new_partition(source, domain, number)
        checkpoint = head.checkpoint
        if checkpoint.root != partition.root:
            raise _Unusable("it is of another log")
        next(accepted(source, domain, number, after=checkpoint.head), None)
        size = int.from_bytes(content[_HASH_BYTES : _HASH_BYTES + 4], "big")
        values = msgspec.msgpack.decode(content[_HASH_BYTES + 4 + size :], type=dict[str, bytes])
        cp.restore(partition, cp.Loaded(checkpoint, values, {}, []))
        partition.changed.clear()
        return partition


class _Unusable(Exception):
    """A file is no checkpoint that can be gone on from, and why."""


def rebuild_checkpoints(
    source: Source, directory: Checkpoints, *, every: int = EVERY, domains: tuple[str, ...] = (), processes: int = 1
) -> list[Made]:
    """Folds a log and writes the checkpoints that it lacks. Run again, it goes on where it was.

    Args:
        every: decisions between two checkpoints of a partition, `EVERY_MIN` or more.
        domains: only these; all without.
        processes: how many to work in; 0 is what pays.

    Raises:
        BadInput: `every` is out of bounds, or the directory cannot be written.
        What `state_at` raises.
    """
    if every < EVERY_MIN:
        raise BadInput(f"every={every}: checkpoints are {EVERY_MIN} decisions apart, or more.")
    where = source.all_partitions(domains)
    count = processes or processes_for(source, where)
    return each(source, where, partial(_make, directory=directory, every=every), count)


def _make(source: Source, domain: str, number: int, *, directory: Checkpoints, every: int) -> Made:
    return directory.make(source, domain, number, every)


def _last_in_a_row(seqs: list[int], every: int) -> int:
    """The checkpoint to go on from: the last one before which none is missing; 0 if there is none."""
    last = 0
    for seq in seqs:
        if seq > last - last % every + every:
            break
        last = seq
    return last


def _offset_of(path: Path) -> int:
    digits = path.name.rpartition("@")[2].removesuffix(SUFFIX)
    return int(digits) if digits.isdecimal() else -1


def _read_head(path: Path) -> _Head:
    with path.open("rb") as source:
        source.seek(_HASH_BYTES)
        size = int.from_bytes(source.read(4), "big")
        try:
            head = msgspec.msgpack.decode(source.read(min(size, _HEAD_BYTES_MAX)), type=_Head)
        except msgspec.MsgspecError as error:
            raise _Unusable(f"it is damaged: {error}") from error
    if (head.format, head.release) != (FORMAT, accord.__version__):
        raise _Unusable(f"release {head.release} made it, in format {head.format}")
    return head


_HEAD_BYTES_MAX: Final = 1 << 16
