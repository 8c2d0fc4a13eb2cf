"""A log of its own for each test: on the mock broker, on a real one, or on either (see `harness.on_either`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.mock import MockCluster
from tests.runtime.harness import Log, on_either


@on_either
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    if request.param == "mock":
        with MockCluster() as mock:
            log = Log(mock.bootstrap_servers, tmp_path, mock)
            yield log
            log.close()
    else:
        log = Log(request.getfixturevalue("accord_kafka"), tmp_path, None)
        yield log
        log.close()


@pytest.fixture
def real_log(accord_kafka: str, tmp_path: Path) -> Iterator[Log]:
    log = Log(accord_kafka, tmp_path, None)
    yield log
    log.close()
