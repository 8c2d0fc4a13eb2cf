"""The service over HTTP: articles and research as tasks on the log.

    async with Accord() as hub:
        server = uvicorn.Server(uvicorn.Config(build(hub)))

Rules that act here:
- A 202 means that the log has the task: it goes on whatever becomes of this process. What is refused, with 4xx or 503,
  is not begun; a task whose submission is given up is taken back, should the log decide it later.
- Nothing is kept here. A task is read from the log's decider at every request, by any process of the service.
- A request's body is bounded, and so is how often one may ask: see `door`. While too many steps wait for an agent,
  nothing is begun.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from accord.agents.service.content import content_graph
from accord.agents.service.dispatch import Dispatch
from accord.agents.service.door import Door
from accord.agents.service.observed import SERVICE, Observed
from accord.agents.service.openapi import DESCRIPTION
from accord.agents.service.replies import failure, on_accord_error, on_defect, on_http_error
from accord.agents.service.research import FIELDS, research_graph
from accord.agents.tasks.graph import TaskGraph
from accord.agents.tasks.handle import Handle
from accord.schemas.topics import commands_topic
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from accord import metrics, tracing
from accord.errors import AccordError, BadInput, TooLarge, Unavailable
from accord.kafka import metadata, producer
from accord.metrics import CollectorRegistry

if TYPE_CHECKING:
    from accord.agents.client import Accord


def build(
    hub: Accord, registry: CollectorRegistry | None = None, *, now_s: Callable[[], float] = time.monotonic
) -> Starlette:
    """The ASGI application over an open hub, which says the settings.

    Args:
        registry: what `GET /metrics` tells; None: nothing.
        now_s: the clock of the rate limit, in seconds.
    """
    service = _Service(hub)
    figures = [] if registry is None else [Route("/metrics", partial(_metrics, registry))]
    return Starlette(
        routes=[
            Route("/health", service.health),
            Route("/create-content", service.create_content, methods=["POST"]),
            Route("/research-parallel", service.research_parallel, methods=["POST"]),
            Route("/task/{task_id}", service.task),
            Route("/openapi.json", service.openapi),
            *figures,
        ],
        middleware=[Middleware(Observed, hub=hub), Middleware(Door, settings=hub.settings.service, now_s=now_s)],
        exception_handlers={
            AccordError: on_accord_error,
            HTTPException: on_http_error,
            Exception: on_defect,
        },
    )


async def _metrics(registry: CollectorRegistry, request: Request) -> Response:
    """The figures of this process; for who is let in, as all else."""
    del request
    return Response(metrics.text(registry), media_type=metrics.CONTENT_TYPE)


class _Service:
    """The routes."""

    def __init__(self, hub: Accord) -> None:
        self._hub = hub
        self._settings = hub.settings.service
        self._content = content_graph()
        self._research = research_graph(self._settings.research_deadline_ms)
        self._log = _Log(hub)

    async def health(self, request: Request) -> Response:
        del request
        try:
            await self._log.reach()
        except Unavailable as error:
            return failure(error, status="unhealthy", service=SERVICE)
        off = self._hub.connection.health["off"]
        told = {"status": "degraded", "service": SERVICE, "off": off}
        return JSONResponse(told if off else {"status": "healthy", "service": SERVICE})

    async def openapi(self, request: Request) -> Response:
        del request
        return JSONResponse(DESCRIPTION)

    async def create_content(self, request: Request) -> Response:
        topic = _text(await self._body(request), "topic")
        return _started(
            await self._begin(self._content, {"topic": topic}),
            workflow="sequential",
            steps=["research", "write", "edit", "publish"],
            message="Content creation pipeline initiated",
        )

    async def research_parallel(self, request: Request) -> Response:
        query = _text(await self._body(request), "query")
        agents = list(FIELDS)
        with Dispatch(self._hub, self._research.team) as dispatch:
            task_id = await self._begin(self._research, {"query": query, "agents": agents})
            skipped = await dispatch.refused(task_id)
        return _started(
            task_id,
            workflow="parallel",
            agents_dispatched=len(agents) - skipped,
            message="Parallel research initiated",
        )

    async def task(self, request: Request) -> Response:
        handle = Handle(self._hub, request.path_params["task_id"])
        tracing.note(task_id=handle.id)
        try:
            return JSONResponse(await handle.record())
        finally:
            handle.forget()

    async def _begin(self, graph: TaskGraph, input: dict[str, Any]) -> str:
        """Begins a task; returns its id once the log has it."""
        handle = await self._hub.submit(graph, input, waiting_max=self._settings.waiting_max)
        handle.forget()
        tracing.note(task_id=handle.id)
        return handle.id

    async def _body(self, request: Request) -> dict[str, Any]:
        """The request's body, a JSON object. Raises BadInput: it is none; TooLarge."""
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > self._settings.body_max_bytes:
                raise TooLarge(f"The body has more than {self._settings.body_max_bytes} bytes.")
        try:
            body = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"The body is no JSON: {error}.") from None
        if not isinstance(body, dict):
            raise BadInput("The body is no JSON object.")
        return body


def _started(task_id: str, **more: Any) -> Response:
    body = {"task_id": task_id, "status": "started", **more}
    return JSONResponse(body, HTTPStatus.ACCEPTED, {"location": f"/task/{task_id}"})


def _text(body: dict[str, Any], name: str) -> str:
    """What a field of the body says. Raises BadInput: nothing."""
    text = body.get(name)
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f"{name.capitalize()} required")
    return text


class _Log:
    """Whether the log can be reached. One look at a time, shared by all who ask meanwhile."""

    def __init__(self, hub: Accord) -> None:
        self._kafka = hub.settings.kafka.model_copy(update={"connect_timeout_ms": hub.settings.service.health_wait_ms})
        self._topic = commands_topic("tasks", hub.settings.topics.prefix)
        self._client = producer(self._kafka)
        self._looking: asyncio.Task[Any] | None = None
        self._failure: AccordError | None = None
        hub.connection.on_failure(self._fail)

    def _fail(self, error: AccordError) -> None:
        self._failure = error

    async def reach(self) -> None:
        """Raises Unavailable: no broker answers, or the hub's connection has failed."""
        if self._failure is not None:
            raise Unavailable(f"the connection to the log has failed: {self._failure}")
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(asyncio.to_thread(metadata, self._client, self._kafka, self._topic))
        await asyncio.shield(self._looking)
