"""What an agent's connection stands on in a simulation: see `accord.agents.connection.runtime`.

Hub, connection, leases, handlers and readers are those that run on Kafka; their clock is the process's, their producer
and consumers speak to the log in memory over the process's link (`kafka.py`), and their threads take turns
(`threads.py`). The connection's own thread takes a step when something has come, when a timer is due, or when it is
asked for one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context, copy_context
from queue import SimpleQueue
from threading import Condition
from threading import Event as ThreadEvent
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from confluent_kafka import Consumer, Producer
from greenlet import getcurrent

from accord.agents.connection import runtime
from accord.agents.connection.runtime import Driven, Joinable, T
from accord.agents.connection.timers import Timers
from accord.kafka import READ_TIMEOUT_S
from accord.schemas.headers import LogRecord
from accord.settings import KafkaSettings, Settings
from accord.testing.simulation.network import Link
from accord.testing.simulation.scheduler import EPOCH_MS
from accord.testing.trials.groups import Groups
from accord.testing.trials.kafka import SimulatedConsumer, SimulatedProducer
from accord.testing.trials.threads import NotSimulated, Thread

if TYPE_CHECKING:
    from accord.testing.trials.agent import AgentProcess

SWEEP_MS: Final = 1_000.0
"""How often a connection with commands under way looks for those that wait too long."""
ROUNDING_MS: Final = 0.001
"""Added to the time of a timer's event, so that the timer is due by then in spite of rounding."""


def refuse(what: str, instead: str) -> NoReturn:
    raise NotSimulated(f"{what} cannot be simulated: {instead}")


class SimulatedRuntime(runtime.Runtime):
    """What runs in a simulated process.

    Args:
        process: in which it runs, and in whose context its threads begin.
        link: its way to the log.
        groups: of consumers, in which its consumers may be.
        settings: of hubs that are opened in it.
        agent: the name of hubs that have none of their own.
    """

    def __init__(self, process: AgentProcess, link: Link, groups: Groups, settings: Settings, agent: str) -> None:
        self.process = process
        self.threads = process.threads
        self.link = link
        self.agent = agent
        self._groups = groups
        self._settings = settings
        self._random = process.scheduler.stream(f"{process.name}/client")
        self.uniform = self._random.uniform
        self._ids = 0
        self._drivers: list[_Driver] = []
        self.consumers: list[SimulatedConsumer] = []
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
        return self.threads.future()

    def timers(self) -> Timers:
        return _Timers(self)

    def producer(self, settings: KafkaSettings, **config: Any) -> Producer:
        return cast("Producer", SimulatedProducer(self))

    def consumer(self, settings: KafkaSettings, **config: Any) -> Consumer:
        name, session_ms = config.get("group"), config.get("session_timeout_ms", 0)
        group = None if name is None else self._groups.of(name)
        return cast("Consumer", SimulatedConsumer(self, self._settings.topics.prefix, group, session_ms))

    @property
    def in_thread(self) -> bool:
        """Whether what runs may wait."""
        return isinstance(getcurrent(), Thread)

    def run(self, function: Callable[[], None], name: str) -> Joinable:
        """Runs it in a thread, once a broker can be reached."""

        def go() -> None:
            function()
            self.step_soon()

        thread = Thread(self.threads, go, self.process.context.copy())
        self._reach(READ_TIMEOUT_S * 1_000, thread.begin)
        return thread

    def event(self) -> ThreadEvent:
        return cast("ThreadEvent", self.threads.event())

    def condition(self) -> Condition:
        return cast("Condition", self.threads.condition())

    def queue(self) -> SimpleQueue[Any]:
        return cast("SimpleQueue[Any]", self.threads.queue())

    def in_loop(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> Future[T]:
        outcome = self.threads.future()
        _chained(loop.create_task(coroutine), outcome)
        return outcome

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

    def portal(self) -> NoReturn:
        refuse("What accord.sync runs in an event loop of its own (tasks, models)", "use accord.Accord.")

    # -- when steps are taken

    def step_soon(self) -> None:
        self._later(self._random.random(), self.step)

    def step_after(self, ms: float) -> None:
        self._later(ms + ROUNDING_MS, self.step)

    def step(self) -> None:
        if self.link.is_cut and not self._waits_for_link:
            self._waits_for_link = True
            self.process.scheduler.call_at(self.link.cut_until_ms, self._linked, process=self.process)
        self.threads.stir()
        for driver in self._drivers:
            driver.step()
        if any(driver.is_over for driver in self._drivers):
            self._drivers = [driver for driver in self._drivers if not driver.is_over]

    def _linked(self) -> None:
        self._waits_for_link = False
        self.threads.stir()
        self._later(self._latency_ms(), self.step)

    def arrived(self, topic: str, partition: int, record: LogRecord) -> None:
        """A record is in the log: it can be read a little later."""
        if any(consumer.reads(topic, partition) for consumer in self.consumers):
            self._later(self._latency_ms(), self.step)

    def expect_answer(self) -> None:
        """Something was sent: whoever sent it looks after it from time to time."""
        for driver in self._drivers:
            driver.sweep_soon()

    def _latency_ms(self) -> float:
        return self.link.latency_ms()

    def _later(self, ms: float, function: Callable[[], object]) -> None:
        self.process.call_later(ms, function)


def _chained(task: asyncio.Task[Any], outcome: Future[Any]) -> None:
    """Has a task's outcome be that of a future, and whoever cancels the future cancel the task."""

    def done(_: asyncio.Task[Any]) -> None:
        if outcome.done():
            return
        if task.cancelled():
            outcome.cancel()
        elif (error := task.exception()) is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(task.result())

    task.add_done_callback(done)
    outcome.add_done_callback(lambda _: task.cancel() if outcome.cancelled() else None)


class _Over:
    """What was driven, to who waits for it: there is nothing to wait for."""

    def join(self, timeout: float | None = None) -> None:
        return

    def is_alive(self) -> bool:
        return False


class _Driver:
    """The life of one connection, in events. Args: driven; in which context it runs."""

    def __init__(self, runtime: SimulatedRuntime, driven: Driven, context: Context) -> None:
        self._runtime = runtime
        self._driven: Any = driven
        self._context = context
        self._begun = False
        self._sweeping = False
        self._busy = False
        self._again = False
        self.is_over = False

    def begin(self) -> None:
        self._begun = True
        self._runtime.threads.enter(lambda: self._do(self._driven.begin))

    def step(self) -> None:
        if self._busy:
            self._again = True
        elif self._begun and not self.is_over:
            self._runtime.threads.enter(self._step)

    def _step(self) -> None:
        self._do(self._driven.step, 0.0)
        while self._again and not self.is_over:
            self._again = False
            self._do(self._driven.step, 0.0)

    def _do(self, function: Callable[..., None], *args: Any) -> None:
        self._busy = True
        try:
            self._context.run(function, *args)
            self._end_if_over()
        finally:
            self._busy = False

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
