"""`accord state` on archives and live: texts, JSON, exit codes, any version of a scope."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from accord.replay.scopes import ChangeView, changes_of, history_of, scope_at
from accord.replay.source import Source
from accord.replay.timeline import Filter, timeline
from accord.replay.verify import verify
from accord.schemas.messages.state import CommitChanges, ConfigureScope, ReadKey, SeenKey, SeenRange, Write

from accord import replay
from tests.cli.support import Ran
from tests.histories.play import Play


def commit(agent: str, *writes: tuple[str, str, str | None], **terms: Any) -> CommitChanges:
    known: dict[str, Any] = {
        "agent": agent, "isolation": "serializable", "snapshot": None, "reads": (), "ranges": (), "rule": "",
        "rule_version": "",
    }  # fmt: skip
    return CommitChanges(writes=tuple(Write(*write) for write in writes), **(known | terms))


@pytest.fixture
def play() -> Play:
    play = Play(state=2)

    def send(key: str, *commands: Any) -> None:
        for command in commands:
            play.send(key, command, domain="state", after_ms=1_000)

    send("customer", ConfigureScope("ada", 1))
    send("customer", commit("ada", ("name", "put", '"[Ada]"'), ("limit", "put", "100")))
    send("customer", commit("bob", ("limit", "increment", "50")))
    send("customer", commit("eve", ("limit", "put", "9"), reads=(SeenKey("limit", 1),)))
    send("customer", commit("eve", ("new", "put", "9"), ranges=(SeenRange("na", 0, False),)))
    send("customer", commit("cleo", ("tags", "add", '["vip"]'), ("name", "delete", None)))
    send("customer", commit("bob", ("limit", "put", "300"), rule="raised", rule_version="2"))
    send("customer", ReadKey("bob", "limit", None))
    send("other", commit("dan", ("k", "put", "no json")))
    return play


@pytest.fixture
def archive(play: Play, tmp_path: Path) -> str:
    play.save(tmp_path / "shared.accord")
    return str(tmp_path / "shared.accord")


def test_list(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Ran(capsys, "state", "list", "--source", archive).out.splitlines()
    assert [line.split()[:4] for line in lines[1:-1]] == [["customer", "4", "2", "2"], ["other", "1", "1", "0"]]
    assert lines[-1] == "2 scopes" and lines[1].split()[-1] == "bob"
    ran = Ran(capsys, "state", "list", "--source", archive, "--json")
    assert [set(one) for one in ran.objects] == [{"scope", "version", "keys", "refused", "agent", "at", "position"}] * 2
    earliest = Ran(capsys, "state", "list", "--source", archive, "--at", "2026-02-25T00:00:00Z")
    assert earliest.code == 4 or earliest.out == "there is no scope\n"


def test_get(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Ran(capsys, "state", "get", "customer", "--source", archive).out.splitlines()
    assert [line.split()[:3] for line in lines[1:-1]] == [["limit", "300", "4"], ["tags", '["vip"]', "3"]]
    assert lines[-1] == "2 keys at version 4"
    lines = Ran(capsys, "state", "get", "customer", "limit", "--source", archive).out.splitlines()
    assert lines[0] == "300" and lines[1].startswith("version 4, bob, 2026-") and " state/" in lines[1]
    lines = Ran(capsys, "state", "get", "customer", "--source", archive, "--version", "1").out.splitlines()
    assert [line.split()[:3] for line in lines[1:-1]] == [["limit", "100", "1"], ["name", '"[Ada]"', "1"]]
    ran = Ran(capsys, "state", "get", "customer", "limit", "--source", archive, "--version", "2", "--json")
    (view,) = ran.objects
    assert (view["value"], view["operand"], view["operation"], view["before"]) == (150, 50, "increment", 1)
    at = view["at"]
    assert Ran(capsys, "state", "get", "customer", "limit", "--source", archive, "--at", str(at)).out[:3] == "150"
    assert Ran(capsys, "state", "get", "other", "k", "--source", archive).out.splitlines()[0] == '"no json"'


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["get", "nothing"], 4, "there is no scope nothing"),
        (["get", "customer", "name"], 4, "customer has no key name at version 4"),
        (["get", "customer", "--version", "1", "--at", "state/0@1"], 2, "--at and --version both say when"),
        (["history", "customer", "nothing"], 4, "nothing was ever done to nothing of customer"),
        (["history", "nothing"], 4, "nothing was ever done to nothing."),
    ],
)
def test_what_there_is_not(
    arguments: list[str], code: int, said: str, archive: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Ran(capsys, "state", *arguments, "--source", archive)
    assert ran.code == code and said in ran.err


def test_history(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What was dropped from the scope is on the log, and so is what was refused."""
    lines = Ran(capsys, "state", "history", "customer", "limit", "--source", archive).out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["1", "limit", "put"],
        ["2", "limit", "increment"],
        ["2", "limit", "refused"],
        ["4", "limit", "put"],
    ]
    assert "put by raised 2" in lines[-1] and "conflict: 1 changed since they were read" in lines[3]
    ran = Ran(capsys, "state", "history", "customer", "--source", archive, "--json")
    assert len(ran.objects) == 8
    refusals = [one for one in ran.objects if "reason" in one]
    assert [(one["reason"], one["agent"]) for one in refusals] == [("conflict", "eve"), ("too_old", "eve")]
    conflicts: Any = refusals[0]["conflicts"]
    assert conflicts == [{"key": "limit", "is_prefix": False, "expected": 1, "found": 2}]
    deleted = [one for one in ran.objects if one.get("operation") == "delete"]
    assert [(one["key"], one["value"], one["exists"]) for one in deleted] == [("name", None, False)]
    named = Ran(capsys, "state", "history", "customer", "name", "--source", archive, "--json").objects
    assert [one["operation"] for one in named] == ["put", "delete"], "a refusal without conflicts concerns the scope"


def test_the_log_verifies_and_the_timeline_tells_the_same(archive: str) -> None:
    with replay.open(archive) as log:
        source: Source = log.source
        assert verify(source).ok
        events = timeline(source, Filter(domains=("state",), event="ChangesCommitted", key="customer"))
        told = [view for event in events for view in changes_of(event)]
        changes = [view for view in history_of(source, "customer") if isinstance(view, ChangeView)]
        assert told == changes and len(told) == 6
        found = scope_at(source, "customer", version=3)
        assert found is not None and found.version == 3 and [view.key for view in found.keys] == ["limit", "tags"]
        assert json.loads(json.dumps(found.keys[0].value)) == 150
