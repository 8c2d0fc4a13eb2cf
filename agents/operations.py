"""An operation of an agent: what it is called in spans, logs and figures, all in one place.

    with Operation(hub, "acquire", task):
        ...

It is entered at every call, so it must cost next to nothing where nobody looks: without an SDK and without figures that
is one context variable, and the question for a tracer.
"""

from __future__ import annotations

import time
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from accord.agents import context

from accord import logs
from accord.tracing import Span, SpanKind

if TYPE_CHECKING:
    from accord.agents.hub import Hub


class Operation:
    """See the module's text.

    Args:
        hub: whose; None: of none that is known.
        name: what is done; a name out of few: it is a label.
        task_id: of which task; None or empty: none.
        agent: who does it, if not the hub's agent by its own name.
        parent: see `accord.tracing.Span`.
        counted: whether it goes into the figures of operations; what has figures of its own does not.
    """

    __slots__ = ("_began_s", "_counted", "_doing", "_hub", "_name", "_span", "seconds", "status")

    def __init__(
        self,
        hub: Hub | None,
        name: str,
        task_id: str | None = None,
        *,
        agent: str = "",
        parent: str | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        counted: bool = True,
        **attributes: Any,
    ) -> None:
        agent = agent or (hub.agent if hub is not None else "accord")
        self._hub = hub
        self._name = agent, task_id or "", name
        self._counted = counted
        self._span = Span(agent, name, task_id or "", parent=parent, kind=kind, attributes=attributes)
        self.seconds = 0.0
        self.status = ""
        """success or error, and how long it took, once it has ended."""

    def failed(self, problem: str) -> None:
        """It went wrong, and nothing is raised."""
        self._span.problem = problem

    @property
    def traceparent(self) -> str | None:
        """Its context, for what is sent when it has ended."""
        return self._span.traceparent

    def __enter__(self) -> Self:
        self._doing: Token[logs.Doing | None] = logs.enter(*self._name)
        self._span.__enter__()
        self._began_s = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._began_s
        self.status = "success" if error is None and not self._span.problem else "error"
        self._span.__exit__(kind, error, trace)
        logs.leave(self._doing)
        metrics = self._hub.metrics if self._counted and self._hub is not None else None
        if metrics is not None:
            metrics.operated(self._name[2], self.status, self.seconds)


class ModelCall(Operation):
    """A call of a model: `with ModelCall(model):`. Of whoever asks, in the task for which it asks.

    Args:
        hub: on whose log it is; None: on none.
        whose: who asks, where no operation says so.
    """

    __slots__ = ("_model",)

    def __init__(self, model: str, hub: Hub | None = None, whose: str = "") -> None:
        doing = logs.about()
        agent, task_id = doing.get("agent", whose), doing.get("task", "")
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model}
        super().__init__(
            hub or context.find(), "ask", task_id, agent=agent, kind=SpanKind.CLIENT, counted=False, **attributes
        )
        self._model = model

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        metrics = self._hub.metrics if self._hub is not None else None
        if metrics is not None:
            metrics.model_called(self._model, self.status, self.seconds)
