"""`accord agents`: who works in which team, on what; what each queue has before it; how fast and how well; who beats,
and who has which role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from accord.cli.llm import usd
from accord.cli.options import Json, Processes, Source, open_log
from accord.cli.output import json_line, plural, say, shortened
from accord.cli.sharing import At, now_of, print_table, some, span
from accord.errors import BadInput, NotFound

if TYPE_CHECKING:
    from accord.replay.roster import BreakerView, RunView, TeamView

By = Annotated[str, typer.Option("--by", metavar="NAME", help="agent: whose runs; capability: of whoever is able.")]
ERRORS_SHOWN: Final = 5
"""Of each name, on a terminal."""
ERROR_CHARS_MAX: Final = 150
WORK_CHARS_MAX: Final = 100


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Agents: who works in which team, on what, and what waits for them.")
    group.command("list")(list_agents)
    group.command()(show)
    group.command("health")(list_processes)
    group.command("roles")(list_roles)
    group.command("performance")(show_performance)
    group.command("failures")(show_failures)
    app.add_typer(group, name="agents")


def list_agents(
    source: Source = None,
    team: Annotated[str | None, typer.Option("--team", help="Only this team.", show_default=False)] = None,
    at: At = None,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """List each team: its agents and what they run; what it is able to do, what waits for it, and the breakers.

    `took` is how long completed steps took on average, `done` how many: of the tasks that are remembered.
    """
    from accord.replay.state import parse_point  # noqa: PLC0415
    from accord.replay.work import teams_at  # noqa: PLC0415

    with open_log(source) as log:
        found = teams_at(log, parse_point(at), now_ms=now_of(log), processes=processes)
    views = [view for view in found if team in (None, view.team)]
    if team is not None and not views:
        there = ", ".join(view.team for view in found) or "none"
        raise NotFound(f"{team}: nobody is in this team, and nothing waits for it.", remedy=f"There is: {there}.")
    for view in views:
        if as_json:
            json_line(view)
        else:
            _print(view)
    if not views and not as_json:
        say("there is no team")


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The agent's name.")],
    source: Source = None,
    at: At = None,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """Show an agent in all domains: what it holds and waits for, what it runs, who awaits its answer, how it did.

    Exit 4: the log has nothing to tell of it.
    """
    from rich.markup import escape  # noqa: PLC0415

    from accord.replay.agents import agent_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    with open_log(source) as log:
        view = agent_at(log, name, parse_point(at), now_ms=now_of(log), processes=processes)
    if not view.is_known:
        raise NotFound(f"{name}: no agent of this name holds, waits, works, votes or ever ran anything here.")
    if as_json:
        json_line(view)
        return
    say(f"[bold cyan]{escape(name)}[/]")
    for process in view.processes:
        say(f"  is {_health(process.health)} as {escape(process.process)} since {process.since}, last beat "
            f"{span(process.silent_ms)} ago, {plural(process.suspicions, 'false suspicion')}")  # fmt: skip
    for team, member in [(one.team, one.member) for one in view.teams]:
        runs = some(tuple(_run(run) for run in member.runs), 3)
        running = f": {runs}" if runs else ""
        left = (
            f"lease left {span(member.lease_left_ms)}" if member.lease_left_ms > 0 else "[yellow]its lease is over[/]"
        )
        say(f"  works in {escape(team)} as {escape(member.member)}, {left}, {member.busy} of {member.slots}"
            f" busy{escape(running)}")  # fmt: skip
    for held in view.holds:
        left = f"lease left {span(held.lease_left_ms)}" if held.lease_left_ms > 0 else "[yellow]its lease is over[/]"
        say(f"  holds {escape(held.name)} for {span(held.held_ms)}, token {held.token}, {left}")
    for waits in view.waits:
        behind = f", held by {escape(some(waits.holders, 3))}" if waits.holders else ""
        say(f"  [yellow]waits[/] for {escape(waits.name)} for {span(waits.waiting_ms)}, place {waits.place}{behind}")
    for auction in view.works:
        text = escape(shortened(" ".join(auction.description.split()), WORK_CHARS_MAX))
        say(f"  does the work of auction {escape(auction.auction)}, token {auction.token}: {text}")
    if view.votes:
        say(f"  has not voted on {escape(some(view.votes, 5))}")
    if view.bids:
        say(f"  has not bid in {escape(some(view.bids, 5))}")
    if view.performance is not None:
        done = view.performance
        say(f"  {plural(done.count, 'run')}, {done.completed:,} completed; average {span(round(done.avg_ms))}, "
            f"p95 {span(done.p95_ms)}")  # fmt: skip
    if view.failures is not None:
        error, count = view.failures.errors[0]
        say(f"  {plural(view.failures.count, 'failure')}, most often ({count:,}): "
            f"{escape(shortened(error, ERROR_CHARS_MAX))}")  # fmt: skip
    if view.costs is not None:
        cost = view.costs
        unknown = f" and {cost.unpriced:,} of unknown price" if cost.unpriced else ""
        say(f"  {plural(cost.calls, 'call')} of models, {plural(cost.cached, 'answer')} without one: "
            f"{usd(cost.cost_microusd)}{unknown}")  # fmt: skip


def list_processes(
    source: Source = None,
    at: At = None,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """List the processes that beat, and those that failed within the last 10 minutes: alive, suspected or failed.

    `false` is how often a process was suspected and beat again.
    """
    from rich.markup import escape  # noqa: PLC0415

    from accord.replay.state import parse_point  # noqa: PLC0415
    from accord.replay.work import processes_at  # noqa: PLC0415

    with open_log(source) as log:
        found = processes_at(log, parse_point(at), now_ms=now_of(log), processes=processes)
    if as_json:
        for one in found:
            json_line(one)
        return
    if not found:
        say("no process beats")
        return
    rows = [
        (
            f"[bold]{escape(one.agent)}[/]",
            escape(one.process),
            _health(one.health),
            one.since,
            span(one.silent_ms),
            str(one.suspicions),
            escape(some(one.hangs, 3)) or "-",
        )
        for one in found
    ]
    print_table(("agent", "process", "health", "since", "<last beat", "<false", "hangs on it"), rows)


def list_roles(
    source: Source = None,
    at: At = None,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """List the roles: who has each, under which token, and who stands by for it, the next one first."""
    from rich.markup import escape  # noqa: PLC0415

    from accord.replay.health import roles_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    with open_log(source) as log:
        found = roles_at(log, parse_point(at), now_ms=now_of(log), processes=processes)
    if as_json:
        for one in found:
            json_line(one)
        return
    if not found:
        say("nobody has a role")
        return
    rows = [
        (
            f"[bold]{escape(one.role)}[/]",
            "[red]nobody[/]" if one.holder is None else escape(one.holder),
            "-" if one.token is None else str(one.token),
            "-" if one.held_ms is None else span(one.held_ms),
            escape(some(tuple(standby.agent for standby in one.standbys), 5)) or "[yellow]nobody[/]",
        )
        for one in found
    ]
    print_table(("role", "held by", "<token", "<for", "stand by"), rows)


def show_performance(source: Source = None, by: By = "agent", processes: Processes = 0, as_json: Json = False) -> None:
    """Show how long runs of steps take, by the log's clock: count, average, 95th percentile; the slowest first."""
    from rich.markup import escape  # noqa: PLC0415

    from accord.replay.performance import performance  # noqa: PLC0415

    with open_log(source) as log:
        found = performance(log, by=_by(by), processes=processes)
    if as_json:
        for one in found:
            json_line(one)
    elif found:
        rows = [
            (
                escape(one.name),
                f"{one.count:,}",
                f"{one.completed:,}",
                span(round(one.avg_ms)),
                span(one.p95_ms),
                span(one.max_ms),
            )
            for one in found
        ]
        print_table((by, "<runs", "<completed", "<average", "<p95", "<longest"), rows)
    else:
        say("no run has ended")


def show_failures(source: Source = None, by: By = "agent", processes: Processes = 0, as_json: Json = False) -> None:
    """Show what failed, steps and handlers: how often, and with which errors; the worst first."""
    from rich.markup import escape  # noqa: PLC0415

    from accord.replay.performance import failures  # noqa: PLC0415

    with open_log(source) as log:
        found = failures(log, by=_by(by), processes=processes)
    for one in found:
        if as_json:
            errors = [{"error": error, "count": count} for error, count in one.errors]
            json_line({"name": one.name, "count": one.count, "errors": errors})
            continue
        say(f"[bold cyan]{escape(one.name)}[/]  {plural(one.count, 'failure')}, {plural(len(one.errors), 'error')}")
        for error, count in one.errors[:ERRORS_SHOWN]:
            say(f"  {count:>6,}  {escape(shortened(error, ERROR_CHARS_MAX))}")
        if len(one.errors) > ERRORS_SHOWN:
            say(f"          and {len(one.errors) - ERRORS_SHOWN:,} more: --json has them all")
    if not found and not as_json:
        say("nothing has failed")


def _by(text: str) -> Literal["agent", "capability"]:
    if text not in ("agent", "capability"):
        raise BadInput(f"--by {text}: agent or capability is needed.")
    return "agent" if text == "agent" else "capability"


def _print(view: TeamView) -> None:
    from rich.markup import escape  # noqa: PLC0415

    say(
        f"[bold cyan]{escape(view.team)}[/]  {plural(len(view.members), 'agent')}, {view.busy} of "
        f"{plural(view.slots, 'slot')} busy, {view.waiting} waiting, as of {view.position}"
    )
    if view.members:
        rows = [
            (
                f"[bold]{escape(member.member)}[/]",
                f"{member.busy} of {member.slots}",
                _health(member.health),
                span(member.lease_left_ms) if member.lease_left_ms > 0 else "over",
                _took(member.took_ms),
                escape(some(member.capabilities, 3)),
                escape(some(tuple(_run(run) for run in member.runs), 3)) or "-",
            )
            for member in view.members
        ]
        print_table(("agent", "<busy", "health", "<lease left", "<took", "able to do", "runs"), rows, indent=2)
    if view.capabilities:
        queues = [
            (
                escape(queue.capability),
                str(queue.able) if queue.able else "[red]nobody[/]" if queue.waiting else "0",
                str(queue.free),
                str(queue.running),
                str(queue.waiting),
                str(queue.done),
                _took(queue.took_ms),
                str(queue.breaker.failures),
                _breaker(queue.breaker),
            )
            for queue in view.capabilities
        ]
        heads = ("capability", "<agents", "<free", "<running", "<waiting", "<done", "<took", "<failures", "=breaker")
        print_table(heads, queues, indent=2)


def _health(health: str) -> str:
    return {"suspected": "[yellow]suspected[/]", "failed": "[red]failed[/]"}.get(health, health)


def _took(took_ms: int | None) -> str:
    return "-" if took_ms is None else span(took_ms)


def _run(run: RunView) -> str:
    since = "not begun" if run.for_ms is None else span(run.for_ms)
    return f"{run.task}/{run.step} ({since})"


def _breaker(breaker: BreakerView) -> str:
    from rich.markup import escape  # noqa: PLC0415

    match breaker.state:
        case "closed":
            return "closed"
        case "half_open":
            return f"[yellow]half open[/], on trial: {escape(breaker.trial or '-')}"
    if not breaker.left_ms:
        return "[yellow]open[/], the next one is let through"
    return f"[red]open[/] for {span(breaker.left_ms)}" + ", nobody was there" * (breaker.reason == "absent")
