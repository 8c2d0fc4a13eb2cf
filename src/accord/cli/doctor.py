"""`accord doctor`: is everything in place?"""

from __future__ import annotations

from typing import Annotated

import typer

from accord.cli.options import Bootstrap, Json, Prefix, load
from accord.cli.output import json_line, say

WRONG, NOT_LOOKED = 1, 3


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Also send one command that changes nothing: measures the broker's clock and a worker's answer.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check settings, broker, topics, clocks and workers; say what to do about what is wrong.

    Writes nothing, but for --probe. Exit 0: all is well. 1: something is wrong. 3: the broker does not answer.
    """
    from rich.markup import escape  # noqa: PLC0415

    from accord.cli.health import examine  # noqa: PLC0415

    wrong = unreachable = False
    for finding in examine(load(bootstrap, prefix), probe=probe):
        wrong = wrong or finding.ok is False
        unreachable = unreachable or (finding.check == "broker" and finding.ok is False)
        if as_json:
            json_line(finding._asdict())
        else:
            mark = {True: "[green]ok   [/]", False: "[red]wrong[/]", None: "[yellow]?    [/]"}[finding.ok]
            say(f"{mark}  {finding.check:<8}  {escape(finding.text)}")
            if finding.remedy:
                say(f"                 [bold]{escape(finding.remedy)}[/]")
    if unreachable:
        raise typer.Exit(NOT_LOOKED)
    if wrong:
        raise typer.Exit(WRONG)
