"""`accord auctions` on archives: texts, JSON, exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accord.replay.auctions import auction_at, auctions_at
from accord.replay.verify import verify
from accord.schemas.messages.auctions import (
    AnnounceAuction,
    CancelAuction,
    CompleteWork,
    FailWork,
    PassAuction,
    PlaceBid,
    Score,
    ScoreBids,
    Scoring,
)
from accord.schemas.messages.log import Tick
from accord.schemas.position import Position
from accord.streams.auctions.scoring import WEIGHTS

from tests.cli.support import Ran
from tests.histories.play import Play

LEASE_MS = 5_000
OWN = Scoring("cheapest", "3")


def announce(description: str, *bidders: str, **terms: Any) -> AnnounceAuction:
    known: dict[str, Any] = {
        "agent": "boss", "description": description, "bidders": bidders, "capabilities": (), "reward_millionths": None,
        "weights": WEIGHTS, "confidence_least_millionths": 500_000, "scoring": None, "deadline_ms": 60_000,
        "scoring_ms": 1_000, "lease_ms": LEASE_MS, "keep_ms": 1_000, "trail": (),
    }  # fmt: skip
    return AnnounceAuction(**(known | terms))


def bid(agent: str, price: int, percent: int = 90) -> PlaceBid:
    return PlaceBid(agent, f"{agent}-1", price * 1_000_000, 600_000, percent * 10_000, 1, ())


@pytest.fixture
def play() -> Play:
    """Of seven auctions, each ended in another way, or has not."""
    play = Play(auctions=2)

    def send(key: str, *commands: Any, after_ms: int = 10) -> int:
        """Sends commands; returns the number of the last decision."""
        for command in commands:
            decided = play.send(key, command, domain="auctions", after_ms=after_ms)
        return decided.decision.seq

    send("none", announce("nobody?", "ada"), PassAuction("ada", "[b]too busy[/b]"))
    send("scored", announce("[own] scoring", "ada", "bob", scoring=OWN), bid("ada", 1), bid("bob", 2))
    token = send("scored", ScoreBids("boss", OWN, (Score("ada", 5), Score("bob", -5))))
    send("scored", CompleteWork("bob", token, '"fine"'))
    token = send("sort", announce("sort it", "ada", "bob", "cleo"), bid("bob", 40), bid("ada", 60), bid("cleo", 30, 20))
    token = send("sort", FailWork("bob", token, "ValueError", "no use"))
    token = send("sort", Tick(), after_ms=LEASE_MS)
    send("open", announce("now?", "ada", "bob", reward_millionths=50_000_000, capabilities=("sing",)))
    send("open", bid("ada", 60), PassAuction("bob", ""))
    send("stop", announce("stop", "ada"), bid("ada", 1), CancelAuction("boss", "no need"))
    send("early", announce("early", "ada"), CancelAuction("boss", "at once"))
    send("runs", announce("runs", "ada"), bid("ada", 1))
    return play


@pytest.fixture
def archive(play: Play, tmp_path: Path) -> str:
    play.save(tmp_path / "market.accord")
    return str(tmp_path / "market.accord")


def test_list(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "auctions", "list", archive)
    found = {line.split()[0]: line.split() for line in ran.out.splitlines()}
    assert ran.code == 0
    assert found["none"] == ["none", "unsold", "0", "0", "-", "-", "boss", "nobody?"]
    assert found["scored"] == ["scored", "completed", "2", "1", "bob", "2", "boss", "[own]", "scoring"]
    assert found["sort"] == ["sort", "unsold", "3", "2", "ada", "60", "boss", "sort", "it"]
    assert found["runs"][1:5] == ["running", "1", "1", "ada"]
    assert ran.out.splitlines()[-1] == "7 auctions: 2 cancelled, 1 completed, 1 open, 1 running, 2 unsold"
    ran = Ran(capsys, "auctions", "list", archive, "--status", "unsold", "--json")
    assert [view["id"] for view in ran.objects] == ["none", "sort"]
    assert set(ran.objects[0]) == {
        "id", "status", "announcer", "description", "reward", "capabilities", "scoring", "bids", "passed", "refused",
        "awaited", "awards", "winner", "result", "reason", "announced_at", "ended_at", "position",
    }  # fmt: skip
    assert Ran(capsys, "auctions", "list", archive, "--status", "scoring").out == "no auction is scoring\n"
    ran = Ran(capsys, "auctions", "list", archive, "--status", "done")
    assert ran.code == 2 and "There is: open, scoring" in ran.err


def test_show(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Ran(capsys, "auctions", "show", "sort", archive).out.splitlines()
    assert lines[0] == "sort  unsold (exhausted)"
    assert lines[1].startswith("  announced by boss at 2026-02-25T") and ", ended 2026-02-25T" in lines[1]
    assert [line.split() for line in lines[3:7]] == [
        ["bidder", "price", "minutes", "confidence", "load", "score"],
        ["bob", "40", "10.0", "0.90", "1", "-0.0600"],
        ["ada", "60", "10.0", "0.90", "1", "0.0200"],
        ["cleo", "30", "10.0", "0.20", "1", "0.1100"],
    ]
    assert "  given to bob at " in lines[7] and lines[7].endswith(": failed: ValueError: no use")
    assert "  given to ada at " in lines[8] and lines[8].endswith(": lost")
    scored = Ran(capsys, "auctions", "show", "scored", archive).out
    assert "scored by cheapest 3" in scored and '  result: "fine"' in scored and "[own] scoring" in scored
    opened = Ran(capsys, "auctions", "show", "open", archive).out
    assert "open, reward 50, for who is able to sing" in opened
    assert "a bid of ada was refused: above_reward" in opened and "awaited: ada" in opened and "bob passed: -" in opened
    assert "ada passed: [b]too busy[/b]" in Ran(capsys, "auctions", "show", "none", archive).out
    stopped = Ran(capsys, "auctions", "show", "stop", archive).out
    assert stopped.startswith("stop  cancelled (no need)") and ": cancelled" in stopped.splitlines()[-1]
    assert Ran(capsys, "auctions", "show", "early", archive).out.startswith("early  cancelled (at once)")
    (view,) = Ran(capsys, "auctions", "show", "runs", archive, "--json").objects
    assert (view["winner"], view["awards"][0]["ended"], view["bids"][0]["price"]) == ("ada", "running", 1.0)
    ran = Ran(capsys, "auctions", "show", "nothing", archive)
    assert ran.code == 4 and "there is no auction nothing" in ran.err


def test_at_a_point(play: Play) -> None:
    (sort,) = [view for view in auctions_at(play) if view.id == "sort"]
    end = Position.parse(sort.position)
    before = auction_at(play, "sort", end._replace(offset=end.offset - 1))
    assert before is not None and before.status in ("running", "open")
    assert auction_at(Play(locks=1), "sort") is None and auctions_at(Play(locks=1)) == ()


def test_the_log_verifies(play: Play) -> None:
    assert verify(play).ok
