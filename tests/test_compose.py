"""docker-compose.yml is valid and says what accord understands. Needs no Docker engine."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from accord.agents.service.parts import GROUPS

from accord.settings import Settings

CHECKOUT = Path(__file__).parent.parent
AGENTS = {"content-agents", "research-agents", "aggregator"}
SERVICE = {"orchestrator"} | AGENTS


@pytest.fixture(scope="module")
def config() -> str:
    """The compose file as docker-compose understands it."""
    return _compose("config")


def test_the_stack_is_complete() -> None:
    assert set(_compose("config", "--services").split()) == {"kafka", "registry", "topics", "worker", *SERVICE}


def test_images_are_pinned(config: str) -> None:
    images = re.findall(r"^ +image: (\S+)$", config, re.MULTILINE)
    assert images
    assert all(re.search(r":\d+\.\d+\.\d+", image) for image in images), images


def test_every_server_has_a_health_check(config: str) -> None:
    servers = set(_compose("config", "--services").split()) - {"topics"} - AGENTS
    assert config.count("\n    healthcheck:") == len(servers)


def test_each_agent_of_the_service_is_run_once(config: str) -> None:
    commands = re.findall(r"^ +- work\n +- (\S+)$", config, re.MULTILINE)
    assert sorted(commands) == sorted(GROUPS)
    assert len(AGENTS) == len(GROUPS)


def test_accord_knows_its_settings(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in re.findall(r"^ +(ACCORD_\w+): (.+)$", config, re.MULTILINE):
        monkeypatch.setenv(name, value.strip("\"'"))
    settings = Settings.load()
    assert settings.kafka.bootstrap_servers == "kafka:19092"
    assert settings.schema_registry_url == "http://registry:8081"
    assert settings.worker.name == "worker-1"
    assert settings.worker.data_dir == Path("/var/lib/accord/worker-1")
    assert settings.service.tokens == {}
    assert settings.agents.model == "gpt-4"
    assert settings.artifacts.url == "file:///var/lib/accord/artifacts"


def test_who_works_for_tasks_shares_the_artifacts(config: str) -> None:
    assert config.count("target: /var/lib/accord/artifacts\n") + config.count(
        "artifacts:/var/lib/accord/artifacts:"
    ) == (len(SERVICE))


def _compose(*arguments: str) -> str:
    standalone = shutil.which("docker-compose")
    command = [standalone] if standalone else ["docker", "compose"]
    try:
        run = subprocess.run(
            [*command, *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60
        )
    except FileNotFoundError:
        pytest.fail("Neither docker-compose nor 'docker compose' is installed. Run script/setup.")
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout
