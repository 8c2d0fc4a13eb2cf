"""`accord recover`: what of a broken deployment can go on, and what has to be made anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from accord.cli.options import (
    Bootstrap,
    Domains,
    Json,
    Prefix,
    Processes,
    Source,
    attach_registry,
    load,
    names,
    open_log,
)
from accord.cli.output import json_line, plural, say
from accord.cli.sharing import now_of
from accord.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from accord.fetch import Fetcher
    from accord.replay.orphans import Orphan
    from accord.replay.tables import TableState
    from accord.settings import Settings

WRONG: Final = 1
COLOURS: Final = {"right": "green", "missing": "yellow"}


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="What of a broken deployment can go on, what has to be made anew, what was left over.")
    group.callback(invoke_without_command=True)(recover)
    group.command()(orphans)
    app.add_typer(group, name="recover")


def recover(
    ctx: typer.Context,
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Delete the rows that are wrong. Without it, only tell of them.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="With --apply: the rows of every partition, also of those that are right.")
    ] = False,
    domain: Domains = "",
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Judge the tables and checkpoints of all partitions by the log; have those that are wrong made anew.

    State is a cache of the log: a worker that lost its disk needs nothing but a start. This folds every partition,
    compares with the rows in its changelog, and says which partitions halt, why, and what to do. With --apply, and no
    worker running, wrong rows are deleted: workers then fold those partitions from their events. Nothing of commands
    and events is touched. Exit 0: all is well, or was made so. 1: something is wrong.

        accord recover
    """
    if ctx.invoked_subcommand is not None:
        return
    settings = load(bootstrap, prefix)
    attach_registry(settings)
    judged = _judged(settings, names(domain))
    chosen = [one for one in judged if one.rows and (one.is_of_rows or everything)] if apply else []
    deleted = _delete(settings, chosen) if chosen else {}
    for one in judged:
        if as_json:
            told: dict[str, Any] = {"partition": one.partition, "state": one.state, "text": one.text}
            json_line(told | {"remedy": one.remedy, "behind": one.behind, "deleted": deleted.get(one.partition, 0)})
        else:
            _print(one, deleted.get(one.partition, 0))
    wrong = [one for one in judged if one.state not in COLOURS and one.partition not in deleted]
    if not as_json:
        say(f"{plural(len(judged), 'partition')}, {len(judged) - len(wrong)} of them can go on")
    if wrong or any(one.state == "halted" for one in judged):
        raise typer.Exit(WRONG)


def orphans(
    source: Source = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Send what mends each; every repair is a command on the log.")
    ] = False,
    processes: Processes = 0,
    as_json: Json = False,
) -> None:
    """Find what nobody looks after: locks of agents that were lost, steps and slots whose other side is gone, waits
    that are over, transactions that are stuck, deadlines that nobody served. Changes nothing without --repair. Exits
    with 1 if anything is left.

    Each repair is decided like any other command. Its id begins with "repair-" and the kind, its source is your agent's
    name (ACCORD_AGENT); accord explain shows what it brought, and who asked.
    """
    from accord.replay.orphans import orphans as find  # noqa: PLC0415

    if repair and source is not None and Path(source).exists():
        raise BadInput("what is past cannot be repaired.", remedy="Name a live cluster.")
    settings = load(source if repair else None)
    by = settings.agent or "accord-recover"
    with open_log(source) as log:
        found = find(log, by=by, now_ms=now_of(log), processes=processes)
    if not repair:
        for one in found:
            _tell(one, "", as_json=as_json)
        if not as_json:
            say(f"{plural(len(found), 'orphan')}" + ("; what mends them is done with --repair" if found else ""))
        if found:
            raise typer.Exit(WRONG)
        return
    if found:
        _repair(settings, by, found, as_json=as_json)
    if not as_json:
        say(f"{plural(len(found), 'repair')}")


def _tell(one: Orphan, position: str, *, as_json: bool) -> None:
    if as_json:
        told = {"kind": one.kind, "domain": one.domain, "key": one.key, "description": one.text}
        json_line(told | {"position": position or one.position, "repair": type(one.command).__name__})
        return
    from rich.markup import escape  # noqa: PLC0415

    where = f"[red]{one.kind}[/]  [cyan]{one.domain} {escape(one.key)}[/]"
    say(f"{where}  {escape(one.text)}" + (f": [green]repaired[/] {position}" if position else f" ({one.position})"))


def _repair(settings: Settings, by: str, found: Sequence[Orphan], *, as_json: bool) -> None:
    from uuid_utils import uuid7  # noqa: PLC0415

    from accord import sync  # noqa: PLC0415

    # From the events: an id that says what it is for has no room for an inbox's address.
    settings = settings.model_copy(update={"client": settings.client.model_copy(update={"answers": "events"})})
    with sync.Accord(agent=by, settings=settings) as hub:
        for one in found:
            message_id = f"repair-{one.kind}-{uuid7()}"
            submitted = hub.connection.submit(one.domain, one.key, one.command, message_id=message_id, urgent=True)
            _tell(one, str(submitted.decided.result().position), as_json=as_json)


def _print(one: TableState, deleted: int) -> None:
    from rich.markup import escape  # noqa: PLC0415

    behind = f", {plural(one.behind, 'decision')} behind" if one.behind and one.state == "right" else ""
    say(f"[{COLOURS.get(one.state, 'red')}]{one.state:<8}[/]  [bold]{one.partition}[/]  {escape(one.text)}{behind}")
    if deleted:
        say(f"          deleted {plural(deleted, 'row')}: workers fold it from its events when they start")
    elif one.remedy:
        say(f"          [bold]{escape(one.remedy)}[/]")


def _judged(settings: Settings, domains: tuple[str, ...]) -> list[TableState]:
    """Every partition's table, one after the other."""
    from accord.cli.progress import Watched  # noqa: PLC0415
    from accord.fetch import Fetcher  # noqa: PLC0415
    from accord.replay.source import KafkaSource  # noqa: PLC0415
    from accord.replay.tables import judge  # noqa: PLC0415

    there = _topics(settings)
    reading = Fetcher(settings.kafka)
    try:
        with Watched(KafkaSource(settings.kafka, settings.topics.prefix)) as log:
            return [
                judge(log, *where, _rows(reading, changelog(settings, where[0]), where[1], there))
                for where in log.all_partitions(domains)
            ]
    finally:
        reading.close()


def changelog(settings: Settings, domain: str) -> str:
    """The topic that workers write the rows of a domain's table to."""
    return f"{settings.topics.prefix}.{settings.worker.group}-{domain}-changelog"


def _topics(settings: Settings) -> dict[str, int]:
    """The partition counts of all topics."""
    from accord.kafka import metadata, reader  # noqa: PLC0415

    client = reader(settings.kafka)
    try:
        return {name: len(topic.partitions) for name, topic in metadata(client, settings.kafka).topics.items()}
    finally:
        client.close()


def _rows(reading: Fetcher, topic: str, partition: int, there: dict[str, int]) -> dict[bytes, bytes]:
    """A table's rows as its changelog has them: the newest of each key."""
    rows: dict[bytes, bytes] = {}
    if partition >= there.get(topic, 0):
        return rows
    for record in reading.read(topic, partition, *reading.bounds(topic, partition)):
        if record.key is None:
            continue
        if record.value is None:
            rows.pop(record.key, None)
        else:
            rows[record.key] = record.value
    return rows


def _delete(settings: Settings, chosen: Iterable[TableState]) -> dict[str, int]:
    """Deletes the rows of partitions; returns how many of each.

    The checkpoint goes first: rows without one are nothing to a worker, so cut off anywhere this leaves no table that
    one would take for whole. The changelog is compacted, so rows are deleted as workers do it, by a tombstone each; a
    worker's own copy follows it.
    """
    from accord.admin import Admin  # noqa: PLC0415
    from accord.errors import BadInput, Unavailable  # noqa: PLC0415
    from accord.fetch import Fetcher  # noqa: PLC0415
    from accord.kafka import producer  # noqa: PLC0415
    from accord.streams.checkpoint import CHECKPOINT_KEY  # noqa: PLC0415

    members = Admin(settings).workers()
    if members:
        raise BadInput(
            f"{plural(len(members), 'worker runs', 'workers run')} ({members[0].name}) and would write the rows again.",
            remedy="Stop them, and wait until the group has let go of them (worker.session_timeout_ms).",
        )
    there, failed, deleted = _topics(settings), list[str](), dict[str, int]()
    client = producer(settings.kafka, message_timeout_ms=settings.kafka.connect_timeout_ms)
    reading = Fetcher(settings.kafka)
    try:
        for one in chosen:
            domain, _, number = one.partition.partition("/")
            topic = changelog(settings, domain)
            rows = _rows(reading, topic, int(number), there)
            for key in sorted(rows, key=lambda key: key != CHECKPOINT_KEY):
                client.produce(
                    topic, None, key, int(number),
                    on_delivery=lambda error, _: failed.append(error.str()) if error is not None else None,
                )  # fmt: skip
                client.poll(0)
            if client.flush(settings.kafka.connect_timeout_ms / 1_000 + 1) or failed:
                raise Unavailable(
                    f"{topic}/{number}: {failed[0] if failed else 'not all tombstones were acknowledged'}.",
                    remedy="Run it again.",
                )
            deleted[one.partition] = len(rows)
    finally:
        reading.close()
    return deleted
