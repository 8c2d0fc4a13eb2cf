"""Patterns on a real Kafka: their agents in one process, what drives them in another, which is killed on its way."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from accord.agents.agent import Agent

from accord import Accord
from accord.settings import LlmSettings, Settings
from accord.testing.model_server import MODEL, ModelServer
from tests.agents.on_kafka import environment, worker_on
from tests.agents.patterns.support import says
from tests.counts import LONG, long

PARTS = ["a", "b", "c", "d"]
POINTS = ("begun:1", "ended:1", "begun:6", "ended:8", "ended:14", "emitted:2", "emitted:6")
"""Where the driver of the roles dies: it makes nineteen calls, nine of which emit an event."""
WORKERS_POINTS = ("begun:1", "begun:3", "ended:1", "ended:2")
LEASE_MS = "1000"
"""Of the driver: for so long its calls that emit events wait for one that is dead."""


@pytest.fixture(scope="module")
def settings(accord_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    domains = ("tasks", "roster", "signals", "conflicts", "llm")
    with worker_on(accord_kafka, tmp_path_factory.mktemp("worker"), *domains) as settings:
        yield settings


async def driven(settings: Settings, pattern: str, key: str, point: str) -> Any:
    """What came of a run whose driver was killed at a point, and begun again."""
    deaths = 0
    for at in (point, "never"):
        driver = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.agents.patterns.driver", pattern, key, at,
            env=environment(settings, ACCORD_AGENTS__LEASE_MS=LEASE_MS), stdout=subprocess.PIPE,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(driver.communicate(), 60)
        deaths += driver.returncode == -9
    assert (driver.returncode, deaths) == (0, 1)
    return json.loads(output)


@long
@pytest.mark.parametrize("point", POINTS if LONG else POINTS[-1:])
def test_four_parts_two_executors_one_rejected(point: str, settings: Settings) -> None:
    told: list[tuple[str, Any]] = []
    handoffs: list[dict[str, Any]] = []
    key = f"roles-{point}"
    agents = [
        says("planner", {"subtasks": PARTS}, told),
        says("ann", told=told),
        says("ben", told=told),
        says("rex", lambda asked: asked["item"]["id"] != "result_2", told),
        says("ivy", lambda asked: [item["content"] for item in asked["results"]], told),
    ]

    async def main() -> Any:
        async with Accord(settings=settings, agent="office") as hub, hub.work(*agents):
            hub.when("handoff", name=f"listener-{point}")(lambda event_data: handoffs.append(dict(event_data)))
            outcome = await driven(settings, "roles", key, point)
            await hub.drain(wait_ms=20_000)
            return outcome

    outcome = asyncio.run(asyncio.wait_for(main(), 120))
    assert outcome["result"] == ["ann(a)", "ben(b)", "ben(d)"]
    made = {item["id"]: (item["created_by"], item["approved_by"], item["stage"]) for item in outcome["items"][1:]}
    assert made == {
        "result_0": ("ann", "rex", "integration"),
        "result_1": ("ben", "rex", "integration"),
        "result_2": ("ann", None, "rejected"),
        "result_3": ("ben", "rex", "integration"),
    }
    assert [item["id"] for item in outcome["rejected"]] == ["result_2"] and outcome["unreviewed"] is False
    assert Counter(name for name, _ in told) == {"planner": 1, "ann": 2, "ben": 2, "rex": 4, "ivy": 1}
    assert [item["id"] for item in told[-1][1]["results"]] == ["result_0", "result_1", "result_3"], "ivy gets three"
    mine = [(one["item"], one["from"], one["to"]) for one in handoffs if one["run"] == key]
    assert len(mine) == len(set(mine)) == 9, "each handoff is told once"


@long
@pytest.mark.parametrize("point", WORKERS_POINTS if LONG else WORKERS_POINTS[-1:])
def test_three_workers_two_disagree_one_times_out(point: str, settings: Settings) -> None:
    told: list[tuple[str, Any]] = []

    async def hang(task: str) -> None:
        told.append(("carol", task))
        await asyncio.Event().wait()

    agents = [says("alice", 42, told), says("bob", 37, told), Agent("carol", hang)]
    judgement = {"winner": "alice", "reasoning": f"six times seven is 42 ({point})", "confidence": 0.9}

    async def main() -> Any:
        with ModelServer(lambda _: json.dumps(judgement)) as server:
            llm = LlmSettings(base_url=server.base_url, model=MODEL, cache_ttl_ms=0)
            async with (
                Accord(settings=settings, agent="office") as hub,
                hub.work(*agents, drain_ms=0),
                hub.model(llm) as model,
                hub.judge(model),
            ):
                found = await driven(settings, "supervisor", f"supervisor-{point}", point)
            assert server.counts.answered == 1
            return found

    found = asyncio.run(asyncio.wait_for(main(), 120))
    resolution = found["resolution"]
    assert {name: resolution[name] for name in judgement} == judgement
    assert (resolution["method"], resolution["pairs"], resolution["fallback"]) == ("model", [["alice", "bob"]], "")
    late = {"error": "carol timed out"}
    assert found["results"] == {"alice": 42, "bob": 37, "carol": late}
    assert {entry["agent"]: (entry["status"], entry["result"]) for entry in found["log"]} == {
        "alice": ("completed", 42),
        "bob": ("completed", 37),
        "carol": ("timed_out", late),
    }
    assert len(found["log"]) == 3 and set(Counter(told).values()) == {1}
