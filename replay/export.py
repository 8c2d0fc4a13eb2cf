"""Export: any source as an archive."""

from __future__ import annotations

from pathlib import Path

from accord.replay.archive import ArchiveWriter
from accord.replay.source import Source
from accord.schemas.codec import events_codec
from accord.schemas.messages.log import PartitionOpened
from accord.schemas.topics import commands_topic, events_topic

from accord.errors import SchemaError


def export(source: Source, path: str | Path) -> int:
    """Copies a log, as far as it goes now, into an archive.

    Returns:
        How many records were copied.

    Raises:
        BadInput: `path` holds something already.
        LogGap: the log was cut while it was read, or a topic was deleted.
        KafkaUnreachable, ArtifactDamaged: the log cannot be read.
    """
    copied = 0
    with ArchiveWriter(
        path,
        cluster=source.cluster,
        prefix=source.prefix,
        partitions=source.partitions,
        timestamps=_timestamps(source),
    ) as out:
        for domain, partition in source.all_partitions():
            for commands, topic in ((True, commands_topic), (False, events_topic)):
                name = topic(domain, source.prefix)
                low, _ = source.bounds(domain, partition, commands=commands)
                out.start(name, partition, low)
                for record in source.read(domain, partition, low, commands=commands):
                    out.append(name, partition, (record,))
                    copied += 1
    return copied


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
