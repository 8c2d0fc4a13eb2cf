"""One embedded log for all tests of patterns: their runs have keys and teams of their own."""

from collections.abc import Iterator

import pytest

from accord.embedded import Embedded


@pytest.fixture(scope="package")
def embedded() -> Iterator[Embedded]:
    with Embedded() as running:
        yield running
