"""How commands reach a simulated worker: the runtime's own delivery (`streams/runtime/app.py: Domain`), over a reader
of the log in memory in place of librdkafka's, and without Faust."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from faust.types import TP

from accord.schemas.headers import LogRecord, Record
from accord.streams.runtime.app import Domain, OnAssigned, OnBatch, OnRevoked
from accord.streams.runtime.commands import Batch
from accord.testing.simulation.network import Link
from accord.testing.simulation.table import SimulatedTable

FETCH_RECORDS: Final = 64
"""Most records of a fetch."""


class Positions:
    """Where delivery of each partition goes on; what the runtime uses of Faust's consumer."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.next_offset: dict[TP, int] = {}

    async def starts(self, partitions: Iterable[TP]) -> dict[TP, int]:
        return dict.fromkeys(partitions, 0)

    async def highwaters(self, *partitions: TP) -> dict[TP, int]:
        await self._link.healed()
        return {tp: self._link.log.bounds(*tp)[1] for tp in partitions}


class Reader:
    """Fetches what partitions get, from where they were sought: what the runtime uses of `CommandReader`."""

    def __init__(self, link: Link, take: Callable[[Batch], None]) -> None:
        self._link = link
        self._take = take
        self._positions: dict[TP, tuple[int, int]] = {}
        self._fetching: set[TP] = set()
        self._unwatch: dict[TP, Callable[[], None]] = {}

    def seek(self, tp: TP, offset: int, epoch: int) -> None:
        self._positions[tp] = offset, epoch
        if tp not in self._unwatch:
            self._unwatch[tp] = self._link.log.watch(*tp, partial(self._changed, tp))
        self._changed(tp)

    def close_partition(self, tp: TP) -> None:
        self._positions.pop(tp, None)
        if (unwatch := self._unwatch.pop(tp, None)) is not None:
            unwatch()

    def close(self) -> None:
        for tp in list(self._positions):
            self.close_partition(tp)

    def done(self, batch: Batch) -> None:
        pass

    def end(self, tp: TP) -> int | None:
        return self._link.log.bounds(*tp)[1]

    def _changed(self, tp: TP) -> None:
        if tp not in self._fetching:
            self._fetching.add(tp)
            self._link.process.call_later(self._link.latency_ms(), partial(self._fetch, tp))

    def _fetch(self, tp: TP) -> None:
        self._fetching.discard(tp)
        link = self._link
        if tp not in self._positions:
            return
        if link.is_cut:
            self._fetching.add(tp)
            link.process.scheduler.call_at(link.cut_until_ms, partial(self._fetch, tp), process=link.process)
            return
        start, epoch = self._positions[tp]
        records: list[LogRecord] = []
        for record in link.log.read(*tp, start):
            records.append(record)
            if len(records) == FETCH_RECORDS:
                self._changed(tp)
                break
        if not records:
            return
        self._positions[tp] = records[-1].offset + 1, epoch
        run: list[Record] = []
        for record in records:
            if run and record.offset != run[-1].offset + 1:
                link.process.loop.call_soon(self._take, Batch(tp, epoch, run))
                run = []
            run.append(record)
        link.process.loop.call_soon(self._take, Batch(tp, epoch, run))


class SimulatedApp:
    """What processors and the delivery use of `StreamApp`."""

    def __init__(self, link: Link, table_of: Callable[[str], SimulatedTable]) -> None:
        self.domains: dict[str, Domain] = {}
        self.tables: dict[str, SimulatedTable] = {}
        self.consumer = Positions(link)
        self.reader = Reader(link, self._deliver)
        self.failure: BaseException | None = None
        self._by_topic: dict[str, Domain] = {}
        self._table_of = table_of

    @property
    def running_reader(self) -> Reader:
        return self.reader

    def domain(
        self, name: str, commands_topic: str, *, on_batch: OnBatch, on_assigned: OnAssigned, on_revoked: OnRevoked
    ) -> Domain:
        app: Any = self
        domain = Domain(app, name, commands_topic, (on_batch, on_assigned, on_revoked))
        table: Any = self._table_of(name)
        self.domains[name], self.tables[name], self._by_topic[commands_topic] = domain, table, domain
        domain.begin(table)
        return domain

    def fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error

    def _deliver(self, batch: Batch) -> None:
        self._by_topic[batch.tp.topic].take(batch)
