"""State at a point: the fold up to there, the same every time, and refused where the log does not reach."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from accord.replay import open as open_log
from accord.replay.source import open_source
from accord.replay.state import World, parse_point, rebuild, state_at
from accord.replay.verify import verify
from accord.schemas.messages.locks import AcquireLock, LeaseRenewed, ReleaseLock
from accord.schemas.messages.log import Tick
from accord.schemas.position import Position

from accord.errors import BadInput, ChainBroken, LogGap, NotFound
from tests.histories.play import START_MS, Play


@pytest.fixture
def play() -> Play:
    """Offsets 0 to 4: genesis; ada holds; bob waits; ada releases, bob holds; bob's lease ends."""
    play = Play(locks=1, signals=1)
    granted = play.send("room", AcquireLock("ada", "ada/1", 5_000, None), after_ms=1_000)
    play.send("room", AcquireLock("bob", "bob/1", 5_000, None), after_ms=1_000)
    play.send("room", ReleaseLock("ada", granted.decision.seq), after_ms=1_000)
    play.send("room", Tick(), after_ms=60_000)
    return play


def holder(world: World) -> str | None:
    (locks,) = [p for p in world.partitions if p["partition"] == "locks/0"]
    lock = locks["aggregates"].get("room")
    return lock["holders"][0]["agent"] if lock else None


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("locks/0@0", None),
        ("locks/0@1", "ada"),
        ("locks/0@2", "ada"),
        ("locks/0@3", "bob"),
        ("locks/0@4", None),
        ("locks.commands/0@0", "ada"),
        ("locks.commands/0@2", "bob"),
        (None, None),
    ],
)
def test_at_a_position(play: Play, point: str | None, expected: str | None) -> None:
    world = state_at(play, parse_point(point))
    assert holder(world) == expected
    assert len(world.partitions) == (2 if point is None else 1)


@pytest.mark.parametrize(("after_ms", "expected"), [(1_000, "ada"), (2_999, "ada"), (3_000, "bob"), (62_999, "bob")])
def test_at_a_time(play: Play, after_ms: int, expected: str) -> None:
    at = datetime.fromtimestamp(START_MS / 1_000, UTC) + timedelta(milliseconds=after_ms)
    world = state_at(play, at)
    assert holder(world) == expected and len(world.partitions) == 2


def test_the_rebuilt_state_is_the_one_that_decided(play: Play) -> None:
    assert rebuild(play, "locks", 0).canonical() == play.states["locks", 0].canonical()


def test_two_replays_are_equal_and_an_archive_gives_the_same(play: Play, tmp_path: Path) -> None:
    play.save(tmp_path / "a.accord")
    first = state_at(play)
    with open_log(tmp_path / "a.accord") as log:
        assert log.at().hash == log.at().hash == first.hash
        assert log.at("locks/0@1").hash != log.at("locks/0@2").hash
        assert log.verify().ok


@pytest.mark.parametrize(
    ("point", "says"),
    [
        ("locks/0@5", "ends with locks/0@4"),
        ("locks/7@0", "partitions 0 to 0"),
        ("auctions/0@0", "has no domain auctions"),
        ("locks.commands/0@9", "ends with locks.commands/0@3"),
        ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00.000Z is before the first decision"),
    ],
)
def test_a_point_outside_the_log(play: Play, point: str, says: str) -> None:
    with pytest.raises(NotFound, match=says):
        state_at(play, parse_point(point))


def test_a_position_in_a_partition_without_records(play: Play) -> None:
    play.log_events["signals", 0].clear()
    with pytest.raises(NotFound, match="the partition has no records"):
        state_at(play, Position("signals", 0, 0))


@pytest.mark.parametrize("text", ["1842", "locks/3", "yesterday", "2026-03-01T12:00:00", "2026-13-01T12:00:00Z"])
def test_what_is_no_point(text: str) -> None:
    with pytest.raises(BadInput):
        parse_point(text)


def test_a_decision_that_is_missing_is_named_by_its_offset(play: Play) -> None:
    del play.log_events["locks", 0][2]
    with pytest.raises(ChainBroken, match="Decision 3 is missing") as caught:
        state_at(play)
    assert caught.value.position == "locks/0@4"


def test_events_that_were_cut_are_named_by_their_offset(play: Play) -> None:
    del play.log_events["locks", 0][:2]
    with pytest.raises(LogGap, match="start at offset 2") as caught:
        state_at(play, Position("locks", 0, 1))
    assert caught.value.position == "locks/0@2"


def test_the_log_of_another_cluster(play: Play) -> None:
    play.cluster = "elsewhere"
    del play.log_events["locks", 0][2:]
    with pytest.raises(ChainBroken, match="another cluster"):
        state_at(play, domains=("locks",))


def test_commands_need_not_be_there(play: Play) -> None:
    del play.log_commands["locks", 0][:2]
    assert holder(state_at(play, Position("locks", 0, 0, commands=True))) == "ada"


@pytest.mark.parametrize(
    ("source", "error"), [("no_such_folder.accord", NotFound), ("nonsense", BadInput), ("localhost", BadInput)]
)
def test_what_is_no_source(source: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        open_source(source)


def test_a_folder_that_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is no archive"):
        open_source(str(tmp_path))


def test_a_decision_that_does_not_fit_the_state_is_named(play: Play) -> None:
    """Forged and chained to fit: a renewal of a lease that nobody holds."""
    state = play.states["locks", 0]
    renewed = [LeaseRenewed("ada", 2, 5_000, 1)]
    play.log_events["locks", 0].append(play.log_events["locks", 0][-1])
    forged = state._decision(9, "x", play.now_ms, 1, state.clock, b"", b"", b"room", renewed)
    headers = forged.decision.headers("x", b"x", None)
    last = play.log_events["locks", 0][-1]
    play.log_events["locks", 0][-1] = last._replace(offset=5, value=forged.decision.value, headers=headers, key=b"room")
    with pytest.raises(ChainBroken, match="locks/0@5: the decision cannot be taken in"):
        state_at(play)
    report = verify(play, every=True)
    assert report.divergences[-1].position == "locks/0@5" and "LeaseRenewed" in str(report.divergences[-1].got)
