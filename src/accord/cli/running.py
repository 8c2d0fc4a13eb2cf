"""`accord worker` and `accord dev`: what keeps running."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from accord import logs
from accord.cli.options import Bootstrap, Errors, Prefix, load, log_chosen, names
from accord.schemas.position import Position


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

    raise typer.Exit(run(load(find_dev=False), keep=keep))


def worker(
    domains: Annotated[
        str, typer.Option("--domains", metavar="A,B", help="Only these domains. Without it, those of the settings.")
    ] = "",
    name: Annotated[
        str | None,
        typer.Option(help="The worker's lasting identity: unique among running workers, the same after a restart."),
    ] = None,
    accept_loss: Annotated[
        list[str] | None,
        typer.Option(
            metavar="POSITION",
            help="Go on without commands that were removed before they were decided, up to this one "
            "(locks.commands/3@977). The worker names the position when it halts a partition for them.",
        ),
    ] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    errors: Errors = False,
) -> None:
    """Run a worker until Ctrl-C or SIGTERM: it decides the commands of its share of the partitions.

    Start as many as you like, each with its own --name and data directory; they share the partitions.
    """
    from accord.admin import Admin, refuse  # noqa: PLC0415
    from accord.streams.runtime.worker import run  # noqa: PLC0415

    chosen: dict[str, Any] = {}
    if domains:
        chosen["domains"] = names(domains)
    if name is not None:
        chosen["name"] = name
    if accept_loss:
        chosen["accept_loss"] = tuple(str(Position.parse(position)) for position in accept_loss)
    settings = load(bootstrap, prefix, find_dev=False, worker=chosen, log=log_chosen(errors))
    refuse(Admin(settings).check())
    logs.show(settings)
    raise typer.Exit(run(settings))
