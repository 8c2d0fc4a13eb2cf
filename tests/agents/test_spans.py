"""What an agent does as OpenTelemetry sees it: names, attributes, errors, and one trace over all who work on a task."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from accord.agents.agent import Agent
from accord.agents.connection.connection import Connection
from accord.agents.operations import Operation
from accord.agents.tasks.graph import GiveUp, TaskGraph
from accord.schemas.messages.signals import EmitSignal
from accord.schemas.messages.tasks import SubmitTask
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from accord import tracing
from accord.errors import ConfigError, LockTimeout, Rejected, TaskFailedError
from tests.agents.support import detached
from tests.agents.test_tasks import MakeHub, graph_of, in_loop, until

ANSWERS = ("events", "inbox")
CAME_IN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Spans:
    """What was recorded, in the order in which it ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("test")

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.named(name)
        return found

    def of_trace(self, trace_id: int) -> set[str]:
        return {span.name for span in self.all if span.context is not None and span.context.trace_id == trace_id}


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """A tracer of this test alone: the library's own can be set once in a process."""
    recorded = Spans()
    monkeypatch.setattr(tracing, "_tracer", recorded.tracer)
    return recorded


@in_loop
async def test_a_task_is_one_trace_whoever_works_on_it(make_hub: MakeHub, spans: Spans) -> None:
    """Three programs: who asks, who does two of the steps, who does the third and hears of it; and a worker."""
    asker, one, two = make_hub("asker"), make_hub("one"), make_hub("two")

    @two.when("spans_written", name="printed")
    def on_written(data: Any) -> None:
        assert data["by"] == "one"

    async def write(input: Any) -> str:
        async with one.lock("spans_desk"):
            one.emit("spans_written", {"by": "one"})
        return "text"

    def edit(input: Any) -> str:
        return "better"

    graph = TaskGraph("spans_article", team="spans_article")
    graph.add("draft", capability="writer")
    graph.add("polish", capability="editor", after=["draft"])
    graph.add("print", capability="writer", after=["polish"])
    async with (
        asker,
        one,
        two,
        one.work(Agent("writer", write), team=graph.team),
        two.work(Agent("editor", edit), team=graph.team),
    ):
        handle = await asker.submit(graph, "bees")
        assert await handle.result(wait_ms=20_000) == "text"
        await until(lambda: spans.named("two.printed"))
    submitted = spans.one("asker.submit")
    names = spans.of_trace(trace_of(submitted))
    assert names == {
        "asker.submit", "writer.draft", "editor.polish", "writer.print", "one.acquire", "one.emit", "two.printed",
    }  # fmt: skip
    steps = [spans.one(name) for name in ("writer.draft", "editor.polish", "writer.print")]
    assert submitted.context is not None
    assert {span.parent and span.parent.span_id for span in steps} == {submitted.context.span_id}
    written = attributes(steps[0])
    assert written["agent"] == "writer" and written["operation"] == "draft" and written["capability"] == "writer"
    assert {attributes(span)["task_id"] for span in spans.all if trace_of(span) == trace_of(submitted)} == {handle.id}
    assert {attributes(span)["status"] for span in spans.all} == {"success"}


@in_loop
async def test_tasks_that_wait_for_the_same_agent_keep_their_traces(make_hub: MakeHub, spans: Spans) -> None:
    """The end of one task's step gives the agent to another's: in the same decision, under the same header."""

    async def only(input: int) -> int:
        return input

    graph = graph_of("spans_busy", only)
    async with make_hub("ada") as hub:
        handles = [await hub.submit(graph, number) for number in range(4)]
        async with hub.work(graph, slots=1):
            assert [await handle.result(wait_ms=20_000) for handle in handles] == [0, 1, 2, 3]
    traces = {attributes(span)["task_id"]: trace_of(span) for span in spans.named("ada.submit")}
    ran = {attributes(span)["task_id"]: trace_of(span) for span in spans.named("ada.only")}
    assert len(set(traces.values())) == 4
    assert ran == traces


@in_loop
async def test_what_a_step_raises_is_recorded_and_fails_the_step(make_hub: MakeHub, spans: Spans) -> None:
    def broken() -> None:
        raise GiveUp("the printer burns")

    graph = graph_of("spans_broken", broken)
    async with make_hub("ada") as hub, hub.work(graph):
        handle = await hub.submit(graph)
        with pytest.raises(TaskFailedError, match="broken"):
            await handle.result(wait_ms=20_000)
        record = await handle.record()
    assert "the printer burns" in record["failed_steps"][0]["error"]
    span = spans.one("ada.broken")
    assert (attributes(span)["status"], attributes(span)["error"]) == ("error", "GiveUp: the printer burns")
    assert span.status.status_code is StatusCode.ERROR
    (event,) = span.events
    assert event.name == "exception" and (event.attributes or {})["exception.message"] == "the printer burns"


@in_loop
async def test_what_a_coordinated_function_raises_reaches_its_caller(make_hub: MakeHub, spans: Spans) -> None:
    async with make_hub("ada") as hub:

        @hub.coordinate("spans_booking", lock_name="spans_room")
        async def book() -> None:
            raise KeyError("room 12")

        with pytest.raises(KeyError, match="room 12"):
            await book()
    outer, inner = spans.one("ada.spans_booking"), spans.one("ada.acquire")
    assert attributes(outer)["error"] == "KeyError: 'room 12'"
    assert attributes(inner)["status"] == "success" and attributes(inner)["key"] == "spans_room"
    assert outer.context is not None and inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert {attributes(span)["task_id"] for span in spans.all} == {attributes(outer)["task_id"]} != {""}


@in_loop
async def test_a_lock_that_is_not_granted_is_an_error(make_hub: MakeHub, spans: Spans) -> None:
    async with make_hub("ada") as ada, make_hub("bob") as bob, ada.lock("spans_taken"):
        with pytest.raises(LockTimeout):
            await detached(bob.lock("spans_taken").acquire(wait_ms=0))
    assert attributes(spans.one("bob.acquire"))["error"].startswith("LockTimeout: ")


@in_loop
async def test_commands_carry_the_context_of_what_sends_them(make_hub: MakeHub, spans: Spans) -> None:
    async with make_hub("ada") as hub:
        with Operation(hub, "outer") as outer:
            receipt = hub.connection.submit("signals", "spans_raw", EmitSignal("ada", "{}", ()))
            given = hub.connection.submit("signals", "spans_raw", EmitSignal("ada", "{}", ()), trace=CAME_IN)
        decided = await asyncio.wrap_future(receipt.decided)
        beside = await asyncio.wrap_future(given.decided)
        after = await asyncio.wrap_future(
            hub.connection.submit("signals", "spans_raw", EmitSignal("ada", "{}", ())).decided
        )
    assert outer.traceparent is not None
    assert (decided.decision.trace.decode(), beside.decision.trace.decode()) == (outer.traceparent, CAME_IN)
    assert after.decision.trace == b""


@in_loop
async def test_what_follows_from_a_command_carries_its_context(make_hub: MakeHub, spans: Spans) -> None:
    """The release of a lock, sent after the span, and what a task asks of its team."""
    released: list[Any] = []
    wanted: list[Any] = []

    def only() -> int:
        return 1

    graph = graph_of("spans_follow", only)
    async with make_hub("ada") as hub:
        hub.connection.watch("locks", "spans_released", released.append)
        hub.connection.watch("roster", graph.team, wanted.append)
        async with hub.lock("spans_released"):
            pass
        await hub.submit(graph)
        if hub.settings.client.answers == "events":  # the team's word is for its members
            await until(lambda: wanted)
    acquired, submitted = (spans.one(name) for name in ("ada.acquire", "ada.submit"))
    assert [answer.decision.trace.decode().split("-")[2] for answer in released] == [span_id(acquired)] * 2
    assert all(answer.decision.trace.decode().split("-")[2] == span_id(submitted) for answer in wanted)


@in_loop
async def test_without_an_sdk_a_context_that_came_in_is_handed_on(make_hub: MakeHub) -> None:
    answers: list[Any] = []
    async with make_hub("ada") as hub:

        @hub.when("spans_first")
        def again(data: Any) -> None:
            hub.emit("spans_second", {})

        hub.connection.watch("signals", "spans_second", answers.append)
        hub.connection.submit("signals", "spans_first", EmitSignal("eve", "{}", ()), trace=CAME_IN)
        await until(lambda: answers)
    assert answers[0].decision.trace.decode() == CAME_IN


@pytest.mark.parametrize("foreign", [b"nonsense", b"\xff\xfe", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
@in_loop
async def test_a_header_that_is_no_context_begins_a_trace(make_hub: MakeHub, spans: Spans, foreign: bytes) -> None:
    with tracing.Span("ada", "run", parent=foreign.decode(errors="replace")) as span:
        pass
    assert spans.one("ada.run").parent is None
    assert span.traceparent is not None


@in_loop
async def test_the_same_task_submitted_again_is_the_same_task(make_hub: MakeHub, spans: Spans) -> None:
    """Its trace is no part of what it is: each submission has its own."""

    def only() -> int:
        return 1

    graph = graph_of("spans_again", only)
    async with make_hub("ada") as hub:
        first = await hub.submit(graph, key="spans-again")
        again = await hub.submit(graph, key="spans-again")
        assert first.id == again.id
    assert len({trace_of(span) for span in spans.named("ada.submit")}) == 2


def test_a_trace_that_is_too_long_is_rejected(connect: Callable[..., Connection]) -> None:
    graph = graph_of("spans_long", lambda: None)
    command = SubmitTask("ada", "g", "t", "null", graph.steps, 1_000, "t" * 300)
    with pytest.raises(Rejected, match="trace has more than"):
        connect().submit("tasks", "spans-long", command).decided.result()


# -- the programs' own SDK


class _Collector(BaseHTTPRequestHandler):
    got: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        self.got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        del format, args


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """An OTLP endpoint: its address, and what it was sent."""
    got: list[tuple[str, bytes]] = []
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (_Collector,), {"got": got}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()
    thread.join()


PROGRAM = """
from accord import tracing
end = tracing.set_up("accord-test")
with tracing.Span("ada", "run", "t-1"):
    pass
end()
"""


def test_spans_of_the_programs_are_exported_as_the_environment_says(
    collector: tuple[str, list[tuple[str, bytes]]],
) -> None:
    address, got = collector
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_RESOURCE_ATTRIBUTES": "deployment=here"}
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, timeout=60)
    ((path, body),) = got
    (sent,) = ExportTraceServiceRequest.FromString(body).resource_spans
    resource = {one.key: one.value.string_value for one in sent.resource.attributes}
    assert (path, resource["service.name"], resource["deployment"]) == ("/v1/traces", "accord-test", "here")
    assert [span.name for span in sent.scope_spans[0].spans] == ["ada.run"]


@pytest.mark.parametrize("environment", [{}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true"}])
def test_nothing_is_set_up_that_the_environment_does_not_ask_for(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_sdk", lambda *_: pytest.fail("set up"))
    for name in ("OTEL_TRACES_EXPORTER", *tracing.EXPORTERS):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    tracing.set_up("accord-test")()


def test_an_exporter_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(ConfigError, match="OTEL_TRACES_EXPORTER=zipkin"):
        tracing.set_up("accord-test")


def test_who_wants_spans_and_has_no_sdk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match="is not installed"):
        tracing.set_up("accord-test")
