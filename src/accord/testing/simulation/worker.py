"""A simulated worker: the real processors of its domains over the log in memory.

What is real: `streams/runtime/processor.py` and all that it uses (partitions, owners, chains, checkpoints, recovery,
consequences, ticks), and the delivery. In place of Kafka's clients stand the link, the reader and the table of this
package; in place of the machine's time and chance, the run's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from accord.streams.decider import Domain
from accord.streams.runtime.machine import Machine
from accord.streams.runtime.processor import Processor
from accord.testing.simulation.delivery import SimulatedApp
from accord.testing.simulation.network import Link, Outgoing, Report
from accord.testing.simulation.process import Process
from accord.testing.simulation.scheduler import EPOCH_MS
from accord.testing.simulation.table import SimulatedTable

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster

RESTART_MS: Final = 2_000.0
"""A worker that stops by itself is started again after this, as its supervisor does."""
HEARTBEAT_MS: Final = 3_000.0
TICK_ROUND_S: Final = 60.0
"""Nothing is due between two deadlines, so nobody has to look."""
Places = frozenset[tuple[str, int]]
"""Partitions of domains."""


class SimulatedOutput:
    """What the runtime uses of its producer, which leaves no gap. `number` counts the producers: one that failed for
    good is replaced."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.number = 0
        link.on_gap = self.fail

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes,
        headers: list[tuple[str, bytes]],
        report: Report | None = None,
    ) -> None:
        self.link.send(topic, partition, [(key, value, headers)], report)

    def send_all(self, topic: str, partition: int, records: Sequence[Outgoing], report: Report | None = None) -> None:
        self.link.send(topic, partition, records, report)

    def fail(self) -> None:
        """The producer fails for good: of what it held, some is at the log and nobody knows what."""
        self.number += 1
        self.link.fail()


class Worker:
    """One worker over its whole life: it is started again after it died.

    Args:
        domains: by name, the rules that its release has.
    """

    def __init__(self, cluster: Cluster, name: str, domains: Mapping[str, Domain]) -> None:
        self.cluster = cluster
        self.name = name
        self.domains = domains
        self.starts = 0
        self.deaf_until_ms = -1.0
        self.slow_until_ms = -1.0
        self.slow_ms = 0.0
        self.process: Process | None = None
        self.processors: dict[str, Processor] = {}
        self._busy = asyncio.Lock()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    # -- its life

    def start(self) -> None:
        """Starts it, unless it runs."""
        if self.alive:
            return
        cluster, scheduler = self.cluster, self.cluster.scheduler
        self.starts += 1
        chance = scheduler.stream(f"{self.name}/clock")
        self.process = process = Process(
            scheduler, f"{self.name}.{self.starts}", rate=1 + chance.uniform(-1, 1) * cluster.drift
        )
        self.link = link = Link(process, cluster.log, usual_ms=cluster.latency_ms)
        cluster.keep_faults(self.name, link, process)
        self.output = SimulatedOutput(link)
        self.app = SimulatedApp(link, self._table)
        self.processors = {}
        self._busy = asyncio.Lock()
        process.on_crash.append(self._died)
        process.spawn(self._run(process))
        process.call_later(process.random.random() * HEARTBEAT_MS, self._beat)

    def _table(self, name: str) -> SimulatedTable:
        return SimulatedTable(self.cluster.changelogs.setdefault(name, {}), self.link, self._slow)

    def _slow(self) -> float:
        return self.slow_ms if self.slow_until_ms > self.cluster.scheduler.now_ms else 0.0

    async def _run(self, process: Process) -> None:
        cluster = self.cluster
        machine = Machine(
            lambda: process.time_s,
            process.random.uniform,
            lambda: f"{process.name}-{process.random.getrandbits(64):016x}",
        )
        output: Any = self.output
        link: Any = self.link
        app: Any = self.app
        for name, domain in self.domains.items():
            processor = Processor(
                domain,
                cluster.settings,
                cluster=cluster.log.cluster,
                partition_count=cluster.log.partitions,
                inboxes=0,
                output=output,
                log=link,
                timestamps="log_append",
                clock_ms=lambda: EPOCH_MS + int(process.time_s * 1_000),
                machine=machine,
            )
            processor.tick_round_s = TICK_ROUND_S
            processor.attach(app)
            self.processors[name] = processor
        cluster.group.join(self)

    def _died(self) -> None:
        self.app.reader.close()

    def crash(self, *, after_turns: int = 0) -> None:
        if self.process is not None:
            self.process.crash(after_turns=after_turns)

    def upgrade(self, domains: Mapping[str, Domain]) -> None:
        """Starts again with other rules: a release was installed."""
        self.domains = domains
        self.crash()
        self.cluster.scheduler.call_later(RESTART_MS, self.start)

    def _stop(self, error: BaseException) -> None:
        """It stops by itself, as `accord worker` does when its app has failed."""
        self.cluster.worker_failed(self, error)
        self.crash()
        self.cluster.scheduler.call_later(RESTART_MS, self.start)

    # -- the group

    @property
    def hears(self) -> bool:
        """Whether it and the group can talk."""
        now_ms = self.cluster.scheduler.now_ms
        process = self.process
        return (
            process is not None
            and process.alive
            and process.paused_until_ms <= now_ms
            and self.deaf_until_ms <= now_ms
            and not self.link.is_cut
        )

    def _beat(self) -> None:
        assert self.process is not None
        if self.app.failure is not None:
            self._stop(self.app.failure)
            return
        if self.hears and self.processors:
            self.cluster.group.heard(self)
        self.process.call_later(HEARTBEAT_MS, self._beat)

    def revoke(self, generation: int) -> None:
        """Gives up what it has, then tells the group."""
        assert self.process is not None
        self.process.spawn(self._revoke(generation))

    async def _revoke(self, generation: int) -> None:
        try:
            async with self._busy:
                await asyncio.gather(
                    *[domain.revoke(domain.assigned) for domain in self.app.domains.values() if domain.assigned]
                )
        except Exception as error:
            self._stop(error)
            return
        self.cluster.group.ready(self, generation)

    def assign(self, places: Places) -> None:
        """Takes partitions on."""
        assert self.process is not None
        self.process.spawn(self._assign(places))

    async def _assign(self, places: Places) -> None:
        try:
            async with self._busy:
                await asyncio.gather(*[self._take_on(name, places) for name in self.app.domains])
        except Exception as error:
            self._stop(error)

    async def _take_on(self, name: str, places: Places) -> None:
        partitions = frozenset(partition for domain, partition in places if domain == name)
        for partition in sorted(partitions):
            self.app.tables[name].recover(partition)
        domain = self.app.domains[name]
        await domain.assign(partitions)
        await domain.open()

    @property
    def owned(self) -> dict[tuple[str, int], Any]:
        """The partitions that it believes to own, as the runtime keeps them."""
        if not self.alive:
            return {}
        return {
            (name, index): owned
            for name, processor in self.processors.items()
            for index, owned in processor.owned.items()
        }
