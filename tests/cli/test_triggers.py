"""`accord triggers` on archives: texts, JSON, exit codes; and what follows from what, across the domains."""

from __future__ import annotations

from pathlib import Path

import pytest
from accord.replay.triggers import trigger_at, triggers_at
from accord.replay.verify import verify
from accord.schemas.messages.triggers import DeclareTrigger
from accord.schemas.position import Position
from accord.streams.triggers.pattern import count, encode

from tests.cli.support import Ran
from tests.histories.payments import LOOP, declare, emit, payments
from tests.histories.play import Play


@pytest.fixture
def play() -> Play:
    return payments()


@pytest.fixture
def archive(play: Play, tmp_path: Path) -> str:
    play.save(tmp_path / "found.accord")
    return str(tmp_path / "found.accord")


def test_what_follows_across_the_domains() -> None:
    play = Play(signals=2, triggers=2)
    declare(play, "loop", LOOP)
    (view,) = triggers_at(play)
    assert (view.status, view.awaited) == ("active", ())
    assert emit(play, "ping") == ["SignalEmitted+SignalObserved", "KeyOpened+SignalTaken"]
    assert emit(play, "other") == ["SignalEmitted"]
    assert emit(play, "pong") == [
        "SignalEmitted+SignalObserved", "SignalTaken+TriggerMatched", "SignalEmitted+MatchEmitted",
    ]  # fmt: skip
    assert verify(play).ok


def test_list(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "triggers", "list", archive)
    lines = ran.out.splitlines()
    assert ran.code == 0 and lines[0].split() == ["name", "status", "version", "matches", "late", "keys", "rule"]
    found = {line.split()[0]: line.split() for line in lines[1:]}
    assert found["unpaid"][1:7] == ["active", "1", "2", "1", "3", 'sequence("ordered",']
    assert found["[often]"][1:7] == ["active", "2", "2", "0", "1", 'count("ordered",']
    assert found["gone"][1:6] == ["dropped", "2", "0", "0", "0"]
    assert lines[-1] == "3 triggers: 2 active, 1 dropped"
    ran = Ran(capsys, "triggers", "list", archive, "--status", "active", "--json")
    assert [view["name"] for view in ran.objects] == ["[often]", "unpaid"]
    assert set(ran.objects[0]) == {
        "name", "status", "version", "rule", "agent", "watches", "awaited", "problem", "declared_at", "keys", "begun",
        "held", "matches", "late", "recent", "position",
    }  # fmt: skip
    assert Ran(capsys, "triggers", "list", archive, "--status", "failed").out == "no trigger is failed\n"
    ran = Ran(capsys, "triggers", "list", archive, "--status", "done")
    assert ran.code == 2 and "There is: declared, active" in ran.err


def test_show(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Ran(capsys, "triggers", "show", "unpaid", archive).out.splitlines()
    assert lines[0] == (
        'unpaid  active: sequence("ordered", absence("paid")).by("order").within_ms(1_000).late_ms(100)'
    )
    assert "declared by ada at 2026-02-25T" in lines[1] and lines[1].endswith("told by events matched:unpaid")
    assert lines[2] == "  matched 2 times; 1 signal too late, 0 begun and 1 signal held in 3 keys"
    assert lines[3].split() == ["key", "from", "to", "match", "signals"]
    assert lines[4].split()[0] == "3" and len(lines) == 6
    key, began, ended, position, signal = lines[5].split()
    assert key == "a" and position.startswith("triggers/") and signal.startswith("signals/") and began < ended
    (view,) = Ran(capsys, "triggers", "show", "unpaid", archive, "--json").objects
    _, match = view["recent"]
    assert match["causes"] == [signal] and match["version"] == 1 and match["position"] == position
    often = Ran(capsys, "triggers", "show", "[often]", archive).out
    assert often.startswith('[often]  active: count("ordered", 2)') and "version 2" in often
    ran = Ran(capsys, "triggers", "show", "nothing", archive)
    assert ran.code == 4 and "there is no trigger nothing" in ran.err


def test_what_waits_and_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play = Play(signals=1, triggers=1)
    play.send("t", DeclareTrigger("ada", "t", encode(LOOP.definition)), domain="triggers")
    for number in range(17):
        declare(play, f"t{number}", count("crowded", 2).within_ms(5))
    play.save(tmp_path / "early.accord")
    out = Ran(capsys, "triggers", "show", "t", str(tmp_path / "early.accord")).out
    assert "declared: sequence" in out and "signals not passed on yet: ping, pong" in out
    out = Ran(capsys, "triggers", "show", "t16", str(tmp_path / "early.accord")).out
    assert "failed: count" in out and "finds nothing: 16 triggers watch crowded already" in out


def test_at_a_point(play: Play) -> None:
    now = trigger_at(play, "unpaid")
    assert now is not None
    before = Position.parse(now.recent[1].position)
    view = trigger_at(play, "unpaid", before._replace(offset=before.offset - 1))
    assert view is not None and (view.matches, view.begun, view.held) == (0, 0, 2)
    assert trigger_at(Play(locks=1), "unpaid") is None and triggers_at(Play(locks=1)) == ()


def test_a_trigger_that_emits_what_it_is_about_stops(play: Play) -> None:
    """Each round has a longer trail; the match that is too far from the beginning is refused."""
    play = Play(signals=1, triggers=1)
    declare(play, "echo", count("matched:echo", 1))
    followed = emit(play, "matched:echo")
    assert followed[-1] == "SignalRefused+MatchEmitted" and followed.count("SignalTaken+TriggerMatched") > 20
    assert verify(play).ok


def test_the_log_verifies(play: Play) -> None:
    assert verify(play).ok
