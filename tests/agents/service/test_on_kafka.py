"""The service as it is run: processes of their own on a real Kafka, spoken to over HTTP; one of them is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accord.replay.source import open_source
from accord.replay.trace import trace
from accord.streams.runtime.worker import EmbeddedWorker

from accord.admin import Admin
from accord.settings import Settings
from accord.testing.model_server import ModelServer
from tests.topics import fresh_prefix

PARTITIONS = 2
TOKEN = "a token for this test"
ARTICLE = "Bees dance."
SHORT_LEASE = {"ACCORD_AGENTS__LEASE_MS": "1000"}
"""Of who is killed, and of no one else: a busy machine would cost others theirs."""


class Process:
    """A program of accord's command line."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from accord.cli import main; main()", *arguments],
            env=os.environ | environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []

    def until(self, pattern: str) -> str:
        """Waits until it says something."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said.append(line)
            found = re.search(pattern, line)
            if found is not None:
                return found[0]
        raise AssertionError(f"it ended and never said {pattern!r}:\n" + "".join(self.said))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def terminate(self) -> tuple[int, str]:
        """Exit code, and what else it said."""
        self._process.send_signal(signal.SIGTERM)
        _, said = self._process.communicate(timeout=30)
        return self._process.returncode, said

    def close(self) -> None:
        self.kill()
        if self._process.stderr is not None:
            self._process.stderr.close()


class Model:
    """What the stand-in says. The writer's first question is not answered before `killed`."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.writing = threading.Event()
        self.killed = threading.Event()

    def answer(self, prompt: str) -> str:
        verb = prompt.split(maxsplit=1)[0]
        self.asked[verb] += 1
        if verb == "Write":
            self.writing.set()
            if self.asked[verb] == 1:
                self.killed.wait(60)
            return f"draft {self.asked[verb]}"
        return ARTICLE if verb == "Edit" else "found"


@pytest.fixture
def environment(accord_kafka: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables for the programs; a worker decides."""
    settings = Settings.load(
        kafka={"bootstrap_servers": accord_kafka},
        topics={"prefix": fresh_prefix(accord_kafka, "service"), "partitions": PARTITIONS},
        worker={"domains": ("tasks", "roster", "llm"), "data_dir": tmp_path / "worker"},
    )
    Admin(settings).init()
    worker = EmbeddedWorker(settings)
    worker.start()
    yield {
        "ACCORD_KAFKA__BOOTSTRAP_SERVERS": accord_kafka,
        "ACCORD_TOPICS__PREFIX": settings.topics.prefix,
        "ACCORD_TOPICS__PARTITIONS": str(PARTITIONS),
        "ACCORD_SERVICE__TOKENS": json.dumps([TOKEN]),
    }
    worker.stop()


def ask(url: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.status, json.load(answer)


def told(environment: dict[str, str], task_id: str, step: str) -> Counter[str]:
    """What the log says became of the runs of a step."""
    prefix, servers = environment["ACCORD_TOPICS__PREFIX"], environment["ACCORD_KAFKA__BOOTSTRAP_SERVERS"]
    settings = Settings.load(kafka={"bootstrap_servers": servers}, topics={"prefix": prefix, "partitions": PARTITIONS})
    with open_source(settings) as source:
        found = [one.event for one in trace(source, task_id) if one.data.get("step") == step]
    return Counter(event for event in found if event in {"StepLost", "StepCompleted", "StepFailed"})


def ended(url: str) -> dict[str, Any]:
    while True:  # pytest-timeout ends it
        _, record = ask(url)
        if record["completed_at"] is not None:
            return record
        time.sleep(0.05)


def test_an_article_comes_though_its_writer_was_killed(environment: dict[str, str]) -> None:
    model = Model()
    with ModelServer(model.answer) as server:
        environment["ACCORD_LLM__BASE_URL"] = server.base_url
        running = [Process(environment, "serve", "--port", "0")]
        try:
            running.append(Process(environment | SHORT_LEASE, "work", "content"))
            running.append(Process(environment, "work", "research", "aggregator"))
            service, content, others = running
            url = service.until(r"http://127\.0\.0\.1:\d+")
            for agents in (content, others):
                agents.until("working")
            assert ask(f"{url}/health") == (200, {"status": "healthy", "service": "orchestrator"})

            status, begun = ask(f"{url}/create-content", {"topic": "bees"})
            assert (status, begun["status"]) == (202, "started")
            assert model.writing.wait(60)
            content.kill()
            running.append(Process(environment, "work", "content"))
            running[-1].until("working")
            record = ended(f"{url}/task/{begun['task_id']}")
            model.killed.set()
            assert record["result"] == {"topic": "bees", "final_article": ARTICLE, "word_count": 2}
            names = [step["name"] for step in record["steps"]]
            assert names == ["research", "writing", "editing", "publishing"], "each is recorded once"
            assert record["steps"][1]["result"] == {"draft": "draft 2"}
            assert model.asked == {"Research": 1, "Write": 2, "Edit": 1}, "what was recorded is not asked again"
            runs = told(environment, begun["task_id"], "writing")
            assert runs == {"StepLost": 1, "StepCompleted": 1}, "one draft"

            _, begun = ask(f"{url}/create-content", {"topic": "bees"})
            assert ended(f"{url}/task/{begun['task_id']}")["result"] == record["result"]
            assert model.asked == {"Research": 1, "Write": 2, "Edit": 1}, "nor what the log has an answer to"

            _, begun = ask(f"{url}/research-parallel", {"query": "why?"})
            record = ended(f"{url}/task/{begun['task_id']}")
            assert record["result"]["completed_agents"] == 4 and not record["result"]["timed_out"]

            for process in (service, others, running[-1]):
                assert process.terminate() == (0, "")
        finally:
            model.killed.set()
            for process in running:
                process.close()
