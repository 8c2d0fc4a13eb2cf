"""`accord explain`, `accord replay step`, `diff` and `races`: texts, JSON, files, exit codes."""

import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import Ran
from tests.histories.booking import booking
from tests.histories.record import HERE


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    booking().save(tmp_path / "hotel.accord")
    return "hotel.accord"


def test_explain(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "explain", "locks/0@2", archive)
    assert (ran.code, ran.err) == (0, "")
    assert "because ada held it: token 2" in ran.out and "(locks/0@1, ada's command locks.commands/0@0)" in ran.out
    assert "=> locks/0@2" in ran.out and "|| locks/0@1" in ran.out
    assert "later   locks/0@4  bob  LockGranted" in ran.out


def test_explain_in_json(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    (told,) = Ran(capsys, "explain", "room_12", archive, "--agent", "eve", "--json").objects
    assert told["position"] == "locks/0@3" and told["decided"][0]["event"]["event"] == "LockDenied"
    assert told["decided"][0]["reasons"][0]["text"] == "it was asked for with wait_ms=0: to try once"
    assert {"command", "aggregate", "task", "came_of_it", "history", "concurrent", "is_cut"} <= set(told)


def test_explain_draws_and_writes(archive: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "explain", "locks/0@2", archive, "--svg", "why.svg", "--shiviz", "why.log")
    assert ran.code == 0
    ET.fromstring((tmp_path / "why.svg").read_text())
    assert (tmp_path / "why.log").read_text().startswith("(?<host>")
    ran = Ran(capsys, "explain", "locks/0@2", archive, "--svg", "no/such/folder.svg")
    assert ran.code == 2 and ran.err.startswith("BadInput: no/such/folder.svg cannot be written")


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["explain", "room_99"], 4, "NotFound"),
        (["explain", "locks/0@99"], 4, "NotFound"),
        (["explain", "room_12", "--steps", "501"], 2, "BadInput"),
        (["replay", "races", "--domain", "tasks"], 4, "NotFound"),
        (["replay", "step", "--at", "locks/0@99"], 4, "NotFound"),
    ],
)
def test_errors(archive: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, error: str) -> None:
    place = 2 if arguments[0] in ("explain", "replay") else 1
    ran = Ran(capsys, *arguments[:place], archive, *arguments[place:])
    assert ran.code == code and ran.err.startswith(f"{error}: ") and ran.out == ""


def stepped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lines: str, *arguments: str) -> Ran:
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    return Ran(capsys, "replay", "step", *arguments)


def test_step(archive: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A script of what a person would type: each line has its answer, and a mistake does not end it."""
    script = "next room_12\nn\nwho room_12\nb\nat end\nwhat\nfoo\nshow room_12\nshow\nnext room_12\nquit\nn\n"
    ran = stepped(monkeypatch, capsys, script, archive)
    lines = ran.out.splitlines()
    assert ran.code == 0 and lines[0] == "before the first decision"
    places = [line.split("  ")[0] for line in lines if line[:1].isalpha() and "#" in line]
    assert places == ["locks/0@1", "locks/0@2", "locks/0@1", "locks/0@6", "locks/0@6"]
    assert "held by ada (token 2); waiting: bob" in lines
    assert "there is no room_12 here" in lines and any("no further decision on room_12" in line for line in lines)
    assert any("holders" in line and "->" in line for line in lines), "what the release changed"
    assert [line.split(":")[0] for line in ran.err.splitlines()] == ["BadInput", "BadInput"]


def test_step_in_json(archive: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    script = "who room_12\nshow room_12\nat start\nwhere\nhelp\nn 0\n"
    ran = stepped(monkeypatch, capsys, script, archive, "--at", "locks/0@2", "--json")
    first, who, show, start, where, told = ran.objects
    assert first["stop"]["position"] == "locks/0@2"
    assert who["views"][0]["holder"] == "ada" and show["state"]["locks"]["holders"][0]["token"] == 2
    assert start == {"number": 0, "stop": None} and where["aggregates"] == {} and "next WHAT" in told["help"]
    assert json.loads(ran.err)["code"] == "BadInput"


def test_diff(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "replay", "diff", archive, "locks/0@2", "locks/0@4")
    assert ran.code == 0 and ran.out.startswith("~ locks room_12 changed\n")
    assert ran.out.endswith("from locks/0@2 to locks/0@4: 2 decisions; 0 added, 0 removed, 1 changed\n")
    (found,) = Ran(capsys, "replay", "diff", archive, "locks/0@1", "--json").objects
    assert (found["b"], found["aggregates"][0]["kind"]) == ("end", "removed")


def test_races(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "replay", "races", archive)
    assert ran.code == 1
    assert "lost_lease  guests" in ran.out and "stale_token  rooms/12" in ran.out
    assert ran.out.endswith("2 races; 2 reads and writes looked at\n")
    (found,) = Ran(capsys, "replay", "races", archive, "--json").objects
    kinds: list[Any] = [race["kind"] for race in found["races"]]
    assert kinds == ["lost_lease", "stale_token"] and found["races"][0]["first"]["history"]


def test_no_races(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "replay", "races", str(HERE / "embedded.accord"))
    assert (ran.code, ran.err) == (0, "") and ran.out.startswith("0 races; ")


def test_races_that_could_not_all_be_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play = booking()
    play.log_commands["signals", 0] = []
    play.log_events["locks", 0] = play.log_events["locks", 0][:1]
    play.save(tmp_path / "cut.accord")
    ran = Ran(capsys, "replay", "races", str(tmp_path / "cut.accord"))
    assert ran.code == 3 and "2 could not be compared: their commands are no longer in the log" in ran.out
