"""Consistent cuts: nothing stands in one without what it had been told of."""

from pathlib import Path

import pytest
from accord.replay.cut import cut_at, parse_cut
from accord.replay.source import Source, open_source
from accord.replay.state import accepted, parse_point, state_at
from accord.replay.verify import verify
from accord.schemas.clock import VectorClock
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.messages.signals import EmitSignal

from accord import replay
from accord.errors import BadInput, NotFound
from tests.histories.play import Play
from tests.histories.record import HERE


def told() -> Play:
    """Offsets: signals/0@1 is told to bob, who then asks for a room: locks/0@1 rests on it. eve knows of neither."""
    play = Play(cluster="told", locks=1, signals=1)
    signal = play.send("hello", EmitSignal("ada", "{}", ()), domain="signals")
    play.clock = play.clock.merge(VectorClock.decode(signal.decision.clock))
    play.send("room", AcquireLock("bob", "bob/1", 5_000, None))
    play.clock = VectorClock()
    play.send("other", AcquireLock("eve", "eve/1", 5_000, None))
    return play


def is_consistent(log: Source, world: dict[str, int]) -> bool:
    """Judged by the clocks of all decisions in it, one by one."""
    counts: dict[str, int] = {}
    for domain, number in log.all_partitions():
        for decision in accepted(log, domain, number):
            if decision.seq <= world.get(f"{domain}/{number}", 0):
                own = VectorClock.decode(decision.clock).entries.get(f"{domain}/{number}", 0)
                counts[f"{domain}/{number}"] = own
    for domain, number in log.all_partitions():
        for decision in accepted(log, domain, number):
            if decision.seq <= world.get(f"{domain}/{number}", 0):
                for name, count in VectorClock.decode(decision.clock).entries.items():
                    if "#" not in name and count > counts.get(name, -1):
                        return False
    return True


def test_what_was_told_comes_along_whatever_its_time_says() -> None:
    play = told()
    log = play.log_events["locks", 0]
    assert str(cut_at(play, parse_point("locks/0@1"))) == "locks/0@1,signals/0@1"
    early = play.states["locks", 0]
    del log[1:]
    play.states["locks", 0] = type(early)(early.identity, early.domain)
    log.clear()
    play.record(("locks", 0), play.states["locks", 0].open(1, "log_append"))
    commands = play.log_commands["locks", 0]
    play.log_commands["locks", 0] = []
    for record in commands:  # the same commands at a broker whose clock is slow: before the signal, by time
        slow = record._replace(timestamp=record.timestamp - 60_000)
        play.log_commands["locks", 0].append(slow)
        play.record(("locks", 0), play.states["locks", 0].decide(slow))
    assert str(cut_at(play, parse_point("locks/0@1"))) == "locks/0@1,signals/0@1"
    assert str(cut_at(play, parse_point("locks/0@0"))) == "locks/0@0,signals/0@0"


@pytest.mark.parametrize("name", ["hotel", "embedded"])
def test_every_cut_of_a_history_is_consistent(name: str) -> None:
    with open_source(HERE / f"{name}.accord") as log:
        for where in log.all_partitions()[:4]:
            _, end = log.bounds(*where)
            for offset in range(0, end, max(1, end // 2)):
                cut = cut_at(log, parse_point(f"{where[0]}/{where[1]}@{offset}"))
                own = cut.at(*where)
                assert own is not None and own.offset >= offset
                world = state_at(log, cut)
                assert is_consistent(log, {state["partition"]: state["seq"] for state in world.partitions})
                assert parse_cut(log, str(cut)) == cut and state_at(log, parse_cut(log, world.at)).hash == world.hash


def test_the_library_has_it_by_method() -> None:
    with replay.open(HERE / "hotel.accord") as log:
        cut = log.cut("locks/0@20")
        assert log.at(cut).hash == log.at(str(cut)).hash == state_at(log.source, cut).hash


def test_the_end_is_a_cut_and_its_state_that_of_the_log() -> None:
    with open_source(HERE / "hotel.accord") as log:
        assert state_at(log, cut_at(log, None)).hash == state_at(log).hash


def test_a_cut_that_leaves_out_what_it_rests_on_is_refused() -> None:
    play = told()
    with pytest.raises(BadInput, match="locks/0 had been told of signals/0@1, which is left out"):
        parse_cut(play, "locks/0@1,signals/0@0")
    with pytest.raises(BadInput, match="which is left out"):
        parse_cut(play, "locks/0@1")
    world = state_at(play, parse_cut(play, "signals/0@1"))
    assert [state["seq"] for state in world.partitions] == [0, 2]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("locks/0@1,locks/0@2", BadInput),
        ("locks.commands/0@1,signals/0@1", BadInput),
        ("locks/0@9,signals/0@1", NotFound),
        ("locks/0@1,now", BadInput),
    ],
)
def test_what_is_no_cut(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_cut(told(), text)


def test_a_clock_that_names_what_the_log_lacks_is_no_endless_search(tmp_path: Path) -> None:
    play = told()
    play.clock = VectorClock({"signals/0": 99}, 99)
    play.send("room", AcquireLock("kim", "kim/1", 5_000, None))
    assert str(cut_at(play, None)) == "locks/0@3,signals/0@1"
    assert str(parse_cut(play, "locks/0@3,signals/0@1")) == "locks/0@3,signals/0@1"
    assert verify(play).ok
