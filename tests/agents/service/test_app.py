"""The service over HTTP on the embedded broker: every route, status and body."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accord.agents.client import Accord
from accord.agents.service.app import build
from accord.agents.service.openapi import DESCRIPTION
from accord.replay.llm import costs
from accord.replay.source import open_source
from accord.schemas.topics import commands_topic, topic_table
from accord.streams.runtime.worker import EmbeddedWorker
from starlette.routing import Route

from accord.embedded import Embedded
from accord.kafka import bounds, producer, reader
from accord.mock import MockCluster
from accord.settings import Settings
from accord.testing.model_server import ModelServer
from tests.agents.service.support import Agents, served
from tests.agents.support import run, settings_for, with_
from tests.agents.test_tasks import in_loop, until

TOKEN = "0123456789abcdef"
OTHER = "fedcba9876543210"

SettingsWith = Callable[..., Settings]


def hub_on(embedded: Embedded, settings: Settings, agent: str = "orchestrator") -> Accord:
    hub = Accord(agent=agent)
    hub.use(settings, embedded.timestamp_ms)
    return hub


def submitted(settings: Settings) -> int:
    """How many commands about tasks there are in the log."""
    client = reader(settings.kafka)
    topic = commands_topic("tasks", settings.topics.prefix)
    try:
        return sum(bounds(client, topic, partition)[1] for partition in range(settings.topics.partitions))
    finally:
        client.close()


# -- articles


@in_loop
async def test_an_article_is_begun_and_made(
    embedded: Embedded, settings_with: SettingsWith, model: ModelServer
) -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return ("facts about bees", "a draft", "The finished article.")[len(asked) - 1]

    model.answer = answer
    async with hub_on(embedded, settings_with()) as hub, Agents(hub, "content"):
        with served(hub) as client:
            begun = await client.post("/create-content", json={"topic": "bees"})
            body = begun.json()
            task_id = body["task_id"]
            assert (begun.status_code, begun.headers["location"]) == (202, f"/task/{task_id}")
            assert body == {
                "task_id": task_id,
                "status": "started",
                "workflow": "sequential",
                "steps": ["research", "write", "edit", "publish"],
                "message": "Content creation pipeline initiated",
            }
            record = await client.ended(task_id)
    result = {"topic": "bees", "final_article": "The finished article.", "word_count": 3}
    assert {name: record[name] for name in ("id", "type", "status", "input", "result")} == {
        "id": task_id,
        "type": "content_creation",
        "status": "completed",
        "input": {"topic": "bees"},
        "result": result,
    }
    assert [(step["name"], step["result"]) for step in record["steps"]] == [
        ("research", {"research": "facts about bees"}),
        ("writing", {"draft": "a draft"}),
        ("editing", {"article": "The finished article."}),
        ("publishing", result),
    ]
    assert record["created_at"].endswith("Z") and record["completed_at"] == record["steps"][-1]["completed_at"]
    assert ["bees" in prompt for prompt in asked] == [True] * 3
    assert "facts about bees" in asked[1] and "a draft" in asked[2]


@in_loop
async def test_an_article_that_was_made_before_costs_no_call(
    embedded: Embedded, settings_with: SettingsWith, model: ModelServer
) -> None:
    async with hub_on(embedded, settings_with()) as hub, Agents(hub, "content"):
        with served(hub) as client:
            results = []
            for _ in range(2):
                begun = await client.post("/create-content", json={"topic": "made before"})
                results.append((await client.ended(begun.json()["task_id"]))["result"])
    assert results[0] == results[1]
    assert model.counts.answered == 3, "research, writing and editing, once"
    with open_source(embedded.settings) as log:
        bills = {bill.name: (bill.calls, bill.cached) for bill in costs(log)}
        of_task = {bill.name: (bill.calls, bill.cached) for bill in costs(log, "task")}
    assert all(bills[agent][0] >= 1 and bills[agent][1] >= 1 for agent in ("researcher", "writer", "editor"))
    assert of_task[begun.json()["task_id"]] == (0, 3)


@in_loop
async def test_each_agent_has_its_cap_of_tokens(
    embedded: Embedded, settings_with: SettingsWith, model: ModelServer
) -> None:
    model.answer = lambda prompt: "one two three four five six seven eight nine"
    caps = with_(
        settings_with(), "agents", research_max_tokens=3, writer_max_tokens=5, editor_max_tokens=7
    )  # a word is a token there
    async with hub_on(embedded, caps) as hub, Agents(hub, "content"):
        with served(hub) as client:
            begun = await client.post("/create-content", json={"topic": "caps"})
            record = await client.ended(begun.json()["task_id"])
    texts = [next(iter(step["result"].values())) for step in record["steps"][:3]]
    assert [len(text.split()) for text in texts] == [3, 5, 7]
    assert record["result"]["word_count"] == 7


@in_loop
async def test_without_a_key_a_step_fails_and_says_what_to_set(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    async with hub_on(embedded, embedded.settings) as hub, Agents(hub, "content"):
        with served(hub) as client:
            begun = await client.post("/create-content", json={"topic": "keys"})
            handle = await hub.task(begun.json()["task_id"])
            ended = asyncio.create_task(asyncio.wait_for(_failure(handle.result()), 20))
            while not ended.done():
                await asyncio.sleep(0.1)
                await asyncio.to_thread(embedded.advance, 5_000)
            record = await client.ended(handle.id)
    assert record["status"] == "failed" and "MaxRetriesExceeded" in record["error"]
    failed = record["failed_steps"]
    assert [(step["name"], step["status"]) for step in failed] == [
        ("research", "failed"),
        ("writing", "blocked"),
        ("editing", "blocked"),
        ("publishing", "blocked"),
    ]
    assert "OPENAI_API_KEY" in failed[0]["error"]


async def _failure(result: Any) -> None:
    with pytest.raises(Exception, match="failed at its step"):
        await result


@in_loop
async def test_a_question_that_cannot_be_taken_is_given_up_at_once(
    embedded: Embedded, settings_with: SettingsWith
) -> None:
    """A topic of blanks is refused at the door; here the endpoint refuses what an agent asks."""
    settings = with_(settings_with(), "agents", research_max_tokens=0)  # less than any endpoint takes
    async with hub_on(embedded, settings) as hub, Agents(hub, "content"):
        with served(hub) as client:
            begun = await client.post("/create-content", json={"topic": "nothing"})
            record = await client.ended(begun.json()["task_id"])
    assert record["failed_steps"][0]["status"] == "failed"


# -- research


@in_loop
async def test_four_researchers_are_asked_at_once(
    embedded: Embedded, settings_with: SettingsWith, model: ModelServer
) -> None:
    together = threading.Barrier(4, timeout=20)

    def answer(prompt: str) -> str:
        together.wait()
        return prompt.split()[2]

    model.answer = answer
    async with hub_on(embedded, settings_with()) as hub, Agents(hub, "research", "aggregator"):
        with served(hub) as client:
            begun = await client.post("/research-parallel", json={"query": "why bees?"})
            task_id = begun.json()["task_id"]
            assert begun.status_code == 202
            assert begun.json() == {
                "task_id": task_id,
                "status": "started",
                "workflow": "parallel",
                "agents_dispatched": 4,
                "message": "Parallel research initiated",
            }
            record = await client.ended(task_id)
    assert (record["type"], record["status"]) == ("parallel_research", "completed")
    kinds = ["web", "academic", "news", "social"]
    assert record["input"] == {"query": "why bees?", "agents": kinds}
    assert record["result"] == {
        "query": "why bees?",
        "sources": [{"agent": kind, "data": {"summary": kind}} for kind in kinds],
        "summary": "web\n\nacademic\n\nnews\n\nsocial",
        "completed_agents": 4,
        "timed_out": False,
        "skipped_agents": [],
    }


@in_loop
async def test_who_has_not_answered_at_the_deadline_is_left_out(
    embedded: Embedded, settings_with: SettingsWith, model: ModelServer
) -> None:
    """Nobody runs `academic`; `news` is late by as long as the test lets it hang."""
    late = threading.Event()
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt.split()[2])
        if "news" in prompt:
            late.wait(20)
        return "found"

    model.answer = answer
    async with hub_on(embedded, settings_with()) as hub, Agents(hub, "web", "news", "social", "aggregator"):
        with served(hub) as client:
            begun = await client.post("/research-parallel", json={"query": "why?"})
            task_id = begun.json()["task_id"]
            await until(lambda: len(asked) == 3)
            await client.recorded(task_id, 2)
            await asyncio.to_thread(embedded.advance, 29_000)
            assert (await client.get(f"/task/{task_id}")).json()["status"] == "in_progress"
            await asyncio.to_thread(embedded.advance, 1_100)
            record = await client.ended(task_id)
            late.set()
    late_error = "not done by its deadline"
    assert record["result"] == {
        "query": "why?",
        "sources": [
            {"agent": "web", "data": {"summary": "found"}},
            {"agent": "academic", "error": late_error},
            {"agent": "news", "error": late_error},
            {"agent": "social", "data": {"summary": "found"}},
        ],
        "summary": "found\n\nfound",
        "completed_agents": 2,
        "timed_out": True,
        "skipped_agents": [],
    }


@in_loop
async def test_research_without_any_answer_has_failed(embedded: Embedded, settings_with: SettingsWith) -> None:
    async with hub_on(embedded, settings_with()) as hub, Agents(hub, "aggregator"):
        with served(hub) as client:
            begun = await client.post("/research-parallel", json={"query": "why?"})
            await asyncio.to_thread(embedded.advance, 30_100)
            record = await client.ended(begun.json()["task_id"])
    assert (record["status"], record["result"], record["steps"]) == ("failed", None, [])
    assert {step["status"] for step in record["failed_steps"]} >= {"blocked"}


# -- what is refused


@pytest.mark.parametrize(
    ("path", "content", "status", "error"),
    [
        ("/create-content", b"{}", 400, "Topic required"),
        ("/create-content", b'{"topic": "  "}', 400, "Topic required"),
        ("/create-content", b'{"topic": 3}', 400, "Topic required"),
        ("/research-parallel", b'{"topic": "bees"}', 400, "Query required"),
        ("/create-content", b"topic=bees", 400, "The body is no JSON: "),
        ("/create-content", b"", 400, "The body is no JSON: "),
        ("/create-content", b"\xff\xfe", 400, "The body is no JSON: "),
        ("/create-content", b"[" * 60_000, 400, "The body is no JSON: "),
        ("/create-content", b'["topic"]', 400, "The body is no JSON object."),
        ("/create-content", b'{"topic": "%s"}' % (b"b" * 65_536), 413, "The body has more than 65536 bytes."),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_cannot_be_begun_is_refused_and_leaves_nothing(
    path: str, content: bytes, status: int, error: str, embedded: Embedded, settings_with: SettingsWith
) -> None:
    async def main() -> None:
        async with hub_on(embedded, settings_with()) as hub:
            with served(hub) as client:
                before = submitted(hub.settings)
                answer = await client.post(path, content=content)
                assert answer.status_code == status
                body = answer.json()
                assert body["error"] == error or (error.endswith(" ") and body["error"].startswith(error))
                assert submitted(hub.settings) == before

    run(main())


@in_loop
async def test_what_is_not_there(embedded: Embedded, settings_with: SettingsWith) -> None:
    async with hub_on(embedded, settings_with()) as hub:
        with served(hub) as client:
            unknown = await client.get("/task/nobody")
            assert (unknown.status_code, unknown.json()["code"]) == (404, "NotFound")
            assert unknown.json()["error"].startswith("there is no task nobody")
            nowhere = await client.get("/tasks")
            assert (nowhere.status_code, nowhere.json()["error"]) == (404, "GET /tasks: Not Found.")
            wrong = await client.get("/create-content")
            assert (wrong.status_code, wrong.json()["code"]) == (405, "MethodNotAllowed")
            assert wrong.headers["allow"] == "POST"
            too_long = await client.get("/task/" + "x" * 300)
            assert too_long.status_code == 400


@in_loop
async def test_who_has_no_token_is_not_let_in(embedded: Embedded, settings_with: SettingsWith) -> None:
    async with hub_on(embedded, settings_with(tokens=(TOKEN, OTHER))) as hub:
        with served(hub) as client:
            for path in ("/task/1", "/nowhere"):
                without = await client.get(path)
                assert (without.status_code, without.json()["error"]) == (
                    401,
                    "A token is needed. Send it as the header Authorization: Bearer TOKEN.",
                )
                assert without.headers["www-authenticate"] == "Bearer"
            for wrong in ("Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer", TOKEN):
                refused = await client.post("/create-content", json={"topic": "bees"}, headers={"authorization": wrong})
                assert (refused.status_code, refused.json()["code"]) == (401, "NotAuthenticated")
            for token in (TOKEN, OTHER):
                let_in = await client.get("/task/1", headers={"authorization": f"Bearer {token}"})
                assert let_in.status_code == 404
            assert (await client.get("/health")).status_code == 200
            assert (await client.get("/openapi.json")).status_code == 200


@in_loop
async def test_who_asks_too_often_is_told_when_to_ask_again(embedded: Embedded, settings_with: SettingsWith) -> None:
    now_s = [1_000.0]
    settings = settings_with(tokens=(TOKEN, OTHER), requests_per_minute=2)
    async with hub_on(embedded, settings) as hub:
        with served(hub, now_s=lambda: now_s[0]) as client:

            async def status(token: str) -> int:
                asked = await client.get("/task/1", headers={"authorization": f"Bearer {token}"})
                return int(asked.status_code)

            assert [await status(TOKEN) for _ in range(3)] == [404, 404, 429]
            refused = await client.get("/task/1", headers={"authorization": f"Bearer {TOKEN}"})
            assert (refused.headers["retry-after"], refused.json()["code"]) == ("30", "Overloaded")
            assert refused.json()["retry_after_ms"] == 30_000
            assert await status(OTHER) == 404, "another token has its own rate"
            assert [await status(f"guess {n}") for n in range(3)] == [401, 401, 429], "guesses count by address"
            now_s[0] += 30
            assert [await status(TOKEN) for _ in range(2)] == [404, 429]
            assert (await client.get("/health")).status_code == 200


# -- the log is down


@in_loop
async def test_health_says_whether_the_log_can_be_reached(embedded: Embedded, settings_with: SettingsWith) -> None:
    with MockCluster() as cluster:
        settings = with_(settings_for(cluster, "gone"), "service", health_wait_ms=300)
        hub = Accord(settings=settings, agent="orchestrator")
        await _topics(settings)
        async with hub:
            with served(hub) as client:
                healthy = await client.get("/health")
                assert healthy.status_code == 200
                assert healthy.json() == {"status": "healthy", "service": "orchestrator"}
                await asyncio.to_thread(cluster.close)
                down = await client.get("/health")
                assert down.status_code == 503
                assert {"status": "unhealthy", "service": "orchestrator", "code": "KafkaUnreachable"}.items() <= (
                    down.json().items()
                )
                refused = await client.post("/create-content", json={"topic": "bees"})
                assert (refused.status_code, refused.json()["code"]) == (503, "KafkaUnreachable")


async def _topics(settings: Settings) -> None:
    asker = producer(settings.kafka)
    for topic in topic_table(settings.topics.prefix, settings.topics.partitions):
        await asyncio.to_thread(asker.list_topics, topic.name, 5)  # the mock cluster makes what a producer asks for


@in_loop
async def test_what_nobody_decides_is_refused_and_taken_back(lonely: Settings, tmp_path: Path) -> None:
    async with Accord(settings=lonely, agent="orchestrator") as hub:
        with served(hub) as client:
            refused = await client.post("/create-content", json={"topic": "bees"})
            assert (refused.status_code, refused.json()["code"]) == (503, "NoWorker")
            task_id = refused.json()["key"]
            worker = EmbeddedWorker(
                with_(lonely, "worker", data_dir=tmp_path, session_timeout_ms=6_000), timestamps="create", static=False
            )
            await asyncio.to_thread(worker.start)
            try:
                assert (await client.ended(task_id))["status"] == "cancelled"
            finally:
                await asyncio.to_thread(worker.stop)


# -- the description


@in_loop
async def test_the_description_is_that_of_the_routes(embedded: Embedded, settings_with: SettingsWith) -> None:
    async with hub_on(embedded, settings_with()) as hub, Agents(hub, "content"):
        routes = {
            (route.path, method.lower())
            for route in build(hub).routes
            if isinstance(route, Route)
            for method in (route.methods or set()) - {"HEAD"}
        }
        assert routes == {(path, method) for path, methods in DESCRIPTION["paths"].items() for method in methods}
        with served(hub) as client:
            told = (await client.get("/openapi.json")).json()
            assert told == DESCRIPTION
            schemas = told["components"]["schemas"]
            assert {name.rpartition("/")[2] for name in _references(told)} == set(schemas)
            begun = await client.post("/create-content", json={"topic": "bees"})
            assert set(begun.json()) == set(schemas["ContentStarted"]["required"])
            record = await client.ended(begun.json()["task_id"])
            assert set(record) == set(schemas["Task"]["required"])
            assert set(record["result"]) == set(schemas["Article"]["required"])


def _references(value: Any) -> set[str]:
    if isinstance(value, list):
        return {found for one in value for found in _references(one)}
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"]} if "$ref" in value else set()
    return own | {found for one in value.values() for found in _references(one)}


# -- a kind of agent that is not there


@in_loop
async def test_a_kind_that_fails_too_often_is_skipped_and_not_counted(
    embedded: Embedded, settings_with: SettingsWith
) -> None:
    """Nobody runs `web`. What it failed in tests before counts, too."""
    async with hub_on(embedded, settings_with()) as hub, Agents(hub, "academic", "news", "social", "aggregator"):
        with served(hub) as client:
            asked: list[dict[str, Any]] = []
            while not asked or asked[-1]["agents_dispatched"] == 4:
                asked.append((await client.post("/research-parallel", json={"query": "why?"})).json())
            assert len(asked) <= 6 and asked[-1]["agents_dispatched"] == 3
            result = (await client.ended(asked[-1]["task_id"]))["result"]
    assert result["sources"][0] == {"agent": "web", "error": "skipped: breaker_open"}
    assert (result["completed_agents"], result["timed_out"], result["skipped_agents"]) == (3, False, ["web"])
