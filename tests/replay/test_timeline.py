"""The timeline: decoded, merged by time, filtered; its keys are an interface."""

import msgspec
import pytest
from accord.replay.state import parse_point
from accord.replay.timeline import Filter, TimelineEvent, timeline
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.messages.log import Tick
from accord.schemas.messages.signals import EmitSignal

from accord.errors import NotFound, SchemaError
from tests.histories.play import START_MS, Play


@pytest.fixture
def play() -> Play:
    play = Play(locks=3, signals=1)
    play.send("room_1", AcquireLock("ada", "ada/1", 5_000, None), task="trip")
    play.send("booked", EmitSignal("ada", '{"result": [1, null]}', ("start",)), domain="signals", task="trip")
    play.send("room_2", AcquireLock("bob", "bob/1", 5_000, 0))
    play.send("room_1", AcquireLock("bob", "bob/2", 5_000, None))
    play.send("room_1", Tick(), after_ms=6_000)
    return play


def listed(play: Play, **conditions: object) -> list[TimelineEvent]:
    return list(timeline(play, Filter(**conditions)))  # type: ignore[arg-type]


def test_events_come_by_time(play: Play) -> None:
    names = [event.event for event in listed(play) if event.event != "PartitionOpened"]
    assert names == ["LockGranted", "SignalEmitted", "LockGranted", "LockQueued", "LeaseExpired", "LockGranted"]


def test_an_event_shows_all_there_is_to_know(play: Play) -> None:
    (event,) = listed(play, domains=("signals",), key="booked")
    assert msgspec.json.decode(msgspec.json.encode(event)) == {
        "id": "signals/0:0",
        "position": "signals/0@1",
        "time": "2026-02-25T06:13:20.020Z",
        "event": "SignalEmitted",
        "key": "booked",
        "agent": "ada",
        "task_id": "trip",
        "data": {"data": {"result": [1, None]}, "trail": ["start"]},
        "clock": {"ada#1": 2, "signals/0": 3},
        "cause": "signals.commands/0@0",
        "command_id": "c2",
    }


def test_the_events_of_one_decision_share_its_position_and_differ_in_id(play: Play) -> None:
    expired, granted = listed(play, key="room_1")[-2:]
    assert expired.position == granted.position
    assert granted.id == f"{expired.id}#1"


def test_the_genesis_has_no_cause_and_no_time(play: Play) -> None:
    first = listed(play, domains=("signals",))[0]
    assert (first.event, first.cause, first.time) == ("PartitionOpened", None, None)


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        ({"agent": "bob"}, 3),
        ({"task_id": "trip"}, 2),
        ({"event": "LockGranted"}, 3),
        ({"event": "Lock"}, 0),
        ({"key": "room_2"}, 1),
        ({"agent": "bob", "event": "LockGranted", "key": "room_2"}, 1),
        ({"start": parse_point("2026-02-25T06:13:20.030Z")}, 4),
        ({"agent": "nobody"}, 0),
    ],
)
def test_filters(play: Play, conditions: dict[str, object], count: int) -> None:
    assert START_MS == 1_772_000_000_000
    assert len(listed(play, **conditions)) == count


def test_from_a_position_of_its_partition(play: Play) -> None:
    whole = list(listed(play, key="room_1"))
    start = parse_point(whole[1].position)
    assert listed(play, key="room_1", start=start) == whole[1:]
    assert listed(play, domains=("signals",), start=start) == listed(play, domains=("signals",))
    with pytest.raises(NotFound):
        listed(play, start=parse_point("locks/0@999"))
    with pytest.raises(NotFound):
        listed(play, domains=("auctions",))


def test_a_value_that_cannot_be_decoded_is_named(play: Play) -> None:
    """A decision of a later release, accepted by the chain, whose schema this one does not know."""
    state = play.states["signals", 0]
    decided = state.lost(1, 3)
    unknown = msgspec.structs.replace(decided.decision, value=b"\xc3\x01unknown!")
    log = play.log_events["signals", 0]
    log.append(log[-1]._replace(offset=2, value=unknown.value, headers=unknown.headers("x", b"x", None)))
    with pytest.raises(SchemaError, match="signals/0@2: no signals"):
        listed(play)
