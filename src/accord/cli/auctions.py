"""`accord auctions`: who bid what for which work, who does it, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Json, Processes, Source, open_log
from accord.cli.output import json_line, say, shortened
from accord.cli.sharing import At, print_table
from accord.cli.statuses import check_status, coloured, print_list
from accord.errors import NotFound

if TYPE_CHECKING:
    from accord.replay.auctions import AuctionView

DESCRIPTION_CHARS_MAX = 60
TEXT_CHARS_MAX = 500
COLOURS = {"completed": "green", "running": "cyan", "unsold": "red", "cancelled": "yellow"}

Id = Annotated[str, typer.Argument(metavar="ID", help="The auction's id.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Auctions: who bid what for which work, and what came of it.")
    group.command("list")(list_auctions)
    group.command()(show)
    app.add_typer(group, name="auctions")


def list_auctions(
    source: Source = None,
    status: Annotated[
        str | None,
        typer.Option("--status", help="Only these: open, scoring, running, completed, unsold, cancelled.", metavar="S"),
    ] = None,
    at: At = None,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """List the auctions of the log, oldest first, with who does the work, or did it last."""
    from accord.replay.auctions import STATUSES, auctions_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    check_status(status, STATUSES, "auction")
    with open_log(source) as log:
        found = auctions_at(log, parse_point(at), processes=processes)
    print_list("auction", found, status, HEADS, _row, as_json=as_json)


HEADS = ("id", "=status", "<bids", "<awards", "given to", "<price", "announcer", "work")


def _row(view: AuctionView) -> tuple[str, ...]:
    from rich.markup import escape  # noqa: PLC0415

    return (
        f"[cyan]{escape(view.id)}[/]",
        coloured(view.status, COLOURS),
        str(len(view.bids)),
        str(len(view.awards)),
        escape(view.awards[-1].agent) if view.awards else "-",
        f"{view.awards[-1].price:g}" if view.awards else "-",
        escape(view.announcer),
        escape(shortened(" ".join(view.description.split()), DESCRIPTION_CHARS_MAX)),
    )


def show(auction_id: Id, source: Source = None, at: At = None, as_json: Json = False) -> None:
    """Show an auction: its terms, every bid with its score, who passed and why, each award and what came of it."""
    from accord.replay.auctions import auction_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    with open_log(source) as log:
        view = auction_at(log, auction_id, parse_point(at))
    if view is None:
        raise NotFound(f"there is no auction {auction_id}.", remedy="See: accord auctions list.", key=auction_id)
    if as_json:
        json_line(view)
    else:
        _print(view)


def _print(view: AuctionView) -> None:
    from rich.markup import escape  # noqa: PLC0415

    why = f" ({escape(view.reason)})" if view.reason else ""
    reward = "" if view.reward is None else f", reward {view.reward:g}"
    able = f", for who is able to {escape(', '.join(view.capabilities))}" if view.capabilities else ""
    scoring = "" if view.scoring is None else f", scored by {escape(view.scoring)}"
    say(f"[bold cyan]{escape(view.id)}[/]  {coloured(view.status, COLOURS)}{why}{reward}{able}{scoring}")
    ended = "" if view.ended_at is None else f", ended {view.ended_at}"
    say(f"  announced by {escape(view.announcer)} at {view.announced_at}{ended}, as of {view.position}")
    say(f"  {escape(shortened(view.description, TEXT_CHARS_MAX))}")
    if view.bids:
        bids = [
            (
                f"[bold]{escape(bid.agent)}[/]",
                f"{bid.price:g}",
                f"{bid.estimated_time:.1f}",
                f"{bid.confidence:.2f}",
                str(bid.load),
                "-" if bid.score is None else f"{bid.score:.4f}",
            )
            for bid in view.bids
        ]
        print_table(("bidder", "<price", "<minutes", "<confidence", "<load", "<score"), bids, indent=2)
    for agent, reason in view.passed.items():
        say(f"  {escape(agent)} passed: {escape(reason) or '-'}")
    for agent, reason in view.refused:
        say(f"  a bid of {escape(agent)} was refused: {escape(reason)}")
    if view.awaited:
        say(f"  awaited: {escape(', '.join(view.awaited))}")
    for award in view.awards:
        error = f": {escape(award.error)}" if award.error else ""
        say(f"  given to [bold]{escape(award.agent)}[/] at {award.at}, token {award.token}: {award.ended}{error}")
    if view.result is not None:
        say(f"  result: {escape(shortened(view.result, TEXT_CHARS_MAX))}")
