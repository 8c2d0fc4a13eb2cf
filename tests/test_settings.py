"""Settings: where a value comes from, and what is refused at the start."""

from pathlib import Path

import pytest

from accord.errors import ConfigError
from accord.settings import Settings


def test_argument_environment_file_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "accord.toml"
    file.write_text("[locks]\nlease_ms = 2000\nwait_warning_ms = 3000\n[topics]\npartitions = 12\n")
    monkeypatch.setenv("ACCORD_CONFIG", str(file))
    monkeypatch.setenv("ACCORD_LOCKS__LEASE_MS", "5000")
    settings = Settings.load(topics={"partitions": 24})
    assert (settings.topics.partitions, settings.locks.lease_ms, settings.locks.wait_warning_ms) == (24, 5_000, 3_000)
    assert settings.locks.clock_step_ms == 500


def test_a_secret_comes_from_a_file_and_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    monkeypatch.setenv("ACCORD_KAFKA__SASL_PASSWORD_FILE", str(secret))
    settings = Settings.load()
    assert settings.kafka.sasl_password == "s3cret"
    assert "s3cret" not in repr(settings)


def test_a_secret_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_KAFKA__SASL_PASSWORD_FILE", "/nowhere/password")
    with pytest.raises(ConfigError, match=r"ACCORD_KAFKA__SASL_PASSWORD_FILE: /nowhere/password cannot be read"):
        Settings.load()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"locks": {"lease_ms": -5}}, "locks.lease_ms"),
        ({"locks": {"leash_ms": 5}}, "locks.leash_ms"),
        ({"worker": {"domains": ("rooms",)}}, "worker.domains"),
        ({"kafka": {"security_protocol": "TLS"}}, "kafka.security_protocol"),
        ({"topics": {"partitions": 0}}, "topics.partitions"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(arguments: dict[str, dict[str, object]], named: str) -> None:
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")):
        Settings.load(**arguments)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "accord.toml"
    file.write_text("[locks\nlease_ms = 2000\n")
    monkeypatch.setenv("ACCORD_CONFIG", str(file))
    with pytest.raises(ConfigError, match=r"accord\.toml is no TOML"):
        Settings.load()
