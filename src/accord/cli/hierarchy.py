"""`accord hierarchy`: who may decide what, who is asked, what was decided, and how each level does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Json, Processes, Source, open_log
from accord.cli.output import console, json_line, plural, say, shortened
from accord.cli.sharing import At, print_table, span
from accord.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.tree import Tree

    from accord.replay.hierarchy import DecisionView, LevelView, MemberView, OrganisationView

DECISIONS_SHOWN_MAX = 10
TEXT_CHARS_MAX = 60
COLOURS = {"approve": "green", "deny": "red"}

Name = Annotated[str, typer.Argument(metavar="NAME", help="The organisation's name.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Hierarchies: who may decide what, who is asked, what was decided.")
    group.command("list")(list_organisations)
    group.command()(show)
    app.add_typer(group, name="hierarchy")


def list_organisations(source: Source = None, at: At = None, processes: Processes = 0, as_json: Json = False) -> None:
    """List the organisations of the log, with what they have decided."""
    from accord.replay.hierarchy import organisations_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    with open_log(source) as log:
        views = organisations_at(log, parse_point(at), processes=processes)
    if as_json:
        for view in views:
            json_line(view)
        return
    if not views:
        say("there is no organisation")
        return
    from rich.markup import escape  # noqa: PLC0415

    rows = [
        (
            f"[cyan]{escape(view.name)}[/]",
            escape(view.owner),
            str(len(view.members)),
            str(max(member.level for member in view.members)),
            str(sum(member.absent for member in view.members)),
            str(len(view.delegations)),
            str(len(view.requests)),
            str(view.made),
            str(view.defaulted),
            str(view.refused),
        )
        for view in views
    ]
    heads = ("<members", "<levels", "<away", "<delegations", "<open", "<decided", "<by default", "<refused")
    print_table(("name", "owner", *heads), rows)


def show(name: Name, source: Source = None, at: At = None, as_json: Json = False) -> None:
    """Show an organisation: its tree, delegations, open requests, the latest decisions, figures of each level."""
    from accord.replay.hierarchy import organisation_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    with open_log(source) as log:
        view = organisation_at(log, name, parse_point(at))
    if view is None:
        raise NotFound(f"there is no organisation {name}.", remedy="See: accord hierarchy list.", key=name)
    if as_json:
        json_line(view)
        return
    from rich.markup import escape  # noqa: PLC0415

    say(
        f"[bold cyan]{escape(view.name)}[/]  owned by {escape(view.owner)}, tree {view.revision}, span {view.span}, "
        f"as of {view.position}"
    )
    console().print(_tree(view))
    _print_delegations(view)
    _print_decisions("open requests", view.requests)
    _print_decisions("latest decisions", view.decisions[-DECISIONS_SHOWN_MAX:])
    _print_levels(view.levels)
    say(f"{plural(view.made, 'decision')}, {view.defaulted:,} by default, {view.refused:,} refused")


def _tree(view: OrganisationView) -> Tree:
    from rich.tree import Tree  # noqa: PLC0415

    by_superior: dict[str | None, list[MemberView]] = {}
    for member in view.members:
        by_superior.setdefault(member.reports_to, []).append(member)
    (top,) = by_superior[None]
    drawn = Tree(_label(top))
    branches = [(top.name, drawn)]
    while branches:
        name, branch = branches.pop()
        branches.extend([(member.name, branch.add(_label(member))) for member in by_superior.get(name, [])])
    return drawn


def _label(member: MemberView) -> str:
    from rich.markup import escape  # noqa: PLC0415

    decides = ", ".join(f"{escape(kind)} up to {limit}" for kind, limit in member.decides.items())
    away = "  [yellow]away[/]" * member.absent
    deputy = "" if member.deputy is None else f"  [dim]deputy {escape(member.deputy)}[/]"
    return f"[bold]{escape(member.name)}[/]  {decides or '-'}{deputy}{away}"


def _print_delegations(view: OrganisationView) -> None:
    from rich.markup import escape  # noqa: PLC0415

    rows = [
        (
            f"[cyan]{escape(one.id)}[/]",
            f"{escape(one.delegator)} > {escape(one.delegate)}",
            escape(one.type),
            one.limit,
            one.worth or "nothing",
            "-" if one.rests_on is None else escape(one.rests_on),
            one.until,
        )
        for one in view.delegations
    ]
    if rows:
        print_table(("=delegation", "who", "type", "<limit", "<worth", "rests on", "=until"), rows, indent=2)


def _print_decisions(title: str, decisions: Sequence[DecisionView]) -> None:
    from rich.markup import escape  # noqa: PLC0415

    rows = [
        (
            f"[cyan]{escape(one.id)}[/]",
            escape(one.type),
            one.amount,
            escape(one.requester),
            _verdict(one),
            _way(one),
            escape(one.outcome or "-"),
            escape(shortened(" ".join(one.subject.split()), TEXT_CHARS_MAX)),
        )
        for one in decisions
    ]
    if rows:
        heads = (f"={title}", "type", "<amount", "for", "verdict", "by", "outcome", "subject")
        print_table(heads, rows, indent=2)


def _verdict(one: DecisionView) -> str:
    from rich.markup import escape  # noqa: PLC0415

    word = one.verdict or one.status
    colour = COLOURS.get(word)
    shown = escape(word) if colour is None else f"[{colour}]{word}[/]"
    return f"{shown} ({escape(one.reason)})" if one.status == "defaulted" else shown


def _way(one: DecisionView) -> str:
    """Who decided or is asked, in whose place, by what; and who passed it before."""
    from rich.markup import escape  # noqa: PLC0415

    before = [f"{step.asked} {step.ended}" for step in one.path if step.ended not in ("", "decided", "withdrawn")]
    who = one.decider or next((step.asked for step in one.path if step.ended_at is None), "")
    if who and one.authority is not None:
        for_other = f" for {one.authority.member}" * (one.authority.member != who)
        by = f" by {' > '.join(one.authority.delegations)}" * bool(one.authority.delegations)
        who = f"{who}{for_other}{by}"
    return escape(", ".join([*before, *[who] * bool(who)]) or "-")


def _print_levels(levels: Sequence[LevelView]) -> None:
    rows = [
        (
            str(one.level),
            str(one.members),
            str(one.decided),
            str(one.own),
            str(one.by_deputy),
            str(one.reached),
            _rate(one.escalation_rate),
            "-" if one.avg_ms is None else span(round(one.avg_ms)),
            "-" if one.p95_ms is None else span(one.p95_ms),
            _rate(one.success_rate),
        )
        for one in levels
    ]
    heads = ("<members", "<decided", "<unasked", "<by deputy", "<asked", "<passed on", "<average", "<p95", "<success")
    print_table(("=level", *heads), rows, indent=2)


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.0%}"
