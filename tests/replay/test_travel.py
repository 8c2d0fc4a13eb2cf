"""Walking through a log: every place is a consistent cut with the state that a rebuild gives; going back is bounded."""

from datetime import UTC, datetime
from random import Random

import pytest
from accord.replay.difference import changes, difference
from accord.replay.source import Source, open_source
from accord.replay.state import parse_point, state_at
from accord.replay.timeline import Filter, timeline
from accord.replay.travel import CHECKPOINTS_MAX, Journey
from accord.schemas.messages.locks import AcquireLock, LeaseRenewed, ReleaseLock
from accord.schemas.position import Position
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import ChainBroken, NotFound
from tests.counts import examples
from tests.histories.crowd import Crowd, token_of
from tests.histories.play import START_MS, Play
from tests.histories.record import HERE, SOUND_NAMES
from tests.replay.test_causality import random_run


def states(journey: Journey) -> list[dict[str, object]]:
    return [partition.canonical() for partition in journey._partitions.values()]


def all_states(source: Source) -> list[tuple[str | None, list[dict[str, object]]]]:
    """The position and the state of everything at each place of a walk to the end."""
    journey = Journey(source)
    found = [(None, states(journey))]
    while (stop := journey.forward()) is not None:
        found.append((stop.position, states(journey)))  # type: ignore[arg-type]
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("name", SOUND_NAMES)
def test_at_the_end_the_state_is_that_of_a_rebuild_and_every_event_was_met(name: str) -> None:
    with open_source(HERE / f"{name}.accord") as source:
        journey, met = Journey(source), []
        while (stop := journey.forward()) is not None:
            met += [event.id for event in stop.events]
        assert states(journey) == list(state_at(source).partitions)
        assert sorted(met) == sorted(event.id for event in timeline(source, Filter()))


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 5), st.integers(1, 6))
@examples(15)
def test_wherever_one_goes_the_state_is_the_same(seed: int, count: int, recent: int, every: int) -> None:
    """Forward, back, far back: with few recent decisions and many checkpoints, and the other way round."""
    source, chance = random_run(Random(seed), 4, count), Random(seed)
    places = all_states(source)
    journey = Journey(source, recent_max=recent, checkpoint_every=every)
    for _ in range(12):
        number = chance.randrange(len(places) + 3)
        stop = journey.to_number(number) if chance.random() < 0.7 else journey.back()
        position, state = places[journey.number]
        assert (None if stop is None else stop.position) == position
        assert states(journey) == state


@given(st.integers(0, 2**32), st.integers(1, 40))
@examples(10)
def test_each_place_is_a_consistent_cut(seed: int, count: int) -> None:
    source = random_run(Random(seed), 4, count)
    truth, seen = source.truth(), set()
    journey = Journey(source)
    while (stop := journey.forward()) is not None:
        seen.add(stop.position)
        decisions = {one for one in truth[stop.position] if ".commands" not in one}
        assert decisions <= seen, f"{stop.position} came before what it rests on"


def test_a_partition_whose_broker_is_ahead_does_not_make_effects_come_first() -> None:
    """By times alone, what ada did because of the signal would come before it."""
    crowd = Crowd(locks=1, signals=1)
    crowd.now_ms += 60_000
    called = crowd.emit("desk", "call")
    crowd.tell("ada", called, "signals", "call")
    crowd.now_ms -= 60_000
    crowd.acquire("ada", "room_12")
    journey = Journey(crowd)
    order = []
    while (stop := journey.forward()) is not None:
        order.append(stop.position)
    assert order.index("signals/0@1") < order.index("locks/0@1")
    times = [event.position for event in timeline(crowd, Filter())]
    assert times.index("signals/0@1") > times.index("locks/0@1"), "the test shows nothing: by time it is the same"


def test_going_back_folds_no_more_than_lies_after_a_checkpoint() -> None:
    play = Play(locks=1)
    for number in range(600):
        play.send(f"r{number % 7}", AcquireLock("ada", f"ada/{number}", 1_000, 0), after_ms=700)
    journey = Journey(play, recent_max=20, checkpoint_every=50)
    journey.to(None)
    assert journey.folded == journey.number == 601
    for number in range(600, 581, -1):
        journey.to_number(number)
    assert journey.folded == 601, "the recent ones are taken back, not folded again"
    for number in (560, 300, 299, 120, 1):
        before = journey.folded
        journey.to_number(number)
        assert journey.folded - before <= 50, number


def test_checkpoints_are_bounded_and_made_less_often() -> None:
    play = Play(locks=1)
    for number in range(4 * CHECKPOINTS_MAX):
        play.send("r", AcquireLock("ada", f"ada/{number}", 1_000, 0))
    journey = Journey(play, recent_max=1, checkpoint_every=1)
    journey.to(None)
    assert len(journey._checkpoints) <= CHECKPOINTS_MAX + 1 and journey._every > 1
    before = journey.folded
    journey.to_number(50)
    assert journey.folded - before <= journey._every
    assert states(journey) == all_states(play)[50][1]


@pytest.fixture
def play() -> Play:
    play = Play(locks=1, signals=1)
    granted = play.send("room_1", AcquireLock("ada", "ada/1", 5_000, None), task="trip")
    play.send("room_1", AcquireLock("bob", "bob/1", 5_000, None))
    play.send("room_2", AcquireLock("eve", "eve/1", 5_000, None))
    play.send("room_1", ReleaseLock("ada", granted.decision.seq))
    return play


@pytest.mark.parametrize(
    ("point", "position", "holder"),
    [
        ("locks/0@2", "locks/0@2", "ada"),
        ("locks.commands/0@1", "locks/0@2", "ada"),
        ("2026-02-25T06:13:20.035Z", "locks/0@3", "ada"),
        (None, "locks/0@4", "bob"),
    ],
)
def test_points(play: Play, point: str | None, position: str, holder: str) -> None:
    assert START_MS == 1_772_000_000_000
    journey = Journey(play)
    for _ in range(2):  # from the beginning, then back from the end
        stop = journey.to(parse_point(point))
        assert stop is not None and stop.position == position
        assert [view.holders[0].agent for view in journey.who("room_1")] == [holder]
        journey.to(None)


def test_to_the_next_decision_on_something(play: Play) -> None:
    journey = Journey(play)
    for what, position in [("room_2", "locks/0@3"), ("LockReleased", "locks/0@4"), ("room_2", None)]:
        stop = journey.to_next(what)
        assert (None if stop is None else stop.position) == position
    journey.to_number(0)
    assert [s and s.position for s in (journey.to_next("bob"), journey.to_next("bob"), journey.to_next("bob"))] == [
        "locks/0@2", "locks/0@4", None,
    ]  # fmt: skip
    journey.to_number(0)
    stop = journey.to_next("trip")
    assert stop is not None and stop.position == "locks/0@1"


def test_what_a_decision_changed(play: Play) -> None:
    journey = Journey(play)
    journey.to(parse_point("locks/0@4"))
    before, after = journey.changed()
    assert before is not None and after is not None
    assert (before["holders"][0]["agent"], after["holders"][0]["agent"]) == ("ada", "bob")
    assert journey.counts() == {"locks": 2, "signals": 0}
    assert list(journey.state("room_2")) == ["locks"] and journey.state("room_9") == {}


def test_points_that_are_not_there(play: Play) -> None:
    journey = Journey(play, ("locks",))
    with pytest.raises(NotFound):
        journey.to(parse_point("locks/0@9"))
    with pytest.raises(NotFound, match="not looked at"):
        journey.to(parse_point("signals/0@0"))
    with pytest.raises(NotFound):
        Journey(play, ("tasks",))
    assert journey.to(datetime(2020, 1, 1, tzinfo=UTC)) is not None, "the partition was opened before all times"


def test_a_decision_of_nobody_is_named(play: Play) -> None:
    """Forged and chained to fit: a renewal of a lease that nobody holds."""
    state, log = play.states["locks", 0], play.log_events["locks", 0]
    renewed = [LeaseRenewed("ada", 2, 5_000, 1)]
    forged = state._decision(9, "x", play.now_ms, 1, state.clock, b"", b"", b"room", renewed).decision
    headers = forged.headers("x", b"x", None)
    log.append(log[-1]._replace(offset=5, value=forged.value, headers=headers, key=b"room"))
    journey = Journey(play)
    with pytest.raises(ChainBroken, match="locks/0@5: the decision cannot be taken in"):
        journey.to(None)
    assert journey.number == 6, "all before it was taken in"


# -- what differs


def test_what_differs_between_two_points(play: Play) -> None:
    found = difference(play, parse_point("locks/0@2"), None)
    assert (found.a, found.b, found.decisions) == ("locks/0@2", "end", {"locks/0": 2})
    assert [(one.key, one.kind) for one in found.aggregates] == [("room_1", "changed"), ("room_2", "added")]
    by_path = {change.path: (change.before, change.after) for change in found.aggregates[0].changes}
    assert by_path["holders[0]"][1] is None or by_path["holders[0]"][1]["agent"] == "bob"
    assert by_path["waiters[0]"][1] is None and by_path["waiters[0]"][0]["agent"] == "bob"
    back = difference(play, None, parse_point("locks/0@2"))
    assert back.decisions == {"locks/0": -2}
    assert [(one.key, one.kind) for one in back.aggregates] == [("room_1", "changed"), ("room_2", "removed")]


def test_a_point_does_not_differ_from_itself() -> None:
    with open_source(HERE / "hotel.accord") as source:
        for text in ("locks/2@50", "2026-02-25T06:13:40Z", None):
            found = difference(source, parse_point(text), parse_point(text))
            assert (found.aggregates, found.decisions, found.rules) == ((), {}, {})


def test_a_position_is_meant_to_the_record_where_several_have_one_time() -> None:
    play = Play(locks=1)
    for number in range(4):
        play.send(f"r{number}", AcquireLock("ada", "ada/1", 5_000, None), after_ms=0)
    found = difference(play, parse_point("locks/0@1"), parse_point("locks/0@3"))
    assert [(one.key, one.kind) for one in found.aggregates] == [("r1", "added"), ("r2", "added")]


def test_a_position_stands_for_other_partitions_up_to_its_time() -> None:
    crowd = Crowd(locks=2)
    keys = [f"r{number}" for number in range(8)]
    token = token_of(crowd.acquire("ada", keys[0]), "ada")
    for key in keys[1:]:
        crowd.acquire("bob", key)
    crowd.release("ada", keys[0], token)
    number = crowd._where("locks", keys[0])[1]
    last = Position("locks", number, crowd.log_events["locks", number][-1].offset)
    found = difference(crowd, Position("locks", number, 1), last)
    assert {one.key: one.kind for one in found.aggregates} == {keys[0]: "removed"} | dict.fromkeys(keys[1:], "added")


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}}, ["a.b", "a.c"]),
        ({"a": [1, 2, 3]}, {"a": [1, 3]}, ["a[1]"]),
        ({"a": [{"request": "x", "n": 1}]}, {"a": [{"request": "x", "n": 2}]}, ["a[0].n"]),
        ({"a": [{"request": "x"}]}, {"a": [{"request": "y"}]}, ["a[0]", "a[0]"]),
        ({"a": ({"request": "x"},)}, {"a": [{"request": "w"}, {"request": "x"}]}, ["a[0]"]),
        ({"a": None}, {"a": []}, ["a"]),
    ],
)
def test_fields_that_differ(before: dict[str, object], after: dict[str, object], paths: list[str]) -> None:
    assert [change.path for change in changes(before, after)] == paths
