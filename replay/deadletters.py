"""The dead-letter topic, read: each letter once, whatever its writers repeated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from accord.schemas.codec import deadletters_codec
from accord.schemas.messages.deadletters import DeadLetter
from accord.schemas.topics import deadletters_topic

from accord.errors import NotFound
from accord.kafka import bootstrap, bounds, metadata, read, reader
from accord.settings import Settings

IDS_MAX: Final = 1_000_000
"""Ids remembered to tell repeats; beyond it the oldest are forgotten, and a repeat of them shows twice."""


def dead_letters(settings: Settings) -> Iterator[DeadLetter]:
    """The dead letters of a cluster, oldest first, as far as the topic goes when this is called.

    Raises:
        KafkaUnreachable: no broker answers.
        NotFound: there is no dead-letter topic.
        SchemaError: a record of it cannot be decoded.
    """
    topic = deadletters_topic(settings.topics.prefix)
    decode = deadletters_codec().decode
    client = reader(settings.kafka)
    seen: dict[str, None] = {}
    try:
        found = metadata(client, settings.kafka).topics.get(topic)
        if found is None:
            raise NotFound(
                f"{bootstrap(settings.kafka)} has no topic {topic}.", remedy="Create it: accord topics init."
            )
        for partition in sorted(found.partitions):
            for record in read(client, topic, partition, *bounds(client, topic, partition)):
                letter: DeadLetter = decode(record.value)
                if letter.id in seen:
                    continue
                seen[letter.id] = None
                if len(seen) > IDS_MAX:
                    del seen[next(iter(seen))]
                yield letter
    finally:
        client.close()
