"""`accord agents health|roles`, and what `list` and `show` tell of heartbeats."""

from __future__ import annotations

from pathlib import Path

import pytest
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.messages.log import Tick
from accord.schemas.messages.roster import Beat, BeginPresence, JoinTeam, Tie
from accord.streams.roster.bounds import ROLE_PREFIX

from tests.cli.support import Ran
from tests.histories.office import Office


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """ada beats again after a suspicion, bob is suspected and stands by, eve has failed and was the planner."""
    office, requests = Office(), {}
    for agent in ("eve", "ada", "bob"):
        lock = AcquireLock(agent, f"{agent}/o", 60_000, None)
        requests[agent] = office.send(f"{ROLE_PREFIX}planner", lock).decision.command_id
    office.tell("roster", "default", JoinTeam("ada", "ada/1", ("write",), 1, 60_000))
    for agent, more in (("eve", ()), ("bob", ()), ("ada", (Tie("roster", "default", "ada/1"),))):
        ties = (Tie("locks", f"{ROLE_PREFIX}planner", requests[agent]), *more)
        office.tell("roster", f"{agent}/77", BeginPresence(agent, 800, 2_400, 4_000, ties), after_ms=1)
    office.tell("roster", "bob/77", Beat("bob", (), ()), after_ms=1_500)
    office.tell("roster", "ada/77", Beat("ada", (), ()), after_ms=1_000)
    office.tell("roster", "eve/77", Tick(), after_ms=1_600)
    office.tell("roster", "bob/77", Tick())
    office.save(tmp_path_factory.mktemp("logs") / "health.accord")
    return str(tmp_path_factory.getbasetemp() / "logs0" / "health.accord")


def test_health(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = {one["agent"]: one for one in Ran(capsys, "agents", "health", archive, "--json").objects}
    assert {agent: one["health"] for agent, one in found.items()} == {
        "ada": "alive", "bob": "suspected", "eve": "failed",
    }  # fmt: skip
    assert {agent: one["suspicions"] for agent, one in found.items()} == {"ada": 1, "bob": 0, "eve": 0}
    assert found["ada"]["hangs"] == [f"locks {ROLE_PREFIX}planner", "team default"] and found["eve"]["hangs"] == []
    assert found["bob"]["silent_ms"] > 2_400 and found["bob"]["since"].endswith("Z")
    lines = Ran(capsys, "agents", "health", archive).out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["ada", "bob", "eve"]
    assert "suspected" in lines[2] and "failed" in lines[3]


def test_roles(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    (planner,) = Ran(capsys, "agents", "roles", archive, "--json").objects
    assert (planner["role"], planner["holder"]) == ("planner", "ada"), "it was eve, who failed"
    assert [one["agent"] for one in planner["standbys"]] == ["bob"] and planner["token"] > 0
    assert "planner" in Ran(capsys, "agents", "roles", archive).out
    nobody = Ran(capsys, "agents", "roles", archive, "--at", "locks/0@0")
    assert "nobody has a role" in nobody.out


def test_list_and_show_tell_the_health(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    (team,) = Ran(capsys, "agents", "list", archive, "--json").objects
    (member,) = team["members"]
    assert (member["health"], member["suspicions"]) == ("alive", 1) and member["health_since"].endswith("Z")
    assert "is suspected as bob/77 since" in Ran(capsys, "agents", "show", "bob", archive).out
    shown = Ran(capsys, "agents", "show", "ada", archive).out
    assert "is alive as ada/77" in shown and "1 false suspicion" in shown
    (view,) = Ran(capsys, "agents", "show", "eve", archive, "--json").objects
    assert [one["health"] for one in view["processes"]] == ["failed"]


def test_nobody_beats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    office = Office()
    office.tell("roster", "default", JoinTeam("ada", "ada/1", ("write",), 1, 60_000))
    office.save(tmp_path / "quiet.accord")
    assert "no process beats" in Ran(capsys, "agents", "health", str(tmp_path / "quiet.accord")).out
