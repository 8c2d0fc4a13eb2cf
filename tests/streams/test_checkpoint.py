"""Checkpoints whose rows are too large for a record of the changelog: in parts, and whole again or not at all."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from accord.schemas.messages.locks import LockGranted, LockQueued
from accord.streams import checkpoint as cp
from accord.streams.chain import Head
from accord.streams.checkpoint import CHECKPOINT_KEY, PART_BYTES, PART_PREFIX, ROW_PREFIX, Checkpoint, Loaded
from accord.streams.partition import Partition

from tests.streams.support import partition

Table = dict[bytes, bytes]


class Saved:
    """A partition with one lock, `room`, and the table that its checkpoints are written to."""

    def __init__(self) -> None:
        self.partition = partition("locks")
        self.table: Table = {}
        self.last: Checkpoint | None = None
        self.stale: list[bytes] = []

    def queue(self, waiters: int) -> None:
        """The lock is held, and so many wait. None: it is free and forgotten."""
        decider = self.partition.decider
        state = decider.evolve(None, LockGranted("r-0", "ada", "ada/1", 1, 5_000, 6_000))
        for n in range(waiters):
            state = decider.evolve(state, LockQueued(f"r-{n:05}", "bob", f"bob/{n}", 5_000, 1_000, None, n + 1))
        self.put(state)

    def put(self, state: object) -> None:
        self.partition._put("room", state, self.partition.decider)

    def rows(self) -> tuple[dict[bytes, bytes | None], Checkpoint, list[bytes]]:
        return cp.rows_of(cp.snapshot(self.partition), self.last, self.table.get)

    def save(self) -> None:
        rows, done, stale = self.rows()
        self.write((dict.fromkeys(self.stale) | rows).items())
        self.table[CHECKPOINT_KEY] = done.encode()
        self.last, self.stale = done, stale

    def write(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        for key, value in rows:
            if value is None:
                self.table.pop(key, None)
            else:
                self.table[key] = value

    def load(self) -> Loaded | None:
        return cp.load(self.partition.root, self.table)

    def parts(self) -> list[bytes]:
        return [key for key in self.table if key.startswith(PART_PREFIX)]


def restored(loaded: Loaded | None) -> Partition:
    assert loaded is not None
    made = partition("locks")
    cp.restore(made, loaded)
    return made


def test_a_large_value_stands_in_parts_that_fit_a_record_and_comes_back_whole() -> None:
    saved = Saved()
    saved.queue(10_000)
    saved.save()
    assert len(saved.parts()) == -(-len(saved.partition.dump("room") or b"") // PART_BYTES) > 3
    assert max(len(value) for value in saved.table.values()) <= PART_BYTES
    assert restored(saved.load()).canonical() == saved.partition.canonical()


def test_a_small_value_is_one_row() -> None:
    saved = Saved()
    saved.queue(3)
    saved.save()
    assert set(saved.table) == {ROW_PREFIX + b"room", CHECKPOINT_KEY}
    assert restored(saved.load()).canonical() == saved.partition.canonical()


@pytest.mark.parametrize("waiters", [3_000, 10, None])
def test_parts_that_are_no_longer_named_are_deleted_with_the_next_checkpoint(waiters: int | None) -> None:
    saved = Saved()
    saved.queue(5_000)
    saved.save()
    before = saved.parts()
    if waiters is None:
        saved.put(None)
    else:
        saved.queue(waiters)
    saved.save()
    assert set(before) <= set(saved.parts()), "not yet"
    saved.save()
    value = saved.partition.dump("room") or b""
    assert len(saved.parts()) == (-(-len(value) // PART_BYTES) if len(value) > PART_BYTES else 0)
    assert restored(saved.load()).canonical() == saved.partition.canonical()


@pytest.mark.parametrize("waiters", [5_001, 10, None])
def test_a_crash_at_any_row_leaves_what_can_be_loaded_and_nothing_for_ever(waiters: int | None) -> None:
    saved = Saved()
    saved.queue(5_000)
    saved.save()
    table, seq = dict(saved.table), saved.partition.head.seq
    if waiters is None:
        saved.put(None)
    else:
        saved.queue(waiters)
    saved.partition.head = Head(seq + 5, b"later", 9, 9)
    rows, _, _ = saved.rows()
    for count in range(len(rows) + 1):
        saved.table = dict(table)
        saved.write(list(rows.items())[:count])
        loaded = saved.load()
        assert loaded is not None, "it adds up, as the row still has the hash that it had at the checkpoint"
        assert loaded.ahead == ({"room": seq + 5} if count == len(rows) else {})
        named = sum(
            len(cp._decode_row(value).parts) for key, value in saved.table.items() if key.startswith(ROW_PREFIX)
        )
        assert len(saved.parts()) - named == len(loaded.stale)


@pytest.mark.parametrize("harm", ["missing", "changed"])
def test_a_part_that_is_not_what_its_row_names_is_no_checkpoint(harm: str) -> None:
    saved = Saved()
    saved.queue(5_000)
    saved.save()
    part = saved.parts()[1]
    if harm == "missing":
        del saved.table[part]
    else:
        saved.table[part] = saved.table[part][:-1] + b"\0"
    assert saved.load() is None


def test_a_row_without_a_value_is_deleted_after_the_next_load() -> None:
    saved = Saved()
    saved.queue(1)
    saved.save()
    saved.put(None)
    saved.save()
    loaded = saved.load()
    assert loaded is not None
    assert loaded.stale == [ROW_PREFIX + b"room"]
