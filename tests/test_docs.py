"""The examples in the documents: they run as they stand, and print what the comments beside them say."""

import asyncio
import inspect
import os
import re
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from contextvars import Context
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from accord.agents.metrics import AgentMetrics
from accord.agents.tasks.graph import TaskGraph
from accord.streams.domains import DOMAINS
from accord.streams.runtime.collector import WorkerCollector
from accord.streams.runtime.health import Facts, judge
from accord.streams.runtime.metrics import DomainMetrics

import accord
from accord import replay
from accord.cli.origins import _leaves
from accord.metrics import CollectorRegistry
from accord.settings import LlmSettings, Settings
from accord.testing.model_server import ModelServer

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHARING = (ROOT / "docs" / "sharing.md").read_text(encoding="utf-8")
LLM = (ROOT / "docs" / "llm.md").read_text(encoding="utf-8")
TASKS = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
PATTERNS = (ROOT / "docs" / "patterns.md").read_text(encoding="utf-8")
AUCTIONS = (ROOT / "docs" / "auctions.md").read_text(encoding="utf-8")
SIGNALS = (ROOT / "docs" / "signals.md").read_text(encoding="utf-8")
TRIGGERS = (ROOT / "docs" / "triggers.md").read_text(encoding="utf-8")
FLOWS = (ROOT / "docs" / "flows.md").read_text(encoding="utf-8")
PROPOSALS = (ROOT / "docs" / "proposals.md").read_text(encoding="utf-8")
HIERARCHY = (ROOT / "docs" / "hierarchy.md").read_text(encoding="utf-8")
STATE = (ROOT / "docs" / "state.md").read_text(encoding="utf-8")
TRANSACTIONS = (ROOT / "docs" / "transactions.md").read_text(encoding="utf-8")
SAGAS = (ROOT / "docs" / "sagas.md").read_text(encoding="utf-8")
CONFLICTS = (ROOT / "docs" / "conflicts.md").read_text(encoding="utf-8")
OBSERVABILITY = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
_PRINTS = re.compile(r"^\s*print\(.*\) +# (.*)$", re.MULTILINE)


def snippets(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


async def work(_: str) -> None:
    """What takes long."""


async def agent(_: str, act: Callable[[], Awaitable[Any]]) -> Any:
    """Another one."""
    return await act()


DOCUMENTS = {
    "sharing": SHARING, "tasks": TASKS, "llm": LLM, "proposals": PROPOSALS, "auctions": AUCTIONS,
    "patterns": PATTERNS,
    "hierarchy": HIERARCHY,
    "state": STATE, "transactions": TRANSACTIONS,
    "conflicts": CONFLICTS,
    "signals": SIGNALS, "triggers": TRIGGERS, "flows": FLOWS,
    "sagas": SAGAS,
    "observability": OBSERVABILITY,
}  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_every_example_prints_what_it_says(document: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        with ModelServer() as server:
            llm = LlmSettings(base_url=server.base_url)
            async with accord.local(settings=Settings.load(llm=llm.model_dump())) as hub:
                for snippet in snippets(document):
                    names: dict[str, Any] = {
                        "accord": accord, "agent": agent, "asyncio": asyncio, "Context": Context, "llm": llm,
                        "sqlite3": sqlite3, "work": work,
                    }  # fmt: skip
                    exec("async def run(hub):\n" + textwrap.indent(snippet, "    "), names)
                    await asyncio.wait_for(names["run"](hub), 20)
                    assert capsys.readouterr().out.splitlines() == _PRINTS.findall(snippet), snippet
                    assert not hub.leases.live, f"something is still held after:\n{snippet}"

    asyncio.run(main())


def test_the_figures_are_those_that_there_are() -> None:
    """Every one is told of, and what is told of is one."""
    loop = asyncio.new_event_loop()
    processor = Mock(metrics=DomainMetrics(DOMAINS["locks"], lambda: 0), owned={})
    registry = CollectorRegistry()
    AgentMetrics(registry)
    families = [
        *WorkerCollector(loop, {"locks": processor}, lambda: 0, lambda: judge(Facts(assigned=True))).gather(),
        *registry.collect(),
    ]
    loop.close()
    there = {family.name + "_total" * (family.type == "counter") for family in families}
    told = set(re.findall(r"`(accord_[a-z_]+[a-z])[`{]", OBSERVABILITY))
    assert told == there


def test_the_settings_that_the_documents_name_are_settings() -> None:
    known = {".".join(path) for path, _, _ in _leaves(Settings())}
    told = re.findall(r"^\| `(\w+\.\w+)`(?:, `(\w+\.\w+)`)? \|", OBSERVABILITY, re.MULTILINE)
    assert {name for names in told for name in names if name} <= known and len(told) == 4


def test_the_table_of_a_steps_terms_is_true() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", TASKS, re.MULTILINE))
    parameters = inspect.signature(TaskGraph.add).parameters
    known = {name: str(parameter.default) for name, parameter in parameters.items() if name in told}
    assert {name: default.replace("_", "") for name, default in told.items()} == known
    assert set(told) | {"self", "name", "function", "capability"} == set(parameters)


def test_the_table_of_a_saga_steps_terms_is_true() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", SAGAS, re.MULTILINE))
    parameters = inspect.signature(accord.Saga.step).parameters
    known = {name: str(parameter.default) for name, parameter in parameters.items() if name in told}
    assert {name: default.replace("_", "") for name, default in told.items()} == known and len(told) == 4


def test_the_table_of_a_models_settings_is_true() -> None:
    told = dict(re.findall(r"^\| `llm\.(\w+)` \|(.*?)\|", LLM, re.MULTILINE))
    known = LlmSettings().model_dump()
    assert {name: default.strip("` ") for name, default in told.items()} == {
        name: str(value) for name, value in known.items()
    }


def test_the_first_screen(tmp_path: Path) -> None:
    """The README's program prints what stands below it, and its archive verifies."""
    program, *_ = snippets(README)
    (tmp_path / "quickstart.py").write_text(program, encoding="utf-8")
    shown = README[README.index("$ python examples/quickstart.py") :].splitlines()[1:3]
    away = ("ACCORD_", "KAFKA_")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(away)}
    ran = subprocess.run(
        [sys.executable, "quickstart.py"],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    assert ran.stdout.splitlines() == [line.strip() for line in shown]
    with replay.open(tmp_path / "hotel.accord") as log:
        assert log.verify().ok
