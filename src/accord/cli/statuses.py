"""What lists by status share: the check of `--status`, the table, the line when there is nothing, the counts below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from accord.cli.output import json_line, plural, say
from accord.cli.sharing import print_table
from accord.errors import BadInput


class HasStatus(Protocol):
    @property
    def status(self) -> str: ...


V = TypeVar("V", bound=HasStatus)


def check_status(status: str | None, statuses: Collection[str], noun: str) -> None:
    """Raises BadInput unless it is none or one of them."""
    if status is not None and status not in statuses:
        article = "an" if noun[0] in "aeiou" else "a"
        raise BadInput(f"{status!r} is no status of {article} {noun}.", remedy=f"There is: {', '.join(statuses)}.")


def print_list(
    noun: str,
    found: Iterable[V],
    status: str | None,
    heads: Sequence[str],
    row: Callable[[V], Sequence[str]],
    *,
    as_json: bool,
) -> None:
    """Prints those of a status, or all: an object a line, or a table and how many there are of each status.

    Args:
        heads: of the table; see `print_table`.
        row: what the table shows of one.
    """
    views = [view for view in found if status in (None, view.status)]
    if as_json:
        for view in views:
            json_line(view)
    elif views:
        print_table(heads, map(row, views))
        say_counts(noun, views)
    else:
        say_none(noun, status)


def say_none(noun: str, status: str | None) -> None:
    """Says that there is nothing to list."""
    say(f"there is no {noun}" if status is None else f"no {noun} is {status}")


def say_counts(noun: str, views: Sequence[HasStatus]) -> None:
    """Says how many there are of each status."""
    counts = Counter(view.status for view in views)
    say(f"{plural(len(views), noun)}: {', '.join(f'{count:,} {status}' for status, count in sorted(counts.items()))}")


def coloured(status: str, colours: Mapping[str, str]) -> str:
    """A status in its colour, if it has one; for rich."""
    return f"[{colours[status]}]{status}[/]" if status in colours else status
