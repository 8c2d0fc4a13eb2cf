"""Export: any source as an archive.

What is copied is fixed when the export begins and stands in the archive from then on. So one that was cut off goes on
to the same end, however much the log has grown since, and gives the same bytes as one that was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from accord.replay.archive import ArchiveWriter, FileEntry
from accord.replay.cut import cut_at
from accord.replay.source import Source
from accord.replay.state import Cut, Point
from accord.schemas.codec import events_codec
from accord.schemas.messages.log import PartitionOpened
from accord.schemas.position import Position
from accord.schemas.topics import commands_topic, events_topic

from accord.errors import SchemaError


def export(
    source: Source, path: str | Path, *, domains: tuple[str, ...] = (), at: Point | Cut = None, resume: bool = False
) -> int:
    """Copies a log, as far as it goes now or up to a point, into an archive.

    Args:
        domains: only these; all without.
        at: up to here, and in the other partitions up to the consistent cut there (`accord.replay.cut`). Of the
            commands, those that were decided up to it.
        resume: go on with an export that was cut off. It keeps to what it began with: `domains` and `at` of this call
            count only if nothing was begun.

    Returns:
        How many records were copied, by this call.

    Raises:
        BadInput: `path` holds something already, or cannot be gone on with.
        NotFound: the log has no such domain or point.
        LogGap: the log was cut while it was read, or a topic was deleted.
        KafkaUnreachable, ArtifactDamaged: the log cannot be read.
    """
    where = source.all_partitions(domains)
    copied = 0
    with ArchiveWriter(
        path,
        cluster=source.cluster,
        prefix=source.prefix,
        partitions={domain: source.partitions[domain] for domain, _ in where},
        timestamps=_timestamps(source),
        plan=_plan(source, where, at),
        resume=resume,
    ) as out:
        for file in out.plan:
            position = _first_of(file, source.prefix)
            start = out.start(file.topic, file.partition, file.first_offset)
            if start >= file.next_offset:
                continue
            for record in source.read(position.domain, position.partition, start, commands=position.commands):
                if record.offset >= file.next_offset:
                    break
                out.append(file.topic, file.partition, (record,))
                copied += 1
    return copied


def _plan(source: Source, where: Sequence[tuple[str, int]], at: Point | Cut) -> list[FileEntry]:
    """What is going to be copied, file by file."""
    cut = None if at is None else cut_at(source, at, domains=tuple(dict.fromkeys(domain for domain, _ in where)))
    plan = []
    for domain, partition in where:
        for commands in (True, False):
            topic = (commands_topic if commands else events_topic)(domain, source.prefix)
            low, end = source.bounds(domain, partition, commands=commands)
            if cut is not None:
                end = max(low, min(end, cut.end(domain, partition, commands=commands)))
            plan.append(FileEntry(f"{topic}-{partition}.avro", topic, partition, low, end, 0, ""))
    return plan


def _first_of(file: FileEntry, prefix: str) -> Position:
    """Where a file of the plan begins."""
    domain, kind, _ = file.topic.removeprefix(f"{prefix}.").split(".")
    return Position(domain, file.partition, file.first_offset, kind == "commands")


def _timestamps(source: Source) -> str:
    """Whose time the records carry: what the first genesis found says."""
    for domain, partition in source.all_partitions():
        low, _ = source.bounds(domain, partition)
        first = next(iter(source.read(domain, partition, low)), None)
        if first is None:
            continue
        try:
            events = events_codec(domain).decode(first.value)
        except SchemaError:
            continue
        if isinstance(events[0], PartitionOpened):
            return events[0].timestamps
    return "log_append"
