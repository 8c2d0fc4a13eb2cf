"""`accord sagas`: steps with compensations: how far each saga is, what was undone, what waits for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Bootstrap, Json, Prefix, Processes, Source, load, open_log
from accord.cli.output import json_line, say, shortened
from accord.cli.sharing import At, print_table
from accord.cli.statuses import check_status, coloured, print_list
from accord.errors import NotFound

if TYPE_CHECKING:
    from accord.replay.sagas import SagaView

TEXT_CHARS_MAX = 200
COLOURS = {"completed": "green", "compensated": "yellow", "compensating": "yellow", "stuck": "red"}

Id = Annotated[str, typer.Argument(metavar="ID", help="The saga's id.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Sagas: how far each is, what was undone, what waits for a person.")
    group.command("list")(list_sagas)
    group.command()(show)
    group.command()(retry)
    app.add_typer(group, name="sagas")


def list_sagas(
    source: Source = None,
    status: Annotated[
        str | None,
        typer.Option("--status", help="Only these: running, compensating, completed, compensated, stuck.", metavar="S"),
    ] = None,
    at: At = None,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """List the sagas of the log, oldest first."""
    from accord.replay.sagas import STATUSES, sagas_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    check_status(status, STATUSES, "saga")
    with open_log(source) as log:
        found = sagas_at(log, parse_point(at), processes=processes)
    print_list("saga", found, status, HEADS, _row, as_json=as_json)


HEADS = ("id", "name", "=status", "=done", "=begun", "by", "runner", "why")


def _row(view: SagaView) -> tuple[str, ...]:
    from rich.markup import escape  # noqa: PLC0415

    return (
        f"[cyan]{escape(view.id)}[/]", escape(view.name), coloured(view.status, COLOURS), view.progress, view.begun_at,
        escape(view.agent), escape(view.runner), escape(shortened(_why(view), TEXT_CHARS_MAX)),
    )  # fmt: skip


def show(saga: Id, source: Source = None, at: At = None, as_json: Json = False) -> None:
    """Show a saga: its steps as they stand, and all that happened: every run, every compensation, every process."""
    from accord.replay.sagas import saga_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    with open_log(source) as log:
        view = saga_at(log, saga, parse_point(at))
    if view is None:
        raise NotFound(f"there is no saga {saga}.", remedy="See: accord sagas list.", key=saga)
    if as_json:
        json_line(view)
        return
    from rich.markup import escape  # noqa: PLC0415

    why = _why(view)
    say(f"[bold cyan]{escape(view.id)}[/]  {coloured(view.status, COLOURS)}{escape(f': {why}' if why else '')}")
    runner = f", run by {view.runner}" if view.runner else "" if view.ended_at else ", nobody runs it"
    ended = f", {'stuck' if view.status == 'stuck' else 'ended'} {view.ended_at}" if view.ended_at else ""
    say(escape(f"  {view.name}, begun by {view.agent} at {view.begun_at}{ended}{runner}, as of {view.position}"))
    rows = [
        (
            f"[bold]{escape(step.name)}[/]",
            coloured(step.status, COLOURS),
            str(step.tries),
            str(step.undo_tries) if step.undo else "-",
            escape(shortened(step.error, TEXT_CHARS_MAX)),
        )
        for step in view.steps
    ]
    print_table(("step", "=status", "<runs", "<undo runs", "last error"), rows, indent=2)
    moments = [
        (
            one.what.replace("_", " "),
            f"[bold]{escape(one.step)}[/]",
            escape(one.who),
            escape(shortened(one.text, TEXT_CHARS_MAX)),
            one.at,
            one.position,
        )
        for one in view.moments
    ]
    print_table(("what", "step", "who", "how", "=at", "=position"), moments, indent=2)
    if view.status == "stuck":
        say(f"  When its cause is gone: accord sagas retry {escape(view.id)}")


def retry(saga: Id, bootstrap: Bootstrap = None, prefix: Prefix = None, as_json: Json = False) -> None:
    """Have the undo that was given up run again by a process that serves such sagas; or offer one that nobody runs.

    Exit 4: there is no such saga; 5: it is not stuck.
    """
    from accord import sync  # noqa: PLC0415

    with sync.Accord(settings=load(bootstrap, prefix)) as hub:
        position = hub.saga(saga).retry()
    if as_json:
        json_line({"id": saga, "position": position})
    else:
        say(f"retried  {saga}: {position}")


def _why(view: SagaView) -> str:
    return f"{view.reason} at {view.failed_step}: {view.description}" if view.failed_step else ""
