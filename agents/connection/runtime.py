"""What the client stands on: a clock, threads, ids, chance, and Kafka's clients.

`ON_KAFKA` is this machine. A simulation (`accord.testing`) puts another one in its place for what runs in the context
of a simulated agent; all that is above (commands, answers, leases, hubs) is the same code on both.
"""

from __future__ import annotations

import asyncio
import os
import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Final, Protocol, TypeVar

import uuid_utils
from accord.agents.connection.timers import Clock, Timers
from accord.agents.discovery import resolve
from anyio.from_thread import BlockingPortal, start_blocking_portal
from confluent_kafka import Consumer, Producer

from accord import kafka
from accord.settings import KafkaSettings, Settings

T = TypeVar("T")


class Joinable(Protocol):
    """What can be waited for: a thread."""

    def join(self, timeout: float | None = None) -> None: ...

    def is_alive(self) -> bool: ...


class Driven(Protocol):
    """What lives on a thread of its own, in steps: a connection."""

    @property
    def is_over(self) -> bool:
        """Whether there is no further step."""

    def begin(self) -> None:
        """The first step: may block."""

    def step(self, longest_s: float) -> None:
        """Waits for what there is to do, at most so long, and does it."""

    def end(self) -> None:
        """After the last step."""


class Runtime:
    """This machine."""

    monotonic: Clock = staticmethod(time.monotonic)
    """A clock that never steps back, in seconds."""
    uniform: Callable[[float, float], float] = staticmethod(random.uniform)
    """A number between two."""

    @property
    def name(self) -> str:
        """What an agent is called whom nobody named."""
        return f"{socket.gethostname()}-{os.getpid()}"

    def settings(self, given: Settings | None, bootstrap_servers: str | None) -> Settings:
        """The settings that a hub connects with; arguments and errors are those of `resolve`."""
        return resolve(given, bootstrap_servers)

    def now_ms(self) -> int:
        """The time, in ms since 1970."""
        return time.time_ns() // 1_000_000

    def new_id(self) -> str:
        """Another one each time; later ones are greater."""
        return str(uuid_utils.uuid7())

    def future(self) -> Future[Any]:
        """One that is settled later, from any thread."""
        return Future()

    def timers(self) -> Timers:
        return Timers(self.monotonic)

    def producer(self, settings: KafkaSettings, **config: Any) -> Producer:
        return kafka.producer(settings, **config)

    def consumer(self, settings: KafkaSettings, **config: Any) -> Consumer:
        """Arguments are those of `accord.kafka.consumer`."""
        return kafka.consumer(settings, **config)

    def run(self, function: Callable[[], None], name: str) -> Joinable:
        """Runs a function beside what calls: on a daemon thread."""
        thread = threading.Thread(target=function, name=name, daemon=True)
        thread.start()
        return thread

    def drive(self, driven: Driven, name: str, longest_s: float) -> Joinable:
        """Takes the steps of `driven` until it is over, beside what calls.

        Args:
            longest_s: longest wait of a step.
        """

        def steps() -> None:
            try:
                driven.begin()
                while not driven.is_over:
                    driven.step(longest_s)
            finally:
                driven.end()

        return self.run(steps, name)

    def wake(self, driven: Driven) -> None:
        """Something was asked of `driven`, which it will see in its next step: here one comes soon by itself."""

    # -- what functions on threads of their own wait for

    def event(self) -> threading.Event:
        return threading.Event()

    def condition(self) -> threading.Condition:
        return threading.Condition()

    def queue(self) -> queue.SimpleQueue[Any]:
        return queue.SimpleQueue()

    def in_loop(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> Future[T]:
        """Has an event loop of another thread run a coroutine."""
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    def portal(self) -> AbstractContextManager[BlockingPortal]:
        """An event loop on a thread of its own."""
        return start_blocking_portal()


ON_KAFKA: Final = Runtime()
_current: Final[ContextVar[Runtime]] = ContextVar("accord_runtime", default=ON_KAFKA)


def current() -> Runtime:
    """On what this context runs."""
    return _current.get()


def use(runtime: Runtime) -> None:
    """From here on this context runs on `runtime`, and what is started in it."""
    _current.set(runtime)


def countdown(wait_ms: int | None) -> Callable[[], int | None]:
    """Returns what tells how much is left of a wait that begins now, in ms: 0 when it is over, None without limit."""
    if wait_ms is None:
        return lambda: None
    monotonic = current().monotonic
    ends_s = monotonic() + wait_ms / 1_000
    return lambda: max(0, round((ends_s - monotonic()) * 1_000))
