"""What lists by status share: the check of `--status`, the line when there is nothing, the counts below a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol

from accord.cli.output import plural, say
from accord.errors import BadInput


class HasStatus(Protocol):
    @property
    def status(self) -> str: ...


def check_status(status: str | None, statuses: Collection[str], noun: str) -> None:
    """Raises BadInput unless it is none or one of them."""
    if status is not None and status not in statuses:
        article = "an" if noun[0] in "aeiou" else "a"
        raise BadInput(f"{status!r} is no status of {article} {noun}.", remedy=f"There is: {', '.join(statuses)}.")


def say_none(noun: str, status: str | None) -> None:
    """Says that there is nothing to list."""
    say(f"there is no {noun}" if status is None else f"no {noun} is {status}")


def say_counts(noun: str, views: Sequence[HasStatus]) -> None:
    """Says how many there are of each status."""
    counts = Counter(view.status for view in views)
    say(f"{plural(len(views), noun)}: {', '.join(f'{count:,} {status}' for status, count in sorted(counts.items()))}")
