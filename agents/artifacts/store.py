"""Where artifacts lie: a directory, or whatever fsspec reaches; files named by the checksum of their content.

Rules that act here:
- A file is whole or not there: a directory's is written under another name, brought to the disk, then renamed; object
  stores show an object once all of it has come.
- The same content is the same file. Writing it again makes it young again, which is what keeps it from being pruned
  before the log names it.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from uuid_utils import uuid7

from accord.errors import ConfigError

DIRECTORY: Final = ".accord/artifacts"
"""Where they lie if no setting says so."""
SHARD_CHARS: Final = 2
"""A directory has a folder for each beginning of a name."""


class Stored(NamedTuple):
    """A file of a store; `changed_s` is when it was last written, in s since 1970."""

    name: str
    size_bytes: int
    changed_s: float


class Store(ABC):
    """Files by name. All methods block, and raise OSError, or what the store's driver raises, if it does not answer."""

    url: str

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Writes a file, which is there, and whole, once this returns."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError: there is none."""

    @abstractmethod
    def list(self) -> Iterator[Stored]:
        """All files, also what is left of one that was not written to its end."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Deletes a file; one that is not there is none."""


class Directory(Store):
    """A directory of this machine, or one that all machines have mounted. It comes into being with its first file."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self.url = self._root.as_uri()

    def write(self, name: str, content: bytes) -> None:
        path = self._path(name)
        try:
            if path.read_bytes() == content:
                os.utime(path)
                return
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{name}.{uuid7()}")
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _sync(path.parent)

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def list(self) -> Iterator[Stored]:
        for path in sorted(self._root.glob("*/*")):
            try:
                status = path.stat()
            except FileNotFoundError:  # somebody else prunes, too
                continue
            yield Stored(path.name, status.st_size, status.st_mtime)

    def remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._root / name[:SHARD_CHARS] / name


def _sync(folder: Path) -> None:
    """Brings a folder's names to the disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class Remote(Store):
    """What fsspec reaches, as `s3://BUCKET/FOLDER`: for object stores, which write a file whole or not at all."""

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs  # noqa: PLC0415  an extra

            self._files: Any
            self._files, self._root = url_to_fs(url)
        except ImportError as error:
            raise ConfigError(
                f"artifacts.url={url} needs {error.name or error}, which is not installed.",
                remedy="pip install 'accord[artifacts]', and the driver for this kind of address: s3fs, gcsfs, adlfs.",
            ) from None
        except ValueError as error:
            raise ConfigError(f"artifacts.url={url}: {error}.", remedy="See: accord config show.") from None
        self.url = url

    def write(self, name: str, content: bytes) -> None:
        self._files.pipe_file(self._path(name), content)

    def read(self, name: str) -> bytes:
        return bytes(self._files.cat_file(self._path(name)))

    def list(self) -> Iterator[Stored]:
        self._files.invalidate_cache()
        if not self._files.exists(self._root):
            return
        for path, about in sorted(self._files.find(self._root, detail=True).items()):
            yield Stored(path.rpartition("/")[2], about["size"], _changed_s(about))

    def remove(self, name: str) -> None:
        if self._files.exists(self._path(name)):
            self._files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def _changed_s(about: dict[str, Any]) -> float:
    """When a file was written; now, and so never too old, where the store does not tell. Drivers have several words."""
    for word in ("mtime", "LastModified", "last_modified", "updated", "created"):
        match about.get(word):
            case datetime() as at:
                return at.timestamp()
            case int() | float() as at_s:
                return float(at_s)
            case str() as text:
                return datetime.fromisoformat(text).timestamp()
    return time.time()


def open_store(url: str) -> Store:
    """The store of an address: a path or `file:///PATH`, or what fsspec knows; empty: `DIRECTORY`.

    Raises:
        ConfigError: the address cannot be one, or what it needs is not installed.
    """
    parts = urlsplit(url)
    if not parts.scheme:
        return Directory(Path(url or DIRECTORY))
    if parts.scheme != "file":
        return Remote(url)
    if parts.netloc or not parts.path:
        raise ConfigError(f"artifacts.url={url}: a directory is file:///PATH, with three slashes.")
    return Directory(Path(unquote(parts.path)))
