"""The service as it is watched: a request, its task and all that agents do for it is one trace; figures at /metrics."""

from __future__ import annotations

from accord.agents.client import Accord
from accord.agents.service.app import build
from accord.agents.service.observed import ROUTES
from starlette.routing import Route

from accord import metrics
from accord.embedded import Embedded
from accord.settings import Settings
from accord.testing.model_server import ModelServer
from tests.agents.service.support import Agents, served
from tests.agents.service.test_app import TOKEN, SettingsWith, hub_on
from tests.agents.test_spans import Spans, attributes, spans, trace_of
from tests.agents.test_tasks import in_loop
from tests.runtime.test_metrics import families, problems, value

__all__ = ["spans"]

CAME_IN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@in_loop
async def test_an_article_is_one_trace_from_the_request_to_the_model(
    embedded: Embedded, settings_with: SettingsWith, model: ModelServer, spans: Spans
) -> None:
    model.answer = lambda prompt: "text"
    registry = metrics.new_registry()
    async with hub_on(embedded, settings_with(), "door") as hub, Agents(hub, "content"):
        hub.count_in(registry)
        with served(hub, registry=registry) as client:
            begun = await client.post("/create-content", json={"topic": "bees"}, headers={"traceparent": CAME_IN})
            task_id = begun.json()["task_id"]
            await client.ended(task_id)
            found = families((await client.get("/metrics")).text)
    request = spans.one("orchestrator.create_content")
    assert f"{trace_of(request):032x}" == CAME_IN.split("-")[1]
    assert request.parent is not None and f"{request.parent.span_id:016x}" == CAME_IN.split("-")[2]
    assert spans.of_trace(trace_of(request)) == {
        "orchestrator.create_content", "door.submit", "researcher.research", "writer.writing",
        "editor.editing", "publisher.publishing", "researcher.ask", "writer.ask",
        "editor.ask",
    }  # fmt: skip
    assert {attributes(span)["task_id"] for span in spans.all if trace_of(span) == trace_of(request)} == {task_id}
    asked = attributes(spans.one("writer.ask"))
    assert asked["gen_ai.request.model"] == hub.settings.agents.model
    assert attributes(request)["http.response.status_code"] == 202
    assert problems(found) == []
    assert value(found, "accord_request_seconds_count", route="/create-content", method="POST", code="202") == 1
    assert value(found, "accord_request_seconds_count", route="/task/{task_id}", method="GET", code="200") >= 1
    assert value(found, "accord_model_call_seconds_count", status="success") == 3
    assert value(found, "accord_step_seconds_count", outcome="completed") == 4


@in_loop
async def test_what_fails_is_an_error_of_its_request(lonely: Settings, spans: Spans) -> None:
    registry = metrics.new_registry()
    async with Accord(settings=lonely) as hub:
        hub.count_in(registry)
        with served(hub, registry=registry) as client:
            assert (await client.post("/create-content", json={"topic": "bees"})).status_code == 503
            assert (await client.get("/no-such-route")).status_code == 404
            found = families((await client.get("/metrics")).text)
    request = spans.one("orchestrator.create_content")
    assert (attributes(request)["status"], attributes(request)["error"]) == ("error", "503 Service Unavailable")
    assert attributes(spans.one("orchestrator.other"))["status"] == "success"
    assert value(found, "accord_request_seconds_count", code="503") == 1
    assert value(found, "accord_request_seconds_count", route="other", code="404") == 1


@in_loop
async def test_figures_are_for_who_is_let_in(embedded: Embedded, settings_with: SettingsWith) -> None:
    async with hub_on(embedded, settings_with(tokens=(TOKEN,))) as hub:
        with served(hub, registry=metrics.new_registry()) as client:
            assert (await client.get("/metrics")).status_code == 401
            shown = await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
            assert shown.status_code == 200 and b"process_start_time_seconds" in shown.content
        with served(hub) as client:
            assert (await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 404


@in_loop
async def test_every_route_that_does_something_is_observed(embedded: Embedded, settings_with: SettingsWith) -> None:
    async with hub_on(embedded, settings_with()) as hub:
        routes = {route.path for route in build(hub, metrics.new_registry()).routes if isinstance(route, Route)}
    assert routes - {"/health", "/metrics", "/openapi.json"} == set(ROUTES)
