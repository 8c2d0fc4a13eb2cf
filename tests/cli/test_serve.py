"""`accord serve` and `accord work`: what is wrong is said before anything is connected, without a traceback."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from accord.settings import Settings
from accord.testing.model_server import ModelServer
from tests.cli.support import Ran

CLOSED = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCORD_KAFKA__CONNECT_TIMEOUT_MS", "300")


def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = Ran(capsys, "serve", "--port", str(port), "--bootstrap", CLOSED)
    assert ran.code == 2
    assert ran.err.startswith(f"ConfigError: 127.0.0.1:{port} cannot be listened at: Address already in use")


def test_an_address_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "serve", "--host", "nowhere.invalid", "--port", "0", "--bootstrap", CLOSED)
    assert (ran.code, ran.err[:50]) == (2, "ConfigError: nowhere.invalid:0 cannot be listened ")


def test_no_broker(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["serve", "--port", "0"], ["work", "writer"]):
        ran = Ran(capsys, *command, "--bootstrap", CLOSED)
        assert (ran.code, ran.err.partition(":")[0]) == (3, "KafkaUnreachable")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ran = Ran(capsys, "serve")
    assert ran.code == 2
    assert ran.err == (
        "ConfigError: accord serve needs uvicorn, which is not installed. pip install 'accord[service]'\n"
    )


def test_an_agent_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "work", "content", "painter", "--bootstrap", CLOSED)
    assert ran.code == 2
    assert ran.err.startswith("BadInput: 'painter' is no agent of the service. There are the groups content, research,")


def test_one_terminal_is_enough(tmp_path: Path) -> None:
    with ModelServer(lambda _: "Bees dance.") as model:
        environment = {
            "ACCORD_LLM__BASE_URL": model.base_url,
            "ACCORD_LLM__API_KEY": "any",
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(tmp_path),
        }
        program = subprocess.Popen(
            [sys.executable, "-c", "from accord.cli import main; main()", "dev", "--serve", "--port", "0"],
            env=os.environ | environment,
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert program.stderr is not None
            url = next(found[0] for line in program.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
            asked = urllib.request.Request(f"{url}/create-content", json.dumps({"topic": "bees"}).encode())
            with urllib.request.urlopen(asked, timeout=20) as begun:
                task_id = json.load(begun)["task_id"]
            record = {"completed_at": None}
            while record["completed_at"] is None:
                time.sleep(0.05)
                with urllib.request.urlopen(f"{url}/task/{task_id}", timeout=20) as answer:
                    record = json.load(answer)
            assert record["result"] == {"topic": "bees", "final_article": "Bees dance.", "word_count": 2}
            found = json.loads((tmp_path / ".accord" / "dev.json").read_text())
            assert found["settings"]["artifacts"]["url"].startswith("file://")
            program.terminate()
            program.communicate(timeout=30)
            assert program.returncode == 0
            assert not (tmp_path / ".accord" / "dev.json").exists()
        finally:
            program.kill()
            program.communicate()
    assert list(tmp_path.iterdir()) == [tmp_path / ".accord"], "nothing of the broker's is left"


def test_what_dev_cannot_serve(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "dev", "--port", "8080")
    assert (ran.code, ran.err) == (2, "BadInput: --port is that of the service. Add --serve.\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = Ran(capsys, "dev", "--serve", "--port", str(taken.getsockname()[1]))
    assert ran.code == 2 and "cannot be listened at" in ran.err


def test_tokens_are_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tokens"
    file.write_text(json.dumps(["a secret of some length"]))
    monkeypatch.setenv("ACCORD_SERVICE__TOKENS_FILE", str(file))
    shown = {row["name"]: row["value"] for row in Ran(capsys, "config", "show", "--json").objects}
    assert shown["service.tokens"] == "(hidden)"
    secret = "a secret of any length"
    for tokens, problem in (
        (["too short"], "token 0 is no text of 16 characters"),
        ({secret: ["read"], "too short": ["read"]}, "token 1 is no text of 16 characters"),
        ({secret: ["everything"]}, "token 0: its scopes are a list of content, research, read"),
        ({secret: "read"}, "token 0: its scopes are a list"),
        (7, "a list of tokens"),
    ):
        file.write_text(json.dumps(tokens))
        ran = Ran(capsys, "serve")
        assert ran.code == 2 and f"service.tokens: Value error, {problem}" in ran.err
        assert secret not in ran.err and "too short" not in ran.err
    file.write_text(json.dumps({secret: ["content", "read"]}))
    assert Settings.load().service.tokens == {secret: ("content", "read")}
