"""A log whose cluster was lost: exported, imported into empty topics, cut off on the way; then it goes on."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accord.replay.archive import Archive
from accord.replay.export import export
from accord.replay.source import ArchiveSource, open_source
from accord.replay.state import state_at
from accord.replay.verify import verify
from accord.schemas.headers import Record
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.topics import events_topic
from accord.streams.runtime.worker import EmbeddedWorker
from confluent_kafka.admin import AdminClient

from accord import sync
from accord.admin import Admin, send
from accord.cli.importing import import_archive
from accord.errors import BadInput, ChainBroken, LogGap, TopicMismatch
from accord.kafka import bounds, producer, reader
from accord.settings import Settings
from tests.agents.on_kafka import environment, worker_on
from tests.agents.support import until
from tests.counts import only_long
from tests.histories.play import Play


class CutOff(ArchiveSource):
    """An archive that cannot be read on after so many records of events were taken to be written."""

    after = 0

    def read(self, domain: str, partition: int, start: int, **how: Any) -> Iterator[Record]:
        for record in super().read(domain, partition, start, **how):
            if self.after == 0:
                raise KeyboardInterrupt
            self.after -= 1
            yield record


class Other(ArchiveSource):
    """An archive in which a header differs that no hash covers."""

    def read(self, domain: str, partition: int, start: int, **how: Any) -> Iterator[Record]:
        for record in super().read(domain, partition, start, **how):
            is_other = record.offset == 1 and not how.get("commands")
            yield record._replace(headers=[*record.headers, ("x", b"y")]) if is_other else record  # type: ignore[attr-defined]


def lost(settings: Settings) -> None:
    """Deletes all topics of a prefix."""
    admin: Any = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
    names = [name for name in admin.list_topics(timeout=10).topics if name.startswith(f"{settings.topics.prefix}.")]
    for future in admin.delete_topics(names).values():
        future.result()
    until(lambda: not [n for n in admin.list_topics(timeout=10).topics if n.startswith(f"{settings.topics.prefix}.")])


def test_a_log_goes_on_in_another_cluster(accord_kafka: str, tmp_path: Path) -> None:
    archive = tmp_path / "a.accord"
    with worker_on(accord_kafka, tmp_path / "first", "locks") as settings:
        with sync.Accord(agent="ada", settings=settings) as hub:
            tokens = [hub.lock(f"room_{number % 3}").acquire() for number in range(3)]
            last = max(grant.token for grant in tokens)
            for grant in tokens[1:]:
                grant.release()
        with open_source(settings) as log, pytest.raises(BadInput, match="workers run"):
            export(log, archive)
            import_archive(settings, ArchiveSource(archive))
    export_again(settings, archive)
    _undecided(settings)
    export_again(settings, archive)
    lost(settings)
    until(lambda: not Admin(settings).workers())
    cut = CutOff(archive)
    records = sum(file.records for file in Archive(archive).manifest.files if ".locks.events." in file.topic)
    cut.after = 3 * records - 4 + sum(f.records for f in Archive(archive).manifest.files if ".locks.c" in f.topic) // 2
    with pytest.raises(KeyboardInterrupt):
        import_archive(settings, cut)
    with ArchiveSource(archive) as source:
        done = import_archive(settings, source)
        assert done.there > 0 and done.written > 0 and done.undecided == 1
        again = import_archive(settings, source)
        assert (again.written, again.there) == (0, done.written + done.there)
        with open_source(settings) as imported:
            assert state_at(imported).partitions == state_at(source).partitions
            report = verify(imported)
            assert report.ok and report.undecided == 1 and {gap.reason for gap in report.gaps} == {"retention"}

    with Other(archive) as other, pytest.raises(BadInput, match=r"events.v1/\d is not empty, and holds at offset 1 "):
        import_archive(settings, other)
    _garbage(settings)
    with ArchiveSource(archive) as source, pytest.raises(BadInput, match="is not empty, and holds at offset"):
        import_archive(settings, source)

    worker = EmbeddedWorker(settings.model_copy(update={"worker": _elsewhere(settings, tmp_path)}))
    worker.start()
    try:
        with sync.Accord(agent="bob", settings=settings) as hub:
            assert hub.lock("room_1").acquire().token > last
    finally:
        worker.stop()
    with open_source(settings) as log:
        assert verify(log).ok


def export_again(settings: Settings, archive: Path) -> None:
    for file in archive.glob("*"):
        file.unlink()
    with open_source(settings) as log:
        export(log, archive)


def _elsewhere(settings: Settings, folder: Path) -> Any:
    return settings.worker.model_copy(update={"data_dir": folder / "second"})


def _undecided(settings: Settings) -> None:
    send(settings, "locks", {"room_9": AcquireLock("eve", "eve/1", 5_000, None)}, source="eve")


def _garbage(settings: Settings) -> None:
    client = producer(settings.kafka)
    client.produce(f"{settings.topics.prefix}.locks.commands.v1", b"garbage", b"room_9", 0)
    client.flush(10)


def test_another_cluster_and_other_partitions_are_refused(accord_kafka: str, tmp_path: Path) -> None:
    Play(cluster="elsewhere", locks=2).save(tmp_path / "other.accord")
    settings = Settings.load(
        kafka={"bootstrap_servers": accord_kafka}, topics={"prefix": "never-made", "partitions": 2}
    )
    with pytest.raises(BadInput, match="is the log of cluster elsewhere") as refused:
        import_archive(settings, ArchiveSource(tmp_path / "other.accord"))
    assert refused.value.remedy and "--cluster-id elsewhere" in refused.value.remedy
    cluster, _ = Admin(settings).cluster()
    Play(cluster=cluster, prefix="never-made", locks=3).save(tmp_path / "more.accord")
    with pytest.raises(TopicMismatch, match="3 partitions of locks, settings say 2"):
        import_archive(settings, ArchiveSource(tmp_path / "more.accord"))
    broken = Play(cluster=cluster, prefix="never-made", locks=2)
    for number in range(9):
        broken.send(f"room_{number}", AcquireLock("ada", f"ada/{number}", 5_000, 0))
    del broken.log_events["locks", 1][1]
    broken.save(tmp_path / "broken.accord")
    with pytest.raises(ChainBroken, match="Decision 2 is missing"):
        import_archive(settings, ArchiveSource(tmp_path / "broken.accord"))
    for log in broken.log_events.values():
        del log[1:]
    del broken.log_commands["locks", 0][1]
    broken.save(tmp_path / "holed.accord")
    with pytest.raises(LogGap, match=r"lacks locks.commands/0@1"):
        import_archive(settings, ArchiveSource(tmp_path / "holed.accord"))
    assert not any(status.state == "right" for status in Admin(settings).check()), "nothing was made"


@only_long
def test_killed_in_the_middle_it_goes_on(accord_kafka: str, tmp_path: Path) -> None:
    """kill -9 of `accord events import`, twice; the last run finds what is there, and writes the rest."""
    settings = Settings.load(
        kafka={"bootstrap_servers": accord_kafka}, topics={"prefix": f"killed-{time.time_ns()}", "partitions": 1}
    )
    cluster, _ = Admin(settings).cluster()
    play = Play(cluster=cluster, prefix=settings.topics.prefix, locks=1)
    for number in range(20_000):
        play.send(f"room_{number % 50}", AcquireLock("ada", f"ada/{number}", 5_000, 0), after_ms=1)
    play.save(tmp_path / "a.accord")
    command = [str(Path(sys.executable).with_name("accord")), "events", "import", str(tmp_path / "a.accord")]
    topic = events_topic("locks", settings.topics.prefix)
    client = reader(settings.kafka)
    left = []
    for enough in (1, 8_000):
        process = subprocess.Popen(command, env=environment(settings), stdout=subprocess.DEVNULL)
        while process.poll() is None and _end(client, topic) < enough:
            time.sleep(0.002)
        process.kill()
        process.wait()
        left.append(_end(client, topic))
    client.close()
    assert 0 < left[0] < 20_001, "killed too late to show anything"
    subprocess.run(command, env=environment(settings), stdout=subprocess.DEVNULL, timeout=120, check=True)
    with open_source(settings) as log, ArchiveSource(tmp_path / "a.accord") as source:
        assert state_at(log, domains=("locks",)).partitions == state_at(source).partitions


def _end(client: Any, topic: str) -> int:
    """Where a topic of one partition ends; 0 while it is not there."""
    if topic not in client.list_topics(timeout=10).topics:
        return 0
    return bounds(client, topic, 0)[1]
