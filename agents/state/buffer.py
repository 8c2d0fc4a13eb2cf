"""What a transaction has read and is going to write, and the command that commits it. No I/O.

Rules that act here:
- Under read committed every read is a new one. Else all reads are of one version of the scope, that of the first read,
  and a key read twice is the same.
- What it has written itself it sees at once, in keys and in prefixes; nobody else does before the commit.
- The commit tells what was read, with its versions, as far as its isolation has it looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from accord.schemas.messages.state import CommitChanges, Entry, SeenKey, SeenRange, Write
from accord.streams.state.bounds import DELETE, PUT, READ_COMMITTED, SERIALIZABLE


class Terms(NamedTuple):
    """What a commit says of a scope."""

    isolation: str
    snapshot: int | None
    reads: tuple[SeenKey, ...]
    ranges: tuple[SeenRange, ...]
    writes: tuple[Write, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write, and nothing to look at."""
        return not (self.reads or self.ranges or self.writes)


class Buffer:
    """Values are JSON texts; None is no value.

    Args:
        isolation: `serializable`, `snapshot` or `read_committed`.
    """

    def __init__(self, isolation: str) -> None:
        self.isolation: Final = isolation
        self.snapshot: int | None = None
        """The scope's version that is read, once something was."""
        self._read: dict[str, Entry] = {}
        self._ranges: dict[tuple[str, bool], tuple[Entry, ...]] = {}
        self._written: dict[str, str | None] = {}

    # -- reading

    @property
    def read_at(self) -> int | None:
        """The version at which the next read must be; None: the newest."""
        return None if self.isolation == READ_COMMITTED else self.snapshot

    def has_written(self, key: str) -> bool:
        return key in self._written

    def written(self, key: str) -> str | None:
        """What it has written to a key; None: it has deleted it."""
        return self._written[key]

    def known(self, key: str) -> Entry | None:
        """A key as it was read before, if reading it again must be the same."""
        return self._read.get(key)

    def known_range(self, prefix: str, *, values: bool) -> tuple[Entry, ...] | None:
        """The keys with a prefix as they were read before, if reading them again must be the same."""
        return self._ranges.get((prefix, values))

    def note(self, entry: Entry, version: int) -> None:
        """A key was read, at a version of the scope; without a value, its own version is 0."""
        if self.isolation != READ_COMMITTED:
            self.snapshot = version
            self._read[entry.key] = entry

    def note_range(self, prefix: str, entries: Iterable[Entry], version: int, *, values: bool) -> None:
        """The keys with a prefix were read, at a version of the scope."""
        if self.isolation != READ_COMMITTED:
            self.snapshot = version
            self._ranges[prefix, values] = tuple(entries)

    def with_own(self, prefix: str, entries: Iterable[Entry]) -> list[Entry]:
        """The keys with a prefix that were read, with what the transaction has written over them, in order. What is
        its own has version 0."""
        found = {entry.key: entry for entry in entries}
        for key, value in self._written.items():
            if key.startswith(prefix):
                found.pop(key, None)
                if value is not None:
                    found[key] = Entry(key, value, 0)
        return [found[key] for key in sorted(found)]

    # -- writing

    def put(self, key: str, value: str) -> None:
        self._written[key] = value

    def delete(self, key: str) -> None:
        self._written[key] = None

    @property
    def changes(self) -> Mapping[str, str | None]:
        """What is written, by key; None: deleted."""
        return self._written

    def command(self, agent: str, rule: str = "", rule_version: str = "") -> CommitChanges | None:
        """What commits it; None: there is nothing to commit."""
        if not self._written:
            return None
        return CommitChanges(agent, *self.terms(), rule, rule_version)

    def terms(self) -> Terms:
        """What a commit says: isolation, snapshot, keys and prefixes that were read as far as they are looked at, and
        what is written."""
        reads: tuple[SeenKey, ...] = ()
        ranges: tuple[SeenRange, ...] = ()
        if self.isolation == SERIALIZABLE:
            reads = tuple([SeenKey(entry.key, entry.version) for entry in self._read.values()])
            at = self.snapshot or 0
            ranges = tuple([SeenRange(prefix, at, values) for prefix, values in self._ranges])
        writes = tuple([Write(key, DELETE if text is None else PUT, text) for key, text in self._written.items()])
        return Terms(self.isolation, self.snapshot, reads, ranges, writes)
