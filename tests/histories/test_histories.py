"""Today's code must verify the logs of every release; the one that is wrong on purpose must be caught and named."""

import json
from pathlib import Path

import pytest
from accord.replay.source import open_source
from accord.replay.state import state_at
from accord.replay.verify import verify

from tests.histories.record import HERE, HISTORIES, STATES, WRONG

SOUND = sorted(path for path in HERE.glob("*.accord") if path.stem not in WRONG)


@pytest.mark.parametrize("path", SOUND, ids=lambda path: path.stem)
def test_todays_code_verifies_it(path: Path) -> None:
    with open_source(path) as log:
        report = verify(log)
        world = state_at(log)
    assert report.ok and report.commands > 10 and not report.taken and not report.undecided, report
    assert world.hash == json.loads(STATES.read_text())[path.name], "the same log no longer gives the same state"


def test_the_wrong_one_is_caught_and_named() -> None:
    with open_source(HERE / "wrong_grant.accord") as log:
        report = verify(log)
    (divergence,) = report.divergences
    assert (divergence.position, divergence.key, divergence.causes) == ("locks/0@2", "room_1", ("locks.commands/0@1",))
    assert [event["event"] for event in divergence.expected["events"]] == ["LockQueued"]
    assert [event["event"] for event in divergence.got["events"]] == ["LockGranted"]


@pytest.mark.parametrize("name", sorted(HISTORIES))
def test_the_script_records_it_again_to_the_byte(name: str, tmp_path: Path) -> None:
    HISTORIES[name]().save(tmp_path / name)
    for file in (HERE / f"{name}.accord").iterdir():
        assert file.read_bytes() == (tmp_path / name / file.name).read_bytes(), file.name
