"""The Faust app on which the partition runtime stands: membership, assignment, tables; and the delivery of commands.

A `StreamApp` serves domains. For each it calls, on its event loop and never two at once for one domain:

    on_assigned(partitions)      their tables are recovered; nothing of them has been delivered yet
    on_batch(partition, records) in offset order, each record once an assignment
    on_revoked(partitions)       awaited before another worker may have them; nothing of them comes after

Kafka's rebalance is eager here: at every one, all partitions are revoked, then the new set is assigned. What
stays with the worker comes back at once, so a runtime may keep its memory of a revoked partition until then.

Rules that hold here:

- Delivery starts where `on_assigned` says; else at the group's committed offset, else at the log's start. It
  goes on without repeats. A jump in the offsets has been fetched twice: forward, it is a hole in the log; back, a
  rewritten log, which fails the app.
- The committed offset moves only past what `on_batch` has returned from. It is a hint, and may be behind.
- An exception from a callback or from Faust is kept as `failure`, ends delivery to that domain, and reaches
  whoever awaits `wait_failed`. Nothing is committed past it. Nothing here ends the process or touches signals.
- Logging is at ERROR for faust, mode and aiokafka, unless their loggers have a level.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import faust
import rocksdict
from accord.schemas.headers import Record
from accord.streams.runtime.commands import Batch, CommandReader
from accord.streams.runtime.table import CHANGELOG_BATCH_BYTES, PartitionTable
from accord.streams.runtime.transport import GroupConsumer, GroupTransport
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from faust.tables.manager import TableManager
from faust.types import TP
from yarl import URL

OnBatch: TypeAlias = Callable[[int, list[Record]], Awaitable[None]]
"""(partition, records): records as they were fetched, never empty, timestamps in ms."""
OnAssigned: TypeAlias = Callable[[frozenset[int]], Awaitable[Mapping[int, int] | None]]
"""(partitions) -> the offset to deliver from, for those partitions where it is known."""
OnRevoked: TypeAlias = Callable[[frozenset[int]], Awaitable[None]]
"""(partitions): the last moment to write for them."""

LOG_LEVELS = {
    "faust": logging.ERROR,
    "mode": logging.ERROR,
    "aiokafka": logging.ERROR,
    # An error for each partition whose offset the group did not take: a commit is a hint, and who was put out of the
    # group joins again.
    "aiokafka.consumer.group_coordinator": logging.CRITICAL,
}
RECOVERY_QUEUE_RECORDS = 4096
"""Changelog records between the fetcher and the recovery; Faust would take the size of a stream's buffer."""
REJOINS_MAX, REJOIN_WAIT_S = 20, 0.25
"""How often an assignment that lacks topics is asked for anew."""
STOP_TIMEOUT_S = 10.0


class LogRewritten(Exception):
    """A partition does not reach the offset to go on from: its topic was deleted, truncated or made anew."""

    def __init__(self, tp: TP, expected: int, found: str) -> None:
        super().__init__(
            f"{tp.topic}/{tp.partition}: to go on from offset {expected}, but the log {found}. "
            "The topic was deleted, truncated or made anew; restore it, or start under a new prefix."
        )


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """How a worker meets its brokers.

    Args:
        group: consumer group; also the first part of the changelogs' names.
        bootstrap_servers: `host:port`, comma-separated.
        data_dir: directory of this worker alone; the tables' local copies. It may be deleted while stopped.
        instance: the worker's lasting identity (group.instance.id): a restart within the session timeout then
            brings no rebalance. None: an ordinary member, which leaves at once when it stops.
        fetch_wait_ms: how long a broker may hold an empty fetch, in ms. The mock cluster holds each that long.
        batch_records_max: most records that one fetch hands over, over all partitions.
        fetch_bytes_max: most bytes that a fetch takes from a partition.
        session_timeout_ms: silence after which the group counts the worker as dead, in ms.
        heartbeat_ms: interval of the sign of life, in ms; at most a third of the session timeout.
        commit_interval_ms: interval of committing offsets, in ms.
        standby_count: workers besides the owner that keep a copy of a partition's table.
        block_cache_bytes: RocksDB's block cache, shared by all partitions of the worker.
        create_changelogs: create missing changelog topics, with the partition count of the commands topic.
        changelog_replication: replication factor of changelogs created here; -1 is the broker's default.
        client: settings of librdkafka for reading commands and making changelogs, beside the address: security.
        faust: further settings of `faust.App`, by name; they win.
    """

    group: str
    bootstrap_servers: str
    data_dir: Path
    instance: str | None = None
    fetch_wait_ms: int = 500
    batch_records_max: int = 4000
    fetch_bytes_max: int = 1 << 20
    session_timeout_ms: int = 10_000
    heartbeat_ms: int = 3_000
    commit_interval_ms: int = 1_000
    standby_count: int = 0
    block_cache_bytes: int = 32 << 20
    create_changelogs: bool = True
    changelog_replication: int = -1
    client: Mapping[str, Any] = field(default_factory=dict)
    faust: Mapping[str, Any] = field(default_factory=dict)


class Domain:
    """One domain of a `StreamApp`: its deliveries and its table. Made by `StreamApp.domain`."""

    def __init__(
        self, app: StreamApp, name: str, commands_topic: str, callbacks: tuple[OnBatch | None, OnAssigned, OnRevoked]
    ) -> None:
        self.name = name
        self.commands_topic = commands_topic
        self._app = app
        self._on_batch, self._on_assigned, self._on_revoked = callbacks
        self._held: frozenset[int] = frozenset()
        self._busy = asyncio.Lock()
        self._epochs: dict[int, int] = {}
        """The last seek, by open partition: only batches that were read after it count."""
        self._seeks = itertools.count(1)
        self._batches: asyncio.Queue[Batch] = asyncio.Queue()
        self._delivering: asyncio.Task[None] | None = None
        self._fetched_again: dict[int, int] = {}
        self._table: PartitionTable | None = None

    @property
    def assigned(self) -> frozenset[int]:
        """Partitions between their `on_assigned` and their `on_revoked`."""
        return self._held

    @property
    def changelog_topic(self) -> str:
        """Name of the table's changelog."""
        return f"{self._app.options.group}-{self.name}-changelog"

    @property
    def table(self) -> PartitionTable:
        """The domain's table. A partition's rows are there from `on_assigned` to `on_revoked`, both included."""
        if self._table is None:
            raise RuntimeError(f"the table of {self.name} exists only while its app runs")
        return self._table

    def commands_end(self, partition: int) -> int | None:
        """One past the last command, as the last fetch told it; None: none has, or the app is not running."""
        reader = self._app.running_reader
        return None if reader is None else reader.end(TP(self.commands_topic, partition))

    async def seek(self, partition: int, offset: int) -> None:
        """Deliver from `offset` on; what was read before is dropped. Also from within `on_batch`."""
        self._fetched_again.pop(partition, None)
        self._read_from(partition, offset)

    def _read_from(self, partition: int, offset: int) -> None:
        tp = TP(self.commands_topic, partition)
        self._app.consumer.next_offset[tp] = offset
        if partition in self._epochs:
            self._epochs[partition] = epoch = next(self._seeks)
            self._app.reader.seek(tp, offset, epoch)

    def take(self, batch: Batch) -> None:
        """Have a batch delivered after those that came before."""
        self._batches.put_nowait(batch)

    async def _deliver_forever(self) -> None:
        while True:
            batch = await self._batches.get()
            try:
                await self._deliver(batch)
            except Exception as error:
                self._app.fail(error)
                return  # going on would pass over the failed batch
            self._app.reader.done(batch)

    async def _deliver(self, batch: Batch) -> None:
        """Hand a batch to `on_batch`, if it is the one that comes next."""
        tp, partition = batch.tp, batch.tp.partition
        next_offset = self._app.consumer.next_offset
        async with self._busy:
            if batch.epoch != self._epochs.get(partition):
                return
            first, expected = batch.records[0].offset, next_offset[tp]
            if first != expected and self._fetched_again.get(partition) != expected:
                # Either the log has a hole here, or was rewritten, or records were lost on the way. Reading once more,
                # from a seek of our own, tells.
                self._fetched_again[partition] = expected
                self._read_from(partition, expected)
                return
            if first < expected:
                raise LogRewritten(tp, expected, f"gave {first}")
            assert self._on_batch is not None
            await self._on_batch(partition, batch.records)
            if batch.epoch == self._epochs.get(partition):
                next_offset[tp] = batch.records[-1].offset + 1

    async def assign(self, partitions: frozenset[int]) -> None:
        """Take partitions on: their tables are recovered, their delivery is still off."""
        if not partitions:
            return
        consumer = self._app.consumer
        async with self._busy:
            given = await self._on_assigned(partitions) or {}
            self._held |= partitions
            if self._on_batch is None:
                return
            self._fetched_again.clear()
            tps = self._tps(partitions)
            starts = await consumer.starts(tp for tp in tps if tp.partition not in given)
            starts |= {TP(self.commands_topic, partition): offset for partition, offset in given.items()}
            # aiokafka would go back to the log's start from an offset beyond its end; the mock cluster would wait.
            ends = await consumer.highwaters(*tps)
            for tp, offset in starts.items():
                if offset > ends[tp]:
                    raise LogRewritten(tp, offset, f"ends at {ends[tp]}")
            consumer.next_offset.update(starts)

    async def open(self) -> None:
        """Begin delivery of what is held."""
        if self._on_batch is None:
            return
        async with self._busy:
            for partition in self._held - self._epochs.keys():
                self._epochs[partition] = 0
                self._read_from(partition, self._app.consumer.next_offset[TP(self.commands_topic, partition)])

    async def revoke(self, partitions: frozenset[int]) -> None:
        """Give partitions up, after the batch in hand."""
        async with self._busy:
            for tp in self._tps(partitions):
                if self._epochs.pop(tp.partition, None) is not None:
                    self._app.reader.close_partition(tp)
            held, self._held = partitions & self._held, self._held - partitions
            if held:
                await self._on_revoked(held)

    def _tps(self, partitions: frozenset[int]) -> set[TP]:
        return {TP(self.commands_topic, partition) for partition in partitions}

    def bind(self, faust_app: FaustApp, cache: rocksdict.Cache) -> None:
        """Make the Faust table of this domain and subscribe its topic; Faust objects belong to one start of the app."""
        table = PartitionTable(faust_app, name=self.name, cache=cache, beacon=faust_app.tables.beacon)
        faust_app.tables.add(table)
        faust_app.topics.add(faust_app.topic(self.commands_topic))
        self.begin(table)

    def begin(self, table: PartitionTable) -> None:
        """Start to deliver what `take` is given, over this table."""
        self._held = frozenset()
        self._busy = asyncio.Lock()
        self._epochs.clear()
        self._batches = asyncio.Queue()
        self._table = table
        self._delivering = asyncio.create_task(self._deliver_forever())

    async def unbind(self) -> None:
        """Let go of what `bind` made."""
        self._table = None
        if self._delivering is not None:
            self._delivering.cancel()
            await asyncio.wait([self._delivering])


class StreamApp:
    """A Faust app as a component: it starts and stops in any event loop of any thread, again and again."""

    def __init__(self, options: StreamOptions) -> None:
        self.options = options
        self.domains: dict[str, Domain] = {}
        self._by_topic: dict[str, Domain] = {}
        self.failure: BaseException | None = None
        self._failed: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._faust: FaustApp | None = None
        self._reader: CommandReader | None = None
        self._assignment_is_new = False
        self._settled: asyncio.Event | None = None
        self._rejoins = 0

    def domain(
        self,
        name: str,
        commands_topic: str,
        *,
        on_batch: OnBatch | None,
        on_assigned: OnAssigned,
        on_revoked: OnRevoked,
    ) -> Domain:
        """Register a domain; before `start`. Without `on_batch` nothing is read for it: it has members and a table."""
        if self._faust is not None:
            raise RuntimeError(f"domain {name} registered after the start")
        self.domains[name] = domain = Domain(self, name, commands_topic, (on_batch, on_assigned, on_revoked))
        self._by_topic[commands_topic] = domain
        return domain

    @property
    def consumer(self) -> GroupConsumer:
        """The running app's consumer."""
        if self._faust is None:
            raise RuntimeError("the app is not running")
        return cast(GroupConsumer, self._faust.consumer)

    @property
    def running_reader(self) -> CommandReader | None:
        return self._reader

    @property
    def reader(self) -> CommandReader:
        """The running app's reader of commands."""
        if self._reader is None:
            raise RuntimeError("the app is not running")
        return self._reader

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops that it runs: its own, and that of the consumer's thread once there is one."""
        loops = [self._loop] if self._loop is not None else []
        consumer = self._faust.consumer if self._faust is not None else None
        thread = getattr(consumer, "_thread", None)
        return loops + ([thread.thread_loop] if thread is not None else [])

    async def start(self) -> None:
        """Join the group, recover tables; returns when the first assignment's delivery has begun.

        Raises:
            Exception: whatever stopped Faust or a callback on the way; the app is then stopped.
        """
        self.failure, self._failed, self._settled = None, asyncio.Event(), asyncio.Event()
        self._rejoins = 0
        self._loop = asyncio.get_running_loop()
        if self.options.create_changelogs:
            await self._loop.run_in_executor(None, create_changelogs, self)
        self._reader = CommandReader(
            {**self.options.client, "bootstrap.servers": self.options.bootstrap_servers},
            fetch_wait_ms=self.options.fetch_wait_ms,
            fetch_bytes_max=self.options.fetch_bytes_max,
            batch_records_max=self.options.batch_records_max,
            deliver=self._take,
            fail=self.fail,
        )
        app = self._faust = self._build()
        starting = asyncio.ensure_future(self._start(app))
        failing = asyncio.ensure_future(self._failed.wait())
        try:
            await asyncio.wait({starting, failing}, return_when=asyncio.FIRST_COMPLETED)
            if self.failure is not None:
                raise self.failure
            starting.result()
        except BaseException:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await self.stop()
            raise
        finally:
            failing.cancel()

    def _take(self, batches: list[Batch]) -> None:
        for batch in batches:
            self._by_topic[batch.tp.topic].take(batch)

    async def _start(self, app: FaustApp) -> None:
        await app.start()
        assert self._settled is not None
        await self._settled.wait()

    async def stop(self) -> None:
        """Finish the batches in hand, call `on_revoked`, commit, leave. Safe to call twice."""
        app = self._faust
        if app is None:
            return
        try:
            await self._revoked({TP(d.commands_topic, p) for d in self.domains.values() for p in d.assigned})
        finally:
            try:
                await asyncio.wait_for(app.stop(), STOP_TIMEOUT_S)
            finally:
                self._faust = None
                if self._reader is not None:
                    await asyncio.get_running_loop().run_in_executor(None, self._reader.stop)
                for domain in self.domains.values():
                    await domain.unbind()

    async def wait_failed(self) -> BaseException:
        """Returns what failed, when something fails. The app then still has to be stopped."""
        if self._failed is None:
            raise RuntimeError("the app was never started")
        await self._failed.wait()
        assert self.failure is not None
        return self.failure

    def fail(self, error: BaseException) -> None:
        """Record the first failure and wake whoever waits for it. From any thread."""
        if self.failure is None:
            self.failure = error
            if self._loop is not None and self._failed is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._failed.set)

    def _build(self) -> FaustApp:
        options = self.options
        for name, level in LOG_LEVELS.items():
            if (logger := logging.getLogger(name)).level == logging.NOTSET:
                logger.setLevel(level)
        brokers = [URL(f"kafka://{server.strip()}") for server in options.bootstrap_servers.split(",")]
        settings: dict[str, Any] = {
            "broker": brokers,
            "broker_client_id": options.instance or options.group,
            "broker_commit_interval": options.commit_interval_ms / 1000,
            "broker_heartbeat_interval": options.heartbeat_ms / 1000,
            "broker_request_timeout": max(40.0, 2 * options.session_timeout_ms / 1000),
            "broker_session_timeout": options.session_timeout_ms / 1000,
            # faust/assignor/partition_assignor.py names members by url.
            "canonical_url": f"http://{options.instance or options.group}",
            "consumer_auto_offset_reset": "earliest",
            "consumer_group_instance_id": options.instance,
            "datadir": str(options.data_dir),
            "processing_guarantee": "at_least_once",
            "producer_acks": -1,
            "producer_max_batch_size": CHANGELOG_BATCH_BYTES,
            # A local store ahead of its changelog fails the checkpoint's comparison with the log: it is rebuilt.
            "recovery_consistency_check": False,
            "store": "rocksdb://",
            "table_standby_replicas": options.standby_count,
            "topic_allow_declare": False,
            "topic_disable_leader": True,
            "web_enabled": False,
            "TableManager": QuickTableManager,
            **options.faust,
        }
        app = FaustApp(options.group, autodiscover=False, **settings)
        app.on_crash = self.fail
        app.on_settled = self._open
        app.transport = GroupTransport(
            app.conf.broker_consumer,
            app,
            command_topics=frozenset(domain.commands_topic for domain in self.domains.values()),
            fetch_wait_ms=options.fetch_wait_ms,
        )
        cache = rocksdict.Cache(options.block_cache_bytes)
        for domain in self.domains.values():
            domain.bind(app, cache)
        app.on_partitions_assigned.connect(self._on_partitions_assigned)
        app.on_partitions_revoked.connect(self._on_partitions_revoked)
        app.on_rebalance_complete.connect(self._on_rebalance_complete)
        return app

    # mode/signals.py knows a sender by its id, which may be that of another app of this process that is gone.

    async def _on_partitions_assigned(self, sender: Any, /, *_: Any, **__: Any) -> None:
        if sender is self._faust:
            self._assignment_is_new = True

    async def _on_rebalance_complete(self, sender: Any, /, *_: Any, **__: Any) -> None:
        """Sent by faust/tables/recovery.py when tables are recovered, before partitions resume.

        It is also sent, and cancelled at once, when a rebalance came while they were: `_restart_recovery` takes any end
        of its wait for that of the recovery.
        """
        app = self._faust
        if app is None or sender is not app:
            return
        rebalancing = cast(TableManager, app.tables).recovery.signal_recovery_start.is_set()
        if rebalancing or not self._assignment_is_new:
            return  # the partitions were revoked again while Faust was recovering
        try:
            if lacking := self._lacking():
                await self._rejoin(lacking)
                return
            self._assignment_is_new, self._rejoins = False, 0
            await _all(domain.assign(partitions) for domain, partitions in self._by_domain(self.consumer.assignment()))
        except Exception as error:
            self.fail(error)

    def _lacking(self) -> set[str]:
        """Topics that the assignment passes over, for which it cannot be used.

        The group's leader assigns what its metadata shows, and a topic just made may not be there yet: Faust then
        takes a table without changelog partitions for a recovered one. A static member is even given such an
        assignment again after a restart.
        """
        consumer, lacking = self.consumer, set()
        actives = self._faust.assignor.assigned_actives() if self._faust is not None else set()
        for domain, partitions in self._by_domain(consumer.assignment()):
            if not consumer.knows(domain.commands_topic):
                lacking.add(domain.commands_topic)
            if not {TP(domain.changelog_topic, partition) for partition in partitions} <= actives:
                lacking.add(domain.changelog_topic)
        return lacking

    async def _rejoin(self, lacking: set[str]) -> None:
        self._rejoins += 1
        if self._rejoins > REJOINS_MAX:
            raise RuntimeError(
                f"the group's assignment lacks partitions of {', '.join(sorted(lacking))}. "
                "A domain's commands topic and changelog must exist, with the same number of partitions."
            )
        await asyncio.sleep(REJOIN_WAIT_S)
        await self.consumer.rejoin()

    async def _open(self) -> None:
        """The last step of a rebalance: deliver."""
        if self._assignment_is_new:
            return  # lacking topics; the next one is under way
        try:
            for domain in self.domains.values():
                await domain.open()
            if self._settled is not None:
                self._settled.set()
        except Exception as error:
            self.fail(error)

    async def _on_partitions_revoked(self, sender: Any, /, *args: Any, **_: Any) -> None:
        """Sent by faust/app/base.py:App._on_partitions_revoked with the flow stopped and buffers emptied."""
        if sender is not self._faust:
            return
        self._assignment_is_new = False
        try:
            await self._revoked(args[0])
        except Exception as error:
            self.fail(error)

    async def _revoked(self, revoked: set[TP]) -> None:
        """`on_revoked` where due, then the last commit: later the partitions belong to another worker."""
        await _all(domain.revoke(partitions) for domain, partitions in self._by_domain(revoked))
        consumer = self.consumer
        if consumer.next_offset.keys() & revoked:
            await consumer.commit()
            consumer.forget(revoked)

    def _by_domain(self, tps: set[TP]) -> Sequence[tuple[Domain, frozenset[int]]]:
        return [
            (domain, frozenset(tp.partition for tp in tps if tp.topic == domain.commands_topic))
            for domain in self.domains.values()
        ]


async def _all(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs them side by side: most of what a domain does meanwhile is to wait for the broker. Raises the first error
    once all have ended."""
    for result in await asyncio.gather(*coroutines, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


class FaustApp(faust.App):
    """A Faust app that tells its owner why it crashed, and when a rebalance is over."""

    logger = faust.App.logger
    on_crash: Callable[[BaseException], None] | None = None
    on_settled: Callable[[], Coroutine[Any, Any, None]] | None = None

    def _crash(self, reason: BaseException) -> None:
        """mode/services.py:Service.crash ends here for the root, from whatever thread; mode only logs it."""
        super()._crash(reason)
        if self.on_crash is not None:
            self.on_crash(reason)

    def on_rebalance_end(self) -> None:
        """Called last by faust/tables/recovery.py, when tables are recovered and everything is resumed."""
        super().on_rebalance_end()
        if self.on_settled is not None:
            self.add_future(self.on_settled())


class QuickTableManager(TableManager):
    """Faust's table manager without its wait for late tables, and with a queue of its own size."""

    logger = TableManager.logger

    async def on_start(self) -> None:
        """faust/tables/manager.py:TableManager.on_start sleeps one second first; our tables are all there."""
        await self._update_channels()
        await self.recovery.start()

    @property
    def changelog_queue(self) -> Any:
        """Between the fetcher and the recovery, which empties it record by record."""
        if self._changelog_queue is None:
            self._changelog_queue = self.app.FlowControlQueue(maxsize=RECOVERY_QUEUE_RECORDS, clear_on_resume=True)
        return self._changelog_queue


def create_changelogs(app: StreamApp) -> None:
    """Create the missing changelog topics, each with the partition count of its commands topic. Blocks.

    Raises:
        KafkaException: the brokers refused, or a commands topic does not exist.
    """
    admin = AdminClient({"log_level": 0, **app.options.client, "bootstrap.servers": app.options.bootstrap_servers})
    topics = admin.list_topics(timeout=10).topics
    missing = []
    for domain in app.domains.values():
        commands = topics.get(domain.commands_topic)
        if commands is None:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"{domain.commands_topic} is missing"))
        if domain.changelog_topic not in topics:
            missing.append(
                NewTopic(
                    domain.changelog_topic,
                    num_partitions=len(commands.partitions),
                    replication_factor=app.options.changelog_replication,
                    config={"cleanup.policy": "compact"},
                )
            )
    for created in (admin.create_topics(missing) if missing else {}).values():
        try:
            created.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    for new in missing:  # a broker answers before it shows them
        _wait_for_topic(admin, new.topic, new.num_partitions)


def _wait_for_topic(admin: AdminClient, topic: str, partition_count: int) -> None:
    for _ in range(100):
        if len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == partition_count:
            return
        time.sleep(0.05)
