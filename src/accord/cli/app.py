"""The `accord` program: its commands put together, errors turned into texts and exit codes."""

from __future__ import annotations

from typing import Annotated

import typer

from accord.cli import (
    agents,
    artifacts,
    auctions,
    config,
    conflicts,
    dlq,
    doctor,
    events,
    explain,
    flows,
    hierarchy,
    limits,
    llm,
    locks,
    proposals,
    recover,
    replay,
    rules,
    running,
    sagas,
    serve,
    state,
    tasks,
    topics,
    triggers,
    tx,
)
from accord.cli.output import print_error
from accord.errors import AccordError

INTERRUPTED = 130


def run(arguments: list[str]) -> int:
    """Runs one command line; returns its exit code."""
    try:
        build()(arguments, prog_name="accord")
    except AccordError as error:
        print_error(error, as_json="--json" in arguments)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    return 0


COMMANDS = (
    running,
    serve,
    doctor,
    config,
    topics,
    events,
    explain,
    locks,
    limits,
    tasks,
    agents,
    llm,
    proposals,
    auctions,
    conflicts,
    hierarchy,
    state,
    tx,
    sagas,
    triggers,
    flows,
    dlq,
    artifacts,
    replay,
    recover,
    rules,
)
"""In the order in which --help lists them."""


def build() -> typer.Typer:
    """The program with all its commands."""
    app = typer.Typer(
        help="Many LLM agents, one log, no double bookings.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for module in COMMANDS:
        module.add_to(app)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"accord {version('accord')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options of the program itself."""
