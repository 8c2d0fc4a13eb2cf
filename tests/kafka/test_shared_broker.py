"""The Kafka that the processes of a test run share."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accord.testing.kafka_jars import KafkaUnavailable
from accord.testing.shared import shared_kafka

USER = """
import sys
from pathlib import Path
from accord.testing.shared import shared_kafka
with shared_kafka(Path(sys.argv[1])) as servers:
    print(servers, flush=True)
    sys.stdin.read()
"""


def user(folder: Path) -> subprocess.Popen[str]:
    """A process that uses the Kafka of a folder until it is killed."""
    command = [sys.executable, "-c", USER, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_one_is_kept_until_the_last_has_left_however_it_left(
    accord_kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keepers take the Kafka that is there, so that this starts none."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", accord_kafka)
    with shared_kafka(tmp_path) as servers:
        (keeper,) = keepers(tmp_path)
        other = user(tmp_path)
        assert other.stdout is not None
        assert (servers, other.stdout.readline().strip()) == (accord_kafka, accord_kafka)
    assert keepers(tmp_path) == [keeper], "the other one uses it"
    with shared_kafka(tmp_path):
        other.kill()
        other.communicate()
        assert keepers(tmp_path) == [keeper]
    until_kept_by_none(tmp_path)
    with shared_kafka(tmp_path):
        assert keeper not in keepers(tmp_path), "a new one"
    until_kept_by_none(tmp_path)


def test_who_starts_none_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(KafkaUnavailable, match="install a JDK 17"), shared_kafka(tmp_path):
        pass


def keepers(folder: Path) -> list[int]:
    """Ids of the keepers of a folder's Kafka."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = line.read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if b"accord.testing.shared" in arguments and os.fsencode(folder) in arguments:
            found.append(int(line.parent.name))
    return found


def until_kept_by_none(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while keepers(folder):
        assert time.monotonic() < deadline, "it outlived those who used it"
        time.sleep(0.02)
