"""The examples, as their readers run them: on a real Kafka with a worker and, in the long run, by themselves, too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from accord import replay
from tests.counts import only_long
from tests.topics import fresh_prefix

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ACCORD = (sys.executable, "-c", "from accord.cli import main; main()")


def environment(**more: str) -> dict[str, str]:
    """That of this process, without what would lead an example elsewhere."""
    away = ("ACCORD_", "OPENAI_", "KAFKA_")
    return {name: value for name, value in os.environ.items() if not name.startswith(away)} | more


@pytest.fixture(params=["kafka", pytest.param("local", marks=only_long)])
def log(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment of an example: empty, or naming a log on Kafka."""
    return environment() if request.param == "local" else request.getfixturevalue("log_on_kafka")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def log_on_kafka(accord_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A log on a real Kafka, with a worker process."""
    folder = tmp_path_factory.mktemp("worker")
    variables = environment(
        ACCORD_KAFKA__BOOTSTRAP_SERVERS=accord_kafka,
        ACCORD_TOPICS__PREFIX=fresh_prefix(accord_kafka, "examples"),
        ACCORD_TOPICS__PARTITIONS="2",
        ACCORD_WORKER__DATA_DIR=str(folder / "data"),
    )
    subprocess.run([*ACCORD, "topics", "init"], env=variables, cwd=folder, check=True, capture_output=True, timeout=60)
    with (folder / "log").open("wb") as output:
        worker = subprocess.Popen([*ACCORD, "worker"], env=variables, cwd=folder, stdout=output, stderr=output)
        try:
            yield variables
            assert worker.poll() is None, (folder / "log").read_text()
        finally:
            worker.terminate()
            worker.wait(30)


def run(example: str, folder: Path, variables: dict[str, str]) -> list[str]:
    """The lines that an example prints."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{example}.py"],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.splitlines()


def test_quickstart_books_once_and_its_archive_verifies(tmp_path: Path) -> None:
    assert run("quickstart", tmp_path, environment()) == ["recorded: ada: booked", "recorded: bob: taken"]
    with replay.open(str(tmp_path / "hotel.accord")) as kept:
        report = kept.verify()
    assert report.ok and report.events > 10


def test_hotel_is_booked_after_the_research_with_its_result(tmp_path: Path, log: dict[str, str]) -> None:
    lines = run("hotel", tmp_path, log)
    assert sorted(lines[:-1]) == ["not booked: no hotels in Atlantis", "researched: Europa"]
    assert lines[-1] == "booked: Europa"


def test_pipeline_analyzes_the_whole_dataset(tmp_path: Path, log: dict[str, str]) -> None:
    collected = ["collected: 3", "collected: 5", "collected: 8"]
    assert run("pipeline", tmp_path, log) == [*collected, "analyzing: 8", "mean of 8: 21.0"]


def test_rate_limit_never_calls_twice_at_a_time(tmp_path: Path, log: dict[str, str]) -> None:
    assert run("rate_limit", tmp_path, log) == ["8 answers; calls at a time: 1, refused: 0"]


def test_shared_rate_limit_is_used_up_and_never_exceeded(tmp_path: Path, log: dict[str, str]) -> None:
    assert run("shared_rate_limit", tmp_path, log) == ["10 answers; calls at a time: 2, refused: 0"]


def test_customer_keeps_both_changes_and_delays_no_other(tmp_path: Path, log: dict[str, str]) -> None:
    assert run("customer", tmp_path, log) == [
        "456 {'address': 'River Road 2', 'language': 'French'}",
        "457 {'address': 'Main Street 1', 'language': 'Dutch'}",
        "457 was done before the second change of 456: True",
    ]


def test_content_is_made_step_by_step(tmp_path: Path, log: dict[str, str]) -> None:
    assert run("content", tmp_path, log) == [
        "publishing once: publish",
        "Cats are old; cats are many. (2 facts)",
        "recorded: research write edit publish",
    ]
