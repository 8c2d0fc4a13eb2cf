"""An agent's process at work: it takes the steps that its team gives it, runs them and tells what came of it.

    async with hub.work(graph, slots=8):
        ...

Rules that act here:
- A step runs from the log's word that this process is to run it until its end was recorded. What cannot be told for
  want of a broker or worker is told again under the same id, for as long as this process is a member.
- Who completed a step may be told in the same breath to go on with the next one.
- A run that the log has ended (its time is over, its agent was counted as lost, the task was cancelled) is cancelled
  here, and nothing of it is told. A plain function cannot be: it ends by itself, and its word is ignored.
- Membership hangs on the process's heartbeat, which beats on accord's own thread, and is a lease beside. Who lost it
  has lost its runs, and joins again. With a lease of a length that was asked for it hangs on nothing else.
- Who leaves takes nothing new, waits a bounded time for what runs, and gives back the rest.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from accord.agents import context
from accord.agents.agent import Agent
from accord.agents.artifacts.artifacts import payload_of, value_of
from accord.agents.connection.connection import Answer
from accord.agents.leases.leases import RENEWALS_A_LEASE
from accord.agents.locks.arguments import check_lease_ms, check_number
from accord.agents.operations import Operation
from accord.agents.signals import signals
from accord.agents.signals.plain import NotPlain, as_json
from accord.agents.tasks.given import Models, of_agent, of_graph, result_of
from accord.agents.tasks.graph import TEAM, Function, GiveUp, Run, TaskGraph, checked_name
from accord.schemas.messages import Command
from accord.schemas.messages.roster import (
    AgentsAssigned,
    Assignment,
    JoinRefused,
    JoinTeam,
    LeaveTeam,
    MemberLost,
    RenewalRefused,
    RenewMembership,
    Tie,
)
from accord.schemas.messages.tasks import (
    CompleteStep,
    FailStep,
    Input,
    ReadTask,
    ResultIgnored,
    ReturnStep,
    StartStep,
    StepLost,
    StepStarted,
    StepTimedOut,
    TaskCancelled,
    TaskRead,
)
from accord.streams.chain import Decision
from accord.streams.roster.bounds import SLOTS_MAX
from accord.streams.tasks.bounds import CAPABILITIES_MAX, ERROR_CHARS_MAX

from accord import logs
from accord.errors import AccordError, BadInput, Overloaded, TooLarge, Unavailable
from accord.tracing import SpanKind

if TYPE_CHECKING:
    from accord.agents.hub import Hub

logger = logs.get("accord.tasks")

LEASE_MS: Final = 10_000
"""Of a membership that hangs on the heartbeat, before the log has said that it does."""
TIED_LEASE_MS: Final = 60_000
"""And after."""
DRAIN_MS: Final = 10_000
AGAIN_MS: Final = 500
"""How long to wait before telling again what could not be told."""


class Running:
    """A run in this process."""

    def __init__(self, task_id: str, started: StepStarted) -> None:
        self.task_id = task_id
        self.started = started
        self.ended = False
        """The log has ended it, or this process has."""
        self.body: asyncio.Task[None] | None = None
        self.trace: str | None = None
        """Of its span, once it has begun."""
        self.unwatch: Callable[[], None] = lambda: None


class _Observed(Operation):
    """The run of a step as spans, logs and figures tell it: part of its task's trace, wherever it runs."""

    __slots__ = ("_run",)

    def __init__(self, hub: Hub, run: Running, agent: str) -> None:
        started = run.started
        super().__init__(
            hub,
            started.step,
            run.task_id,
            agent=agent,
            parent=started.trace,
            kind=SpanKind.CONSUMER,
            counted=False,
            capability=started.capability,
            member=started.member,
            tries=started.tries,
        )
        self._run = run

    def __enter__(self) -> Self:
        super().__enter__()
        self._run.trace = self.traceparent
        if self._hub is not None and self._hub.metrics is not None:
            self._hub.metrics.step_started(self._name[0], self._run.started.capability)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._hub is None or self._hub.metrics is None:
            return
        if isinstance(error, asyncio.CancelledError):
            outcome = "ended" if self._run.ended else "returned"
        else:
            outcome = "completed" if error is None else "failed"
        self._hub.metrics.step_ended(self._name[0], self._run.started.capability, outcome, self.seconds)


class Work:
    """A member of a team; made by `Accord.work`."""

    def __init__(
        self,
        hub: Hub,
        offered: Iterable[TaskGraph | Agent],
        *,
        capabilities: Iterable[str] | None,
        slots: int,
        team: str | None,
        lease_ms: int | None,
        drain_ms: int,
    ) -> None:
        self._hub = hub
        given = list(offered)
        graphs = [one for one in given if isinstance(one, TaskGraph)]
        agents = [one for one in given if isinstance(one, Agent)]
        teams = {graph.team for graph in graphs} or {TEAM} if team is None else {checked_name("team", team)}
        if len(teams) != 1:
            raise BadInput(f"graphs of {len(teams)} teams: one works for one team at a time.")
        (self.team,) = teams
        self._agents = {name: agent.function for agent in agents for name in agent.capabilities}
        self._names = {name: agent.shown for agent in agents for name in agent.capabilities}
        self._functions: dict[tuple[str, str], Function] = {
            (graph.name, name): function for graph in graphs for name, function in graph.functions.items()
        }
        own = {step.capability for graph in graphs for step in graph.steps if step.name in graph.functions}
        able = own | set(self._agents) if capabilities is None else set(capabilities)
        self.capabilities: Final = tuple(sorted(able))
        if not 0 < len(self.capabilities) <= CAPABILITIES_MAX:
            raise BadInput(
                f"{len(self.capabilities)} capabilities: 1 to {CAPABILITIES_MAX} are needed.",
                remedy="Give agents, or graphs whose steps have functions here, or name capabilities.",
            )
        self.slots: Final = check_number("slots", slots, 1, SLOTS_MAX)
        self._hangs = lease_ms is None
        self._lease_ms = LEASE_MS if lease_ms is None else check_lease_ms(lease_ms, 0)
        self._drain_ms = drain_ms
        self._agent = hub.agent
        self.member = f"{self._agent}/{hub.connection.runtime.new_id()[-12:]}"
        self._runs: dict[tuple[str, str], Running] = {}
        self._models = Models(hub)
        self._stopping = False
        self._idle = asyncio.Event()
        self._stop_renewing: Callable[[], None] = lambda: None
        self._take_off: Callable[[], None] = lambda: None
        self._unwatch: Callable[[], None] = lambda: None
        self._no_failure: Callable[[], None] = lambda: None

    async def wait(self) -> None:
        """Works until it is cancelled: for programs that do nothing else.

        Raises:
            AccordError: the connection has failed or was closed; nothing is done any more.
        """
        await asyncio.shield(self._failed)

    # -- membership

    async def __aenter__(self) -> Self:
        self._hub.ensure_open("work()")
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._threads = ThreadPoolExecutor(self.slots, f"accord-{self._agent}")
        self._connection, self._heartbeat = self._hub.connection, self._hub.heartbeat
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._no_failure = self._connection.on_failure(self._fail)
        self._unwatch = self._connection.watch("roster", self.team, self._heard)
        try:
            answer = await asyncio.wrap_future(self._join())
            for event in answer.events:
                if isinstance(event, JoinRefused) and event.member == self.member:
                    raise Overloaded(
                        f"the team {self.team} has {event.members} members, which is as many as there may be.",
                        remedy="Work in another team, or with more slots in fewer processes.",
                        key=self.team,
                        position=str(answer.position),
                    )
        except BaseException:
            self._leave()
            raise
        if self._hangs:
            with suppress(AccordError):  # its lease is left, and the next membership
                self._take_off = self._heartbeat.hang(Tie("roster", self.team, self.member), now=True)
        self._renew_later()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        bodies = [run.body for run in self._runs.values() if run.body is not None]
        if bodies:
            await asyncio.wait(bodies, timeout=self._drain_ms / 1_000)
        for body in bodies:
            body.cancel()
        await asyncio.gather(*bodies, return_exceptions=True)
        self._stop_renewing()
        await self._models.close()
        with suppress(AccordError):
            submission = self._connection.submit("roster", self.team, LeaveTeam(self._agent, self.member))
            await asyncio.wrap_future(submission.decided)
        self._leave()

    def _leave(self) -> None:
        self._stopping = True
        self._stop_renewing()
        self._take_off()
        self._unwatch()
        self._no_failure()
        self._failed.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fail(self, error: AccordError) -> None:
        """The connection is gone, and with it all that runs; on accord's thread."""
        self._stopping = True
        for run in list(self._runs.values()):
            self._end(run)
        self._loop.call_soon_threadsafe(self._tell_failure, error)

    def _tell_failure(self, error: AccordError) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)
            self._failed.exception()  # nobody need wait for it

    def _join(self) -> Future[Answer]:
        command = JoinTeam(self._agent, self.member, self.capabilities, self.slots, self._lease())
        return self._connection.submit("roster", self.team, command).decided

    def _renew_later(self) -> None:
        self._stop_renewing = self._connection.call_later(self._lease() / RENEWALS_A_LEASE, self._renew)

    def _lease(self) -> int:
        tied = self._hangs and self._heartbeat.is_tied(self.member)
        return TIED_LEASE_MS if tied else self._lease_ms

    def _renew(self) -> None:
        if self._stopping:
            return
        lease_ms = self._lease()
        command = RenewMembership(self._agent, self.member, lease_ms)
        with suppress(AccordError):  # the next one may get through
            self._connection.submit("roster", self.team, command, answer_ms=lease_ms)
        self._renew_later()

    def _heard(self, answer: Answer) -> None:
        """A decision about the team; on accord's thread."""
        for event in answer.events:
            match event:
                case AgentsAssigned(assignments):
                    for assignment in assignments:
                        if assignment.member == self.member:
                            self._take(assignment, answer.decision)
                case MemberLost(_, member) | RenewalRefused(_, member) if member == self.member and not self._stopping:
                    logger.warning("lost its place; joining again", team=self.team, member=member, agent=self._agent)
                    for run in list(self._runs.values()):
                        self._end(run)
                    self._stop_renewing()
                    with suppress(AccordError):
                        self._join()
                    self._renew_later()

    # -- taking steps

    def _take(self, given: Assignment, decision: Decision) -> None:
        """Takes up what the team has given; on accord's thread."""
        if not self._stopping:
            command = StartStep(self._agent, self.member, self.team, given.step, given.attempt, self.capabilities)
            of_this_task = decision.task == given.task.encode() and decision.trace.isascii()
            self._tell(given.task, command, self._started, decision.trace.decode() if of_this_task else None)

    def _tell(
        self, task_id: str, command: Command, told: Callable[[Answer], None], trace: str | None, message_id: str = ""
    ) -> None:
        """Sends a command about a task, and again under its id until it is decided."""
        message_id = message_id or self._connection.new_id()
        about = {"agent": self._agent, "task": task_id, "action": type(command).__name__}

        def again() -> None:
            self._tell(task_id, command, told, trace, message_id)

        def decided(decision: Future[Answer]) -> None:
            error = decision.exception()
            if error is None:
                told(decision.result())
            elif isinstance(error, Unavailable) and not self._stopping:
                self._connection.call_later(AGAIN_MS, again)
            else:
                logger.warning("could not be told", why=str(error), **about)

        try:
            submission = self._connection.submit(
                "tasks", task_id, command, task=task_id, trace=trace, message_id=message_id
            )
        except Overloaded:
            self._connection.call_later(AGAIN_MS, again)
        except AccordError as error:
            logger.warning("could not be told", why=str(error), **about)
        else:
            submission.decided.add_done_callback(decided)

    def _started(self, answer: Answer) -> None:
        """The log's word on a step that was taken up, or completed; on accord's thread."""
        task_id = answer.decision.key.decode()
        for event in answer.events:
            match event:
                case StepStarted() if event.member == self.member:
                    run = Running(task_id, event)
                    self._runs[task_id, event.step] = run
                    run.unwatch = self._connection.watch("tasks", task_id, partial(self._of, run))
                    self._loop.call_soon_threadsafe(self._begin, run, context=self._context.copy())
                case ResultIgnored(_, step, token, reason):
                    about = {"agent": self._agent, "task": task_id, "action": step}
                    logger.warning("a result came too late", token=token, why=reason, **about)

    def _of(self, run: Running, answer: Answer) -> None:
        """A decision about the task of a run; on accord's thread."""
        for event in answer.events:
            match event:
                case StepTimedOut(_, member, step) | StepLost(_, member, step):
                    if member == self.member and step == run.started.step:
                        self._end(run)
                case TaskCancelled():
                    self._end(run)

    def _end(self, run: Running) -> None:
        """The log has ended a run; from any thread."""
        run.ended = True
        self._loop.call_soon_threadsafe(self._cancel, run)

    @staticmethod
    def _cancel(run: Running) -> None:
        if run.body is not None:
            run.body.cancel()

    # -- running them

    def _begin(self, run: Running) -> None:
        run.body = self._loop.create_task(self._run(run))

    async def _run(self, run: Running) -> None:
        """Runs a step and tells what came of it."""
        started = run.started
        command: Command | None = None
        try:
            if run.ended:
                return
            if self._stopping:
                command = ReturnStep(self._agent, started.step, started.token)
            else:
                command = await self._outcome(run)
        except asyncio.CancelledError:
            command = ReturnStep(self._agent, started.step, started.token)
            raise
        finally:
            run.unwatch()
            if self._runs.get((run.task_id, started.step)) is run:
                del self._runs[run.task_id, started.step]
            if command is not None and not run.ended:
                self._tell(run.task_id, command, self._started, run.trace)

    async def _outcome(self, run: Running) -> Command:
        """What came of a run, as the command that tells it."""
        started, agent = run.started, self._agent
        limit_s = started.timeout_ms / 1_000
        try:
            with _Observed(self._hub, run, self._name_of(started)):
                async with asyncio.timeout(limit_s):
                    result = as_json(await self._call(run))
            try:
                payload = await payload_of(self._hub, result)
            except TooLarge as problem:
                return FailStep(agent, started.step, started.token, "ResultTooLarge", str(problem), final=True)
            return CompleteStep(agent, started.step, started.token, payload)
        except NotPlain as problem:
            error = f"{started.step}() returned {problem}; a result is JSON types, dataclasses or pydantic models"
            return FailStep(agent, started.step, started.token, "ResultNotSerializable", error, final=True)
        except TimeoutError as problem:
            error = str(problem) or f"took more than {started.timeout_ms} ms"
            return FailStep(agent, started.step, started.token, "TimeoutError", error, final=False)
        except Exception as problem:
            about = {"agent": self._name_of(started), "task": run.task_id, "action": started.step}
            logger.info("a step failed", why=repr(problem), **about)
            kind, error = type(problem).__name__, str(problem)[:ERROR_CHARS_MAX]
            return FailStep(agent, started.step, started.token, kind, error, final=isinstance(problem, GiveUp))

    def _name_of(self, started: StepStarted) -> str:
        """Who runs a step, by the name that people know: of several agents in a process, the one that is able."""
        return self._names.get(started.capability, self._agent)

    async def _call(self, run: Running) -> Any:
        started = run.started
        own = self._functions.get((started.type, started.step))
        function = own or self._agents.get(started.capability)
        if function is None:
            raise GiveUp(f"{self._agent} has no function for the step {started.step} of {started.type}")
        inputs, errors = await self._inputs(run.task_id, started.inputs)
        key = f"{run.task_id}/{started.step}"
        statuses = {one.step: one.status for one in started.inputs}
        about = Run(run.task_id, started.step, key, started.tries, started.token, inputs, errors, statuses)
        input = await value_of(self._hub, started.input)
        if own is not None:
            known = of_graph(input, about)
        else:
            known = of_agent(function, started.type, self._name_of(started), input, about, self._models)
        arguments = {name: known.get(name) for name in function.parameters}
        return result_of(function, started.type, input, await self._called(run, function, arguments))

    async def _called(self, run: Running, function: Function, arguments: dict[str, Any]) -> Any:
        started = run.started
        context.use(self._hub)
        with signals.task(run.task_id), context.running(started.step, started.token):
            if asyncio.iscoroutinefunction(function.call):
                return await function.call(**arguments)
            within = contextvars.copy_context()
            result = await self._loop.run_in_executor(self._threads, lambda: within.run(function.call, **arguments))
            return await result if asyncio.iscoroutine(result) else result

    async def _inputs(self, task_id: str, told: Iterable[Input]) -> tuple[dict[str, Any], dict[str, str]]:
        """The results of the steps before, and the errors of those that have none."""
        inputs = {one.step: await value_of(self._hub, one.result) for one in told if one.result is not None}
        errors = {one.step: one.error or one.status for one in told if one.status != "completed"}
        omitted = [one.step for one in told if one.omitted]
        while omitted:
            command = ReadTask(self._agent, tuple(omitted), 0)
            answer = await asyncio.wrap_future(self._connection.submit("tasks", task_id, command, task=task_id).decided)
            (read,) = [event for event in answer.events if isinstance(event, TaskRead)]
            inputs |= {one.step: await value_of(self._hub, one.result) for one in read.steps if one.result is not None}
            omitted = omitted[len(read.steps) :]
        return inputs, errors
