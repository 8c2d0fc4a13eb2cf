"""A disk of its own for a worker's state, which can be full: a file system in memory whose size follows what is used.

It is mounted, which takes the rights of root; without them there is none (`may_mount`), and no disk is ever full.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

SIZE_BYTES = 1 << 30
"""More than a worker of a run ever needs; what is not used takes no memory."""


class Disk:
    """A file system at `path`, from `mount` to `unmount`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mounted = False

    def mount(self) -> None:
        """Raises OSError: it may not be mounted here."""
        self.path.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "accord-faults", str(self.path))
        self.mounted = True

    def unmount(self) -> None:
        """Does nothing if it is not mounted. Whoever has files open there keeps them until he closes them."""
        if self.mounted:
            _run("umount", "-l", str(self.path))
            self.mounted = False

    def fill(self) -> None:
        """From now on whoever writes what has no room yet gets ENOSPC."""
        found = os.statvfs(self.path)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        # A size of 0 would be no limit. What is written meanwhile makes the new size too small to be taken: again.
        for more in range(1, 100):
            try:
                return self._resize(used + more * found.f_frsize)
            except OSError:
                continue
        raise OSError(f"{self.path} grows too fast to be filled")

    def free(self) -> None:
        """There is room again."""
        self._resize(SIZE_BYTES)

    def _resize(self, size_bytes: int) -> None:
        _run("mount", "-o", f"remount,size={size_bytes}", str(self.path))


@cache
def may_mount() -> bool:
    """Whether this process may mount a file system, seen by doing so."""
    if shutil.which("mount") is None:
        return False
    with TemporaryDirectory(prefix="accord-disk-") as directory:
        disk = Disk(Path(directory))
        try:
            disk.mount()
        except OSError:
            return False
        disk.unmount()
    return True


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
