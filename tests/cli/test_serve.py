"""`accord serve` and `accord work`: what is wrong is said before anything is connected, without a traceback."""

import json
import socket
import sys
from pathlib import Path

import pytest

from accord.settings import Settings
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
