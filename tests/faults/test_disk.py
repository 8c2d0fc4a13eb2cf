"""The disk that can be full."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.faults.disk import Disk, may_mount


@pytest.mark.skipif(not may_mount(), reason="no file system may be mounted here")
def test_a_full_disk_refuses_what_is_new_until_there_is_room(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk")
    disk.mount()
    try:
        (disk.path / "there").write_bytes(b"x" * 100_000)
        disk.fill()
        with pytest.raises(OSError) as refused:
            (disk.path / "new").write_bytes(b"x" * 100_000)
        assert refused.value.errno == errno.ENOSPC
        assert (disk.path / "there").read_bytes() == b"x" * 100_000
        disk.free()
        (disk.path / "new").write_bytes(b"x" * 100_000)
    finally:
        disk.unmount()
    assert list(disk.path.iterdir()) == []
