"""What an agent's connection stands on in a simulation: see `accord.agents.connection.runtime`.

Hub, connection, leases and readers are those that run on Kafka; their clock is the process's, their producer and
consumers speak to the log in memory over the process's link, and their thread is a row of events: a step is taken when
something has come, when a timer is due, or when they ask for one. Nothing blocks here, so what would wait for ever says
so at once (`NotSimulated`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextvars import Context, copy_context
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, NoReturn, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from accord.agents.connection import runtime
from accord.agents.connection.runtime import Driven, Joinable
from accord.agents.connection.timers import Timers
from accord.kafka import READ_TIMEOUT_S
from accord.schemas.headers import Headers, LogRecord
from accord.schemas.topics import topic_table
from accord.settings import KafkaSettings, Settings
from accord.testing.simulation.network import Link
from accord.testing.simulation.process import Process
from accord.testing.simulation.scheduler import EPOCH_MS

SWEEP_MS: Final = 1_000.0
"""How often a connection with commands under way looks for those that wait too long."""
ROUNDING_MS: Final = 0.001
"""Added to the time of a timer's event, so that the timer is due by then in spite of rounding."""


class NotSimulated(RuntimeError):
    """A simulated agent did what cannot be simulated. The text says what, and what to do in its place."""


def refuse(what: str, instead: str) -> NoReturn:
    raise NotSimulated(f"{what} cannot be simulated: {instead}")


class _Answered(Future[Any]):
    """A future that says so where waiting for it would block for ever."""

    def result(self, timeout: float | None = None) -> Any:
        self._check()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._check()
        return super().exception(timeout)

    def _check(self) -> None:
        if not self.done():
            refuse("A call that blocks until the log has answered", "await it, on accord.Accord (not accord.sync).")


class SimulatedRuntime(runtime.Runtime):
    """What runs in a simulated process.

    Args:
        process: in which it runs.
        link: its way to the log.
        settings: of hubs that are opened in it.
        agent: the name of hubs that have none of their own.
    """

    def __init__(self, process: Process, link: Link, settings: Settings, agent: str) -> None:
        self.process = process
        self.link = link
        self.agent = agent
        self._settings = settings
        self._random = process.scheduler.stream(f"{process.name}/client")
        self.uniform = self._random.uniform
        self._ids = 0
        self._drivers: list[_Driver] = []
        self._consumers: list[_Consumer] = []
        self._waits_for_link = False

    def monotonic(self) -> float:
        return self.process.time_s

    @property
    def name(self) -> str:
        return self.agent

    def settings(self, given: Settings | None, bootstrap_servers: str | None) -> Settings:
        """The given settings, but for the broker and the topics, which are simulated. There is no inbox."""
        settings = given or self._settings
        events = settings.client.model_copy(update={"answers": "events"})
        return settings.model_copy(update={"topics": self._settings.topics, "client": events})

    def now_ms(self) -> int:
        return EPOCH_MS + int(self.process.time_s * 1_000)

    def new_id(self) -> str:
        """As a UUID of version 7: its first part is the time, the rest chance."""
        self._ids += 1
        ms, chance = self.now_ms(), self._random.getrandbits(62)
        digits = f"{ms:012x}7{self._ids & 0xFFF:03x}{(1 << 63) | chance:016x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def future(self) -> Future[Any]:
        return _Answered()

    def timers(self) -> Timers:
        return _Timers(self)

    def producer(self, settings: KafkaSettings, **config: Any) -> Producer:
        return cast("Producer", _Producer(self))

    def consumer(self, settings: KafkaSettings) -> Consumer:
        made = _Consumer(self.link, self._settings.topics.prefix, self._consumers)
        return cast("Consumer", made)

    def run(self, function: Callable[[], None], name: str) -> Joinable:
        """Runs it at one moment, soon; who is driven gets to see what came of it."""
        context = copy_context()

        def go() -> None:
            context.run(function)
            self.step_soon()

        self._reach(READ_TIMEOUT_S * 1_000, go)
        return _Over()

    def drive(self, driven: Driven, name: str, longest_s: float) -> Joinable:
        driver = _Driver(self, driven, copy_context())
        self._drivers.append(driver)
        self._reach(self._settings.kafka.connect_timeout_ms, driver.begin)
        return _Over()

    def _reach(self, longest_ms: float, function: Callable[[], None]) -> None:
        """Calls a function that asks a broker: soon, or when one can be reached, or when that took too long."""
        scheduler = self.process.scheduler
        by_ms = scheduler.now_ms + longest_ms

        def go() -> None:
            if self.link.is_cut and scheduler.now_ms < by_ms:
                scheduler.call_at(min(by_ms, self.link.cut_until_ms), go, process=self.process)
            else:
                function()

        self._later(self._latency_ms(), go)

    def wake(self, driven: Driven) -> None:
        self.step_soon()

    def check_threads(self, what: str) -> None:
        refuse(what, "it waits in a thread of its own. Test what it calls by calling it from a simulated agent.")

    # -- when steps are taken

    def step_soon(self) -> None:
        self._later(self._random.random(), self.step)

    def step_after(self, ms: float) -> None:
        self._later(ms + ROUNDING_MS, self.step)

    def step(self) -> None:
        if self.link.is_cut and not self._waits_for_link:
            self._waits_for_link = True
            self.process.scheduler.call_at(self.link.cut_until_ms, self._linked, process=self.process)
        for driver in self._drivers:
            driver.step()
        if any(driver.is_over for driver in self._drivers):
            self._drivers = [driver for driver in self._drivers if not driver.is_over]

    def _linked(self) -> None:
        self._waits_for_link = False
        self._later(self._latency_ms(), self.step)

    def arrived(self, topic: str, partition: int, record: LogRecord) -> None:
        """A record is in the log: it can be read a little later."""
        if any(consumer.reads(topic, partition) for consumer in self._consumers):
            self._later(self._latency_ms(), self.step)

    def expect_answer(self) -> None:
        """Something was sent: whoever sent it looks after it from time to time."""
        for driver in self._drivers:
            driver.sweep_soon()

    def _latency_ms(self) -> float:
        return self.link.latency_ms()

    def _later(self, ms: float, function: Callable[[], object]) -> None:
        self.process.call_later(ms, function)


class _Over:
    """What was run, to who waits for it: there is nothing to wait for."""

    def join(self, timeout: float | None = None) -> None:
        return


class _Driver:
    """The life of one connection, in events. Args: driven; in which context it runs."""

    def __init__(self, runtime: SimulatedRuntime, driven: Driven, context: Context) -> None:
        self._runtime = runtime
        self._driven: Any = driven
        self._context = context
        self._begun = False
        self._sweeping = False
        self.is_over = False

    def begin(self) -> None:
        self._begun = True
        self._context.run(self._driven.begin)
        self._end_if_over()

    def step(self) -> None:
        if self._begun and not self.is_over:
            self._context.run(self._driven.step, 0.0)
            self._end_if_over()

    def _end_if_over(self) -> None:
        if self._driven.is_over:
            self.is_over = True
            self._context.run(self._driven.end)

    def sweep_soon(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self._runtime._later(SWEEP_MS, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        self.step()
        if not self.is_over and self._driven.load["underway"]:
            self.sweep_soon()


class _Timers(Timers):
    """Timers that have a step taken when they are due."""

    def __init__(self, runtime: SimulatedRuntime) -> None:
        super().__init__(runtime.monotonic)
        self._runtime = runtime

    def at(self, due_s: float, callback: Callable[[], None]) -> Callable[[], None]:
        process = self._runtime.process
        self._runtime.step_after(max(0.0, due_s - process.time_s) * 1_000 / process.rate)
        return super().at(due_s, callback)


# -- Kafka's clients, as far as a connection uses them


class _Message:
    """A record as confluent-kafka gives it."""

    __slots__ = ("_partition", "_record", "_topic")

    def __init__(self, topic: str, partition: int, record: LogRecord) -> None:
        self._topic, self._partition, self._record = topic, partition, record

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._record.offset

    def timestamp(self) -> tuple[int, int]:
        return 2, self._record.timestamp

    def key(self) -> bytes | None:
        return self._record.key

    def value(self) -> bytes | None:
        return self._record.value

    def headers(self) -> Iterable[tuple[str, bytes]]:
        return self._record.headers

    def error(self) -> KafkaError | None:
        return None


class _Delivered(NamedTuple):
    """What a delivery report tells of a message."""

    at: int

    def offset(self) -> int:
        return self.at


Told = Callable[["KafkaError | None", "_Delivered | None"], None]


class _Producer:
    """See `confluent_kafka.Producer`. Reports are handed over by `poll`."""

    def __init__(self, runtime: SimulatedRuntime) -> None:
        self._runtime = runtime
        self._reports: deque[Callable[[], None]] = deque()

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes,
        partition: int,
        *,
        on_delivery: Told,
        timestamp: int,
        headers: Headers,
    ) -> None:
        report = partial(self._reported, on_delivery)
        self._runtime.link.send(topic, partition, [(key, value, headers)], report)
        self._runtime.expect_answer()

    def _reported(self, told: Told, offset: int | None) -> None:
        if offset is None:
            self._reports.append(partial(told, KafkaError(KafkaError._MSG_TIMED_OUT), None))
        else:
            self._reports.append(partial(told, None, _Delivered(offset)))
        self._runtime.step()

    def poll(self, timeout: float) -> int:
        count = len(self._reports)
        while self._reports:
            self._reports.popleft()()
        return count

    def flush(self, timeout: float) -> int:
        """What was sent is on its way, whatever becomes of the connection."""
        return 0

    def purge(self) -> None:
        self._reports.clear()


class _Consumer:
    """See `confluent_kafka.Consumer`: what is in the log and was not read yet is there at once.

    Args:
        link: over which it reads.
        prefix: of the topics.
        open: where it stands until it is closed.
    """

    def __init__(self, link: Link, prefix: str, open: list[_Consumer]) -> None:
        self._link = link
        self._prefix = prefix
        self._next: dict[tuple[str, int], int] = {}
        self._open = open
        open.append(self)

    def list_topics(self, topic: str | None = None, timeout: float = 0.0) -> Any:
        self._check()
        log = self._link.log
        return _metadata(log.cluster, self._prefix, log.partitions)

    def get_watermark_offsets(self, where: TopicPartition, **_: Any) -> tuple[int, int]:
        self._check()
        return self._link.log.bounds(where.topic, where.partition)

    def assign(self, places: Iterable[TopicPartition]) -> None:
        self._next.clear()
        self.incremental_assign(places)

    def unassign(self) -> None:
        self._next.clear()

    def incremental_assign(self, places: Iterable[TopicPartition]) -> None:
        for place in places:
            self._next[place.topic, place.partition] = place.offset

    def incremental_unassign(self, places: Iterable[TopicPartition]) -> None:
        for place in places:
            self._next.pop((place.topic, place.partition), None)

    def reads(self, topic: str, partition: int) -> bool:
        return (topic, partition) in self._next

    def poll(self, timeout: float) -> _Message | None:
        found = self.consume(1, timeout)
        return found[0] if found else None

    def consume(self, count: int, timeout: float) -> Sequence[_Message]:
        found: list[_Message] = []
        if self._link.is_cut:
            return found
        log = self._link.log
        for (topic, partition), start in self._next.items():
            if log.bounds(topic, partition)[1] <= start:
                continue
            for record in log.read(topic, partition, start):
                if len(found) == count:
                    return found
                found.append(_Message(topic, partition, record))
                self._next[topic, partition] = record.offset + 1
        return found

    def close(self) -> None:
        self._next.clear()
        if self in self._open:
            self._open.remove(self)

    def _check(self) -> None:
        if self._link.is_cut or not self._link.process.alive:
            raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))


class _Partitions(NamedTuple):
    partitions: range


class _Metadata(NamedTuple):
    cluster_id: str
    topics: dict[str, _Partitions]


@lru_cache(maxsize=8)
def _metadata(cluster: str, prefix: str, partitions: int) -> _Metadata:
    topics = topic_table(prefix, partitions)
    return _Metadata(cluster, {topic.name: _Partitions(range(topic.partitions)) for topic in topics})
