"""A model's stand-in for the module's tests."""

from collections.abc import Callable, Iterator

import pytest

from accord.embedded import Embedded
from accord.settings import Settings
from accord.testing.model_server import ModelServer
from tests.agents.support import with_


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def settings_with(embedded: Embedded, model: ModelServer) -> Callable[..., Settings]:
    """The embedded broker's settings with the stand-in's endpoint; some of the service's: `(port=1)`."""

    def make(**service: object) -> Settings:
        return with_(with_(embedded.settings, "llm", base_url=model.base_url), "service", **service)

    return make
