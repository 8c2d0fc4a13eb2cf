"""Vector clocks: what an agent or a partition had seen when it wrote.

One entry per agent incarnation (`booker#5f2c`) and per processor partition (`locks/3`), plus a Lamport time
that bounds them all. A clock is pruned to `ENTRIES_MAX`; the entries that advanced longest ago go first, and
the pruned value is the value: it is what is written, compared and carried on. After pruning, two clocks can
look concurrent that were ordered; they never look ordered when they were not.

An entry that is new, or was pruned and comes back, starts at the Lamport time, which is above every count that its
name ever had: counts only grow, whatever was forgotten in between. Whoever merges without taking a step keeps its own
entry, for it may come back from others with a count that it had before. At `COUNT_MAX` they stop, so that no clock that
was read can lead to one that cannot be written.

Encoded as JSON without spaces, `[9,{"booker#5f2c":3,"locks/3":7}]`: the Lamport time, then the entries, oldest first.
Every command and decision carries one, so reading and writing it has to be quick. Sources: Lamport (1978), Fidge
(1988), Mattern (1989).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress, repeat
from operator import gt
from typing import Final, Literal

import msgspec

ENTRIES_MAX: Final = 32
NAME_CHARS_MAX: Final = 320
COUNT_DIGITS_MAX: Final = 18
COUNT_MAX: Final = 10**COUNT_DIGITS_MAX - 1
ENCODED_BYTES_MAX: Final = ENTRIES_MAX * (6 * NAME_CHARS_MAX + COUNT_DIGITS_MAX + 4) + COUNT_DIGITS_MAX + 5
"""Of any clock that can be written: JSON takes at most 6 bytes a character."""

Order = Literal["before", "after", "equal", "concurrent"]


class VectorClock:
    """An immutable vector clock with a Lamport time.

    Raises:
        ValueError: a name has more than `NAME_CHARS_MAX` characters.
    """

    __slots__ = ("_encoded", "entries", "lamport")

    def __init__(self, entries: Mapping[str, int] | None = None, lamport: int = 0) -> None:
        self.entries: dict[str, int] = dict(entries or {})
        for name in self.entries:
            _check_name(name)
        self.lamport = lamport
        self._encoded: bytes | None = None

    def merge(self, other: VectorClock, *, keep: str | None = None) -> VectorClock:
        """Entry by entry the larger of both.

        Args:
            keep: whose clock it is: its entry is not pruned. It goes on from this count, and what others know of it may
                be older.
        """
        clock = self.advanced(None, other)
        count = None if keep is None else self.entries.get(keep)
        if keep is not None and count is not None:
            entries = clock.entries
            entries.pop(keep, None)
            while len(entries) >= ENTRIES_MAX:
                del entries[next(iter(entries))]
            entries[keep] = count
        return clock

    def advanced(self, name: str | None, received: VectorClock | None = None) -> VectorClock:
        """The clock after `name` took a step, having received `received` first: one hop.

        Entries that grow move to the young end, so pruning keeps those that advanced last.

        Raises:
            ValueError: `name` has more than `NAME_CHARS_MAX` characters.
        """
        mine = self.entries
        entries, lamport = mine.copy(), self.lamport
        if received is not None:
            theirs = received.entries
            lamport = max(lamport, received.lamport)
            for other, count in compress(theirs.items(), map(gt, theirs.values(), map(mine.get, theirs, repeat(0)))):
                entries.pop(other, None)
                entries[other] = count
        if name is not None:
            _check_name(name)
            before = entries.pop(name, lamport)
            lamport = min(lamport + 1, COUNT_MAX)
            entries[name] = min(before + 1, COUNT_MAX)
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

    @property
    def is_full(self) -> bool:
        """Whether entries may be gone: a clock that lost one, and each that came of it, has as many as it may."""
        return len(self.entries) >= ENTRIES_MAX

    def concurrent(self, other: VectorClock) -> bool:
        return self.compare(other) == "concurrent"

    def encode(self) -> bytes:
        """The clock as a header's bytes."""
        if self._encoded is None:
            self._encoded = _encode((self.lamport, self.entries))
        return self._encoded

    @classmethod
    def decode(cls, data: bytes) -> VectorClock:
        """Reads an encoded clock.

        Raises:
            ValueError: the bytes are no clock, or it has more than `ENTRIES_MAX` entries.
        """
        try:
            lamport, entries = _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(f"no vector clock: {data[:80]!r}") from error  # the text is recorded: no library's words
        if len(entries) > ENTRIES_MAX or len(data) > ENCODED_BYTES_MAX:
            raise ValueError(f"a vector clock of {len(entries)} entries; at most {ENTRIES_MAX} are allowed")
        if not _within_bounds(lamport, entries, len(data)):
            raise ValueError(f"no vector clock: {data[:80]!r}")
        clock = cls.__new__(cls)
        clock.entries, clock.lamport, clock._encoded = entries, lamport, None
        return clock

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VectorClock) and self.entries == other.entries

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"VectorClock({self.encode().decode()!r})"


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(tuple[int, dict[str, int]]).decode


def _within_bounds(lamport: int, entries: dict[str, int], size: int) -> bool:
    """Whether names and counts are what a clock may have; msgspec's own constraints take longer than the decoding.

    Args:
        size: of all of it, in bytes: no name has more characters.
    """
    if size > NAME_CHARS_MAX and any(len(name) > NAME_CHARS_MAX for name in entries):
        return False
    counts = entries.values()
    return 0 <= lamport <= COUNT_MAX and (not counts or (min(counts) >= 0 and max(counts) <= COUNT_MAX))


def _check_name(name: str) -> None:
    if len(name) > NAME_CHARS_MAX:
        raise ValueError(f"a name in a vector clock has at most {NAME_CHARS_MAX} characters: {name[:80]!r}...")
