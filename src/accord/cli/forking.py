"""`accord replay fork`: what would have become of a log with changes, beside what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accord.cli.options import Json, Partial, Source, open_log
from accord.cli.output import event_text, json_line, plural, say

if TYPE_CHECKING:
    from accord.replay.fork.models import Answered, Asked, Gate
    from accord.replay.fork.outcome import Diff, Outcome, Side
    from accord.replay.timeline import TimelineEvent

NOT_ALL = 3
SHOWN_MAX = 20
"""Aggregates and commands that are shown to people; --json has all."""


def fork(
    source: Source = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANGE",
            help="What is changed; may be said several times. POSITION FIELD=VALUE: of one command. DOMAIN[/KEY] "
            "COMMAND FIELD=VALUE: of all commands of a type from the cut on. remove POSITION. insert JSON. "
            "answer REQUEST=TEXT. decider DOMAIN=VERSION. decider DOMAIN=MODULE:NAME.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="POSITION|TIME|EVENT",
            help="The cut: after this decision, or time. Without it, right before the first change.",
            show_default=False,
        ),
    ] = None,
    agents: Annotated[
        str,
        typer.Option(
            metavar="recorded|stop",
            help="What agents sent after they would have known something else: fed all the same, or not at all.",
        ),
    ] = "recorded",
    llm: Annotated[
        str,
        typer.Option(
            metavar="stop|recorded|live|MODULE:NAME",
            help="A question to a model that no record answers: end there, leave it unanswered, ask the model of the "
            "settings, or a function.",
        ),
    ] = "stop",
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For --llm live: the questions that may be asked, a JSON object a line: model, prompt, and where they "
            "had them instructions, max_tokens, parameters. A log has no more of a question than its hash.",
            show_default=False,
        ),
    ] = None,
    run_on: Annotated[
        int, typer.Option("--run-on", min=0, metavar="MS", help="So much time passes after the end of the record.")
    ] = 0,
    save: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Save the fork as an archive, in a new directory.", show_default=False),
    ] = None,
    partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Change something and decide the rest of the log anew; show what differs, with cost and time beside the original.

    Nothing is written to the log, and nothing outside is called: no handler, no service; a model only with --llm live.
    Exit 3: it ended early, at a question that nothing answers.

        accord replay fork hotel.accord --change "locks.commands/0@1 wait_ms=0"
    """
    from accord.cli.progress import Watched  # noqa: PLC0415
    from accord.replay.fork.changes import load  # noqa: PLC0415
    from accord.replay.fork.fork import Fork  # noqa: PLC0415

    answers: Any = llm if llm in ("stop", "recorded", "live") else load(llm)
    gate = _gate(questions) if llm == "live" else None
    with Watched(open_log(source, partial=partial)) as log:
        found = Fork(log, at, change or ()).run(
            llm=answers, agents=agents, gate=gate, run_on_ms=run_on, save=save,  # type: ignore[arg-type]  # it checks
        )  # fmt: skip
    if as_json:
        json_line(found)
    else:
        _print(found)
    if found.stopped is not None:
        raise typer.Exit(NOT_ALL)


def _gate(questions: Path | None) -> Gate:
    """The way to the model of the settings, for these questions and no others."""
    import asyncio  # noqa: PLC0415
    import time  # noqa: PLC0415

    import msgspec  # noqa: PLC0415

    from accord.agents.llm.model import Model  # noqa: PLC0415
    from accord.agents.llm.question import Question, checked  # noqa: PLC0415
    from accord.cli.options import load as settings  # noqa: PLC0415
    from accord.errors import BadInput  # noqa: PLC0415
    from accord.replay.fork.models import Answered, Gate  # noqa: PLC0415

    if questions is None:
        raise BadInput("--llm live needs --questions FILE: a log has hashes of questions, not their text.")
    llm = settings().llm
    known: dict[str, Question] = {}
    try:
        for line in questions.read_bytes().splitlines():
            told = msgspec.json.decode(line, type=dict[str, Any])
            asks: dict[str, Any] = {
                "model": llm.model,
                "instructions": "",
                "max_tokens": llm.max_tokens,
                "parameters": None,
            } | told
            question = checked(**asks)
            known[question.hash] = question
    except (OSError, msgspec.DecodeError, TypeError) as error:
        raise BadInput(f"{questions}: {error}.") from error

    async def ask(question: Question) -> Answered:
        began_s = time.monotonic()
        async with Model(llm.model_copy(update={"model": question.model})) as model:
            reply = await model.ask(
                question.prompt, instructions=question.instructions, max_tokens=question.max_tokens,
                parameters=question.parameters,
            )  # fmt: skip
        took_ms = round((time.monotonic() - began_s) * 1_000)
        return Answered(reply.text, reply.model, reply.input_tokens, reply.output_tokens, reply.cost_microusd, took_ms)

    def answered(asked: Asked) -> Answered | None:
        question = known.get(asked.request)
        return None if question is None else asyncio.run(ask(question))

    return Gate(answered)


def _print(found: Diff) -> None:
    from rich.markup import escape  # noqa: PLC0415

    changes = "; ".join(found.changes) or "nothing changed"
    say(f"after [bold]{found.at}[/], with {escape(changes)}")
    for outcome in found.outcomes[:SHOWN_MAX]:
        _print_outcome(outcome)
    untold = found.untold + max(0, len(found.outcomes) - SHOWN_MAX) + max(0, _told_count(found) - SHOWN_MAX)
    for one in found.agents:
        behind = " and ".join(place for place in (one.recorded, one.forked and f"{one.forked} of the fork") if place)
        say(f"[bold]{escape(one.agent)}[/] would have known something else from {one.position} on: {behind}")
    for fed in [one for one in found.commands if one.status != "alike"][:SHOWN_MAX]:
        became = f"{fed.recorded} -> {fed.forked}" if fed.forked else f"not fed; it was {fed.recorded}"
        say(f"  {fed.position}  {escape(fed.agent)}  {fed.command} {escape(fed.key)}  {fed.status}: {became}")
    for question in found.questions:
        asked = question.asked
        say(f"  {question.position}  {escape(asked.agent)} asks {escape(asked.model)}: answer {question.answer}")
    if untold:
        say(f"and {untold:,} more: --json has them")
    _print_sides(found.recorded, found.forked)
    say(
        f"{plural(found.fed, 'command')} of agents: {found.affected:,} affected, {found.refused:,} refused, "
        f"{found.not_fed:,} not fed"
    )
    if found.stopped is not None:
        say(f"[bold yellow]stopped[/] at {escape(found.stopped)}")
    if found.saved is not None:
        say(f"saved in {escape(found.saved)}")
    say("[bold green]the same[/], byte for byte" if found.same else f"[bold]{_counted(found)}[/]")


def _told_count(found: Diff) -> int:
    return sum(one.status != "alike" for one in found.commands)


def _counted(found: Diff) -> str:
    count = len(found.outcomes)
    return (
        "differs in nothing but numbers"
        if not count
        else f"{plural(count, 'aggregate')} " + ("differs" if count == 1 else "differ")
    )


def _print_outcome(outcome: Outcome) -> None:
    from rich.markup import escape  # noqa: PLC0415

    from accord.cli.stepping import print_changes  # noqa: PLC0415

    marks = {"added": "[green]+[/]", "removed": "[red]-[/]", "changed": "[yellow]~[/]"}
    say(f"{marks[outcome.kind]} {outcome.domain} [bold cyan]{escape(outcome.key)}[/]")
    for sign, colour, events, count in (
        ("-", "red", outcome.recorded, outcome.recorded_count),
        ("+", "green", outcome.forked, outcome.forked_count),
    ):
        for event in events[:SHOWN_MAX]:
            say(f"    [{colour}]{sign}[/] {_event(event)}")
        if count > SHOWN_MAX:
            say(f"    [{colour}]{sign}[/] and {plural(count - SHOWN_MAX, 'more event')}")
    print_changes(outcome.changes)


def _event(event: TimelineEvent) -> str:
    from rich.markup import escape  # noqa: PLC0415

    at = (event.time or "")[11:-1]
    return escape(f"{at}  {event.position}  {event.agent or '-'}  {event.event}  {event_text(event.data)}".rstrip())


def _print_sides(recorded: Side, forked: Side) -> None:
    from rich.table import Table  # noqa: PLC0415

    from accord.cli.output import console  # noqa: PLC0415

    table = Table(box=None, padding=(0, 2), pad_edge=False)
    for name in ("", "record", "fork", "difference"):
        table.add_column(name, justify="left" if not name else "right")
    rows = [("decisions", "decisions", 1, 0), ("events", "events", 1, 0), ("seconds", "duration_ms", 1_000, 3)]
    if recorded.calls or forked.calls or recorded.cached or forked.cached:
        rows += [
            ("calls of models", "calls", 1, 0), ("answers reused", "cached", 1, 0),
            ("tokens in", "input_tokens", 1, 0), ("tokens out", "output_tokens", 1, 0),
            ("cost, USD", "cost_microusd", 1_000_000, 6), ("calls without a price", "unpriced", 1, 0),
        ]  # fmt: skip
    for name, field, unit, digits in rows:
        one, other = getattr(recorded, field) / unit, getattr(forked, field) / unit
        table.add_row(name, f"{one:,.{digits}f}", f"{other:,.{digits}f}", f"{other - one:+,.{digits}f}")
    console().print(table, soft_wrap=False)
