"""A saga in the process that runs it.

Rules that act here:
- The log says which step is to run, and this process runs it; it decides nothing itself. What came of a run is told
  until it is recorded, for as long as the run counts.
- A run that the log has ended (its time is over, the lease is, somebody has cancelled the saga) is cancelled here, and
  nothing of it is told. A plain function cannot be: it ends by itself, and its word is ignored.
- The lease is renewed on accord's own thread. Who lost it and waits for the saga's end takes it again once it is
  offered, as any other process may.
- A function that raised has not taken effect; one that took too long, or that raises `TimeoutError` or
  `accord.OutcomeUnknown`, may have.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from accord.agents import context
from accord.agents.artifacts.artifacts import payload_of, value_of
from accord.agents.asked import called
from accord.agents.connection.connection import Answer
from accord.agents.operations import Operation
from accord.agents.sagas.definition import INPUT, STEP, Saga, StepRun
from accord.agents.sagas.handle import DOMAIN
from accord.agents.signals import signals
from accord.agents.signals.plain import NotPlain, as_json
from accord.agents.tasks.graph import GiveUp
from accord.agents.telling import Renewals, tell
from accord.schemas.messages import Command
from accord.schemas.messages.sagas import (
    CompensationBegun,
    CompleteStep,
    FailStep,
    ReadSaga,
    ReleaseSaga,
    RenewalRefused,
    RenewSaga,
    RunnerLost,
    SagaCompensated,
    SagaCompleted,
    SagaOffered,
    SagaRead,
    SagaStuck,
    SagaTaken,
    StepCompleted,
    StepStarted,
    StepTimedOut,
    TakeSaga,
)
from accord.schemas.messages.tasks import Payload
from accord.streams.sagas.bounds import ERROR_CHARS_MAX, RESULT_BYTES_MAX

from accord import logs
from accord.errors import AccordError, OutcomeUnknown, TooLarge
from accord.tracing import SpanKind

if TYPE_CHECKING:
    from accord.agents.hub import Hub

logger = logs.get("accord.sagas")


class Running:
    """A saga that this process runs or, if it can, takes; on the event loop that it is made in.

    Args:
        lease_ms: after so long without a sign of life others may take it.
        waits: it is taken whenever it is offered, until it has ended.
    """

    def __init__(self, hub: Hub, saga: Saga, saga_id: str, lease_ms: int, *, waits: bool) -> None:
        self._hub = hub
        self._saga = saga
        self.id: Final = saga_id
        self._lease_ms = lease_ms
        self._waits = waits
        self.runner: Final = hub.connection.new_id()  # it is told where it says
        self.input: Payload = "null"
        self.over: Final = asyncio.Event()
        """Not run here, or not any more."""
        self._results: dict[str, Payload] = {}
        self._attempt: int | None = None
        self._renewals: Renewals | None = None
        self._calling: tuple[int, asyncio.Task[None]] | None = None
        """The run whose function is under way."""
        self._bodies: set[asyncio.Task[None]] = set()
        self._taking: asyncio.Task[None] | None = None
        self._stopping = False
        self._unbegun: int | None = None
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._unwatch = hub.connection.watch(DOMAIN, saga_id, self._heard)
        self._no_failure = hub.connection.on_failure(self._failed)

    async def take(self) -> bool:
        """Asks for it. False: another process has it, or it has ended. Raises what `Connection.submit` raises."""
        answer = await self.send(TakeSaga(self._hub.agent, self.runner, self._lease_ms))
        return any(isinstance(event, SagaTaken) for event in answer.events)

    async def send(self, command: Command, **terms: Any) -> Answer:
        submission = self._hub.connection.submit(DOMAIN, self.id, command, task=self.id, **terms)
        return await asyncio.wrap_future(submission.decided)

    def begin_no_more(self) -> None:
        """What is under way goes on; what it is told to run next is left for others."""
        self._stopping = True

    async def leave(self, drain_ms: int = 0) -> None:
        """Runs nothing more, and gives it back if it has not ended.

        Args:
            drain_ms: how long what is under way may go on; then it is cancelled, and in doubt.
        """
        self.begin_no_more()
        if self._taking is not None:
            await asyncio.gather(self._taking, return_exceptions=True)
        if self._bodies and drain_ms:
            await asyncio.wait(self._bodies, timeout=drain_ms / 1_000)
        bodies = list(self._bodies)
        for body in bodies:
            body.cancel()
        await asyncio.gather(*bodies, return_exceptions=True)
        if self._attempt is not None:
            with suppress(AccordError):
                await self.send(ReleaseSaga(self._hub.agent, self._attempt, self._unbegun))
        self.forget()

    def forget(self) -> None:
        """Listens no more."""
        self._stopping = True
        self._lose()
        self._unwatch()
        self._no_failure()

    # -- what the log says

    def _heard(self, answer: Answer) -> None:
        """A decision about it; on accord's thread."""
        with suppress(RuntimeError):  # the loop is closed: nothing runs here any more
            self._loop.call_soon_threadsafe(self._note, answer, context=self._context.copy())

    def _failed(self, _: AccordError) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.forget)

    def _note(self, answer: Answer) -> None:
        taken = any(isinstance(event, SagaTaken) and event.runner == self.runner for event in answer.events)
        for event in answer.events:
            match event:
                case SagaTaken() if event.runner == self.runner:
                    self._hold(event)
                case SagaRead() if taken:
                    self._learn(event)
                case SagaOffered() if self._waits and self._attempt is None and not self._stopping:
                    self._taking = self._loop.create_task(self._take())
                case SagaCompleted() | SagaCompensated() | SagaStuck():
                    self._lose()
                case _ if self._attempt is not None:
                    self._note_of_run(event)

    def _note_of_run(self, event: Any) -> None:
        match event:
            case StepCompleted(step=step, result=result):
                self._results[step] = result
            case StepStarted() if event.runner == self.runner:
                self._begin(event)
            case StepTimedOut() | CompensationBegun() if event.runner == self.runner:
                self._cancel()
            case RunnerLost() if event.runner == self.runner:
                logger.warning("lost a saga", saga=self.id, why=event.reason, agent=self._hub.agent)
                self._lose()

    def _hold(self, event: SagaTaken) -> None:
        self.over.clear()
        self._attempt = event.attempt
        self._unbegun = None
        self._renewals = Renewals(self._hub.connection, self._lease_ms, self._renew, self._renewed)

    def _learn(self, read: SagaRead) -> None:
        self.input = read.input
        self._results = {step.name: step.result for step in read.steps if step.result is not None}
        signals.trail.set(read.trail)
        self._context = contextvars.copy_context()

    def _lose(self) -> None:
        """Not run here any more."""
        self._attempt = None
        if self._renewals is not None:
            self._renewals.stop()
        self._cancel()
        self.over.set()

    async def _take(self) -> None:
        try:
            await self.take()
        except AccordError as error:  # it is offered again
            logger.info("a saga could not be taken", saga=self.id, why=str(error), agent=self._hub.agent)

    # -- the lease; on accord's thread

    def _renew(self) -> Future[Answer]:
        command = RenewSaga(self._hub.agent, self._attempt or 0)
        submission = self._hub.connection.submit(
            DOMAIN, self.id, command, task=self.id, answer_ms=self._lease_ms, urgent=True
        )
        return submission.decided

    def _renewed(self, decided: Future[Answer]) -> None:
        if decided.exception() is None and isinstance(decided.result().events[-1], RenewalRefused):
            logger.info("a lease has ended", saga=self.id, agent=self._hub.agent)

    # -- running its steps

    def _begin(self, started: StepStarted) -> None:
        if self._stopping:
            self._unbegun = started.run
            return
        body = self._loop.create_task(self._run(started))
        self._calling = started.run, body
        self._bodies.add(body)
        body.add_done_callback(self._bodies.discard)

    def _cancel(self) -> None:
        """The run under way does not count any more. What is told already of it is told on."""
        if self._calling is not None:
            self._calling[1].cancel()
            self._calling = None

    async def _run(self, started: StepStarted) -> None:
        """Runs a step, or undoes it, and tells what came of it."""
        command = await self._outcome(started)
        if self._calling is not None and self._calling[0] == started.run:
            self._calling = None
            attempt = self._attempt
            await tell(self._hub, DOMAIN, self.id, command, lambda: self._attempt == attempt)

    async def _outcome(self, started: StepStarted) -> Command:
        """What came of a run, as the command that tells it."""
        agent, of = self._hub.agent, (started.step, started.undo, started.run)
        limit = asyncio.timeout(started.timeout_ms / 1_000)
        try:
            name, tries = started.step, started.tries
            with Operation(self._hub, name, self.id, kind=SpanKind.CONSUMER, undo=started.undo, tries=tries):
                async with limit:
                    returned = await self._call(started)
        except Exception as problem:
            logger.info("a step failed", saga=self.id, step=started.step, undo=started.undo, why=repr(problem))
            late = f"took more than {started.timeout_ms} ms" if limit.expired() else ""
            error, final = late or str(problem)[:ERROR_CHARS_MAX], isinstance(problem, GiveUp)
            in_doubt = isinstance(problem, TimeoutError | OutcomeUnknown)
            return FailStep(agent, *of, type(problem).__name__, error, final, in_doubt)
        if started.undo:
            return CompleteStep(agent, *of, "null")
        try:
            return CompleteStep(agent, *of, await payload_of(self._hub, as_json(returned), RESULT_BYTES_MAX))
        except NotPlain as problem:
            error = f"it has returned {problem}; a result is JSON types, dataclasses or pydantic models"
            return FailStep(agent, *of, "ResultNotSerializable", error[:ERROR_CHARS_MAX], final=True, in_doubt=True)
        except AccordError as problem:  # the store of artifacts has failed; the step has not
            error = str(problem)[:ERROR_CHARS_MAX]
            return FailStep(agent, *of, problem.code, error, isinstance(problem, TooLarge), in_doubt=True)

    async def _call(self, started: StepStarted) -> Any:
        name = started.step
        function = self._saga.functions[name, started.undo]
        results: Mapping[str, Any] = {one: await value_of(self._hub, text) for one, text in self._results.items()}
        key = f"{self.id}/{name}/{'undo' if started.undo else 'do'}"
        run = StepRun(self.id, name, started.undo, key, started.tries, started.run, results)
        known = {**results, INPUT: await value_of(self._hub, self.input), STEP: run}
        context.use(self._hub)
        with signals.task(self.id), context.running(name, started.run):
            return await called(function.call, **{one: known.get(one) for one in function.parameters})


async def is_runnable(hub: Hub, saga: Saga, saga_id: str) -> bool:
    """Whether a saga waits for a process, and has the steps that are defined here; if not, that is logged."""
    submission = hub.connection.submit(DOMAIN, saga_id, ReadSaga(hub.agent), task=saga_id)
    read = (await asyncio.wrap_future(submission.decided)).events[-1]
    if not isinstance(read, SagaRead) or read.runner_agent or read.ended_ms is not None:
        return False
    names = [step.name for step in saga.steps]
    if [step.name for step in read.steps] == names:
        return True
    theirs = ", ".join(step.name for step in read.steps)
    logger.error("a saga has other steps than are defined here", saga=saga_id, name=saga.name, theirs=theirs)
    return False
