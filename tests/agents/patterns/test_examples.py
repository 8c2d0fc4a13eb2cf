"""The patterns of the examples: each runs, on a stand-in for a model, and asks its agents in their order."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accord.agents.agent import Agent
from accord.agents.patterns.publishing import PUBLISHER

from accord.testing.model_server import ModelServer
from tests.agents.support import run, with_
from tests.agents.test_tasks import MakeHub
from tests.counts import only_long

PATH = Path(__file__).parents[3] / "examples" / "patterns.py"
_spec = importlib.util.spec_from_file_location("examples_patterns", PATH)
assert _spec is not None and _spec.loader is not None
shown: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shown)
EXAMPLES = shown.examples()

ASKED: dict[str, list[str]] = {
    "code": ["plan", "implement", "test", "deploy"],
    "report": ["collect", "analyse", "visualise", "summarise"],
    "documents": ["classify", "route", "process", "archive"],
    "data": ["ingest", "clean", "transform", "analyse", "report"],
    "project": ["plan", "allocate", "execute", "monitor"],
    "translation": ["french german polish", "proofread"],
    "sources": ["web papers news forums", "merge"],
    "competition": ["prices products reviews", "strategist"],
    "alerts": ["monitor", "alerts dashboards logs"],
    "notices": ["order", "email sms push slack"],
    "moderation": ["strict mild fair"],
    "review": ["security style speed"],
    "diagnosis": ["first second third", "doctor"],
    "slogan": ["ada bob"],
}
"""Who is asked, in this order; those in one text in any. Where managers and reactions stand, see below."""
DAILY = ("documents", "sources", "notices", "diagnosis")
"""Run every day, the others in the long run."""
MASTER = "research and content"
REACTIONS = "analysis"


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


def record(agent: Agent, asked: list[str]) -> None:
    """Has an agent note that it was asked."""
    run_it = agent.function.call

    async def noting(**arguments: Any) -> Any:
        asked.append(agent.name)
        result = run_it(**arguments)
        return await result if asyncio.iscoroutine(result) else result

    agent.function = agent.function._replace(call=noting)  # type: ignore[misc]


@pytest.mark.parametrize("name", [name if name in DAILY else pytest.param(name, marks=only_long) for name in EXAMPLES])
def test_an_example_asks_its_agents_in_their_order(name: str, make_hub: MakeHub, server: ModelServer) -> None:
    pattern, task = EXAMPLES[name]
    asked: list[str] = []
    for agent in pattern.agents.values():
        if agent is not PUBLISHER:
            record(agent, asked)

    async def main() -> None:
        async with make_hub("ada") as hub:
            hub.use(with_(hub.settings, "llm", base_url=server.base_url))
            assert await asyncio.wait_for(pattern.run(task, team=name), 20)

    run(main())
    if name == MASTER:
        assert asked[0] == "master splits" and asked[-1] == "master merges"
        for manager, members in (("research", ["web scraper", "paper analyzer"]), ("content", ["writer", "editor"])):
            team = [one for one in asked if one in members or one.startswith(f"{manager} ")]
            assert team[0] == f"{manager} splits" and sorted(team[1:-1]) == sorted(members)
            assert team[-1] == f"{manager} merges"
        assert len(asked) == 10
    elif name == REACTIONS:
        assert asked[0] == "collector" and asked.index("reporter") > asked.index("analyzer")
        assert sorted(asked[1:]) == ["analyzer", "archiver", "notifier", "reporter"]
    else:
        found = list(asked)
        for together in ASKED[name]:
            names = together.split()
            assert sorted(found[: len(names)]) == sorted(names)
            del found[: len(names)]
        assert not found
