"""How the service says what is wrong: as the command line's `--json` does, with the status of the error's class."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from accord import logs
from accord.errors import AccordError

logger = logs.get("accord.service")

ALWAYS: Final = ("error", "code")
RETRY_AFTER_MS: Final = 1_000
"""What a 429 asks for where nothing better is known."""


def failure(error: AccordError, **more: Any) -> JSONResponse:
    """`{error, code}`, what else is known of `remedy`, `key`, `position`, details; and more fields."""
    body = more | {name: value for name, value in error.as_json().items() if name in ALWAYS or value not in (None, "")}
    headers: dict[str, str] = {}
    if error.http_status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if error.http_status == HTTPStatus.FORBIDDEN and "scope" in error.details:
        headers["www-authenticate"] = f'Bearer error="insufficient_scope", scope="{error.details["scope"]}"'
    if error.http_status == HTTPStatus.TOO_MANY_REQUESTS:
        headers["retry-after"] = str(math.ceil(error.details.get("retry_after_ms", RETRY_AFTER_MS) / 1_000))
    return JSONResponse(body, error.http_status, headers)


async def on_accord_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AccordError)
    if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning("could not serve", path=request.url.path, code=error.code, why=str(error))
    return failure(error)


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """No such path, or not by this method."""
    assert isinstance(error, HTTPException)
    text = f"{request.method} {request.url.path}: {error.detail}."
    body = {"error": text, "code": error.detail.replace(" ", ""), "remedy": "See: /openapi.json."}
    return JSONResponse(body, error.status_code, error.headers)


async def on_defect(request: Request, error: Exception) -> JSONResponse:
    """What should never happen. The error is logged by the server; its text may tell what is nobody's business."""
    del request, error
    body: dict[str, Any] = {"error": "The service has a defect; its log tells more.", "code": "InternalError"}
    return JSONResponse(body, HTTPStatus.INTERNAL_SERVER_ERROR)
