"""`accord events`: what happened, decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Bootstrap, Domains, Json, Partial, Prefix, Source, attach_registry, load, names, open_log
from accord.cli.output import event_text, json_line, plural, say

if TYPE_CHECKING:
    from accord.replay.timeline import Filter, TimelineEvent

Key = Annotated[str | None, typer.Option(help="Only of this key: a lock's name, an event's name.", show_default=False)]
Event = Annotated[str | None, typer.Option(help="Only of this type, as LockGranted.", show_default=False)]
Agent = Annotated[str | None, typer.Option(help="Only what concerns this agent.", show_default=False)]
Task = Annotated[str | None, typer.Option(help="Only with this task id.", show_default=False)]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="POSITION|TIME",
        help="From this position of its partition, locks/3@1842, or this time of the log, 2026-03-01T12:00:00Z, on.",
        show_default=False,
    ),
]


Until = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="POSITION|TIME",
        help="Up to this position of its partition, that record included, or this time of the log.",
        show_default=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="What happened: list it, watch it, save it.")
    group.command("list")(list_events)
    group.command("tail")(tail)
    group.command("export")(export)
    group.command("import")(import_events)
    app.add_typer(group, name="events")


def list_events(
    source: Source = None,
    domain: Domains = "",
    key: Key = None,
    event: Event = None,
    agent: Agent = None,
    task: Task = None,
    start: From = None,
    end: Until = None,
    limit: Annotated[int, typer.Option(min=0, help="Stop after so many; 0 is no limit.")] = 0,
    partial: Partial = False,
    as_json: Json = False,
) -> None:
    """List events by the log's time, oldest first: time, position, agent, event, key, fields.

    accord events list hotel.accord --key room_12
    """
    from itertools import islice  # noqa: PLC0415

    from accord.replay.timeline import timeline  # noqa: PLC0415

    which = _filter(domain, key, event, agent, task, start, end)
    with open_log(source, partial=partial) as log:
        for found in islice(timeline(log, which), limit or None):
            show(found, as_json=as_json)


def tail(
    domain: Domains = "",
    key: Key = None,
    event: Event = None,
    agent: Agent = None,
    task: Task = None,
    start: From = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Watch events as they happen, coloured by agent, until Ctrl-C. Goes on when a broker comes back.

    Starts with what happens from now on; with --from, with what happened since then.

        accord events tail --agent hotel_booker
    """
    from accord.replay import tail as live  # noqa: PLC0415

    which = _filter(domain, key, event, agent, task, start)
    settings = load(bootstrap, prefix)
    attach_registry(settings)
    try:
        for found in live.tail(settings, which):
            if not isinstance(found, live.Notice):
                show(found, as_json=as_json)
            elif not as_json:
                say(f"[dim]{found.text}[/]")
    except KeyboardInterrupt:
        return


def export(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The address of a cluster, or the directory of an archive.")
    ],
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Where the archive goes: a new or empty directory.")],
    domain: Domains = "",
    until: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="POSITION|TIME",
            help="Up to this point, and in the other partitions to the consistent cut there.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an export that was cut off, to the end that it had then.")
    ] = False,
    partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Save a log as an archive: commands and events of every partition, as they are now.

    An archive needs no cluster to be verified, and holds what retention takes later. It is a part of the log that can
    be verified, so it takes whole partitions; of single agents or tasks, `events list --json` tells.

        accord events export localhost:9092 2026-03.accord
    """
    from accord.cli.progress import Watched  # noqa: PLC0415
    from accord.replay.export import export as run  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    with Watched(open_log(source, partial=partial)) as log:
        records = run(log, directory, domains=names(domain), at=parse_point(until), resume=resume)
    if as_json:
        json_line({"source": source, "directory": directory, "records": records})
    else:
        say(f"{plural(records, 'record')} in {directory}. Check it: accord replay verify {directory}")


def import_events(
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE", help="The directory of an archive.")],
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Put an archive into an empty cluster, at the same offsets: where a cluster was lost, its log goes on.

    The cluster must have been formatted with the id of the lost one, and no worker may run. Decided commands stay in
    the archive, which verifies them; the others are sent again. Everything is checked before and compared after; cut
    off, it goes on when it is run again. What holds anything else is refused.

        accord events import 2026-03.accord --bootstrap localhost:9092
    """
    from pathlib import Path  # noqa: PLC0415

    from accord.cli.importing import import_archive  # noqa: PLC0415
    from accord.cli.progress import Watched  # noqa: PLC0415
    from accord.replay.source import ArchiveSource  # noqa: PLC0415

    with Watched(ArchiveSource(Path(archive))) as log:
        settings = load(bootstrap, log.prefix, find_dev=False)
        imported = import_archive(settings, log, log.tell)
    if as_json:
        json_line(imported)
        return
    say(
        f"{plural(imported.decisions, 'decision')} in {plural(imported.partitions, 'partition')}: "
        f"{imported.written:,} records written, {imported.there:,} were there, all read back and compared"
    )
    if imported.undecided:
        say(f"{plural(imported.undecided, 'command')} not decided yet: start the workers")


def show(event: TimelineEvent, *, as_json: bool) -> None:
    """Prints an event as a line."""
    if as_json:
        json_line(event)
        return
    from rich.text import Text  # noqa: PLC0415

    from accord.cli.output import console  # noqa: PLC0415

    colour = colour_of(event.agent)
    line = Text()
    line.append(f"{clock_of(event.time)}  ", style="dim")
    line.append(f"{event.position:<14}  ", style="dim")
    line.append(f"{event.agent or '-':<16}  ", style=colour)
    line.append(f"{event.event:<17} ", style=f"bold {colour}")
    line.append(f"{event.key or '-'}  ")
    line.append(event_text(event.data), style="dim")
    console().print(line)


_PALETTE = ("cyan", "green", "yellow", "magenta", "blue", "bright_red", "bright_cyan", "bright_green", "bright_magenta")


_colours: dict[str, str] = {}
_COLOURED_MAX = 10_000
"""Agents whose colour is kept; further ones stay without."""


def colour_of(agent: str | None) -> str:
    """An agent's colour: the next of the palette for each agent that shows up."""
    if agent is None:
        return "default"
    if agent not in _colours and len(_colours) < _COLOURED_MAX:
        _colours[agent] = _PALETTE[len(_colours) % len(_PALETTE)]
    return _colours.get(agent, "default")


def clock_of(time: str | None) -> str:
    return time[11:-1] if time else " " * 12


def _filter(
    domain: str, key: str | None, event: str | None, agent: str | None, task: str | None, start: str | None,
    end: str | None = None,
) -> Filter:  # fmt: skip
    from accord.replay.state import parse_point  # noqa: PLC0415
    from accord.replay.timeline import Filter  # noqa: PLC0415

    return Filter(
        domains=names(domain), key=key, event=event, agent=agent, task_id=task, start=parse_point(start),
        end=parse_point(end),
    )  # fmt: skip
