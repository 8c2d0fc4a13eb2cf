"""A worker's figures as Prometheus reads them.

They are gathered on the worker's event loop, so they belong together, and nothing on the way of commands is locked. A
worker that does not get to it within `GATHER_S` gives no answer, which is an alarm by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from accord.streams.runtime.health import STAGES, STATUSES, Health
from accord.streams.runtime.metrics import Buckets, DomainMetrics, cumulative
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from accord.streams.runtime.owned import Owned
    from accord.streams.runtime.processor import Processor

GATHER_S: Final = 5.0


class WorkerCollector(Collector):
    """What `Worker` registers.

    Args:
        loop: the worker's.
        processors: by domain.
        producers: how many producers the worker had to make anew.
        health: what the worker is able to do now.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        processors: Mapping[str, Processor],
        producers: Callable[[], int],
        health: Callable[[], Health],
    ) -> None:
        self._loop = loop
        self._processors = processors
        self._producers = producers
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """From any thread but the worker's own."""
        yield from asyncio.run_coroutine_threadsafe(self._gather(), self._loop).result(GATHER_S)

    async def _gather(self) -> list[Metric]:
        return list(self.gather())

    def gather(self) -> Iterator[Metric]:
        """On the worker's event loop."""
        yield from self._of_domains({name: processor.metrics for name, processor in self._processors.items()})
        yield from self._of_partitions()
        restarts = CounterMetricFamily(
            "accord_producer_restarts", "Producers made anew after one had failed for good.", value=self._producers()
        )
        yield restarts
        yield from self._of_health()

    def _of_health(self) -> Iterator[Metric]:
        health = self._health()
        modes = GaugeMetricFamily("accord_worker_mode", "1 at what the worker is now.", labels=("mode",))
        for status in STATUSES:
            modes.add_metric((status,), status == health.status)
        yield modes
        stage = "Of its recovery: 0 nothing is decided, 1 the essential domains, 2 all."
        yield GaugeMetricFamily("accord_worker_stage", stage, value=STAGES.index(health.stage))
        yield GaugeMetricFamily("accord_worker_ready", "1: it decides and has caught up.", value=health.ready)

    def _of_domains(self, domains: Mapping[str, DomainMetrics]) -> Iterator[Metric]:
        for name, text, label, counts in (
            ("commands", "Commands decided, by the first event of the decision.", "outcome", "outcomes"),
            ("events", "Events decided.", "event", "events"),
            ("dead_letters", "Events that went to the dead letters.", "event", "dead_letters"),
            ("contests", "Partitions on which another writer was met: settled, or lost and rebuilt.", "outcome",
             "contests"),
        ):  # fmt: skip
            family = CounterMetricFamily(f"accord_{name}", text, labels=("domain", label))
            for domain, metrics in domains.items():
                for value, count in sorted(getattr(metrics, counts).items()):
                    family.add_metric((domain, value), count)
            yield family
        for name, text, attribute in (
            ("partition_halts", "Partitions that were halted: each is logged with its cause.", "halts"),
            ("assignments", "Rebalances after which the worker was given its partitions.", "assignments"),
        ):
            family = CounterMetricFamily(f"accord_{name}", text, labels=("domain",))
            for domain, metrics in domains.items():
                family.add_metric((domain,), getattr(metrics, attribute))
            yield family
        for name, text, attribute in (
            ("turn_seconds", "Turns of deciding and handing to the producer, at most 256 commands each.", "turns"),
            ("turn_commands", "Commands decided in a turn.", "sizes"),
            ("command_confirmed_seconds",
             "From the log's timestamp of a command to its confirmed decision; of each turn its oldest command.",
             "confirmed_after"),
            ("checkpoint_seconds", "Checkpoints, from the wait for confirmed decisions to the last row.",
             "checkpoints"),
        ):  # fmt: skip
            histogram = HistogramMetricFamily(f"accord_{name}", text, labels=("domain",))
            for domain, metrics in domains.items():
                _add(histogram, (domain,), getattr(metrics, attribute))
            yield histogram
        histogram = HistogramMetricFamily(
            "accord_recovery_seconds",
            "Partitions loaded, from a checkpoint and what came after, or rebuilt from all events.",
            labels=("domain", "source"),
        )
        for domain, metrics in domains.items():
            for source, buckets in metrics.recoveries.items():
                _add(histogram, (domain, source), buckets)
        yield histogram

    def _of_partitions(self) -> Iterator[Metric]:
        families = {
            name: GaugeMetricFamily(f"accord_partition_{name}", text, labels=("domain", "partition"))
            for name, text, _ in _GAUGES
        }
        lags = GaugeMetricFamily(
            "accord_partition_lag", "Commands in the log that are not decided.", labels=("domain", "partition")
        )
        for domain, processor in self._processors.items():
            for index, owned in sorted(processor.owned.items()):
                labels = (domain, str(index))
                for name, _, value in _GAUGES:
                    families[name].add_metric(labels, value(processor, index, owned))
                end = processor.commands_end(index)
                if end is not None:
                    lags.add_metric(labels, max(0, end - owned.owner.next_command))
        yield lags
        yield from families.values()


def _add(family: HistogramMetricFamily, labels: tuple[str, ...], buckets: Buckets) -> None:
    pairs, total = cumulative([buckets])
    family.add_metric(labels, pairs, total)


def _overdue_s(_: Processor, __: int, owned: Owned) -> float:
    following = owned.owner.partition.deadlines.next()
    return 0.0 if following is None else max(0.0, (owned.log_now_ms() - following) / 1_000)


def _checkpoint_age_s(processor: Processor, index: int, owned: Owned) -> float:
    return processor.metrics.checkpoint_age_s(index) if owned.owner.partition.changed else 0.0


_GAUGES: Final[tuple[tuple[str, str, Callable[[Processor, int, Owned], float]], ...]] = (
    ("halted", "1: it cannot go on, and says why in the log.", lambda _, __, o: o.halted is not None),
    ("paused", "1: it waits for something outside the log.", lambda _, __, o: o.paused is not None),
    ("in_memory", "1: the disk does not take its table's local copy.", lambda p, i, _: i in p.in_memory),
    ("contested", "1: another writer was met, and the log is read.", lambda _, __, o: o.owner.contested),
    ("aggregates", "Locks, tasks, teams that are remembered.", lambda _, __, o: len(o.owner.partition.aggregates)),
    ("unconfirmed_decisions", "Decisions under way to the log.", lambda _, __, o: len(o.owner.pending)),
    ("deadlines_due", "Deadlines that are due and whose tick is under way.", lambda _, __, o: len(o.ticking)),
    ("deadline_overdue_seconds", "How long the first deadline is due that has no tick yet.", _overdue_s),
    ("checkpoint_age_seconds", "Since the last checkpoint; 0: nothing has changed since.", _checkpoint_age_s),
)  # fmt: skip
