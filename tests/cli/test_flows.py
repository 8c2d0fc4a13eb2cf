"""`accord flows` on archives, and which flows a module has."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.cli.flows import flows_of
from accord.errors import BadInput
from tests.agents.shop_flows import FLOWS
from tests.cli.support import Ran
from tests.histories.play import Play
from tests.histories.shop import shop


@pytest.fixture
def archive(tmp_path: Path) -> str:
    shop().save(tmp_path / "shop.accord")
    return str(tmp_path / "shop.accord")


def test_list(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "flows", "list", archive)
    lines = ran.out.splitlines()
    assert ran.code == 0 and lines[0].split() == ["name", "emits", "results", "last", "what"]
    assert [line.split()[:3] for line in lines[1:-1]] == [
        ["joined", "settled", "0"], ["odd", "other", "0"], ["odder", "other", "0"],
        ["totals", "told", "12"], ["totals", "told.late", "0"],
    ]  # fmt: skip
    assert lines[-1] == "4 flows"
    whats = {view["name"]: view["what"] for view in Ran(capsys, "flows", "list", archive, "--json").objects}
    assert whats == {
        "totals": "paid | hopping 1,000 ms every 500 ms | by room | n=count(), total=sum_of(amount) | filter",
        "joined": "order | map | join paid on id = order within 5,000 ms",
        "odd": "no definition that this release reads",
        "odder": "no definition that this release reads",
    }


def test_show(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "flows", "show", "totals", archive)
    assert ran.code == 0 and "takes events from signals/0@1, signals/1@7; 12 results" in ran.out
    told, late = Ran(capsys, "flows", "show", "totals", archive, "--json").objects
    assert (told["event"], late["event"], told["results"], late["results"]) == ("told", "told.late", 12, 0)
    assert [(one["number"], one["data"]["n"]) for one in told["recent"]] == [(n, n) for n in range(12, 2, -1)]
    assert set(told) == {
        "name", "event", "what", "agent", "begun_at", "began", "results", "last_at", "recent", "definition", "position",
    }  # fmt: skip
    ran = Ran(capsys, "flows", "show", "none", archive)
    assert ran.code == 4 and "there is no flow none" in ran.err


def test_a_log_without_flows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Play(signals=1).save(tmp_path / "empty.accord")
    assert Ran(capsys, "flows", "list", str(tmp_path / "empty.accord")).out == "there is no flow\n"


def test_the_flows_of_a_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert flows_of("tests.agents.shop_flows") == list(FLOWS)
    for module in ("tests.agents.nowhere", "tests.counts"):
        with pytest.raises(BadInput, match=module):
            flows_of(module)
    ran = Ran(capsys, "flows", "run", "tests.counts")
    assert ran.code == 2 and "has no flow" in ran.err
