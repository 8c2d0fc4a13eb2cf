"""The service as it is run, every program a process of its own, on a log whose clock is moved: agents that are slow,
fail, are stopped or killed at the worst moment; nothing that was begun is lost, and deadlines are kept."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.testing.model_server import ModelServer
from tests.agents.service.movable import SHORT_LEASE_MS, Stage, staged, until
from tests.counts import only_long

pytestmark = only_long  # at once: tests/agents/service/test_on_kafka.py, and the same in one process: test_app.py

SHORT_LEASE = {"ACCORD_AGENTS__LEASE_MS": str(SHORT_LEASE_MS)}
LATE = "not done by its deadline"


class Model:
    """What the stand-in says, who asked, and who has to wait for an answer."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        """By word, and by first word as `Word...`."""
        self.held: dict[str, threading.Event] = {}
        """By a word of the prompt: what its answers wait for."""
        self.broken: set[str] = set()
        """Words of prompts that are never answered: the connection breaks."""

    def hold(self, word: str) -> threading.Event:
        return self.held.setdefault(word, threading.Event())

    def answer(self, prompt: str) -> str:
        words = prompt.replace(":", " ").split()
        self.asked.update([*words, f"{words[0]}..."])
        if self.broken.intersection(words):
            raise ConnectionError("broken on purpose")
        for word in words:
            if word in self.held:
                self.held[word].wait(90)
        if words[0] == "Write":
            return f"draft {self.asked['Write...']}"
        return "Bees dance." if words[0] == "Edit" else f"{words[2]} found"


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def stage(accord_kafka: str, model: Model, tmp_path: Path) -> Iterator[Stage]:
    with ModelServer(model.answer, api_key="the right key") as server:
        with staged(accord_kafka, tmp_path, server.base_url) as made:
            yield made
        for held in model.held.values():
            held.set()


def test_research_is_there_at_its_deadline_with_what_was_found(stage: Stage, model: Model) -> None:
    """`web` answers after 35 s, `academic` fails, `news` was stopped, `social` answers."""
    slow = stage.work("web", TEST_IS_DEAF="1")
    failing = stage.work("academic", ACCORD_LLM__API_KEY="a wrong key")
    stopped = stage.work("news")
    others = stage.work("social", "aggregator")
    stage.serve()
    for process in (slow, failing, stopped, others):
        process.wait_until_ready()
    assert stopped.terminate() == 0
    held = model.hold("web")
    begun = stage.begun("/research-parallel", {"query": "why?"})
    task_id = begun["task_id"]
    assert begun["agents_dispatched"] == 4
    for tries, delay_ms in ((1, 5_000), (2, 10_000)):
        until(lambda tries=tries: len(stage.events(task_id, "StepFailed", step="academic")) == tries)  # type: ignore[misc]
        stage.log.advance(delay_ms)
    until(lambda: stage.events(task_id, "StepDeadLettered", step="academic"))
    until(lambda: stage.events(task_id, "StepCompleted", step="social") and model.asked["web"])
    stage.advance_to(task_id, 25_000)
    assert stage.record(task_id)["status"] == "in_progress"
    stage.advance_to(task_id, 30_500)
    record = stage.ended(task_id)
    assert record["status"] == "completed", record
    result = record["result"]
    assert (result["completed_agents"], result["timed_out"], result["skipped_agents"]) == (1, True, [])
    web, academic, news, social = result["sources"]
    assert (web, news) == ({"agent": "web", "error": LATE}, {"agent": "news", "error": LATE})
    assert academic["agent"] == "academic" and "key" in academic["error"]
    assert social == {"agent": "social", "data": {"summary": "social found"}}
    (asked,) = stage.events(task_id, "TaskSubmitted")
    missed = stage.events(task_id, "StepTimedOut")
    assert {event.data["step"]: event.data["due_ms"] - asked.data["created_ms"] for event in missed} == {
        "web": 30_000,
        "news": 30_000,
    }
    stage.advance_to(task_id, 35_000)
    held.set()
    (ignored,) = until(lambda: stage.events(task_id, "ResultIgnored"))
    assert (ignored.data["step"], ignored.data["reason"]) == ("web", "completed"), "it came late, which is recorded"
    assert stage.record(task_id) == record, "and changes nothing"


def test_whoever_is_killed_the_task_is_finished_at_its_deadline(stage: Stage, model: Model) -> None:
    """The service after its answer, `web` and the aggregator while they run their steps; `news` hangs."""
    web = stage.work("web", TEST_DIES_AT="started web", **SHORT_LEASE)
    others = stage.work("academic", "news", "social")
    service = stage.serve()
    for process in (web, others):
        process.wait_until_ready()
    model.hold("news")
    begun = stage.begun("/research-parallel", {"query": "why?"})
    task_id = begun["task_id"]
    service.kill()
    assert web.wait(30) == -9
    web, aggregator = stage.work("web"), stage.work("aggregator", TEST_DIES_AT="started aggregate", **SHORT_LEASE)
    stage.serve()
    for process in (web, aggregator):
        process.wait_until_ready()
    until(lambda: len(stage.record(task_id)["steps"]) == 3)
    assert len(stage.events(task_id, "StepLost", step="web")) == 1
    stage.log.advance(31_000)
    assert aggregator.wait(30) == -9
    stage.work("aggregator").wait_until_ready()
    record = stage.ended(task_id)
    result = record["result"]
    assert (result["completed_agents"], result["timed_out"], result["skipped_agents"]) == (3, True, [])
    assert result["sources"][0] == {"agent": "web", "data": {"summary": "web found"}}
    assert result["sources"][2] == {"agent": "news", "error": LATE}
    (asked,) = stage.events(task_id, "TaskSubmitted")
    (missed,) = stage.events(task_id, "StepTimedOut")
    assert missed.data["due_ms"] - asked.data["created_ms"] == 30_000, "the deadline that it began with"
    assert len(stage.events(task_id, "StepLost", step="aggregate")) == 1
    for kind in ("web", "academic", "social", "aggregate"):
        assert len(stage.events(task_id, "StepCompleted", step=kind)) == 1


def test_a_stopped_kind_of_agent_opens_its_breaker_and_never_stops_the_others(stage: Stage) -> None:
    web = stage.work("web")
    others = stage.work("academic", "news", "social", "aggregator")
    stage.serve()
    for process in (web, others):
        process.wait_until_ready()
    assert web.terminate() == 0
    begun = []
    for _ in range(10):
        begun.append(stage.begun("/research-parallel", {"query": "why?"}))
        until(lambda: len(stage.record(begun[-1]["task_id"])["steps"]) >= 3)
        stage.log.advance(2_000)
    assert [one["agents_dispatched"] for one in begun] == [4] * 5 + [3] * 5, "it opens after five"
    stage.log.advance(30_000)
    results = [stage.ended(one["task_id"])["result"] for one in begun]
    assert [result["completed_agents"] for result in results] == [3] * 10, "the others have answered all ten"
    assert [(result["timed_out"], result["skipped_agents"]) for result in results] == (
        [(True, [])] * 5 + [(False, ["web"])] * 5
    )
    stage.work("web").wait_until_ready()
    again = stage.begun("/research-parallel", {"query": "why?"})
    assert again["agents_dispatched"] == 4, "who comes back closes it"
    result = stage.ended(again["task_id"])["result"]
    assert (result["completed_agents"], result["timed_out"], result["skipped_agents"]) == (4, False, [])


def test_an_agent_does_other_work_while_a_step_waits_to_be_tried_again(stage: Stage, model: Model) -> None:
    """Its only slot: after the third failure 15 s pass on the log, and twelve articles are made meanwhile."""
    agents = stage.work("content", ACCORD_AGENTS__SLOTS="1")
    stage.serve()
    agents.wait_until_ready()
    model.broken.add("storms")
    waiting = stage.begun("/create-content", {"topic": "storms"})["task_id"]
    for tries, delay_ms in ((1, 5_000), (2, 10_000), (3, 0)):
        until(lambda tries=tries: len(stage.events(waiting, "StepFailed")) == tries)  # type: ignore[misc]
        if delay_ms:
            stage.log.advance(delay_ms)
    (failed,) = stage.events(waiting, "StepFailed")[2:]
    begun = [stage.begun("/create-content", {"topic": f"topic {number}"})["task_id"] for number in range(12)]
    for task_id in begun:
        assert stage.ended(task_id)["status"] == "completed"
    retry_ms = failed.data["retry_ms"]
    for task_id in begun:
        (ended,) = stage.events(task_id, "TaskCompleted")
        assert ended.data["ended_ms"] < retry_ms, "within the delay"
    assert stage.record(waiting)["status"] == "in_progress"
    model.broken.clear()
    stage.log.advance(15_000)
    assert stage.ended(waiting)["status"] == "completed"


def test_what_comes_after_a_failed_step_is_blocked_and_what_came_before_is_returned(stage: Stage) -> None:
    """Three agents, each a process: the writer has no key for the model."""
    agents = [stage.work("researcher"), stage.work("writer", ACCORD_LLM__API_KEY="a wrong key"), stage.work("editor")]
    stage.serve()
    for process in agents:
        process.wait_until_ready()
    task_id = stage.begun("/create-content", {"topic": "bees"})["task_id"]
    for tries, delay_ms in ((1, 5_000), (2, 10_000), (3, 15_000)):
        until(lambda tries=tries: len(stage.events(task_id, "StepFailed", step="writing")) == tries)  # type: ignore[misc]
        stage.log.advance(delay_ms)
    record = stage.ended(task_id)
    assert (record["status"], record["error"]) == ("failed", "writing: MaxRetriesExceeded")
    assert [(step["name"], step["result"]) for step in record["steps"]] == [
        ("research", {"research": "topic found"}),
    ]
    assert [(step["name"], step["status"]) for step in record["failed_steps"]] == [
        ("writing", "failed"),
        ("editing", "blocked"),
        ("publishing", "blocked"),
    ]
    assert len(stage.events(task_id, "StepFailed", step="writing")) == 4, "three tries more, never endless"
