"""`accord conflicts`: where agents got in each other's way, who went first, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Json, Processes, Source, open_log
from accord.cli.output import json_line, plural, say, shortened
from accord.cli.sharing import At, print_table, some
from accord.cli.statuses import check_status, coloured, print_list
from accord.errors import NotFound

if TYPE_CHECKING:
    from accord.replay.conflicts import ConflictView, GroundView, PartyView

TEXT_CHARS_MAX = 500
COLOURS = {"resolved": "green", "escalated": "yellow", "judging": "yellow", "acting": "green", "queued": "yellow"}

Name = Annotated[str, typer.Argument(metavar="GROUND", help="The ground's name.")]
Id = Annotated[
    str | None, typer.Option("--conflict", metavar="ID", help="One of its conflicts, by id.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Conflicts: who got in whose way, who went first, and why.")
    group.command("list")(list_conflicts)
    group.command()(show)
    app.add_typer(group, name="conflicts")


def list_conflicts(
    source: Source = None,
    status: Annotated[
        str | None,
        typer.Option("--status", help="Only these: judging, escalated, resolved, ruled_out.", metavar="S"),
    ] = None,
    at: At = None,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """List the conflicts of the log, oldest first."""
    from accord.replay.conflicts import STATUSES, conflicts_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    check_status(status, STATUSES, "conflict")
    with open_log(source) as log:
        found = conflicts_at(log, parse_point(at), processes=processes)
    print_list("conflict", found, status, HEADS, _row, as_json=as_json)


HEADS = ("ground", "=id", "=kind", "=status", "about", "won", "lost", "=by", "<confidence")


def _row(view: ConflictView) -> tuple[str, ...]:
    from rich.markup import escape  # noqa: PLC0415

    won = tuple([party.agent for party in view.parties if party.outcome == "won"])
    lost = tuple([f"{party.agent}: {party.outcome}" for party in view.parties if party.outcome not in ("won", None)])
    others = tuple([party.agent for party in view.parties]) if not won else ()
    return (
        f"[cyan]{escape(view.ground)}[/]",
        escape(view.id),
        view.kind,
        coloured(view.status, COLOURS),
        escape(view.target or view.resource or view.topic),
        escape(some(won)) or "-",
        escape(some(lost or others)),
        (view.method or "-") + " (fallback)" * bool(view.fallback),
        "-" if view.confidence is None else f"{view.confidence:g}",
    )


def show(ground: Name, source: Source = None, conflict: Id = None, at: At = None, as_json: Json = False) -> None:
    """Show a ground, or one of its conflicts: what it is about, what was judged, who won and why."""
    from accord.replay.conflicts import conflict_at, ground_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    with open_log(source) as log:
        point = parse_point(at)
        found = ground_at(log, ground, point) if conflict is None else conflict_at(log, ground, conflict, point)
    if found is None:
        what = f"no ground {ground}" if conflict is None else f"no conflict {conflict} on {ground}"
        raise NotFound(f"there is {what}.", remedy="See: accord conflicts list.", key=ground)
    if as_json:
        json_line(found)
    elif conflict is None:
        _say_ground(found)  # type: ignore[arg-type]
    else:
        _say_conflict(found)  # type: ignore[arg-type]


def _say_ground(view: GroundView) -> None:
    from rich.markup import escape  # noqa: PLC0415

    terms = view.terms
    owner = f"configured by {escape(view.owner)}" if view.owner else "nobody has configured it"
    say(f"[bold cyan]{escape(view.ground)}[/]  {owner}")
    capacities = ", ".join(f"{one.resource} {one.amount:,}" for one in terms.capacities)
    if capacities:
        say(f"  capacities: {escape(capacities)}")
    authority = terms.authority or terms.organisation
    say(f"  judges: {escape(', '.join(terms.judges)) or '-'}; authority: {escape(authority) or '-'}")
    rows = [
        (
            f"[bold]{escape(one.agent)}[/]",
            coloured(one.status, COLOURS),
            escape(one.intent.action),
            escape(one.intent.target or one.intent.topic),
            f"{escape(one.intent.resource)} {one.intent.amount:,}" if one.intent.resource else "-",
            str(one.intent.priority),
            escape(one.id),
        )
        for one in view.intentions
    ]
    if rows:
        print_table(("agent", "=status", "action", "about", "uses", "<priority", "id"), rows, indent=2)
    if view.conflicts:
        print_table(HEADS, map(_row, view.conflicts), indent=2)
    say(f"  {plural(len(rows), 'intention')}, {plural(len(view.conflicts), 'conflict')}")


def _say_conflict(view: ConflictView) -> None:
    from rich.markup import escape  # noqa: PLC0415

    about = " ".join([view.kind, view.target or view.resource or view.topic]).strip()
    say(f"[bold cyan]{escape(view.ground)}/{escape(view.id)}[/]  {escape(about)}: {coloured(view.status, COLOURS)}")
    ended = "" if view.ended_at is None else f", ended {view.ended_at}"
    by = f"by the rule of {view.rule}" if view.rule not in ("", "judgement") else "by a judge"
    say(f"  found {by} at {view.found_at}{ended}, as of {view.position}")
    if view.demanded is not None:
        say(f"  {view.demanded:,} are wanted, there are {view.capacity:,}")
    rows = [
        (f"[bold]{escape(party.agent)}[/]", party.outcome or "-", escape(_input(party)), escape(party.party))
        for party in view.parties
    ]
    print_table(("agent", "=outcome", "says", "party"), rows, indent=2)
    for judgement in view.judgements:
        said = judgement.counted or f"{judgement.winner or 'nobody'}, confidence {judgement.confidence:g}"
        say(f"  judge {escape(judgement.judge)}: {escape(said)}  {escape(judgement.reasoning)}")
    for escalation in view.escalations:
        to = escalation.authority or "nobody: the rule decides"
        say(f"  escalated by {escape(escalation.by)} ({escalation.reason}) to {escape(to)}")
    if view.method is not None:
        rule = "" if view.agrees in (None, True) else f"; the rule would have had {escape(view.by_rule or '')} win"
        say(f"  decided by {view.method}, confidence {view.confidence:g}: {escape(view.reasoning)}{rule}")
    if view.fallback:
        say(f"  the rule stood in: {escape(view.fallback)}")
    if view.appeal is not None:
        held = "upheld" if view.appeal.upheld else "overturned"
        say(f"  appeal: {held} by {escape(view.appeal.by or 'the rule')}: {escape(view.appeal.reasoning)}")


def _input(party: PartyView) -> str:
    """What a party wants, in a line."""
    if party.intent is None:
        return shortened(party.recommendation or "-", TEXT_CHARS_MAX)
    i = party.intent
    uses = f" {i.amount:,} {i.resource}" if i.resource else ""
    topic = f" ({i.topic})" if i.topic else ""
    text = f": {i.text}" if i.text else ""
    return shortened(f"{i.action} {i.target}{uses}{topic}{text}".strip(), TEXT_CHARS_MAX)
