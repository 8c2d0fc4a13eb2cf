"""`accord tasks`: what is being done, how far it is, what is in its way, and an operator's way to end it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Bootstrap, Json, Prefix, Processes, Source, load, open_log
from accord.cli.output import console, json_line, payload, plural, say
from accord.cli.sharing import At, now_of, print_table, some, span
from accord.cli.statuses import check_status, coloured, say_counts, say_none
from accord.cli.stories import story
from accord.errors import NotFound, Refused

if TYPE_CHECKING:
    from accord.replay.tasks import StepView, TaskView
    from accord.replay.work import TaskInFull
    from accord.schemas.messages.tasks import Payload

STUCK = 1
STUCK_LINES_MAX = 20
"""Steps whose cause is told below the list of tasks."""
WRONG = (
    "Blocked", "Broken", "Cancelled", "DeadLettered", "Denied", "Expired", "Failed", "Ignored", "Lost", "Refused",
    "Rejected", "Revoked", "TimedOut", "Withdrawn",
)  # fmt: skip
"""How the names of events end that say so."""
INDENT_MAX = 8
"""Of steps under those before them."""
NAME_COLUMNS = 30
"""Names of steps up to this width are never cut."""

Id = Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Tasks: how far each is, what is in its way, what happened to it.")
    group.command("list")(list_tasks)
    group.command()(show)
    group.command()(trace)
    group.command()(cancel)
    app.add_typer(group, name="tasks")


def list_tasks(
    source: Source = None,
    status: Annotated[
        str | None,
        typer.Option("--status", help="Only these: pending, in_progress, completed, failed, cancelled.", metavar="S"),
    ] = None,
    stuck: Annotated[bool, typer.Option("--stuck", help="Only those that are stuck. Exit 1: there are some.")] = False,
    at: At = None,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """List the tasks that are remembered, oldest first; below, what is stuck, why, and what to do about it.

    A step is stuck that has waited, or run, for more than twice as long as a run of it may take.
    """
    from accord.replay.state import parse_point  # noqa: PLC0415
    from accord.replay.tasks import STATUSES  # noqa: PLC0415
    from accord.replay.work import tasks_at  # noqa: PLC0415

    check_status(status, STATUSES, "task")
    with open_log(source) as log:
        found = tasks_at(log, parse_point(at), now_ms=now_of(log), processes=processes)
    views = [view for view in found if status in (None, view.status) and (view.stuck or not stuck)]
    if as_json:
        for view in views:
            json_line(view)
    elif views:
        _print_tasks(views)
    elif stuck:
        say("no task is stuck")
    else:
        say_none("task", status)
    if stuck and views:
        raise typer.Exit(STUCK)


def _print_tasks(views: list[TaskView]) -> None:
    from rich.markup import escape  # noqa: PLC0415

    rows = []
    for view in views:
        runs = some(tuple(f"{step.name} ({step.agent}, {_span(step.for_ms)})" for step in view.running), 2)
        waits = max((step.for_ms or 0 for step in view.waiting), default=None)
        rows.append(
            (
                f"[cyan]{escape(view.id)}[/]",
                escape(view.type),
                coloured(view.status, _COLOURS) + " [bold red]stuck[/]" * view.stuck,
                f"{view.done} of {view.total}",
                "-" if waits is None else span(waits),
                escape(runs) or "-",
            )
        )
    print_table(("id", "type", "=status", "<steps", "<waiting", "running"), rows)
    say_counts("task", views)
    stuck = [(view, step) for view in views for step in (*view.running, *view.waiting) if step.stuck]
    for view, step in stuck[:STUCK_LINES_MAX]:
        say(
            f"[bold red]stuck[/]  {escape(view.id)} {escape(step.name)}: {step.status} for {_span(step.for_ms)}, "
            f"{escape(step.cause)}. {escape(step.remedy)}"
        )
    if len(stuck) > STUCK_LINES_MAX:
        say(f"[bold red]stuck[/]  {plural(len(stuck) - STUCK_LINES_MAX, 'more step')}: --json has them all")


def show(task_id: Id, source: Source = None, at: At = None, as_json: Json = False) -> None:
    """Show a task: its record, and its steps, each below one that it comes after.

    --json prints the record that programs get: id, type, status, input, created_at, steps, failed_steps, result,
    completed_at, error.
    """
    found = _find(task_id, source, at)
    if as_json:
        from accord.agents.tasks.handle import record_of  # noqa: PLC0415
        from accord.replay.tasks import read  # noqa: PLC0415

        json_line(record_of(task_id, *read(task_id, found.state)))
        return
    from rich.markup import escape  # noqa: PLC0415

    view, steps = found.view, found.steps
    say(
        f"[bold cyan]{escape(task_id)}[/]  {escape(view.type)}, {coloured(view.status, _COLOURS)}, {view.done} of "
        f"{plural(view.total, 'step')}, as of {view.position}"
    )
    ended = "" if view.completed_at is None else f", ended {view.completed_at}"
    say(f"  submitted by {escape(view.agent)} to the team {escape(view.team)} at {view.created_at}{ended}")
    if view.error:
        say(f"  [red]{escape(view.error)}[/]")
    say(f"  input {_short(found.state.input)}")
    joined = any(len(step.after) > 1 for step in steps)
    rows = []
    for number, depth in _tree(steps):
        step = steps[number]
        after = [escape(some(step.after, 2)) if len(step.after) > 1 else ""] if joined else []
        rows.append(
            (
                "  " * min(depth, INDENT_MAX) + escape(step.name),
                coloured(step.status, _COLOURS),
                escape(step.agent) or "-",
                str(step.tries),
                str(step.failures),
                _duration(step),
                *after,
                escape(step.error),
            )
        )
    is_short = max(len(name) for name, *_ in rows) <= NAME_COLUMNS
    heads = (
        "=step" if is_short else "step",
        "=status",
        "agent",
        "<tries",
        "<failed",
        "<for/took",
        *(["after"] if joined else []),
        "error",
    )
    print_table(heads, rows, indent=2)
    for step in steps:
        if step.cause:
            mark = "[bold red]stuck[/] " * step.stuck
            say(f"  {mark}{escape(step.name)}: {escape(step.cause)}. {escape(step.remedy)}")
    inner = {name for step in steps for name in step.after}
    for number, step in enumerate(steps):
        result = found.state.steps[number].result
        if result is not None and step.name not in inner:
            say(f"  result of {escape(step.name)}: {_short(result)}")


def trace(
    task_id: Id,
    source: Source = None,
    errors: Annotated[bool, typer.Option("--errors", help="Only what went wrong, was refused or ran out.")] = False,
    as_json: Json = False,
) -> None:
    """Show everything that was decided about a task, over all domains, oldest first.

    --json prints an object an event: timestamp, position, agent, operation, message, key, domain, data.
    """
    from rich.text import Text  # noqa: PLC0415

    from accord.cli.events import clock_of, colour_of  # noqa: PLC0415
    from accord.replay.trace import trace as run  # noqa: PLC0415

    with open_log(source) as log:
        for event in run(log, task_id):
            if errors and not event.event.endswith(WRONG):
                continue
            message = story(event)
            if as_json:
                json_line(
                    {
                        "timestamp": event.time,
                        "position": event.position,
                        "agent": event.agent,
                        "operation": event.event,
                        "message": message,
                        "key": event.key,
                        "domain": event.position.partition("/")[0],
                        "data": event.data,
                    }
                )
                continue
            colour = colour_of(event.agent)
            line = Text()
            line.append(f"{clock_of(event.time)}  {event.position:<14}  ", style="dim")
            line.append(f"{event.agent or '-':<16}  ", style=colour)
            line.append(f"{event.event:<17}  ", style=f"bold {colour}")
            line.append(message)
            console().print(line)


def cancel(
    task_id: Id,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")],
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """End a task, on your word. It is recorded with the reason; agents that run its steps are told, and stop.

    Exit 4: there is no such task; 5: it had ended before.
    """
    from accord import sync  # noqa: PLC0415
    from accord.schemas.messages.tasks import CancelTask, TaskKnown, TaskUnknown  # noqa: PLC0415

    with sync.Accord(settings=load(bootstrap, prefix)) as hub:
        command = CancelTask(hub.agent, reason)
        answer = hub.connection.submit("tasks", task_id, command, task=task_id).decided.result()
    for event in answer.events:
        if isinstance(event, TaskUnknown):
            raise _unknown(task_id)
        if isinstance(event, TaskKnown):
            raise Refused(
                f"{task_id} had ended before: it is {event.status}.", key=task_id, position=str(answer.position)
            )
    if as_json:
        json_line({"id": task_id, "status": "cancelled", "position": str(answer.position)})
    else:
        say(f"cancelled {task_id}: {answer.position}")


def _find(task_id: str, source: str | None, at: str | None) -> TaskInFull:
    from accord.replay.state import parse_point  # noqa: PLC0415
    from accord.replay.work import task_at  # noqa: PLC0415

    with open_log(source) as log:
        found = task_at(log, task_id, parse_point(at), now_ms=now_of(log))
    if found is None:
        raise _unknown(task_id)
    return found


def _unknown(task_id: str) -> NotFound:
    return NotFound(
        f"there is no task {task_id}, or it ended long ago.",
        remedy=f"See: accord tasks list. What is in the log of it: accord tasks trace {task_id}.",
        key=task_id,
    )


def _tree(steps: tuple[StepView, ...]) -> list[tuple[int, int]]:
    """The steps, each below the last of those that it comes after; with its depth."""
    numbers = {step.name: number for number, step in enumerate(steps)}
    below: dict[int | None, list[int]] = {}
    for number, step in enumerate(steps):
        below.setdefault(numbers[step.after[-1]] if step.after else None, []).append(number)
    places, todo = [], [(number, 0) for number in reversed(below.get(None, []))]
    while todo:
        number, depth = todo.pop()
        places.append((number, depth))
        todo += [(one, depth + 1) for one in reversed(below.get(number, []))]
    return places


_COLOURS = {
    "completed": "green", "failed": "red", "timed_out": "red", "running": "cyan", "in_progress": "cyan",
    "retrying": "yellow", "ready": "yellow", "blocked": "red", "cancelled": "magenta", "skipped": "magenta",
}  # fmt: skip


def _duration(step: StepView) -> str:
    if step.status in ("running", "ready", "retrying"):
        return _span(step.for_ms)
    return _span(step.took_ms)


def _span(ms: int | None) -> str:
    return "-" if ms is None else span(ms)


def _short(told: Payload) -> str:
    """The beginning of an input or a result, for one line."""
    from msgspec import to_builtins  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415

    return escape(payload(to_builtins(told), SHORT_CHARS_MAX))


SHORT_CHARS_MAX = 300
