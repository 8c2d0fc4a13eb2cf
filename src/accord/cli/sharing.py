"""What the commands about locks, pools, tasks and agents have in common: where they look, and how they put it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from accord.cli.options import open_log
from accord.cli.output import console, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from accord.replay.limits import PoolView
    from accord.replay.locks import LockView, Pinned
    from accord.replay.sharing import Sharing
    from accord.replay.source import Source as Log

At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="POSITION|TIME",
        help="As it was when locks/3@1842 had been decided, or at a time of the log, 2026-03-01T12:00:00Z. Without it, "
        "now; in an archive, at its end.",
        show_default=False,
    ),
]


def look(source: str | None, at: str | None, processes: int) -> Sharing:
    """What is shared at a point of the log that a SOURCE names.

    Raises:
        What `open_log`, `parse_point` and `sharing_at` raise.
    """
    with open_log(source) as log:
        return look_at(log, at, processes)


def look_at(log: Log, at: str | None = None, processes: int = 0) -> Sharing:
    """What is shared at a point; at the end of a live log counted to this moment, else by the log's clock."""
    from accord.replay.sharing import sharing_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    return sharing_at(log, parse_point(at), now_ms=now_of(log), processes=processes)


def now_of(log: Log) -> int | None:
    """This moment for a live log, in ms since 1970; None for an archive, whose time is its own."""
    from accord.replay.source import KafkaSource  # noqa: PLC0415

    return time.time_ns() // 1_000_000 if isinstance(log, KafkaSource) else None


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, indent: int = 0) -> None:
    """Prints rows of text in columns, without lines.

    Args:
        columns: their heads; `<HEAD` is one of numbers: it stands to the right and is never cut; nor is `=HEAD`. Where
            the terminal is too narrow, the others are cut, the widest first.
        rows: a text for each column; rich's markup counts.
        indent: in columns of the terminal.
    """
    from rich.padding import Padding  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.startswith("<") else "left"
        made.add_column(column.lstrip("<="), justify=justify, no_wrap=column[0] in "<=", overflow="ellipsis")
    for row in rows:
        cells = [Text.from_markup(cell) for cell in row]
        for cell in cells:
            cell.no_wrap, cell.overflow = True, "ellipsis"
        made.add_row(*cells)
    console().print(Padding(made, (0, 0, 0, indent), expand=False), soft_wrap=False)


def say_pinned(pin: Pinned) -> None:
    """Says which transaction pins what is shown."""
    from rich.markup import escape  # noqa: PLC0415

    say(
        f"  pinned by transaction [cyan]{escape(pin.transaction)}[/] of {escape(pin.agent)}, token {pin.token}, "
        f"for {span(pin.pinned_ms)}: goes to nobody new before its outcome"
    )


def span(ms: int) -> str:
    """A duration for people; one that is over is 0."""
    seconds = max(0, ms) / 1_000
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3_600 else f"{seconds / 3_600:.1f} h"


def some(names: tuple[str, ...], most: int = 3) -> str:
    """Names for a cell: the first ones, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def held_line(view: LockView | PoolView) -> str:
    """Who holds a lock or pool, and who waits, in a line."""
    held = tuple(f"{holder.agent} (token {holder.token})" for holder in view.holders)
    waits = tuple(waiter.agent for waiter in view.waiters)
    return f"held by {some(held, 10) or 'nobody'}; waiting: {some(waits, 10) or 'nobody'}"
