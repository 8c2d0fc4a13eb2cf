"""`accord hierarchy` on archives: texts, JSON, figures of each level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accord.replay.hierarchy import organisation_at, organisations_at
from accord.replay.verify import verify
from accord.schemas.messages import hierarchy as h
from accord.schemas.messages.log import Tick

from tests.cli.support import Ran
from tests.histories.play import Play

UNIT = 1_000_000


def member(name: str, reports_to: str | None, deputy: str | None = None, **limits: int) -> h.Member:
    return h.Member(
        name, reports_to, tuple(h.Boundary(kind, limit * UNIT) for kind, limit in limits.items()), deputy, 1_000
    )


MEMBERS = (
    member("ada", None, spend=10_000, judge=0), member("bob", "ada", "cleo", spend=1_000),
    member("cleo", "ada", spend=900), member("dan", "bob", spend=100), member("[eve]", "bob"),
)  # fmt: skip


def request(decision: str, amount: int, about: str = "dan", **terms: Any) -> h.RequestDecision:
    known: dict[str, Any] = {"type": "spend", "options": ()} | terms
    return h.RequestDecision(
        "dan", decision, (about,), known["type"], amount * UNIT, f"[{decision}]", "", known["options"], None, ()
    )


def decide(agent: str, decision: str, amount: int) -> h.Decide:
    return h.Decide(agent, decision, "spend", amount * UNIT, "chairs", "", "approve", "", False, ())


@pytest.fixture
def play() -> Play:
    play = Play(hierarchy=2)

    def send(*commands: Any, after_ms: int = 10, key: str = "acme") -> None:
        for command in commands:
            play.send(key, command, domain="hierarchy", after_ms=after_ms)

    send(h.DefineOrganisation("owner", MEMBERS, 7))
    send(decide("dan", "own", 50), decide("dan", "beyond", 101), h.ReportOutcome("dan", "own", "success", ""))
    send(request("asked", 500), h.AnswerRequest("bob", "asked", "approve", "fine"))
    send(h.ReportOutcome("bob", "asked", "failure", ""))
    send(h.BeginAbsence("bob", "bob", "ill"), request("stood", 500), h.AnswerRequest("cleo", "stood", "deny", ""))
    send(request("silent", 500))
    send(Tick(), Tick(), after_ms=1_000)
    send(h.DelegateAuthority("ada", "g1", "[eve]", "spend", 5_000 * UNIT, 60_000, ""))
    send(h.DelegateAuthority("[eve]", "g2", "dan", "spend", 4_000 * UNIT, 60_000, ""), decide("dan", "given", 4_000))
    less = (member("ada", None, spend=3_000, judge=0), *MEMBERS[1:])
    send(h.DefineOrganisation("owner", less, 7), request("open", 3_000))
    send(request("whose", 0, type="judge", options=("x", "y")), h.AnswerRequest("ada", "whose", "y", ""))
    send(request("gone", 5), h.WithdrawRequest("dan", "gone", ""))
    send(h.DefineOrganisation("zoe", (member("zoe", None),), 7), key="zoo")
    return play


@pytest.fixture
def archive(play: Play, tmp_path: Path) -> str:
    play.save(tmp_path / "log.accord")
    return str(tmp_path / "log.accord")


def test_figures_of_each_level(play: Play) -> None:
    view = organisation_at(play, "acme")
    assert view is not None
    top, middle, low = view.levels
    # The top: silent to its end once, chose y; nobody has reported.
    assert (top.members, top.decided, top.own, top.reached, top.passed) == (1, 1, 0, 2, 1)
    assert (top.escalation_rate, top.success_rate) == (0.5, None)
    # The middle: bob once, cleo for bob once, both silent once.
    assert (middle.members, middle.decided, middle.own, middle.by_deputy) == (2, 2, 0, 1)
    assert (middle.reached, middle.passed, middle.escalation_rate) == (3, 1, 0.333)
    assert (middle.avg_ms, middle.p95_ms, middle.success, middle.failure, middle.success_rate) == (10.0, 10, 0, 1, 0.0)
    # Below: of its own, once by its boundary and once by a delegation.
    assert (low.members, low.decided, low.own, low.by_delegation, low.reached, low.success_rate) == (2, 2, 2, 1, 0, 1.0)
    assert (view.made, view.defaulted, view.refused) == (5, 1, 1)
    assert verify(play).ok


def test_show(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "hierarchy", "show", "acme", archive)
    lines = ran.out.splitlines()
    assert lines[0].startswith("acme  owned by owner, tree 2, span 7, as of hierarchy/")
    assert lines[1] == "ada  spend up to 3000, judge up to 0"
    assert "bob  spend up to 1000  deputy cleo  away" in ran.out and "[eve]  -" in ran.out
    found = {line.split()[0]: " ".join(line.split()) for line in lines[6:] if line.strip()}
    assert found["g2"].startswith("g2 [eve] > dan spend 4000 3000 g1 2026-")
    assert found["open"] == "open spend 3000 dan open [eve] by g1 - [open]" or found["open"].startswith(
        "open spend 3000"
    )
    assert found["own"] == "own spend 50 dan approve dan success chairs"
    assert found["stood"] == "stood spend 500 dan deny bob absent, cleo for bob - [stood]"
    assert found["silent"].startswith("silent spend 500 dan deny (timeout) bob absent, cleo timeout, ada timeout")
    assert found["given"] == "given spend 4000 dan approve dan by g1 > g2 - chairs"
    assert found["whose"] == "whose judge 0 dan y ada - [whose]"
    assert found["gone"].startswith("gone spend 5 dan withdrawn")
    assert found["1"] == "1 1 1 0 0 2 50% 0.0 s 0.0 s -"
    assert found["3"].startswith("3 2 2 2 0 ")
    assert lines[-1] == "5 decisions, 1 by default, 1 refused"
    (view,) = Ran(capsys, "hierarchy", "show", "acme", archive, "--json").objects
    assert set(view) == {
        "name", "owner", "revision", "span", "members", "delegations", "requests", "decisions", "levels", "made",
        "defaulted", "refused", "position",
    }  # fmt: skip
    assert view["members"][3] == {
        "name": "dan", "reports_to": "bob", "level": 3, "decides": {"spend": "100"}, "deputy": None, "absent": False,
        "answer_ms": 1_000,
    }  # fmt: skip
    given = next(one for one in view["decisions"] if one["id"] == "given")
    assert given["authority"] == {"member": "dan", "basis": "delegation", "limit": "4000", "delegations": ["g1", "g2"]}
    ran = Ran(capsys, "hierarchy", "show", "nobody", archive)
    assert ran.code == 4 and "there is no organisation nobody" in ran.err


def test_list(archive: str, play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "hierarchy", "list", archive)
    rows = [line.split() for line in ran.out.splitlines()]
    assert rows[1:] == [
        ["acme", "owner", "5", "3", "1", "2", "1", "5", "1", "1"],
        ["zoo", "zoe", "1", "1", "0", "0", "0", "0", "0", "0"],
    ]
    assert [view["name"] for view in Ran(capsys, "hierarchy", "list", archive, "--json").objects] == ["acme", "zoo"]
    position = next(view.position for view in organisations_at(play) if view.name == "acme")
    before = f"hierarchy/{position.removeprefix('hierarchy/').partition('@')[0]}@1"
    (view,) = Ran(capsys, "hierarchy", "show", "acme", archive, "--at", before, "--json").objects
    assert (view["revision"], view["made"], view["decisions"]) == (1, 0, [])
    empty = Play(hierarchy=1)
    empty.save(Path(archive).with_name("empty.accord"))
    assert (
        Ran(capsys, "hierarchy", "list", str(Path(archive).with_name("empty.accord"))).out
        == "there is no organisation\n"
    )
