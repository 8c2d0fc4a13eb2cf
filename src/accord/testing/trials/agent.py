"""A simulated agent: a program with a hub, in a process of its own that may stop, die, be cut off and start again.

What befalls it is fixed beforehand: after so many things that are told of it in the trace, and so many turns more. A
turn is a callback of its event loop, so every `await` is a point at which something can happen to it; and the things
that are told are the same under most schedules, so a fault meets what it is meant for.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar, copy_context
from functools import partial
from types import CoroutineType, FrameType
from typing import Any, Final, NamedTuple

from greenlet import getcurrent, greenlet

from accord.agents.client import Accord
from accord.agents.connection import runtime
from accord.agents.signals.handlers import in_thread
from accord.errors import AccordError, BadInput
from accord.schemas.headers import LogRecord
from accord.settings import Settings
from accord.sync import Accord as SyncAccord
from accord.testing.simulation.log import Log
from accord.testing.simulation.network import Link
from accord.testing.simulation.process import Process, ProcessLoop
from accord.testing.simulation.scheduler import Scheduler
from accord.testing.trials.groups import Groups
from accord.testing.trials.runtime import SimulatedRuntime, refuse
from accord.testing.trials.threads import NotSimulated, Threads

RESTART_MS: Final = 1_000.0
"""A program that ended badly is started again within twice this time."""
RESTARTS_MAX: Final = 50
"""So often; then it counts as one that cannot do its work."""
DRIFT: Final = 0.0004
"""How much faster or slower an agent's clock may run than the brokers'."""
CLOSINGS_MAX: Final = 100
"""So often a program that is dead may wait for something while it is closed."""

current: Final[ContextVar[AgentRun | None]] = ContextVar("accord_simulated_agent", default=None)
"""Whose code runs."""


class Fault(NamedTuple):
    """What befalls an agent: written `crash booker-1@3.2`, `pause booker-1@4.1+35000`, `cut booker-2@0.7+2000`.

    It comes `turn` turns after the `after`th thing that is told of the agent, or else in its next turn; things that are
    told are its reads, writes, notes and sections, and the decisions that name it. `ms` is how long it lasts. An outage
    is of no agent: `outage@900+12000` begins at 900 ms.
    """

    kind: str
    agent: str
    after: int
    turn: int = 0
    ms: int = 0

    def __str__(self) -> str:
        whose = f" {self.agent}" if self.agent else ""
        lasting = f"+{self.ms}" if self.kind != "crash" else ""
        turn = f".{self.turn}" if self.agent else ""
        return f"{self.kind}{whose}@{self.after}{turn}{lasting}"


class Program(NamedTuple):
    """What an agent is declared to be; see `AccordSim.agent`."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    restarts: bool
    may_raise: tuple[type[BaseException], ...]
    forever: bool


Tell = Callable[["AgentRun", str, Fault | None], None]


class AgentRun:
    """One agent in one run.

    Args:
        scheduler, log, groups: of the run.
        program: what it runs.
        faults: those of this agent.
        settings: of its hubs.
        tell: what becomes of it is told here, with the fault that it is of, if any.
        start_ms: when it starts.

    `status` is one of `running`, `done`, `crashed`, `failed`; `error` is with what it failed.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        log: Log,
        groups: Groups,
        program: Program,
        faults: Sequence[Fault],
        settings: Settings,
        tell: Tell,
        start_ms: float,
    ) -> None:
        self.scheduler = scheduler
        self.program = program
        self.name = program.name
        self.status = "running"
        self.error: BaseException | None = None
        self.turns = [0]
        """How many turns came after each thing that was told of it, first those before anything was."""
        self.starts = 0
        self.ended_ms = 0.0
        self.sections: list[str] = []
        """Those that it is in, outermost first, each with its number; see `accord_sim.section`."""
        self.process: AgentProcess | None = None
        self.runtime: SimulatedRuntime | None = None
        self._log = log
        self._groups = groups
        self._faults = deque(sorted(faults, key=lambda fault: (fault.after, fault.turn)))
        self._settings = settings
        self._tell = tell
        self._random = scheduler.stream(f"{self.name}/life")
        self._task: asyncio.Task[None] | None = None
        self._thread: greenlet | None = None
        """Where a program runs that is a plain function."""
        self._is_up = False
        """Whether its program runs: a process whose program has ended may still send what it has to."""
        self._rate = 1 + self._random.uniform(-DRIFT, DRIFT)
        scheduler.call_later(start_ms, self._start)

    # -- its life

    def _start(self) -> None:
        self.starts += 1
        self._is_up = True
        self._thread = None
        self.sections = []
        self.process = process = AgentProcess(self, self._rate)
        self._link = Link(process, self._log)
        context = process.context
        self.runtime = simulated = SimulatedRuntime(process, self._link, self._groups, self._settings, self.name)
        context.run(runtime.use, simulated)
        context.run(current.set, self)
        self._task = process.loop.create_task(self._main(), context=context)
        self._task.add_done_callback(self._over)
        self._tell(self, "starts" if self.starts == 1 else "starts again", None)

    async def _main(self) -> None:
        program = self.program
        if not _is_async(program.function):
            await self._in_thread()
            return
        if not _wants_hub(program):
            await _awaitable(program, program.function(*program.arguments))
            return
        async with Accord(agent=self.name) as hub:
            await _awaitable(program, program.function(hub, *program.arguments))

    async def _in_thread(self) -> None:
        """Runs a plain function, which may block."""
        program = self.program

        def run() -> None:
            self._thread = getcurrent()
            if _wants_hub(program):
                with SyncAccord(agent=self.name) as hub:
                    _not_awaitable(program, program.function(hub, *program.arguments))
            else:
                _not_awaitable(program, program.function(*program.arguments))

        await asyncio.wrap_future(in_thread(self.name, run))

    def _over(self, task: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._is_up = False
        self.ended_ms = self.scheduler.now_ms
        assert self.process is not None
        self.process.loop.cancel_all()
        if error is None or isinstance(error, self.program.may_raise):
            self.status = "done"
        elif self.program.restarts and isinstance(error, AccordError) and self.starts <= RESTARTS_MAX:
            self._start_again()
        else:
            self.status, self.error = "failed", error
        self._tell(self, "is done" if error is None else f"ends: {_short(error)}", None)

    def _start_again(self) -> None:
        self.scheduler.call_later(self._random.random() * 2 * RESTART_MS, self._start)

    def turned(self) -> None:
        """One more turn; what was to happen by then happens."""
        self.turns[-1] += 1
        place = len(self.turns) - 1, self.turns[-1]
        faults = self._faults
        while self._is_up and faults and (faults[0].after, faults[0].turn) <= place:
            self._befall(faults.popleft())

    def told(self) -> None:
        """One more thing was told of it."""
        self.turns.append(0)

    def _befall(self, fault: Fault) -> None:
        process, at = self.process, where(self._task, self._thread)
        assert process is not None
        match fault.kind:
            case "crash":
                self._is_up = False
                self.ended_ms = self.scheduler.now_ms
                process.crash()
                if self.program.restarts:
                    self._start_again()
                else:
                    self.status = "crashed"
                self._tell(self, f"crashes at {at}", fault)
            case "pause":
                process.pause(fault.ms)
                self._tell(self, f"is paused for {fault.ms:,} ms at {at}", fault)
            case "cut":
                self._link.cut(fault.ms)
                self._tell(self, f"is cut off for {fault.ms:,} ms at {at}", fault)

    def arrived(self, topic: str, partition: int, record: LogRecord) -> None:
        """A record is in the log."""
        if self.runtime is not None and self.process is not None and self.process.alive:
            self.runtime.arrived(topic, partition, record)

    def end(self) -> None:
        """The trial is over, and so is everything of it."""
        if self.process is not None:
            self.process.crash()

    @property
    def is_alive(self) -> bool:
        """Whether its process runs, or is paused."""
        return self.process is not None and self.process.alive

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status != "running"

    @property
    def is_expected(self) -> bool:
        """Whether it is to be done one day."""
        return not self.program.forever and self.status != "crashed"

    def where(self) -> str:
        """Where its program stands."""
        return where(self._task, self._thread) if self.status == "running" else self.status


class AgentProcess(Process):
    """The process of an agent, which counts its turns."""

    def __init__(self, agent: AgentRun, rate: float) -> None:
        super().__init__(agent.scheduler, f"{agent.name}.{agent.starts}", rate=rate)
        self.loop: AgentLoop = AgentLoop(self)  # type: ignore[abstract]
        self.threads = Threads(self)
        self.context = copy_context()
        """In which its threads begin."""
        self._agent = agent

    def turned(self) -> bool:
        if self.alive:
            self._agent.turned()
        return super().turned()


class AgentLoop(ProcessLoop):
    """An event loop in which a program may block, and that says of what it does not have that it does not."""

    process: AgentProcess

    def _turn(self) -> None:
        self.process.threads.enter(super()._turn)

    def in_thread(self, work: Callable[[], None]) -> None:
        """Runs what may wait."""
        self.process.threads.enter(work, self.process.context.copy())

    def cancel_all(self) -> None:
        """What a program leaves running is cancelled when it ends, as `asyncio.run` does."""
        for task in list(self._tasks):
            task.cancel()

    def abandon(self) -> None:
        """As `ProcessLoop.abandon`. Code that waits for something while it is closed is closed again."""
        for task in self._tasks:
            _close(task.get_coro())
        super().abandon()


def _close(coroutine: Any) -> None:
    """Closes a coroutine and all that it waits for, innermost first."""
    for _ in range(CLOSINGS_MAX):
        inner = getattr(coroutine, "cr_await", None)
        if isinstance(inner, CoroutineType):
            _close(inner)
        with contextlib.suppress(Exception):
            coroutine.close()
            return


def _refusal(name: str) -> Callable[..., Any]:
    def refused(self: AgentLoop, *_: Any, **__: Any) -> Any:
        refuse(
            f"What leaves the process by the event loop ({name})",
            "give the agent a stand-in for it: a plain async function, or accord_sim.resource().",
        )

    return refused


for _name in (
    "add_reader",
    "add_signal_handler",
    "add_writer",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "getaddrinfo",
    "getnameinfo",
    "sendfile",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_sendall",
    "sock_sendfile",
    "start_tls",
    "subprocess_exec",
    "subprocess_shell",
):
    setattr(AgentLoop, _name, _refusal(_name))


def _wants_hub(program: Program) -> bool:
    """Whether a function has one parameter more than it is declared with arguments."""
    try:
        inspect.signature(program.function).bind(*program.arguments)
    except TypeError:
        return True
    return False


def _is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _awaitable(program: Program, returned: Any) -> Awaitable[Any]:
    if not inspect.isawaitable(returned):
        raise BadInput(f"{program.name} runs {program.function!r}, which returns nothing to await.", remedy="async def")
    return returned


def _not_awaitable(program: Program, returned: Any) -> None:
    if inspect.iscoroutine(returned):
        returned.close()
    if inspect.isawaitable(returned):
        raise BadInput(
            f"{program.name} runs {program.function!r}, a plain function that returns something to await.",
            remedy="An async def gets an accord.Accord, a def an accord.sync.Accord.",
        )


def where(task: asyncio.Task[Any] | None, thread: greenlet | None = None) -> str:
    """The line of the user's program at which a task, or a thread, waits: the innermost that is neither accord's nor
    Python's own."""
    found = ""
    frame = getattr(thread, "gr_frame", None)
    while frame is not None:
        if _is_users(frame):
            return f"{frame.f_code.co_name}, line {frame.f_lineno}"
        frame = frame.f_back
    coroutine: Any = task.get_coro() if task is not None and not task.done() else None
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is not None and _is_users(frame):
            found = f"{frame.f_code.co_name}, line {frame.f_lineno}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
    return found or "no line of its own"


def _is_users(frame: FrameType) -> bool:
    root = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return root not in ("accord", "anyio") and root not in sys.stdlib_module_names


def raised_at(error: BaseException) -> str:
    """The line of the user's program at which an error was raised."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if _is_users(frame):
            found = f"{frame.f_code.co_name}, line {line}"
    return found or "accord itself"


def _short(error: BaseException) -> str:
    text = str(error).splitlines()
    if isinstance(error, NotSimulated):
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__
