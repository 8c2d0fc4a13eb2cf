"""Processes that ask a model the same on a real Kafka: one call, and another caller when the first was killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from accord.agents.llm.question import checked
from accord.replay.llm import costs, request_at
from accord.replay.source import open_source

from accord.settings import Settings
from accord.testing.model_server import ModelServer
from tests.agents.on_kafka import environment, worker_on
from tests.agents.support import until
from tests.counts import only_long

PROMPT = "What is the answer?"


@pytest.fixture
def settings(accord_kafka: str, tmp_path: Path) -> Iterator[Settings]:
    with worker_on(accord_kafka, tmp_path / "worker", "llm") as settings:
        yield settings


@only_long  # at once, with another process that dies: test_llm_on_log.py
def test_processes_share_a_call_and_survive_its_caller(settings: Settings) -> None:
    free, asked = threading.Event(), [0]

    def answer(_: str) -> str:
        asked[0] += 1
        assert free.wait(60)
        return "42"

    request = checked(settings.llm.model, PROMPT, "", settings.llm.max_tokens, None).hash

    def waiting() -> int:
        with open_source(settings) as log:
            return request_at(log, request).waiting

    with ModelServer(answer) as server:
        told = environment(
            settings,
            ACCORD_LLM__BASE_URL=server.base_url,
            ACCORD_LLM__LEASE_MS="2000",
        )
        command = [sys.executable, "-m", "tests.agents.asker", PROMPT]
        processes: list[subprocess.Popen[str]] = []

        def start() -> subprocess.Popen[str]:
            processes.append(subprocess.Popen(command, env=told, stdout=subprocess.PIPE, text=True))
            return processes[-1]

        try:
            caller = start()
            until(lambda: asked[0] == 1, 60)
            others = [start(), start()]
            until(lambda: waiting() == 2, 60)
            assert asked[0] == 1, "of three processes, one calls"
            caller.kill()
            until(lambda: asked[0] == 2, 60)
            free.set()
            said = [process.communicate(timeout=60)[0].split() for process in (*others, start())]
            assert sorted(said[:2]) == [["ready", "42", "False"], ["ready", "42", "True"]]
            assert said[2] == ["ready", "42", "True"], "it came when all was over"
            assert asked[0] == 2
        finally:
            free.set()
            for process in processes:
                process.kill()
                process.communicate()
    with open_source(settings) as log:
        (bill,) = costs(log)
    assert (bill.name, bill.calls, bill.cached, bill.lost) == ("asker", 1, 2, 1)
