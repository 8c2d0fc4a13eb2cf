"""How results and errors are printed: text for people, JSON for programs."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from accord.errors import AccordError


@cache
def console() -> Console:
    """Where text goes: stdout, in colour if that is a terminal."""
    from rich.console import Console  # noqa: PLC0415

    return Console(highlight=False, soft_wrap=True)


def say(text: str, **style: Any) -> None:
    """Prints a line of text; rich's markup counts."""
    console().print(text, **style)


def json_line(value: Any) -> None:
    """Prints an object as one line of JSON."""
    import msgspec  # noqa: PLC0415

    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def print_error(error: AccordError, *, as_json: bool) -> None:
    """Prints an error on stderr: one text, or one object."""
    import msgspec  # noqa: PLC0415

    text = msgspec.json.encode(error.as_json()).decode() if as_json else f"{error.code}: {error}"
    sys.stderr.write(text + "\n")


def plural(count: int, noun: str) -> str:
    """`1 command`, `2 commands`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
