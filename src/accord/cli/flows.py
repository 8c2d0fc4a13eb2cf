"""`accord flows`: runs the flows of a module, and shows what the log has of flows."""

from __future__ import annotations

import asyncio
import importlib
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from accord import logs
from accord.cli.options import Bootstrap, Errors, Json, Prefix, Processes, Source, load, log_chosen, open_log
from accord.cli.output import json_line, plural, say, shortened
from accord.cli.sharing import At, print_table, some
from accord.errors import AccordError, BadInput, NotFound

if TYPE_CHECKING:
    from accord.replay.flows import FlowView
    from accord.settings import Settings
    from accord.streams.flows.flow import Flow

logger = logs.get("accord.flows")

WHAT_CHARS_MAX: Final = 80
DATA_CHARS_MAX: Final = 120


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Flows: run them, see what they are and what they have emitted.")
    group.command()(run)
    group.command("list")(list_flows)
    group.command()(show)
    app.add_typer(group, name="flows")


def run(
    module: Annotated[
        str, typer.Argument(metavar="MODULE", help="Whose flows: a module that Python can import here, as shop.flows.")
    ],
    group: Annotated[
        str | None,
        typer.Option(help="Name of those who share these flows. Without it, the module's.", show_default=False),
    ] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    errors: Errors = False,
) -> None:
    """Run the flows of a module until Ctrl-C or SIGTERM. Start it several times: the processes share the flows.

    accord flows run shop.flows
    """
    flows = flows_of(module)
    settings = load(bootstrap, prefix, log=log_chosen(errors))
    logs.show(settings)
    raise typer.Exit(asyncio.run(_run(settings, flows, group or re.sub(r"[^A-Za-z0-9._-]", "_", module)[:100])))


def flows_of(name: str) -> list[Flow]:
    """The flows that a module has in variables of its own.

    Raises:
        BadInput: it cannot be imported, or has none with an `emit`.
    """
    from accord.streams.flows.flow import Flow  # noqa: PLC0415

    if str(Path.cwd()) not in sys.path:  # as `python -m` does
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise BadInput(f"module {name} cannot be imported: {type(error).__name__}: {error}.") from error
    found = [value for value in vars(module).values() if isinstance(value, Flow) and value.event]
    if not found:
        raise BadInput(f"module {name} has no flow with an emit().", remedy="See docs/flows.md.")
    return list({id(value): value for value in found}.values())


async def _run(settings: Settings, flows: list[Flow], group: str) -> int:
    from accord.agents.client import Accord  # noqa: PLC0415
    from accord.flows import running  # noqa: PLC0415

    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with Accord(settings=settings) as hub, running(hub, *flows, group=group) as work:
        logger.info("flows ready", flows=[flow.name for flow in flows], here=list(work.here), group=group)
        failed = asyncio.ensure_future(work.failed())
        stopped = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not failed.done():
            failed.cancel()
            logger.info("flows stopping")
            return next((error.exit_code for error in work.failures.values()), 0)
        error = failed.result()
        logger.error("flows failed", why=f"{type(error).__name__}: {error}")
        return error.exit_code if isinstance(error, AccordError) else 1


def list_flows(source: Source = None, at: At = None, processes: Processes = 0, as_json: Json = False) -> None:
    """List the flows that have begun on the log, by name, with how much they have emitted."""
    from accord.replay.flows import flows_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    with open_log(source) as log:
        found = flows_at(log, parse_point(at), processes=processes)
    if as_json:
        for view in found:
            json_line(view)
    elif found:
        print_table(("name", "emits", "<results", "=last", "what"), map(_row, found))
        say(plural(len({view.name for view in found}), "flow"))
    else:
        say("there is no flow")


def _row(view: FlowView) -> tuple[str, ...]:
    from rich.markup import escape  # noqa: PLC0415

    return (
        f"[cyan]{escape(view.name)}[/]",
        escape(view.event),
        str(view.results),
        view.last_at or "-",
        escape(shortened(view.what, WHAT_CHARS_MAX)),
    )


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The flow's name.")],
    source: Source = None,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Show a flow: what it is, where it began, and its last results with the events that they come of."""
    from accord.replay.flows import flow_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    with open_log(source) as log:
        found = flow_at(log, name, parse_point(at))
    if not found:
        raise NotFound(f"there is no flow {name}.", remedy="See: accord flows list.", key=name)
    if as_json:
        for view in found:
            json_line(view)
        return
    from rich.markup import escape  # noqa: PLC0415

    for view in found:
        say(f"[bold cyan]{escape(view.name)}[/] emits {escape(view.event)}: {escape(view.what)}")
        say(
            f"  begun by {escape(view.agent)} at {view.begun_at}, takes events from {some(view.began)}; "
            f"{plural(view.results, 'result')}"
        )
        rows = [
            (f"[bold]{one.number}[/]", one.at, one.position, escape(shortened(_text(one.data), DATA_CHARS_MAX)))
            for one in view.recent
        ]
        if rows:
            print_table(("<number", "=at", "=position", "data"), rows, indent=2)


def _text(data: object) -> str:
    import msgspec  # noqa: PLC0415

    return msgspec.json.encode(data).decode()
