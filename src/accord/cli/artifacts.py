"""`accord artifacts`: contents beside the log: what there is, and what nothing in the log names any more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from accord.cli.options import Bootstrap, Json, Prefix, load
from accord.cli.output import json_line, plural, say
from accord.cli.sharing import print_table, span

if TYPE_CHECKING:
    from accord.agents.artifacts.store import Store, Stored
    from accord.settings import Settings

MINUTE_S: Final = 60
AGE_MINUTES: Final = 60
"""What was put and is not named yet may be so by a step that still runs."""


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Contents beside the log: large inputs and results, documents.")
    group.command("list")(list_artifacts)
    group.command()(prune)
    app.add_typer(group, name="artifacts")


def list_artifacts(bootstrap: Bootstrap = None, prefix: Prefix = None, as_json: Json = False) -> None:
    """List the artifacts of the store, and whether anything in the log names them.

    --json prints an object each: name, size_bytes, age_ms, named.
    """
    settings = load(bootstrap, prefix)
    store, files, names = _look(settings)
    now_s = time.time()
    if as_json:
        for file in files:
            json_line(_as_json(file, now_s) | {"named": file.name in names})
        return
    print_table(
        ("=name", "<bytes", "<age", "named"),
        [
            (file.name, f"{file.size_bytes:,}", span(_age_ms(file, now_s)), "yes" if file.name in names else "no")
            for file in files
        ],
    )
    missing = len(names - {file.name for file in files})
    told = f"; {missing:,} more are named and missing" if missing else ""
    say(f"{plural(len(files), 'artifact')} in {store.url}{told}")


def prune(
    minutes: Annotated[
        int, typer.Option("--older-than", metavar="MINUTES", min=0, help="Leave those that were put since then.")
    ] = AGE_MINUTES,
    do: Annotated[bool, typer.Option("--yes", help="Delete them. Without it, only what would be is shown.")] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Delete the artifacts that nothing in the log names: what a crash left, or who put it and did not return it.

    One store for several logs: don't, for those of the others are not known here.
    """
    settings = load(bootstrap, prefix)
    store, files, names = _look(settings)
    now_s = time.time()
    gone = [file for file in files if file.name not in names and _age_ms(file, now_s) >= minutes * MINUTE_S * 1_000]
    for file in gone:
        if do:
            store.remove(file.name)
        if as_json:
            json_line(_as_json(file, now_s) | {"deleted": do})
        else:
            say(f"{'deleted' if do else 'would delete'}  {file.name}  {file.size_bytes:,} bytes")
    if not as_json:
        size = sum(file.size_bytes for file in gone)
        told = f"{plural(len(gone), 'artifact')} of {len(files):,}, {size:,} bytes"
        say(told if do or not gone else f"{told}. To delete them: --yes")


def _look(settings: Settings) -> tuple[Store, list[Stored], set[str]]:
    """The store, its files, and the names of those that the log names."""
    from accord.agents.artifacts.store import open_store  # noqa: PLC0415
    from accord.replay.artifacts import named  # noqa: PLC0415
    from accord.replay.source import open_source  # noqa: PLC0415

    store = open_store(settings.artifacts.url)

    def content(name: str) -> bytes | None:
        try:
            return store.read(name)
        except FileNotFoundError:
            return None

    with open_source(settings) as log:
        names = named(log, content)
    return store, list(store.list()), names  # in this order: what was put again meanwhile is young


def _age_ms(file: Stored, now_s: float) -> int:
    return max(0, int((now_s - file.changed_s) * 1_000))


def _as_json(file: Stored, now_s: float) -> dict[str, Any]:
    return {"name": file.name, "size_bytes": file.size_bytes, "age_ms": _age_ms(file, now_s)}
