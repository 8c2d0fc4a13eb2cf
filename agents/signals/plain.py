"""What Python values become in an event's data: JSON, written without loss, or refused with the path of the culprit.

JSON types, tuples, mappings with text keys, dataclasses, msgspec structs (an `Artifact`) and pydantic models can be
written. What JSON has no word for
(NaN, bytes, dates, sets, other objects) is refused rather than turned into text that no reader expects.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

DEPTH_MAX: Final = 60
"""Deepest nesting, below what the decider of signals takes; a structure that contains itself ends here, too."""


class NotPlain(Exception):
    """A value that JSON cannot express.

    Args:
        what: the culprit, as `a Connection`.
        path: where it stands, as `$.rooms[2].db`; `$` is the value itself.
    """

    def __init__(self, what: str, path: str) -> None:
        super().__init__(f"{what} at {path}")
        self.what = what
        self.path = path


def as_json(value: Any) -> str:
    """The value as JSON text.

    Raises:
        NotPlain: JSON cannot express it.
    """
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))


def plain(value: Any, path: str = "$", depth: int = 0) -> Any:  # noqa: PLR0911
    """The value made of dict, list, str, int, float, bool and None.

    Raises:
        NotPlain: JSON cannot express it.
    """
    if depth > DEPTH_MAX:
        raise NotPlain(f"more than {DEPTH_MAX} levels", path[:80] + "...")
    match value:
        case None | bool() | int():
            return value
        case str():
            return _text(value, path)
        case float():
            if not math.isfinite(value):
                raise NotPlain(f"the number {value}", path)
            return value
        case Mapping():
            return {_key(name, path): plain(item, f"{path}.{name}", depth + 1) for name, item in value.items()}
        case list() | tuple():
            return [plain(item, f"{path}[{place}]", depth + 1) for place, item in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name), f"{path}.{name}", depth + 1) for name in fields}
    if isinstance(value, msgspec.Struct):  # an Artifact, say
        return plain(msgspec.to_builtins(value), path, depth + 1)
    if hasattr(type(value), "model_fields") and hasattr(value, "model_dump"):  # pydantic, not imported for this
        return plain(_dumped(value, path), path, depth + 1)
    raise NotPlain(_a(type(value).__name__), path)


def _key(name: Any, path: str) -> str:
    if not isinstance(name, str):
        raise NotPlain(f"the key {name!r}", path)
    return _text(name, path)


def _text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotPlain("a text that UTF-8 cannot write", path) from None
    return text


def _dumped(model: Any, path: str) -> Any:
    try:
        return model.model_dump(mode="json")
    except ValueError as error:  # pydantic's serialization errors are ValueErrors
        raise NotPlain(f"{_a(type(model).__name__)} ({error})", path) from error


def _a(name: str) -> str:
    return f"{'an' if name[:1].lower() in tuple('aeiou') else 'a'} {name}"
