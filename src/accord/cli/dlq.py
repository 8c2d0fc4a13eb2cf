"""`accord dlq`: the dead letters."""

from __future__ import annotations

import typer

from accord.cli.options import Bootstrap, Json, Prefix, load
from accord.cli.output import json_line, plural, say


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="What could not be processed.")
    group.command("list")(list_letters)
    app.add_typer(group, name="dlq")


def list_letters(bootstrap: Bootstrap = None, prefix: Prefix = None, as_json: Json = False) -> None:
    """Show the dead letters, oldest first: rejected commands, and events whose handler failed for good."""
    from rich.markup import escape  # noqa: PLC0415

    from accord.replay.deadletters import dead_letters  # noqa: PLC0415
    from accord.replay.timeline import iso  # noqa: PLC0415

    count = 0
    for letter in dead_letters(load(bootstrap, prefix)):
        count += 1
        if as_json:
            json_line(
                {
                    "id": letter.id,
                    "queue": letter.queue,
                    "reason": letter.reason,
                    "description": letter.description,
                    "count": letter.attempts,
                    "task_id": letter.task_id,
                    "origin": letter.origin,
                    "time": iso(letter.at_ms),
                    "agent": letter.agent or None,
                }
            )
        else:
            say(
                f"[dim]{iso(letter.at_ms)}[/]  [bold]{escape(letter.reason)}[/]  {escape(letter.queue)}  "
                f"{escape(letter.description)}  [dim]{letter.origin}, decided {letter.id}[/]"
            )
    if not as_json:
        say(plural(count, "dead letter"))
