"""Options that several commands have, and the settings they lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from accord.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON, an object a line; errors too, on stderr.")]
Bootstrap = Annotated[
    str | None,
    typer.Option("--bootstrap", metavar="HOST:PORT", help="The cluster. Without it, the one of the settings."),
]
Prefix = Annotated[str | None, typer.Option("--prefix", help="Prefix of the topics' names.", show_default=False)]
Source = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE",
        help="The directory of an archive, or the address of a cluster. Without it, the cluster of the settings.",
        show_default=False,
    ),
]
Partial = Annotated[
    bool, typer.Option("--partial", help="Take an archive that was never completed, as far as it goes.")
]
Domains = Annotated[
    str, typer.Option("--domain", metavar="A,B", help="Only these domains: locks, signals.", show_default=False)
]


def load(bootstrap: str | None = None, prefix: str | None = None, **groups: dict[str, Any]) -> Settings:
    """The settings in force, with what the command line says on top.

    Raises:
        ConfigError: a value cannot be right.
    """
    from accord.settings import Settings  # noqa: PLC0415

    if bootstrap is not None:
        groups.setdefault("kafka", {})["bootstrap_servers"] = bootstrap
    if prefix is not None:
        groups.setdefault("topics", {})["prefix"] = prefix
    return Settings.load(**groups)


def names(text: str) -> tuple[str, ...]:
    """`a,b` as names."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
