"""The service in OpenAPI's words, as `GET /openapi.json` gives them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

TEXT: Final = {"type": "string"}
TIME: Final = {"type": "string", "format": "date-time"}
COUNT: Final = {"type": "integer", "minimum": 0}
ANYTHING: Final[dict[str, Any]] = {}


def _object(required: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": required | others}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _answer(what: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": what, "content": _json(schema)}


def _refusals(*statuses: int) -> dict[str, Any]:
    return {str(status): _answer(REFUSALS[status], _ref("Error")) for status in statuses}


REFUSALS: Final = {
    400: "The body is no JSON object, or the field is missing or empty.",
    401: "No token, or one that is not the service's.",
    403: "The token is the service's, but not for this: `scope` says what it lacks.",
    404: "There is no such task, or it ended long ago.",
    413: "The body is too large.",
    429: "Too many requests, or too many steps wait for agents; the header Retry-After says, in s, when to ask again.",
    503: "The log cannot be reached, or nobody decides. Nothing was begun.",
}

_NEEDS_NONE: Final[list[dict[str, Any]]] = [{}]

SCHEMAS: Final[dict[str, Any]] = {
    "Error": _object(
        {"error": TEXT, "code": TEXT}, remedy=TEXT, key=TEXT, position=TEXT, scope=TEXT, retry_after_ms=COUNT
    ),
    "Health": _object(
        {"status": {"enum": ["healthy", "degraded"]}, "service": {"const": "orchestrator"}},
        off={"type": "array", "items": TEXT},
    ),
    "Unhealthy": _object(
        {"status": {"enum": ["unhealthy"]}, "service": {"const": "orchestrator"}, "error": TEXT, "code": TEXT}
    ),
    "Topic": _object({"topic": TEXT}),
    "Query": _object({"query": TEXT}),
    "ContentStarted": _object(
        {
            "task_id": TEXT,
            "status": {"const": "started"},
            "workflow": {"const": "sequential"},
            "steps": _list(TEXT),
            "message": TEXT,
        }
    ),
    "ResearchStarted": _object(
        {
            "task_id": TEXT,
            "status": {"const": "started"},
            "workflow": {"const": "parallel"},
            "agents_dispatched": COUNT,
            "message": TEXT,
        }
    ),
    "Article": _object({"topic": TEXT, "final_article": TEXT, "word_count": COUNT}),
    "Research": _object(
        {
            "query": TEXT,
            "sources": _list(_object({"agent": TEXT}, data=ANYTHING, error=TEXT)),
            "summary": TEXT,
            "completed_agents": COUNT,
            "timed_out": {"type": "boolean"},
            "skipped_agents": _list(TEXT),
        }
    ),
    "Task": _object(
        {
            "id": TEXT,
            "type": TEXT,
            "status": {"enum": ["pending", "in_progress", "completed", "failed", "cancelled"]},
            "input": ANYTHING,
            "created_at": TIME,
            "steps": _list(_object({"name": TEXT, "completed_at": TIME, "result": ANYTHING})),
            "failed_steps": _list(_object({"name": TEXT, "status": TEXT, "error": TEXT})),
            "result": _or_null({"anyOf": [_ref("Article"), _ref("Research"), ANYTHING]}),
            "completed_at": _or_null(TIME),
            "error": TEXT,
        }
    ),
}


def _needs(scope: str) -> list[dict[str, Any]]:
    return [{"token": [scope]}, {}]  # a service without tokens asks for none


def _begins(summary: str, asks: str, started: str, scope: str) -> dict[str, Any]:
    return {
        "post": {
            "summary": summary,
            "security": _needs(scope),
            "requestBody": {"required": True, "content": _json(_ref(asks))},
            "responses": {
                "202": _answer("The log has the task; the header Location says where to read it.", _ref(started)),
                **_refusals(400, 401, 403, 413, 429, 503),
            },
        }
    }


PATHS: Final[dict[str, Any]] = {
    "/health": {
        "get": {
            "summary": "Whether the log can be reached.",
            "security": _NEEDS_NONE,
            "responses": {
                "200": _answer("It can.", _ref("Health")),
                "503": _answer("It cannot.", _ref("Unhealthy")),
            },
        }
    },
    "/create-content": _begins("Begin an article.", "Topic", "ContentStarted", "content"),
    "/research-parallel": _begins("Ask all researchers at once.", "Query", "ResearchStarted", "research"),
    "/task/{task_id}": {
        "get": {
            "summary": "A task as it is, with the results of its steps.",
            "security": _needs("read"),
            "parameters": [{"name": "task_id", "in": "path", "required": True, "schema": TEXT}],
            "responses": {"200": _answer("The task.", _ref("Task")), **_refusals(400, 401, 403, 404, 429, 503)},
        }
    },
    "/openapi.json": {
        "get": {
            "summary": "This description.",
            "security": _NEEDS_NONE,
            "responses": {"200": _answer("OpenAPI 3.1.", {"type": "object"})},
        }
    },
}

DESCRIPTION: Final[dict[str, Any]] = {
    "openapi": "3.1.0",
    "info": {"title": "accord: content and research", "version": version("accord")},
    "paths": PATHS,
    "components": {
        "schemas": SCHEMAS,
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
}
