"""Checkpoints: they save the way and change nothing; what does not fit is passed over and told."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from accord.replay import checkpoints as module
from accord.replay.checkpoints import Checkpoints, rebuild_checkpoints
from accord.replay.source import Source, open_source
from accord.replay.state import parse_point, state_at
from accord.schemas.messages.locks import AcquireLock, ReleaseLock
from accord.schemas.messages.log import Tick
from accord.schemas.position import Position
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import BadInput
from tests.counts import examples, only_long
from tests.histories.play import Play
from tests.histories.record import HERE, SOUND_NAMES


@pytest.fixture(autouse=True)
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_MIN", 1)


def rooms(count: int = 60) -> Play:
    play = Play(cluster="rooms", locks=2)
    for number in range(count):
        room, agent = f"room_{number % 7}", f"agent_{number % 3}"
        granted = play.send(room, AcquireLock(agent, f"{agent}/{number}", 5_000, None))
        if number % 3:
            play.send(room, ReleaseLock(agent, granted.decision.seq))
    return play


def points(log: Source) -> list[Position]:
    ends = {where: log.bounds(*where)[1] for where in log.all_partitions()}
    return [Position(*where, offset) for where, end in ends.items() for offset in range(0, end, max(1, end // 4))]


@pytest.mark.parametrize("name", SOUND_NAMES)
def test_a_checkpoint_and_the_tail_are_the_full_replay(name: str, tmp_path: Path) -> None:
    with open_source(HERE / f"{name}.accord") as log:
        made = rebuild_checkpoints(log, Checkpoints(tmp_path), every=7)
        assert sum(one.written for one in made) > 2
        for point in [*points(log), parse_point("2100-01-01T00:00:00Z"), None]:
            full, short = (state_at(log, point, checkpoints=one) for one in (None, Checkpoints(tmp_path)))
            assert full.partitions == short.partitions and full.hash == short.hash and not short.unusable


def test_the_nearest_is_taken(tmp_path: Path) -> None:
    play = rooms()
    rebuild_checkpoints(play, Checkpoints(tmp_path), every=10)
    read: list[int] = []
    whole = play.read
    play.read = lambda *where, **how: (read.append(where[2]), whole(*where, **how))[1]  # type: ignore[method-assign]
    for at, expected in (("locks/0@25", 19), ("locks/0@19", 19), ("locks/0@18", 9), ("locks/0@3", 0)):
        read.clear()
        state_at(play, parse_point(at), checkpoints=Checkpoints(tmp_path))
        assert read[-1] == expected, at
    at_ms = next(record.timestamp for record in play.log_events["locks", 0] if record.offset == 25)
    partition, _ = Checkpoints(tmp_path).nearest(play, "locks", 0, Position("locks", 0, 20, commands=True))
    assert partition.head.offset == 19 and partition.now_ms < at_ms


def test_made_again_only_what_is_missing(tmp_path: Path) -> None:
    play = rooms()
    first = rebuild_checkpoints(play, Checkpoints(tmp_path), every=10)
    again = rebuild_checkpoints(play, Checkpoints(tmp_path), every=10)
    assert [one.written for one in again] == [0, 0] and [one.kept for one in again] == [one.written for one in first]
    gone = sorted(tmp_path.glob("locks-0@*"))[1]
    before = gone.read_bytes()
    gone.unlink()
    assert [one.written for one in rebuild_checkpoints(play, Checkpoints(tmp_path), every=10)] == [1, 0]
    assert gone.read_bytes() == before


def damage_edit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def damage_head(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[36:60] = bytes(24)
    path.write_bytes(content)


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_edit, damage_cut, damage_head, damage_empty])
def test_a_damaged_one_is_passed_over_for_the_one_before_and_told(damage: object, tmp_path: Path) -> None:
    play = rooms()
    rebuild_checkpoints(play, Checkpoints(tmp_path), every=10)
    bad = tmp_path / "locks-0@000000000029.checkpoint"
    damage(bad)  # type: ignore[operator]
    partition, unusable = Checkpoints(tmp_path).nearest(play, "locks", 0, Position("locks", 0, 35))
    assert partition.head.offset == 19 and len(unusable) == 1 and unusable[0].startswith(f"{bad}: it is damaged")
    world = state_at(play, Position("locks", 0, 35), checkpoints=Checkpoints(tmp_path))
    assert world.unusable == tuple(unusable) and world.hash == state_at(play, Position("locks", 0, 35)).hash
    again = rebuild_checkpoints(play, Checkpoints(tmp_path), every=10)
    assert again[0].written == 1 and again[0].unusable[0].startswith(f"{bad}: it is damaged")
    assert not state_at(play, Position("locks", 0, 35), checkpoints=Checkpoints(tmp_path)).unusable


def test_one_of_another_log_or_release_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play, other = rooms(), rooms()
    other.cluster = "elsewhere"
    rebuild_checkpoints(play, Checkpoints(tmp_path), every=50)
    _, unusable = Checkpoints(tmp_path).nearest(other, "locks", 1, None)
    assert unusable and all("another log" in problem for problem in unusable)
    shorter = rooms(20)
    _, unusable = Checkpoints(tmp_path).nearest(shorter, "locks", 0, None)
    assert unusable and all("does not hold decision" in problem for problem in unusable)
    monkeypatch.setattr("accord.__version__", "0.0.9")
    _, unusable = Checkpoints(tmp_path).nearest(play, "locks", 0, None)
    assert unusable and all("release 0.1.0 made it" in problem for problem in unusable)


def test_a_log_that_was_changed_before_a_checkpoint_is_not_vouched_for(tmp_path: Path) -> None:
    """The decision that a checkpoint names is read from the log; it covers all before it."""
    play, changed = rooms(), rooms()
    rebuild_checkpoints(play, Checkpoints(tmp_path), every=10)
    record = changed.log_events["locks", 0][19]
    changed.log_events["locks", 0][19] = record._replace(value=record.value + b"x" if record.value else b"")
    _, unusable = Checkpoints(tmp_path).nearest(changed, "locks", 0, Position("locks", 0, 25))
    assert len(unusable) == 1 and "locks-0@000000000019" in unusable[0] and "should hold decision 20" in unusable[0]


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_MIN", 100)
    with pytest.raises(BadInput, match="100 decisions apart"):
        rebuild_checkpoints(rooms(), Checkpoints(tmp_path), every=99)
    monkeypatch.setattr(module, "EVERY_MIN", 1)
    monkeypatch.setattr(module, "CHECKPOINTS_MAX", 3)
    with pytest.raises(BadInput, match="greater --every"):
        rebuild_checkpoints(rooms(), Checkpoints(tmp_path / "more"), every=2)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        rebuild_checkpoints(rooms(), Checkpoints(tmp_path / "file" / "under"), every=10)


RUN = """
import sys, msgspec
from accord.replay.checkpoints import Checkpoints
from accord.replay.source import open_source
from accord.replay.state import rebuild, state_at
if __name__ == "__main__":
    _, archive, step, processes, checkpoints = sys.argv
    with open_source(archive) as log:
        one_by_one = {where: rebuild(log, *where).canonical() for where in log.all_partitions()[:: int(step)]}
        world = state_at(log, processes=int(processes), checkpoints=Checkpoints(checkpoints))
    assert [one_by_one[where] for where in sorted(one_by_one)] == list(world.partitions)
    print(world.hash, msgspec.json.encode(world.partitions).decode())
"""


@pytest.mark.parametrize(
    ("seed", "step", "processes", "checkpoints"),
    [
        ("1", "-1", "1", "some"),
        pytest.param("12345", "-1", "2", "none", marks=only_long),
        pytest.param("0", "1", "2", "some", marks=only_long),
    ],
)
def test_every_process_order_and_run_gives_the_same_bytes(
    seed: str, step: str, processes: str, checkpoints: str, tmp_path: Path
) -> None:
    play = rooms(30)
    play.save(tmp_path / "a.accord")
    rebuild_checkpoints(play, Checkpoints(tmp_path / "some"), every=10)
    script = tmp_path / "run.py"
    script.write_text(RUN)
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "a.accord"), step, processes, str(tmp_path / checkpoints)],
        env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    here = state_at(play)
    assert run.stdout == f"{here.hash} {msgspec.json.encode(here.partitions).decode()}\n"


@given(
    steps=st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["acquire", "release", "tick"])), max_size=40),
    every=st.integers(1, 9),
    share=st.floats(0, 1),
)
@examples(25)
def test_whatever_happened_a_checkpoint_and_the_tail_are_the_full_replay(
    steps: list[tuple[int, str]], every: int, share: float
) -> None:
    play = Play(cluster="any", locks=2)
    tokens: dict[str, int] = {}
    for number, (room, what) in enumerate(steps):
        name = f"room_{room}"
        if what == "acquire":
            tokens[name] = play.send(name, AcquireLock("ada", f"ada/{number}", 500, None), after_ms=200).decision.seq
        elif what == "release":
            play.send(name, ReleaseLock("ada", tokens.get(name, 1)), after_ms=200)
        else:
            play.send(name, Tick(), after_ms=200)
    with TemporaryDirectory() as place:
        rebuild_checkpoints(play, Checkpoints(place), every=every)
        for where in play.all_partitions():
            point = Position(*where, int(share * (play.bounds(*where)[1] - 1)))
            assert state_at(play, point, checkpoints=Checkpoints(place)).partitions == state_at(play, point).partitions
        assert state_at(play, checkpoints=Checkpoints(place)).hash == state_at(play).hash
