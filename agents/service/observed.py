"""Requests as spans, logs and figures tell them.

A request that brings a `traceparent` is part of the trace of who sent it; else it begins one, to which the task belongs
that it submits.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from accord.agents.operations import Operation
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from accord.tracing import SpanKind, note

if TYPE_CHECKING:
    from accord.agents.hub import Hub

SERVICE: Final = "orchestrator"
ROUTES: Final[Mapping[str, str]] = {
    "/create-content": "create_content",
    "/research-parallel": "research_parallel",
    "/task/{task_id}": "task",
}
"""What is observed; not those who look at health or at figures, every few seconds."""
OTHER: Final = "other"
UNSENT: Final = HTTPStatus.INTERNAL_SERVER_ERROR.value
"""The code of a request that ended without an answer."""


class Observed:
    """The ASGI middleware; outermost, so that it sees who is not let in, too."""

    def __init__(self, app: ASGIApp, hub: Hub) -> None:
        self._app = app
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in ("/health", "/metrics", "/openapi.json"):
            await self._app(scope, receive, send)
            return
        path = "/task/{task_id}" if scope["path"].startswith("/task/") else scope["path"]
        route = path if path in ROUTES else OTHER
        method = scope["method"] if scope["method"] in ("GET", "POST") else OTHER
        code = UNSENT

        async def answer(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                note(**{"http.response.status_code": code})
                if code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    request.failed(f"{code} {HTTPStatus(code).phrase}")
            await send(message)

        parent = Headers(scope=scope).get("traceparent")
        about = {"http.request.method": method, "http.route": route}
        request = Operation(
            self._hub,
            ROUTES.get(route, OTHER),
            agent=SERVICE,
            parent=parent,
            kind=SpanKind.SERVER,
            counted=False,
            **about,
        )
        try:
            with request:
                await self._app(scope, receive, answer)
        finally:
            if self._hub.metrics is not None:
                self._hub.metrics.answered(route, method, code, request.seconds)
