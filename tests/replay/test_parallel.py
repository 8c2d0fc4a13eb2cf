"""Partitions side by side give what one after the other gives, errors included."""

import os
import signal
from pathlib import Path

import pytest
from accord.replay.parallel import each
from accord.replay.source import Source, open_source
from accord.replay.state import state_at
from accord.replay.verify import verify
from accord.schemas.messages.locks import AcquireLock

from accord.errors import ChainBroken, Unavailable
from tests.histories.play import Play
from tests.histories.record import HERE


@pytest.mark.parametrize("name", ["hotel", "wrong_grant"])
def test_the_same_as_in_one_process(name: str) -> None:
    with open_source(HERE / f"{name}.accord") as log:
        one, two = verify(log, every=True), verify(log, every=True, processes=2)
        assert one.divergences == two.divergences
        assert (one.commands, one.events, one.skipped) == (two.commands, two.events, two.skipped)
        assert state_at(log).hash == state_at(log, processes=2).hash == state_at(log, processes=0).hash


def test_an_error_comes_whole_from_another_process(tmp_path: Path) -> None:
    play = Play(locks=2)
    for number in range(9):
        play.send(f"room_{number}", AcquireLock("ada", f"ada/{number}", 5_000, None))
    del play.log_events["locks", 1][2]
    play.save(tmp_path / "a.accord")
    with open_source(tmp_path / "a.accord") as log:
        with pytest.raises(ChainBroken) as here:
            state_at(log)
        with pytest.raises(ChainBroken) as there:
            state_at(log, processes=2)
    assert there.value.as_json() == here.value.as_json()


def die(source: Source, domain: str, partition: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_was_killed_is_no_hang() -> None:
    with open_source(HERE / "hotel.accord") as log, pytest.raises(Unavailable, match="was killed"):
        each(log, log.all_partitions(), die, 2)
