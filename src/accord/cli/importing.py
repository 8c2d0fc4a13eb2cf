"""An archive into an empty cluster: for a log whose cluster was lost, and may go on where it was.

Rules:
- Offsets and hashes stay what they were, so the cluster must have the id of the lost one, and topics that never held
  anything else. Nothing of a log is ever overwritten: what is there must be what the archive has, from the start.
- Nothing is written before the whole archive was read: its checksums, its chains, no holes.
- Cut off anywhere and run again, it goes on: what is there is compared, the rest is written. In the end all that was
  written is read back and compared.
- A command's time is the broker's, which no import can give again: so commands that were decided stay in the archive.
  In their topic their offsets are taken by empty records, which are deleted; those that were not decided are sent again
  as they are, and get a new time.
- No worker may run meanwhile. Another writer shows by the offsets that the log reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from accord.admin import Admin
from accord.errors import BadInput, LogGap, TopicMismatch, Unavailable
from accord.fetch import Fetcher
from accord.kafka import bootstrap, client_config, producer
from accord.replay.source import Source
from accord.replay.state import accepted
from accord.schemas.headers import LogRecord, Record
from accord.schemas.position import Position
from accord.schemas.topics import commands_topic, events_topic
from accord.settings import Settings

IN_FLIGHT_MAX: Final = 10_000
"""Records that the log has not acknowledged yet; more wait."""
TELL_EVERY: Final = 1_000

Tell = Callable[[str], None]


class Imported(msgspec.Struct, frozen=True):
    """What came of an import. `written` records were written by this call, `there` were there already; `undecided` of
    them are commands that workers decide when they start."""

    cluster: str
    prefix: str
    partitions: int
    decisions: int
    written: int
    there: int
    undecided: int


def import_archive(settings: Settings, archive: Source, tell: Tell = lambda _: None) -> Imported:
    """Writes an archive into a cluster.

    Args:
        settings: whose cluster it is; prefix and partitions must be the archive's.
        tell: is told how far it is.

    Raises:
        BadInput: it is another cluster, a worker runs, or the topics hold something else.
        TopicMismatch: topics differ from the archive's.
        ChainBroken, LogGap, ArtifactDamaged: the archive is damaged; nothing was written.
        Unavailable: the broker refused a record, or another writer was met.
    """
    admin = Admin(settings)
    _check_cluster(admin, settings, archive)
    ends = {where: _head(archive, *where) for where in archive.all_partitions()}
    admin.init()
    counts = [_Partition(settings, archive, *where, ends[where], tell) for where in ends]
    try:
        for partition in counts:
            partition.run()
    finally:
        for partition in counts:
            partition.close()
    return Imported(
        archive.cluster,
        archive.prefix,
        len(counts),
        sum(partition.decisions for partition in counts),
        sum(partition.written for partition in counts),
        sum(partition.there for partition in counts),
        sum(partition.undecided for partition in counts),
    )


def _check_cluster(admin: Admin, settings: Settings, archive: Source) -> None:
    cluster, _ = admin.cluster()
    if cluster != archive.cluster:
        raise BadInput(
            f"{archive.name} is the log of cluster {archive.cluster}, and {bootstrap(settings.kafka)} is {cluster}: "
            "its hashes hold for that id alone.",
            remedy=f"Format a new cluster with the id: kafka-storage.sh format --cluster-id {archive.cluster} ...",
        )
    wanted = settings.topics.partitions
    for domain, count in archive.partitions.items():
        if count != wanted:
            raise TopicMismatch(
                f"{archive.name} has {count} partitions of {domain}, settings say {wanted}.",
                remedy=f"Set ACCORD_TOPICS__PARTITIONS={count}.",
            )
    members = admin.workers()
    if members:
        raise BadInput(
            f"{len(members)} workers run on {bootstrap(settings.kafka)} ({members[0].name}).", remedy="Stop them first."
        )


def _head(archive: Source, domain: str, number: int) -> tuple[int, int]:
    """The count of a partition's decisions, whose chain is checked, and the offset of the last command decided."""
    seq, position = 0, -1
    for decision in accepted(archive, domain, number):
        seq, position = decision.seq, decision.cause
    _check_whole(archive, domain, number, 0)
    _check_whole(archive, domain, number, position + 1, commands=True)
    return seq, max(-1, position)


def _check_whole(archive: Source, domain: str, number: int, start: int, *, commands: bool = False) -> None:
    """Offsets must follow each other: a topic cannot be given holes."""
    low, end = archive.bounds(domain, number, commands=commands)
    expected = start
    if low > start and end > start:
        raise _hole(archive, Position(domain, number, start, commands))
    for record in archive.read(domain, number, start, commands=commands):
        if record.offset != expected:
            raise _hole(archive, Position(domain, number, expected, commands))
        expected += 1


def _hole(archive: Source, at: Position) -> LogGap:
    return LogGap(f"{archive.name} lacks {at}.", remedy="Import an archive that has it.", position=str(at))


class _Partition:
    """One partition's two topics."""

    def __init__(
        self, settings: Settings, archive: Source, domain: str, number: int, head: tuple[int, int], tell: Tell
    ) -> None:
        self.decisions, self._position = head
        self.written = self.there = self.undecided = 0
        self._archive, self._domain, self._number, self._tell = archive, domain, number, tell
        self._settings = settings
        self._log = Fetcher(settings.kafka)

    def run(self) -> None:
        self._events()
        self._commands()

    def close(self) -> None:
        self._log.close()

    def _events(self) -> None:
        topic = events_topic(self._domain, self._archive.prefix)
        _, end = self._archive.bounds(self._domain, self._number)
        start = self._same(topic, 0, end, 0)
        self._write(topic, start, self._archive.read(self._domain, self._number, start))
        self._same(topic, 0, end, end)
        self.there += start

    def _commands(self) -> None:
        topic = commands_topic(self._domain, self._archive.prefix)
        first = self._position + 1
        _, end = self._archive.bounds(self._domain, self._number, commands=True)
        end = max(end, first)
        low, there = self._log.bounds(topic, self._number)
        self._check_empty(topic, low, min(there, first))
        start = there
        if there < first:
            self._write(topic, there, (_EMPTY for _ in range(first - there)), counted=False)
            start = first
        if low < first:
            self._delete(topic, first)
        start = max(start, self._same(topic, first, end, first))
        rest = self._archive.read(self._domain, self._number, start, commands=True)
        self._write(topic, start, (record for record in rest if record.offset < end))
        self._same(topic, first, end, end)
        self.there += start - first
        self.undecided = end - first

    def _check_empty(self, topic: str, low: int, end: int) -> None:
        """What lies before the first undecided command must be what an import put there."""
        for record in self._log.read(topic, self._number, low, end):
            if _plain(record) != _plain(_EMPTY):
                raise self._other(topic, record.offset)

    def _same(self, topic: str, first: int, end: int, at_least: int) -> int:
        """Compares what is in a topic with the archive; returns where it ends.

        Args:
            first: where to begin.
            end: where the archive ends.
            at_least: how far the topic must go.
        """
        commands = topic == commands_topic(self._domain, self._archive.prefix)
        low, there = self._log.bounds(topic, self._number)
        if low > first or there > end:
            raise self._other(topic, end if there > end else low)
        ours = self._archive.read(self._domain, self._number, first, commands=commands)
        for record in self._log.read(topic, self._number, first, there):
            self._tell(f"{topic}/{self._number}: {record.offset:,} compared")
            if _plain(record) != _plain(next(ours)):
                raise self._other(topic, record.offset)
        if there < at_least:
            raise Unavailable(f"{topic}/{self._number} ends at offset {there}, though {at_least} were acknowledged.")
        return there

    def _other(self, topic: str, offset: int) -> BadInput:
        return BadInput(
            f"{topic}/{self._number} is not empty, and holds at offset {offset} what {self._archive.name} does not "
            "have there. Nothing of it was changed.",
            remedy="Import into topics that never held anything: another cluster of that id.",
        )

    def _write(self, topic: str, start: int, records: Iterable[Record], *, counted: bool = True) -> None:
        """Appends records, and checks that each lies at its offset.

        Args:
            counted: whether they are the archive's.
        """
        failed: list[str] = []
        expected = iter(range(start, 1 << 62))

        def report(error: KafkaError | None, message: Any) -> None:
            should = next(expected)
            if error is not None:
                failed.append(error.str())
            elif message.offset() != should:
                failed.append(f"a record landed at offset {message.offset()} instead of {should}: somebody else writes")

        client: Any = producer(
            self._settings.kafka, message_timeout_ms=self._settings.kafka.connect_timeout_ms, linger_ms=5
        )
        for count, record in enumerate(records):
            headers = [(name, value) for name, value in record.headers]
            client.produce(topic, record.value, record.key, self._number, headers=headers, on_delivery=report)
            self.written += counted
            while len(client) >= IN_FLIGHT_MAX:
                client.poll(0.05)
            if count % TELL_EVERY == 0:
                client.poll(0)
                self._tell(f"{topic}/{self._number}: {count:,} written")
            if failed:
                break
        unsent = client.flush(self._settings.kafka.connect_timeout_ms / 1_000 + 1)
        if failed or unsent:
            raise Unavailable(
                f"{topic}/{self._number}: {failed[0] if failed else f'{unsent} records were not acknowledged'}.",
                remedy="Run it again: it goes on where it was.",
            )

    def _delete(self, topic: str, before: int) -> None:
        """Deletes the empty records."""
        client: Any = AdminClient(client_config(self._settings.kafka))
        where = TopicPartition(topic, self._number, before)
        try:
            for future in client.delete_records([where]).values():
                future.result()
        except KafkaException as error:
            raise Unavailable(
                f"{topic}/{self._number}: its records before offset {before} cannot be deleted: {error.args[0].str()}."
            ) from error


_EMPTY: Final = LogRecord(-1, 0, 0, None, None, [("accord-imported", b"")])
"""What takes the offset of a command that was decided."""


def _plain(record: Record) -> tuple[bytes | None, bytes | None, dict[str, bytes]]:
    """What an archive keeps of a record but its place and time."""
    return record.key, record.value, {name: value or b"" for name, value in record.headers}
