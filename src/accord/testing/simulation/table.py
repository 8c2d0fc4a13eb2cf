"""The workers' tables: a changelog that all share, and a copy in each worker, as the runtime writes them.

A row is in the changelog first and in the worker's copy once all rows written with it are acknowledged; a worker that
dies in between leaves any part of them. A worker takes its copy from the changelog when partitions are assigned to it,
and does not see what others write to it after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from aiokafka.errors import KafkaTimeoutError

from accord.testing.simulation.network import Link

WRITE_MS: Final = 2.0
"""A row is on its way to the changelog for up to twice this long."""

Changelog = dict[int, dict[bytes, bytes]]
"""The rows of a domain's table, by partition."""


class SimulatedTable:
    """A worker's copy of one domain's table: what the runtime uses of `streams/runtime/table.py`.

    Args:
        changelog: of the domain.
        link: the worker's way to the brokers.
        slow_ms: tells what the disk adds to every row now.
    """

    def __init__(self, changelog: Changelog, link: Link, slow_ms: Callable[[], float]) -> None:
        self._changelog = changelog
        self._link = link
        self._rows: Changelog = {}
        self._slow_ms = slow_ms

    def recover(self, partition: int) -> None:
        """Takes a partition's rows from the changelog."""
        self._rows[partition] = dict(self._changelog.get(partition, {}))

    def get_row(self, partition: int, key: bytes) -> bytes | None:
        return self._rows.get(partition, {}).get(key)

    def rows(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(self._rows.get(partition, {}).items()))

    async def write_rows(self, partition: int, rows: Mapping[bytes, bytes | None]) -> int | None:
        chance, link = self._link.process.random, self._link
        for key, value in rows.items():
            await asyncio.sleep((chance.random() * 2 * WRITE_MS + self._slow_ms()) / 1_000)
            await link.healed()
            if not link.process.alive:
                return None
            if link.loss and chance.random() < link.loss / 4:
                raise KafkaTimeoutError
            _put(self._changelog.setdefault(partition, {}), key, value)
        for key, value in rows.items():
            _put(self._rows.setdefault(partition, {}), key, value)
        return 0


def _put(rows: dict[bytes, bytes], key: bytes, value: bytes | None) -> None:
    if value is None:
        rows.pop(key, None)
    else:
        rows[key] = value
