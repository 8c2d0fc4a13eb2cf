"""Flows, case by case: what is refused where it is written down, and what a fold makes of single events."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from accord.streams.flows import bounds, joins, windows
from accord.streams.flows.aggregates import count, fold, max_of, mean_of, min_of, sum_of
from accord.streams.flows.flow import Flow, Window, flow, hopping, sliding, tumbling
from accord.streams.flows.fold import Fold, Result, Taken
from accord.streams.signals.decider import TRAIL_MAX

from accord.errors import BadInput, FlowFailed

T0 = 1_000_000
WINDOW = tumbling(ms=100)


def taken(at_ms: int, name: str = "paid", *, trail: tuple[str, ...] = (), text: str = "", **data: Any) -> Taken:
    return Taken(T0 + at_ms, name, text or json.dumps(data), f"signals/0@{at_ms}", trail)


def data_of(results: list[Result]) -> list[dict[str, Any]]:
    return [json.loads(result.data) for result in results]


def paid() -> Flow:
    return flow("f").of("paid")


def windowed(**options: Any) -> Flow:
    return paid().by("room").window(WINDOW, **options)


def test_each_event_is_filtered_mapped_and_told_with_its_cause() -> None:
    made = paid().filter(lambda e: e["n"] > 1).map(lambda e: {"twice": e["n"] * 2}).emit("told")
    going = Fold(made)
    assert going.take(taken(1, n=1)) == []
    (result,) = going.take(taken(2, n=2, trail=("start",)))
    assert result == Result("told", 1, '{"twice":4,"causes":["signals/0@2"]}', ("start", "paid"))
    assert going.counts == {"taken": 2} and going.deadline_ms() is None


def test_results_are_filtered_and_mapped_too() -> None:
    counted = windowed().aggregate(n=count()).filter(lambda row: row["n"] > 1)
    going = Fold(counted.map(lambda row: {"room": row["room"].upper()}).emit("told"))
    for at_ms, room in ((1, "x"), (2, "y"), (3, "x")):
        assert going.take(taken(at_ms, room=room)) == []
    assert data_of(going.advance(T0 + 100)) == [{"room": "X", "causes": ["signals/0@1", "signals/0@3"]}]


def test_amounts_are_exact() -> None:
    figures = {"total": sum_of("n"), "least": min_of("n"), "most": max_of("n"), "mean": mean_of("n")}
    going = Fold(windowed().aggregate(**figures).emit("told"))
    for at_ms, text in enumerate(("0.1", "0.2", "1e2", "null", '"7"', "true", "1" * 60, "-0.30")):
        going.take(taken(at_ms, text=f'{{"room": "x", "n": {text}}}'))
    (result,) = going.advance(T0 + 100)
    assert '"total":100.00,"least":-0.30,"most":1E+2,"mean":25.00' in result.data


def test_a_fold_of_ones_own_and_nothing_of_it_is_shared() -> None:
    def collect(kept: list[Any], data: Any) -> list[Any]:
        kept.append(data.pop("n"))
        return kept

    made = paid().by("room").window(hopping(ms=100, every_ms=50)).aggregate(seen=fold([], collect)).emit("told")
    going = Fold(made)
    going.take(taken(50, room="x", n=1))
    going.take(taken(99, room="x", n=2.5))
    found = data_of(going.advance(T0 + 1_000))
    assert [one["seen"] for one in found] == [[1, 2.5], [1, 2.5]]


def test_keys_of_another_type_are_other_keys() -> None:
    going = Fold(paid().by("a.b", "c").window(WINDOW).aggregate(n=count()).emit("told"))
    for at_ms, text in enumerate(("1", "true", '"1"', "1", "1.0", "null", "[]")):
        going.take(taken(at_ms, text=f'{{"a": {{"b": {text}}}, "c": 7}}'))
    going.take(taken(9, c=7))
    going.take(taken(9, a={"b": "k" * bounds.KEY_TEXT_BYTES_MAX}, c=7))
    found = data_of(going.advance(T0 + 100))
    assert [(one["b"], one["c"], one["n"]) for one in found] == [(1, 7, 2), (True, 7, 1), ("1", 7, 1)]
    assert going.counts["no_key"] == 5


@pytest.mark.parametrize(
    ("time_ms", "counted"),
    [(T0, 1), (T0 + 50 + bounds.AHEAD_MS_MAX, 1), (T0 + 51 + bounds.AHEAD_MS_MAX, 0), (-1, 0), ("now", 0), (1.5, 0)],
)
def test_an_events_own_time(time_ms: Any, counted: int) -> None:
    made = flow("f").of("paid", at="time").window(WINDOW).aggregate(n=count()).emit("told")
    going = Fold(made)
    going.take(taken(50, time=time_ms))
    assert len(going.advance(T0 * 1_000)) == counted
    assert going.counts.get("no_time", 0) == 1 - counted


def test_data_that_nobody_can_read_is_counted() -> None:
    going = Fold(paid().emit("told"))
    assert going.take(taken(1, text='{"n": 1e99999999999999999999}')) == []
    assert going.counts == {"taken": 1, "unreadable": 1}


def test_of_several_trails_the_longest_is_told_and_a_circle_grows() -> None:
    going = Fold(windowed().aggregate(n=count()).emit("told"))
    for at_ms, trail in enumerate((("a",), ("b", "c"), ("d", "e"))):
        going.take(taken(at_ms, room="x", trail=trail))
    (result,) = going.advance(T0 + 100)
    assert result.trail == ("b", "c", "paid")
    (result,) = Fold(paid().emit("told")).take(taken(1, trail=("a",) * TRAIL_MAX))
    assert len(result.trail) > TRAIL_MAX  # and the log refuses it


OWN = flow("f").of("paid", at="at").by("room")


@pytest.mark.parametrize(("window", "whole"), [(WINDOW, 1), (sliding(ms=100), 2)])
def test_a_window_that_is_opened_later_and_may_lack_an_event_says_so(window: Window, whole: int) -> None:
    going = Fold(OWN.window(window, open_max=1).aggregate(n=count()).emit("told"))
    found: list[Result] = []
    for at_ms, time_ms, room in ((0, 10, "x"), (1, 120, "y"), (100, 121, "y"), (400, 400, "y"), (700, 700, "z")):
        found += going.take(taken(at_ms, room=room, at=T0 + time_ms))
    found += going.advance(T0 + 10_000)
    told = [(one["room"], one["n"], one.get("partial", False)) for one in data_of(found)]
    assert told == [("x", 1, False), ("y", 1, True), ("y", 1, False), ("z", 1, False)]
    assert going.counts["overflow"] == whole  # a sliding window holds x for as long as one can be opened with it


def test_what_is_over_is_held_no_more() -> None:
    """With room for one event alone."""
    moving = Fold(OWN.window(sliding(ms=100), open_max=1).aggregate(n=count()).emit("told"))
    joining = Fold(paid().join("sent", on="room", within_ms=100, held_max=1).emit("told"))
    for number in range(50):
        moving.take(taken(100 * number, room="x", at=T0 + 100 * number))
        joining.take(taken(101 * number, room="x"))
    assert moving.counts == joining.counts == {"taken": 50}
    last = moving.advance(T0 + 100_000)
    joining.advance(T0 + 100_000)
    assert len(last) == 1 and "signals" not in (moving.dump() + joining.dump()).decode()


@pytest.mark.parametrize(
    "made",
    [
        paid().join("sent", on="room", within_ms=100).emit("told"),
        paid().by("room").window(sliding(ms=100)).aggregate(n=fold(0, lambda n, e: n + 1)).emit("told"),
    ],
)
def test_so_many_bytes_are_held_and_no_more(made: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (joins, windows):
        monkeypatch.setattr(module, "HELD_BYTES_MAX", 3_000)
    going, text = Fold(made), "x" * 900
    for at_ms, overflow in ((0, 0), (1, 0), (2, 0), (3, 1), (500, 1), (501, 1), (502, 1), (503, 2)):
        going.take(taken(at_ms, room="x", text_=text))
        assert going.counts.get("overflow", 0) == overflow


def test_the_last_event_that_a_held_one_can_be_joined_with() -> None:
    made = flow("f").of("paid", at="at").join("sent", on="room", at="at", within_ms=100, lateness_ms=7)
    going = Fold(made.emit("told"))
    assert going.take(taken(0, room="x", at=T0)) == []
    (pair,) = going.take(taken(107, "sent", room="x", at=T0 + 100))
    assert json.loads(pair.data)["to_ms"] == T0 + 100
    assert going.take(taken(108, "sent", room="x", at=T0 + 100)) == []


@pytest.mark.parametrize(
    "made",
    [
        paid().filter(lambda e: e["missing"]).emit("told"),
        paid().map(lambda e: e["missing"]).emit("told"),
        paid().map(lambda e: 7).emit("told"),  # type: ignore[arg-type,return-value]
        paid().map(lambda e: {"x": object()}).emit("told"),
        paid().map(lambda e: {"x": "x" * bounds.RESULT_BYTES_MAX}).emit("told"),
        windowed().aggregate(n=fold(0, lambda kept, e: e["missing"])).emit("told"),
        windowed().aggregate(n=fold("", lambda kept, e: "x" * bounds.FOLDED_BYTES_MAX)).emit("told"),
    ],
)
def test_a_flow_stops_at_an_event_on_which_its_function_fails(made: Flow) -> None:
    going = Fold(made)
    with pytest.raises(FlowFailed, match="flow 'f' stops at signals/0@7") as failed:
        going.take(taken(7, room="x"))
    assert (failed.value.key, failed.value.position) == ("f", "signals/0@7")


def test_what_is_kept_of_another_flow_is_refused() -> None:
    kept = Fold(paid().emit("told")).dump()
    with pytest.raises(ValueError, match="something else"):
        Fold(paid().emit("other"), kept)
    with pytest.raises(ValueError):
        Fold(windowed().aggregate(n=count()).emit("told"), kept)


@pytest.mark.parametrize(
    "write",
    [
        lambda: tumbling(ms=0),
        lambda: tumbling(ms=-1),
        lambda: tumbling(ms=1.5),  # type: ignore[arg-type]
        lambda: tumbling(ms=True),
        lambda: tumbling(ms=bounds.MS_MAX + 1),
        lambda: hopping(ms=0, every_ms=1),
        lambda: hopping(ms=10, every_ms=0),
        lambda: hopping(ms=10, every_ms=11),
        lambda: hopping(ms=bounds.HOPS_MAX + 1, every_ms=1),
        lambda: sliding(ms=0),
        lambda: flow(""),
        lambda: flow("n" * 101),
        lambda: flow("f").of(),
        lambda: flow("f").of("a", "a"),
        lambda: flow("f").of("a").of("b"),
        lambda: flow("f").of("a" * 201),
        lambda: flow("f").of("\ud800"),
        lambda: flow("f").emit("told"),
        lambda: flow("f").filter(lambda e: True),
        lambda: paid().by("a", "b.a"),
        lambda: paid().by("causes"),
        lambda: paid().by("room").emit("told"),
        lambda: windowed().emit("told"),
        lambda: windowed().aggregate(),
        lambda: windowed().aggregate(room=count()),
        lambda: windowed().aggregate(from_ms=count()),
        lambda: windowed().aggregate(n=1),  # type: ignore[arg-type]
        lambda: windowed().filter(lambda e: True),
        lambda: windowed().window(WINDOW),
        lambda: windowed(lateness_ms=-1),
        lambda: windowed(late="never"),
        lambda: windowed(late="update"),
        lambda: windowed(open_max=0),
        lambda: windowed(open_max=bounds.OPEN_MAX + 1),
        lambda: paid().join("paid", on="id", within_ms=1),
        lambda: paid().join("sent", on="id", within_ms=0),
        lambda: paid().join("sent", on="id", within_ms=1, lateness_ms=-1),
        lambda: paid().join("sent", on=("a", "b", "c"), within_ms=1),  # type: ignore[arg-type]
        lambda: paid().join("sent", on="id", within_ms=1, late="update"),
        lambda: paid().join("sent", on="id", within_ms=1, held_max=0),
        lambda: flow("f").of("a", "b").join("c", on="id", within_ms=1),
        lambda: paid().emit("paid"),
        lambda: flow("f").of("told.late").emit("told"),
        lambda: paid().emit("told").filter(lambda e: True),
        lambda: paid().emit("told").emit("again"),
        lambda: flow("f").of(*[f"{n:0200}" for n in range(16)]).by(*[f"{n:0199}" for n in range(8)]).window(
            WINDOW).aggregate(n=count()).emit("told"),
        lambda: paid().since("tomorrow"),
        lambda: paid().since(datetime(2026, 1, 1)),
        lambda: fold(object(), lambda kept, e: kept),
        lambda: fold(0, 7),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused_where_it_is_written(write: Callable[[], Any]) -> None:
    with pytest.raises(BadInput):
        write()
