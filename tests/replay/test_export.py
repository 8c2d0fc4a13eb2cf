"""Exports: cut off anywhere and gone on with, the archive is what it would have been; a point is kept to."""

import fcntl
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from accord.replay import archive
from accord.replay.archive import MANIFEST, WRITING, Archive
from accord.replay.export import export
from accord.replay.source import open_source
from accord.replay.state import parse_point, state_at
from accord.replay.verify import verify
from accord.schemas.headers import LogRecord
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.messages.signals import EmitSignal

from accord.errors import BadInput, NotFound
from tests.counts import only_long
from tests.histories.play import Play


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "BLOCK_BYTES", 1_000)


def log(count: int = 60) -> Play:
    play = Play(cluster="saved", locks=2, signals=1)
    for number in range(count):
        play.send(f"room_{number % 5}", AcquireLock("ada", f"ada/{number}", 5_000, 0))
        if number % 4 == 0:
            play.send("hello", EmitSignal("ada", "{}", ()), domain="signals")
    return play


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


class Killed(Play):
    """A log whose reader is killed after so many records."""

    after = 0

    def read(self, *where: object, **how: object) -> Iterator[LogRecord]:
        for record in super().read(*where, **how):  # type: ignore[arg-type]
            if not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            self.after -= 1
            yield record


def export_until(play: Play, path: Path, after: int, *, resume: bool) -> None:
    play.__class__ = Killed
    play.after = after  # type: ignore[attr-defined]
    export(play, path, resume=resume)


def killed_after(play: Play, path: Path, after: int, *, resume: bool = False) -> None:
    """Exports in a process that kills itself after so many records."""
    process = multiprocessing.get_context("fork").Process(
        target=export_until, args=(play, path, after), kwargs={"resume": resume}
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("after", [1, 70, *[pytest.param(after, marks=only_long) for after in (2, 9, 30, 64, 65, 90)]])
def test_killed_in_the_middle_and_gone_on_with_it_is_the_same(after: int, tmp_path: Path) -> None:
    play = log()
    export(play, tmp_path / "whole")
    killed_after(play, tmp_path / "cut", after)
    assert (tmp_path / "cut" / WRITING).exists() and not (tmp_path / "cut" / MANIFEST).exists()
    killed_after(play, tmp_path / "cut", 2, resume=True)
    play.send("room_9", AcquireLock("eve", "eve/1", 5_000, 0))  # the log has grown meanwhile
    export(play, tmp_path / "cut", resume=True)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    with open_source(tmp_path / "cut") as copied:
        assert verify(copied).ok


def test_a_block_that_is_torn_or_no_block_is_written_again(tmp_path: Path) -> None:
    play = log()
    export(play, tmp_path / "whole")
    killed_after(play, tmp_path / "cut", 100)
    torn = max((tmp_path / "cut").glob("*.avro"), key=lambda file: file.stat().st_size)
    content = torn.read_bytes()
    assert len(content) > 2_000
    torn.write_bytes(content[:-700] + bytes(300))
    export(play, tmp_path / "cut", resume=True)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_only_what_is_missing_is_read_again(tmp_path: Path) -> None:
    play = log()
    whole = export(play, tmp_path / "whole")
    killed_after(play, tmp_path / "cut", 100)
    assert 0 < export(play, tmp_path / "cut", resume=True) < whole - 10


def test_resume_where_nothing_was_begun_begins(tmp_path: Path) -> None:
    assert export(log(), tmp_path / "new", resume=True) == export(log(), tmp_path / "whole")
    assert files(tmp_path / "new") == files(tmp_path / "whole")


def test_what_cannot_be_gone_on_with_is_refused(tmp_path: Path) -> None:
    play = log(8)
    export(play, tmp_path / "whole")
    with pytest.raises(BadInput, match="is complete"):
        export(play, tmp_path / "whole", resume=True)
    killed_after(play, tmp_path / "cut", 5)
    with pytest.raises(BadInput, match=r"holds an archive already.*--resume"):
        export(play, tmp_path / "cut")
    other = log(8)
    other.cluster = "elsewhere"
    with pytest.raises(BadInput, match="begun with another log: cluster saved"):
        export(other, tmp_path / "cut", resume=True)


def test_two_at_a_time_are_refused(tmp_path: Path) -> None:
    play = log(8)
    killed_after(play, tmp_path / "cut", 5)
    with (tmp_path / "cut" / WRITING).open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BadInput, match="written by another process"):
            export(play, tmp_path / "cut", resume=True)
    export(play, tmp_path / "cut", resume=True)


def test_up_to_a_point_it_is_a_log_of_its_own(tmp_path: Path) -> None:
    play = log()
    point = parse_point("locks/1@12")
    export(play, tmp_path / "early", at=point)
    with open_source(tmp_path / "early") as early:
        report = verify(early)
        assert report.ok and not report.undecided and not report.gaps
        assert early.bounds("locks", 1) == (0, 13) and early.bounds("locks", 1, commands=True) == (0, 12)
        assert 0 < early.bounds("locks", 0)[1] < play.bounds("locks", 0)[1]
        assert state_at(early, domains=("locks",)).partitions[1] == state_at(play, point).partitions[0]
    with pytest.raises(NotFound):
        export(play, tmp_path / "late", at=parse_point("locks/1@9999"))


def test_some_domains_alone(tmp_path: Path) -> None:
    export(log(8), tmp_path / "some", domains=("signals",))
    assert Archive(tmp_path / "some").manifest.partitions == {"signals": 1}
    with open_source(tmp_path / "some") as some:
        assert verify(some).ok
    with pytest.raises(NotFound, match="no domain tasks"):
        export(log(8), tmp_path / "none", domains=("tasks",))


def test_a_reading_from_an_offset_skips_the_blocks_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play = log()
    export(play, tmp_path / "whole")
    made: list[int] = []
    kind = archive.LogRecord
    monkeypatch.setattr(archive, "LogRecord", lambda *fields: (made.append(fields[0]), kind(*fields))[1])
    with open_source(tmp_path / "whole") as copied:
        _, end = copied.bounds("locks", 0)
        for start in range(end + 1):
            made.clear()
            offsets = [record.offset for record in copied.read("locks", 0, start)]
            assert offsets == list(range(start, end))
            assert not made or start - made[0] < 5, "records of earlier blocks were decoded"
