"""The settings of an embedded broker and worker, and a process without handlers for each test."""

import pytest
from accord.agents.signals import handlers

from accord.embedded import Embedded
from accord.settings import Settings


@pytest.fixture
def settings(embedded: Embedded) -> Settings:
    found = embedded.settings
    return found.model_copy(update={"client": found.client.model_copy(update={"handler_retry_ms": 10})})


@pytest.fixture(autouse=True)
def no_handlers_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers are declared for the process; those of one test are not for the next."""
    monkeypatch.setattr(handlers, "_process", {})
