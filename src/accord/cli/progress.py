"""How far a long reading of a log is: a line on stderr, if that is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from accord.replay.source import Source
from accord.schemas.headers import Record

AFTER_S: Final = 1.0
"""A reading that is over before says nothing."""
EVERY_S: Final = 0.25
LOOK_EVERY: Final = 1_024
"""Records between two looks at the clock."""


class Watched(Source):
    """A log whose reading is watched. In other processes it is the log itself: these tell of whole partitions alone."""

    def __init__(self, log: Source) -> None:
        self._log = log
        self.name, self.cluster, self.prefix, self.partitions = log.name, log.cluster, log.prefix, log.partitions
        self._count = 0
        self._began_s = self._said_s = time.monotonic()
        self._has_said = False
        self._is_shown = sys.stderr.isatty()

    def bounds(self, domain: str, partition: int, *, commands: bool = False) -> tuple[int, int]:
        return self._log.bounds(domain, partition, commands=commands)

    def read(
        self, domain: str, partition: int, start: int, *, commands: bool = False, beside: bool = False
    ) -> Iterator[Record]:
        records = self._log.read(domain, partition, start, commands=commands, beside=beside)
        return self._counted(records) if self._is_shown else records

    def _counted(self, records: Iterator[Record]) -> Iterator[Record]:
        for record in records:
            self._count += 1
            if not self._count % LOOK_EVERY:
                self._look()
            yield record

    def _look(self) -> None:
        self.tell(f"{self._count:,} records read")

    def finished(self, count: int, total: int) -> None:
        self.tell(f"{count} of {total} partitions")

    def tell(self, text: str) -> None:
        """Shows how far it is, but not too soon and not too often."""
        now_s = time.monotonic()
        if self._is_shown and now_s - self._began_s >= AFTER_S and now_s - self._said_s >= EVERY_S:
            self._said_s, self._has_said = now_s, True
            sys.stderr.write(f"\r{text} ".ljust(40))
            sys.stderr.flush()

    def quiet(self) -> None:
        """Takes the line away: something else is printed now. The next reading is a new one."""
        if self._has_said:
            sys.stderr.write("\r" + " " * 40 + "\r")
            sys.stderr.flush()
        self._count, self._has_said, self._began_s = 0, False, time.monotonic()

    def __reduce__(self) -> tuple[Callable[[Source], Source], tuple[Source]]:
        return _same, (self._log,)

    def close(self) -> None:
        self.quiet()
        self._log.close()


def _same(log: Source) -> Source:
    return log
