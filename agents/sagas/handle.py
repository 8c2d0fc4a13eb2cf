"""A saga by id: how it stands, its end, cancelling it, having an undo that was given up run again.

Rules that act here:
- How it stands is what the log says; a saga has ended, or is stuck, when the log says so.
- Who waits listens before it asks, so no end is missed. Where only those are told whom an event concerns (the inbox),
  a stranger who waits asks again from time to time.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

import msgspec
from accord.agents.artifacts.artifacts import value_of
from accord.agents.connection.connection import Answer, future, settle
from accord.agents.locks.arguments import check_name, check_wait_ms, shortened
from accord.agents.watched import Watched
from accord.schemas.messages.sagas import (
    CancelSaga,
    ReadSaga,
    RetryRefused,
    RetrySaga,
    SagaCompensated,
    SagaCompleted,
    SagaKnown,
    SagaRead,
    SagaStuck,
    SagaUnknown,
)
from accord.streams.sagas.saga import COMPENSATED, COMPLETED, ENDS

from accord.errors import Refused, Unavailable

if TYPE_CHECKING:
    from accord.agents.hub import Hub

DOMAIN: Final = "sagas"
LOOK_MS: Final = 1_000
LOOK_MS_MAX: Final = 60_000
"""Who waits and is not told asks after so long, then each time after twice that, up to the most."""


class StepReport(msgspec.Struct, frozen=True):
    """A step of a saga as it stands.

    `status`: pending, running, completed, failed, in_doubt (it may have taken effect), compensating, compensated, or
    stuck: its undo was given up. `tries` and `undo_tries` count runs; `error` is of the last failure of either.
    """

    name: str
    status: str
    tries: int
    undo_tries: int
    result: Any
    error: str


class SagaReport(msgspec.Struct, frozen=True):
    """How a saga stands.

    `status`: running, compensating, completed, compensated (all that was done is undone) or stuck (an undo was given
    up, and waits for a person). `failed_step` is where it was given up, `reason` why: failed, timed_out, lost,
    cancelled; `error` says more. `runner` is the agent whose process runs it. `position` is where the log says so.
    """

    id: str
    name: str
    status: str
    input: Any
    steps: tuple[StepReport, ...]
    failed_step: str | None
    reason: str
    error: str
    runner: str | None
    position: str

    @property
    def completed(self) -> bool:
        return self.status == COMPLETED

    @property
    def has_ended(self) -> bool:
        """Whether nothing happens any more of itself."""
        return self.status in ENDS

    @property
    def done(self) -> tuple[str, ...]:
        """Names of the steps that are done, and not undone."""
        return tuple([step.name for step in self.steps if step.status == COMPLETED])

    @property
    def compensated(self) -> tuple[str, ...]:
        """Names of the steps that were undone, in that order."""
        return tuple([step.name for step in reversed(self.steps) if step.status == COMPENSATED])

    @property
    def result(self) -> Any:
        """Of the last step, if all are done."""
        return self.steps[-1].result if self.completed else None


class End(Watched):
    """Listens for the end of a saga, until it is forgotten."""

    def __init__(self, hub: Hub, saga_id: str) -> None:
        self.heard: Future[None] = future()
        super().__init__(hub, DOMAIN, "saga", saga_id, self.heard)

    def _heard(self, answer: Answer) -> None:
        if any(isinstance(event, SagaCompleted | SagaCompensated | SagaStuck) for event in answer.events):
            settle(self.heard, None)

    def again(self) -> None:
        """Listens for the next one: a saga that was stuck may go on."""
        self.heard = future()
        self._awaited = (self.heard,)

    async def look(self) -> SagaReport:
        answer = await self.send(ReadSaga(self._hub.agent), task=self.id)
        read = answer.events[-1]
        if not isinstance(read, SagaRead):
            raise self._unknown()
        return await report_of(self._hub, self.id, read, str(answer.position))

    async def tell(self, command: CancelSaga | RetrySaga) -> Answer:
        """Has a command decided. Raises NotFound: there is no such saga."""
        answer = await self.send(command, task=self.id)
        if isinstance(answer.events[-1], SagaUnknown):
            raise self._unknown()
        return answer


class Handle:
    """A saga by id; made by `Accord.saga` and `Accord.begin_saga`."""

    def __init__(self, hub: Hub, saga_id: str) -> None:
        self.id: Final = check_name(saga_id, "saga")
        self._hub = hub

    async def status(self) -> SagaReport:
        """How it stands.

        Raises:
            NotFound: there is no such saga, or it ended long ago.
            ArtifactMissing, ArtifactAltered: a result is an artifact, and that is not there, or not the same.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        listening = End(self._hub, self.id)
        try:
            return await listening.look()
        finally:
            listening.forget()

    async def outcome(self, *, wait_ms: int | None = None) -> SagaReport:
        """How it ended, once it has: completed, compensated, or stuck.

        Args:
            wait_ms: how long to wait; None waits without limit.

        Raises:
            Unavailable: it has not ended within `wait_ms`, or nobody decides.
            And what `status` raises.
        """
        check_wait_ms(wait_ms)
        listening = End(self._hub, self.id)
        try:
            async with asyncio.timeout(None if wait_ms is None else wait_ms / 1_000) as waiting:
                return await self.ended(listening)
        except TimeoutError:
            if not waiting.expired():
                raise
            raise Unavailable(
                f"saga {self.id} has not ended within {wait_ms} ms.", remedy="Nothing is lost by it: wait longer."
            ) from None
        finally:
            listening.forget()

    async def ended(self, listening: End, *, look: bool = True) -> SagaReport:
        """How it ended, once it has, for who listens.

        Args:
            look: whether it may have ended before.
        """
        report = await listening.look() if look else None
        look_ms = LOOK_MS
        while report is None or not report.has_ended:
            told = asyncio.wrap_future(listening.heard)
            await asyncio.wait([told], timeout=look_ms / 1_000 if self._is_stranger else None)
            if told.done():
                told.result()
                listening.again()
            look_ms = min(2 * look_ms, LOOK_MS_MAX)
            report = await listening.look()
        return report

    @property
    def _is_stranger(self) -> bool:
        """Whether an end may not be told here."""
        return self._hub.settings.client.answers == "inbox"

    async def cancel(self, reason: str = "") -> bool:
        """Has all that was done undone, the step that runs included. False: that goes on already, or it has ended.

        Args:
            reason: on record; what has more than 255 bytes is cut.

        Raises:
            NotFound: there is no such saga, or it ended long ago.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        answer = await self._tell(CancelSaga(self._hub.agent, shortened(reason)))
        return not isinstance(answer.events[-1], SagaKnown)

    async def retry(self) -> str:
        """Has the undo that was given up run again, by whoever serves such sagas; or offers it anew, if nobody runs it.

        Returns:
            Where the log says so.

        Raises:
            Refused: it is not stuck.
            NotFound: there is no such saga, or it ended long ago.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        answer = await self._tell(RetrySaga(self._hub.agent))
        refused = answer.events[-1]
        if isinstance(refused, RetryRefused):
            raise Refused(
                f"saga {self.id} is not stuck: it is {refused.status}.", key=self.id, position=str(answer.position)
            )
        return str(answer.position)

    async def _tell(self, command: CancelSaga | RetrySaga) -> Answer:
        telling = End(self._hub, self.id)
        try:
            return await telling.tell(command)
        finally:
            telling.forget()


async def report_of(hub: Hub, saga_id: str, read: SagaRead, position: str) -> SagaReport:
    """How a saga stands, with the results that are artifacts."""
    steps = [
        StepReport(
            step.name,
            step.status,
            step.tries,
            step.undo_tries,
            None if step.result is None else await value_of(hub, step.result),
            f"{step.error_type}: {step.error}" if step.error_type else step.error,
        )
        for step in read.steps
    ]
    return SagaReport(
        saga_id,
        read.name,
        read.status,
        await value_of(hub, read.input),
        tuple(steps),
        read.failed_step or None,
        read.reason,
        read.description,
        read.runner_agent or None,
        position,
    )
