"""The worker: the processors of its domains over one Faust app and one producer.

`run` is `accord worker`: it goes on until SIGTERM or SIGINT, then finishes what is under way, writes checkpoints and
leaves. `EmbeddedWorker` is the same in a thread of another program.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import faust
from accord.schemas.topics import commands_topic, events_topic, inbox_topic
from accord.streams.domains import DOMAINS
from accord.streams.runtime.app import StreamApp, StreamOptions
from accord.streams.runtime.collector import WorkerCollector
from accord.streams.runtime.health import Health
from accord.streams.runtime.monitor import Monitor
from accord.streams.runtime.output import Output
from accord.streams.runtime.processor import Processor
from accord.streams.runtime.stacks import stacks
from aiokafka.errors import KafkaError as AIOKafkaError
from aiokafka.errors import KafkaTimeoutError
from confluent_kafka import KafkaError, KafkaException

from accord import logs, metrics
from accord.errors import AccordError, TopicMismatch
from accord.fetch import Fetcher
from accord.kafka import bootstrap, client_config, consumer, metadata, ssl_context, unreachable
from accord.registry import Registry
from accord.settings import KafkaSettings, Settings

logger = logs.get("accord.worker")
T = TypeVar("T")

FETCH_WAIT_MAX_MS: Final = 50
"""A fetch that waits for one partition holds up the others of its broker, so a worker's waits are short."""
GARBAGE_COUNT: Final = 20_000
"""New objects between two looks for cycles, of which a worker makes few; Python's own 700 cost a tenth of its time."""


class Worker:
    """A worker on the running event loop.

    Args:
        settings: which brokers, domains and data directory.
        timestamps: where the log's clock comes from: `log_append` (Kafka) or `create` (the embedded broker).
        timestamp_ms: the time to put on records; None leaves it to Kafka.
        static: keep the worker's identity over restarts (group.instance.id), so that one brings no rebalance.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        timestamps: str = "log_append",
        timestamp_ms: Callable[[], int] | None = None,
        static: bool = True,
    ) -> None:
        self.settings = settings
        self.processors: dict[str, Processor] = {}
        self._timestamps = timestamps
        self._timestamp_ms = timestamp_ms
        self._static = static
        self._app: StreamApp | None = None
        self._output: Output | None = None
        self._log: Fetcher | None = None
        self._monitor: Monitor | None = None
        self._end_metrics: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Joins the group and recovers the partitions that it is given.

        Raises:
            KafkaUnreachable: no broker answers.
            TopicMismatch: a topic is missing or differs from the settings.
        """
        settings, worker = self.settings, self.settings.worker
        loop = asyncio.get_running_loop()
        if settings.schema_registry_url:
            Registry(settings.schema_registry_url).attach(settings.topics.prefix, blocking=False)
        cluster, counts, inboxes = await loop.run_in_executor(None, look, settings)
        data_dir = worker.data_dir / worker.name
        with contextlib.suppress(OSError):  # without one, tables are in memory; Faust's way to it tells
            await loop.run_in_executor(None, lambda: data_dir.mkdir(parents=True, exist_ok=True))
        self._output = Output(settings, self._timestamp_ms)
        self._log = Fetcher(settings.kafka)
        self._app = app = StreamApp(
            StreamOptions(
                group=f"{settings.topics.prefix}.{worker.group}",
                bootstrap_servers=bootstrap(settings.kafka),
                data_dir=data_dir,
                instance=worker.name if self._static else None,
                fetch_wait_ms=min(settings.kafka.fetch_wait_ms, FETCH_WAIT_MAX_MS),
                session_timeout_ms=worker.session_timeout_ms,
                heartbeat_ms=max(100, worker.session_timeout_ms * 3 // 10),
                create_changelogs=self._timestamps == "log_append",
                changelog_replication=settings.topics.replication,
                client=client_config(settings.kafka),
                faust=credentials(settings.kafka),
            )
        )
        clock_ms = self._timestamp_ms or (lambda: time.time_ns() // 1_000_000)
        for name in worker.domains:
            processor = Processor(
                DOMAINS[name],
                settings,
                cluster=cluster,
                partition_count=counts[name],
                inboxes=inboxes,
                output=self._output,
                log=self._log,
                timestamps=self._timestamps,
                clock_ms=clock_ms,
            )
            processor.attach(app)
            self.processors[name] = processor
        topic = commands_topic(worker.domains[0], settings.topics.prefix)
        self._monitor = monitor = Monitor(app, self.processors, self._output, topic)
        try:
            if worker.metrics_port:
                self._end_metrics = self._tell_metrics(loop, monitor)
            monitor.start()
            await app.start()
        except BaseException as error:
            await self.stop()
            if _broker_is_away(error):
                raise unreachable(settings.kafka) from error
            raise

    def _tell_metrics(self, loop: asyncio.AbstractEventLoop, monitor: Monitor) -> Callable[[], None]:
        """Answers Prometheus and who asks for its health; returns what ends that. Raises ConfigError: not at this
        port."""
        registry = metrics.new_registry()
        producers = lambda: self._output.number if self._output else 0  # noqa: E731
        registry.register(WorkerCollector(loop, self.processors, producers, monitor.health))
        terms = self.settings.worker
        _, end = metrics.serve(registry, terms.metrics_host, terms.metrics_port, monitor.pages)
        return end

    def health(self) -> Health:
        """What it is able to do now; on its event loop."""
        assert self._monitor is not None, "start first"
        return self._monitor.health()

    def advance(self, ms: int) -> None:
        """Tells the processors that the log's time has jumped ahead (embedded broker)."""
        for processor in self.processors.values():
            processor.advance(ms)

    @property
    def quiet(self) -> bool:
        """No deadline is due, nothing is under way."""
        return all(processor.quiet for processor in self.processors.values())

    async def wait_failed(self) -> BaseException:
        """Returns what stopped the worker, when something does."""
        assert self._app is not None
        return await self._app.wait_failed()

    def tell_stacks(self) -> None:
        """Logs what every thread and every task does."""
        logger.warning("what this worker does", stacks="\n" + stacks(*(self._app.loops if self._app else ())))

    async def stop(self) -> None:
        """Finishes what is under way, writes checkpoints, leaves. Safe to call twice."""
        await asyncio.get_running_loop().run_in_executor(None, self._end_metrics)
        self._end_metrics = lambda: None
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            await monitor.stop()
        app, self._app = self._app, None
        if app is not None:
            with contextlib.suppress(TimeoutError):
                await app.stop()
        log, self._log = self._log, None
        if log is not None:
            await asyncio.get_running_loop().run_in_executor(None, log.close)
        for processor in self.processors.values():
            await processor.close()
        self.processors.clear()
        output, self._output = self._output, None
        if output is not None:
            await asyncio.get_running_loop().run_in_executor(None, output.close)


def _broker_is_away(error: BaseException) -> bool:
    """Whether Faust, or who makes its topics, lost the brokers between `look` and the first assignment."""
    if isinstance(error, KafkaException):
        return bool(error.args[0].retriable()) or error.args[0].code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT)
    return isinstance(error, KafkaTimeoutError) or (isinstance(error, AIOKafkaError) and bool(error.retriable))


def look(settings: Settings) -> tuple[str, dict[str, int], int]:
    """The cluster's id; the partition count of each domain's topics, both of which must agree; that of the inbox, 0 if
    there is none.

    Raises:
        KafkaUnreachable: no broker answers.
        TopicMismatch: a topic is missing, or a domain's topics differ.
    """
    client = consumer(settings.kafka)
    try:
        found: dict[str, int] = {}
        prefix = settings.topics.prefix
        cluster = metadata(client, settings.kafka)
        for domain in settings.worker.domains:
            names = (commands_topic(domain, prefix), events_topic(domain, prefix))
            counts = [len(cluster.topics[name].partitions) if name in cluster.topics else 0 for name in names]
            for name, count in zip(names, counts, strict=True):
                if count == 0:
                    raise TopicMismatch(f"{name} does not exist.", remedy="Create the topics: accord topics init.")
                if count != settings.topics.partitions:
                    raise TopicMismatch(
                        f"{name} has {count} partition{'s' * (count != 1)}, settings say {settings.topics.partitions} "
                        "(auto-created?).",
                        remedy="If empty, delete it, then: accord topics init.",
                    )
            found[domain] = counts[0]
        inbox = inbox_topic(prefix)
        inboxes = len(cluster.topics[inbox].partitions) if inbox in cluster.topics else 0
        return str(cluster.cluster_id), found, inboxes
    finally:
        client.close()


def credentials(settings: KafkaSettings) -> dict[str, Any]:
    """The security settings as Faust's aiokafka wants them: what `client_config` is to librdkafka."""
    protocol = settings.security_protocol
    if protocol == "PLAINTEXT":
        return {}
    context = ssl_context(settings)
    if protocol.startswith("SASL"):
        return {
            "broker_credentials": faust.SASLCredentials(
                username=settings.sasl_username,
                password=settings.sasl_password,
                mechanism=settings.sasl_mechanism or "PLAIN",
                ssl_context=context,
            )
        }
    return {"broker_credentials": faust.SSLCredentials(context)}


def run(settings: Settings) -> int:
    """Runs a worker until SIGTERM or SIGINT. Returns the exit code."""
    gc.set_threshold(GARBAGE_COUNT)
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    worker = Worker(settings)
    loop.add_signal_handler(signal.SIGUSR1, worker.tell_stacks)
    await worker.start()
    logger.info("worker ready", name=settings.worker.name, domains=list(settings.worker.domains))
    failed = asyncio.ensure_future(worker.wait_failed())
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            error = failed.result()
            logger.error("worker failed", why=f"{type(error).__name__}: {error}")
            return error.exit_code if isinstance(error, AccordError) else 1
        logger.info("worker stopping")
        return 0
    finally:
        failed.cancel()
        stopped.cancel()
        await worker.stop()


class EmbeddedWorker:
    """A worker in a thread of its own with an event loop of its own."""

    def __init__(self, settings: Settings, **options: Any) -> None:
        self._settings = settings
        self._options = options
        self._ready: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self.worker: Worker | None = None
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="accord-worker", daemon=True)

    def start(self) -> None:
        """Starts the thread; returns when the worker is ready.

        Raises:
            Exception: what kept it from starting.
        """
        self._thread.start()
        self._ready.result()

    def run(self, function: Callable[[Worker], T], timeout_s: float = 30.0) -> T:
        """Runs a function on the worker's event loop, and returns what it returns."""
        assert self._loop is not None and self.worker is not None
        worker = self.worker

        async def call() -> T:
            return function(worker)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(timeout_s)

    def stop(self) -> None:
        """Stops the worker and ends the thread."""
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        worker = Worker(self._settings, **self._options)
        try:
            await worker.start()
        except BaseException as error:
            self._ready.set_exception(error)
            return
        self.worker = worker
        self._ready.set_result(None)
        failed = asyncio.ensure_future(worker.wait_failed())
        stopped = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            self.failure = failed.result()
            logger.error("worker failed", why=repr(self.failure))
        failed.cancel()
        stopped.cancel()
        await worker.stop()
