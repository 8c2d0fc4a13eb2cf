"""Where each setting comes from, and which names in the environment are none."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import (
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    TomlConfigSettingsSource,
)

from accord.settings import Settings

HIDDEN: Final = "(hidden)"
_OTHER_NAMES: Final = frozenset({"ACCORD_CONFIG"})


class Row(NamedTuple):
    """A setting. `origin` is `default`, `environment`, or the name of the file."""

    name: str
    value: Any
    origin: str

    def as_json(self) -> dict[str, Any]:
        return self._asdict()


def rows(settings: Settings) -> list[Row]:
    """Every setting with its value and its origin; secrets are hidden."""
    sources = [(_name(source), source()) for source in _sources()]
    found = []
    for path, field, value in _leaves(settings):
        origin = next((name for name, values in sources if _has(values, path)), "default")
        shown = value if field.repr or not value else HIDDEN
        found.append(Row(".".join(path), str(shown) if isinstance(shown, Path) else shown, origin))
    return found


def unknown_names() -> list[tuple[str, str]]:
    """Names of the environment that look like settings and are none, each with the name that was likely meant."""
    known = {"ACCORD_" + "__".join(path).upper() for path, _, _ in _leaves(Settings.load())}
    known |= {f"ACCORD_{group}".upper() for group in Settings.model_fields}
    known |= {f"{name}_FILE" for name in known} | _OTHER_NAMES
    strange = sorted(name for name in os.environ if name.upper().startswith("ACCORD_") and name.upper() not in known)
    return [(name, next(iter(get_close_matches(name.upper(), known, 1)), "")) for name in strange]


def _sources() -> tuple[PydanticBaseSettingsSource, ...]:
    """The sources that Settings reads, first the one that wins."""
    nothing = InitSettingsSource(Settings, init_kwargs={})
    return Settings.settings_customise_sources(Settings, nothing, EnvSettingsSource(Settings), nothing, nothing)


def _name(source: PydanticBaseSettingsSource) -> str:
    match source:
        case EnvSettingsSource():
            return "environment"
        case TomlConfigSettingsSource():
            return str(source.toml_file_path)
        case _:
            return "argument"


def _leaves(model: BaseModel, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], FieldInfo, Any]]:
    found: list[tuple[tuple[str, ...], FieldInfo, Any]] = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            found += _leaves(value, (*path, name))
        else:
            found.append(((*path, name), field, value))
    return found


def _has(values: Any, path: tuple[str, ...]) -> bool:
    for part in path:
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True
