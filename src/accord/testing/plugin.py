"""The pytest plugin: fixtures for programs that use accord.

Every pytest of an environment loads it, so it imports nothing of accord until a fixture is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from accord.embedded import LocalHub
    from accord.sync import LocalHub as SyncLocalHub
    from accord.testing.model_server import ModelServer
    from accord.testing.trials.sim import AccordSim

VERIFY = "accord_verify"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("accord", "coordination under faults (accord_sim)")
    group.addoption("--accord-seed", type=int, metavar="SEED", help="run accord_sim with this seed alone")
    group.addoption("--accord-seeds", type=int, metavar="COUNT", help="how many seeds accord_sim tries")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{VERIFY}: after the test, the log of accord_hub or accord_sync is decided once more; a difference fails it",
    )


@pytest.fixture(scope="session")
def accord_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap servers of a real Kafka that runs until the session ends. The processes of pytest-xdist share one.

    A machine that has none fails the test and never skips it: a suite that is green without its broker
    has shown nothing.
    """
    from accord.testing.broker import kafka_for_tests  # noqa: PLC0415
    from accord.testing.shared import shared_kafka  # noqa: PLC0415

    is_one_of_many = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp().parent / "accord-kafka"  # the parent belongs to the run
    with shared_kafka(folder) if is_one_of_many else kafka_for_tests() as bootstrap_servers:
        yield bootstrap_servers


@pytest.fixture
def accord_hub(request: pytest.FixtureRequest) -> Iterator[LocalHub]:
    """A hub with its own broker and worker, in memory: enter it with `async with`, in the event loop of the test.

    `await hub.advance(ms)` moves the log's clock, so a test of leases and waits never sleeps.
    """
    from accord.embedded import local  # noqa: PLC0415

    archive = _before(request)
    yield local(agent="test", keep=archive)
    _verified(archive)


@pytest.fixture
def accord_sync(request: pytest.FixtureRequest) -> Iterator[SyncLocalHub]:
    """The same for plain functions: an open hub; `hub.advance(ms)` moves the log's clock."""
    from accord.sync import local  # noqa: PLC0415

    archive = _before(request)
    with local(agent="test", keep=archive) as hub:
        yield hub
    _verified(archive)


@pytest.fixture
def accord_llm(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """A stand-in for a model's endpoint, on 127.0.0.1: see `accord.testing.model_server`. `answer` may be set.

    While the test runs, the settings name it, so `hub.model()` asks it; those of `accord_hub` and `accord_sync`, too.
    """
    from accord.testing.model_server import MODEL, ModelServer  # noqa: PLC0415

    with ModelServer() as server:
        for name, value in (
            ("BASE_URL", server.base_url),
            ("API_KEY", "none"),
            ("MODEL", MODEL),
            ("SIMPLE_MODEL", MODEL),
        ):
            monkeypatch.setenv(f"ACCORD_LLM__{name}", value)
        yield server


@pytest.fixture
def accord_sim(request: pytest.FixtureRequest) -> AccordSim:
    """Declares agents, faults and invariants, and tries them: see `accord.testing.trials.sim` and docs/testing.md.

    `--accord-seed SEED` runs one seed alone, `--accord-seeds COUNT` so many.
    """
    from accord.testing.trials.sim import AccordSim  # noqa: PLC0415

    option = request.config.getoption
    return AccordSim(request.node.nodeid, only=option("--accord-seed"), seeds=option("--accord-seeds"))


def _before(request: pytest.FixtureRequest) -> Path | None:
    """Sets up what a hub needs to know when it is made; returns where its log is to be kept, if it is verified."""
    if "accord_llm" in request.fixturenames:
        request.getfixturevalue("accord_llm")
    if request.node.get_closest_marker(VERIFY) is None:
        return None
    folder: Path = request.getfixturevalue("tmp_path")
    return folder / "log.accord"


def _verified(archive: Path | None) -> None:
    """Decides a log once more; fails the test if it is not what it was. A hub that was not opened has none."""
    if archive is None or not archive.exists():
        return
    from accord.replay.source import open_source  # noqa: PLC0415
    from accord.replay.verify import verify  # noqa: PLC0415

    with open_source(archive) as source:
        report = verify(source)
    if report.ok:
        return
    lines = [
        f"{one.position} {one.key}: expected {_events(one.expected)}, got {_events(one.got)}"
        for one in report.divergences[:10]
    ]
    lines += [f"{gap.position}: {gap.description}" for gap in report.gaps]
    pytest.fail("The log is not what its commands and rules say:\n" + "\n".join(lines), pytrace=False)


def _events(decision: Any) -> Any:
    """What is told of a decision."""
    return decision.get("events", decision) if isinstance(decision, dict) else decision
