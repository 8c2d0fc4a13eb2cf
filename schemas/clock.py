"""Vector clocks: what an agent or a partition had seen when it wrote.

One entry per agent incarnation (`booker#5f2c`) and per processor partition (`locks/3`), plus a Lamport time
that bounds them all. A clock is pruned to `ENTRIES_MAX`; the entries that advanced longest ago go first, and
the pruned value is the value: it is what is written, compared and carried on. After pruning, two clocks can
look concurrent that were ordered; they never look ordered when they were not.

An entry that is new, or was pruned and comes back, starts at the Lamport time, which is above every count that its
name ever had: counts only grow, whatever was forgotten in between. At `COUNT_MAX` they stop, so that no clock that
was read can lead to one that cannot be written.

Encoded as `lamport|name=count,name=count`, oldest entry first; `%`, `,`, `=`, `|` and what is not ASCII in names are
quoted. Sources: Lamport (1978), Fidge (1988), Mattern (1989).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import quote, unquote

ENTRIES_MAX: Final = 32
NAME_BYTES_MAX: Final = 384
"""Of a name as it is encoded, quotes included: so every clock of names within it is within `ENCODED_BYTES_MAX`."""
COUNT_DIGITS_MAX: Final = 18
COUNT_MAX: Final = 10**COUNT_DIGITS_MAX - 1
ENCODED_BYTES_MAX: Final = COUNT_DIGITS_MAX + 1 + ENTRIES_MAX * (NAME_BYTES_MAX + COUNT_DIGITS_MAX + 2)

Order = Literal["before", "after", "equal", "concurrent"]


class VectorClock:
    """An immutable vector clock with a Lamport time."""

    __slots__ = ("_encoded", "entries", "lamport")

    def __init__(self, entries: Mapping[str, int] | None = None, lamport: int = 0) -> None:
        self.entries: dict[str, int] = dict(entries or {})
        self.lamport = lamport
        self._encoded: bytes | None = None

    def merge(self, other: VectorClock) -> VectorClock:
        """Entry by entry the larger of both."""
        return self.advanced(None, other)

    def advanced(self, name: str | None, received: VectorClock | None = None) -> VectorClock:
        """The clock after `name` took a step, having received `received` first: one hop.

        Entries that grow move to the young end, so pruning keeps those that advanced last.
        """
        entries = dict(self.entries)
        lamport = self.lamport
        if received is not None:
            lamport = max(lamport, received.lamport)
            for other, count in received.entries.items():
                if count > entries.get(other, 0):
                    entries.pop(other, None)
                    entries[other] = count
        if name is not None:
            lamport = min(lamport + 1, COUNT_MAX)
            entries[name] = min(entries.pop(name, lamport - 1) + 1, COUNT_MAX)
        while len(entries) > ENTRIES_MAX:
            del entries[next(iter(entries))]
        clock = VectorClock.__new__(VectorClock)
        clock.entries, clock.lamport, clock._encoded = entries, lamport, None
        return clock

    def compare(self, other: VectorClock) -> Order:
        """How this clock stands to the other: happened before it, after it, at the same point, or neither."""
        mine, theirs = self.entries, other.entries
        less = any(count > mine.get(name, 0) for name, count in theirs.items())
        more = any(count > theirs.get(name, 0) for name, count in mine.items())
        if less and more:
            return "concurrent"
        return "before" if less else "after" if more else "equal"

    def concurrent(self, other: VectorClock) -> bool:
        return self.compare(other) == "concurrent"

    def encode(self) -> bytes:
        """The clock as a header's bytes.

        Raises:
            ValueError: a name is longer than `NAME_BYTES_MAX`.
        """
        if self._encoded is None:
            entries = ",".join([f"{_quoted(name)}={count}" for name, count in self.entries.items()])
            self._encoded = f"{self.lamport}|{entries}".encode()
        return self._encoded

    @classmethod
    def decode(cls, data: bytes) -> VectorClock:
        """Reads an encoded clock.

        Raises:
            ValueError: the bytes are no clock, or it has more than `ENTRIES_MAX` entries.
        """
        lamport, bar, rest = data.decode().partition("|")
        if not bar or len(data) > ENCODED_BYTES_MAX or not _is_count(lamport):
            raise ValueError(f"no vector clock: {data[:80]!r}")
        entries: dict[str, int] = {}
        for part in rest.split(",") if rest else ():
            name, _, count = part.rpartition("=")
            if not name or not _is_count(count):
                raise ValueError(f"no vector clock entry: {part[:80]!r}")
            if "%" in name:
                name = unquote(name)
            _quoted(name)  # refuses a name that could not be written again
            entries[name] = int(count)
        if len(entries) > ENTRIES_MAX:
            raise ValueError(f"a vector clock of {len(entries)} entries; at most {ENTRIES_MAX} are allowed")
        clock = cls.__new__(cls)
        clock.entries, clock.lamport, clock._encoded = entries, int(lamport), data
        return clock

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VectorClock) and self.entries == other.entries

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"VectorClock({self.encode().decode()!r})"


_SPECIAL: Final = re.compile(r"[%,=|]|[^\x00-\x7f]")


@lru_cache(maxsize=4_096)
def _quoted(name: str) -> str:
    quoted = quote(name, safe="/#.:@ -_+") if _SPECIAL.search(name) else name
    if len(quoted) > NAME_BYTES_MAX:
        raise ValueError(f"a name in a vector clock has at most {NAME_BYTES_MAX} bytes when quoted: {name[:80]!r}")
    return quoted


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= COUNT_DIGITS_MAX
