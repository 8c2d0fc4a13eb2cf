"""`accord replay fork`: what it prints, what it saves, how it ends, and the one way to a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from accord.agents.llm.question import Question
from accord.schemas.messages.llm import RequestAnswer

from accord.testing.model_server import ModelServer
from tests.cli.support import Ran
from tests.histories.booking import booking
from tests.histories.town import Town

KEY = "locks.commands/0@0"
BLUE = Question("test-model", "", "Which colour is the sky?", 512, {})


@pytest.fixture
def archive(tmp_path: Path) -> str:
    booking().save(tmp_path / "hotel.accord")
    return str(tmp_path / "hotel.accord")


@pytest.fixture
def asking(tmp_path: Path) -> str:
    """Somebody asks a model, and is asked in turn to ask it something else."""
    made = Town(llm=1)
    made.at(10, "ada", "llm", "old", RequestAnswer("ada", "", "", 0, "gpt-4", 0, 3_001))
    made.run(20_000).save(tmp_path / "asking.accord")
    return str(tmp_path / "asking.accord")


def more(question: str) -> str:
    fields = {"task": "", "step": "", "run": 0, "model": "test-model", "ttl_ms": 0, "lease_ms": 3_000}
    told = {"domain": "llm", "key": question, "command": "RequestAnswer", "agent": "eve", "fields": fields}
    return "insert " + json.dumps(told | {"after": "llm/0@1"})


def test_as_json_it_is_one_object(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = Ran(capsys, "replay", "fork", archive, "--change", f"{KEY} lease_ms=30000", "--json").objects
    assert (found["same"], found["stopped"], found["at"]) == (False, None, "signals/0@1")
    assert [one["key"] for one in found["outcomes"]] == ["room_12"]
    assert found["outcomes"][0]["forked"][0]["data"]["lease_ms"] == 30_000
    assert [one["agent"] for one in found["agents"]] == ["bob", "ada"]
    assert found["recorded"]["decisions"] == 8 and found["forked"]["decisions"] == 7


def test_without_a_change_it_is_the_same(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "replay", "fork", archive)
    assert ran.code == 0 and ran.out.splitlines()[-1] == "the same, byte for byte"


def test_a_fork_is_saved_beside_the_original_never_over_it(
    archive: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = str(tmp_path / "fork.accord")
    ran = Ran(capsys, "replay", "fork", archive, "--change", f"remove {KEY}", "--save", saved)
    assert ran.code == 0 and f"saved in {saved}" in ran.out
    assert Ran(capsys, "replay", "verify", saved).code == 0
    for there in (archive, saved):
        ran = Ran(capsys, "replay", "fork", archive, "--change", f"remove {KEY}", "--save", there)
        assert ran.code == 2 and "holds an archive already" in ran.err
    assert Ran(capsys, "replay", "verify", archive).out.startswith("identical: 9 commands")


def test_what_cannot_be_is_said(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    for code, words, *arguments in (
        (2, "no change", "--change", "foo"),
        (4, "nothing after", "--change", "locks/room_9 AcquireLock lease_ms=9000"),
        (2, "agents='free'", "--agents", "free"),
        (2, "names nothing", "--llm", "free"),
        (2, "--questions FILE", "--llm", "live"),
        (2, "nowhere", "--llm", "live", "--questions", "nowhere.jsonl"),
    ):
        ran = Ran(capsys, "replay", "fork", archive, *arguments)
        assert (ran.code, words in ran.err) == (code, True), ran.err


def test_a_new_question_ends_it_unless_something_answers(asking: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "replay", "fork", asking, "--change", more("new"))
    assert ran.code == 3 and "eve asks test-model what the record has no answer to (new)" in ran.out
    assert Ran(capsys, "replay", "fork", asking, "--change", more("new"), "--llm", "recorded").code == 0
    stand_in = f"{__name__}:stand_in"
    (found,) = Ran(capsys, "replay", "fork", asking, "--change", more("new"), "--llm", stand_in, "--json").objects
    assert [one["answer"] for one in found["questions"]] == ["stand-in"]
    assert (found["recorded"]["calls"], found["forked"]["calls"]) == (0, 1)


def stand_in(_: object) -> str:
    return "blue"


def test_live_asks_the_model_of_the_settings_what_the_file_has(
    asking: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"model": BLUE.model, "prompt": BLUE.prompt, "max_tokens": BLUE.max_tokens}))
    with ModelServer() as server:
        monkeypatch.setenv("ACCORD_LLM__BASE_URL", server.base_url)
        arguments = ("replay", "fork", asking, "--llm", "live", "--questions", str(questions), "--json")
        (found,) = Ran(capsys, *arguments, "--change", more(BLUE.hash)).objects
        assert [one["answer"] for one in found["questions"]] == ["live"]
        assert server.counts.answered == 1
        (found,) = Ran(capsys, *arguments, "--change", more("unknown")).objects
        assert [one["answer"] for one in found["questions"]] == ["none"]
        assert server.counts.answered == 1, "nothing but what the file has is asked"
