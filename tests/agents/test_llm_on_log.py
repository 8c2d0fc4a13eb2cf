"""Models with a log: answers that are reused, one caller at a time, every call recorded. The endpoint counts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from accord.agents import context
from accord.agents.client import Accord
from accord.agents.llm.logged import LoggedCall
from accord.agents.llm.model import Model
from accord.agents.llm.question import checked
from accord.agents.signals.signals import task
from accord.replay.llm import Bill, RequestView, costs, request_at
from accord.replay.source import open_source
from accord.streams.llm.bounds import ANSWER_BYTES_MAX

import accord
from accord.embedded import Embedded
from accord.errors import AccordError, BadInput, ConfigError, Degraded, LeaseLost, NotConnected, Overloaded, Unavailable
from accord.settings import Settings
from accord.testing.model_server import MODEL, ModelServer
from tests.agents.support import with_
from tests.agents.test_tasks import in_loop, until

ANSWERS = ("events", "inbox")
MakeHub = Callable[..., Accord]
TTL_MS = 3_600_000
LEASE_MS = 30_000


class Endpoint(ModelServer):
    """The stand-in; while `held` it answers nobody."""

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.free = threading.Event()
        self.free.set()
        self.text = "42"
        self.asked = 0

    def _reply(self, prompt: str) -> str:
        self.asked += 1
        assert self.free.wait(20)
        return self.text


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        yield server
        server.free.set()


@pytest.fixture
def prompt(request: pytest.FixtureRequest) -> str:
    """A question that no other test asks: the module's tests share a log."""
    return f"What is the answer? ({request.node.name})"


@pytest.fixture
def ask_as(make_hub: MakeHub, endpoint: Endpoint) -> Any:
    """`async with ask_as("ada", ...) as model`: a model on a hub of its own; settings of `llm` by name."""

    @asynccontextmanager
    async def opened(agent: str, **llm: Any) -> AsyncIterator[Model]:
        async with make_hub(agent) as hub:
            settings = with_(hub.settings, "llm", base_url=endpoint.base_url, **llm).llm
            async with hub.model(settings) as model:
                yield model

    return opened


def bill(embedded: Embedded, agent: str) -> Bill:
    with open_source(embedded.settings) as log:
        return next((bill for bill in costs(log) if bill.name == agent), Bill(agent))


def seen(embedded: Embedded, request: str) -> RequestView:
    with open_source(embedded.settings) as log:
        return request_at(log, request)


@contextmanager
def told_of(model: Model, request: str) -> Iterator[list[str]]:
    """The names of the events about a request, as they come."""
    told: list[str] = []
    unwatch = model._hub.connection.watch(
        "llm", request, lambda answer: told.extend(type(event).__name__ for event in answer.events)
    )
    yield told
    unwatch()


def running(work: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(work)


# -- reuse


@pytest.mark.each_source
@in_loop
async def test_a_question_that_was_answered_costs_no_call(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    async with ask_as("ann") as ann, ask_as("ben") as ben:
        first = await ann.ask(prompt)
        again, others = await ann.ask(prompt), await ben.ask(prompt)
        assert (first.text, first.cached, first.model) == ("42", False, MODEL)
        assert again == others == first._replace(cached=True, cost_microusd=0)
        assert endpoint.asked == 1
        other = await ann.ask(f"{prompt}?")
        assert (other.cached, other.request != first.request) == (False, True)
    assert endpoint.asked == 2
    words = len(prompt.split())
    assert bill(embedded, "ann") == Bill("ann", 2, 1, 0, 0, 2 * words, 2, unpriced=2)
    assert bill(embedded, "ben") == Bill("ben", cached=1)
    view = seen(embedded, first.request)
    assert (view.kept, view.text, view.cached, view.caller, view.waiting) == (True, "42", 2, None, 0)
    (call,) = view.calls
    assert (call.agent, call.outcome, call.answered_by, call.cost_microusd, call.tries) == (
        "ann", "answered", MODEL, None, 1
    )  # fmt: skip


@pytest.mark.each_source
@in_loop
async def test_of_those_who_ask_at_once_one_calls(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    endpoint.free.clear()
    async with ask_as("cid") as cid, ask_as("dot") as dot:
        asked = [running(model.ask(prompt)) for model in (cid, dot, cid)]
        await until(lambda: endpoint.asked == 1)
        with task("task-7"):
            asked.append(running(dot.ask(prompt)))
        request = request_of(cid, prompt)
        await until(lambda: seen(embedded, request).waiting == 3)
        endpoint.free.set()
        replies = [await one for one in asked]
        assert sorted(reply.cached for reply in replies) == [False, True, True, True]
        assert {reply.text for reply in replies} == {"42"}
    assert endpoint.asked == 1
    with open_source(embedded.settings) as log:
        (of_task,) = [bill for bill in costs(log, "task") if bill.name == "task-7"]
    assert (of_task.calls, of_task.cached) == (0, 1)


def request_of(model: Model, prompt: str) -> str:
    return checked(model.settings.model, prompt, "", model.settings.max_tokens, None).hash


@in_loop
async def test_an_answer_is_too_old_when_its_time_is_over(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    async with ask_as("eli") as eli:
        first = await eli.ask(prompt)
        await asyncio.to_thread(embedded.advance, TTL_MS - 60_000)
        assert (await eli.ask(prompt)).cached
        assert not (await eli.ask(prompt, ttl_ms=1_000)).cached, "this one wants it younger"
        assert endpoint.asked == 2
        await asyncio.to_thread(embedded.advance, TTL_MS)
        assert not seen(embedded, first.request).kept, "a tick has removed it"
        assert not (await eli.ask(prompt)).cached
    assert endpoint.asked == 3


@in_loop
async def test_without_a_time_to_live_every_question_is_a_call(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    async with ask_as("fay", cache_ttl_ms=0) as fay:
        replies = [await fay.ask(prompt) for _ in range(2)]
    assert [reply.cached for reply in replies] == [False, False]
    assert (endpoint.asked, bill(embedded, "fay").calls) == (2, 2)
    view = seen(embedded, replies[0].request)
    assert (view.kept, view.text) == (False, "42"), "the answer is on the log all the same"


@in_loop
async def test_an_answer_is_forgotten_on_demand(ask_as: Any, endpoint: Endpoint, prompt: str) -> None:
    async with ask_as("gus") as gus:
        first = await gus.ask(prompt)
        assert await gus.forget(first.request)
        assert not await gus.forget(first.request)
        assert not (await gus.ask(prompt)).cached
    assert endpoint.asked == 2


@in_loop
async def test_the_caps_and_parameters_are_part_of_the_question(ask_as: Any, endpoint: Endpoint, prompt: str) -> None:
    async with ask_as("hal") as hal:
        for terms in ({}, {"max_tokens": 7}, {"instructions": "Be brief."}, {"parameters": {"temperature": 0}}):
            assert not (await hal.ask(prompt, **terms)).cached, terms
        assert (await hal.ask(prompt, parameters={"temperature": 0}, agent="somebody")).cached
    assert endpoint.asked == 4


@in_loop
async def test_an_answer_that_is_too_large_is_given_and_not_kept(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    endpoint.text = "x" * (ANSWER_BYTES_MAX + 1)
    async with ask_as("ian") as ian:
        first = await ian.ask(prompt)
        assert (await ian.ask(prompt)).text == first.text == endpoint.text
        endpoint.text = "x" * ANSWER_BYTES_MAX
        await ian.ask(prompt)
        assert (await ian.ask(prompt)).cached
    assert (endpoint.asked, bill(embedded, "ian").calls) == (3, 3)


@in_loop
async def test_an_answer_that_is_no_text_is_given_and_not_kept(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    endpoint.text = "half a \ud83d pair"
    async with ask_as("ivy") as ivy:
        first, second = await ivy.ask(prompt), await ivy.ask(prompt)
    assert (first.text, second.text, second.cached) == (endpoint.text, endpoint.text, False)
    assert [call.outcome for call in seen(embedded, first.request).calls] == ["answered"] * 2


# -- callers that fail, go or die


@pytest.mark.each_source
@in_loop
async def test_what_any_of_them_would_meet_is_told_to_all_who_wait(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    endpoint.free.clear()
    endpoint.text = ""  # which is no answer
    async with ask_as("joe") as joe, ask_as("kai") as kai:
        first = running(joe.ask(prompt))
        await until(lambda: endpoint.asked == 1)
        second = running(kai.ask(prompt))
        await until(lambda: seen(embedded, request_of(joe, prompt)).waiting == 1)
        endpoint.free.set()
        with pytest.raises(Unavailable, match="gave no text"):
            await first
        with pytest.raises(Unavailable, match=r"joe asked gpt-4o the same, and failed: Model gpt-4o at .* no text"):
            await second
        endpoint.text = "42"
        assert not (await kai.ask(prompt)).cached, "a failure is not kept"
    assert endpoint.asked == 2
    assert (bill(embedded, "joe").calls, bill(embedded, "joe").failed) == (1, 1)


@in_loop
async def test_who_has_the_wrong_key_lets_the_next_one_call(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    async with ask_as("lea") as lea, ask_as("mia", api_key="another") as mia:
        endpoint.api_key = "another"
        with pytest.raises(ConfigError, match="refused the key"):
            await lea.ask(prompt)
        assert (await mia.ask(prompt)).text == "42"
        assert (await lea.ask(prompt)).cached
    view = seen(embedded, request_of(lea, prompt))
    assert [(call.agent, call.outcome) for call in view.calls] == [("lea", "abandoned"), ("mia", "answered")]


@pytest.mark.each_source
@in_loop
async def test_when_who_calls_is_cancelled_the_next_one_calls(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    endpoint.free.clear()
    async with ask_as("ned") as ned, ask_as("oda") as oda:
        request = request_of(ned, prompt)
        first = running(ned.ask(prompt))
        await until(lambda: endpoint.asked == 1)
        second, third = running(oda.ask(prompt)), running(ned.ask(prompt))
        await until(lambda: seen(embedded, request).waiting == 2)
        third.cancel()
        await until(lambda: seen(embedded, request).waiting == 1)
        first.cancel()
        await until(lambda: endpoint.asked == 2)
        endpoint.free.set()
        assert not (await second).cached
        await asyncio.wait([first, third])
        assert first.cancelled() and third.cancelled()
    assert [call.outcome for call in seen(embedded, request).calls] == ["abandoned", "answered"]
    assert bill(embedded, "ned").calls == 1


@in_loop
async def test_a_call_tells_how_often_it_was_tried(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    def breaks_once(prompt: str) -> str:
        endpoint.asked += 1
        if endpoint.asked == 1:
            raise ConnectionError("the line is cut")
        return "42"

    endpoint.answer = breaks_once
    async with ask_as("abe") as abe:
        reply = await abe.ask(prompt)
    assert (reply.text, endpoint.asked) == ("42", 2)
    (call,) = seen(embedded, reply.request).calls
    assert (call.tries, call.outcome) == (2, "answered")


@in_loop
async def test_when_the_process_that_calls_dies_another_takes_over(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str, tmp_path: Path
) -> None:
    """Killed, so that nobody tells the log: its lease ends by the log's clock."""
    endpoint.free.clear()
    kafka, topics = embedded.settings.kafka, embedded.settings.topics
    environment = {
        **os.environ,
        "ACCORD_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "ACCORD_KAFKA__IDEMPOTENT": "false",
        "ACCORD_TOPICS__PARTITIONS": str(topics.partitions),
        "ACCORD_LLM__BASE_URL": endpoint.base_url,
    }
    with ExitStack() as stack:
        command = [sys.executable, "-m", "tests.agents.asker", prompt]
        dying = stack.enter_context(subprocess.Popen(command, env=environment))  # noqa: ASYNC220
        stack.callback(dying.kill)
        async with ask_as("pia") as pia:
            await until(lambda: endpoint.asked == 1)
            waiting = running(pia.ask(prompt))
            request = request_of(pia, prompt)
            await until(lambda: seen(embedded, request).waiting == 1)
            dying.send_signal(signal.SIGKILL)
            await asyncio.to_thread(dying.wait)
            await asyncio.to_thread(embedded.advance, LEASE_MS)
            await until(lambda: endpoint.asked == 2)
            endpoint.free.set()
            assert not (await waiting).cached
    assert bill(embedded, "asker") == Bill("asker", lost=1)


@in_loop
async def test_a_lease_is_renewed_for_as_long_as_the_call_takes(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    endpoint.free.clear()
    async with ask_as("quy", lease_ms=1_000) as quy:
        request = request_of(quy, prompt)
        with told_of(quy, request) as told:
            first = running(quy.ask(prompt))
            await until(lambda: told.count("LeaseRenewed") >= 4)  # more than a lease
            second = running(quy.ask(prompt))
            await until(lambda: seen(embedded, request).waiting == 1)
            endpoint.free.set()
            assert [(await first).cached, (await second).cached] == [False, True]
    assert endpoint.asked == 1
    assert "LeaseEnded" not in told


@in_loop
async def test_a_lease_that_was_given_back_is_not_renewed_by_a_timer_under_way(ask_as: Any, prompt: str) -> None:
    async with ask_as("ria") as ria:
        question = checked("m", prompt, "", 1, None)
        with told_of(ria, question.hash) as told:
            call = LoggedCall(ria._hub, question, "ria", TTL_MS, LEASE_MS)
            assert await asyncio.wrap_future(call.look_up()) is None
            call.withdraw()
            call._renew()
            assert not await ria.forget(question.hash)
    assert told == ["CallGranted", "RequestWithdrawn", "AnswerForgotten"]


@in_loop
async def test_who_lost_the_lease_has_its_answer_and_tells_nobody(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    endpoint.free.clear()
    async with ask_as("rex", lease_ms=1_000) as rex, ask_as("sam") as sam:
        request = request_of(rex, prompt)
        with told_of(rex, request) as told:
            first = running(rex.ask(prompt))
            await until(lambda: endpoint.asked == 1)
            await asyncio.to_thread(embedded.advance, 1_000)
            second = running(sam.ask(prompt))
            await until(lambda: endpoint.asked == 2)
            await until(lambda: "RenewalRefused" in told)
            endpoint.free.set()
            assert [(await first).cached, (await second).cached] == [False, False]
    view = seen(embedded, request)
    assert (len(view.calls), view.kept) == (2, True)
    assert bill(embedded, "rex") == Bill("rex", 1, 0, 0, 0, len(prompt.split()), 1, unpriced=1)


@in_loop
async def test_when_too_many_wait_one_more_is_told_so(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accord.streams.llm.decider.WAITERS_MAX", 1)
    endpoint.free.clear()
    async with ask_as("roy") as roy:
        asked = [running(roy.ask(prompt)) for _ in range(2)]
        await until(lambda: endpoint.asked == 1)
        await until(lambda: seen(embedded, request_of(roy, prompt)).waiting == 1)
        with pytest.raises(Overloaded, match="1 wait for the answer of gpt-4o to"):
            await roy.ask(prompt)
        endpoint.free.set()
        assert [(await one).text for one in asked] == ["42", "42"]


@in_loop
async def test_a_step_that_runs_again_does_not_wait_for_its_earlier_run(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    """As when its process was lost: the log has ended that run."""
    endpoint.free.clear()
    async with ask_as("tim") as tim, ask_as("uma") as uma:
        with task("task-9"), context.running("write", 5):
            first, waits = running(tim.ask(prompt)), running(tim.ask(prompt))
        await until(lambda: endpoint.asked == 1)
        request = request_of(tim, prompt)
        await until(lambda: seen(embedded, request).waiting == 1)
        with task("task-9"), context.running("write", 8):
            again = running(uma.ask(prompt))
        await until(lambda: endpoint.asked == 2)
        with pytest.raises(LeaseLost, match="A later run of the step write asks gpt-4o the same"):
            await waits
        endpoint.free.set()
        assert [(await first).cached, (await again).cached] == [False, False]
    (call, _) = seen(embedded, request).calls
    assert (call.task, call.step) == ("task-9", "write")


@in_loop
async def test_a_call_belongs_to_the_step_that_makes_it(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    async with ask_as("wes") as wes:
        graph = accord.TaskGraph("asking", team="asking")

        @graph.step
        async def write(input: str) -> str:
            return (await wes.ask(input)).request

        async with wes._hub.work(graph):
            handle = await wes._hub.submit(graph, prompt)
            request = await handle.result(wait_ms=20_000)
    (call,) = seen(embedded, request).calls
    assert (call.agent, call.task, call.step) == ("wes", handle.id, "write")


# -- without a log, or when it is down


@in_loop
async def test_a_model_without_a_hub_has_no_log(endpoint: Endpoint, prompt: str) -> None:
    settings = Settings.load(llm={"base_url": endpoint.base_url}).llm
    async with Model(settings) as model:
        replies = [await model.ask(prompt) for _ in range(2)]
        with pytest.raises(NotConnected, match="this model has no log"):
            await model.forget(replies[0].request)
    assert [reply.cached for reply in replies] == [False, False]
    assert endpoint.asked == 2


@in_loop
async def test_an_answer_that_cannot_be_recorded_is_given_all_the_same(
    ask_as: Any, endpoint: Endpoint, prompt: str
) -> None:
    endpoint.free.clear()
    async with ask_as("vic") as vic:
        asked = running(vic.ask(prompt))
        await until(lambda: endpoint.asked == 1)
        await asyncio.to_thread(vic._hub.connection.close)
        endpoint.free.set()
        assert (await asked).text == "42"


@in_loop
async def test_without_a_worker_nobody_is_asked(lonely: Settings, endpoint: Endpoint, prompt: str) -> None:
    settings = with_(lonely, "llm", base_url=endpoint.base_url)
    async with Accord(agent="wim", settings=settings) as hub, hub.model() as model:
        with pytest.raises(Degraded):
            await model.ask(prompt)
    assert endpoint.asked == 0


@in_loop
async def test_a_limit_that_is_lost_is_no_call(
    ask_as: Any, endpoint: Endpoint, embedded: Embedded, prompt: str
) -> None:
    """Nothing was sent to the endpoint, so nothing is recorded, and the next one calls at once."""
    async with ask_as("xia", limit="tiny") as xia, ask_as("yan") as yan:
        await xia._hub.pool("tiny").configure(capacity=1, tokens_per_minute=10)
        with pytest.raises(AccordError, match="tiny"):
            await xia.ask(prompt)
        assert not (await yan.ask(prompt)).cached
    assert bill(embedded, "xia") == Bill("xia")


def test_the_sync_model_shares_the_answers(endpoint: Endpoint, prompt: str) -> None:
    with accord.sync.local(agent="zoe") as hub:
        llm = with_(hub.settings, "llm", base_url=endpoint.base_url).llm
        with hub.model(llm) as model, task("task-3"):
            first = model.ask(prompt)
            assert model.ask(prompt).cached
            assert model.forget(first.request)
            assert not model.ask(prompt, agent="another").cached
        with pytest.raises(NotConnected, match="outside of its `with`"):
            model.ask(prompt)
        with open_source(hub.settings) as log:
            assert {(bill.name, bill.calls) for bill in costs(log)} == {("zoe", 1), ("another", 1)}
            assert [(bill.name, bill.calls, bill.cached) for bill in costs(log, "task")] == [("task-3", 2, 1)]
    assert endpoint.asked == 2


@in_loop
async def test_what_cannot_be_asked_leaves_nothing(ask_as: Any, endpoint: Endpoint, embedded: Embedded) -> None:
    async with ask_as("ute") as ute:
        for wrong in ({"ttl_ms": -1}, {"agent": "x" * 300}, {"parameters": {"stream": True}}):
            with pytest.raises(BadInput):
                await ute.ask("What?", **wrong)
    assert (endpoint.asked, bill(embedded, "ute")) == (0, Bill("ute"))
