"""`accord proposals`: what agents voted on, who voted how, and what another rule would have brought."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Json, Processes, Source, names, open_log
from accord.cli.output import json_line, say, shortened
from accord.cli.sharing import At, print_table
from accord.cli.statuses import check_status, coloured, print_list
from accord.errors import BadInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accord.replay.proposals import BallotView, ProposalView

CONTENT_CHARS_MAX = 60
TEXT_CHARS_MAX = 500
COLOURS = {"approved": "green", "rejected": "red", "no_quorum": "yellow"}

Id = Annotated[str, typer.Argument(metavar="ID", help="The proposal's id.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Proposals: what is voted on, who voted how, and why it ended so.")
    group.command("list")(list_proposals)
    group.command()(show)
    group.command("recount")(recount_votes)
    app.add_typer(group, name="proposals")


def list_proposals(
    source: Source = None,
    status: Annotated[
        str | None,
        typer.Option("--status", help="Only these: open, approved, rejected, no_quorum, withdrawn.", metavar="S"),
    ] = None,
    at: At = None,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """List the proposals of the log, oldest first, with their counts."""
    from accord.replay.proposals import STATUSES, proposals_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    check_status(status, STATUSES, "proposal")
    with open_log(source) as log:
        found = proposals_at(log, parse_point(at), processes=processes)
    print_list("proposal", found, status, HEADS, _row, as_json=as_json)


HEADS = ("id", "=status", "<yes", "<no", "<abstain", "<voted", "<needs", "proposer", "content")


def _row(view: ProposalView) -> tuple[str, ...]:
    from rich.markup import escape  # noqa: PLC0415

    return (
        f"[cyan]{escape(view.id)}[/]",
        coloured(view.status, COLOURS),
        str(view.yes),
        str(view.no),
        str(view.abstain),
        f"{view.voters - len(view.awaited)} of {view.voters}",
        f"> {view.threshold}",
        escape(view.proposer),
        escape(shortened(" ".join(view.content.split()), CONTENT_CHARS_MAX)),
    )


def show(proposal_id: Id, source: Source = None, at: At = None, as_json: Json = False) -> None:
    """Show a proposal: its terms, every ballot with its reason, those that came late, and how it ended."""
    view = _find(proposal_id, source, at)
    if as_json:
        json_line(view)
        return
    from rich.markup import escape  # noqa: PLC0415

    quorum = "" if view.quorum is None else f", quorum {view.quorum}"
    say(
        f"[bold cyan]{escape(view.id)}[/]  {coloured(view.status, COLOURS)}: {view.yes} yes, {view.no} no, "
        f"{view.abstain} abstain; needs more than {view.threshold}{quorum}"
    )
    ended = f"until {view.due_at}" if view.ended_at is None else f"ended {view.ended_at}"
    say(f"  proposed by {escape(view.proposer)} at {view.opened_at}, {ended}, as of {view.position}")
    if view.reason:
        say(f"  withdrawn: {escape(view.reason)}")
    say(f"  {escape(shortened(view.content, TEXT_CHARS_MAX))}")
    _print_ballots((*view.ballots, *view.late))
    if view.awaited:
        say(f"  awaited: {escape(', '.join(view.awaited))}")


def recount_votes(
    proposal_id: Id,
    source: Source = None,
    threshold: Annotated[
        str | None,
        typer.Option("--threshold", metavar="PART", help="Yes must be more than this: 2/3, .5.", show_default=False),
    ] = None,
    quorum: Annotated[
        int | None,
        typer.Option("--quorum", min=0, metavar="N", help="So many must vote yes or no; 0: any.", show_default=False),
    ] = None,
    weights: Annotated[
        str, typer.Option("--weights", metavar="A=2,B=3", help="How much votes count.", show_default=False)
    ] = "",
    electorate: Annotated[
        str, typer.Option("--electorate", metavar="A,B,C", help="Whose votes count.", show_default=False)
    ] = "",
    as_json: Json = False,
) -> None:
    """Count the votes that the log has by another rule. Nobody is asked again, nothing is written.

    What is not given stays as it was.
    """
    from accord.replay.proposals import recount  # noqa: PLC0415

    part, by_name = None if threshold is None else _part(threshold), _weights(weights)
    view = _find(proposal_id, source, None)
    found, ballots = recount(view, threshold=part, quorum=quorum, weights=by_name, electorate=names(electorate))
    changed = found.outcome != view.status
    if as_json:
        json_line({"id": view.id, "was": view.status, "changed": changed, **found._asdict(), "ballots": ballots})
        return
    from rich.markup import escape  # noqa: PLC0415

    was = f"was {coloured(view.status, COLOURS)}" if changed else "as it was"
    say(
        f"[bold cyan]{escape(view.id)}[/]  {coloured(found.outcome, COLOURS)}: {found.yes} yes, {found.no} no, "
        f"{found.abstain} abstain; needs more than {part or view.threshold}; {was}"
    )
    _print_ballots(ballots)


def _find(proposal_id: str, source: str | None, at: str | None) -> ProposalView:
    from accord.replay.proposals import proposal_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    with open_log(source) as log:
        found = proposal_at(log, proposal_id, parse_point(at))
    if found is None:
        raise NotFound(f"there is no proposal {proposal_id}.", remedy="See: accord proposals list.", key=proposal_id)
    return found


def _print_ballots(ballots: Sequence[BallotView]) -> None:
    from rich.markup import escape  # noqa: PLC0415

    rows = [
        (
            f"[bold]{escape(ballot.voter)}[/]",
            ballot.choice + " (late, not counted)" * ballot.late,
            str(ballot.weight),
            "-" if ballot.at is None else ballot.at,
            escape(ballot.reason),
        )
        for ballot in ballots
    ]
    print_table(("voter", "=vote", "<weight", "=at", "reason"), rows, indent=2)


def _part(text: str) -> Fraction:
    try:
        part = Fraction(text)
    except (ValueError, ZeroDivisionError):
        part = Fraction(-1)
    if not 0 <= part < 1:
        raise BadInput(f"--threshold {text}: a part from 0 to below 1 is needed.", remedy="For example 2/3, or .5.")
    return part


def _weights(text: str) -> dict[str, int]:
    found = {}
    for one in names(text):
        name, _, weight = one.rpartition("=")
        if not name or not weight.isdecimal():
            raise BadInput(f"--weights {one}: NAME=NUMBER is needed.", remedy="For example ada=2,bob=3.")
        found[name] = int(weight)
    return found
