"""The llm decider, branch by branch."""

from __future__ import annotations

from typing import Any

import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import Command, llm
from accord.schemas.messages.llm import (
    AnswerAwaited,
    AnswerDenied,
    AnswerExpired,
    AnswerForgotten,
    AnswerReused,
    CallGranted,
    CallRecorded,
    ForgetAnswer,
    LeaseEnded,
    LeaseRenewed,
    RecordCall,
    RenewalRefused,
    RenewLease,
    RequestAnswer,
    RequestWithdrawn,
    WithdrawRequest,
)
from accord.schemas.messages.locks import LockReleased
from accord.schemas.messages.log import CommandRejected, SwitchRules, Tick
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import At, dump, restore
from accord.streams.domains import DOMAINS
from accord.streams.llm.bounds import (
    ANSWER_BYTES_MAX,
    ERROR_CHARS_MAX,
    TTL_MS_MAX,
    WAITERS_MAX,
)
from accord.streams.llm.decider import _ANSWERS, _CHANGES, DOMAIN, LlmDecider
from accord.streams.llm.entry import Entry
from accord.streams.locks.bounds import LEASE_MS_MAX, LEASE_MS_MIN

from tests.streams.spec import Specification

decider = LlmDecider()
given = Specification(decider)
T0 = 1_000
LEASE_MS = 30_000
TTL_MS = 100_000
SEQ = 100
"""Number of the decision under test."""


def ask(agent: str = "ada", step: str = "", run: int = 0, *, ttl_ms: int = TTL_MS, task: str = "t") -> RequestAnswer:
    return RequestAnswer(agent, task, step, run, "gpt-4", ttl_ms, LEASE_MS)


def granted(request: str, agent: str = "ada", step: str = "", run: int = 0, *, token: int = 1, at: int = T0) -> Any:
    return CallGranted(request, agent, "t", step, run, "gpt-4", token, LEASE_MS, at + LEASE_MS)


def awaited(request: str, agent: str = "ada", step: str = "", run: int = 0) -> AnswerAwaited:
    return AnswerAwaited(request, agent, "t", step, run, "gpt-4", LEASE_MS)


def record(token: int | None = 1, outcome: str = "answered", text: str | None = "42", **other: Any) -> RecordCall:
    terms = {
        "answered_by": "gpt-4-0613", "input_tokens": 7, "output_tokens": 1, "cost_microusd": 270, "duration_ms": 900,
        "tries": 1, "ttl_ms": TTL_MS, "error_type": "", "error": "",
    }  # fmt: skip
    return RecordCall("ada", "t", "", "gpt-4", token, outcome, text=text, **{**terms, **other})


def recorded(
    token: int | None = 1, outcome: str = "answered", text: str | None = "42", *, at: int = T0, requests: Any = (),
    until_ms: int | None = -1, error_type: str = "", error: str = "",
) -> CallRecorded:  # fmt: skip
    until_ms = at + TTL_MS if until_ms == -1 else until_ms
    return CallRecorded(
        "ada", "t", "", "gpt-4", token, outcome, "gpt-4-0613", 7, 1, 270, 900, 1, at, until_ms, requests, error_type,
        error, text,
    )  # fmt: skip


def reused(agent: str = "bob", at: int = T0) -> AnswerReused:
    return AnswerReused(agent, "t", "", "gpt-4", "gpt-4-0613", 7, 1, 270, at, "42")


def ended(request: str, token: int, reason: str, agent: str = "ada") -> LeaseEnded:
    return LeaseEnded(request, agent, token, reason)


KEPT = [granted("r1"), recorded()]
"""What brings an answer of T0."""


# -- asking


def test_who_asks_first_calls() -> None:
    then = given().when(ask(), T0, seq=SEQ, request="r1").then(granted("r1", token=SEQ))
    assert decider.deadline_ms(then.state) == T0 + LEASE_MS


def test_who_asks_meanwhile_waits() -> None:
    then = given(granted("r1")).when(ask("bob"), 2_000, request="r2").then(awaited("r2", "bob"))
    assert [waiter.request for waiter in then.state.waiters] == ["r2"]


def test_an_answer_is_told_to_who_waits_and_kept() -> None:
    before = given(granted("r1"), awaited("r2", "bob"), awaited("r3", "eve"))
    then = before.when(record(), 5_000).then(recorded(at=5_000, requests=("r2", "r3")))
    assert (then.state.caller, then.state.waiters) == (None, ())
    assert decider.deadline_ms(then.state) == 5_000 + TTL_MS


def test_an_answer_that_is_kept_is_reused() -> None:
    given(*KEPT).when(ask("bob"), T0 + TTL_MS - 1).then(reused())


def test_an_answer_is_gone_when_its_time_is_over() -> None:
    until_ms = T0 + TTL_MS
    given(*KEPT).when(ask(), until_ms, request="r2").then(
        AnswerExpired(until_ms), granted("r2", token=100, at=until_ms)
    )
    assert given(*KEPT).when(Tick(), until_ms).then(AnswerExpired(until_ms)).state is None
    given(*KEPT).when(Tick(), until_ms - 1).then_nothing()


def test_who_wants_a_younger_answer_calls_and_the_old_one_serves_others_meanwhile() -> None:
    given(*KEPT).when(ask(ttl_ms=501), T0 + 500).then(reused("ada"))
    younger = given(*KEPT).when(ask(ttl_ms=500), T0 + 500, request="r2").then(granted("r2", token=100, at=T0 + 500))
    younger.when(ask("bob"), T0 + 600).then(reused())
    younger.when(ask("eve", ttl_ms=500), T0 + 600, request="r3").then(awaited("r3", "eve"))
    # Its answer takes the place of the old one; its failure does not.
    assert (
        younger.when(record(100, text="43"), 2_000).then(recorded(100, text="43", at=2_000)).state.answer.until_ms
        == 2_000 + TTL_MS
    )
    failed = younger.when(record(100, "failed", None), 2_000).then(
        recorded(100, "failed", None, at=2_000, until_ms=None)
    )
    assert failed.state.answer.text == "42"


def test_no_age_at_all_is_young_enough_for_nobody() -> None:
    given(*KEPT).when(ask(ttl_ms=0), T0, request="r2").then(granted("r2", token=100))


def test_beyond_the_bound_nobody_waits() -> None:
    waiting = [awaited(f"w{number}") for number in range(WAITERS_MAX)]
    given(granted("r1"), *waiting).when(ask("bob"), 2_000).then(AnswerDenied("bob", "queue_full", WAITERS_MAX))
    given(granted("r1"), *waiting[1:]).when(ask("bob"), 2_000).then(awaited("new", "bob"))


# -- the lease


def test_a_lease_is_renewed_by_who_holds_it() -> None:
    then = given(granted("r1")).when(RenewLease("ada", 1, 40_000), 5_000).then(LeaseRenewed("ada", 1, 45_000))
    assert decider.deadline_ms(then.state) == 45_000
    given(granted("r1")).when(RenewLease("ada", 2, 40_000), 5_000).then(RenewalRefused("ada", 2))
    given(*KEPT).when(RenewLease("ada", 1, 40_000), 5_000).then(RenewalRefused("ada", 1))


def test_when_a_lease_ends_the_first_who_waits_calls() -> None:
    end_ms = T0 + LEASE_MS
    before = given(granted("r1"), awaited("r2", "bob"), awaited("r3", "eve"))
    then = before.when(Tick(), end_ms).then(ended("r1", 1, "expired"), granted("r2", "bob", token=100, at=end_ms))
    assert [waiter.request for waiter in then.state.waiters] == ["r3"]
    before.when(Tick(), end_ms - 1).then_nothing()
    assert given(granted("r1")).when(Tick(), end_ms).then(ended("r1", 1, "expired")).state is None


def test_a_lease_ends_before_the_command_is_decided() -> None:
    end_ms = T0 + LEASE_MS
    given(granted("r1")).when(ask("bob"), end_ms, request="r2").then(
        ended("r1", 1, "expired"), granted("r2", "bob", token=100, at=end_ms)
    )
    given(granted("r1"), awaited("r2", "bob")).when(record(1), end_ms).then(
        ended("r1", 1, "expired"), recorded(1, at=end_ms, until_ms=None), granted("r2", "bob", token=100, at=end_ms)
    )


def test_a_decision_lets_only_one_call_for_it_has_only_one_token() -> None:
    """As the lease ends, the first who waits takes the request back, a later run of its step takes its place, or the
    answer is forgotten."""
    end_ms = T0 + LEASE_MS
    before = given(granted("r1"), awaited("r2", "bob", "write", 5), awaited("r3", "eve"))
    expired, eve_calls = ended("r1", 1, "expired"), granted("r3", "eve", token=100, at=end_ms)
    before.when(WithdrawRequest("bob", "r2"), end_ms).then(expired, RequestWithdrawn("r2", "bob"), eve_calls)
    before.when(ask("bob", "write", 9), end_ms, request="r4").then(
        expired, RequestWithdrawn("r2", "bob"), eve_calls, awaited("r4", "bob", "write", 9)
    )
    before.when(ForgetAnswer("ops"), end_ms).then(
        expired, AnswerForgotten("ops", False), granted("r2", "bob", "write", 5, token=100, at=end_ms)
    )


def test_deadlines_come_in_their_order() -> None:
    young = [*KEPT, granted("r2", "bob", token=2, at=T0 + 80_000)]  # its lease ends after the answer
    late_ms = T0 + 110_000
    given(*young).when(Tick(), late_ms).then(AnswerExpired(T0 + TTL_MS), ended("r2", 2, "expired", "bob"))
    old = [*KEPT, granted("r2", "bob", token=2, at=T0 + 60_000)]
    given(*old).when(Tick(), late_ms).then(ended("r2", 2, "expired", "bob"), AnswerExpired(T0 + TTL_MS))
    assert decider.deadline_ms(given(*old).state) == T0 + 90_000


# -- what came of a call


def test_a_failure_that_all_would_meet_is_told_to_all() -> None:
    before = given(granted("r1"), awaited("r2", "bob"), awaited("r3", "eve"))
    failure = {"error_type": "Unavailable", "error": "503"}
    then = before.when(record(1, "failed", None, **failure), 5_000).then(
        recorded(1, "failed", None, at=5_000, until_ms=None, requests=("r2", "r3"), **failure)
    )
    assert then.state is None


@pytest.mark.parametrize(
    ("outcome", "text"), [("abandoned", None), ("answered", None)], ids=["abandoned", "answer too large"]
)
def test_who_brings_nothing_to_share_lets_the_next_one_call(outcome: str, text: str | None) -> None:
    then = (
        given(granted("r1"), awaited("r2", "bob"))
        .when(record(1, outcome, text), 5_000)
        .then(recorded(1, outcome, text, at=5_000, until_ms=None), granted("r2", "bob", token=100, at=5_000))
    )
    assert then.state.waiters == ()
    assert (
        given(granted("r1"))
        .when(record(1, outcome, text), 5_000)
        .then(recorded(1, outcome, text, at=5_000, until_ms=None))
        .state
        is None
    )


def test_an_answer_without_a_time_is_told_and_not_kept() -> None:
    then = (
        given(granted("r1"), awaited("r2", "bob"))
        .when(record(ttl_ms=0), 5_000)
        .then(recorded(at=5_000, until_ms=None, requests=("r2",)))
    )
    assert then.state is None


@pytest.mark.parametrize("token", [None, 7])
def test_a_call_without_the_lease_is_recorded_and_changes_nothing(token: int | None) -> None:
    for history in ([], KEPT, [granted("r1"), awaited("r2", "bob")]):
        before = given(*history)
        then = before.when(record(token, text="43"), 5_000).then(recorded(token, text="43", at=5_000, until_ms=None))
        assert then.state == before.state


# -- taking back, forgetting


def test_a_request_is_taken_back() -> None:
    before = given(granted("r1"), awaited("r2", "bob"), awaited("r3", "eve"))
    then = before.when(WithdrawRequest("bob", "r2"), 2_000).then(RequestWithdrawn("r2", "bob"))
    assert [waiter.request for waiter in then.state.waiters] == ["r3"]
    before.when(WithdrawRequest("ada", "r1"), 2_000).then(
        RequestWithdrawn("r1", "ada"), granted("r2", "bob", token=100, at=2_000)
    )
    assert (
        given(granted("r1")).when(WithdrawRequest("ada", "r1"), 2_000).then(RequestWithdrawn("r1", "ada")).state is None
    )
    before.when(WithdrawRequest("ada", "r9"), 2_000).then_nothing()
    given().when(WithdrawRequest("ada", "r9"), 2_000).then_nothing()


def test_an_answer_is_forgotten() -> None:
    assert given(*KEPT).when(ForgetAnswer("ops"), 2_000).then(AnswerForgotten("ops", True)).state is None
    given().when(ForgetAnswer("ops"), 2_000).then(AnswerForgotten("ops", False))


def test_what_is_being_asked_for_is_forgotten_too() -> None:
    then = (
        given(granted("r1"), awaited("r2", "bob"))
        .when(ForgetAnswer("ops"), 2_000)
        .then(ended("r1", 1, "forgotten"), AnswerForgotten("ops", False), granted("r2", "bob", token=100, at=2_000))
    )
    then.when(record(1), 3_000).then(recorded(1, at=3_000, until_ms=None))


# -- steps that run again


def test_a_later_run_of_a_step_takes_the_place_of_the_earlier_one() -> None:
    before = given(granted("r1", "ada", "write", 5), awaited("r2", "bob"))
    then = before.when(ask("eve", "write", 9), 2_000, request="r3").then(
        ended("r1", 1, "superseded"), granted("r3", "eve", "write", 9, token=100, at=2_000)
    )
    assert [waiter.request for waiter in then.state.waiters] == ["r2"]


def test_a_later_run_of_a_step_ends_the_wait_of_the_earlier_one() -> None:
    before = given(granted("r1"), awaited("r2", "bob", "write", 5), awaited("r3", "kim", "edit", 5))
    then = before.when(ask("eve", "write", 9), 2_000, request="r4").then(
        RequestWithdrawn("r2", "bob"), awaited("r4", "eve", "write", 9)
    )
    assert [waiter.request for waiter in then.state.waiters] == ["r3", "r4"]


@pytest.mark.parametrize(
    "asked",
    [
        ask("eve", "write", 5), ask("eve", "write", 4), ask("eve", "edit", 9), ask("eve", "", 9),
        ask("eve", "write", 9, task="u"),
    ],
    ids=["same run", "earlier run", "other step", "no step", "other task"],
)  # fmt: skip
def test_others_wait_for_a_step(asked: RequestAnswer) -> None:
    expected = AnswerAwaited("r2", "eve", asked.task, asked.step, asked.run, "gpt-4", LEASE_MS)
    given(granted("r1", "ada", "write", 5)).when(asked, 2_000, request="r2").then(expected)


def test_outside_of_steps_nobody_is_superseded() -> None:
    given(granted("r1", "ada", "", 0)).when(ask("eve", "", 9), 2_000, request="r2").then(awaited("r2", "eve", "", 9))


# -- bounds


LONG = "x" * 256


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (ask(LONG), "agent has more than 255 bytes"),
        (ask(task=LONG), "task has more than 255 bytes"),
        (ask(step=LONG), "step has more than 255 bytes"),
        (ask(ttl_ms=-1), f"ttl_ms=-1: 0 to {TTL_MS_MAX} are possible"),
        (ask(ttl_ms=TTL_MS_MAX + 1), f"ttl_ms={TTL_MS_MAX + 1}: 0 to {TTL_MS_MAX} are possible"),
        (ask(run=-1), "run=-1: 0 to 4611686018427387904 are possible"),
        (RenewLease("ada", 1, 999), f"lease_ms=999: {LEASE_MS_MIN} to {LEASE_MS_MAX} are possible"),
        (WithdrawRequest("ada", LONG), "request has more than 255 bytes"),
        (record(answered_by=LONG), "answered_by has more than 255 bytes"),
        (record(error_type=LONG), "error_type has more than 255 bytes"),
        (record(tries=0), "tries=0: 1 to 100 are possible"),
        (record(input_tokens=-1), "input_tokens=-1: 0 to 1000000000 are possible"),
        (record(output_tokens=-1), "output_tokens=-1: 0 to 1000000000 are possible"),
        (record(cost_microusd=-1), "cost_microusd=-1: 0 to 1000000000000 are possible"),
        (record(duration_ms=-1), f"duration_ms=-1: 0 to {LEASE_MS_MAX} are possible"),
        (record(outcome="lucky"), "outcome='lucky': one of answered, failed, abandoned is needed"),
        (record(outcome="failed", text="42"), "text: a call that failed has none"),
        (record(text="é" * (ANSWER_BYTES_MAX // 2 + 1)), f"text has more than {ANSWER_BYTES_MAX} bytes"),
        (record(outcome="failed", text=None, error="e" * 1_001), f"error has more than {ERROR_CHARS_MAX} characters"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Command) else None,
)
def test_what_is_out_of_bounds_is_rejected(command: Command, problem: str) -> None:
    given().when(command, T0).then(CommandRejected("invalid", problem))


def test_a_cost_may_be_unknown() -> None:
    (event,) = decider.decide(None, record(None, cost_microusd=None), At(T0, 1, "r"))
    assert isinstance(event, CallRecorded) and event.cost_microusd is None


def test_the_largest_decision_fits() -> None:
    """Everybody waits, with names as long as they may be, and the answer is as large as it may be."""
    waiting = [awaited(f"{number:0255}") for number in range(WAITERS_MAX)]
    before = given(granted("r1"), *waiting)
    command = RecordCall(
        "a" * 255, "t" * 255, "s" * 255, "m" * 255, 1, "answered", "b" * 255, 1, 1, None, 1, 1, TTL_MS, "e" * 255,
        "\U0001f600" * ERROR_CHARS_MAX, "x" * ANSWER_BYTES_MAX,
    )  # fmt: skip
    events = decider.decide(before.state, command, At(T0, 1, "r"))
    assert len(events) == 1
    size = len(events_codec("llm").encode(list(events)))
    assert 0.4 * DECISION_BYTES_MAX < size < DECISION_BYTES_MAX
    all_but_one = [awaited(f"{number:0255}", "a" * 255, "s" * 255, 1) for number in range(WAITERS_MAX)]
    superseding = decider.decide(given(granted("r1"), *all_but_one).state, ask("b", "s" * 255, 2), At(T0, 1, "r"))
    assert len(superseding) == WAITERS_MAX + 1
    assert len(events_codec("llm").encode(list(superseding))) < DECISION_BYTES_MAX


# -- the domain


def test_events_and_commands_of_other_domains_raise() -> None:
    with pytest.raises(TypeError, match="the llm domain has no command SwitchRules"):
        decider.decide(None, SwitchRules(1, ""), At(1, 1, "r"))
    with pytest.raises(TypeError, match="the llm domain has no event LockReleased"):
        decider.evolve(None, LockReleased("ada", 1))


def test_every_event_is_folded_and_every_command_answered() -> None:
    assert DOMAINS["llm"] is DOMAIN
    assert set(_CHANGES) == set(llm.EVENTS)
    assert set(_ANSWERS) == {*llm.COMMANDS, Tick}


def test_a_state_comes_back_from_its_row() -> None:
    state = given(*KEPT, granted("r2", "bob", "write", 3, token=2), awaited("r3", "eve")).state
    again = restore(dump(state), Entry)
    assert again == state
    assert dump(again) == dump(state)
