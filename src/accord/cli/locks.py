"""`accord locks`: what is held and waited for, and an operator's way to free it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Bootstrap, Json, Prefix, Processes, Source, load
from accord.cli.output import json_line, say, write
from accord.cli.sharing import At, look, look_at, print_table, say_pinned, some, span
from accord.errors import BadInput, NotFound, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from accord.replay.locks import LockView

DEADLOCK = 1

Name = Annotated[str, typer.Argument(metavar="NAME", help="The lock's name.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="What is locked, by whom, and who waits.")
    group.command("list")(list_locks)
    group.command()(show)
    group.command()(graph)
    group.command()(release)
    app.add_typer(group, name="locks")


def list_locks(source: Source = None, at: At = None, processes: Processes = 0, as_json: Json = False) -> None:
    """List every lock and barrier in use."""
    views = look(source, at, processes).locks
    if as_json:
        for view in views:
            json_line(view)
        return
    if not views:
        say("nothing is locked")
        return
    from rich.markup import escape  # noqa: PLC0415

    rows = []
    for view in views:
        first = view.holders[0] if view.holders else None
        following = "" if view.kind == "barrier" else next((w.agent for w in view.waiters if w.place == 1), "")
        rows.append(
            (
                f"[cyan]{escape(view.name)}[/]",
                _kind(view),
                escape(some(tuple(holder.agent for holder in view.holders), 1)) or "-",
                str(first.token) if first else "-",
                span(first.held_ms) if first else "-",
                span(view.lease_left_ms or 0) if first else "-",
                str(len(view.waiters)),
                escape(following) or "-",
            )
        )
    print_table(("name", "kind", "held by", "<token", "<for", "<lease left", "<waiting", "next"), rows)


def show(name: Name, source: Source = None, at: At = None, processes: Processes = 0, as_json: Json = False) -> None:
    """Show who holds a lock, until when, and who waits for it, in the order of their turns."""
    view = _find(look(source, at, processes).locks, name)
    if view is None:
        raise NotFound(f"{name}: nobody holds it or waits for it.", remedy="See: accord locks list.", key=name)
    if as_json:
        json_line(view)
        return
    from rich.markup import escape  # noqa: PLC0415

    say(f"[bold cyan]{escape(name)}[/]  {_kind(view)}, as of {view.position}")
    for holder in view.holders:
        say(
            f"  held by [bold]{escape(holder.agent)}[/]{_shared(holder.permits)}, token {holder.token}, "
            f"for {span(holder.held_ms)}, lease left {span(holder.lease_left_ms)}"
        )
    for pin in view.pins:
        say_pinned(pin)
    if not view.waiters:
        return
    if view.kind == "barrier":
        say(f"  {len(view.waiters)} of {view.permits} have come: {escape(some(_agents(view), 20))}")
        return
    say("  waiting:")
    rows = [
        (
            "notice" if waiter.for_notice else str(waiter.place),
            escape(waiter.agent),
            "alone" if waiter.permits is None else "shared",
            str(waiter.priority),
            span(waiter.waiting_ms),
            "no limit" if waiter.wait_left_ms is None else span(waiter.wait_left_ms),
            escape(some(waiter.holds)) or "-",
        )
        for waiter in view.waiters
    ]
    print_table(("<place", "agent", "wants it", "<priority", "<for", "<wait left", "holds meanwhile"), rows, indent=2)


def graph(
    source: Source = None,
    at: At = None,
    dot: Annotated[bool, typer.Option("--dot", help="Print it for Graphviz.")] = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw it into a file.", show_default=False)
    ] = None,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """Show who waits for whom, over all locks and pools. Exit 1: some wait for each other, a deadlock."""
    from rich.markup import escape  # noqa: PLC0415

    from accord.replay import drawing  # noqa: PLC0415
    from accord.replay.waits import rings, wait_graph  # noqa: PLC0415

    sharing = look(source, at, processes)
    edges, deadlocks = wait_graph(sharing), rings(sharing)
    if svg is not None:
        write(svg, drawing.svg(edges, deadlocks))
    if as_json:
        json_line({"edges": edges, "deadlocks": deadlocks})
    elif dot:
        sys.stdout.write(drawing.dot(edges, deadlocks))
    else:
        for edge in edges:
            behind = "ahead in the queue" if edge.token is None else f"token {edge.token}"
            wanted = "pool " * (edge.domain == "limits") + edge.lock
            say(f"{escape(edge.waiter_agent)} waits for {escape(edge.holder_agent)}: {escape(wanted)} ({behind})")
        for ring in deadlocks:
            steps = " ".join(f"waits for {escape(edge.holder_agent)} ({escape(edge.lock)})" for edge in ring)
            youngest = escape(ring[0].waiter_agent)
            say(f"[bold red]deadlock[/]: {youngest} {steps}; {youngest} is the youngest and has to give way")
        if not edges:
            say("nobody waits")
    if deadlocks:
        raise typer.Exit(DEADLOCK)


def release(
    name: Name,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")],
    force: Annotated[bool, typer.Option("--force", help="Say so: its holder believes that it holds the lock.")] = False,
    token: Annotated[
        int | None, typer.Option("--token", help="Only the grant with this token; without it, all of them.")
    ] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Take a lock away from its holder, on your word. It is recorded with the reason, and its holder is told.

    Guarded resources refuse what the old holder still writes, once the next one has written.
    """
    if not force:
        raise BadInput(
            f"{name} is held by a program that believes in it.", remedy="If it must go all the same: --force.", key=name
        )
    from accord import sync  # noqa: PLC0415
    from accord.replay.source import open_source  # noqa: PLC0415
    from accord.schemas.messages.locks import LeaseRevoked, RevokeLease  # noqa: PLC0415

    settings = load(bootstrap, prefix)
    with open_source(settings) as log:
        view = _find(look_at(log).locks, name)
    held = [holder for holder in view.holders if token in (None, holder.token)] if view else []
    if not held:
        raise NotFound(f"{name}: nobody holds it{'' if token is None else f' with token {token}'}.", key=name)
    with sync.Accord(settings=settings) as hub:
        for holder in held:
            command = RevokeLease(hub.agent, holder.token, reason, holder.request)
            answer = hub.connection.submit("locks", name, command).decided.result()
            revoked = any(isinstance(event, LeaseRevoked) for event in answer.events)
            if not revoked:
                raise Refused(f"{name}: {holder.agent} had let go of token {holder.token} already.", key=name)
            if as_json:
                json_line(
                    {"name": name, "holder": holder.agent, "token": holder.token, "position": str(answer.position)}
                )
            else:
                say(f"taken from {holder.agent}, token {holder.token}: {answer.position}")


def _find(views: Iterable[LockView], name: str) -> LockView | None:
    return next((view for view in views if view.name == name), None)


def _kind(view: LockView) -> str:
    if view.kind == "barrier":
        return "barrier"
    return f"{view.kind} of {view.permits}" if view.kind == "semaphore" else view.kind


def _shared(permits: int | None) -> str:
    """With how many together it is held, if not alone."""
    return "" if permits is None else " with other readers" if permits == 0 else f" as one of {permits}"


def _agents(view: LockView) -> tuple[str, ...]:
    return tuple(waiter.agent for waiter in view.waiters)
