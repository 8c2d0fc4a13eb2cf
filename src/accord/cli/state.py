"""`accord state`: what agents share in scopes, what it was before, and who changed it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accord.cli.options import Bootstrap, Json, Prefix, Processes, attach_registry, load, open_log
from accord.cli.output import json_line, plural, say, shortened
from accord.cli.sharing import At, print_table
from accord.errors import BadInput, NotFound

if TYPE_CHECKING:
    from accord.replay.scopes import ChangeView, RefusalView

VALUE_CHARS_MAX = 60

Scope = Annotated[str, typer.Argument(metavar="SCOPE", help="The scope's name, customer_456.")]
Key = Annotated[str | None, typer.Argument(metavar="KEY", help="Only this key of it.", show_default=False)]
Where = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="SOURCE",
        help="The directory of an archive, or the address of a cluster. Without it, the cluster of the settings.",
        show_default=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Shared state: what scopes hold and held, who changed what.")
    group.command("list")(list_scopes)
    group.command("get")(get)
    group.command("history")(history)
    group.command("watch")(watch)
    app.add_typer(group, name="state")


def list_scopes(source: Where = None, at: At = None, processes: Processes = 0, as_json: Json = False) -> None:
    """List the scopes of the log, by name, with how many keys they have and who changed them last."""
    from accord.replay.scopes import scopes_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    with open_log(source) as log:
        found = scopes_at(log, parse_point(at), processes=processes)
    if as_json:
        for summary in found:
            json_line(summary)
        return
    if not found:
        say("there is no scope")
        return
    from rich.markup import escape  # noqa: PLC0415

    rows = [
        (
            f"[cyan]{escape(one.scope)}[/]", str(one.version), str(one.keys), str(one.refused), one.at,
            escape(one.agent),
        )
        for one in found
    ]  # fmt: skip
    print_table(("scope", "<version", "<keys", "<refused", "=changed", "by"), rows)
    say(plural(len(found), "scope"))


def get(
    scope: Scope,
    key: Key = None,
    source: Where = None,
    at: At = None,
    version: Annotated[
        int | None,
        typer.Option("--version", min=1, metavar="N", help="As it was at this version of the scope, however old."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a scope holds, or one of its keys: value, version, who wrote it and when.

    accord state get customer_456 limit --at 2026-03-01T12:00:00Z
    """
    from accord.replay.scopes import scope_at  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    if at is not None and version is not None:
        raise BadInput("--at and --version both say when; give one.")
    with open_log(source) as log:
        found = scope_at(log, scope, parse_point(at), version=version)
    if found is None:
        raise NotFound(f"there is no scope {scope}.", remedy="See: accord state list.", key=scope)
    views = [view for view in found.keys if key in (None, view.key)]
    if key is not None and not views:
        raise NotFound(
            f"{scope} has no key {key} at version {found.version}.",
            remedy=f"What became of it: accord state history {scope} {key}.",
            key=scope,
        )
    if as_json:
        for view in views:
            json_line(view)
        return
    from rich.markup import escape  # noqa: PLC0415

    if key is not None:
        say(escape(json.dumps(views[0].value, ensure_ascii=False)))
        say(f"[dim]version {views[0].version}, {escape(views[0].agent)}, {views[0].at}, {views[0].position}[/]")
        return
    rows = [
        (f"[cyan]{escape(view.key)}[/]", _value(view.value), str(view.version), view.at, escape(view.agent))
        for view in views
    ]
    print_table(("key", "value", "<version", "=at", "by"), rows)
    say(f"{plural(len(views), 'key')} at version {found.version}")


def history(scope: Scope, key: Key = None, source: Where = None, at: At = None, as_json: Json = False) -> None:
    """List all that was done to a scope, or to one of its keys, oldest first; and what was refused, with the reason."""
    from accord.replay.scopes import history_of  # noqa: PLC0415
    from accord.replay.state import parse_point  # noqa: PLC0415

    with open_log(source) as log:
        found = history_of(log, scope, key, parse_point(at))
    if as_json:
        for view in found:
            json_line(view)
        return
    if not found:
        what = scope if key is None else f"{key} of {scope}"
        raise NotFound(f"nothing was ever done to {what}.", remedy="See: accord state list.", key=scope)
    print_table(("<version", "key", "=done", "value", "=at", "by", "=position"), [_row(view) for view in found])


def watch(
    scope: Scope, key: Key = None, bootstrap: Bootstrap = None, prefix: Prefix = None, as_json: Json = False
) -> None:
    """Print what is done to a scope, or to one of its keys, from now on, until Ctrl-C."""
    from accord.replay import tail as live  # noqa: PLC0415
    from accord.replay.scopes import changes_of  # noqa: PLC0415
    from accord.replay.timeline import Filter  # noqa: PLC0415

    settings = load(bootstrap, prefix)
    attach_registry(settings)
    try:
        for found in live.tail(settings, Filter(domains=("state",), key=scope, event="ChangesCommitted")):
            if isinstance(found, live.Notice):
                if not as_json:
                    say(f"[dim]{found.text}[/]")
                continue
            for view in changes_of(found):
                if key in (None, view.key):
                    _say_change(view, as_json=as_json)
    except KeyboardInterrupt:
        return


def _say_change(view: ChangeView, *, as_json: bool) -> None:
    if as_json:
        json_line(view)
        return
    from rich.markup import escape  # noqa: PLC0415

    value = _value(view.value) if view.exists else "[red]deleted[/]"
    say(f"[dim]{view.at[11:-1]}[/]  {view.version}  [cyan]{escape(view.key)}[/]  {value}  {escape(view.agent)}")


def _row(view: ChangeView | RefusalView) -> tuple[str, ...]:
    from rich.markup import escape  # noqa: PLC0415

    from accord.replay.scopes import ChangeView  # noqa: PLC0415

    if not isinstance(view, ChangeView):
        keys = ", ".join(conflict["key"] + "*" * conflict["is_prefix"] for conflict in view.conflicts)
        refused = escape(f"{view.reason}: {view.description}")
        return (
            str(view.version), escape(keys), "[red]refused[/]", refused, view.at, escape(view.agent), view.position
        )  # fmt: skip
    done = view.operation + (f" by {view.rule}" if view.rule else "") + (f" {view.rule_version}" * bool(view.rule))
    value = _value(view.value) if view.exists else "-"
    return (
        str(view.version), f"[cyan]{escape(view.key)}[/]", escape(done.strip()), value, view.at, escape(view.agent),
        view.position,
    )  # fmt: skip


def _value(value: Any) -> str:
    from rich.markup import escape  # noqa: PLC0415

    return escape(shortened(json.dumps(value, ensure_ascii=False), VALUE_CHARS_MAX))
