"""The command line on archives: texts, JSON, exit codes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from accord.schemas.messages.locks import AcquireLock, ReleaseLock
from accord.schemas.topics import topic_table

from accord.mock import MockCluster
from tests.cli.support import Ran
from tests.histories.play import Play

CLOSED = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCORD_KAFKA__CONNECT_TIMEOUT_MS", "300")


@pytest.fixture
def play() -> Play:
    play = Play(locks=1)
    granted = play.send("room_1", AcquireLock("ada", "ada/1", 5_000, None), task="trip")
    play.send("room_1", AcquireLock("bob", "bob/1", 5_000, None))
    play.send("room_1", ReleaseLock("ada", granted.decision.seq))
    return play


@pytest.fixture
def archive(play: Play, tmp_path: Path) -> str:
    play.save(tmp_path / "sound.accord")
    return str(tmp_path / "sound.accord")


@pytest.fixture
def forged(play: Play, tmp_path: Path) -> str:
    log = play.log_events["locks", 0]
    log[2] = log[2]._replace(value=log[1].value)
    play.save(tmp_path / "forged.accord")
    return str(tmp_path / "forged.accord")


@pytest.fixture
def holed(play: Play, tmp_path: Path) -> str:
    del play.log_commands["locks", 0][1]
    play.save(tmp_path / "holed.accord")
    return str(tmp_path / "holed.accord")


def test_verify_identical(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "replay", "verify", archive)
    assert (ran.code, ran.out, ran.err) == (0, "identical: 3 commands, 5 events, 1 partition\n", "")


def test_verify_in_json(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    (report,) = Ran(capsys, "replay", "verify", archive, "--json").objects
    assert {"ok", "commands", "events", "partitions", "divergences", "gaps", "duration_ms"} <= set(report)
    assert (report["ok"], report["commands"], report["divergences"]) == (True, 3, [])


def test_verify_divergent(forged: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "replay", "verify", forged)
    assert ran.code == 1
    assert "divergent: 1 divergence" in ran.out
    assert "locks/0@2  key room_1  cause locks.commands/0@1" in ran.out
    assert "expected  LockQueued" in ran.out and "got       LockGranted" in ran.out
    ran = Ran(capsys, "replay", "verify", forged, "--json")
    (report,) = ran.objects
    assert ran.code == 1 and report["ok"] is False
    (divergence,) = report["divergences"]  # type: ignore[misc]
    assert set(divergence) == {"position", "key", "expected", "got", "causes", "kind", "told", "history"}


def test_verify_all_divergences(forged: str, capsys: pytest.CaptureFixture[str]) -> None:
    (report,) = Ran(capsys, "replay", "verify", forged, "--all", "--json").objects
    assert [d["position"] for d in report["divergences"]] == ["locks/0@2", "locks/0@3"]  # type: ignore[attr-defined]


def test_verify_what_it_could_not_look_at(holed: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "replay", "verify", holed)
    assert ran.code == 3
    assert "incomplete" in ran.out and "locks.commands/0@1 was decided, but is not in the log" in ran.out


def test_verify_a_damaged_file(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(archive) / "accord.locks.events.v1-0.avro"
    file.write_bytes(file.read_bytes()[:-1])
    ran = Ran(capsys, "replay", "verify", archive)
    assert ran.code == 1
    assert ran.err.startswith("ArtifactDamaged: ") and file.name in ran.err and "Traceback" not in ran.err


def test_an_archive_that_was_not_completed(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(archive) / "manifest.json").rename(Path(archive) / "writing.json")
    assert Ran(capsys, "replay", "verify", archive).code == 1
    assert Ran(capsys, "replay", "verify", archive, "--partial").code == 0


def test_state(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "replay", "state", archive, "--at", "locks/0@2")
    assert ran.code == 0
    assert "holders(" in ran.out and "agent=ada" in ran.out and "waiters(" in ran.out
    (world,) = Ran(capsys, "replay", "state", archive, "--json").objects
    assert world["partitions"][0]["aggregates"]["room_1"]["holders"][0]["agent"] == "bob"  # type: ignore[index]
    assert world["hash"] in Ran(capsys, "replay", "state", archive).out  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["replay", "state", "ARCHIVE", "--at", "locks/0@9"], 4, "NotFound"),
        (["replay", "state", "ARCHIVE", "--at", "2001-01-01T00:00:00Z"], 4, "NotFound"),
        (["replay", "state", "ARCHIVE", "--at", "1842"], 2, "BadInput"),
        (["replay", "verify", "ARCHIVE", "--domain", "auctions"], 4, "NotFound"),
        (["replay", "verify", "gone.accord"], 4, "NotFound"),
        (["replay", "verify", "nonsense"], 2, "BadInput"),
        (["events", "list", "ARCHIVE", "--from", "locks/4@0"], 4, "NotFound"),
        (["replay", "verify", CLOSED], 3, "KafkaUnreachable"),
        (["events", "tail", "--bootstrap", CLOSED], 3, "KafkaUnreachable"),
        (["topics", "init", "--bootstrap", CLOSED], 3, "KafkaUnreachable"),
        (["dlq", "list", "--bootstrap", CLOSED], 3, "KafkaUnreachable"),
        (
            ["rules", "switch", "--domain", "locks", "--version", "9", "--reason", "x", "--bootstrap", CLOSED],
            2,
            "BadInput",
        ),
        (["events", "export", "ARCHIVE", "ARCHIVE"], 2, "BadInput"),
    ],
)
def test_errors(archive: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, error: str) -> None:
    arguments = [archive if argument == "ARCHIVE" else argument for argument in arguments]
    ran = Ran(capsys, *arguments)
    assert ran.code == code and ran.err.startswith(f"{error}: ") and ran.out == ""
    ran = Ran(capsys, *arguments, "--json")
    described = json.loads(ran.err)
    assert ran.code == code and described["code"] == error
    assert {"error", "code", "remedy", "agent", "key", "holder", "position"} <= set(described)


@pytest.mark.parametrize("arguments", [["nosuch"], ["replay", "verify", "--nosuch"], ["replay"], []])
def test_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert Ran(capsys, *arguments).code == 2


def test_events_list(archive: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "events", "list", archive, "--agent", "bob")
    assert ran.code == 0
    first, second = ran.out.splitlines()
    assert "06:13:20.020  locks/0@2" in first and "LockQueued" in first and "room_1" in first
    assert "LockGranted" in second
    (event,) = Ran(capsys, "events", "list", archive, "--limit", "1", "--task", "trip", "--json").objects
    assert list(event) == [
        "id", "position", "time", "event", "key", "agent", "task_id", "data", "clock", "cause",
        "command_id",
    ]  # fmt: skip


def test_events_export_gives_the_same_archive(archive: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "events", "export", archive, str(tmp_path / "copy.accord"))
    assert ran.code == 0 and "7 records" in ran.out
    for file in Path(archive).glob("*.avro"):
        assert file.read_bytes() == (tmp_path / "copy.accord" / file.name).read_bytes()
    assert Ran(capsys, "replay", "verify", str(tmp_path / "copy.accord")).code == 0


def test_config_show(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "accord.toml").write_text('[topics]\nprefix = "trial"\n[locks]\nlease_ms = 9_000\n')
    monkeypatch.setenv("ACCORD_LOCKS__LEASE_MS", "8000")
    monkeypatch.setenv("ACCORD_KAFKA__SASL_PASSWORD", "hunter2")
    ran = Ran(capsys, "config", "show", "--json")
    rows = {row["name"]: (row["value"], row["origin"]) for row in ran.objects}
    assert rows["topics.prefix"] == ("trial", "accord.toml")
    assert rows["locks.lease_ms"] == (8_000, "environment")
    assert rows["topics.partitions"] == (6, "default")
    assert rows["kafka.sasl_password"] == ("(hidden)", "environment")
    text = Ran(capsys, "config", "show")
    assert "hunter2" not in ran.out + text.out and "trial" in text.out


def test_config_check(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Ran(capsys, "config", "check").code == 0
    monkeypatch.setenv("ACCORD_KAFKA_BOOTSTRAP_SERVERS", "a:1")
    ran = Ran(capsys, "config", "check")
    assert ran.code == 2 and "ACCORD_KAFKA__BOOTSTRAP_SERVERS?" in ran.out
    monkeypatch.delenv("ACCORD_KAFKA_BOOTSTRAP_SERVERS")
    (tmp_path / "accord.toml").write_text("[locks]\nleash_ms = 9_000\n")
    ran = Ran(capsys, "config", "check")
    assert ran.code == 2 and ran.err.startswith("ConfigError: ") and "leash_ms" in ran.err


def test_doctor_without_a_broker(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "doctor", "--bootstrap", CLOSED, "--json")
    assert ran.code == 3
    assert [(found["check"], found["ok"]) for found in ran.objects] == [("settings", True), ("broker", False)]


def test_the_program_is_light_and_says_its_version() -> None:
    """`accord --help` imports no Faust, no Kafka client, nothing of replay."""
    code = (
        "import sys; from accord.cli.app import run; code = run(['--help']); "
        "print([m for m in ('faust', 'confluent_kafka', 'accord.replay.source', 'pydantic') if m in sys.modules]); "
        "sys.exit(code)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
    program = Path(sys.executable).with_name("accord")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("accord ")


def test_doctor_on_the_embedded_broker_says_what_it_cannot_tell(capsys: pytest.CaptureFixture[str]) -> None:
    with MockCluster() as broker:
        for topic in topic_table(partitions=6):
            broker.create_topic(topic.name, topic.partitions)
        ran = Ran(capsys, "doctor", "--bootstrap", broker.bootstrap_servers, "--json")
    found = {row["check"]: row["ok"] for row in ran.objects}
    assert ran.code == 0
    assert found == {"settings": True, "broker": True, "topics": None, "clock": True, "workers": None, "decided": True}


def test_events_list_colours_agents_apart(archive: str) -> None:
    code = f"from accord.cli.app import run; run(['events', 'list', {archive!r}])"
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    colours = {agent: set(re.findall(rf"\x1b\[(\d+)m{agent} ", ran.stdout)) for agent in ("ada", "bob")}
    assert [len(found) for found in colours.values()] == [1, 1] and colours["ada"] != colours["bob"]
