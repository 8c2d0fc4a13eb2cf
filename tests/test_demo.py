"""script/demo, as its user runs it: processes, signals, the archive that it leaves, what it prints."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from accord import replay
from tests.counts import only_long

CHECKOUT = Path(__file__).resolve().parent.parent
DEMO = CHECKOUT / "examples" / "demo"
TIME_LIMIT_S = 60


def environment(**more: str) -> dict[str, str]:
    """That of this process, without what would lead the demo elsewhere."""
    away = ("ACCORD_", "OPENAI_", "KAFKA_")
    return {name: value for name, value in os.environ.items() if not name.startswith(away)} | more


def demo(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEMO, *options],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def summary_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    summary: dict[str, Any] = json.loads(line)
    return summary


def check(folder: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What must hold on any broker, from the summary, the archive and the screen."""
    summary = summary_of(done)
    assert summary["ok"]
    assert summary["seconds"] < TIME_LIMIT_S
    assert sorted(booking["room"] for booking in summary["bookings"]) == ["12", "14"]
    killed, paused = summary["killed"], summary["paused"]
    assert killed != paused
    assert not {killed, paused} & {booking["agent"] for booking in summary["bookings"]}
    kept = {name: promise["kept"] for name, promise in summary["promises"].items()}
    assert kept == dict.fromkeys(("bookings", "fenced", "takeover", "pause", "stale_write", "verify"), True)
    with replay.open(str(folder / "hotel.accord")) as log:
        assert log.verify().ok
        events = list(log.events())
    expired = {event.agent for event in events if event.event == "LeaseExpired"}
    assert {killed, paused} <= expired
    assert [event.data["resource"] for event in events if event.event == "StaleWriteRefused"]
    assert f"SIGKILL to {killed}" in done.stderr
    return summary


def test_the_race_on_the_embedded_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / "hotel.accord" / "writing.json"
    left.parent.mkdir()
    left.write_text("{}")  # of a run before that was killed
    done = demo(tmp_path, "--json")
    assert not left.exists()
    assert check(tmp_path, done)["broker"] == "embedded"
    assert "a stand-in answers for the language model" in done.stderr
    assert "model: stand-in" in done.stderr
    broken_promises_show(summary_of(done), tmp_path / "hotel.accord", monkeypatch)


def broken_promises_show(summary: dict[str, Any], archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of the demo fail when they should: on another ledger, on other agents than those that were struck."""
    monkeypatch.syspath_prepend(DEMO)
    story = importlib.import_module("story").Story(str(archive))
    booking = importlib.import_module("hotel").Booking
    bookings = [booking(**line) for line in summary["bookings"]]
    killed, paused = summary["killed"], summary["paused"]

    def broken(ledger: list[Any], killed: str, paused: str) -> list[str]:
        return [promise.name for promise in story.promises(ledger, ("12", "14"), killed, paused) if not promise.kept]

    assert broken(bookings, killed, paused) == []
    assert broken([*bookings, bookings[0]], killed, paused) == ["bookings"]
    assert broken(bookings[:1], killed, paused) == ["bookings"]
    assert broken([bookings[0], bookings[1]._replace(token=bookings[1].token - 1)], killed, paused) == ["fenced"]
    winner = bookings[0].agent
    assert broken(bookings, winner, paused) == ["takeover"]
    assert broken(bookings, killed, winner) == ["pause", "stale_write"]


@only_long
def test_the_race_on_kafka(tmp_path: Path, accord_kafka: str) -> None:
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415

    done = demo(tmp_path, "--json", "--kafka", KAFKA_BOOTSTRAP_SERVERS=accord_kafka)
    assert check(tmp_path, done)["broker"] == "kafka"
    left = AdminClient({"bootstrap.servers": accord_kafka}).list_topics(timeout=10).topics
    assert not [name for name in left if "accord-demo" in name]


@only_long
def test_without_locks_rooms_are_booked_twice(tmp_path: Path) -> None:
    done = demo(tmp_path, "--no-locks", "--json")
    summary = summary_of(done)
    assert summary["double_bookings"] > 0
    assert "bookings for 2 rooms" in done.stderr


def test_an_interrupt_ends_every_agent(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-u", DEMO], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    agents: list[int] = []
    for line in running.stdout:
        if "five agents are ready" in line:
            agents = children(running.pid)
        if "SIGSTOP" in line:
            break
    assert len(agents) == 5
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not [pid for pid in agents if alive(pid)]


def test_what_is_no_archive_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "hotel.accord").mkdir()
    (tmp_path / "hotel.accord" / "notes.txt").write_text("mine")
    done = demo(tmp_path)
    assert done.returncode == 2
    assert "is not empty and is no archive" in done.stdout
    assert (tmp_path / "hotel.accord" / "notes.txt").read_text() == "mine"


@only_long
def test_a_model_that_cannot_be_asked(tmp_path: Path) -> None:
    done = demo(tmp_path, ACCORD_LLM__BASE_URL="http://127.0.0.1:9/v1")
    assert done.returncode == 3
    assert "No answer from 127.0.0.1:9" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_the_script_passes_its_options_on() -> None:
    done = subprocess.run([CHECKOUT / "script" / "demo", "--help"], capture_output=True, text=True, check=True)
    assert "--no-locks" in done.stdout


def children(pid: int) -> list[int]:
    """Ids of the processes that a process started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not Path(f"/proc/{pid}").exists():
            return False
        time.sleep(0.05)
    return True
