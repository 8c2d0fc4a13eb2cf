"""`accord topics`: the topics on the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Bootstrap, Json, Prefix, load
from accord.cli.output import console, json_line, say
from accord.schemas.topics import DAY_MS

if TYPE_CHECKING:
    from accord.admin import Admin, TopicStatus

WRONG = 1


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Make the topics, and check them.")
    group.command("init")(init)
    group.command("list")(list_topics)
    group.command("check")(check)
    app.add_typer(group, name="topics")


def init(
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    inbox: Annotated[
        bool,
        typer.Option(
            "--inbox",
            help="Also the inbox, for many clients: those with client.answers=inbox take their answers from it.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing.

    May be run again at any time. A topic that is there and differs from the settings (partition count, whose time its
    records carry, cleanup) is refused, and then nothing is created. With a schema registry in the settings, today's
    schemas are put there, too. Workers look for the inbox when they start.
    """
    from accord.admin import Admin  # noqa: PLC0415

    settings = load(bootstrap, prefix, find_dev=False)
    for status in Admin(settings, inbox=inbox).init():
        created = status.state == "missing"
        if as_json:
            json_line({"name": status.topic.name, "created": created})
        else:
            say(f"[green]{'created' if created else 'exists '}[/]  {status.topic.name}")
    if settings.schema_registry_url:
        from accord.registry import Registry  # noqa: PLC0415

        for topic, schema_id in Registry(settings.schema_registry_url).register(settings.topics.prefix).items():
            if as_json:
                json_line({"name": topic, "schema_id": schema_id})
            else:
                say(f"[green]schema [/]  {topic}: {schema_id} in the registry")


def list_topics(bootstrap: Bootstrap = None, prefix: Prefix = None, as_json: Json = False) -> None:
    """Show every topic: what it is for, and how it stands on the broker."""
    statuses = _admin(bootstrap, prefix).check()
    if as_json:
        for status in statuses:
            json_line(_as_json(status))
        return
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("topic", "key", "partitions", "retention", "time", "state"):
        table.add_column(title)
    for status in statuses:
        topic = status.topic
        colour = _COLOURS[status.state]
        table.add_row(
            topic.name,
            topic.key,
            str(topic.partitions),
            _kept(topic.retention_ms),
            topic.timestamps,
            f"[{colour}]{status.state}[/]",
        )
    console().print(table)


def check(bootstrap: Bootstrap = None, prefix: Prefix = None, as_json: Json = False) -> None:
    """Compare the topics on the broker with the settings. Exit 1 if one is missing or differs."""
    statuses = _admin(bootstrap, prefix).check()
    for status in statuses:
        if as_json:
            json_line(_as_json(status))
        elif status.problems:
            for problem in status.problems:
                say(f"[red]{status.state}[/]  {problem} {remedy(status)}")
        else:
            say(f"[{_COLOURS[status.state]}]{status.state}[/]  {status.topic.name}")
    if any(status.problems for status in statuses):
        raise typer.Exit(WRONG)


def _kept(retention_ms: int) -> str:
    if retention_ms == -1:
        return "for ever"
    return f"{retention_ms // DAY_MS} days" if retention_ms >= DAY_MS else f"{retention_ms // 60_000} min"


def remedy(status: TopicStatus) -> str:
    """What to do about a topic that is not right."""
    from accord.admin import REMEDY  # noqa: PLC0415

    return {"missing": "Create it: accord topics init.", "wrong": REMEDY}.get(status.state, "")


_COLOURS = {"right": "green", "missing": "red", "wrong": "red", "unknown": "yellow"}


def _admin(bootstrap: str | None, prefix: str | None) -> Admin:
    from accord.admin import Admin  # noqa: PLC0415

    return Admin(load(bootstrap, prefix))


def _as_json(status: TopicStatus) -> dict[str, object]:
    topic = status.topic
    return {
        "name": topic.name,
        "state": status.state,
        "problems": status.problems,
        "remedy": remedy(status),
        "key": topic.key,
        "partitions": topic.partitions,
        "retention_ms": topic.retention_ms,
        "timestamps": topic.timestamps,
        "cleanup": topic.cleanup,
    }
