"""`accord rules`: the version of the rules that decides."""

from __future__ import annotations

from typing import Annotated

import typer

from accord.cli.options import Bootstrap, Json, Prefix, load
from accord.cli.output import json_line, say


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Which version of the rules decides.")
    group.command()(switch)
    app.add_typer(group, name="rules")


def switch(
    domain: Annotated[str, typer.Option(help="The domain, as locks.")],
    version: Annotated[int, typer.Option(help="The version to activate; every running worker must have it.")],
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")],
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Activate another version of a domain's rules, in every partition.

    The switch is a command in each partition: what comes after it there is decided by the new version, and a replay
    does the same. Roll out a release that has the version to all workers first: one without it stops.
    """
    from accord.admin import switch_rules  # noqa: PLC0415

    for position in switch_rules(load(bootstrap, prefix), domain, version, reason):
        if as_json:
            json_line({"position": str(position), "domain": domain, "version": version})
        else:
            say(f"sent  {position}")
