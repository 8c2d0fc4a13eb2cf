"""On archives: `accord replay verify --junit`, `rebuild`, `state --cut`, `events list --to`, `events export`."""

import pickle
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from accord.replay import checkpoints
from accord.replay.source import ArchiveSource, open_source
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.messages.signals import EmitSignal

from accord.cli import progress
from tests.cli.support import Ran
from tests.histories.play import Play


@pytest.fixture(autouse=True)
def _near(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoints, "EVERY_MIN", 1)


@pytest.fixture
def play() -> Play:
    play = Play(cluster="cli", locks=1, signals=1)
    for number in range(9):
        play.send(f"room_{number % 2}", AcquireLock("ada", f"ada/{number}", 5_000, 0), task=f"trip-{number % 2}")
    play.send("hello", EmitSignal("ada", "{}", ()), domain="signals")
    return play


@pytest.fixture
def archive(play: Play, tmp_path: Path) -> str:
    play.save(tmp_path / "a.accord")
    return str(tmp_path / "a.accord")


def suite(file: Path) -> dict[str, str | None]:
    found = ET.parse(file).getroot().find("testsuite")
    assert found is not None
    return {name: found.get(name) for name in ("tests", "failures", "errors")}


def test_verify_tells_a_ci(archive: str, play: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.xml"
    assert Ran(capsys, "replay", "verify", archive, "--junit", str(file)).code == 0
    assert suite(file) == {"tests": "2", "failures": "0", "errors": "0"}

    log = play.log_events["locks", 0]
    log[4] = log[4]._replace(value=log[2].value)
    play.save(tmp_path / "edited.accord")
    ran = Ran(capsys, "replay", "verify", str(tmp_path / "edited.accord"), "--junit", str(file))
    assert ran.code == 1 and suite(file) == {"tests": "2", "failures": "1", "errors": "0"}
    assert "edited: locks/0@4 was changed after it was written" in ran.out
    assert "what led there, oldest first" in ran.out and "locks.commands/0@3" in ran.out

    del log[:2]
    play.save(tmp_path / "cut.accord")
    ran = Ran(capsys, "replay", "verify", str(tmp_path / "cut.accord"), "--junit", str(file))
    assert ran.code == 3 and suite(file) == {"tests": "1", "failures": "0", "errors": "1"}
    assert "start at offset 2" in file.read_text()


def test_verify_that_could_not_look(archive: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.xml"
    assert Ran(capsys, "replay", "verify", "127.0.0.1:1", "--junit", str(file)).code == 3
    assert 'type="KafkaUnreachable"' in file.read_text()


def test_rebuild_and_the_state_from_checkpoints(
    archive: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = Ran(capsys, "replay", "state", archive, "--at", "locks/0@7", "--json").objects
    ran = Ran(capsys, "replay", "rebuild", archive, "--every", "3")
    assert ran.code == 0 and "locks/0  10 decisions: 4 checkpoints written, 0 kept" in ran.out
    place = tmp_path / "a.accord.checkpoints"
    assert f"in {place}" in ran.out
    assert Ran(capsys, "replay", "state", archive, "--at", "locks/0@7", "--json").objects == full

    bad = place / "locks-0@000000000005.checkpoint"
    bad.write_bytes(b"nothing")
    ran = Ran(capsys, "replay", "state", archive, "--at", "locks/0@7", "--json")
    assert ran.code == 0 and ran.objects[0]["hash"] == full[0]["hash"]
    assert f"passed over: {bad}: it is damaged" in ran.err
    ran = Ran(capsys, "replay", "rebuild", archive, "--every", "3", "--json")
    assert [(one["written"], one["kept"]) for one in ran.objects] == [(1, 3), (0, 1)]
    assert "made anew" in ran.err


def test_the_checkpoints_of_a_cluster_need_a_place(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "replay", "rebuild", "127.0.0.1:1")
    assert ran.code == 2 and "--checkpoints DIR" in ran.err


def test_state_at_a_cut(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    (world,) = Ran(capsys, "replay", "state", archive, "--at", "locks/0@4", "--cut", "--json").objects
    assert world["at"] == "locks/0@4,signals/0@0" and len(world["partitions"]) == 2
    (again,) = Ran(capsys, "replay", "state", archive, "--at", world["at"], "--json").objects
    assert again["hash"] == world["hash"]


def test_events_between_two_points(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(
        capsys, "events", "list", archive, "--domain", "locks", "--from", "locks/0@2", "--to", "locks/0@4", "--json"
    )
    assert [event["position"] for event in ran.objects] == ["locks/0@2", "locks/0@3", "locks/0@4"]
    ran = Ran(capsys, "events", "list", archive, "--domain", "locks", "--to", "2020-01-01T00:00:00Z", "--json")
    assert [event["event"] for event in ran.objects] == ["PartitionOpened"], "before all time"
    ran = Ran(capsys, "events", "list", archive, "--to", "locks/0@4", "--task", "trip-1", "--agent", "ada", "--json")
    assert [event["position"] for event in ran.objects] == ["locks/0@2", "locks/0@4"]
    assert Ran(capsys, "events", "list", archive, "--to", "locks/0@99").code == 4


def test_export_up_to_a_point_and_gone_on_with(
    archive: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Ran(capsys, "events", "export", archive, "early.accord", "--to", "locks/0@4", "--json")
    assert ran.code == 0 and ran.objects[0]["records"] == 4 + 5 + 1
    assert Ran(capsys, "replay", "verify", "early.accord").code == 0
    assert Ran(capsys, "events", "export", archive, "new.accord", "--resume").code == 0
    assert Ran(capsys, "events", "export", archive, "new.accord", "--resume").code == 2
    assert (tmp_path / "new.accord" / "manifest.json").exists()


def test_progress_is_told_of_partitions_that_other_processes_work_on(
    archive: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(progress, "AFTER_S", 0.0)
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    with progress.Watched(open_source(archive)) as log:
        assert type(pickle.loads(pickle.dumps(log))) is ArchiveSource, "another process tells nothing itself"
        log.finished(1, 2)
    assert "1 of 2 partitions" in capsys.readouterr().err
