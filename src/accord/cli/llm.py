"""`accord llm`: what calls of language models came to, and the answers that the log keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Bootstrap, Json, Prefix, Processes, Source, load, open_log
from accord.cli.output import json_line, plural, say, shortened
from accord.cli.sharing import At, print_table, span
from accord.errors import BadInput, NotFound

if TYPE_CHECKING:
    from accord.replay.llm import Bill, CallView

CALLS_SHOWN_MAX = 20
TEXT_CHARS_MAX = 2_000

Hash = Annotated[str, typer.Argument(metavar="HASH", help="The request's hash, as Reply.request has it.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Language models: what calls cost, and the answers that are kept.")
    group.command("costs")(show_costs)
    group.command()(show)
    group.command()(forget)
    app.add_typer(group, name="llm")


def show_costs(
    source: Source = None,
    by: Annotated[str, typer.Option("--by", metavar="agent|model|task", help="What to add up by.")] = "agent",
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """Add up all calls: how many, how many answers cost none, tokens, money by the prices known when they were made.

    lost are calls that were begun by a process which was not heard of again: what they cost is not known.
    """
    from accord.replay.llm import BY, costs, total  # noqa: PLC0415

    if by not in BY:
        raise BadInput(f"--by {by}: costs are added up by {', '.join(BY)}.")
    with open_log(source) as log:
        bills = costs(log, by, processes=processes)
    if as_json:
        for bill in bills:
            json_line(bill)
        return
    if not bills:
        say("no model was called")
        return
    rows = [_row(bill, bill.name or "-") for bill in bills]
    if len(bills) > 1:
        rows.append(_row(total(bills), "[bold]total[/]", markup=True))
    heads = ("<calls", "<cached", "<failed", "<lost", "<tokens in", "<tokens out", "<cost", "<saved")
    print_table((by, *heads), rows)


def _row(bill: Bill, name: str, *, markup: bool = False) -> tuple[str, ...]:
    from rich.markup import escape  # noqa: PLC0415

    counts = (bill.calls, bill.cached, bill.failed, bill.lost, bill.input_tokens, bill.output_tokens)
    unknown = f" and {bill.unpriced:,} unknown" if bill.unpriced else ""
    known = usd(bill.cost_microusd) if bill.calls > bill.unpriced or not bill.calls else ""
    cost = f"{known}{unknown}" if known else f"{bill.unpriced:,} unknown"
    return (
        name if markup else f"[cyan]{escape(name)}[/]",
        *[f"{count:,}" for count in counts],
        cost,
        usd(bill.saved_microusd),
    )


def show(request: Hash, source: Source = None, at: At = None, as_json: Json = False) -> None:
    """Show a request: the answer that was recorded last, whether it is reused, and the calls that were made.

    Exit 4: nobody has asked this.
    """
    from rich.markup import escape  # noqa: PLC0415

    from accord.replay.llm import request_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    with open_log(source) as log:
        view = request_at(log, request, parse_point(at))
    if as_json:
        json_line(view)
        return
    kept = f"kept until {view.until}" if view.kept else "no answer is kept"
    say(f"[bold cyan]{request}[/]  {escape(view.model)}, {kept}, as of {view.position}")
    say(f"  {plural(len(view.calls), 'call')}, {plural(view.cached, 'answer')} without one")
    if view.caller is not None:
        say(f"  [bold]{escape(view.caller)}[/] asks it now, {view.waiting} wait for that")
    if len(view.calls) > CALLS_SHOWN_MAX:
        say(f"  the last {CALLS_SHOWN_MAX}:")
    rows = [_call_row(call) for call in view.calls[-CALLS_SHOWN_MAX:]]
    if rows:
        heads = ("=time", "agent", "task", "=outcome", "<tokens in", "<tokens out", "<cost", "<took", "<tries", "error")
        print_table(heads, rows, indent=2)
    if view.text is not None:
        say(f"  {escape(shortened(view.text, TEXT_CHARS_MAX))}")


def _call_row(call: CallView) -> tuple[str, ...]:
    from rich.markup import escape  # noqa: PLC0415

    return (
        call.time,
        escape(call.agent),
        escape(f"{call.task}/{call.step}".rstrip("/")) or "-",
        call.outcome,
        f"{call.input_tokens:,}",
        f"{call.output_tokens:,}",
        "unknown" if call.cost_microusd is None else usd(call.cost_microusd),
        span(call.duration_ms),
        str(call.tries),
        escape(call.error),
    )


def forget(request: Hash, bootstrap: Bootstrap = None, prefix: Prefix = None, as_json: Json = False) -> None:
    """Have an answer forgotten, on record: the next who asks this calls the model.

    An answer that the model is being asked for now will not be kept either. Exit 4: there is neither.
    """
    from accord import sync  # noqa: PLC0415
    from accord.schemas.messages.llm import AnswerForgotten, ForgetAnswer, LeaseEnded  # noqa: PLC0415

    with sync.Accord(settings=load(bootstrap, prefix)) as hub:
        answer = hub.connection.submit("llm", request, ForgetAnswer(hub.agent)).decided.result()
    kept = any(isinstance(event, AnswerForgotten) and event.was_kept for event in answer.events)
    if not kept and not any(isinstance(event, LeaseEnded) for event in answer.events):
        raise NotFound(f"{request}: no answer was kept.", key=request, position=str(answer.position))
    if as_json:
        json_line({"request": request, "forgotten": True, "position": str(answer.position)})
    else:
        say(f"forgot the answer to {request}: {answer.position}")


def usd(microusd: int) -> str:
    return f"${microusd / 1_000_000:,.4f}"
