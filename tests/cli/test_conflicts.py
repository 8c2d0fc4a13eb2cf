"""`accord conflicts` on archives: texts, JSON, exit codes, and what the log has that the state has forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accord.replay.conflicts import conflict_at, conflicts_at, ground_at
from accord.replay.verify import verify
from accord.schemas.messages.conflicts import (
    AppealResolution,
    Capacity,
    CompareFindings,
    ConfigureGround,
    DeclareIntention,
    DeclineJudgement,
    FinishIntention,
    JudgeConflict,
    RuleOnConflict,
)
from accord.schemas.messages.log import Tick
from accord.schemas.position import Position

from tests.cli.support import Ran
from tests.histories.play import Play
from tests.streams.conflicts.played import finding, intent, terms

FOUND = (finding("a", "42", text='{"source":"[b]x[/b]"}'), finding("b", "37"))


@pytest.fixture
def play() -> Play:
    play = Play(conflicts=2)

    def send(key: str, *commands: Any, after_ms: int = 10) -> None:
        for command in commands:
            play.send(key, command, domain="conflicts", after_ms=after_ms)

    def declare(agent: str, what: Any) -> DeclareIntention:
        return DeclareIntention(agent, agent, what, ())

    send("shop", ConfigureGround("boss", terms(capacities=(Capacity("gpu", 4),), authority="chief", keep_ms=1_000)))
    send("shop", declare("ada", intent("train", "[model]", resource="gpu", amount=3)))
    send("shop", declare("bob", intent("train", "other", resource="gpu", amount=2, text="[i]fast[/i]")))
    send("shop", FinishIntention("ada", "ada"))
    send("shop", CompareFindings("boss", "f1", FOUND, ()))
    send("shop", JudgeConflict("judge", "f1", "b", "findings", (), "37 is prime", 500_000, "cafe"))
    send("shop", RuleOnConflict("chief", "f1", "b", "so it is"))
    send("shop", CompareFindings("boss", "f2", FOUND, ()))
    send("shop", JudgeConflict("mallory", "f2", "b", "findings", (), "I am the judge", 1_000_000, ""))
    send("shop", DeclineJudgement("judge", "f2", "no key"))
    send("shop", AppealResolution("b", "f2", "b", "37!"), RuleOnConflict("chief", "f2", "b", "heard"))
    send("shop", Tick(), after_ms=2_000)
    send("team", CompareFindings("boss", "f3", FOUND, ()))
    return play


@pytest.fixture
def archive(play: Play, tmp_path: Path) -> str:
    play.save(tmp_path / "conflicts.accord")
    return str(tmp_path / "conflicts.accord")


def test_list(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "conflicts", "list", archive)
    found = {line.split()[1]: line.split() for line in ran.out.splitlines()[:-1]}
    assert ran.code == 0
    assert found["4.1"][2:] == ["over_demand", "resolved", "gpu", "ada", "bob:", "queued", "rule", "1"]
    assert found["f1"][2:] == ["findings", "resolved", "b", "a:", "overruled", "authority", "1"]
    assert found["f2"][2:] == ["findings", "resolved", "b", "a:", "overruled", "rule", "(fallback)", "0"]
    assert found["f3"][2:] == ["findings", "judging", "-", "a,", "b", "-", "-"]
    assert ran.out.splitlines()[-1] == "4 conflicts: 1 judging, 3 resolved"
    ran = Ran(capsys, "conflicts", "list", archive, "--status", "judging", "--json")
    assert [(view["ground"], view["id"]) for view in ran.objects] == [("team", "f3")]
    assert set(ran.objects[0]) == {
        "ground", "id", "kind", "status", "rule", "agent", "target", "resource", "topic", "demanded", "capacity",
        "parties", "pairs", "judgements", "escalations", "method", "winner", "reasoning", "confidence", "fallback",
        "by", "by_rule", "agrees", "appeal", "found_at", "ended_at", "position",
    }  # fmt: skip
    assert Ran(capsys, "conflicts", "list", archive, "--status", "escalated").out == "no conflict is escalated\n"
    assert Ran(capsys, "conflicts", "list", archive, "--status", "odd").code == 2


def test_show_a_conflict(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "conflicts", "show", "shop", archive, "--conflict", "f1")
    assert ran.code == 0
    for text in (
        "shop/f1  findings: resolved",
        "judge judge: b, confidence 0.5  37 is prime",
        "escalated by judge (low_confidence) to chief",
        "decided by authority, confidence 1: so it is; the rule would have had a win",
    ):
        assert text in ran.out
    ran = Ran(capsys, "conflicts", "show", "shop", archive, "--conflict", "f2")
    for text in (
        "judge mallory: ignored: not_asked",
        "judge judge: declined: no key",
        "the rule stood in: judge: no key",
        "appeal: overturned by chief: heard",
    ):
        assert text in ran.out
    ran = Ran(capsys, "conflicts", "show", "shop", archive, "--conflict", "4.1")
    assert "5 are wanted, there are 4" in ran.out and "train other 2 gpu: [i]fast[/i]" in ran.out
    ran = Ran(capsys, "conflicts", "show", "shop", archive, "--conflict", "none")
    assert ran.code == 4 and "there is no conflict none on shop" in ran.err
    (view,) = Ran(capsys, "conflicts", "show", "shop", archive, "--conflict", "f1", "--json").objects
    assert (view["winner"], view["by_rule"], view["agrees"]) == ("b", "a", False)
    assert view["parties"][0]["finding"] == '{"source":"[b]x[/b]"}' and view["judgements"][0]["request"] == "cafe"


def test_show_a_ground(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "conflicts", "show", "shop", archive)
    assert "configured by boss" in ran.out and "capacities: gpu 4" in ran.out
    assert ran.out.splitlines()[-1] == "  1 intention, 3 conflicts", "what ended is forgotten, its conflicts are not"
    assert Ran(capsys, "conflicts", "show", "nowhere", archive).code == 4


def test_at_a_point_and_the_log_verifies(play: Play) -> None:
    first = next(view for view in conflicts_at(play) if view.kind == "over_demand")
    assert [party.outcome for party in first.parties] == ["won", "queued"]
    point = Position.parse(first.position)
    ground = ground_at(play, "shop", point)
    assert ground is not None and [one.status for one in ground.intentions] == ["acting", "queued"]
    assert [view.id for view in conflicts_at(play, point)] == [first.id]
    assert conflict_at(play, "shop", "f1", point) is None
    assert conflict_at(Play(locks=1), "shop", "f1") is None and conflicts_at(Play(locks=1)) == ()
    assert verify(play).ok
