"""Vector clocks: laws of merge and compare, the encoding, and what pruning may and may not change."""

from __future__ import annotations

from typing import Any

import pytest
from accord.schemas.clock import COUNT_MAX, ENCODED_BYTES_MAX, ENTRIES_MAX, NAME_CHARS_MAX, VectorClock
from hypothesis import given
from hypothesis import strategies as st

from tests.counts import examples

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
counts = st.integers(1, COUNT_MAX)
few = st.sampled_from(["booker#1", "booker#2", "locks/0", "signals/3", "a,b=c|%"])
clocks = st.builds(VectorClock, st.dictionaries(few, st.integers(1, 5), max_size=5), st.integers(0, 100))
wide = st.builds(VectorClock, st.dictionaries(names, counts, max_size=ENTRIES_MAX), st.integers(0, COUNT_MAX))


def test_order_of_two_clocks() -> None:
    start = VectorClock().advanced("a")
    left, right = start.advanced("a"), start.advanced("b")
    assert start.compare(left) == "before"
    assert left.compare(start) == "after"
    assert left.compare(right) == "concurrent"
    assert left.concurrent(right)
    assert left.compare(VectorClock.decode(left.encode())) == "equal"
    assert right.advanced("b", left).compare(left) == "after"


def test_lamport_time_is_above_everything_received() -> None:
    received = VectorClock({"b": 9}, 41)
    assert VectorClock().advanced("a", received).lamport == 42


@given(clocks, clocks)
def test_merge_is_the_least_clock_above_both(one: VectorClock, two: VectorClock) -> None:
    merged = one.merge(two)
    assert merged == two.merge(one)
    assert merged.compare(one) in ("after", "equal")
    assert merged.compare(two) in ("after", "equal")
    assert merged.entries == {
        name: max(one.entries.get(name, 0), two.entries.get(name, 0)) for name in one.entries | two.entries
    }
    assert merged.lamport == max(one.lamport, two.lamport)


@given(clocks, clocks, clocks)
def test_merge_is_associative_and_idempotent(one: VectorClock, two: VectorClock, three: VectorClock) -> None:
    assert one.merge(two).merge(three) == one.merge(two.merge(three))
    assert one.merge(one) == one


@given(clocks, clocks)
def test_compare_is_antisymmetric(one: VectorClock, two: VectorClock) -> None:
    mirror = {"before": "after", "after": "before", "equal": "equal", "concurrent": "concurrent"}
    assert two.compare(one) == mirror[one.compare(two)]


@given(wide)
def test_encoding_round_trips_with_the_order_of_entries(clock: VectorClock) -> None:
    encoded = clock.encode()
    again = VectorClock.decode(encoded)
    assert list(again.entries.items()) == list(clock.entries.items())
    assert again.lamport == clock.lamport
    assert len(encoded) <= ENCODED_BYTES_MAX


def test_encoding_as_it_is_written() -> None:
    clock = VectorClock({"booker#5f2c": 3, "locks/3": 7, "a,b=c|%": 1, "ж": 2}, 9)
    assert clock.encode() == '[9,{"booker#5f2c":3,"locks/3":7,"a,b=c|%":1,"ж":2}]'.encode()
    assert VectorClock().encode() == b"[0,{}]"
    assert VectorClock.decode(b" [ 0, { } ]").encode() == b"[0,{}]"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"{}",
        b"[]",
        b"[1]",
        b"[-1,{}]",
        b'["1",{}]',
        b"[1,{},2]",
        b"[1,{}]x",
        b'[1,{"a"}]',
        b'[1,{"a":-1}]',
        b'[1,{"a":1.0}]',
        b'[1,{"a":null}]',
        b'[1,{"a":"1"}]',
        b'[1,{"\\ud800":1}]',
        b'[1,{"\xff":1}]',
        b"\xff",
        b'[1,{"a":1234567890123456789}]',
        b"[1234567890123456789,{}]",
        b'[1,{"%s":1}]' % (b"a" * (NAME_CHARS_MAX + 1)),
        b"[1,{%s}]" % b",".join(b'"n%d":1' % i for i in range(ENTRIES_MAX + 1)),
    ],
)
def test_what_is_no_clock_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="clock"):
        VectorClock.decode(data)


@given(st.binary(max_size=200) | st.from_regex(rb'\[[0-9]{0,3},\{([a-z":,0-9]|\xff)*\}\]', fullmatch=True))
@examples(100)
def test_any_bytes_give_a_clock_that_can_be_carried_on_or_a_value_error(data: bytes) -> None:
    try:
        clock = VectorClock.decode(data)
    except ValueError:
        return
    onward = VectorClock({"x": 1}, 1).advanced("locks/0", clock)
    assert VectorClock.decode(onward.encode()) == onward


def test_a_clock_that_could_be_read_leads_to_one_that_can_be_written() -> None:
    """A sender at every limit must not make the partition write a clock that nobody can read."""
    top = str(COUNT_MAX).encode()
    longest = b",".join(b'"%s%02d":%s' % (b"\\u0001" * (NAME_CHARS_MAX - 2), i, top) for i in range(ENTRIES_MAX))
    received = VectorClock.decode(b"[%s,{%s}]" % (top, longest))
    onward = VectorClock().advanced("locks/0", received).advanced("locks/0", received)
    assert VectorClock.decode(onward.encode()) == onward
    assert onward.lamport == COUNT_MAX


def test_pruning_drops_what_advanced_longest_ago() -> None:
    clock = VectorClock()
    for i in range(ENTRIES_MAX):
        clock = clock.advanced(f"agent-{i}")
    clock = clock.advanced("agent-0").advanced("newcomer")
    assert len(clock.entries) == ENTRIES_MAX
    assert "agent-1" not in clock.entries
    assert "agent-0" in clock.entries
    assert list(clock.entries)[-1] == "newcomer"


def test_a_pruned_entry_that_comes_back_does_not_start_again() -> None:
    """An agent that only merges for long loses its own entry; its next step must not look older than its last."""
    last = VectorClock()
    for _ in range(5):
        last = last.advanced("agent")
    clock = last
    for i in range(ENTRIES_MAX):
        clock = clock.merge(VectorClock({f"other-{i}": 1}, 1))
    assert "agent" not in clock.entries
    following = clock.advanced("agent")
    assert following.entries["agent"] > last.entries["agent"]
    assert last.compare(following) == "before"


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int | None, bool]]:
    """Steps of many processes: (process, index of an earlier event whose clock it receives, merged only)."""
    steps: list[tuple[int, int | None, bool]] = []
    process_count = draw(st.sampled_from([3, 8, ENTRIES_MAX + 8]))
    for i in range(draw(st.integers(1, 120))):
        received = draw(st.none() | st.integers(0, i - 1)) if i else None
        steps.append((draw(st.integers(0, process_count - 1)), received, draw(st.booleans())))
    return steps


def test_who_keeps_its_entry_never_counts_the_same_twice() -> None:
    """Others give an agent's own entry back, as old as they know it, when it was pruned from the agent's clock."""
    mine = VectorClock()
    for _ in range(5):
        mine = mine.advanced("me")
    known_of_me = VectorClock({"me": 4}, 9)
    for i in range(2 * ENTRIES_MAX):
        mine = mine.merge(VectorClock({f"other-{i}": 1}, 1), keep="me")
        assert mine.entries["me"] == 5 and len(mine.entries) <= ENTRIES_MAX
    mine = mine.merge(known_of_me, keep="me")
    assert mine.advanced("me").entries["me"] == 6
    assert VectorClock().merge(known_of_me, keep="new").entries == {"me": 4}


@given(histories())
@examples(20)
def test_clocks_never_look_ordered_when_they_were_not(steps: list[tuple[int, int | None, bool]]) -> None:
    """Against true happened-before, kept as sets of events: a pruned clock may look concurrent, never ordered."""
    clocks: dict[int, VectorClock] = {}
    known: dict[int, frozenset[int]] = {}
    events: list[tuple[VectorClock, frozenset[int]]] = []
    pruned = False
    for i, (process, received, only_merged) in enumerate(steps):
        clock, past = clocks.get(process, VectorClock()), known.get(process, frozenset())
        incoming, incoming_past = events[received] if received is not None else (None, frozenset[int]())
        name = f"p{process}"
        if only_merged and incoming is not None:
            clock = clock.merge(incoming).advanced(name)
        else:
            clock = clock.advanced(name, incoming)
        past = past | incoming_past | {i}
        clocks[process], known[process] = clock, past
        events.append((clock, past))
        pruned = pruned or len({step[0] for step in steps}) > ENTRIES_MAX
    for i, (one, _) in enumerate(events):
        for j, (two, past) in enumerate(events[i + 1 :], start=i + 1):
            order = one.compare(two)
            before = i in past
            assert order in (("before", "concurrent") if before else ("concurrent",)), (i, j)
            if not pruned:
                assert order == ("before" if before else "concurrent")
            if before:
                assert one.lamport < two.lamport


def test_a_clock_is_a_value_that_cannot_be_hashed() -> None:
    clock: Any = VectorClock({"a": 1})
    assert clock != VectorClock({"a": 2})
    assert '{"a":1}' in repr(clock)
    with pytest.raises(TypeError):
        hash(clock)
