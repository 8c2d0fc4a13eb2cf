"""The pytest plugin: fixtures for programs that use accord.

Every pytest of an environment loads it, so it imports nothing of accord until a fixture is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from accord.embedded import LocalHub
    from accord.sync import LocalHub as SyncLocalHub


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
def accord_hub() -> LocalHub:
    """A hub with its own broker and worker, in memory: enter it with `async with`, in the event loop of the test.

    `await hub.advance(ms)` moves the log's clock, so a test of leases and waits never sleeps.
    """
    from accord.embedded import local  # noqa: PLC0415

    return local(agent="test")


@pytest.fixture
def accord_sync() -> Iterator[SyncLocalHub]:
    """The same for plain functions: an open hub; `hub.advance(ms)` moves the log's clock."""
    from accord.sync import local  # noqa: PLC0415

    with local(agent="test") as hub:
        yield hub
