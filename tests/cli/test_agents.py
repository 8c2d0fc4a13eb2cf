"""`accord agents show` on an archive: one agent in all domains."""

from __future__ import annotations

from pathlib import Path

import pytest
from accord.schemas.messages.auctions import PassAuction
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.messages.proposals import CastVote

from tests.cli.support import Ran
from tests.cli.test_auctions import announce, bid
from tests.cli.test_proposals import propose
from tests.cli.test_sharing import asks
from tests.cli.test_tasks import step
from tests.histories.office import Office


@pytest.fixture
def archive(tmp_path: Path) -> str:
    """ada has a hand in everything; bob has voted and passed, and waits for nobody."""
    office = Office(limits=1, proposals=1, auctions=1, llm=1)
    office.join("ada", "research", slots=2)
    office.submit("report", step("research"), step("print", "research"))
    office.complete("report", "research", "ada", office.start("report", "research", "ada"), after_ms=700)
    office.submit("memo", step("research"))
    office.start("memo", "research", "ada")
    office.send("[room]", AcquireLock("ada", "ada/1", 5_000, None))
    office.send("desk", AcquireLock("eve", "eve/1", 5_000, None))
    office.send("desk", AcquireLock("ada", "ada/1", 5_000, None))
    office.send("desk", AcquireLock("zoe", "zoe/1", 5_000, None))
    office.send("api", asks("ada"), domain="limits")
    for vote in (propose("ship?", "bob", "cleo"), CastVote("bob", "no", "")):
        office.send("ship", vote, domain="proposals")
    for answer in (announce("sort", "ada", "bob"), bid("ada", 1), PassAuction("bob", "busy")):
        office.send("sort", answer, domain="auctions")
    office.send("write", announce("write", "ada", "bob"), domain="auctions")
    office.save(tmp_path / "office.accord")
    return str(tmp_path / "office.accord")


def test_what_an_agent_does_is_told_over_all_domains(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "agents", "show", "ada", archive)
    assert ran.code == 0, ran.err
    lines = [line.strip() for line in ran.out.splitlines()]
    assert lines[0] == "ada"
    assert lines[1].startswith("works in default as ada, lease left ") and "busy: memo/research (" in lines[1]
    assert [line.split(" for ")[0] for line in lines if line.startswith("holds ")] == ["holds [room]", "holds api"]
    (waits,) = [line for line in lines if line.startswith("waits ")]
    assert waits.startswith("waits for desk for ") and waits.endswith("place 1, held by eve")
    assert "does the work of auction sort, token" in ran.out
    assert "has not bid in write" in lines
    assert "1 run, 1 completed; average" in ran.out
    assert "has not voted" not in ran.out


def test_the_same_for_programs(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    (told,) = Ran(capsys, "agents", "show", "ada", archive, "--json").objects
    assert [(held["domain"], held["name"]) for held in told["holds"]] == [("locks", "[room]"), ("limits", "api")]
    assert [(wait["name"], wait["place"], wait["holders"]) for wait in told["waits"]] == [("desk", 1, ["eve"])]
    assert [work["auction"] for work in told["works"]] == ["sort"]
    assert told["bids"] == ["write"] and told["votes"] == []
    assert told["teams"][0]["team"] == "default" and told["teams"][0]["member"]["busy"] == 1
    assert told["performance"]["completed"] == 1 and told["failures"] is None and told["costs"] is None
    (cleo,) = Ran(capsys, "agents", "show", "cleo", archive, "--json").objects
    assert cleo["votes"] == ["ship"]


def test_an_agent_that_nobody_knows(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "agents", "show", "nobody", archive)
    assert ran.code == 4 and "nobody: no agent of this name" in ran.err and ran.out == ""
