"""`accord tx check`: whether all who took part in transactions agree, whether your invariants hold; and the repairs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accord.cli.options import Json, Processes, Source, load, open_log
from accord.cli.output import json_line, plural, say
from accord.cli.sharing import At, now_of, print_table
from accord.errors import BadInput

if TYPE_CHECKING:
    from accord.replay.agreement import Invariant, Problem
    from accord.schemas.messages.transactions import TransactionRepaired

INVARIANTS_MAX = 50
DONE = {"aborted": "aborted", "told": "told the outcome", "nothing": "was in order by then"}


def check(
    source: Source = None,
    at: At = None,
    invariant: Annotated[
        list[str] | None,
        typer.Option(
            "--invariant",
            metavar="MODULE:FUNCTION",
            help="A function of yours that is given what all scopes hold (values by key by scope) and returns what is "
            "wrong with it, or None. Several: again.",
        ),
    ] = None,
    sums: Annotated[
        list[str] | None,
        typer.Option(
            "--sum",
            metavar="SCOPE/KEY=N",
            help="These values add up to N, exactly; * and ? stand for any characters. Several: again.",
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Do what stands under repair; each is recorded on the log.")
    ] = False,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """Hold who took part (scopes, locks, pools, tasks) against the log: outcomes that are mixed, transactions that are
    stuck, participants in doubt; and your invariants. Changes nothing without --repair. Exits with 1 if anything is
    wrong that was not repaired.
    """
    from accord.replay import agreement, transactions  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    if repair and (at is not None or (source is not None and Path(source).exists())):
        raise BadInput("what is past cannot be repaired.", remedy="Name a live cluster, without --at.")
    wanted = _invariants(invariant or (), sums or ())
    with open_log(source) as log:
        point = parse_point(at)
        now_ms = now_of(log) if at is None else None
        problems = agreement.check(log, point, invariants=wanted, now_ms=now_ms, processes=processes)
        count = len(transactions.transactions_at(log, point, processes=processes))
    if as_json and not repair:
        for problem in problems:
            json_line(problem)
    elif not as_json:
        _print(problems, count)
    left = len(problems)
    if repair:
        left = _repaired(source, problems, as_json=as_json)
    elif not as_json and any(problem.repair for problem in problems):
        say("What stands under repair is done with --repair.")
    if left:
        raise typer.Exit(1)


def _print(problems: Sequence[Problem], count: int) -> None:
    from rich.markup import escape  # noqa: PLC0415

    if not problems:
        say(f"[green]all agree[/]: {plural(count, 'transaction')}")
        return
    rows = [
        (
            f"[red]{one.kind}[/]",
            f"[cyan]{escape(one.transaction)}[/]",
            escape(one.description),
            one.repair or "none",
            one.position,
        )
        for one in problems
    ]
    print_table(("=problem", "transaction", "what", "repair", "=position"), rows)
    say(f"{plural(len(problems), 'problem')} in {plural(count, 'transaction')}")


def _repaired(source: str | None, problems: Sequence[Problem], *, as_json: bool) -> int:
    """Repairs what can be. Returns how many problems are left."""
    from rich.markup import escape  # noqa: PLC0415

    from accord import sync  # noqa: PLC0415
    from accord.schemas.messages.transactions import Participant, RepairTransaction  # noqa: PLC0415

    todo = [problem for problem in problems if problem.repair]
    if todo:
        with sync.Accord(settings=load(source)) as hub:
            for problem in todo:
                who = Participant(problem.domain, problem.scope) if problem.scope else None
                command = RepairTransaction(hub.agent, problem.kind, who)
                answer = hub.connection.submit("transactions", problem.transaction, command).decided.result()
                event: TransactionRepaired = answer.events[-1]  # type: ignore[assignment]
                position = str(answer.position)
                if as_json:
                    json_line(_told(problem, event.done, event.outcome, position))
                else:
                    outcome = f", {event.outcome}" if event.tell else ""
                    what = " ".join(filter(None, (problem.transaction, problem.scope)))
                    say(f"[cyan]{escape(what)}[/]  {DONE[event.done]}{outcome}: {position}")
    if as_json:
        for problem in problems:
            if not problem.repair:
                json_line(_told(problem, "", "", problem.position))
    return len(problems) - len(todo)


def _told(problem: Problem, done: str, outcome: str, position: str) -> dict[str, Any]:
    return {
        "kind": problem.kind, "transaction": problem.transaction, "scope": problem.scope,
        "description": problem.description, "done": done, "outcome": outcome, "position": position,
    }  # fmt: skip


# -- invariants


def _invariants(functions: Sequence[str], sums: Sequence[str]) -> list[Invariant]:
    from accord.replay.agreement import sum_of  # noqa: PLC0415

    if len(functions) + len(sums) > INVARIANTS_MAX:
        raise BadInput(f"at most {INVARIANTS_MAX} invariants are checked at once.")
    found = [_function(text) for text in functions]
    for text in sums:
        pattern, is_there, total = text.rpartition("=")
        try:
            found.append(sum_of(pattern, total))
        except ValueError as error:
            raise BadInput(f"--sum {text!r}: {error}.", remedy="As in: --sum 'bank-*/balance=5000'.") from None
        if not is_there or "/" not in pattern:
            raise BadInput(f"--sum {text!r} names no SCOPE/KEY=N.", remedy="As in: --sum 'bank-*/balance=5000'.")
    return found


def _function(text: str) -> Invariant:
    """A function of the user's, by the name of its module; those of this directory are found. An error in it is what is
    wrong."""
    name, _, function = text.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(name), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadInput(f"--invariant {text!r}: {error}.", remedy="As in: --invariant checks:nothing_is_lost.") from None
    if not callable(found):
        raise BadInput(f"--invariant {text!r} is no function.", remedy="As in: --invariant checks:nothing_is_lost.")

    def judged(scopes: Any) -> str | None:
        try:
            wrong = found(scopes)
        except Exception as error:
            return f"{text} raised {type(error).__name__}: {error}"
        return None if wrong is None else str(wrong)

    return judged
