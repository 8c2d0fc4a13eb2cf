"""Spans: what an agent does, as OpenTelemetry sees it.

Here is the API alone. A program that wants its spans sets up an SDK of its own; the programs of `accord` set up one
with `set_up`, if `accord[otel]` is installed and the environment names an exporter (`OTEL_*`).

Rules that act here:
- A span is named `<agent>.<operation>`; its attributes are agent, task_id, operation, status (success, error), error.
- What is raised inside is recorded, and goes on.
- A context goes from process to process as the header `traceparent` of commands and of the decisions on them. A step's
  parent is what submitted its task, whoever runs it and when: the log keeps it with the task.
- Without an SDK no span is made, but a context that came in a header is handed on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextvars import Token
from types import TracebackType
from typing import Any, Final, Self

from opentelemetry import context, trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = ["Span", "SpanKind", "note", "set_up", "traceparent"]

TEXT_CHARS_MAX: Final = 1_000
"""Of an error's text in a span."""
EXPORTERS: Final = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_HEADER: Final = "traceparent"
_tracer: Final = trace.get_tracer("accord")
_format: Final = TraceContextTextMapPropagator()


def traceparent() -> str | None:
    """The context that goes out with what is sent here: the span's, or the one that came in; None: there is none."""
    here = trace.get_current_span()
    if here is trace.INVALID_SPAN:
        return None
    found = here.get_span_context()
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}" if found.is_valid else None


def note(**attributes: str | int | float | bool) -> None:
    """Adds to the span that runs here what was not known when it began."""
    trace.get_current_span().set_attributes(attributes)


class Span:
    """A span, while it is entered with `with`.

    Args:
        agent: whose it is.
        operation: what it does.
        task_id: of which task; empty: of none.
        parent: a `traceparent` that came from elsewhere; one that is none counts as empty. Empty: it begins a trace.
            None: what runs here.
        attributes: what else is known.
    """

    __slots__ = ("_attributes", "_kind", "_name", "_parent", "_span", "_token", "problem", "traceparent")

    def __init__(
        self,
        agent: str,
        operation: str,
        task_id: str = "",
        *,
        parent: str | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] = {},
    ) -> None:
        self._name = agent, operation, task_id
        self._parent = parent
        self._kind = kind
        self._attributes = attributes
        self._token: Token[context.Context] | None = None
        self.problem = ""
        """What went wrong, if it is not raised."""
        self.traceparent: str | None = None
        """Its context, once it was entered; None: there is none."""

    def __enter__(self) -> Self:
        agent, operation, task_id = self._name
        within = None
        if self._parent is not None:
            within = _format.extract({_HEADER: self._parent}, context.Context())
        self._span = span = _tracer.start_span(f"{agent}.{operation}", within, self._kind)
        if span is trace.INVALID_SPAN:
            return self
        if span.is_recording():
            known = {"agent": agent, "task_id": task_id, "operation": operation}
            span.set_attributes({**known, **self._attributes})
        self._token = context.attach(trace.set_span_in_context(span))
        self.traceparent = traceparent()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is None:
            return
        context.detach(self._token)
        span = self._span
        if not span.is_recording():
            return
        text = self.problem if error is None else f"{type(error).__name__}: {error}"[:TEXT_CHARS_MAX]
        span.set_attributes({"status": "error", "error": text} if text else {"status": "success"})
        if error is not None:
            span.record_exception(error)
        if text:
            span.set_status(Status(StatusCode.ERROR, text))
        span.end()


def set_up(service: str) -> Callable[[], None]:
    """Has the spans of this program exported as the environment says, if it says so: OTEL_TRACES_EXPORTER=otlp, or an
    OTEL_EXPORTER_OTLP_ENDPOINT. Over HTTP (OTLP, protobuf); all of them, unless OTEL_TRACES_SAMPLER says otherwise.

    Args:
        service: the resource's service.name, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES names another.

    Returns:
        What sends the rest and ends it; to be called when the program ends.

    Raises:
        ConfigError: `accord[otel]` is not installed, or the environment wants an exporter that this is not.
    """
    wanted = os.environ.get("OTEL_TRACES_EXPORTER", "")
    off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or wanted == "none"
    if off or not any(os.environ.get(name) for name in EXPORTERS):
        return lambda: None
    from accord.errors import ConfigError  # noqa: PLC0415

    if wanted not in ("", "otlp", "console"):
        raise ConfigError(
            f"OTEL_TRACES_EXPORTER={wanted}: accord exports by otlp, or to the console.",
            remedy="Set it to otlp, console or none.",
        )
    try:
        return _sdk(service, wanted)
    except ImportError as error:
        raise ConfigError(
            f"The environment wants spans exported (OTEL_...), which needs {error.name}; it is not installed.",
            remedy="pip install 'accord[otel]', or OTEL_SDK_DISABLED=true.",
        ) from None


def _sdk(service: str, exporter: str) -> Callable[[], None]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

    sampler: dict[str, Any] = {} if os.environ.get("OTEL_TRACES_SAMPLER") else {"sampler": ALWAYS_ON}
    named = Resource.create()
    if str(named.attributes["service.name"]).startswith("unknown_service"):
        named = named.merge(Resource({"service.name": service}))
    provider = TracerProvider(resource=named, **sampler)
    sink = ConsoleSpanExporter() if exporter == "console" else OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(sink))
    trace.set_tracer_provider(provider)
    return provider.shutdown
