"""`accord dlq`: the dead letters, and what can be done about each.

A step of a task that was given up can be retried or dropped: its task records it. A saga that is stuck can be retried.
A rejected command can be sent again; an event whose handler failed can only be looked at. Nothing is recorded of what
became of these two, so they cannot be dropped: the topic lets go of them in its time.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.letters import command_of, drop_one, find, key_of, letters_of, plain_of, remedy_of, retry_one
from accord.cli.options import Bootstrap, Json, Prefix, Processes, load
from accord.cli.output import json_line, plural, print_error, say, shortened, text_of
from accord.cli.sharing import print_table
from accord.errors import AccordError, BadInput, NotFound, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from accord import sync
    from accord.cli.letters import Told
    from accord.replay.deadletters import LetterView
    from accord.schemas.messages.deadletters import DeadLetter
    from accord.settings import Settings

TEXT_CHARS_MAX = 500

Id = Annotated[str, typer.Argument(metavar="ID", help="The dead letter's id, as `accord dlq list` shows it.")]
Queue = Annotated[
    str | None,
    typer.Option(
        "--queue", metavar="Q", help="Only of this queue: a capability, a topic of commands, or handler:NAME."
    ),
]
Task = Annotated[str | None, typer.Option("--task", metavar="T", help="Only of this task.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="What was given up, or could not be processed; try it again.")
    group.command("list")(list_letters)
    group.command()(show)
    group.command()(retry)
    group.command()(drop)
    app.add_typer(group, name="dlq")


def list_letters(
    queue: Queue = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="R", help="Only with this reason, as MaxRetriesExceeded.")
    ] = None,
    task: Task = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that were retried or dropped, or whose task has ended otherwise.")
    ] = False,
    processes: Processes = 0,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """List the dead letters by queue, oldest first: steps that were given up, rejected commands, failed handlers."""
    found = [view for _, view in letters_of(load(bootstrap, prefix), processes)]
    views = [
        view
        for view in found
        if (everything or view.state == "open")
        and queue in (None, view.queue)
        and reason in (None, view.reason)
        and task in (None, view.task_id)
    ]
    queues = sorted({view.queue for view in views})
    for name in queues:
        own = [view for view in views if view.queue == name]
        if as_json:
            for view in own:
                json_line(view)
        else:
            _print(name, own, states=everything)
    if not as_json:
        say(plural(len(views), "dead letter"))


def _print(queue: str, views: list[LetterView], *, states: bool) -> None:
    from rich.markup import escape  # noqa: PLC0415

    say(f"[bold cyan]{escape(queue)}[/]  {len(views)}")
    rows = [
        (
            view.id,
            _of(view),
            escape(view.reason),
            str(view.count),
            *([view.state] if states else []),
            view.time[5:16].replace("T", " "),
            escape(view.description),
        )
        for view in views
    ]
    heads = ("=id", "of", "=reason", "<tries", *(["=state"] if states else []), "=time", "description")
    print_table(heads, rows, indent=2)


def show(
    letter_id: Id,
    processes: Processes = 0,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Show a dead letter: what it is of, what was wrong, and what can be done about it."""
    settings = load(bootstrap, prefix)
    letter, view = find(settings, letter_id, processes)
    command = command_of(letter)
    value = None if command is None else {"type": type(command).__name__, **plain_of(command)}
    remedy = remedy_of(letter, view, command)
    if as_json:
        key = None if letter.key is None else letter.key.decode(errors="replace")
        json_line({**plain_of(view), "key": key, "value": value, "remedy": remedy})
        return
    from rich.markup import escape  # noqa: PLC0415

    say(f"[bold cyan]{view.id}[/]  {_of(view)}, [bold]{escape(view.reason)}[/], {view.state}")
    say(f"  queue {escape(view.queue)}, tried {plural(view.count, 'time')}, given up at {view.time}")
    if view.agent:
        say(f"  from {escape(view.agent)}")
    say(f"  {escape(view.description)}")
    if value is not None:
        kind, fields = value.pop("type"), shortened(text_of(value), TEXT_CHARS_MAX)
        say(f"  {kind} {escape(key_of(letter))}  [dim]{escape(fields)}[/]")
    elif letter.value and letter.step is None:
        say(f"  {len(letter.value):,} bytes: {escape(repr(letter.value[:60]))}")
    say(f"  {escape(remedy)}")


def retry(
    letter_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The dead letter's id.", show_default=False)
    ] = None,
    task: Annotated[str | None, typer.Option("--task", metavar="T", help="All steps of this task.")] = None,
    queue: Annotated[str | None, typer.Option("--queue", metavar="Q", help="All steps of this queue.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All steps of all tasks.")] = False,
    processes: Processes = 0,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Have what was given up tried again: its failures count from nothing, its task and correlation id stay.

    A step runs again, with the idempotency key that it had, and its task goes on. A rejected command is sent again by
    its ID, under a new message id: it is decided as if it came now. Exit 5: the log refused one of them.
    """
    if (letter_id is None) == (task is None and queue is None and not everything):
        raise BadInput("What is to be retried?", remedy="One by its ID; or all of --task T, of --queue Q, or --all.")
    settings = load(bootstrap, prefix)
    if letter_id is not None:
        letter, view = find(settings, letter_id, processes)
        chosen, left = [(letter, view)], 0
    else:
        open_ = [
            (letter, view)
            for letter, view in letters_of(settings, processes)
            if view.state == "open" and task in (None, view.task_id) and queue in (None, view.queue)
        ]
        chosen = [
            (letter, view)
            for letter, view in open_
            if (letter.step is not None and view.retriable) or letter.queue.startswith("saga:")
        ]
        left = len(open_) - len(chosen)
    _act(settings, chosen, retry_one, "retried", as_json=as_json)
    if letter_id is None and not as_json:
        more = f"; left {left:,} that are no steps, or optional ones: accord dlq list" if left else ""
        say(f"{plural(len(chosen), 'step')}{more}")


def drop(
    letter_id: Id,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")],
    processes: Processes = 0,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Put a step that was given up away for good: it is no dead letter any more, and cannot be retried.

    Its task stays as it is. Rejected commands and failed handlers cannot be dropped: nothing records it.
    """
    settings = load(bootstrap, prefix)
    found = find(settings, letter_id, processes)

    _act(settings, [found], partial(drop_one, reason=reason), "dropped", as_json=as_json)


def _act(
    settings: Settings,
    chosen: list[tuple[DeadLetter, LetterView]],
    act: Callable[[sync.Accord, DeadLetter, LetterView], Told],
    done: str,
    *,
    as_json: bool,
) -> None:
    """Does it for each. One that is refused does not stop the others: if it needs another one it is tried once more
    after them; it is raised if it is the only one.
    """
    from accord import sync  # noqa: PLC0415

    if not chosen:
        return
    todo, code = chosen, 0
    by_events = settings.client.model_copy(update={"answers": "events"})  # the ids of what is sent again are no address
    with sync.Accord(settings=settings.model_copy(update={"client": by_events})) as hub:
        while todo:
            again: list[tuple[DeadLetter, LetterView]] = []
            refused: list[AccordError] = []
            for letter, view in todo:
                try:
                    _say_done(view, act(hub, letter, view), done, as_json=as_json)
                except (Refused, NotFound) as error:
                    if len(chosen) == 1:
                        raise
                    refused.append(error)
                    if error.details.get("reason") == "blocked":
                        again.append((letter, view))
            if len(refused) == len(todo):
                again = []
            for refusal in refused:
                if not again or refusal.details.get("reason") != "blocked":
                    print_error(refusal, as_json=as_json)
                    code = refusal.exit_code
            todo = again
    if code:
        raise typer.Exit(code)


def _say_done(view: LetterView, told: Told, done: str, *, as_json: bool) -> None:
    if as_json:
        at = told.position
        json_line({"id": view.id, "task_id": view.task_id, "step": view.step, "state": done, "position": at})
    else:
        say(f"{done}  {_of(view)}: {told.text}")


def _of(view: LetterView) -> str:
    from rich.markup import escape  # noqa: PLC0415

    return escape(f"{view.task_id}/{view.step}" if view.step else view.task_id or view.origin)
