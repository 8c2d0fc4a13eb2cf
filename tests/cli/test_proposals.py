"""`accord proposals` on archives: texts, JSON, exit codes, counting again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from accord.replay.proposals import proposal_at, proposals_at
from accord.replay.verify import verify
from accord.schemas.messages.log import Tick
from accord.schemas.messages.proposals import CastVote, Propose, Voter, WithdrawProposal
from accord.schemas.position import Position
from accord.schemas.topics import partition_of

from tests.cli.support import Ran
from tests.histories.play import START_MS, Play


def propose(content: str, *voters: str, **terms: Any) -> Propose:
    known: dict[str, Any] = {
        "agent": "ada", "content": content, "threshold_numerator": 1, "threshold_denominator": 2, "quorum": None,
        "deadline_ms": 60_000, "keep_ms": 1_000, "trail": (),
    }  # fmt: skip
    return Propose(voters=tuple(Voter(name, 1) for name in ("ada", *voters)), **(known | terms))


@pytest.fixture
def play() -> Play:
    """Of seven proposals, one is forgotten and made again, so it is two: the later one counts."""
    play = Play(proposals=2)

    def send(key: str, *commands: Any, after_ms: int = 10) -> None:
        for command in commands:
            play.send(key, command, domain="proposals", after_ms=after_ms)

    send("ship", propose("[ship] it?", "bob", "cleo"))
    send("ship", CastVote("bob", "no", "[b]too early[/b]"), CastVote("cleo", "yes", ""))
    send("tie", propose("a or b?", "bob"), CastVote("bob", "no", ""))
    send("gone", propose("never mind", "bob"), WithdrawProposal("ada", "we know"))
    send("few", propose("anybody?", "bob", "cleo", quorum=2))
    send("few", Tick(), after_ms=60_000)
    send("few", CastVote("bob", "yes", "was away"))
    send("tie", propose("a or c?", "bob"))
    send("open", propose("now?", "bob", "cleo"), CastVote("cleo", "abstain", "no vote: hm"))
    return play


@pytest.fixture
def archive(play: Play, tmp_path: Path) -> str:
    play.save(tmp_path / "votes.accord")
    return str(tmp_path / "votes.accord")


def test_list(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "proposals", "list", archive)
    found = {line.split()[0]: line.split() for line in ran.out.splitlines()}
    assert ran.code == 0
    assert found["ship"] == ["ship", "approved", "2", "1", "0", "3", "of", "3", ">", "1/2", "ada", "[ship]", "it?"]
    assert found["tie"] == ["tie", "open", "1", "0", "0", "1", "of", "2", ">", "1/2", "ada", "a", "or", "c?"]
    assert found["gone"][1] == "withdrawn" and found["few"][1:5] == ["no_quorum", "1", "0", "2"]
    assert ran.out.splitlines()[-1] == "5 proposals: 1 approved, 1 no_quorum, 2 open, 1 withdrawn"
    ran = Ran(capsys, "proposals", "list", archive, "--status", "open", "--json")
    assert [view["id"] for view in ran.objects] == ["tie", "open"]
    assert set(ran.objects[0]) == {
        "id", "status", "proposer", "content", "threshold", "quorum", "yes", "no", "abstain", "voted", "voters",
        "ballots", "late", "awaited", "opened_at", "due_at", "ended_at", "reason", "position",
    }  # fmt: skip
    assert Ran(capsys, "proposals", "list", archive, "--status", "rejected").out == "no proposal is rejected\n"
    ran = Ran(capsys, "proposals", "list", archive, "--status", "done")
    assert ran.code == 2 and "There is: open, approved" in ran.err
    assert Ran(capsys, "proposals", "list", archive, "--at", "proposals/0@0").out in (
        "there is no proposal\n", Ran(capsys, "proposals", "list", archive, "--at", "proposals/1@0").out,
    )  # fmt: skip


def test_show(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Ran(capsys, "proposals", "show", "ship", archive).out.splitlines()
    assert lines[0] == "ship  approved: 2 yes, 1 no, 0 abstain; needs more than 1/2"
    assert lines[1].startswith("  proposed by ada at 2026-02-25T") and ", ended 2026-02-25T" in lines[1]
    assert lines[2] == "  [ship] it?"
    assert [line.split()[0] for line in lines[3:]] == ["voter", "ada", "bob", "cleo"]
    assert lines[5].endswith("[b]too early[/b]")
    few = Ran(capsys, "proposals", "show", "few", archive).out
    assert "quorum 2" in few and "no vote by the deadline" in few and "yes (late, not counted)" in few
    assert "  withdrawn: we know" in Ran(capsys, "proposals", "show", "gone", archive).out
    assert Ran(capsys, "proposals", "show", "open", archive).out.splitlines()[-1] == "  awaited: bob"
    (view,) = Ran(capsys, "proposals", "show", "few", archive, "--json").objects
    assert view["late"] == [
        {"voter": "bob", "weight": 1, "choice": "yes", "reason": "was away", "at": view["late"][0]["at"], "late": True}
    ]
    assert [(ballot["voter"], ballot["choice"], ballot["at"] is None) for ballot in view["ballots"]] == [
        ("ada", "yes", False), ("bob", "abstain", True), ("cleo", "abstain", True),
    ]  # fmt: skip
    ran = Ran(capsys, "proposals", "show", "nothing", archive)
    assert ran.code == 4 and "there is no proposal nothing" in ran.err


@pytest.mark.parametrize(
    ("options", "outcome", "counts"),
    [
        ((), "approved", (2, 1, 0)),
        (("--threshold", "2/3"), "rejected", (2, 1, 0)),
        (("--threshold", ".66"), "approved", (2, 1, 0)),
        (("--weights", "bob=2"), "rejected", (2, 2, 0)),
        (("--weights", "bob=2,ada=3"), "approved", (4, 2, 0)),
        (("--electorate", "ada,bob"), "rejected", (1, 1, 0)),
        (("--electorate", "ada,bob,dan", "--weights", "dan=5"), "rejected", (1, 1, 5)),
        (("--electorate", "ada,bob,dan"), "rejected", (1, 1, 1)),
        (("--electorate", "cleo,ada", "--quorum", "3"), "no_quorum", (2, 0, 0)),
        (("--quorum", "3"), "approved", (2, 1, 0)),
    ],
)
def test_recount(
    options: tuple[str, ...],
    outcome: str,
    counts: tuple[int, int, int],
    archive: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran = Ran(capsys, "proposals", "recount", "ship", archive, *options, "--json")
    (found,) = ran.objects
    assert (ran.code, found["outcome"], (found["yes"], found["no"], found["abstain"])) == (0, outcome, counts)
    assert (found["was"], found["changed"]) == ("approved", outcome != "approved")
    text = Ran(capsys, "proposals", "recount", "ship", archive, *options).out
    assert text.startswith(f"ship  {outcome}: {counts[0]} yes, {counts[1]} no, {counts[2]} abstain; needs more than ")
    assert ("; was approved" in text) == (outcome != "approved")


def test_a_quorum_can_be_counted_away(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = Ran(capsys, "proposals", "recount", "few", archive, "--quorum", "0", "--json").objects
    assert found["outcome"] == "approved"
    (found,) = Ran(capsys, "proposals", "recount", "few", archive, "--json").objects
    assert found["outcome"] == "no_quorum" and not found["changed"]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("open",), 2, "open is open"),
        (("gone",), 2, "gone is withdrawn"),
        (("nothing",), 4, "no proposal nothing"),
        (("ship", "--threshold", "1"), 2, "from 0 to below 1"),
        (("ship", "--threshold", "most"), 2, "from 0 to below 1"),
        (("ship", "--weights", "bob"), 2, "NAME=NUMBER"),
        (("ship", "--weights", "bob=-1"), 2, "NAME=NUMBER"),
        (("ship", "--weights", "dan=2"), 2, "dan: not counted"),
        (("ship", "--electorate", "ada", "--weights", "bob=2"), 2, "bob: not counted. Counted are ada"),
    ],
)
def test_what_cannot_be_counted_again(
    arguments: tuple[str, ...], code: int, error: str, archive: str, capsys: pytest.CaptureFixture[str]
) -> None:
    proposal, *options = arguments
    ran = Ran(capsys, "proposals", "recount", proposal, archive, *options)
    assert ran.code == code and error in ran.err


def test_at_a_point(play: Play) -> None:
    (decided,) = [end for end in proposals_at(play) if end.id == "ship"]
    before = Position.parse(decided.position)
    view = proposal_at(play, "ship", before._replace(offset=before.offset - 1))
    assert view is not None and (view.status, view.awaited) == ("open", ("cleo",))
    tie = proposal_at(play, "tie", datetime.fromtimestamp(START_MS / 1_000, UTC) + timedelta(seconds=1))
    assert tie is not None and tie.status == "rejected", "the earlier one of this id"
    here = {view.id for view in proposals_at(play, before)}
    assert here >= {"ship"} and "open" not in here, "others as of that moment"
    assert proposal_at(Play(locks=1), "ship") is None and proposals_at(Play(locks=1)) == ()


def test_a_position_is_a_record_of_its_partition_and_a_moment_of_the_others() -> None:
    play = Play(proposals=2)
    names = [f"p-{n}" for n in range(10)]
    here, there = [next(name for name in names if partition_of(name.encode(), 2) == number) for number in (0, 1)]
    for key in (here, there):
        play.send(key, propose("?", "bob", "cleo"), domain="proposals", after_ms=0)
    for key in (here, there):
        for voter in ("bob", "cleo"):
            play.send(key, CastVote(voter, "no", ""), domain="proposals", after_ms=0)
    first = Position("proposals", 0, 2)
    at_first = {view.id: view.no for view in proposals_at(play, first)}
    assert at_first == {here: 1, there: 2}, "all that was decided in that very millisecond"


def test_the_log_verifies(play: Play) -> None:
    assert verify(play).ok
