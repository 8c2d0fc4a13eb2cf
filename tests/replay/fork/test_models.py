"""What a fork asks models: recorded answers, stand-ins, the gate; and that nothing else ever runs."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from accord.agents.llm.model import Model
from accord.replay.fork.fork import Fork
from accord.replay.fork.models import Answered, Asked, Gate
from accord.replay.fork.outcome import Diff
from accord.replay.source import Source, open_source
from accord.replay.timeline import Filter, timeline
from accord.replay.verify import verify
from accord.schemas.messages.llm import RecordCall, RequestAnswer

import accord
from accord.errors import BadInput, Overloaded
from tests.histories.play import START_MS
from tests.histories.record import HERE
from tests.histories.town import Town

TTL_MS, LEASE_MS = 600_001, 30_001


def request(agent: str) -> RequestAnswer:
    return RequestAnswer(agent, "", "", 0, "gpt-4", TTL_MS, LEASE_MS)


def call(agent: str, token: int, text: str | None = "42", *, cost: int = 100, took_ms: int = 990) -> RecordCall:
    outcome, error = ("answered", "") if text is not None else ("failed", "503")
    return RecordCall(
        agent, "", "", "gpt-4", token, outcome, "gpt-4-0613", 7, 3, cost, took_ms, 1, TTL_MS, "", error, text
    )


def office() -> Town:
    """Ada asks `one` and is told 42; bob finds that; both ask `two`, ada calls and bob waits."""
    made = Town(llm=1)
    ada = made.at(10, "ada", "llm", "one", request("ada"))
    made.at(1_010, "ada", "llm", "one", lambda town: call("ada", town.token(ada)))
    made.at(2_000, "bob", "llm", "one", request("bob"))
    two = made.at(3_000, "ada", "llm", "two", request("ada"))
    made.at(3_010, "bob", "llm", "two", request("bob"))
    made.at(4_000, "ada", "llm", "two", lambda town: call("ada", town.token(two), "17", cost=30))
    made.at(60_000, "kim", "llm", "three", request("kim"))
    return made.run(70_000)


def run(*change: str, at: Any = None, **how: Any) -> tuple[Diff, Source]:
    fork = Fork(office(), at, change)
    found = fork.run(**how)
    assert fork.log is not None and verify(fork.log).ok
    return found, fork.log


def answers(log: Source) -> list[tuple[str, str, Any]]:
    events = timeline(log, Filter(domains=("llm",)))
    return [(one.agent or "", one.event, one.data["text"]) for one in events if "text" in one.data]


def test_a_recorded_answer_is_reused_by_the_hash_of_its_request() -> None:
    """Without ada's question bob has to call, and is answered as she was: same cost, as long."""
    found, log = run("remove llm.commands/0@0")
    assert answers(log)[0] == ("bob", "CallRecorded", "42")
    (question,) = found.questions
    assert (question.asked.agent, question.asked.request, question.answer) == ("bob", "one", "recorded")
    recorded, *_ = timeline(log, Filter(event="CallRecorded"))
    assert recorded.data["cost_microusd"] == 100 and recorded.data["recorded_ms"] == START_MS + 2_000 + 990
    sides = [(side.calls, side.cached, side.cost_microusd) for side in (found.recorded, found.forked)]
    assert sides == [(2, 1, 130), (2, 0, 130)]
    assert found.not_fed == 1, "ada was not granted the call, so she tells of none"


def test_an_answer_before_the_cut_counts_too() -> None:
    found, log = run(
        'insert {"domain":"llm","key":"one","command":"ForgetAnswer","agent":"ops","after":"llm/0@2"}', at="llm/0@2"
    )
    assert [one.answer for one in found.questions] == ["recorded"]
    assert answers(log)[1] == ("bob", "CallRecorded", "42")
    assert (found.forked.cost_microusd, found.recorded.cost_microusd) == (130, 30)


def test_another_answer_is_told_to_all_who_ask() -> None:
    found, log = run("answer one=41")
    assert answers(log)[:2] == [("ada", "CallRecorded", "41"), ("bob", "AnswerReused", "41")]
    assert {one.key for one in found.outcomes} == {"one"}
    assert [one.agent for one in found.agents] == ["ada", "bob"]
    _, log = run("answer one=41", "remove llm.commands/0@0")
    assert answers(log)[0] == ("bob", "CallRecorded", "41")


def test_who_waits_is_told_by_whom_the_call_is_made_in_the_fork() -> None:
    """Ada's second question is gone: bob calls what she had called for both."""
    found, log = run("remove llm.commands/0@3")
    assert answers(log)[-1] == ("bob", "CallRecorded", "17")
    assert [(one.asked.agent, one.answer) for one in found.questions] == [("bob", "recorded")]


def test_who_was_heard_of_no_more_is_not_heard_of_in_the_fork() -> None:
    found, log = run("llm/one RequestAnswer ttl_ms=1000")
    assert "three" not in {one.asked.request for one in found.questions}
    assert [one.event for one in timeline(log, Filter(key="three"))] == ["CallGranted"]


NEW = 'insert {"domain":"llm","key":"new","command":"RequestAnswer","agent":"eve","after":"llm/0@3","fields":' + (
    '{"task":"","step":"","run":0,"model":"gpt-5","ttl_ms":0,"lease_ms":3000}}'
)


def test_a_new_question_ends_the_fork_there() -> None:
    found, log = run(NEW)
    assert found.stopped == "llm/0@4: eve asks gpt-5 what the record has no answer to (new)"
    assert found.recorded.decisions == 1, "the original is compared up to there"
    assert found.forked.decisions == 2 and [one.answer for one in found.questions] == ["none"]
    assert "two" not in {one.key for one in timeline(log, Filter())}


def test_a_new_question_may_stay_without_an_answer() -> None:
    found, log = run(NEW, llm="recorded")
    assert found.stopped is None and [one.answer for one in found.questions] == ["none"]
    assert [one.event for one in timeline(log, Filter(key="new"))] == ["CallGranted", "LeaseEnded"]
    assert answers(log)[-1] == ("ada", "CallRecorded", "17"), "the rest goes on"


def test_a_stand_in_answers_new_questions_alone() -> None:
    asked: list[Asked] = []

    def stand_in(one: Asked) -> Answered:
        asked.append(one)
        return Answered("blue", "stand-in", 5, 6, 70, duration_ms=10_000)

    found, log = run(NEW, "remove llm.commands/0@0", llm=stand_in)
    assert asked == [Asked("new", "gpt-5", "eve", "", "")]
    assert {one.asked.request: one.answer for one in found.questions} == {"one": "recorded", "new": "stand-in"}
    assert ("eve", "CallRecorded", "blue") in answers(log)
    renewed = [one for one in timeline(log, Filter(key="new")) if one.event == "LeaseRenewed"]
    assert len(renewed) == 9, "a call that takes longer than its lease is kept by renewals"
    assert found.forked.cost_microusd == found.recorded.cost_microusd + 70
    found, log = run(NEW, llm=lambda _: None)
    assert [one.answer for one in found.questions] == ["none"] and found.stopped is None


def test_the_gate_is_passed_only_by_who_has_one_and_as_often_as_it_says() -> None:
    with pytest.raises(BadInput, match="both"):
        run(NEW, llm="live")
    with pytest.raises(BadInput, match="both"):
        run(NEW, gate=Gate(lambda _: "blue"))
    found, log = run(NEW, llm="live", gate=Gate(lambda asked: f"{asked.model} says blue"))
    assert [one.answer for one in found.questions] == ["live"]
    assert ("eve", "CallRecorded", "gpt-5 says blue") in answers(log)
    with pytest.raises(Overloaded, match="gpt-5 once more"):
        run(NEW, llm="live", gate=Gate(lambda _: "blue", calls_max=0))


# -- the gate is shut


class Ran(AssertionError):
    """Something ran that must not."""


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes, and refuses, whatever would leave this process, or would run what is registered in it."""
    ran: list[str] = []

    def refuse(what: str) -> Callable[..., Any]:
        def refused(*_: Any, **__: Any) -> Any:
            ran.append(what)
            raise Ran(what)

        return refused

    monkeypatch.setattr(socket, "socket", refuse("socket"))
    monkeypatch.setattr(socket, "create_connection", refuse("connection"))
    monkeypatch.setattr(urllib.request, "urlopen", refuse("urllib"))
    monkeypatch.setattr(subprocess, "Popen", refuse("subprocess"))
    for client in (httpx.Client, httpx.AsyncClient):
        monkeypatch.setattr(client, "send", refuse("httpx"))
    monkeypatch.setattr(asyncio, "run", refuse("asyncio"))
    monkeypatch.setattr(Model, "__init__", refuse("model"))
    return ran


def test_no_handler_no_request_and_no_model_runs(outside: list[str]) -> None:
    """A handler and a coordinated body are registered under the very names that the logs have."""

    @accord.when("hotel_booker_complete")
    def note(event_data: Any) -> None:
        outside.append("handler")

    @accord.coordinate("hotel_booker", lock_name="room_{room}")
    def book(room: int) -> str:
        outside.append("body")
        return "booked"

    for name in ("embedded", "hotel"):
        with open_source(HERE / f"{name}.accord") as source:
            Fork(source, change=["locks AcquireLock lease_ms=9000"]).run(run_on_ms=60_000)
    for llm in ("stop", "recorded", lambda _: "blue"):
        run(NEW, "remove llm.commands/0@0", llm=llm)
    assert outside == []


def test_what_is_refused_would_be_noticed(outside: list[str]) -> None:
    for act in (
        lambda: urllib.request.urlopen("http://localhost"),
        lambda: httpx.get("http://localhost"),
        lambda: socket.create_connection(("localhost", 1)),
        lambda: subprocess.run(["true"], check=True),
    ):
        with pytest.raises(Ran):
            act()
    assert outside == ["urllib", "httpx", "connection", "subprocess"]
