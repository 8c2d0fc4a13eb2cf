"""`accord replay report`: what a run was like, as tables, as a page, as JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from accord.cli.llm import usd
from accord.cli.options import Json, Partial, Processes, Source, open_log
from accord.cli.output import json_line, plural, say, shortened, write
from accord.cli.sharing import print_table, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accord.replay.report.contention import Contention
    from accord.replay.report.critical import Path as CriticalPath
    from accord.replay.report.report import RunReport

ROWS: Final = 10
"""Of each table, on a terminal."""
LEGS_CHARS_MAX: Final = 200


def report(
    source: Source = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write it as a page with plots, which needs no other file."),
    ] = None,
    partial: Partial = False,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """Tell what a run was like: what was waited for, what made tasks slow, how agents did, what models cost.

    All times are by the log's clock. The tables show the first of each kind; --json has all.

        accord replay report hotel.accord --html report.html
    """
    from accord.replay.report.page import page  # noqa: PLC0415
    from accord.replay.report.report import report as run  # noqa: PLC0415

    with open_log(source, partial=partial) as log:
        found = run(log, processes=processes, begun=_tell)
    _tell("")
    if html is not None:
        write(html, page(found))
    if as_json:
        json_line(found)
        return
    _print(found)
    if html is not None:
        say(f"written to {html}", markup=False)


def _tell(part: str) -> None:
    """Says on a terminal what is read; nothing: takes that away."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{'reading: ' * bool(part)}{part:<30}{'' if part else chr(13)}")
        sys.stderr.flush()


def _print(found: RunReport) -> None:
    seen = found.activity
    if not seen.decisions:
        say("nothing was decided")
        return
    events = sum(sum(counts) for counts in seen.buckets.values())
    say(
        f"{plural(seen.decisions, 'decision')}, {plural(events, 'event')} of {plural(len(seen.agents), 'agent')} in "
        f"{span(seen.end_ms - seen.start_ms)}; {plural(seen.rejected, 'rejected command')}"
    )
    waits = [_contended(one) for one in found.contention if one.waits.count or one.denied]
    heads = ["name", "<granted", "<waited", "<p50", "<p95", "<longest", "<gave up", "<denied", "kept waiting by"]
    _table("contention", "the longest waits first", heads, waits)
    took = found.tasks.took
    told = f"{found.tasks.ended:,} ended, p50 {span(took.p50_ms)}, p95 {span(took.p95_ms)}; the slowest first"
    paths = [_path(one) for one in found.tasks.slowest]
    _table("tasks", told, ["task", "type", "ended", "<took", "critical path"], paths)
    runs = [
        (_name(one.name), f"{one.count:,}", f"{one.completed:,}", span(round(one.avg_ms)), span(one.p95_ms))
        for one in found.performance
    ]
    _table("agents", "the slowest first", ["agent", "<runs", "<completed", "<average", "<p95"], runs)
    given = [(_name(one.giver), _name(one.taker), one.kind, f"{one.count:,}") for one in seen.handovers]
    _table("handed over", "the most frequent first", ["from", "to", "what", "<times"], given)
    bills = [(_name(b.name or "-"), f"{b.calls:,}", f"{b.cached:,}", usd(b.cost_microusd)) for b in found.costs]
    _table("models", "the dearest first", ["agent", "<calls", "<cached", "<cost"], bills)


def _table(title: str, told: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    say(f"\n[bold]{title}[/]  {told}")
    print_table(heads, rows[:ROWS], indent=2)
    if len(rows) > ROWS:
        say(f"  [dim]and {len(rows) - ROWS:,} more[/]")


def _contended(one: Contention) -> tuple[str, ...]:
    waits = one.waits
    times = [span(ms) if waits.count else "" for ms in (waits.p50_ms, waits.p95_ms, waits.max_ms)]
    worst = ", ".join(f"{agent} {span(ms)}" for agent, ms in one.kept_waiting[:2])
    counts = (f"{one.granted:,}", f"{waits.count:,}", *times, f"{one.given_up:,}", f"{one.denied:,}")
    return (_name(one.name), *counts, _plain(worst))


def _path(one: CriticalPath) -> tuple[str, ...]:
    legs = " > ".join(f"{leg.step} {span(leg.end_ms - leg.ready_ms)}" for leg in one.legs)
    return (_name(one.task), _plain(one.type), one.status, span(one.took_ms), _plain(shortened(legs, LEGS_CHARS_MAX)))


def _name(name: str) -> str:
    return f"[cyan]{_plain(name)}[/]"


def _plain(text: str) -> str:
    from rich.markup import escape  # noqa: PLC0415

    return escape(text)
