"""Sagas begun, and run to their end, by this process or by whoever serves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accord.agents.artifacts.artifacts import payload_of
from accord.agents.connection.connection import Answer
from accord.agents.locks.arguments import check_lease_ms, check_name, check_number
from accord.agents.sagas.definition import Saga
from accord.agents.sagas.handle import End, Handle, SagaReport
from accord.agents.sagas.running import Running
from accord.agents.signals import signals
from accord.agents.signals.plain import NotPlain, as_json
from accord.schemas.messages.sagas import BeginSaga, CancelSaga, SagaKnown, SagaRefused
from accord.schemas.messages.tasks import Payload
from accord.streams.sagas.bounds import INPUT_BYTES_MAX
from accord.streams.tasks.bounds import LIMIT_MS_MAX

from accord.errors import BadInput, CircularTrigger, TermsDiffer

if TYPE_CHECKING:
    from accord.agents.hub import Hub


async def run_saga(hub: Hub, saga: Saga, input: Any, id_: str | None, lease_ms: int, keep_ms: int) -> SagaReport:
    """`Accord.run_saga`, on any hub."""
    hub.ensure_open("run_saga()")
    payload, saga_id = await _checked(hub, saga, input, id_, keep_ms)
    end = End(hub, saga_id)
    running: Running | None = None
    try:
        running = Running(hub, saga, saga_id, check_lease_ms(lease_ms, 0), waits=True)
        running.input = payload
        begun = await _begin(end, _command(hub, saga, payload, lease_ms, keep_ms, running.runner), own=id_ is None)
        known = isinstance(begun.events[-1], SagaKnown)
        if known:
            await running.take()
        return await Handle(hub, saga_id).ended(end, look=known)
    finally:
        end.forget()
        if running is not None:
            await running.leave()


async def begin_saga(hub: Hub, saga: Saga, input: Any, id_: str | None, keep_ms: int) -> Handle:
    """`Accord.begin_saga`, on any hub."""
    hub.ensure_open("begin_saga()")
    payload, saga_id = await _checked(hub, saga, input, id_, keep_ms)
    end = End(hub, saga_id)
    try:
        await _begin(end, _command(hub, saga, payload, _NO_LEASE_MS, keep_ms, ""), own=id_ is None)
    finally:
        end.forget()
    return Handle(hub, saga_id)


_NO_LEASE_MS = 1_000
"""Nobody has it yet."""


async def _checked(hub: Hub, saga: Saga, input: Any, id_: str | None, keep_ms: int) -> tuple[Payload, str]:
    """The input as the log takes it, and the id. Raises BadInput, and what `payload_of` raises."""
    saga.check()
    check_number("keep_ms", keep_ms, 0, LIMIT_MS_MAX)
    saga_id = check_name(id_, "saga") if id_ is not None else signals.new_task()
    try:
        return await payload_of(hub, as_json(input), INPUT_BYTES_MAX), saga_id
    except NotPlain as problem:
        raise BadInput(f"the input of saga {saga.name} has {problem}, which JSON cannot express.") from None


def _command(hub: Hub, saga: Saga, payload: Payload, lease_ms: int, keep_ms: int, runner: str) -> BeginSaga:
    return BeginSaga(hub.agent, runner, saga.name, saga.steps, payload, lease_ms, keep_ms, signals.trail.get())


async def _begin(end: End, command: BeginSaga, *, own: bool) -> Answer:
    """Has a saga begun, or finds it.

    Args:
        own: nobody else knows its id; if it is not known whether it was begun, it is cancelled.
    """
    withdrawal = (lambda _: CancelSaga(command.agent, "whoever began it has given up")) if own else None
    answer = await end.send(command, task=end.id, withdrawal=withdrawal)
    match answer.events[-1]:
        case SagaRefused(reason="exists"):
            raise TermsDiffer(
                f"{end.id} is another saga, with other steps or another input.", remedy="Take another id.", key=end.id,
                position=str(answer.position),
            )  # fmt: skip
        case SagaRefused(reason=reason):
            raise CircularTrigger(
                f"{end.id} is not begun: {reason}: too many events in a row led to it.", key=end.id,
                position=str(answer.position),
            )  # fmt: skip
    return answer
