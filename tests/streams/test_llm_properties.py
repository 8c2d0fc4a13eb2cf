"""Requests to models under any sequence of commands: one caller at a time, no stale answer, every call recorded.

The notes below are written from the rules, not from the code: they decide nothing, they check what the events claim.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from accord.schemas.messages import Command, Event
from accord.schemas.messages.llm import (
    AnswerAwaited,
    AnswerExpired,
    AnswerForgotten,
    AnswerReused,
    CallGranted,
    CallRecorded,
    ForgetAnswer,
    LeaseEnded,
    LeaseRenewed,
    RecordCall,
    RenewLease,
    RequestAnswer,
    RequestWithdrawn,
    WithdrawRequest,
)
from accord.schemas.messages.log import Tick
from accord.streams.decider import At, dump, restore
from accord.streams.llm.decider import LlmDecider
from accord.streams.llm.entry import Entry
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.counts import examples

AGENTS = st.sampled_from(["ada", "bob", "eve"])
STEPS = st.sampled_from([("", 0), ("", 0), ("write", 1), ("write", 2), ("edit", 3)])
LEASES = st.sampled_from([1_000, 1_500, 5_000])
TTLS = st.sampled_from([0, 1, 800, 2_000, 10_000])
AFTER = st.sampled_from([0, 0, 1, 499, 700, 1_000, 2_000, 20_000])
OUTCOMES = st.sampled_from(["answered", "answered", "answered", "failed", "abandoned"])


@dataclass
class Notes:
    """What a person would note down beside the log."""

    caller: int | None = None
    """The token of who calls."""
    last_token: int = 0
    caller_request: str = ""
    deadline_ms: int = 0
    kept: CallRecorded | None = None
    forgotten: int = -1
    """The decision in which it was forgotten last; who calls since then has a token that is not before it."""
    waiting: dict[str, None] = field(default_factory=dict)
    calls: int = 0

    def note(self, event: Event, seq: int, now_ms: int) -> None:
        match event:
            case CallGranted():
                assert self.caller is None, "two call at once"
                assert event.token > self.last_token, "a token that does not grow"
                assert event.deadline_ms > now_ms
                self.last_token = event.token
                self.caller, self.caller_request, self.deadline_ms = event.token, event.request, event.deadline_ms
                self.waiting.pop(event.request, None)
            case LeaseRenewed():
                assert event.token == self.caller
                self.deadline_ms = event.deadline_ms
            case LeaseEnded():
                assert event.token == self.caller
                assert event.reason != "expired" or self.deadline_ms <= now_ms
                self.caller = None
            case RequestWithdrawn(request):
                if self.caller is not None and request == self.caller_request:
                    self.caller = None
                else:
                    del self.waiting[request]
            case AnswerAwaited():
                assert self.caller is not None, "it waits for nobody"
                self.waiting[event.request] = None
            case CallRecorded():
                self.note_call(event)
            case AnswerExpired():
                assert self.kept is not None and self.kept.until_ms is not None and self.kept.until_ms <= now_ms
                self.kept = None
            case AnswerForgotten():
                self.kept, self.forgotten = None, seq

    def note_call(self, event: CallRecorded) -> None:
        self.calls += 1
        if event.until_ms is not None or event.requests:
            assert event.token is not None and event.token == self.caller, "who was not to call has told others"
            assert event.token >= self.forgotten, "asked for before it was forgotten"
        assert not event.requests or list(event.requests) == list(self.waiting), "some who wait were not told"
        if event.token == self.caller and event.token is not None:
            self.caller = None
            self.kept = event if event.until_ms is not None else self.kept
        for request in event.requests:
            del self.waiting[request]


class Requests(RuleBasedStateMachine):
    """One request of several agents."""

    def __init__(self) -> None:
        super().__init__()
        self.decider = LlmDecider()
        self.state: Entry | None = None
        self.notes = Notes()
        self.now_ms = 1_000
        self.seq = 0
        self.tokens: list[int] = [0]
        self.requests: list[str] = ["r0"]
        self.told = 0

    def send(self, command: Command, after_ms: int) -> tuple[Event, ...]:
        self.now_ms += after_ms
        self.seq += 1
        at = At(self.now_ms, self.seq, f"r{self.seq}")
        events = tuple(self.decider.decide(self.state, command, at))
        for event in events:
            self.state = self.decider.evolve(self.state, event)
            self.notes.note(event, self.seq, self.now_ms)
            if isinstance(event, CallGranted):
                self.tokens.append(event.token)
        return events

    @rule(agent=AGENTS, step=STEPS, ttl_ms=TTLS, lease_ms=LEASES, after_ms=AFTER)
    def ask(self, agent: str, step: tuple[str, int], ttl_ms: int, lease_ms: int, after_ms: int) -> None:
        events = self.send(RequestAnswer(agent, "t", *step, "m", ttl_ms, lease_ms), after_ms)
        self.requests.append(f"r{self.seq}")
        kept = self.notes.kept
        for event in events:
            if isinstance(event, AnswerReused):
                assert kept is not None and kept.until_ms is not None
                assert event.text == kept.text, "another answer than the last one kept"
                assert self.now_ms < kept.until_ms, "served after its time"
                assert self.now_ms - kept.recorded_ms < ttl_ms, "older than who asks accepts"
        mine = f"r{self.seq}"
        outcomes = [isinstance(event, AnswerReused) for event in events]
        answered = any(outcomes) or self.notes.caller_request == mine or mine in self.notes.waiting
        assert answered, "who asks neither has the answer, nor calls, nor waits"

    @rule(data=st.data(), outcome=OUTCOMES, ttl_ms=TTLS, large=st.booleans(), after_ms=AFTER)
    def record(self, data: st.DataObject, outcome: str, ttl_ms: int, large: bool, after_ms: int) -> None:
        token = data.draw(st.sampled_from([None, *self.tokens[-3:]]))
        text = f"answer {self.seq}" if outcome == "answered" and not large else None
        self.told += 1
        self.send(
            RecordCall("ada", "t", "", "m", token, outcome, "m", 1, 1, None, 5, 1, ttl_ms, "", "", text), after_ms
        )

    @rule(data=st.data(), lease_ms=LEASES, after_ms=AFTER)
    def renew(self, data: st.DataObject, lease_ms: int, after_ms: int) -> None:
        self.send(RenewLease("ada", data.draw(st.sampled_from(self.tokens[-3:])), lease_ms), after_ms)

    @rule(data=st.data(), after_ms=AFTER)
    def withdraw(self, data: st.DataObject, after_ms: int) -> None:
        self.send(WithdrawRequest("ada", data.draw(st.sampled_from(self.requests[-4:]))), after_ms)

    @rule(after_ms=AFTER)
    def forget(self, after_ms: int) -> None:
        self.send(ForgetAnswer("ops"), after_ms)
        assert self.state is None or self.state.answer is None

    @rule(after_ms=AFTER)
    def tick(self, after_ms: int) -> None:
        self.send(Tick(), after_ms)

    @invariant()
    def the_state_is_what_was_told(self) -> None:
        state, notes = self.state or Entry(), self.notes
        assert (state.caller.token if state.caller else None) == notes.caller
        assert [waiter.request for waiter in state.waiters] == list(notes.waiting)
        assert (state.answer is None) == (notes.kept is None)
        assert notes.caller is not None or not notes.waiting, "somebody waits, and nobody calls"

    @invariant()
    def every_call_is_recorded_once(self) -> None:
        assert self.notes.calls == self.told

    @invariant()
    def nothing_is_remembered_for_ever(self) -> None:
        """Ticks alone bring every request to its end."""
        state, now_ms = self.state, self.now_ms
        for seq in range(self.seq + 1, self.seq + 200):
            if state is None:
                return
            due_ms = self.decider.deadline_ms(state)
            assert due_ms is not None, "remembered for ever"
            now_ms = max(now_ms, due_ms)
            for event in self.decider.decide(state, Tick(), At(now_ms, seq, "tick")):
                state = self.decider.evolve(state, event)
        assert state is None

    @invariant()
    def the_state_is_its_row(self) -> None:
        if self.state is not None:
            assert restore(dump(self.state), Entry) == self.state


Requests.TestCase.settings = examples(150, stateful_step_count=40, deadline=None)
test_requests = Requests.TestCase
