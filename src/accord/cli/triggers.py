"""`accord triggers`: which patterns of events are looked for, and what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Json, Processes, Source, open_log
from accord.cli.output import json_line, plural, say, shortened
from accord.cli.sharing import At, print_table, some
from accord.cli.statuses import check_status, print_list
from accord.errors import NotFound

if TYPE_CHECKING:
    from accord.replay.triggers import TriggerView

RULE_CHARS_MAX = 100

Name = Annotated[str, typer.Argument(metavar="NAME", help="The trigger's name.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Triggers: which patterns of events are looked for, what was found.")
    group.command("list")(list_triggers)
    group.command()(show)
    app.add_typer(group, name="triggers")


def list_triggers(
    source: Source = None,
    status: Annotated[
        str | None,
        typer.Option("--status", help="Only these: declared, active, failed, dropped.", metavar="S"),
    ] = None,
    at: At = None,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """List the triggers of the log by name, with how often each was found."""
    from accord.replay.state import parse_point  # noqa: PLC0415
    from accord.replay.triggers import STATUSES, triggers_at  # noqa: PLC0415

    check_status(status, STATUSES, "trigger")
    with open_log(source) as log:
        found = triggers_at(log, parse_point(at), processes=processes)
    print_list("trigger", found, status, HEADS, _row, as_json=as_json)


HEADS = ("name", "=status", "<version", "<matches", "<late", "<keys", "rule")


def _row(view: TriggerView) -> tuple[str, ...]:
    from rich.markup import escape  # noqa: PLC0415

    return (
        f"[cyan]{escape(view.name)}[/]",
        view.status,
        str(view.version),
        str(view.matches),
        str(view.late),
        str(view.keys),
        escape(shortened(view.rule, RULE_CHARS_MAX)),
    )


def show(name: Name, source: Source = None, at: At = None, as_json: Json = False) -> None:
    """Show a trigger: its rule, what it waits for, and its last matches with the signals that make them up."""
    from accord.replay.state import parse_point  # noqa: PLC0415
    from accord.replay.triggers import trigger_at  # noqa: PLC0415

    with open_log(source) as log:
        view = trigger_at(log, name, parse_point(at))
    if view is None:
        raise NotFound(f"there is no trigger {name}.", remedy="See: accord triggers list.", key=name)
    if as_json:
        json_line(view)
        return
    from rich.markup import escape  # noqa: PLC0415

    say(f"[bold cyan]{escape(view.name)}[/]  {view.status}: {escape(view.rule)}")
    say(
        f"  version {view.version}, declared by {escape(view.agent)} at {view.declared_at}, as of {view.position}; "
        f"told by events matched:{escape(view.name)}"
    )
    if view.problem:
        say(f"  finds nothing: {escape(view.problem)}")
    if view.awaited:
        say(f"  signals not passed on yet: {escape(', '.join(view.awaited))}")
    say(
        f"  matched {plural(view.matches, 'time')}; {plural(view.late, 'signal')} too late, "
        f"{view.begun} begun and {plural(view.held, 'signal')} held in {plural(view.keys, 'key')}"
    )
    rows = [
        (f"[bold]{escape(match.key) or '-'}[/]", match.first_at, match.at, match.position, some(match.causes))
        for match in view.recent
    ]
    if rows:
        print_table(("key", "=from", "=to", "=match", "signals"), rows, indent=2)
