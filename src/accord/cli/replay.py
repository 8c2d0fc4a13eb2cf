"""`accord replay`: reads the log again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accord.cli.forking import fork
from accord.cli.options import Domains, Json, Partial, Processes, Source, names, open_log
from accord.cli.output import json_line, plural, say, text_of, warn, write
from accord.cli.report import report

if TYPE_CHECKING:
    from accord.replay.checkpoints import Checkpoints
    from accord.replay.difference import Difference, Kind
    from accord.replay.races import Races
    from accord.replay.state import World
    from accord.replay.verify import Divergence, Report

DIFFERENT, NOT_LOOKED = 1, 3
Directory = Annotated[
    Path | None,
    typer.Option("--checkpoints", metavar="DIR", help="Where the checkpoints are; else beside the archive."),
]
RACES = 1


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Read the log again: is it right, and how did things stand?")
    group.command()(verify)
    group.command()(state)
    group.command()(step)
    group.command()(diff)
    group.command()(races)
    group.command()(rebuild)
    group.command()(fork)
    group.command()(report)
    app.add_typer(group, name="replay")


def verify(
    source: Source = None,
    every: Annotated[
        bool, typer.Option("--all", help="Report every divergence, not the first of each partition alone.")
    ] = False,
    domain: Domains = "",
    partial: Partial = False,
    processes: Processes = 0,
    junit: Annotated[
        Path | None,
        typer.Option("--junit", metavar="FILE", help="Also write it as JUnit XML, a case a partition, for a CI."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Decide every command again and compare with what was recorded, byte for byte.

    Checks the chain of every partition on the way. A divergence is named: edited, dropped, reordered, forked, clock,
    rules, decision (other code decided it), undecided or foreign; with the records that it is about, and what led
    there. Exit 0: identical. 1: a divergence. 3: could not look, for the log or part of it is not there.

        accord replay verify hotel.accord
    """
    from accord.cli.progress import Watched  # noqa: PLC0415
    from accord.errors import AccordError  # noqa: PLC0415
    from accord.replay import junit as documents  # noqa: PLC0415
    from accord.replay.verify import verify as run  # noqa: PLC0415

    try:
        with Watched(open_log(source, partial=partial)) as log:
            report = run(log, every=every, domains=names(domain), processes=processes)
            text = documents.junit(report, log.name, log.all_partitions(names(domain)))
    except AccordError as error:
        if junit is not None:
            write(junit, documents.junit_of_error(error, source or "the cluster of the settings"))
        raise
    if junit is not None:
        write(junit, text)
    if as_json:
        json_line(report)
    else:
        _print_report(report)
    if report.divergences:
        raise typer.Exit(DIFFERENT)
    if not report.ok:
        raise typer.Exit(NOT_LOOKED)


def state(
    source: Source = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="POSITION|TIME",
            help="A position, locks/3@1842 (its partition, that record included), a time of the log, "
            "2026-03-01T12:00:00Z, or a cut, locks/3@1842,signals/0@17. Without it, the end.",
            show_default=False,
        ),
    ] = None,
    cut: Annotated[
        bool,
        typer.Option(
            "--cut", help="Of all partitions: the consistent cut at that point, nothing without what it rests on."
        ),
    ] = False,
    checkpoints: Directory = None,
    domain: Domains = "",
    partial: Partial = False,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """Rebuild the state at a point of the log.

    The same log up to the same point gives the same hash, on any machine, with checkpoints or without. Those that
    `accord replay rebuild` made beside an archive are used; one that cannot be is named, and the one before is taken.

        accord replay state hotel.accord --at locks/3@1842
    """
    from accord.cli.progress import Watched  # noqa: PLC0415
    from accord.replay.cut import cut_at, parse_cut  # noqa: PLC0415
    from accord.replay.state import parse_point, state_at  # noqa: PLC0415

    is_cut = at is not None and "," in at
    point = parse_point(None if is_cut else at)
    kept = _checkpoints(source, checkpoints)
    with Watched(open_log(source, partial=partial)) as log:
        where = parse_cut(log, str(at)) if is_cut else point
        if cut:
            where = cut_at(log, where, domains=names(domain), processes=processes)
        world = state_at(log, where, domains=names(domain), processes=processes, checkpoints=kept)
    for problem in world.unusable:
        warn(f"passed over: {problem}")
    if as_json:
        json_line(world)
    else:
        _print_world(world)


def rebuild(
    source: Source = None,
    every: Annotated[int, typer.Option(min=1, metavar="N", help="A checkpoint of a partition every N decisions.")] = (
        5_000
    ),
    checkpoints: Directory = None,
    domain: Domains = "",
    partial: Partial = False,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """Fold a log and keep checkpoints of the state on this machine: then the state at any point is a short way off.

    They lie beside the archive, ARCHIVE.checkpoints, or where --checkpoints says; the log is not touched. Run again, it
    goes on where it was, and makes anew what is damaged.

        accord replay rebuild hotel.accord
    """
    from accord.cli.progress import Watched  # noqa: PLC0415
    from accord.errors import BadInput  # noqa: PLC0415
    from accord.replay.checkpoints import rebuild_checkpoints  # noqa: PLC0415

    kept = _checkpoints(source, checkpoints)
    if kept is None:
        raise BadInput(
            "The checkpoints of a cluster need a place of their own.", remedy="Name a directory: --checkpoints DIR."
        )
    with Watched(open_log(source, partial=partial)) as log:
        made = rebuild_checkpoints(log, kept, every=every, domains=names(domain), processes=processes)
    for one in made:
        for problem in one.unusable:
            warn(f"made anew: {problem}")
        if as_json:
            json_line(one)
        elif one.decisions:
            size = f", {one.bytes:,} bytes" if one.written else ""
            say(
                f"[bold]{one.partition}[/]  {plural(one.decisions, 'decision')}: {plural(one.written, 'checkpoint')} "
                f"written, {one.kept:,} kept{size}"
            )
    if not as_json:
        say(f"in {kept.directory}")


def _checkpoints(source: str | None, directory: Path | None) -> Checkpoints | None:
    """Those that are named, or beside the archive; None: neither."""
    from accord.replay.archive import is_archive  # noqa: PLC0415
    from accord.replay.checkpoints import Checkpoints  # noqa: PLC0415

    if directory is not None:
        return Checkpoints(directory)
    return Checkpoints.beside(source) if source is not None and is_archive(Path(source)) else None


def step(
    source: Source = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="POSITION|TIME", help="Where to begin. Without it, before the first decision.", show_default=False
        ),
    ] = None,
    domain: Domains = "",
    partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Walk through the log, decision by decision, forward and back, and look at the state there.

    Reads what to do from stdin, a line each; `help` lists it. Each place is a consistent cut: no effect stands without
    its cause.

        accord replay step hotel.accord --at locks/3@1842
    """
    from accord.cli.progress import Watched  # noqa: PLC0415
    from accord.cli.stepping import walk  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415
    from accord.replay.travel import Journey  # noqa: PLC0415

    point = parse_point(at)
    with Watched(open_log(source, partial=partial)) as log:
        journey = Journey(log, names(domain))
        if point is not None:
            journey.to(point)
        walk(journey, log.quiet, as_json=as_json)


def diff(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The directory of an archive, or the address of a cluster.")
    ],
    a: Annotated[str, typer.Argument(metavar="A", help="A position, locks/3@1842, or a time, 2026-03-01T12:00:00Z.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one, or `end`.")] = "end",
    domain: Domains = "",
    partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Show what differs between two points of a log: what came, what went, what changed and how.

    A position stands for its partition up to that record, and for the others up to the time of its decision.

        accord replay diff hotel.accord locks/3@1842 end
    """
    from accord.cli.progress import Watched  # noqa: PLC0415
    from accord.replay.difference import difference  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    points = [parse_point(None if text == "end" else text) for text in (a, b)]
    with Watched(open_log(source, partial=partial)) as log:
        found = difference(log, *points, domains=names(domain))
    if as_json:
        json_line(found)
    else:
        _print_difference(found)


def races(
    source: Source = None,
    domain: Domains = "",
    records: Annotated[
        int, typer.Option("--records", min=1, metavar="N", help="Look at so many records, of a longer log at the last.")
    ] = 100_000,
    partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Find what agents did to the same thing without knowing of each other, and tell both their histories.

    What counts are signals that name what they touch, {"writes": "rooms/12"} or {"reads": ...}; coordinated bodies; the
    terms of pools; and what was refused for its outdated token. Exit 0: no race. 1: some. 3: none, but not all of it
    could be looked at.

        accord replay races hotel.accord
    """
    from accord.cli.progress import Watched  # noqa: PLC0415
    from accord.replay.races import races as run  # noqa: PLC0415

    with Watched(open_log(source, partial=partial)) as log:
        found = run(log, domains=names(domain), records_max=records)
    if as_json:
        json_line(found)
    else:
        _print_races(found)
    if found.races or found.untold:
        raise typer.Exit(RACES)
    if found.unknown or found.is_cut:
        raise typer.Exit(NOT_LOOKED)


def _print_races(found: Races) -> None:
    from rich.markup import escape  # noqa: PLC0415

    from accord.cli.explain import print_steps  # noqa: PLC0415

    for race in found.races:
        often = f", {race.times} times" if race.times > 1 else ""
        doubt = "" if race.sure else "  [yellow]perhaps: their clocks had lost entries[/]"
        say(f"[bold red]{race.kind}[/]  [bold cyan]{escape(race.resource)}[/]{often}{doubt}\n  {escape(race.text)}")
        for side in (race.first, race.second):
            if side is not None:
                say(f"  [bold]{escape(side.agent or side.process)}[/]  {side.position} {side.event}  {side.time or ''}")
                print_steps(side.history, indent=4)
    if found.untold:
        say(f"and {plural(found.untold, 'more race')}")
    races = plural(len(found.races) + found.untold, "race")
    say(f"[bold]{races}[/]; {plural(found.accesses, 'read or write', 'reads and writes')} looked at")
    if found.unknown:
        say(f"[yellow]{found.unknown:,} could not be compared: their commands are no longer in the log[/]")
    if found.is_cut:
        say("[yellow]the log has more records than were looked at: --records N looks at more[/]")


def _print_difference(found: Difference) -> None:
    from rich.markup import escape  # noqa: PLC0415

    from accord.cli.stepping import print_changes  # noqa: PLC0415

    marks: dict[Kind, str] = {"added": "[green]+[/]", "removed": "[red]-[/]", "changed": "[yellow]~[/]"}
    for one in found.aggregates:
        say(f"{marks[one.kind]} {one.domain} [bold cyan]{escape(one.key)}[/] {one.kind}")
        print_changes(one.changes)
    for partition, (before, after) in found.rules.items():
        say(f"[yellow]~[/] {partition} is decided by version {after}, before by {before}")
    kinds = [one.kind for one in found.aggregates]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in marks)
    say(f"from {found.a} to {found.b}: {plural(sum(found.decisions.values()), 'decision')}; {counted}")


def _print_report(report: Report) -> None:
    counted = f"{plural(report.commands, 'command')}, {plural(report.events, 'event')}, " + plural(
        report.partitions, "partition"
    )
    if report.divergences:
        say(f"[bold red]divergent[/]: {plural(len(report.divergences), 'divergence')} in {counted}")
    elif not report.ok:
        say(f"[bold yellow]incomplete[/]: not all of it could be decided again; {counted}")
    else:
        say(f"[bold green]identical[/]: {counted}")
    for gap in report.gaps:
        say(f"  {gap.position}: {gap.description} {plural(gap.decisions, 'decision')} taken as recorded.")
    if report.skipped:
        say(f"  {plural(report.skipped, 'record')} skipped: repeats, or decisions that another had come before.")
    if report.undecided:
        say(f"  {plural(report.undecided, 'command')} after the last decision, not decided yet.")
    for divergence in report.divergences:
        _print_divergence(divergence)


def _print_divergence(divergence: Divergence) -> None:
    from rich.markup import escape  # noqa: PLC0415

    from accord.cli.explain import print_steps  # noqa: PLC0415

    say("")
    say(f"[bold]{divergence.position}[/]", end="")
    say(f"  key {divergence.key}" if divergence.key else "", end="")
    say(f"  cause {', '.join(divergence.causes)}" if divergence.causes else "")
    say(f"  [bold red]{divergence.kind}[/]: {escape(divergence.told)}")
    expected, got = divergence.expected, divergence.got
    if isinstance(expected, dict) and isinstance(got, dict):
        differing = {name for name in expected if expected[name] != got[name]} - {"digest"}
        if "events" in differing:
            differing -= {"type", "value"}  # they say the same, less readably
        for name in expected:
            if name in differing:
                _print_pair(name, expected[name], got[name])
    else:
        _print_pair("", _brief(expected), _brief(got))
    if divergence.history:
        say("  what led there, oldest first")
        print_steps(divergence.history, indent=4)


def _brief(decision: Any) -> Any:
    return decision["events"] if isinstance(decision, dict) else decision


def _print_pair(name: str, expected: Any, got: Any) -> None:
    from rich.markup import escape  # noqa: PLC0415

    indent = f"  {name}\n" if name else ""
    say(f"{indent}    expected  [green]{escape(_text(expected))}[/]\n    got       [red]{escape(_text(got))}[/]")


def _text(value: Any) -> str:
    """Events, or a header, as text."""
    if isinstance(value, list):
        return (
            "; ".join(
                f"{event['event']} {text_of({k: v for k, v in event.items() if k != 'event'})}" for event in value
            )
            or "no event"
        )
    return str(value)


def _print_world(world: World) -> None:
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from accord.cli.output import console  # noqa: PLC0415
    from accord.replay.timeline import iso  # noqa: PLC0415

    for partition in world.partitions:
        clock = iso(partition["now_ms"]) if partition["now_ms"] else "-"
        upto = "" if partition["position"].endswith("@-1") else f", up to {partition['position']}, clock {clock}"
        say(f"[bold]{partition['partition']}[/]  {plural(partition['seq'], 'decision')}{upto}")
        if partition["aggregates"]:
            table = Table(box=None, padding=(0, 2), show_header=False)
            for key, aggregate in partition["aggregates"].items():
                table.add_row(f"[cyan]{escape(key)}[/]", escape(text_of(aggregate)))
            console().print(table, soft_wrap=False)
    say(f"\nat {world.at}: {plural(world.decisions, 'decision')}, sha256 {world.hash}")
