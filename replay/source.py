"""Where a log is read from: a live cluster or an archive, behind one interface.

A source is fixed when it is opened: it ends where the log ended then, so two readings give the same. It is read
partition by partition, in offset order. Nothing is ever written to it, and no consumer group is joined.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from accord.replay.archive import Archive, is_archive
from accord.schemas.headers import Record
from accord.schemas.position import Position
from accord.schemas.topics import DOMAINS, commands_topic, events_topic
from accord.streams.chain import genesis
from accord.streams.partition import Identity
from confluent_kafka import Consumer

from accord.errors import BadInput, LogGap, NotFound
from accord.fetch import FETCH_BYTES, Fetcher
from accord.kafka import bootstrap, bounds, metadata, reader
from accord.settings import KafkaSettings, Settings

_ADDRESS = re.compile(r"[^\s/]+:\d{1,5}(,[^\s/]+:\d{1,5})*")


class Source(ABC):
    """A log to read.

    `name` is what a person calls it, `cluster` and `prefix` key its chains, `partitions` is the partition count of each
    domain that it holds.
    """

    name: str
    cluster: str
    prefix: str
    partitions: dict[str, int]

    @abstractmethod
    def bounds(self, domain: str, partition: int, *, commands: bool = False) -> tuple[int, int]:
        """First offset and end (one past the last), as they were when the source was opened."""

    @abstractmethod
    def read(
        self, domain: str, partition: int, start: int, *, commands: bool = False, beside: bool = False
    ) -> Iterator[Record]:
        """The records from `start` to the end. `beside`: many such readings are open at the same time.

        Raises:
            LogGap: records from `start` on are no longer in the log.
            KafkaUnreachable: the cluster does not answer.
            ArtifactDamaged: a file is missing or was changed.
        """

    @abstractmethod
    def close(self) -> None:
        """Lets go of connections and files."""

    def finished(self, count: int, total: int) -> None:  # noqa: B027  whoever shows nothing has nothing to do
        """Is told when so many of the partitions that are worked on in other processes are done."""

    def identity(self, domain: str, partition: int) -> Identity:
        return Identity(self.cluster, domain, partition, self.prefix)

    def root(self, domain: str, partition: int) -> bytes:
        """What the chain of a partition starts from."""
        return genesis(self.cluster, events_topic(domain, self.prefix), partition)

    def all_partitions(self, domains: tuple[str, ...] = ()) -> list[tuple[str, int]]:
        """Every partition, of all domains or of those named.

        Raises:
            NotFound: the log has no such domain.
        """
        for domain in domains:
            self._known(domain)
        chosen = [domain for domain in self.partitions if not domains or domain in domains]
        return [(domain, partition) for domain in chosen for partition in range(self.partitions[domain])]

    def events(self, domain: str, partition: int, *, beside: bool = False) -> Iterator[Record]:
        """All records of a partition's events topic, from the first decision.

        Raises:
            LogGap: the events log was cut.
        """
        self.check_whole(domain, partition)
        return self.read(domain, partition, 0, beside=beside)

    def check_whole(self, domain: str, partition: int) -> None:
        """Raises LogGap when a partition's events log does not start at its first decision."""
        low, _ = self.bounds(domain, partition)
        if low > 0:
            at = str(Position(domain, partition, low))
            raise LogGap(
                f"The events of {domain}/{partition} in {self.name} start at offset {low}: what was decided before is "
                f"gone, and nothing can be replayed without it.",
                remedy="Replay an archive that reaches back to offset 0. Events topics must never be cut.",
                position=at,
                offset=0,
            )

    def check_position(self, position: Position) -> None:
        """Raises NotFound when a position lies outside the log; LogGap when it was cut off it."""
        domain, partition, offset, commands = position
        self._known(domain)
        if partition >= self.partitions[domain]:
            raise NotFound(
                f"{position}: {domain} has partitions 0 to {self.partitions[domain] - 1} in {self.name}.",
                position=str(position),
            )
        low, end = self.bounds(domain, partition, commands=commands)
        if offset >= end:
            last = str(position._replace(offset=end - 1)) if end > low else "nothing: the partition has no records"
            raise NotFound(f"{position} is not in {self.name}; it ends with {last}.", position=str(position))
        if offset < low and not commands:
            self.check_whole(domain, partition)

    def _known(self, domain: str) -> None:
        if domain not in self.partitions:
            raise NotFound(f"{self.name} has no domain {domain}; it has {', '.join(self.partitions) or 'none'}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class ArchiveSource(Source):
    """An archive. `timestamps` is whose time its records carry."""

    def __init__(self, path: Path, *, partial: bool = False) -> None:
        self.archive = Archive(path, partial=partial)
        manifest = self.archive.manifest
        self.name = str(path)
        self.cluster, self.prefix = manifest.cluster, manifest.prefix
        self.partitions = {name: manifest.partitions[name] for name in DOMAINS if name in manifest.partitions}

    def bounds(self, domain: str, partition: int, *, commands: bool = False) -> tuple[int, int]:
        return self.archive.bounds(self._topic(domain, commands), partition)

    def read(
        self, domain: str, partition: int, start: int, *, commands: bool = False, beside: bool = False
    ) -> Iterator[Record]:
        return self.archive.read(self._topic(domain, commands), partition, start)

    def close(self) -> None:
        """Nothing is held: files are open only while they are read."""

    def _topic(self, domain: str, commands: bool) -> str:
        return commands_topic(domain, self.prefix) if commands else events_topic(domain, self.prefix)


class KafkaSource(Source):
    """A live cluster.

    Raises:
        KafkaUnreachable: no broker answers.
        NotFound: it has no topics of accord under this prefix.
    """

    def __init__(self, kafka: KafkaSettings, prefix: str = "accord") -> None:
        self.kafka = kafka
        self.name, self.prefix = bootstrap(kafka), prefix
        self._bounds: dict[tuple[str, int], tuple[int, int]] = {}
        self._fetcher: Fetcher | None = None
        client = reader(kafka)
        try:
            self.cluster, self.partitions = self._look(client)
        finally:
            client.close()

    def _look(self, client: Consumer) -> tuple[str, dict[str, int]]:
        found = metadata(client, self.kafka)
        counts: dict[str, int] = {}
        for domain in DOMAINS:
            events, commands = events_topic(domain, self.prefix), commands_topic(domain, self.prefix)
            there = {name: len(found.topics[name].partitions) for name in (events, commands) if name in found.topics}
            if not any(there.values()):
                continue
            counts[domain] = there.get(events) or there[commands]
            for topic, count in there.items():
                for partition in range(count):
                    self._bounds[topic, partition] = bounds(client, topic, partition)
        if not counts:
            raise NotFound(
                f"{self.name} has no topics {self.prefix}.*.", remedy="Another prefix? Create them: accord topics init."
            )
        return str(found.cluster_id), counts

    def bounds(self, domain: str, partition: int, *, commands: bool = False) -> tuple[int, int]:
        topic = self._topic(domain, commands)
        try:
            return self._bounds[topic, partition]
        except KeyError:
            raise LogGap(
                f"{self.name} has no topic {topic}, or no partition {partition} of it, though it has the domain's "
                f"{'events' if commands else 'commands'}: it was deleted.",
                remedy="Replay an archive that was made before.",
            ) from None

    def read(
        self, domain: str, partition: int, start: int, *, commands: bool = False, beside: bool = False
    ) -> Iterator[Record]:
        _, end = self.bounds(domain, partition, commands=commands)
        if self._fetcher is None:
            self._fetcher = Fetcher(self.kafka)
        size = FETCH_BYTES // 16 if beside else FETCH_BYTES
        return self._fetcher.read(self._topic(domain, commands), partition, start, end, fetch_bytes=size)

    def _topic(self, domain: str, commands: bool) -> str:
        return commands_topic(domain, self.prefix) if commands else events_topic(domain, self.prefix)

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which connects by itself."""
        return self.__dict__ | {"_fetcher": None}

    def close(self) -> None:
        fetcher, self._fetcher = self._fetcher, None
        if fetcher is not None:
            fetcher.close()


def open_source(source: str | Path | Settings | Source | None = None, *, partial: bool = False) -> Source:
    """Opens a log.

    Args:
        source: the directory of an archive; the address of a cluster, `host:port`; settings, whose cluster it is;
            None for the cluster of the settings in force.
        partial: take an archive that was never completed, as far as it goes.

    Raises:
        NotFound: there is no such archive, or the cluster has no topics of accord.
        KafkaUnreachable: no broker answers.
        ArtifactDamaged: the archive is not whole.
        BadInput: the text is neither a directory nor an address.
    """
    if isinstance(source, Source):
        return source
    if source is None or isinstance(source, Settings):
        settings = source or Settings.load()
        return KafkaSource(settings.kafka, settings.topics.prefix)
    path = Path(source)
    if isinstance(source, Path) or path.is_dir() or is_archive(path):
        return ArchiveSource(path, partial=partial)
    if _ADDRESS.fullmatch(source):
        settings = Settings.load(kafka={"bootstrap_servers": source})
        return KafkaSource(settings.kafka, settings.topics.prefix)
    if "/" in source or path.suffix:
        raise NotFound(f"There is no archive {source}.")
    raise BadInput(f"{source!r} is neither the directory of an archive nor the address of a cluster, host:port.")
