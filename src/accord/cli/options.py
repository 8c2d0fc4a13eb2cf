"""Options that several commands have, and the settings they lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from accord.replay.source import Source as Log
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
Errors = Annotated[bool, typer.Option("--errors", help="Log errors only; as ACCORD_LOG__LEVEL=error.")]
Domains = Annotated[
    str,
    typer.Option(
        "--domain",
        metavar="A,B",
        help="Only these domains: locks, signals, limits, waits, tasks, roster, llm, proposals, auctions, hierarchy, "
        "state, transactions, conflicts, triggers, sagas.",
        show_default=False,
    ),
]
Processes = Annotated[
    int,
    typer.Option("--processes", min=0, metavar="N", help="Work in so many processes. 0: as many as pay, one a core."),
]


def load(
    bootstrap: str | None = None, prefix: str | None = None, *, find_dev: bool = True, **groups: dict[str, Any]
) -> Settings:
    """The settings in force, with what the command line says on top.

    Args:
        find_dev: where nothing names a cluster, take that of a running `accord dev`.

    Raises:
        ConfigError: a value cannot be right.
    """
    from accord.agents.discovery import resolve  # noqa: PLC0415
    from accord.settings import Settings  # noqa: PLC0415

    if bootstrap is not None:
        groups.setdefault("kafka", {})["bootstrap_servers"] = bootstrap
    if prefix is not None:
        groups.setdefault("topics", {})["prefix"] = prefix
    settings = Settings.load(**groups)
    return resolve(settings, None) if find_dev else settings


def log_chosen(errors: bool) -> dict[str, Any]:
    """The settings `log` that `--errors` says."""
    return {"level": "error"} if errors else {}


def open_log(source: str | None, *, partial: bool = False) -> Log:
    """The log that a SOURCE names, with the schema registry of the settings to decode it.

    Raises:
        NotFound: there is no such archive, or the cluster has no topics of accord.
        KafkaUnreachable: no broker answers.
        ArtifactDamaged: the archive is not whole.
        BadInput: the text is neither a directory nor an address.
    """
    from accord.replay.source import open_source  # noqa: PLC0415

    settings = load()
    attach_registry(settings)
    return open_source(source or settings, partial=partial)


def attach_registry(settings: Settings) -> None:
    """Lets values that name their schema by a registry's id be decoded, if the settings name a registry."""
    if settings.schema_registry_url:
        from accord.registry import Registry  # noqa: PLC0415

        Registry(settings.schema_registry_url).attach(settings.topics.prefix)


def names(text: str) -> tuple[str, ...]:
    """`a,b` as names."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
