"""Archives: a log as a directory, complete in itself.

    hotel.accord/
        manifest.json                    identity of the log; offsets, counts and checksums of the files
        accord.locks.commands.v1-0.avro  one Avro object container file a topic partition that has records
        ...

A file holds records `{offset, timestamp, timestamp_type, key, value, headers}`, keys, values and headers as they lie in
the log. Headers are a map: of a header that occurs twice the last counts, and one without a value is empty, as
everywhere in accord.

Rules:
- The manifest is written last and atomically: a directory that has one is whole. Until then `writing.json` stands in
  its place; what a crash leaves is refused, or read as far as it goes when the caller asks for that.
- A writer that was told of the whole plan (`start` with both ends) can be killed at any time: another one with `resume`
  cuts a torn block off and goes on, and what comes of it is byte for byte what it would have been.
- Two writers at a time are refused.
- A file is checked against its SHA-256 before the first of its records is given out.
- Reading from an offset skips the blocks before it by their sizes, where the file has no holes.
- The same records give the same bytes.
- Bounded memory: the writer holds one block (`BLOCK_BYTES`) a partition, the reader one block.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import fastavro
import msgspec
from accord.schemas.headers import LogRecord, Record
from fastavro.write import Writer

from accord import logs
from accord.errors import ArtifactDamaged, BadInput, NotFound

logger = logs.get("accord.replay")

FORMAT: Final = "accord-archive"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
WRITING: Final = "writing.json"
BLOCK_BYTES: Final = 64 * 1024
"""Records of a partition are compressed and go to the file in blocks of this size."""

SYNC_BYTES: Final = 16
"""Of the marker after each block."""

_SCHEMA: Final = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Record",
        "namespace": "accord.archive.v1",
        "doc": "A Kafka record.",
        "fields": [
            {"name": "offset", "type": "long", "doc": "Its offset in the partition."},
            {"name": "timestamp", "type": "long", "doc": "In ms since 1970."},
            {"name": "timestamp_type", "type": "int", "doc": "Whose time it is: 0 the producer's, 1 the broker's."},
            {"name": "key", "type": ["null", "bytes"], "doc": "The record's key."},
            {"name": "value", "type": ["null", "bytes"], "doc": "The record's value, with its Avro framing."},
            {"name": "headers", "type": {"type": "map", "values": "bytes"}, "doc": "The record's headers."},
        ],
    }
)


class FileEntry(msgspec.Struct, frozen=True):
    """A file of an archive. Offsets are `first_offset` to `next_offset`, the latter not included."""

    name: str
    topic: str
    partition: int
    first_offset: int
    next_offset: int
    records: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What an archive holds.

    `cluster` and `prefix` key the chain's hashes; `partitions` is the partition count of each domain; `timestamps` is
    whose time the records carry, `log_append` or `create`, as in `PartitionOpened`.
    """

    format: str
    version: int
    cluster: str
    prefix: str
    partitions: dict[str, int]
    timestamps: str
    files: tuple[FileEntry, ...] = ()


class ArchiveWriter:
    """Writes an archive record by record; a context manager. Not for use by several threads at a time.

    Args:
        path: the directory; made if need be.
        cluster: id of the Kafka cluster; the chain's hashes depend on it.
        prefix: prefix of the topics' names.
        partitions: partition count of each domain.
        timestamps: `log_append` or `create`.
        replace: an archive that is already there goes first; without it that is an error.
        plan: what it is going to hold, if that is known: its files, of which topic, partition and the offsets count.
        resume: go on with an archive that has the same plan's writer crashed; `plan` is then what that one was told.

    Raises:
        BadInput: `path` holds something: an archive and neither `replace` nor `resume` is set, or other files; or
            another process writes it; or what is to be resumed is another log, is complete, or has no plan.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        cluster: str,
        prefix: str = "accord",
        partitions: Mapping[str, int],
        timestamps: str = "log_append",
        replace: bool = False,
        plan: Iterable[FileEntry] = (),
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        self._manifest = Manifest(FORMAT, VERSION, cluster, prefix, dict(partitions), timestamps, tuple(plan))
        self._files: dict[tuple[str, int], _File] = {}
        self._closed = False
        self._resumed = resume and is_archive(self.path)
        if self._resumed:
            self._manifest = self._begun()
        else:
            _make_room(self.path, replace=replace)
        if not self._resumed:
            _write(self.path / WRITING, _json(self._manifest))
        self._lock = _locked(self.path / WRITING)

    @property
    def plan(self) -> tuple[FileEntry, ...]:
        """What the archive is going to hold: of one that is resumed, what its first writer was told."""
        return self._manifest.files

    def start(self, topic: str, partition: int, offset: int) -> int:
        """Says where a partition's log starts. Needed only if that is before its first record, or it has none.

        Returns:
            The offset to go on with: `offset`, or, in an archive that is resumed, the one after its last record.
        """
        return self._file(topic, partition).start(offset)

    def append(self, topic: str, partition: int, records: Iterable[Record]) -> None:
        """Adds records of one partition; offsets grow.

        Raises:
            BadInput: an offset is not after the last one, or the archive is closed.
        """
        file = self._file(topic, partition)
        for record in records:
            file.append(record)

    def flush(self) -> None:
        """Hands what was appended to the operating system: a crash of this process loses nothing of it."""
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        """Completes the archive: files on disk, then the manifest."""
        if self._closed:
            return
        self._closed = True
        files = tuple([file.close() for _, file in sorted(self._files.items())])
        manifest = msgspec.structs.replace(self._manifest, files=files)
        _write(self.path / MANIFEST, _json(manifest))
        (self.path / WRITING).unlink()
        self._lock.close()

    def abandon(self) -> None:
        """Leaves the archive as it is, without a manifest: it can be read as far as it goes, when asked for."""
        if not self._closed:
            self._closed = True
            for file in self._files.values():
                file.close()
            self._lock.close()

    def _begun(self) -> Manifest:
        """What the writer that is resumed was told."""
        if (self.path / MANIFEST).is_file():
            raise BadInput(f"{self.path} is complete; there is nothing to go on with.")
        begun, wanted = _read_manifest(self.path / WRITING), self._manifest
        if (begun.cluster, begun.prefix, begun.partitions) != (wanted.cluster, wanted.prefix, wanted.partitions):
            raise BadInput(
                f"{self.path} was begun with another log: cluster {begun.cluster}, prefix {begun.prefix}.",
                remedy="Name the log that it was begun with, or another directory.",
            )
        if not begun.files:
            raise BadInput(f"{self.path} was not begun by an export, and cannot be gone on with.", remedy="Delete it.")
        return begun

    def _file(self, topic: str, partition: int) -> _File:
        if self._closed:
            raise BadInput(f"The archive {self.path} is closed; nothing can be added.")
        file = self._files.get((topic, partition))
        if file is None:
            file = self._files[topic, partition] = _File(self.path, topic, partition, resume=self._resumed)
        return file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Completes the archive; after an error it stays without a manifest, since it may lack records."""
        if kind is None:
            self.close()
        else:
            self.abandon()


class _File:
    """One partition's file while it is written. With `resume`, the whole blocks that are there stay."""

    def __init__(self, folder: Path, topic: str, partition: int, *, resume: bool = False) -> None:
        self.topic, self.partition = topic, partition
        self.path = folder / f"{topic}-{partition}.avro"
        self._first: int | None = None
        self._next = 0
        self._count = 0
        kept = self._keep_whole() if resume and self.path.is_file() else 0
        self._target: BinaryIO = self.path.open("a+b" if kept else "wb")
        marker = hashlib.blake2b(self.path.name.encode(), digest_size=16).digest()
        self._writer: Any = Writer(
            self._target,
            _SCHEMA,
            codec="deflate",
            sync_interval=BLOCK_BYTES,
            sync_marker=marker,
            compression_level=zlib.Z_BEST_SPEED,
        )

    def _keep_whole(self) -> int:
        """Cuts the file after its last whole block; returns its size, 0 if not even its header is whole."""
        kept = 0
        with self.path.open("rb") as source:
            try:
                blocks = fastavro.block_reader(source)
                kept = source.tell()
                for block in blocks:
                    rows: Any = block
                    offsets = [row["offset"] for row in rows]
                    kept, self._count, self._next = source.tell(), self._count + len(offsets), offsets[-1] + 1
                    self._first = offsets[0] if self._first is None else self._first
            except Exception:  # fastavro and zlib raise whatever a torn block leads them to
                logger.debug("cut after the last whole block", file=str(self.path), size_bytes=kept)
        os.truncate(self.path, kept)
        return kept

    def start(self, offset: int) -> int:
        if self._count:
            self._first = offset
            return self._next
        if self._first is not None:
            raise BadInput(f"{self.path.name} has its start already, at offset {self._first}.")
        self._first = self._next = offset
        return offset

    def append(self, record: Record) -> None:
        if record.offset < self._next:
            raise BadInput(
                f"Offset {record.offset} cannot follow offset {self._next - 1} in {self.path.name}.",
                remedy="An archive keeps the order of the log.",
            )
        if self._first is None:
            self._first = record.offset
        self._next = record.offset + 1
        self._count += 1
        self._writer.write(
            {
                "offset": record.offset,
                "timestamp": record.timestamp,
                "timestamp_type": record.timestamp_type,
                "key": record.key,
                "value": record.value,
                "headers": {name: value or b"" for name, value in record.headers},
            }
        )

    def flush(self) -> None:
        self._writer.flush()
        self._target.flush()

    def close(self) -> FileEntry:
        self.flush()
        os.fsync(self._target.fileno())
        self._target.close()
        first = self._first or 0
        return FileEntry(self.path.name, self.topic, self.partition, first, self._next, self._count, _sha256(self.path))


class Archive:
    """Reads an archive.

    Args:
        path: the directory.
        partial: take an archive that was never completed, as far as it goes.

    Raises:
        NotFound: there is no archive.
        ArtifactDamaged: it was never completed and `partial` is not set; its manifest cannot be read.
    """

    def __init__(self, path: str | Path, *, partial: bool = False) -> None:
        self.path = Path(path)
        self.complete = (self.path / MANIFEST).is_file()
        if not self.complete:
            self._refuse_unless(partial)
        self.manifest = self._manifest()
        self._checked: set[str] = set()
        files = self.manifest.files if self.complete else self._scan()
        self._files = {(file.topic, file.partition): file for file in files}

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset and end (one past the last) of a partition; equal when it has no records."""
        file = self._files.get((topic, partition))
        return (file.first_offset, file.next_offset) if file else (0, 0)

    def read(self, topic: str, partition: int, start: int = 0, end: int | None = None) -> Iterator[LogRecord]:
        """The records of `[start, end)` in order.

        Raises:
            ArtifactDamaged: the file is missing or differs from its checksum.
        """
        file = self._files.get((topic, partition))
        if file is None:
            return
        end = file.next_offset if end is None else end
        self._check(file)
        is_whole = file.records == file.next_offset - file.first_offset
        for record in self._records(file.name, max(0, start - file.first_offset) if is_whole else 0):
            if record.offset >= end:
                return
            if record.offset >= start:
                yield record

    def _records(self, name: str, skip: int = 0) -> Iterator[LogRecord]:
        """The records of a file, but for whole blocks among the first `skip` ones."""
        with (self.path / name).open("rb") as source:
            try:
                for row in fastavro.reader(_after(source, skip) if skip else source):
                    r: Any = row
                    yield LogRecord(
                        r["offset"], r["timestamp"], r["timestamp_type"], r["key"], r["value"], r["headers"].items()
                    )
            except GeneratorExit:
                raise
            except Exception:  # fastavro and zlib raise whatever a torn block leads them to
                if self.complete:
                    raise

    def _check(self, file: FileEntry) -> None:
        """Once a file: is it the one that was written?"""
        if not self.complete or file.name in self._checked:
            return
        path = self.path / file.name
        if not path.is_file():
            raise ArtifactDamaged(f"{path} is missing; the archive's manifest lists it.", file=file.name)
        found = _sha256(path)
        if found != file.sha256:
            raise ArtifactDamaged(
                f"{path} was changed after it was written: its SHA-256 is {found}, the manifest says {file.sha256}.",
                remedy="Take the archive from a backup.",
                file=file.name,
            )
        self._checked.add(file.name)

    def _refuse_unless(self, partial: bool) -> None:
        if not (self.path / WRITING).is_file():
            raise NotFound(f"{self.path} is no archive: it has no {MANIFEST}.")
        if not partial:
            raise ArtifactDamaged(
                f"{self.path} was never completed: its writer is still at it, or crashed.",
                remedy="To read it as far as it goes, say --partial.",
            )

    def _manifest(self) -> Manifest:
        return _read_manifest(self.path / (MANIFEST if self.complete else WRITING))

    def _scan(self) -> Iterator[FileEntry]:
        """The files of an archive without a manifest, by reading them."""
        for path in sorted(self.path.glob("*-*.avro")):
            topic, _, partition = path.stem.rpartition("-")
            first, last, count = 0, -1, 0
            for record in self._records(path.name):
                first = record.offset if count == 0 else first
                last, count = record.offset, count + 1
            yield FileEntry(path.name, topic, int(partition), first, last + 1, count, "")


class _Spliced(io.RawIOBase):
    """A file's header, then the file from where it stands."""

    def __init__(self, header: bytes, source: BinaryIO) -> None:
        self._header, self._source = io.BytesIO(header), source

    def read(self, size: int = -1) -> bytes:
        return self._header.read(size) or self._source.read(size)


def _after(source: BinaryIO, skip: int) -> Any:
    """A file without the blocks that hold nothing but its first `skip` records: their sizes are read, not they."""
    fastavro.reader(source)
    start = source.tell()
    source.seek(0)
    header = source.read(start)
    while True:
        place = source.tell()
        count = _long(source)
        if count == 0 or count > skip:
            source.seek(place)
            return _Spliced(header, source)
        skip -= count
        source.seek(_long(source) + SYNC_BYTES, os.SEEK_CUR)


def _long(source: BinaryIO) -> int:
    """Avro's zigzag number of variable length; 0 at the end of the file."""
    value = shift = 0
    while byte := source.read(1):
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value >> 1 ^ -(value & 1)
        shift += 7
    return 0


def _locked(path: Path) -> BinaryIO:
    """The file, locked for as long as it is open: the operating system lets go of it with its process."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise BadInput(f"{path.parent} is being written by another process.", remedy="Wait for it.") from error
    return file


def _read_manifest(path: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.DecodeError as error:
        raise ArtifactDamaged(f"{path} cannot be read: {error}.", file=path.name) from error
    if (manifest.format, manifest.version) != (FORMAT, VERSION):
        raise ArtifactDamaged(
            f"{path} is of format {manifest.format} {manifest.version}; this release reads {FORMAT} {VERSION}.",
            file=path.name,
        )
    return manifest


def is_archive(path: Path) -> bool:
    """Whether a directory holds an archive, complete or not."""
    return (path / MANIFEST).is_file() or (path / WRITING).is_file()


def _make_room(path: Path, *, replace: bool) -> None:
    """An empty directory at `path`. Only an archive is ever removed, and of it only what a writer made."""
    if path.exists() and not path.is_dir():
        raise BadInput(f"{path} is a file; an archive is a directory.")
    path.mkdir(parents=True, exist_ok=True)
    there = list(path.iterdir())
    if not there:
        return
    if not is_archive(path):
        raise BadInput(f"{path} is not empty and is no archive.", remedy="Name another directory.")
    if not replace:
        cut_off = "" if (path / MANIFEST).is_file() else ", or go on with one that was cut off by --resume"
        raise BadInput(f"{path} holds an archive already.", remedy=f"Name another directory{cut_off}.")
    for file in there:
        if file.name in (MANIFEST, f"{MANIFEST}.part", WRITING, f"{WRITING}.part") or file.suffix == ".avro":
            file.unlink()


def _write(path: Path, content: bytes) -> None:
    """Writes a file on disk, wholly or not at all."""
    unnamed = path.with_name(f"{path.name}.part")
    with unnamed.open("wb") as target:
        target.write(content)
        target.flush()
        os.fsync(target.fileno())
    unnamed.replace(path)


def _json(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
