"""`accord llm` on archives and on a running log: texts, JSON, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from accord.schemas.messages.llm import RequestAnswer

import accord
from accord.testing.model_server import ModelServer
from tests.agents.support import with_
from tests.cli.support import Ran
from tests.replay.test_llm import FAILED, TTL_MS, Desk


@pytest.fixture
def archive(tmp_path: Path) -> str:
    """ada has asked twice, once in vain, and bob has her answer; eve's prices are not known; kim was lost."""
    desk = Desk()
    desk.call("one", "ada", desk.ask("one", "ada", task="t-1"), 12_345, task="t-1")
    desk.ask("one", "bob", task="t-2")
    desk.call("two", "ada", desk.ask("two", "ada"), 0, outcome=FAILED)
    desk.call("three", "[eve]", desk.ask("three", "[eve]", model="own"), None, model="own")
    desk.ask("four", "kim")
    desk.ask("four", "bob", after_ms=60_000)
    desk.ask("four", "bob")
    desk.save(tmp_path / "desk.accord")
    return str(tmp_path / "desk.accord")


def test_costs(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "llm", "costs", archive)
    assert ran.code == 0
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[0] == [
        "agent", "calls", "cached", "failed", "lost", "tokens", "in", "tokens", "out", "cost", "saved"
    ]  # fmt: skip
    assert lines[1:] == [
        ["ada", "2", "0", "1", "0", "14", "6", "$0.0123", "$0.0000"],
        ["[eve]", "1", "0", "0", "0", "7", "3", "1", "unknown", "$0.0000"],
        ["bob", "0", "1", "0", "0", "0", "0", "$0.0000", "$0.0123"],
        ["kim", "0", "0", "0", "1", "0", "0", "$0.0000", "$0.0000"],
        ["total", "3", "1", "1", "1", "21", "9", "$0.0123", "and", "1", "unknown", "$0.0123"],
    ]
    by_model = Ran(capsys, "llm", "costs", archive, "--by", "model").out.splitlines()
    assert [line.split()[0] for line in by_model] == ["model", "gpt-4", "own", "total"]
    by_task = Ran(capsys, "llm", "costs", archive, "--by", "task").out.splitlines()
    assert [line.split()[0] for line in by_task] == ["task", "t-1", "-", "t-2", "total"]


def test_costs_as_json(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, *_ = Ran(capsys, "llm", "costs", archive, "--json").objects
    assert first == {
        "name": "ada", "calls": 2, "cached": 0, "failed": 1, "lost": 0, "input_tokens": 14, "output_tokens": 6,
        "cost_microusd": 12_345, "unpriced": 0, "saved_microusd": 0,
    }  # fmt: skip


def test_costs_that_cannot_be(tmp_path: Path, archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "llm", "costs", archive, "--by", "moon")
    assert (ran.code, ran.err) == (2, "BadInput: --by moon: costs are added up by agent, model, task.\n")
    Desk().save(tmp_path / "empty.accord")
    assert Ran(capsys, "llm", "costs", str(tmp_path / "empty.accord")).out == "no model was called\n"


def test_show(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "llm", "show", "one", archive)
    assert ran.code == 0
    assert "one  gpt-4, kept until 2026-02-25T" in ran.out
    assert "1 call, 1 answer without one" in ran.out
    (row,) = [line for line in ran.out.splitlines() if "answered" in line]
    assert row.split()[1:] == ["ada", "t-1", "answered", "7", "3", "$0.0123", "1.0", "s", "1"]
    assert ran.out.splitlines()[-1] == "  42"
    failed = Ran(capsys, "llm", "show", "two", archive).out
    assert "no answer is kept" in failed and failed.splitlines()[-1].split()[-1] == "503"
    assert "bob asks it now, 1 wait for that" in Ran(capsys, "llm", "show", "four", archive).out
    assert "unknown" in Ran(capsys, "llm", "show", "three", archive).out


def test_show_at_a_point(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    (now,) = Ran(capsys, "llm", "show", "one", archive, "--json").objects
    assert (now["kept"], now["cached"], now["text"], len(now["calls"])) == (True, 1, "42", 1)
    (then,) = Ran(capsys, "llm", "show", "one", archive, "--at", now["calls"][0]["position"], "--json").objects
    assert then["cached"] == 0
    missing = Ran(capsys, "llm", "show", "nothing", archive)
    assert (missing.code, "has no request nothing to a model" in missing.err) == (4, True)


def test_a_call_is_told_of_in_the_trace_of_its_task(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = Ran(capsys, "tasks", "trace", "t-1", archive).out
    told = "gpt-4 answered in 0.99 s for 7 and 3 tokens, $0.0123: 42"
    assert out.splitlines()[0].endswith("gpt-4, token 2") and out.splitlines()[1].endswith(told)
    assert Ran(capsys, "tasks", "trace", "t-2", archive).out.rstrip().endswith("gpt-4: 42")


def test_only_the_last_calls_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk()
    for _ in range(21):
        desk.call("one", "ada", None)
    desk.save(tmp_path / "many.accord")
    out = Ran(capsys, "llm", "show", "one", str(tmp_path / "many.accord")).out
    assert "the last 20:" in out
    assert sum("answered" in line for line in out.splitlines()) == 20


def test_forget(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with ModelServer() as server, accord.sync.local() as hub:
        monkeypatch.setenv("ACCORD_TOPICS__PARTITIONS", str(hub.settings.topics.partitions))
        monkeypatch.setenv("ACCORD_KAFKA__IDEMPOTENT", "false")
        at = ("--bootstrap", hub.settings.kafka.bootstrap_servers)
        with hub.model(with_(hub.settings, "llm", base_url=server.base_url).llm) as model:
            request = model.ask("Which?").request
            ran = Ran(capsys, "llm", "forget", request, *at)
            assert ran.code == 0 and f"forgot the answer to {request}: llm/" in ran.out
            assert not model.ask("Which?").cached
            (told,) = Ran(capsys, "llm", "forget", request, *at, "--json").objects
            assert (told["request"], told["forgotten"]) == (request, True)
        again = Ran(capsys, "llm", "forget", request, *at)
        assert (again.code, "no answer was kept" in again.err) == (4, True)
        asked = RequestAnswer("ada", "", "", 0, "gpt-4", TTL_MS, 30_000)
        hub.connection.submit("llm", "under way", asked).decided.result()
        assert Ran(capsys, "llm", "forget", "under way", *at).code == 0, "who asks it now is not to be believed"
