"""`accord explain`: why something happened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Domains, Json, Partial, Source, names, open_log
from accord.cli.output import json_line, say, write
from accord.cli.sharing import held_line
from accord.cli.stories import story

if TYPE_CHECKING:
    from accord.replay.explain.case import Reason
    from accord.replay.explain.explanation import Explanation, Step

What = Annotated[
    str,
    typer.Argument(
        metavar="WHAT",
        help="A position, locks/3@1842; the id of an event, a command or a task; or a name: of a lock, a proposal...",
    ),
]


def add_to(app: typer.Typer) -> None:
    app.command()(explain)


def explain(
    what: What,
    source: Source = None,
    agent: Annotated[
        str | None, typer.Option(help="Of what is named, the last that concerns this agent.", show_default=False)
    ] = None,
    domain: Domains = "",
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Tell so many steps of the history.")] = 15,
    svg: Annotated[
        Path | None,
        typer.Option("--svg", metavar="FILE", help="Draw the history as a space-time diagram.", show_default=False),
    ] = None,
    shiviz: Annotated[
        Path | None, typer.Option("--shiviz", metavar="FILE", help="Write the history for ShiViz.", show_default=False)
    ] = None,
    partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Tell why something happened: what it rests on, who held what, who waited, what came of it.

    Why did bob not get the room?

        accord explain room_12 --agent bob
    """
    from accord.cli.progress import Watched  # noqa: PLC0415
    from accord.replay import shiviz as shiviz_log  # noqa: PLC0415
    from accord.replay import spacetime  # noqa: PLC0415
    from accord.replay.explain.explanation import explain as run  # noqa: PLC0415

    with Watched(open_log(source, partial=partial)) as log:
        explained = run(log, what, domains=names(domain), agent=agent, steps=steps)
    if svg is not None:
        write(svg, spacetime.svg(explained))
    if shiviz is not None:
        write(shiviz, shiviz_log.shiviz(explained))
    if as_json:
        json_line(explained)
    else:
        _print(explained)


def _print(explained: Explanation) -> None:
    from rich.markup import escape  # noqa: PLC0415

    say(f"[bold]{explained.position}[/]  [cyan]{escape(explained.key)}[/]  {explained.time or ''}".rstrip())
    for told in explained.decided:
        who = f"{escape(told.event.agent)}  " if told.event.agent else ""
        say(f"{who}[bold]{told.event.event}[/]  [dim]{escape(story(told.event))}[/]".rstrip())
        for number, reason in enumerate(told.reasons):
            say(f"  {'because' if number == 0 else '    and'} {escape(reason.text)}{_where(reason)}")
    if not explained.decided:
        say("nothing was to be decided")
    _print_command(explained)
    for waiting in explained.task:
        say(f"[bold]{escape(waiting.step)}[/] is {waiting.status}: {escape(waiting.cause)}. {escape(waiting.remedy)}")
    _print_aggregate(explained)
    for event in explained.came_of_it:
        say(f"later   {event.position}  {escape(event.agent or '')}  {event.event}  {event.time or ''}")
    say(f"\n[bold]history[/]  [dim]{_ABOUT}[/]")
    print_steps(explained.history)
    if explained.concurrent:
        say("\n[bold]concurrent[/]  [dim]neither who asked nor who did this had been told of the other[/]")
        print_steps(explained.concurrent)
    if explained.is_cut:
        say("\n[dim]The log has more records than were looked at.[/]")


_ABOUT = "oldest first; in brackets what each rests on; || is concurrent with what was asked"


def _print_command(explained: Explanation) -> None:
    from rich.markup import escape  # noqa: PLC0415

    command = explained.command
    if command is None:
        say("asked   [dim]by a command that is no longer in the log[/]" if explained.decided else "")
        return
    whose = command.incarnation or (f"a worker, because of {command.because}" if command.because else "a worker")
    agent = command.data.get("agent") or command.sender
    say(f"asked   {command.position}  {escape(str(agent))}: {command.type}  [dim]({escape(whose)})[/]")


def _print_aggregate(explained: Explanation) -> None:
    from rich.markup import escape  # noqa: PLC0415

    view = explained.aggregate
    if view is not None:
        say(f"before  {escape(held_line(view))}")


def _where(reason: Reason) -> str:
    """Where a reason lies, and whose command brought it."""
    if reason.position is None:
        return ""
    by = f", {reason.by}'s command {reason.cause}" if reason.by else f", command {reason.cause}" if reason.cause else ""
    return f" [dim]({reason.position}{by})[/]"


def print_steps(steps: tuple[Step, ...], *, indent: int = 0) -> None:
    """Prints steps of a history, a line each: its place, its process, what happened, what it rests on."""
    from rich.markup import escape  # noqa: PLC0415

    wide = max((len(step.position) for step in steps), default=0)
    process = max((len(step.process) for step in steps), default=0)
    for step in steps:
        mark = "[yellow]||[/]" if step.unseen else "[bold]=>[/]" if step.order == "equal" else "  "
        after = f"  [dim]\\[{', '.join(step.after)}][/]" if step.after else ""
        where = f"{step.position:<{wide}}  [dim]{escape(step.process):<{process}}[/]"
        say(f"{' ' * indent}{mark} {where}  {escape(step.text)}{after}")
