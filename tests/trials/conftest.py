import pytest
from accord.agents.signals import handlers


@pytest.fixture(autouse=True)
def no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers that other tests of this process have declared do not run in simulated agents."""
    monkeypatch.setattr(handlers, "_process", {})
