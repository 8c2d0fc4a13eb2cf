"""Access to models, against our own endpoint over HTTP; the client is the one that talks to real ones."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from accord.agents.llm.endpoint import Endpoint
from accord.agents.llm.model import Model, SyncModel
from accord.agents.llm.prices import cost_microusd
from accord.agents.llm.question import checked

import accord
from accord.errors import BadInput, ConfigError, NotConnected, Unavailable
from accord.settings import LlmSettings
from accord.testing.model_server import MODEL, ModelServer, pick

KEY = "sk-a-secret-of-this-test"
HOTELS = "Which one?\n- Astoria\n- Bristol\n- Carlton"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


def settings(base_url: str, **other: Any) -> LlmSettings:
    return LlmSettings(base_url=base_url, model="any-name", **other)


def ask(base_url: str, prompt: str = HOTELS, **other: Any) -> str:
    with SyncModel(settings(base_url, **other)) as model:
        return model.ask(prompt).text


def post(server: ModelServer, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(server.base_url + path, data=body, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_async_and_sync_give_the_same_answer_and_name_the_stand_in(server: ModelServer) -> None:
    async def asked() -> Any:
        async with Model(settings(server.base_url)) as model:
            return await model.ask(HOTELS, instructions="Answer with a name.")

    reply = asyncio.run(asked())
    assert reply.text == pick(HOTELS) == ask(server.base_url)
    assert reply.text in {"Astoria", "Bristol", "Carlton"}
    assert reply.model == MODEL
    assert (reply.input_tokens, reply.output_tokens) == (len(HOTELS.split()), 1)


def test_the_answer_depends_on_the_question() -> None:
    answers = {pick(f"{HOTELS}\nfor {guest}") for guest in range(30)}
    assert answers == {"Astoria", "Bristol", "Carlton"}
    assert "stand-in" in pick("Which one?")


def test_the_stand_in_speaks_the_responses_protocol(server: ModelServer) -> None:
    with openai.OpenAI(base_url=server.base_url, api_key="none") as client:
        response = client.responses.create(model=MODEL, input=HOTELS)
        by_message = client.responses.create(model=MODEL, input=[{"role": "user", "content": HOTELS}])
    assert response.output_text == by_message.output_text == pick(HOTELS)
    assert response.usage is not None and response.usage.output_tokens == 1


# -- how it is asked


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_both_apis_give_the_same_answer(server: ModelServer, api: str) -> None:
    with SyncModel(settings(server.base_url, api=api)) as model:
        reply = model.ask(HOTELS, instructions="Answer with a name.", parameters={"temperature": 0})
        cut = model.ask("Say something long", max_tokens=3)
    assert (reply.text, reply.model, reply.cached) == (pick(HOTELS), MODEL, False)
    assert (reply.input_tokens, reply.output_tokens) == (len(HOTELS.split()), 1)
    assert (cut.text, cut.output_tokens) == ("I am a", 3)


def test_what_the_responses_api_is_sent(server: ModelServer) -> None:
    with SyncModel(settings(server.base_url)) as model:
        model.ask(HOTELS, instructions="Be brief.", max_tokens=50, parameters={"temperature": 0})
        assert server.last_path == "/v1/responses"
        assert server.last_body == {
            "model": "any-name", "input": HOTELS, "instructions": "Be brief.", "max_output_tokens": 50,
            "temperature": 0, "store": False,
        }  # fmt: skip
        model.ask(HOTELS)
        assert server.last_body == {"model": "any-name", "input": HOTELS, "max_output_tokens": 1_000, "store": False}


def test_what_chat_completions_are_sent(server: ModelServer) -> None:
    user = {"role": "user", "content": HOTELS}
    with SyncModel(settings(server.base_url, api="chat")) as model:
        model.ask(HOTELS, instructions="Be brief.", max_tokens=50, parameters={"temperature": 0})
        assert server.last_path == "/v1/chat/completions"
        assert server.last_body == {
            "model": "any-name", "messages": [{"role": "system", "content": "Be brief."}, user],
            "max_completion_tokens": 50, "temperature": 0,
        }  # fmt: skip
        model.ask(HOTELS)
        assert server.last_body["messages"] == [user]


@pytest.mark.parametrize(
    ("api", "path"),
    [
        ("responses", "/openai/responses?api-version=2025-04-01-preview"),
        ("chat", "/openai/deployments/any-name/chat/completions?api-version=2025-04-01-preview"),
    ],
)
def test_an_endpoint_of_azures_style(api: str, path: str) -> None:
    with ModelServer(api_key=KEY) as server:
        azure = settings(server.azure_url, api=api, api_version="2025-04-01-preview", api_key=KEY)
        with SyncModel(azure) as model:
            assert model.ask(HOTELS).text == pick(HOTELS)
        assert server.last_path == path
        wrong = azure.model_copy(update={"api_key": "another"})
        with SyncModel(wrong) as model, pytest.raises(ConfigError, match="Set ACCORD_LLM__API_KEY"):
            model.ask(HOTELS)


def test_azure_has_a_key_of_its_own_and_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    with ModelServer(api_key=KEY) as server:
        with SyncModel(settings(server.azure_url, api_version="2025-04-01-preview")) as model:
            assert model.ask(HOTELS).text == pick(HOTELS)
        with pytest.raises(ConfigError, match="ACCORD_LLM__API_KEY"):
            ask(server.base_url)  # which is not Azure's
    with pytest.raises(ConfigError, match=r"llm\.base_url is empty.*NAME\.openai\.azure\.com"):
        Model(LlmSettings(api_version="2025-04-01-preview"))


def test_the_hash_of_a_question_depends_on_all_that_its_answer_does() -> None:
    asked = ("gpt-4o", "Which?", "Be brief.", 100)
    first = checked(*asked, {"temperature": 0, "top_p": 1})
    assert first.hash == checked(*asked, {"top_p": 1, "temperature": 0}).hash
    assert len(first.hash) == 40 and set(first.hash) <= set("0123456789abcdef")
    others = {
        first.hash,
        checked(*asked, None).hash,
        checked(*asked, {"temperature": 1, "top_p": 1}).hash,
        checked("gpt-4", *asked[1:], first.parameters).hash,
        checked("gpt-4o", "Which one?", *asked[2:], first.parameters).hash,
        checked(*asked[:2], "Be long.", 100, first.parameters).hash,
        checked(*asked[:3], 101, first.parameters).hash,
    }
    assert len(others) == 7
    assert checked(*asked, {}).hash == "536493f900d9b6b47e4aed84aa504a39433c1be5", (
        "the log knows questions by it: it must not change"
    )


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"model": "another"}, "model cannot be set by parameters"),
        ({"extra_headers": {"Authorization": KEY}, "stream": True}, "extra_headers, stream cannot be set"),
        ({"seed": object()}, "the parameters are no JSON"),
        ({"temperature": float("nan")}, "the parameters are no JSON"),
    ],
)
def test_parameters_that_cannot_be(server: ModelServer, parameters: dict[str, Any], problem: str) -> None:
    with SyncModel(settings(server.base_url)) as model, pytest.raises(BadInput, match=problem):
        model.ask(HOTELS, parameters=parameters)
    assert server.counts.answered == 0


def test_the_cost_of_a_call_by_the_prices_of_its_endpoint() -> None:
    """GPT-4: 30 and 60 dollars a million tokens."""
    ours, azure = "https://api.openai.com/v1", "https://rooms.openai.azure.com"
    assert cost_microusd(ours, ("gpt-4-0613",), 1_000, 500, 0) == 60_000
    assert cost_microusd(azure, ("no-model", "gpt-4"), 1_000, 500, 0) == 60_000
    assert cost_microusd(ours, ("no-model",), 1_000, 500, 0) is None
    assert cost_microusd("http://127.0.0.1:8000/v1", ("gpt-4",), 1_000, 500, 0) is None
    assert cost_microusd(ours, ("gpt-4",), 0, 0, 0) == 0
    full, cached = [cost_microusd(ours, ("gpt-4o",), 1_000, 0, count) or 0 for count in (0, 1_000)]
    assert 0 < cached < full


def test_the_cost_is_told_where_it_is_known(monkeypatch: pytest.MonkeyPatch, server: ModelServer) -> None:
    """The address of the endpoint is the stand-in's; the prices are those of OpenAI's."""
    assert server.base_url
    monkeypatch.setattr(Endpoint, "_address", "https://api.openai.com/v1")
    with SyncModel(settings(server.base_url).model_copy(update={"model": "gpt-4"})) as model:
        reply = model.ask(HOTELS)
    assert reply.cost_microusd == 30 * reply.input_tokens + 60 * reply.output_tokens


def test_agents_can_ask_at_once(server: ModelServer) -> None:
    server.delay_ms = 300

    async def asked() -> list[str]:
        async with Model(settings(server.base_url)) as model:
            return [reply.text for reply in await asyncio.gather(*[model.ask(HOTELS) for _ in range(4)])]

    assert asyncio.run(asked()) == [pick(HOTELS)] * 4
    assert server.counts.running_most == 4
    assert server.counts.answered == 4


def test_beyond_the_limit_it_refuses_and_the_client_tries_again() -> None:
    with ModelServer(delay_ms=150, limit=1, retry_after_ms=400) as server:
        with ThreadPoolExecutor(2) as two:
            answers = list(two.map(ask, [server.base_url] * 2))
        assert answers == [pick(HOTELS)] * 2
        assert server.counts.running_most == 1
        assert server.counts.refused >= 1


def test_a_limit_that_stays_reached_is_unavailable() -> None:
    with ModelServer(delay_ms=1_500, limit=1, retry_after_ms=10) as server:
        first = threading.Thread(target=ask, args=(server.base_url,))
        first.start()
        while server.counts.running == 0:
            pass
        with pytest.raises(Unavailable, match=r"takes no more requests now \(429\).*fewer agents"):
            ask(server.base_url)
        first.join()


def test_a_wrong_key_names_the_setting_and_not_the_key() -> None:
    with ModelServer(api_key="another") as server, pytest.raises(ConfigError, match="ACCORD_LLM__API_KEY") as caught:
        ask(server.base_url, api_key=KEY)
    assert KEY not in str(caught.value)
    assert KEY not in repr(settings("http://x", api_key=KEY))


def test_what_the_endpoint_says_is_passed_on_without_the_key() -> None:
    def leak(prompt: str) -> str:
        raise AssertionError("not asked")

    with ModelServer(leak) as server:
        wrong_path = server.base_url.replace("/v1", f"/{KEY}")
        with pytest.raises(
            ConfigError, match=r"ACCORD_LLM__MODEL or ACCORD_LLM__BASE_URL, which mostly ends in /v1"
        ) as caught:
            ask(wrong_path, api_key=KEY)
    assert "There is no /***/responses here" in str(caught.value)


def test_no_key_and_no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="Set OPENAI_API_KEY"):
        Model(LlmSettings())


def test_the_key_of_openai_goes_to_no_other_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with ModelServer(api_key=KEY) as server, pytest.raises(ConfigError):
        ask(server.base_url)


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://someone:{KEY}@127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(Unavailable, match=r"No answer from 127\.0\.0\.1:\d+ .*ACCORD_LLM__BASE_URL") as caught:
            ask(url)
    assert KEY not in str(caught.value)


def test_no_answer_in_time(server: ModelServer) -> None:
    server.delay_ms = 1_000
    with pytest.raises(Unavailable, match=r"did not answer in 0\.1 s.*ACCORD_LLM__TIMEOUT_MS"):
        ask(server.base_url, timeout_ms=100)


def test_an_endpoint_that_fails() -> None:
    def fail(prompt: str) -> str:
        return ""

    with ModelServer(fail) as server, pytest.raises(Unavailable, match="gave no text"):
        ask(server.base_url)


@pytest.mark.parametrize(("prompt", "max_tokens"), [("  ", None), ("Which?", 0)])
def test_bad_questions_are_refused_before_they_are_sent(
    server: ModelServer, prompt: str, max_tokens: int | None
) -> None:
    with SyncModel(settings(server.base_url)) as model, pytest.raises(BadInput):
        model.ask(prompt, max_tokens=max_tokens)
    assert server.counts.answered == 0


def test_an_answer_is_cut_at_the_cap(server: ModelServer) -> None:
    with SyncModel(settings(server.base_url)) as model:
        reply = model.ask("Say something long", max_tokens=3)
    assert reply.text == "I am a"
    assert reply.output_tokens == 3


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/chat/completions", b"{", 400, "No JSON"),
        ("/chat/completions", b"[]", 400, "must be a JSON object"),
        ("/chat/completions", b'{"messages": []}', 400, "no message of a user"),
        ("/chat/completions", b'{"stream": true}', 400, "does not stream"),
        ("/embeddings", b"{}", 404, "There is no /v1/embeddings"),
    ],
)
def test_the_stand_in_refuses_what_it_cannot_do(
    server: ModelServer, path: str, body: bytes, status: int, message: str
) -> None:
    got, answer = post(server, path, body)
    assert got == status
    assert message in answer["error"]["message"]


# -- the limit that calls take


def test_calls_take_the_limit_of_the_settings_and_none_is_refused(server: ModelServer) -> None:
    server.limit, server.delay_ms = 2, 30

    async def asked() -> list[str]:
        async with accord.local() as hub, Model(settings(server.base_url, limit="openai_api")) as model:
            # Each call expects some 1,015 tokens. What it does not use comes back, or ten would take four minutes.
            await hub.pool("openai_api").configure(capacity=2, tokens_per_minute=2_500)
            replies = await asyncio.gather(*[model.ask(f"{HOTELS}\nfor {guest}") for guest in range(10)])
            return [reply.text for reply in replies]

    assert asyncio.run(asked()) == [pick(f"{HOTELS}\nfor {guest}") for guest in range(10)]
    assert (server.counts.refused, server.counts.running_most) == (0, 2)


def test_where_the_endpoint_refuses_everybody_waits_as_long_as_it_asks(server: ModelServer) -> None:
    """The limit lets in more than the endpoint takes: each refusal pauses the limit, and the call comes again."""
    server.limit, server.delay_ms, server.retry_after_ms = 1, 50, 200

    async def asked() -> list[str]:
        async with accord.local() as hub, Model(settings(server.base_url, limit="openai_api")) as model:
            await hub.pool("openai_api").configure(capacity=2)
            return [reply.text for reply in await asyncio.gather(*[model.ask(HOTELS) for _ in range(2)])]

    assert asyncio.run(asked()) == [pick(HOTELS)] * 2
    assert server.counts.refused == 1


def test_the_sync_model_takes_the_limit_too(server: ModelServer) -> None:
    server.limit, server.delay_ms = 1, 20
    llm = settings(server.base_url, limit="openai_api")  # nobody has configured the limit: one at a time
    with accord.sync.local(), SyncModel(llm) as model, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: model.ask(HOTELS).text, range(6)))
    assert answers == [pick(HOTELS)] * 6
    assert server.counts.refused == 0


def test_without_a_hub_the_limit_cannot_be_taken(server: ModelServer) -> None:
    with (
        SyncModel(settings(server.base_url, limit="openai_api")) as model,
        pytest.raises(NotConnected, match=r"A model with llm\.limit=openai_api was called but no hub is open"),
    ):
        model.ask(HOTELS)


def test_what_cannot_pass_is_not_tried_again(server: ModelServer) -> None:
    server.api_key = "another"
    llm = settings(server.base_url, limit="openai_api", api_key=KEY)
    with accord.sync.local(), SyncModel(llm) as model, pytest.raises(ConfigError):
        model.ask(HOTELS)
