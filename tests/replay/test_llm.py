"""What calls of models came to, and what is known of one request, from a log without Kafka."""

from __future__ import annotations

from typing import Any

import pytest
from accord.replay.llm import Bill, costs, request_at, total
from accord.replay.state import parse_point
from accord.replay.timeline import iso
from accord.replay.verify import verify
from accord.schemas.messages.llm import (
    AnswerReused,
    CallGranted,
    ForgetAnswer,
    RecordCall,
    RequestAnswer,
    WithdrawRequest,
)
from accord.schemas.messages.log import Tick

from accord.errors import NotFound
from tests.histories.play import START_MS, Play

LEASE_MS = 30_000
TTL_MS = 600_000
ANSWERED: dict[str, Any] = {"outcome": "answered", "text": "42", "error_type": "", "error": ""}
FAILED: dict[str, Any] = {"outcome": "failed", "text": None, "error_type": "Unavailable", "error": "503"}


class Desk(Play):
    """Agents ask; two partitions, so that requests lie in both."""

    def __init__(self) -> None:
        super().__init__(llm=2)

    def ask(
        self, request: str, agent: str, *, task: str = "", step: str = "", run: int = 0, model: str = "gpt-4",
        after_ms: int = 10,
    ) -> int:  # fmt: skip
        """Returns the token, if this one is to call; else 0."""
        command = RequestAnswer(agent, task, step, run, model, TTL_MS, LEASE_MS)
        events = self.send(request, command, domain="llm", after_ms=after_ms, task=task or None).events
        return next((event.token for event in events if isinstance(event, CallGranted)), 0)

    def call(
        self, request: str, agent: str, token: int | None, cost: int | None = 100, *, task: str = "",
        model: str = "gpt-4", after_ms: int = 1_000, outcome: dict[str, Any] = ANSWERED,
    ) -> None:  # fmt: skip
        command = RecordCall(
            agent=agent, task=task, step="", model=model, token=token, answered_by=f"{model}-0613", input_tokens=7,
            output_tokens=3, cost_microusd=cost, duration_ms=990, tries=1, ttl_ms=TTL_MS, **outcome,
        )  # fmt: skip
        self.send(request, command, domain="llm", after_ms=after_ms, task=task or None)


@pytest.fixture
def desk() -> Desk:
    """ada and bob ask `one` at once, later again; eve asks three of another model; a call is lost, one fails."""
    desk = Desk()
    token = desk.ask("one", "ada", task="t-1", step="write", run=1)
    assert desk.ask("one", "bob", task="t-2") == 0
    desk.call("one", "ada", token, task="t-1")
    desk.ask("one", "bob", task="t-2")
    for name, cost in (("two", 1_000), ("three", None)):
        desk.call(name, "eve", desk.ask(name, "eve", model="gpt-4o"), cost, model="gpt-4o")
    token = desk.ask("four", "ada")
    desk.ask("four", "bob")
    desk.call("four", "ada", token, None, outcome=FAILED)
    desk.ask("five", "kim")
    desk.send("five", Tick(), domain="llm", after_ms=LEASE_MS)
    return desk


def test_costs_by_agent(desk: Desk) -> None:
    assert costs(desk) == (
        Bill("eve", 2, 0, 0, 0, 14, 6, 1_000, unpriced=1),
        Bill("ada", 2, 0, 1, 0, 14, 6, 100, unpriced=1),
        Bill("bob", cached=2, saved_microusd=200),
        Bill("kim", lost=1),
    )
    assert total(costs(desk)) == Bill("total", 4, 2, 1, 1, 28, 12, 1_100, 2, 200)
    assert costs(desk, processes=2) == costs(desk)


def test_costs_by_model_and_by_task(desk: Desk) -> None:
    assert [(bill.name, bill.calls, bill.cached, bill.lost, bill.cost_microusd) for bill in costs(desk, "model")] == [
        ("gpt-4o", 2, 0, 0, 1_000),
        ("gpt-4", 2, 2, 1, 100),
    ]
    assert [(bill.name, bill.calls, bill.cached, bill.cost_microusd) for bill in costs(desk, "task")] == [
        ("", 3, 0, 1_000),
        ("t-1", 1, 0, 100),
        ("t-2", 0, 2, 0),
    ]


def test_a_call_that_is_told_of_late_was_not_lost() -> None:
    desk = Desk()
    token = desk.ask("one", "ada")
    other = desk.ask("one", "bob", after_ms=LEASE_MS)
    assert costs(desk) == (Bill("ada", lost=1),)
    desk.call("one", "ada", token)
    desk.call("one", "bob", other)
    assert costs(desk) == (
        Bill("ada", 1, 0, 0, 0, 7, 3, 100),
        Bill("bob", 1, 0, 0, 0, 7, 3, 100),
    )


def test_what_was_taken_back_is_no_call() -> None:
    desk = Desk()
    desk.ask("one", "ada")
    desk.ask("one", "bob")
    desk.send("one", WithdrawRequest("bob", "c2"), domain="llm")
    desk.send("one", WithdrawRequest("ada", "c1"), domain="llm")
    assert costs(desk) == ()
    desk.call("one", "ada", desk.ask("one", "ada"))
    desk.call("one", "eve", None)
    assert [(bill.name, bill.calls) for bill in costs(desk)] == [("ada", 1), ("eve", 1)]


def test_calls_are_decided_again_the_same(desk: Desk) -> None:
    desk.send("one", ForgetAnswer("ops"), domain="llm")
    report = verify(desk)
    assert report.ok, report


def test_a_log_without_calls() -> None:
    assert costs(Desk()) == costs(Play(locks=1)) == ()
    for log in (Desk(), Play(locks=1)):
        with pytest.raises(NotFound, match="play has no request one to a model"):
            request_at(log, "one")


def test_a_request(desk: Desk) -> None:
    view = request_at(desk, "one")
    assert (view.model, view.kept, view.text, view.cached, view.caller, view.waiting) == (
        "gpt-4", True, "42", 2, None, 0
    )  # fmt: skip
    assert view.until == iso(START_MS + 1_020 + TTL_MS)
    (call,) = view.calls
    assert (call.agent, call.task, call.outcome, call.cost_microusd, call.error) == ("ada", "t-1", "answered", 100, "")
    (failed,) = request_at(desk, "four").calls
    assert (failed.outcome, failed.error) == ("failed", "503")
    assert (request_at(desk, "four").text, request_at(desk, "four").kept) == (None, False)


def test_a_request_while_it_is_asked(desk: Desk) -> None:
    desk.ask("nine", "ada")
    desk.ask("nine", "bob")
    view = request_at(desk, "nine")
    assert (view.caller, view.waiting, view.calls, view.kept, view.text) == ("ada", 1, (), False, None)


def test_a_request_at_a_point(desk: Desk) -> None:
    place = request_at(desk, "one").calls[0].position
    desk.send("one", ForgetAnswer("ops"), domain="llm")
    now, then = request_at(desk, "one"), request_at(desk, "one", parse_point(place))
    assert (now.kept, now.until, now.text) == (False, None, "42"), "the log still has it"
    assert (then.kept, then.cached) == (True, 1)
    with pytest.raises(NotFound):
        request_at(desk, "one", parse_point(place.partition("@")[0] + "@999"))


def test_the_answer_is_on_the_log_for_who_reads_it(desk: Desk) -> None:
    """What was answered can be found by the request's hash, and given again."""
    events = desk.send("one", RequestAnswer("x", "", "", 0, "gpt-4", TTL_MS, LEASE_MS), domain="llm").events
    (reused,) = events
    assert isinstance(reused, AnswerReused)
    assert reused.text == request_at(desk, "one").text
