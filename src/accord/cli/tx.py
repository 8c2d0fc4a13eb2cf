"""`accord tx`: transactions over several scopes: what became of them, and whether all who took part agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.agreement import check
from accord.cli.options import Json, Processes, Source, open_log
from accord.cli.output import json_line, say, shortened
from accord.cli.sharing import At, print_table
from accord.cli.statuses import check_status, coloured, print_list
from accord.errors import NotFound

if TYPE_CHECKING:
    from accord.replay.transactions import TransactionView

TEXT_CHARS_MAX = 200
COLOURS = {"committed": "green", "aborted": "red", "preparing": "yellow"}

Id = Annotated[str, typer.Argument(metavar="ID", help="The transaction's id.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Transactions over several scopes: what became of them, and why.")
    group.command("list")(list_transactions)
    group.command()(show)
    group.command()(check)
    app.add_typer(group, name="tx")


def list_transactions(
    source: Source = None,
    status: Annotated[
        str | None,
        typer.Option("--status", help="Only these: open, preparing, committed, aborted.", metavar="S"),
    ] = None,
    at: At = None,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """List the transactions of the log, oldest first. What changed one scope alone: accord state history."""
    from accord.replay.state import parse_point  # noqa: PLC0415
    from accord.replay.transactions import STATUSES, transactions_at  # noqa: PLC0415

    check_status(status, STATUSES, "transaction")
    with open_log(source) as log:
        found = transactions_at(log, parse_point(at), processes=processes)
    print_list("transaction", found, status, HEADS, _row, as_json=as_json)


HEADS = ("id", "=status", "=begun", "by", "scopes and guards", "why")


def _row(view: TransactionView) -> tuple[str, ...]:
    from rich.markup import escape  # noqa: PLC0415

    parts = ", ".join([*view.scopes, *view.locks, *view.pools])
    return (
        f"[cyan]{escape(view.id)}[/]", coloured(view.status, COLOURS), view.begun_at, escape(view.agent),
        escape(shortened(parts, TEXT_CHARS_MAX)), escape(shortened(_why(view), TEXT_CHARS_MAX)),
    )  # fmt: skip


def show(transaction: Id, source: Source = None, at: At = None, as_json: Json = False) -> None:
    """Show a transaction step by step: who took part, every vote, the decision, and who has done it."""
    from accord.replay.state import parse_point  # noqa: PLC0415
    from accord.replay.transactions import transaction_at  # noqa: PLC0415

    with open_log(source) as log:
        view = transaction_at(log, transaction, parse_point(at))
    if view is None:
        raise NotFound(f"there is no transaction {transaction}.", remedy="See: accord tx list.", key=transaction)
    if as_json:
        json_line(view)
        return
    from rich.markup import escape  # noqa: PLC0415

    ended = "not everybody has done it" if view.ended_at is None else f"ended {view.ended_at}"
    until = f"until {view.due_at}" if view.decided_at is None else ended
    why = _why(view)
    say(f"[bold cyan]{escape(view.id)}[/]  {coloured(view.status, COLOURS)}{escape(f': {why}' if why else '')}")
    say(f"  begun by {escape(view.agent)} at {view.begun_at}, {until}, as of {view.position}")
    rows = [
        (
            step.what,
            f"[bold]{escape(step.who)}[/]",
            escape(shortened(step.text, TEXT_CHARS_MAX)),
            step.at,
            step.position,
        )
        for step in view.steps
    ]
    print_table(("step", "who", "how", "=at", "=position"), rows, indent=2)


def _why(view: TransactionView) -> str:
    if not view.reason:
        return ""
    where = f"{view.refused_by}: " if view.refused_by else ""
    return f"{view.reason}: {where}{view.description}"
