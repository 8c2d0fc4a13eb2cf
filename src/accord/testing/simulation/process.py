"""A simulated process: an event loop on virtual time that can be paused and killed.

What runs in it are coroutines as they are: a worker's processors, an agent's program. `ProcessLoop` is the part of an
event loop that such code uses; what a real one hands to a thread happens at one moment of virtual time, and its result
comes a little later. A killed process never runs on: its `finally` blocks are gone through, as Python must, but
whatever they send or write comes to nothing, for everything that leaves a process asks `alive` first.

Each process has a clock of its own, which may run a little fast or slow. A pause is not noticed by who is paused, but
for the time that has passed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

from accord.testing.simulation.scheduler import Event, Scheduler

TURN_MS: Final = 0.02
"""What one turn of an event loop takes."""
BLOCKING_MS: Final = 3.0
"""What is handed to a thread takes up to twice this long."""


class Process:
    """See the module's text.

    Args:
        scheduler: of the run.
        name: what chance and error texts call it.
        rate: how fast its clock runs: 1.0005 gains half a second in a thousand.

    `failures` are exceptions that nobody in the process handled.
    """

    def __init__(self, scheduler: Scheduler, name: str, *, rate: float = 1.0) -> None:
        self.scheduler = scheduler
        self.name = name
        self.random = scheduler.stream(name)
        self.rate = rate
        self.alive = True
        self.paused_until_ms = -1.0
        self.failures: list[BaseException] = []
        self.on_crash: list[Callable[[], object]] = []
        self.loop = ProcessLoop(self)  # type: ignore[abstract]
        self._turns_left: int | None = None

    def __repr__(self) -> str:
        return f"<Process {self.name}>"

    @property
    def time_s(self) -> float:
        """Its monotonic clock, in s."""
        return self.scheduler.now_ms * self.rate / 1_000

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs a coroutine in it."""
        return self.loop.create_task(coroutine)

    def call_later(self, ms: float, function: Callable[[], object]) -> Event:
        """Has a function called in it after so many ms of true time."""
        return self.scheduler.call_later(ms, function, process=self)

    def pause(self, ms: float) -> None:
        """Stops it for so long; nothing of it happens meanwhile."""
        self.paused_until_ms = max(self.paused_until_ms, self.scheduler.now_ms + ms)

    def crash(self, *, after_turns: int = 0) -> None:
        """Kills it.

        Args:
            after_turns: how many more callbacks it comes to; so it dies at any point of what it does.
        """
        if after_turns and self.alive:
            self._turns_left = after_turns
        elif self.alive:
            self.alive = False
            for told in self.on_crash:
                told()
            self.loop.abandon()

    def turned(self) -> bool:
        """A callback was run; whether it may go on with the next."""
        if self._turns_left is not None:
            self._turns_left -= 1
            if self._turns_left <= 0:
                self.crash()
        return self.alive


class ProcessLoop(asyncio.AbstractEventLoop):
    """The event loop of a process."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._ready: deque[asyncio.Handle] = deque()
        self._turning = False
        self._tasks: dict[asyncio.Task[Any], None] = {}

    # -- what coroutines, futures and timeouts ask for

    def time(self) -> float:
        return self.process.time_s

    def is_running(self) -> bool:
        return self.process.alive

    def is_closed(self) -> bool:
        return not self.process.alive

    def get_debug(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        if not self._turning:
            self._turning = True
            self.process.scheduler.call_later(TURN_MS, self._turn, process=self.process)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = _Timer(when, callback, args, self, context)
        at_ms = when * 1_000 / self.process.rate
        handle.event = self.process.scheduler.call_at(at_ms, lambda: self._due(handle), process=self.process)
        return handle

    def _due(self, handle: asyncio.TimerHandle) -> None:
        if not handle.cancelled():
            self._ready.append(handle)
            if not self._turning:
                self._turning = True
                self._turn()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if isinstance(handle, _Timer) and handle.event is not None:
            handle.event.cancel()

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        if self.process.alive:
            self._tasks[task] = None
            task.add_done_callback(self._done)
        else:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coro.close()
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """What would be done in a thread is done at one moment, soon; its result comes a little later."""
        future = self.create_future()
        process = self.process

        def settle(result: Any, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def work() -> None:
            result, error = None, None
            try:
                result = func(*args)
            except Exception as raised:
                error = raised
            process.call_later(process.random.random() * BLOCKING_MS, lambda: self.call_soon(settle, result, error))

        process.call_later(process.random.random() * BLOCKING_MS, lambda: self.in_thread(work))
        return future

    def in_thread(self, work: Callable[[], None]) -> None:
        """Runs what does not wait."""
        work()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if self.process.alive and error is not None:
            self.process.failures.append(error)

    # -- running

    def _turn(self) -> None:
        """Runs what was ready when the turn began, as an event loop does."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            for _ in range(len(self._ready)):
                if not self._ready:
                    break
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
                    if not self.process.turned():
                        return
        finally:
            asyncio._set_running_loop(outer)
        if self._ready:
            self.process.scheduler.call_later(TURN_MS, self._turn, process=self.process)
        else:
            self._turning = False

    def abandon(self) -> None:
        """The process is dead: nothing of it runs on."""
        self._ready.clear()
        tasks, self._tasks = list(self._tasks), {}
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with contextlib.suppress(Exception):
                coroutine = task.get_coro()
                if coroutine is not None:
                    coroutine.close()


class _Timer(asyncio.TimerHandle):
    event: Event | None = None
