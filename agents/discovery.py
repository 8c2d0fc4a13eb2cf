"""Finding the broker when nothing names one: a running `accord dev` in this directory or above, else localhost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from accord import logs
from accord.errors import ConfigError
from accord.settings import Settings

logger = logs.get("accord.client")

DEV_FILE: Final = Path(".accord/dev.json")
"""Written by `accord dev` while it runs: `{"bootstrap_servers", "pid", "settings"}`, settings by group."""


def resolve(settings: Settings | None, bootstrap_servers: str | None) -> Settings:
    """The settings to connect with.

    Args:
        settings: those to start from; None: read from environment and file.
        bootstrap_servers: wins over the settings' own.

    Raises:
        ConfigError: a setting cannot be right.
    """
    settings = settings or Settings.load()
    if bootstrap_servers:
        return _with(settings, {"kafka": {"bootstrap_servers": bootstrap_servers}})
    if settings.kafka.bootstrap_servers:
        return settings
    for folder in (Path.cwd(), *Path.cwd().parents):
        found = _running(folder / DEV_FILE)
        if found is not None:
            address = found["bootstrap_servers"]
            logger.info("using the running accord dev", file=str(folder / DEV_FILE), bootstrap_servers=address)
            groups = found.get("settings", {})
            if settings.artifacts.url:
                groups.pop("artifacts", None)
            kafka = {**groups.get("kafka", {}), "bootstrap_servers": address}
            return _with(settings, {**groups, "kafka": kafka})
    return settings


def _running(file: Path) -> dict[str, Any] | None:
    """What a file of `accord dev` says, if it is there and its process lives."""
    try:
        found: dict[str, Any] = json.loads(file.read_text())
        os.kill(int(found["pid"]), 0)
        return found if isinstance(found["bootstrap_servers"], str) else None
    except OSError:
        return None  # no file, no such process, or one of somebody else
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is no file of accord dev: {error!r}.", remedy="Delete it.") from error


def _with(settings: Settings, groups: dict[str, dict[str, Any]]) -> Settings:
    """The settings with some values replaced, checked like any."""
    merged = settings.model_dump()
    for group, values in groups.items():
        merged[group] = {**merged.get(group, {}), **values}
    return Settings.load(**merged)
