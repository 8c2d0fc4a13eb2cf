"""What holds for every scope, whatever is written in whatever order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from accord.schemas.messages import Event
from accord.schemas.messages.state import ChangesCommitted, CommitChanges, ReadHistory, ReadKey, ReadRange, Write
from accord.streams.decider import At, dump, restore
from accord.streams.state.bounds import HISTORY_MAX
from accord.streams.state.decider import StateDecider
from accord.streams.state.keymap import EMPTY, RUN_MAX, Item, KeyMap
from accord.streams.state.scope import Scope, evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.counts import examples

DECIDER = StateDecider()
KEYS = ("a", "a/1", "a/2", "b", "ü")
World = dict[str, tuple[str, int]]
"""A scope as a plain dictionary: value and version by key."""

keys = st.sampled_from(KEYS)
writes = st.one_of(
    st.builds(Write, keys, st.just("put"), st.integers(0, 9).map(str)),
    st.builds(Write, keys, st.just("delete"), st.none()),
)
commits = st.lists(writes, min_size=1, max_size=4, unique_by=lambda write: write.key)
histories = st.lists(commits, max_size=15)


def committing(written: Sequence[Write]) -> CommitChanges:
    return CommitChanges("ada", "read_committed", None, (), (), tuple(written), "", "")


def decided(scope: Scope | None, command: Any) -> Event:
    (event,) = DECIDER.decide(scope, command, At(0, 1, "r"))
    return event


def played(history: Sequence[Sequence[Write]], kept: int = HISTORY_MAX) -> tuple[Scope, list[World], list[Event]]:
    """The scope after commits, the worlds that it went through by version, and all events."""
    scope: Scope = Scope(history=kept)
    worlds: list[World] = [{}]
    events = []
    for written in history:
        event = decided(scope, committing(written))
        assert isinstance(event, ChangesCommitted)
        events.append(event)
        after = evolve(scope, event)
        assert after is not None
        scope = after
        world = dict(worlds[-1])
        for write in written:
            if write.operand is not None:
                world[write.key] = write.operand, len(worlds)
            else:
                world.pop(write.key, None)
        if any(write.operand is not None or write.key in worlds[-1] for write in written):
            worlds.append(world)
    return scope, worlds, events


@given(histories, st.integers(0, 10))
@examples(100)
def test_every_version_that_is_kept_is_read_as_it_was(history: list[list[Write]], kept: int) -> None:
    scope, worlds, _ = played(history, kept)
    assert scope.version == len(worlds) - 1
    assert len(scope.past) <= kept and all(past.version > scope.oldest for past in scope.past)
    for version in range(scope.oldest, scope.version + 1):
        world = worlds[version]
        for key in KEYS:
            read: Any = decided(scope, ReadKey("bob", key, version))
            assert (read.value, read.key_version) == world.get(key, (None, 0))
        for prefix in ("", "a", "a/", "z"):
            found: Any = decided(scope, ReadRange("bob", prefix, "", True, version))
            there = {key: value for key, value in world.items() if key.startswith(prefix)}
            assert [(e.key, e.value, e.version) for e in found.entries] == [(k, *there[k]) for k in sorted(there)]
    for key in KEYS:
        told: Any = decided(scope, ReadHistory("bob", key, None))
        for entry in told.entries:
            assert worlds[entry.version].get(key, (None, 0))[0] == entry.value
        changed = [v for v in range(scope.oldest + 1, len(worlds)) if worlds[v].get(key) != worlds[v - 1].get(key)]
        assert [entry.version for entry in told.entries if entry.version > scope.oldest] == changed


@given(histories, st.integers(0, 10), st.data())
def test_all_who_fold_the_events_come_to_the_same(history: list[list[Write]], kept: int, data: st.DataObject) -> None:
    """From the first event, from a dump anywhere, and a replica from what was read anywhere."""
    scope, worlds, events = played(history, kept)
    cut = data.draw(st.integers(0, len(events)))
    first, _, _ = played(history[:cut], kept)
    again = restore(dump(first), Scope)
    replica = {entry.key: entry.value for entry in decided(first, ReadRange("r", "", "", True, None)).entries}  # type: ignore[attr-defined]
    for event in events[cut:]:
        again = evolve(again, event)
        for change in event.changes:  # type: ignore[attr-defined]
            replica.pop(change.key, None)
            if change.value is not None:
                replica[change.key] = change.value
    assert dump(again) == dump(scope)
    assert replica == {key: value for key, (value, _) in worlds[-1].items()}
    assert scope.size == sum(item.size for item in scope.keys)
    assert scope.past_bytes == sum(past.size for past in scope.past)


@given(st.lists(st.integers(-99, 99), min_size=1), st.lists(st.sampled_from("abcdef"), min_size=1), st.randoms())
def test_counters_and_sets_come_out_the_same_in_any_order(numbers: list[int], members: list[str], random: Any) -> None:
    merges = [Write("n", "increment", str(number)) for number in numbers]
    merges += [Write("s", "add", json.dumps([member])) for member in members]
    results = []
    for _ in range(2):
        random.shuffle(merges)
        scope: Scope | None = None
        for merge in merges:
            scope = evolve(scope, decided(scope, committing([merge])))
        assert scope is not None
        results.append({item.key: item.value for item in scope.keys})
    assert results[0] == results[1]
    assert results[0] == {"n": str(sum(numbers)), "s": json.dumps(sorted(set(members)), separators=(",", ":"))}


names = st.text("abc", max_size=5).map(lambda name: f"k{name}")


@given(st.lists(st.tuples(names, st.booleans()), max_size=400), names)
@examples(30)
def test_a_key_map_is_a_dictionary_in_order_that_never_changes(actions: list[tuple[str, bool]], asked: str) -> None:
    made, plain = EMPTY, dict[str, Item]()
    for version, (key, is_put) in enumerate(actions):
        before, count = list(made), len(made)
        item = Item(key, "1", version)
        changed = made.put(item) if is_put else made.without(key)
        assert list(made) == before and len(made) == count, "it was changed in place"
        made = changed
        if is_put:
            plain[key] = item
        else:
            plain.pop(key, None)
    assert list(made) == [plain[key] for key in sorted(plain)] and len(made) == len(plain)
    assert made.get(asked) == plain.get(asked)
    assert [item.key for item in made.with_prefix(asked)] == [key for key in sorted(plain) if key.startswith(asked)]
    assert KeyMap.of(plain.values()) == made


def test_a_key_map_of_many_keys_is_cut_into_short_runs() -> None:
    made = EMPTY
    for n in range(2_000):
        made = made.put(Item(f"{n * 7919 % 2_000:04}", "1", n))
    assert len(made) == 2_000 and max(len(run) for run in made._runs) <= RUN_MAX
    assert [item.key for item in made.with_prefix("10")] == [f"10{n:02}" for n in range(100)]
    for n in range(2_000):
        made = made.without(f"{n:04}")
    assert len(made) == 0 and not made._runs and list(made.with_prefix("")) == []
