"""The threads of a simulated process, and what they wait for.

A thread is a greenlet: it runs until it waits for something, and goes on in a later event of its process, once that is
there or took too long. The event loop of an agent is such a thread, too: a program that blocks in it stops its loop,
as it would in production.

A thread of a dead process ends where it waits: its `finally` blocks are gone through, and whatever they would wait for
ends them, too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from types import TracebackType
from typing import Any, Final

from greenlet import GreenletExit, getcurrent, greenlet

from accord.testing.simulation.process import Process
from accord.testing.simulation.scheduler import Event as Happening

SOON_MS: Final = 0.02
"""A thread that waits for something goes on so soon after it is there."""

Ready = Callable[[], bool]


class NotSimulated(BaseException):
    """A simulated agent did what cannot be simulated. The text says what, and what to do in its place. No handler of
    errors is meant to take it for one of the program's."""


class Thread(greenlet):
    """A thread. Args: threads: of its process; function: what it runs; context: in which."""

    def __init__(self, threads: Threads, function: Callable[[], object], context: Context | None = None) -> None:
        super().__init__(function)
        if context is not None:
            self.gr_context = context
        self.ready: Ready | None = None
        self._threads = threads

    def begin(self) -> None:
        """Runs until it first waits."""
        self._threads.go_on(self)

    def join(self, timeout: float | None = None) -> None:
        self._threads.wait_until(lambda: self.dead, timeout)

    def is_alive(self) -> bool:
        return not self.dead


class Threads:
    """The threads of one process. `stirs` counts what somebody may have waited for."""

    def __init__(self, process: Process) -> None:
        self.stirs = 0
        self._process = process
        self._waiting: list[Thread] = []
        self._looking = False
        process.on_crash.append(self._end)

    def enter(self, function: Callable[[], object], context: Context | None = None) -> None:
        """Runs a function that may wait; returns when it ends or waits. Without a context it has an empty one."""
        self._switch(Thread(self, function, context))

    def wait_until(self, ready: Ready, timeout_s: float | None = None) -> bool:
        """Lets all else go on until something is there.

        Args:
            ready: whether it is; asked after whatever happens in this process that somebody may wait for.
            timeout_s: the longest wait, by the process's clock.

        Returns:
            Whether it is there.

        Raises:
            NotSimulated: called by who cannot wait.
        """
        thread = getcurrent()
        if not self._process.alive:
            raise GreenletExit
        if ready():
            return True
        if timeout_s is not None and timeout_s <= 0:
            return False
        if not isinstance(thread, Thread):
            raise NotSimulated("Waiting in what is no thread and no event loop's turn cannot be simulated.")
        timer: Happening | None = None
        if timeout_s is not None:
            ms = timeout_s * 1_000 / self._process.rate
            timer = self._process.call_later(ms, lambda: self._late(thread))
        thread.ready = ready
        self._waiting.append(thread)
        loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            assert thread.parent is not None
            thread.parent.switch()
        finally:
            asyncio._set_running_loop(loop)
            thread.ready = None
            if timer is not None:
                timer.cancel()
        return ready()

    def stir(self) -> None:
        """Something happened that a thread may wait for."""
        self.stirs += 1
        if self._waiting and not self._looking:
            self._looking = True
            self._process.call_later(SOON_MS, self._look)

    def _look(self) -> None:
        self._looking = False
        for thread in list(self._waiting):
            if thread.ready is not None and thread.ready():
                self.go_on(thread)

    def _late(self, thread: Thread) -> None:
        if thread in self._waiting:
            self.go_on(thread)

    def go_on(self, thread: Thread) -> None:
        """A thread goes on; that is a turn of its process."""
        if thread in self._waiting:
            self._waiting.remove(thread)
        self._switch(thread)
        self._process.turned()

    def _switch(self, thread: Thread) -> None:
        thread.parent = getcurrent()
        thread.switch()
        if thread.dead:
            self.stir()

    def _end(self) -> None:
        """The process is dead."""
        waiting, self._waiting = self._waiting, []
        for thread in waiting:
            thread.parent = getcurrent()
            with suppress(Exception):
                thread.throw(GreenletExit)

    # -- what threads wait for

    def event(self) -> Event:
        return Event(self)

    def condition(self) -> Condition:
        return Condition(self)

    def queue(self) -> Queue:
        return Queue(self)

    def future(self) -> Outcome:
        return Outcome(self)


class Event:
    """See `threading.Event`."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._threads.stir()

    def wait(self, timeout: float | None = None) -> bool:
        return self._threads.wait_until(self.is_set, timeout)


class Condition:
    """See `threading.Condition`. Its lock is no more than a mark: no thread goes on while another one runs."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        return

    def wait_for(self, predicate: Ready, timeout: float | None = None) -> bool:
        return self._threads.wait_until(predicate, timeout)

    def notify_all(self) -> None:
        self._threads.stir()


class Queue:
    """See `queue.SimpleQueue`."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._items: deque[Any] = deque()

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._threads.stir()

    def get(self) -> Any:
        self._threads.wait_until(lambda: bool(self._items))
        return self._items.popleft()


class Outcome(Future[Any]):
    """A future for which threads wait."""

    def __init__(self, threads: Threads) -> None:
        super().__init__()
        self._threads = threads
        self.add_done_callback(lambda _: threads.stir())

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            self._threads.wait_until(self.done, timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if not self.done():
            self._threads.wait_until(self.done, timeout)
        return super().exception(0)
