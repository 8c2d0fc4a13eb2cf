"""Events that a pattern emits, each once a run: so that `@when` can react to what it does.

Emitting is a call like others, of an agent that works wherever the pattern runs: once it was recorded it is not made
again. A process that dies between the event and that record emits it again under the same id, which the log knows for
10 minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accord.agents.agent import Agent
from accord.agents.context import current
from accord.agents.patterns.flow import Flow
from accord.agents.signals.signals import emit_on
from accord.agents.tasks.graph import Run


async def _emit(task: dict[str, Any], step: Run) -> str:
    return str(await emit_on(current("A pattern"), task["event"], task["data"], once=step.key))


PUBLISHER: Final = Agent("accord.publisher", _emit)


async def publish(flow: Flow, event: str, data: Mapping[str, Any], place: str) -> None:
    """Emits an event, once a run. `run` is added to its data: the run's key.

    Args:
        place: of its own in this flow.

    Raises:
        Failure: it could not be emitted in time.
    """
    await flow.do(PUBLISHER, {"event": event, "data": {"run": flow.run, **data}}, place=place)
