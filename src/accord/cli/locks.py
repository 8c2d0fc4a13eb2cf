"""`accord locks`: what is held and waited for, and an operator's way to free it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Bootstrap, Json, Prefix, Processes, Source, load, open_log
from accord.cli.output import json_line, say
from accord.errors import BadInput, NotFound, Refused

if TYPE_CHECKING:
    from accord.replay.locks import Edge, LockView
    from accord.replay.source import Source as Log

DEADLOCK = 1

Name = Annotated[str, typer.Argument(metavar="NAME", help="The lock's name.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="What is locked, by whom, and who waits.")
    group.command("list")(list_locks)
    group.command()(show)
    group.command()(graph)
    group.command()(release)
    app.add_typer(group, name="locks")


def list_locks(source: Source = None, processes: Processes = 0, as_json: Json = False) -> None:
    """List every lock and barrier in use."""
    views = _views(source, processes)
    if as_json:
        for view in views:
            json_line(view)
        return
    if not views:
        say("nothing is locked")
        return
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from accord.cli.output import console  # noqa: PLC0415

    table = Table("name", "kind", "held by", "token", "for", "lease left", "waiting", box=None, padding=(0, 2))
    for view in views:
        first = view.holders[0] if view.holders else None
        more = f" and {len(view.holders) - 1} more" if len(view.holders) > 1 else ""
        table.add_row(
            f"[cyan]{escape(view.name)}[/]",
            _kind(view),
            escape(f"{first.agent}{more}") if first else "-",
            str(first.token) if first else "-",
            _span(first.held_ms) if first else "-",
            _span(min(holder.lease_left_ms for holder in view.holders)) if first else "-",
            str(len(view.waiters)),
        )
    console().print(table)


def show(name: Name, source: Source = None, processes: Processes = 0, as_json: Json = False) -> None:
    """Show who holds a lock, until when, and who waits for it, in the order of their turns."""
    view = _find(_views(source, processes), name)
    if view is None:
        raise NotFound(f"{name}: nobody holds it or waits for it.", remedy="See: accord locks list.", key=name)
    if as_json:
        json_line(view)
        return
    from rich.markup import escape  # noqa: PLC0415

    say(f"[bold cyan]{escape(name)}[/]  {_kind(view)}, as of {view.position}")
    for holder in view.holders:
        say(
            f"  held by [bold]{escape(holder.agent)}[/], token {holder.token}, for {_span(holder.held_ms)}, "
            f"lease left {_span(holder.lease_left_ms)}"
        )
    for waiter in view.waiters:
        place = "for a notice" if waiter.for_notice else f"{waiter.place}."
        priority = f", priority {waiter.priority}" if waiter.priority else ""
        since = f", for {_span(waiter.waiting_ms)}" if waiter.waiting_ms else ""
        say(f"  waits {place}  {escape(waiter.agent)}{since}{priority}")


def graph(
    source: Source = None,
    dot: Annotated[bool, typer.Option("--dot", help="Print it for Graphviz.")] = False,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """Show who waits for whom, over all locks. Exit 1: some wait for each other, a deadlock."""
    from rich.markup import escape  # noqa: PLC0415

    from accord.replay.locks import cycles, wait_graph  # noqa: PLC0415

    edges = wait_graph(_views(source, processes))
    rings = cycles(edges)
    if as_json:
        json_line({"edges": edges, "deadlocks": rings})
    elif dot:
        sys.stdout.write(_dot(edges, rings))
    else:
        for edge in edges:
            behind = "ahead in the queue" if edge.token is None else f"token {edge.token}"
            say(f"{escape(edge.waiter_agent)} waits for {escape(edge.holder_agent)}: {escape(edge.lock)} ({behind})")
        for ring in rings:
            steps = " ".join(f"waits for {escape(edge.holder_agent)} ({escape(edge.lock)})" for edge in ring)
            say(f"[bold red]deadlock[/]: {escape(ring[0].waiter_agent)} {steps}")
        if not edges:
            say("nobody waits")
    if rings:
        raise typer.Exit(DEADLOCK)


def _dot(edges: list[Edge], rings: list[list[Edge]]) -> str:
    in_a_ring = {(edge.waiter, edge.holder, edge.lock) for ring in rings for edge in ring}
    names = {edge.waiter: edge.waiter_agent for edge in edges} | {edge.holder: edge.holder_agent for edge in edges}
    lines = [f"  {_quoted(chain)} [label={_quoted(agent)}];" for chain, agent in names.items()]
    for edge in edges:
        red = ", color=red" if (edge.waiter, edge.holder, edge.lock) in in_a_ring else ""
        lines.append(f"  {_quoted(edge.waiter)} -> {_quoted(edge.holder)} [label={_quoted(edge.lock)}{red}];")
    return "\n".join(["digraph locks {", *lines, "}", ""])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'


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
        view = _find(_look(log, 0), name)
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


def _views(source: str | None, processes: int) -> list[LockView]:
    with open_log(source) as log:
        return _look(log, processes)


def _look(log: Log, processes: int) -> list[LockView]:
    """What is in use now; in an archive, at its end by its own clock."""
    from accord.replay.locks import locks_at  # noqa: PLC0415
    from accord.replay.source import KafkaSource  # noqa: PLC0415

    now_ms = time.time_ns() // 1_000_000 if isinstance(log, KafkaSource) else None
    return locks_at(log, now_ms=now_ms, processes=processes)


def _find(views: list[LockView], name: str) -> LockView | None:
    return next((view for view in views if view.name == name), None)


def _kind(view: LockView) -> str:
    if view.kind == "barrier":
        return "barrier"
    return f"{view.kind} of {view.permits}" if view.kind == "semaphore" else view.kind


def _span(ms: int) -> str:
    """A duration for people; one that is over is 0."""
    seconds = max(0, ms) / 1_000
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3_600 else f"{seconds / 3_600:.1f} h"
