"""How results and errors are printed: text for people, JSON for programs."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from accord.errors import AccordError


_PIPE_WIDTH = 1_000
"""Columns when stdout is no terminal: what reads it wants whole lines."""


@cache
def console() -> Console:
    """Where text goes: stdout, in colour if that is a terminal."""
    from rich.console import Console  # noqa: PLC0415

    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(highlight=False, soft_wrap=True, width=width)


def say(text: str, **style: Any) -> None:
    """Prints a line of text; rich's markup counts."""
    console().print(text, **style)


def warn(text: str) -> None:
    """Prints a line on stderr, beside a result that stands all the same."""
    sys.stderr.write(f"{text}\n")


def json_line(value: Any) -> None:
    """Prints an object as one line of JSON."""
    import msgspec  # noqa: PLC0415

    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def write(file: Path, text: str) -> None:
    """Writes a file. Raises BadInput: it cannot be written."""
    from accord.errors import BadInput  # noqa: PLC0415

    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror}.") from error


def print_error(error: AccordError, *, as_json: bool) -> None:
    """Prints an error on stderr: one text, or one object."""
    import msgspec  # noqa: PLC0415

    text = msgspec.json.encode(error.as_json()).decode() if as_json else f"{error.code}: {error}"
    sys.stderr.write(text + "\n")


def event_text(data: dict[str, Any]) -> str:
    """An event's fields for people: without what only programs match by, a signal's own data in place."""
    shown = {name: value for name, value in data.items() if name not in ("request", "owner") and value != ()}
    inner = shown.pop("data", None)
    if inner is not None:
        shown = (inner if isinstance(inner, dict) else {"data": inner}) | shown
    return text_of(shown)


def text_of(value: Any) -> str:
    """Data as short text: `holder(agent=ada token=3) waiters=0`; points of time as times."""
    if isinstance(value, dict):
        return " ".join(_field(name, field) for name, field in value.items())
    if isinstance(value, (list, tuple)):
        return "; ".join(text_of(item) for item in value)
    return "-" if value is None or value == "" else str(value)


def _field(name: str, value: Any) -> str:
    if name.endswith("_ms") and isinstance(value, int) and value > _YEAR_2000_MS:
        from accord.replay.timeline import iso  # noqa: PLC0415

        return f"{name.removesuffix('_ms')}={iso(value)[11:-1]}"
    if isinstance(value, (dict, list, tuple)):
        return f"{name}({text_of(value)})"
    return f"{name}={text_of(value)}"


_YEAR_2000_MS = 946_684_800_000


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """`1 command`, `2 commands`; `nouns` where it is not one with an s."""
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def shortened(text: str, most: int) -> str:
    """The beginning of a text that may be long."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def payload(told: Any, most: int) -> str:
    """The beginning of an input or a result: of its JSON or, of an artifact, what it is and where.

    Args:
        told: as it stands in an event's data.
    """
    if isinstance(told, str):
        return shortened(told, most)
    return f"artifact {told['digest']}, {told['media_type']}, {told['size_bytes']:,} bytes"
