"""`accord config`: the settings in force, and where each comes from."""

from __future__ import annotations

from typing import Any

import typer

from accord.cli.options import Json, load
from accord.cli.output import console, json_line, say

PROBLEM = 2


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="The settings in force, and where each comes from.")
    group.command()(show)
    group.command()(check)
    app.add_typer(group, name="config")


def show(as_json: Json = False) -> None:
    """Show every setting: its value, and whether a file, the environment or the default says so.

    Secrets are hidden. Set them in accord.toml, `[locks]` `lease_ms = 30000`, or in the environment,
    ACCORD_LOCKS__LEASE_MS=30000.
    """
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from accord.cli.origins import rows  # noqa: PLC0415

    settings = rows(load(find_dev=False))
    if as_json:
        for row in settings:
            json_line(row.as_json())
        return
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("setting", "value", "from"):
        table.add_column(title)
    for row in settings:
        style = "" if row.origin == "default" else "bold"
        table.add_row(row.name, escape(_text(row.value)), row.origin, style=style)
    console().print(table)


def check(as_json: Json = False) -> None:
    """Check the settings: values, unknown keys, names in the environment that are no settings. Exit 2 if wrong."""
    from accord.cli.origins import unknown_names  # noqa: PLC0415

    load(find_dev=False)
    unknown = unknown_names()
    for name, guess in unknown:
        if as_json:
            json_line({"ok": False, "name": name, "guess": guess})
        else:
            say(f"[red]wrong[/]  {name} in the environment is no setting." + (f" {guess}?" if guess else ""))
    if unknown:
        raise typer.Exit(PROBLEM)
    if as_json:
        json_line({"ok": True})
    else:
        say("[green]right[/]  all settings")


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)
