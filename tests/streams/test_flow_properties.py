"""What flows find, against oracles that look at the whole list of events at once, by the definitions alone."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from accord.streams.flows.aggregates import count, fold, max_of, mean_of, min_of, sum_of
from accord.streams.flows.flow import Flow, Late, Window, flow, hopping, sliding, tumbling
from accord.streams.flows.fold import Fold, Result, Taken
from accord.streams.flows.merge import Merge
from hypothesis import given
from hypothesis import strategies as st

END_MS = 10_000


class Sold(NamedTuple):
    """An event: the log's time of it, its own, its key, its amount; `name` is of a join."""

    at_ms: int
    time_ms: int
    room: str
    amount: int
    name: str = "paid"


@st.composite
def some_sold(draw: st.DrawFn, names: Sequence[str] = ("paid",), rooms: str = "xy") -> list[Sold]:
    """In the order of the log; their own times lie around the log's, before it and after."""
    told = draw(
        st.lists(
            st.tuples(st.integers(0, 6), st.integers(-30, 8), st.sampled_from(rooms), st.sampled_from(names)),
            max_size=14,
        )
    )
    at_ms, found = 100, []
    for number, (later_ms, off_ms, room, name) in enumerate(told):
        at_ms += later_ms
        found.append(Sold(at_ms, at_ms + off_ms, room, number, name))
    return found


def taken(number: int, sold: Sold) -> Taken:
    data = {"room": sold.room, "amount": sold.amount, "at": sold.time_ms}
    return Taken(sold.at_ms, sold.name, json.dumps(data), f"signals/0@{number}", ())


def run(made: Flow, events: Sequence[Sold], advances: Iterable[int] = (), *, restarts: bool = False) -> list[Result]:
    """All results. `advances` are times told in between; with `restarts`, it goes on from a dump at every event."""
    found, going = [], Fold(made)
    waiting = sorted(advances)
    for number, sold in enumerate(events):
        while waiting and waiting[0] <= sold.at_ms:
            found += going.advance(waiting.pop(0))
        if restarts:
            again = Fold(made, going.dump())
            assert again.dump() == going.dump()
            going = again
        found += going.take(taken(number, sold))
    return found + going.advance(END_MS)


def named(results: Sequence[Result], name: str) -> list[dict[str, Any]]:
    told = [result for result in results if result.event == name]
    assert [result.number for result in told] == list(range(1, len(told) + 1))
    return [json.loads(result.data) for result in told]


windows = (
    st.integers(1, 12).map(lambda ms: tumbling(ms=ms))
    | st.integers(1, 12).flatmap(lambda ms: st.integers(1, ms).map(lambda every: hopping(ms=ms, every_ms=every)))
    | st.integers(1, 12).map(lambda ms: sliding(ms=ms))
)
lateness = st.integers(0, 12)
advances = st.lists(st.integers(100, 200), max_size=6)


def totals(window: Window, lateness_ms: int, late: Late, open_max: int = 10_000) -> Flow:
    return (
        flow("totals")
        .of("paid", at="at")
        .by("room")
        .window(window, lateness_ms=lateness_ms, late=late, open_max=open_max)
        .aggregate(
            count=count(), total=sum_of("amount"), least=min_of("amount"), most=max_of("amount"),
            mean=mean_of("amount"), seen=fold([], lambda seen, sold: [*seen, sold["amount"]]),
        )
        .emit("told")
    )  # fmt: skip


# -- the oracle


def starts_of(window: Window, events: Sequence[Sold], lateness_ms: int) -> dict[tuple[str, int], int]:
    """Key and start of every window that ever was, and the number of the event that made it be."""
    found: dict[tuple[str, int], int] = {}
    for number, sold in enumerate(events):
        if window.kind == "sliding":
            starts: Iterable[int] = [sold.time_ms + 1 - window.ms]
        else:
            every = range(sold.time_ms - window.ms + 1, sold.time_ms + 1)
            starts = [start for start in every if start % window.every_ms == 0]
        for start in starts:
            if start + window.ms + lateness_ms > sold.at_ms:
                found.setdefault((sold.room, start), number)
    return found


def members(key: str, start: int, window: Window, events: Sequence[Sold], lateness_ms: int) -> list[int]:
    """The numbers of the events that count in a window: inside it, and recorded before it was closed."""
    end = start + window.ms
    return [
        number
        for number, sold in enumerate(events)
        if sold.room == key and start <= sold.time_ms < end and sold.at_ms < end + lateness_ms
    ]


def last_end(window: Window, time_ms: int) -> int:
    """The end of the last window that a time can be in."""
    if window.kind == "sliding":
        return time_ms + window.ms
    return time_ms - time_ms % window.every_ms + window.ms


def figures(events: Sequence[Sold], inside: Sequence[int]) -> dict[str, Any]:
    amounts = [events[number].amount for number in inside]
    return {
        "count": len(amounts),
        "total": sum(amounts),
        "least": min(amounts),
        "most": max(amounts),
        "seen": amounts,
        "causes": [f"signals/0@{number}" for number in ((inside[0], inside[-1]) if len(inside) > 1 else inside)],
    }


def without_mean(told: dict[str, Any]) -> dict[str, Any]:
    assert abs(told.pop("mean") - told["total"] / told["count"]) < 1e-9
    return told


@given(windows, lateness, st.sampled_from(["drop", "side"]), some_sold(), advances)
def test_every_window_is_told_once_with_all_that_came_in_time(
    window: Window, lateness_ms: int, late: Late, events: list[Sold], between: list[int]
) -> None:
    found = run(totals(window, lateness_ms, late), events, between)
    made = starts_of(window, events, lateness_ms)
    order = sorted(made, key=lambda place: (place[1] + window.ms, made[place], place[1]))
    assert [without_mean(told) for told in named(found, "told")] == [
        {"room": room, "from_ms": start, "to_ms": start + window.ms}
        | figures(events, members(room, start, window, events, lateness_ms))
        for room, start in order
    ]
    late_ones = [
        number
        for number, sold in enumerate(events)
        if last_end(window, sold.time_ms) + lateness_ms <= sold.at_ms
    ]  # fmt: skip
    told_late = named(found, "told.late")
    assert [(told["reason"], told["data"]["amount"], told["at_ms"]) for told in told_late] == (
        [("late", number, events[number].time_ms) for number in late_ones] if late == "side" else []
    )


@given(windows, st.integers(1, 12), some_sold(), advances)
def test_a_window_is_told_at_its_end_and_anew_with_each_event_that_comes_in_time(
    window: Window, lateness_ms: int, events: list[Sold], between: list[int]
) -> None:
    told: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for one in named(run(totals(window, lateness_ms, "update"), events, between), "told"):
        told[one["room"], one["from_ms"]].append(without_mean(one))
    made = starts_of(window, events, lateness_ms)
    assert told.keys() == made.keys()
    for (room, start), opened_by in made.items():
        inside = members(room, start, window, events, lateness_ms)
        end = start + window.ms
        before = [number for number in inside if events[number].at_ms < end or number <= opened_by]
        after = [number for number in inside if number not in before]
        expected = [figures(events, inside[: len(before) + more]) for more in range(len(after) + 1)]
        updates = [{"update": number} if number else {} for number in range(len(expected))]
        assert told[room, start] == [
            {"room": room, "from_ms": start, "to_ms": end} | one | update
            for one, update in zip(expected, updates, strict=True)
        ]


@given(windows, lateness, st.sampled_from(["drop", "side", "update"]), st.integers(1, 4), some_sold(), advances)
def test_at_the_bound_what_is_lacking_is_said(
    window: Window, lateness_ms: int, late: Late, open_max: int, events: list[Sold], between: list[int]
) -> None:
    """A window that does not call itself partial has all its events, and no more windows are kept than may be."""
    lateness_ms += late == "update"
    going = Fold(totals(window, lateness_ms, late, open_max))
    found: list[Result] = []
    for number, sold in enumerate(events):
        found += going.take(taken(number, sold))
        kept = json.loads(going.dump())[3]
        cells = kept[0][2] if window.kind == "sliding" else kept[2]
        assert len(cells) <= open_max and (window.kind != "sliding" or len(kept[2]) <= open_max)
    found += going.advance(END_MS)
    last = {(told["room"], told["from_ms"]): told for told in named(found, "told")}
    for (room, start), told in last.items():
        inside = members(room, start, window, events, lateness_ms)
        assert set(told["seen"]) <= set(inside)
        assert told["seen"] == inside or told.get("partial")
    if not going.counts.get("overflow"):
        assert last.keys() == starts_of(window, events, lateness_ms).keys()
    assert run(totals(window, lateness_ms, late, open_max), events, between, restarts=True) == found


# -- joins


def joined(within_ms: int, lateness_ms: int, held_max: int = 10_000) -> Flow:
    return (
        flow("joined")
        .of("paid", at="at")
        .join(
            "sent", on="room", at="at", within_ms=within_ms, lateness_ms=lateness_ms, late="side", held_max=held_max
        )
        .emit("told")
    )  # fmt: skip


@given(st.integers(1, 12), lateness, some_sold(("paid", "sent")), advances)
def test_all_pairs_that_are_near_are_told_once(
    within_ms: int, lateness_ms: int, events: list[Sold], between: list[int]
) -> None:
    found = run(joined(within_ms, lateness_ms), events, between)
    in_time = [sold.time_ms + lateness_ms >= sold.at_ms for sold in events]
    expected = [
        sorted((first, second), key=lambda number: events[number].name)
        for second in range(len(events))
        for first in range(second)
        if in_time[first]
        and in_time[second]
        and events[first].name != events[second].name
        and events[first].room == events[second].room
        and abs(events[first].time_ms - events[second].time_ms) <= within_ms
    ]
    told = named(found, "told")
    assert [[one["paid"]["amount"], one["sent"]["amount"]] for one in told] == expected
    assert [sorted(one["causes"]) for one in told] == [
        sorted(f"signals/0@{number}" for number in pair) for pair in expected
    ]
    late = [number for number in range(len(events)) if not in_time[number]]
    assert [one["data"]["amount"] for one in named(found, "told.late")] == late


@given(st.integers(1, 12), lateness, st.integers(1, 3), some_sold(("paid", "sent")))
def test_a_join_holds_no_more_than_it_may(within_ms: int, lateness_ms: int, held_max: int, events: list[Sold]) -> None:
    going = Fold(joined(within_ms, lateness_ms, held_max))
    found: list[Result] = []
    for number, sold in enumerate(events):
        found += going.take(taken(number, sold))
        assert len(json.loads(going.dump())[3][1]) <= held_max
    pairs = Counter((one["paid"]["amount"], one["sent"]["amount"]) for one in named(found, "told"))
    unbounded = named(run(joined(within_ms, lateness_ms), events), "told")
    all_pairs = {(one["paid"]["amount"], one["sent"]["amount"]) for one in unbounded}
    assert set(pairs) <= all_pairs and set(pairs.values()) <= {1}
    over = {one["data"]["amount"] for one in named(found, "told.late") if one["reason"] == "overflow"}
    assert all(over & {min(pair)} for pair in all_pairs - set(pairs))  # the one that came first was not kept


# -- the same again


any_flow = (
    st.builds(totals, windows, lateness, st.sampled_from(["drop", "side"]))
    | st.builds(totals, windows, st.integers(1, 12), st.just("update"))
    | st.builds(joined, st.integers(1, 12), lateness)
)


@given(any_flow, some_sold(("paid", "sent")), advances)
def test_the_same_bytes_after_a_restart_at_every_event_and_whatever_is_told_of_the_time(
    made: Flow, events: list[Sold], between: list[int]
) -> None:
    events = [sold for sold in events if sold.name in made.names]
    assert run(made, events) == run(made, events, between) == run(made, events, between, restarts=True)


# -- several partitions


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12), st.data())
def test_partitions_are_one_sequence_however_they_are_read(told: list[tuple[int, int]], data: st.DataObject) -> None:
    """`told`: of each record, by how much its partition's clock is later, and its partition."""
    clocks = [10, 10, 10]
    logs: dict[int, list[tuple[int, int, int]]] = {0: [], 1: [], 2: []}
    for offset, (later_ms, partition) in enumerate(told):
        clocks[partition] += later_ms
        logs[partition].append((clocks[partition], partition, offset))
    merge: Merge[tuple[int, int, int], int] = Merge(logs)
    left = {partition: list(log) for partition, log in logs.items()}
    found: list[tuple[int, int, int]] = []
    now_ms = -1
    while any(left.values()):
        partition = data.draw(st.sampled_from([partition for partition, log in left.items() if log]))
        record = left[partition].pop(0)
        if data.draw(st.booleans()):
            merge.add(partition, record[0], record[2], record)
        else:  # another name's
            merge.tell(partition, record[0], record[2])
            logs[partition].remove(record)
        for at_ms, one in merge.take():
            assert at_ms == one[0] >= now_ms
            found.append(one)
            of_it = [other[2] for other in logs[one[1]]]
            assert [at for at in of_it if at <= merge.done[one[1]]] == [at for _, p, at in found if p == one[1]]
        assert all(done <= record[2] or number != partition for number, done in merge.done.items())
        assert merge.now_ms >= now_ms
        now_ms = merge.now_ms
    while silent := merge.behind(END_MS):  # each is asked for its time
        for partition in silent:
            merge.tell(partition, END_MS, END_MS)
        found += [one for _, one in merge.take()]
    assert found == sorted(record for log in logs.values() for record in log)
    assert merge.now_ms == END_MS and merge.done == dict.fromkeys(logs, END_MS)
