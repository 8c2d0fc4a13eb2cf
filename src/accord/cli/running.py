"""`accord worker` and `accord dev`: what keeps running."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from accord.cli.options import Bootstrap, Prefix, load, names


def add_to(app: typer.Typer) -> None:
    app.command()(dev)
    app.command()(worker)


def dev(
    keep: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Write an archive of the log there; one that is there is replaced."),
    ] = None,
) -> None:
    """Run broker and worker in one process, until Ctrl-C: all that a program with accord needs on a laptop.

    The log is memory and ends with this program. Programs started in this directory find it by themselves.
    """
    from accord.embedded import dev as run  # noqa: PLC0415

    raise typer.Exit(run(load(), keep=keep))


def worker(
    domains: Annotated[
        str, typer.Option("--domains", metavar="A,B", help="Only these domains. Without it, those of the settings.")
    ] = "",
    name: Annotated[
        str | None,
        typer.Option(help="The worker's lasting identity: unique among running workers, the same after a restart."),
    ] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Run a worker until Ctrl-C or SIGTERM: it decides the commands of its share of the partitions.

    Start as many as you like, each with its own --name and data directory; they share the partitions.
    """
    from accord.streams.runtime.worker import run  # noqa: PLC0415

    chosen: dict[str, Any] = {}
    if domains:
        chosen["domains"] = names(domains)
    if name is not None:
        chosen["name"] = name
    raise typer.Exit(run(load(bootstrap, prefix, worker=chosen)))
