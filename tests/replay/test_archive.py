"""Archives: what is written is read, what is damaged is named, what is torn is refused or read as far as it goes."""

from pathlib import Path

import pytest
from accord.replay.archive import BLOCK_BYTES, MANIFEST, Archive, ArchiveWriter
from accord.schemas.headers import LogRecord

from accord.errors import ArtifactDamaged, BadInput, NotFound

TOPIC = "accord.locks.events.v1"


def record(offset: int, value: bytes | None = b"value") -> LogRecord:
    return LogRecord(offset, 1_000 + offset, 1, b"room", value, [("ce_id", b"x%d" % offset), ("empty", b"")])


def writer(path: Path, *, replace: bool = False) -> ArchiveWriter:
    return ArchiveWriter(path, cluster="c", partitions={"locks": 2}, timestamps="create", replace=replace)


def plain(records: object) -> list[tuple[object, ...]]:
    return [(*r[:5], list(r.headers)) for r in records]  # type: ignore[attr-defined]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    records = [record(3), record(5, None), record(9, b"")]
    with writer(tmp_path / "a") as out:
        out.append(TOPIC, 1, records[:1])
        out.append(TOPIC, 1, records[1:])
        out.start("accord.locks.commands.v1", 0, 77)
    archive = Archive(tmp_path / "a")
    assert plain(archive.read(TOPIC, 1)) == plain(records)
    assert plain(archive.read(TOPIC, 1, 4, 9)) == plain(records[1:2])
    assert archive.bounds(TOPIC, 1) == (3, 10)
    assert archive.bounds("accord.locks.commands.v1", 0) == (77, 77)
    assert archive.bounds(TOPIC, 0) == (0, 0) and plain(archive.read(TOPIC, 0)) == []
    assert archive.manifest.partitions == {"locks": 2} and archive.manifest.timestamps == "create"


def test_same_records_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with writer(tmp_path / name) as out:
            out.append(TOPIC, 0, [record(o) for o in range(2_000)])
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_offsets_that_go_back_are_refused(tmp_path: Path) -> None:
    with writer(tmp_path / "a") as out:
        out.append(TOPIC, 0, [record(5)])
        with pytest.raises(BadInput, match="Offset 5 cannot follow offset 5"):
            out.append(TOPIC, 0, [record(5)])
    with pytest.raises(BadInput, match="is closed"):
        out.append(TOPIC, 0, [record(6)])


def test_a_changed_file_is_named_before_any_record_is_given(tmp_path: Path) -> None:
    with writer(tmp_path / "a") as out:
        out.append(TOPIC, 0, [record(0)])
        out.append(TOPIC, 1, [record(0)])
    damaged = tmp_path / "a" / f"{TOPIC}-1.avro"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    archive = Archive(tmp_path / "a")
    assert len(list(archive.read(TOPIC, 0))) == 1
    with pytest.raises(ArtifactDamaged, match=f"{TOPIC}-1.avro was changed"):
        next(archive.read(TOPIC, 1))
    damaged.unlink()
    with pytest.raises(ArtifactDamaged, match=f"{TOPIC}-1.avro is missing"):
        next(archive.read(TOPIC, 1))


def test_a_manifest_that_is_none_is_named(tmp_path: Path) -> None:
    with writer(tmp_path / "a"):
        pass
    manifest = tmp_path / "a" / MANIFEST
    text = manifest.read_text()
    manifest.write_text(text.replace('"version": 1', '"version": 99'))
    with pytest.raises(ArtifactDamaged, match="format accord-archive 99"):
        Archive(tmp_path / "a")
    manifest.write_text(text[: len(text) // 2])
    with pytest.raises(ArtifactDamaged, match="cannot be read"):
        Archive(tmp_path / "a")
    with pytest.raises(NotFound, match="is no archive"):
        Archive(tmp_path)


def test_an_archive_that_was_not_completed(tmp_path: Path) -> None:
    out = writer(tmp_path / "a")
    out.append(TOPIC, 0, [record(o) for o in range(10)])
    out.flush()
    out.append(TOPIC, 0, [record(o) for o in range(10, 20)])
    with pytest.raises(ArtifactDamaged, match="never completed"):
        Archive(tmp_path / "a")
    archive = Archive(tmp_path / "a", partial=True)
    assert not archive.complete
    assert archive.bounds(TOPIC, 0) == (0, 10)
    assert [r.offset for r in archive.read(TOPIC, 0)] == list(range(10))


def test_a_torn_block_ends_an_archive_that_was_not_completed(tmp_path: Path) -> None:
    out = writer(tmp_path / "a")
    out.append(TOPIC, 0, [record(0)])
    out.flush()
    out.append(TOPIC, 0, [record(o) for o in range(1, 9)])
    out.abandon()
    torn = tmp_path / "a" / f"{TOPIC}-0.avro"
    torn.write_bytes(torn.read_bytes()[:-30])
    archive = Archive(tmp_path / "a", partial=True)
    assert [r.offset for r in archive.read(TOPIC, 0)] == [0]


def test_an_error_leaves_the_archive_incomplete(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writer(tmp_path / "a") as out:
        out.append(TOPIC, 0, [record(0)])
        raise ZeroDivisionError
    assert not (tmp_path / "a" / MANIFEST).exists()
    assert [r.offset for r in Archive(tmp_path / "a", partial=True).read(TOPIC, 0)] == [0]


def test_only_an_archive_is_replaced(tmp_path: Path) -> None:
    with writer(tmp_path / "a") as out:
        out.append(TOPIC, 0, [record(0)])
    with pytest.raises(BadInput, match="holds an archive already"):
        writer(tmp_path / "a")
    with writer(tmp_path / "a", replace=True) as out:
        out.append(TOPIC, 1, [record(0)])
    assert Archive(tmp_path / "a").bounds(TOPIC, 0) == (0, 0)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="is not empty and is no archive"):
        writer(tmp_path / "b", replace=True)
    with pytest.raises(BadInput, match="is a file"):
        writer(tmp_path / "b" / "thesis.txt", replace=True)


def test_blocks_reach_the_file_while_writing(tmp_path: Path) -> None:
    out = writer(tmp_path / "a")
    noise = bytes(i * 37 % 251 for i in range(1_000))
    path = tmp_path / "a" / f"{TOPIC}-0.avro"
    for offset in range(3 * BLOCK_BYTES // len(noise)):
        out.append(TOPIC, 0, [record(offset, noise)])
    assert len(list(Archive(tmp_path / "a", partial=True).read(TOPIC, 0))) > 50
    out.close()
    assert path.stat().st_size > 0
