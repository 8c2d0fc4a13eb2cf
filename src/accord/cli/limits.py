"""`accord resources` and `accord limits`: pools of capacity, and how fast they may be used.

Both are about the same pools: `resources` lists what is held of them, `limits` what rates leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Json, Processes, Source
from accord.cli.output import json_line, plural, say
from accord.cli.sharing import At, look, print_table, say_pinned, some, span
from accord.errors import NotFound

if TYPE_CHECKING:
    from accord.replay.limits import PoolView, Rate

Name = Annotated[str, typer.Argument(metavar="NAME", help="The pool's name.")]


def add_to(app: typer.Typer) -> None:
    for name, lists, what in (
        ("resources", list_resources, "Pools of capacity: who holds how much, who waits, how well they are used."),
        ("limits", list_limits, "Rate limits: how many requests and tokens are left, and when more come."),
    ):
        group = typer.Typer(no_args_is_help=True, help=what)
        group.command("list")(lists)
        group.command()(show)
        app.add_typer(group, name=name)


def list_resources(source: Source = None, at: At = None, processes: Processes = 0, as_json: Json = False) -> None:
    """List every pool: its capacity, who holds how much of it, and who waits."""
    views = _views(source, at, processes, as_json)
    if not views:
        return
    from rich.markup import escape  # noqa: PLC0415

    rows = [
        (
            f"[cyan]{escape(view.name)}[/]",
            f"{view.capacity:,}",
            f"{view.in_use:,}",
            f"{view.free:,}",
            "-" if view.usage.utilisation is None else f"{view.usage.utilisation:.0%}",
            escape(some(tuple(f"{holder.agent} {holder.amount:,}" for holder in view.holders), 2)) or "-",
            str(len(view.waiters)),
            escape(f"{view.waiters[0].agent} {view.waiters[0].amount:,}") if view.waiters else "-",
        )
        for view in views
    ]
    print_table(("name", "<capacity", "<in use", "<free", "<avg use", "held by", "<waiting", "next"), rows)


def list_limits(source: Source = None, at: At = None, processes: Processes = 0, as_json: Json = False) -> None:
    """List every pool as a rate limit: calls at a time, requests and tokens that are left of a minute's."""
    views = _views(source, at, processes, as_json)
    if not views:
        return
    from rich.markup import escape  # noqa: PLC0415

    rows = [
        (
            f"[cyan]{escape(view.name)}[/]",
            f"{view.in_use:,} of {view.capacity:,}",
            _left(view.requests),
            _left(view.tokens),
            "-" if view.paused_ms is None else span(view.paused_ms),
            str(len(view.waiters)),
            view.waiters[0].waits_for if view.waiters else "-",
        )
        for view in views
    ]
    print_table(("name", "<at a time", "<requests left", "<tokens left", "<paused", "<waiting", "for"), rows)


def show(name: Name, source: Source = None, at: At = None, processes: Processes = 0, as_json: Json = False) -> None:
    """Show a pool: who holds it, who waits and for what, its rates, and how it has been used."""
    view = next((view for view in look(source, at, processes).pools if view.name == name), None)
    if view is None:
        raise NotFound(
            f"{name}: nobody has configured this pool, holds of it or waits for it.",
            remedy="See: accord resources list.",
            key=name,
        )
    if as_json:
        json_line(view)
        return
    from rich.markup import escape  # noqa: PLC0415

    terms = "" if view.configured else ", configured by nobody"
    say(f"[bold cyan]{escape(name)}[/]  {view.in_use:,} of {view.capacity:,} in use{terms}, as of {view.position}")
    if view.roles:
        say(f"  only for {escape(', '.join(view.roles))}")
    for unit, rate in (("requests", view.requests), ("tokens", view.tokens)):
        if rate is not None:
            more = "" if rate.full_ms == 0 else f", one more in {span(rate.next_ms)}, all in {span(rate.full_ms)}"
            say(f"  {rate.left:,} of {rate.per_minute:,} {unit} a minute left{more}")
    if view.paused_ms is not None:
        say(f"  paused for {span(view.paused_ms)}: the resource asked for it")
    for holder in view.holders:
        alone = ", exclusive" if holder.mode == "exclusive" else ""
        say(
            f"  [bold]{escape(holder.agent)}[/] holds {holder.amount:,}{alone}, token {holder.token}, "
            f"for {span(holder.held_ms)}, lease left {span(holder.lease_left_ms)}"
        )
    for pin in view.pins:
        say_pinned(pin)
    if view.kept:
        say(f"  {view.kept:,} kept for them, which nobody holds any more")
    if view.waiters:
        _show_queue(view)
    _show_usage(view)


def _show_queue(view: PoolView) -> None:
    from rich.markup import escape  # noqa: PLC0415

    say("  waiting:")
    rows = [
        (
            str(waiter.place),
            escape(waiter.agent),
            f"{waiter.amount:,}" + " alone" * (waiter.mode == "exclusive"),
            str(waiter.priority),
            waiter.waits_for,
            span(waiter.waiting_ms),
            "no limit" if waiter.wait_left_ms is None else span(waiter.wait_left_ms),
            escape(some(waiter.holds)) or "-",
        )
        for waiter in view.waiters
    ]
    heads = ("<place", "agent", "<amount", "<priority", "waits for", "<for", "<wait left", "holds meanwhile")
    print_table(heads, rows, indent=2)


def _show_usage(view: PoolView) -> None:
    from rich.markup import escape  # noqa: PLC0415

    usage = view.usage
    since = f"since {usage.since}" if usage.since else "since it was last idle"
    used = "" if usage.utilisation is None else f"{usage.utilisation:.1%} of the capacity held; "
    say(f"  {since}: {used}{usage.tokens:,} tokens used")
    say(
        f"    demand: {plural(usage.granted, 'request')} for {usage.granted_amount:,} granted, "
        f"{usage.denied:,} for {usage.denied_amount:,} denied, {usage.queued:,} for {usage.queued_amount:,} waiting"
    )
    waits = "-" if usage.wait_ms_mean is None else span(usage.wait_ms_mean)
    holds = "-" if usage.hold_ms_mean is None else span(usage.hold_ms_mean)
    say(f"    on average waited {waits}, held {holds}")
    for share in view.shares:
        weight = f", weight {share.weight}" if share.weight > 1 else ""
        say(f"    {escape(share.name)}{weight}: {plural(share.grants, 'grant')}, {share.amount:,} in all")


def _views(source: str | None, at: str | None, processes: int, as_json: bool) -> tuple[PoolView, ...]:
    """The pools that are to be shown as a table; prints them itself as JSON, or that there are none."""
    views = look(source, at, processes).pools
    if as_json:
        for view in views:
            json_line(view)
        return ()
    if not views:
        say("no pool is configured or in use")
    return views


def _left(rate: Rate | None) -> str:
    return "-" if rate is None else f"{rate.left:,} of {rate.per_minute:,}"
