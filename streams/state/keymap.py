"""The keys of a scope: a sorted map that is never changed in place.

`decide` tries things out, and a state may be held by two folds at once, so a change makes a new map. Ten thousand keys
are not copied for it: they stand in short runs, and all but one run are shared. What a command asks (a key, the keys
with a prefix) takes time by the logarithm and by what it gives. How the keys are cut into runs shows nowhere: a dump is
the list of them, in order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, Final, Self

import msgspec
from accord.schemas.structs import prepared

RUN_MAX: Final = 64


class Item(msgspec.Struct, frozen=True, gc=False):
    """A key with its value and the version that it came with."""

    key: str
    value: str
    version: int

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.key.encode()) + len(self.value.encode())


Run = tuple[Item, ...]
_ITEMS: Final = prepared(list[Item])


class KeyMap:
    """Items by key, in the order of their keys (by code point, which is that of their UTF-8)."""

    __slots__ = ("_count", "_firsts", "_runs")

    def __init__(self, runs: tuple[Run, ...] = (), firsts: tuple[str, ...] = (), count: int = 0) -> None:
        self._runs = runs
        self._firsts = firsts
        self._count = count

    @classmethod
    def of(cls, items: Iterable[Item]) -> KeyMap:
        """A map of items, in whatever order. Of one key the last counts."""
        ordered = sorted({item.key: item for item in items}.values(), key=_key)
        runs = tuple([tuple(ordered[i : i + RUN_MAX // 2]) for i in range(0, len(ordered), RUN_MAX // 2)])
        return cls(runs, tuple([run[0].key for run in runs]), len(ordered))

    @classmethod
    def restored(cls, plain: list[Any]) -> Self:
        """A map from its dump. Raises msgspec.ValidationError: it is none."""
        return cls.of(msgspec.convert(plain, _ITEMS))  # type: ignore[return-value]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        for run in self._runs:
            yield from run

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyMap) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def get(self, key: str) -> Item | None:
        at = bisect_right(self._firsts, key) - 1
        if at < 0:
            return None
        run = self._runs[at]
        place = bisect_left(run, key, key=_key)
        return run[place] if place < len(run) and run[place].key == key else None

    def with_prefix(self, prefix: str) -> Iterator[Item]:
        """The items whose keys begin with a prefix."""
        at = max(0, bisect_right(self._firsts, prefix) - 1)
        for run in self._runs[at:]:
            for item in run[bisect_left(run, prefix, key=_key) :]:
                if not item.key.startswith(prefix):
                    return
                yield item

    def put(self, item: Item) -> KeyMap:
        """The map with an item, in place of one with its key."""
        if not self._runs:
            return KeyMap(((item,),), (item.key,), 1)
        at = max(0, bisect_right(self._firsts, item.key) - 1)
        run = self._runs[at]
        place = bisect_left(run, item.key, key=_key)
        known = place < len(run) and run[place].key == item.key
        longer = (*run[:place], item, *run[place + known :])
        half = len(longer) // 2
        return self._with_runs(
            at, (longer,) if len(longer) <= RUN_MAX else (longer[:half], longer[half:]), self._count + (not known)
        )

    def without(self, key: str) -> KeyMap:
        """The map without a key."""
        if self.get(key) is None:
            return self
        at = bisect_right(self._firsts, key) - 1
        shorter = tuple([item for item in self._runs[at] if item.key != key])
        return self._with_runs(at, (shorter,) if shorter else (), self._count - 1)

    def _with_runs(self, at: int, runs: tuple[Run, ...], count: int) -> KeyMap:
        """The map with other runs in place of one."""
        firsts = tuple([run[0].key for run in runs])
        return KeyMap(
            (*self._runs[:at], *runs, *self._runs[at + 1 :]),
            (*self._firsts[:at], *firsts, *self._firsts[at + 1 :]),
            count,
        )


def _key(item: Item) -> str:
    return item.key


EMPTY: Final = KeyMap()
