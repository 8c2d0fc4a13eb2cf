"""The pytest plugin: fixtures for programs that use accord.

Every pytest of an environment loads it, so it imports nothing of accord until a fixture is used.
"""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def accord_kafka() -> Iterator[str]:
    """The bootstrap servers of a real Kafka that runs until the session ends.

    A machine that has none fails the test and never skips it: a suite that is green without its broker
    has shown nothing.
    """
    from accord.testing.broker import kafka_for_tests  # noqa: PLC0415

    with kafka_for_tests() as bootstrap_servers:
        yield bootstrap_servers
