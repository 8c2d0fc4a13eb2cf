"""What the demo shows: who says what, when, each agent in its colour."""

from __future__ import annotations

import threading
import time
from typing import Final

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

COLOURS: Final = {
    "researcher": "magenta",
    "ada": "cyan",
    "bob": "green",
    "cyd": "yellow",
    "dan": "bright_blue",
    "hotel": "white",
    "demo": "dim",
}
NAME_CHARS: Final = max(len(name) for name in COLOURS)


class Screen:
    """Lines on a terminal; `quiet` sends them to stderr, so that stdout is for JSON alone."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=quiet, highlight=False)
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def title(self, text: str) -> None:
        self._print(f"\n[bold]{escape(text)}[/]")

    def line(self, text: str = "") -> None:
        """A line of plain text, as it is."""
        with self._lock:
            self._console.print(text, markup=False, soft_wrap=True)

    def row(self, *cells: str, indent: int = 0) -> None:
        """Cells with rich's markup, side by side; on a terminal the last one is wrapped under itself."""
        if not self._console.is_terminal:
            with self._lock:
                self._console.print(" " * indent + "  ".join(cells), soft_wrap=True)
            return
        table = Table.grid(padding=(0, 2, 0, 0))
        for _ in cells[:-1]:
            table.add_column(no_wrap=True)
        table.add_row(*cells)
        self._print(Padding(table, (0, 0, 0, indent)))

    def says(self, agent: str, text: str) -> None:
        """What an agent does, as it happens."""
        self.row(self._now(), named(agent), escape(text))

    def strikes(self, text: str) -> None:
        """What the demo does to an agent."""
        self.row(self._now(), f"[bold red]{escape(text)}[/]")

    def _now(self) -> str:
        return f"[dim]{time.monotonic() - self._started:5.1f} s[/]"

    def _print(self, what: RenderableType) -> None:
        with self._lock:
            self._console.print(what)


def named(agent: str) -> str:
    """An agent's name in its colour, as wide as the widest."""
    return f"[{COLOURS.get(agent, 'white')}]{escape(f'{agent:<{NAME_CHARS}}')}[/]"
