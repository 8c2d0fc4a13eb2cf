"""Calls of language models: one aggregate a request, named by its hash.

Rules:
- One at a time calls the model, under a lease; others with the same request wait for the answer. It is told to all of
  them in the decision that records it, and so is a failure that any of them would meet.
- An answer is kept for as long as its caller says, and serves who accepts one of its age. Both are told by the
  partition's clock. Then, or when it was forgotten, it is gone.
- When a lease ends without an answer, or its caller cannot go on, the first who waits becomes the caller, after all
  else that a decision does: of two callers that it made, both would have the same token.
- Who asks for a step of a task in a later run takes the place of the earlier run, whose agent the log has given up: it
  does not wait for a lease whose holder is gone.
- Every call that was made is recorded, also one whose lease had ended. Only what the caller in lease brings is kept or
  told to others: an answer that was forgotten while it was being asked for is not.

    (nothing) --RequestAnswer--> called --RecordCall--> kept --deadline | ForgetAnswer--> (nothing)
                                  |  RenewLease: new deadline
                                  |  deadline | WithdrawRequest | ForgetAnswer | a later run: the next one calls
    waiting --RecordCall--> told  |  waiting --its turn--> calls  |  waiting --WithdrawRequest--> gone
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from accord.schemas.messages import Command, Event
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
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.streams.decider import At, Domain
from accord.streams.llm.bounds import ANSWERED, EXPIRED, FAILED, FORGOTTEN, SUPERSEDED, WAITERS_MAX, problem_of
from accord.streams.llm.entry import Answer, Caller, Entry, Waiter

_replace: Final = msgspec.structs.replace
_NOTHING: Final = Entry()


class LlmDecider:
    """Version 1."""

    state_type = Entry

    def decide(self, state: Entry | None, command: Command, at: At) -> Sequence[Event]:
        problem = problem_of(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        draft = Draft(_NOTHING if state is None else state, at)
        draft.end_what_is_due()
        _ANSWERS[type(command)](draft, command)
        draft.grant_next()
        return draft.events

    def evolve(self, state: Entry | None, event: Event) -> Entry | None:
        entry = _evolve(_NOTHING if state is None else state, event)
        return None if entry == _NOTHING else entry

    def deadline_ms(self, state: Entry) -> int | None:
        due = [] if state.answer is None else [state.answer.until_ms]
        if state.caller is not None:
            due.append(state.caller.deadline_ms)
        return min(due, default=None)


class Draft:
    """A decision as it comes into being: its events, and the entry after them."""

    def __init__(self, entry: Entry, at: At) -> None:
        self.entry = entry
        self.at = at
        self.events: list[Event] = []

    def add(self, event: Event) -> None:
        self.events.append(event)
        self.entry = _evolve(self.entry, event)

    def end_what_is_due(self) -> None:
        """What the deadlines up to now bring, the earlier first; of two at a time, that of the answer."""
        answer, caller, now_ms = self.entry.answer, self.entry.caller, self.at.now_ms
        due: list[tuple[int, Event]] = []
        if answer is not None and answer.until_ms <= now_ms:
            due.append((answer.until_ms, AnswerExpired(answer.until_ms)))
        if caller is not None and caller.deadline_ms <= now_ms:
            due.append((caller.deadline_ms, _ended(caller, EXPIRED)))
        for _, event in sorted(due, key=lambda item: item[0]):
            self.add(event)

    def grant_next(self) -> None:
        """Has the first who waits call, if nobody does."""
        if self.entry.caller is None and self.entry.waiters:
            self.grant(self.entry.waiters[0])

    def grant(self, asked: Waiter) -> None:
        a = asked
        self.add(
            CallGranted(
                a.request, a.agent, a.task, a.step, a.run, a.model, self.at.seq, a.lease_ms,
                self.at.now_ms + a.lease_ms,
            )
        )  # fmt: skip


# -- what commands bring


def _request(draft: Draft, command: RequestAnswer) -> None:
    c, at, answer = command, draft.at, draft.entry.answer
    if answer is not None and answer.serves(at.now_ms, c.ttl_ms):
        draft.add(
            AnswerReused(
                c.agent, c.task, c.step, c.model, answer.answered_by, answer.input_tokens, answer.output_tokens,
                answer.cost_microusd, answer.recorded_ms, answer.text,
            )
        )  # fmt: skip
        return
    if not _supersede(draft, command):
        draft.grant_next()
    asked = Waiter(at.request, c.agent, c.task, c.step, c.run, c.model, c.lease_ms)
    if draft.entry.caller is None:
        draft.grant(asked)
    elif len(draft.entry.waiters) >= WAITERS_MAX:
        draft.add(AnswerDenied(c.agent, "queue_full", len(draft.entry.waiters)))
    else:
        draft.add(AnswerAwaited(*msgspec.structs.astuple(asked)))


def _supersede(draft: Draft, command: RequestAnswer) -> bool:
    """Ends what earlier runs of the same step had asked for. Returns whether one of them was calling."""
    run = command.task, command.step, command.run
    for waiter in draft.entry.waiters:
        if waiter.is_before(*run):
            draft.add(RequestWithdrawn(waiter.request, waiter.agent))
    caller = draft.entry.caller
    if caller is None or not caller.asked.is_before(*run):
        return False
    draft.add(_ended(caller, SUPERSEDED))
    return True


def _renew(draft: Draft, command: RenewLease) -> None:
    c = command
    if _is_caller(draft.entry, c.token):
        draft.add(LeaseRenewed(c.agent, c.token, draft.at.now_ms + c.lease_ms))
    else:
        draft.add(RenewalRefused(c.agent, c.token))


def _record(draft: Draft, command: RecordCall) -> None:
    c, now_ms = command, draft.at.now_ms
    is_caller = _is_caller(draft.entry, c.token)
    is_kept = is_caller and c.text is not None and c.ttl_ms > 0
    is_told = is_caller and (c.outcome == FAILED or (c.outcome == ANSWERED and c.text is not None))
    requests = tuple([waiter.request for waiter in draft.entry.waiters]) if is_told else ()
    draft.add(
        CallRecorded(
            c.agent, c.task, c.step, c.model, c.token, c.outcome, c.answered_by, c.input_tokens, c.output_tokens,
            c.cost_microusd, c.duration_ms, c.tries, now_ms, now_ms + c.ttl_ms if is_kept else None, requests,
            c.error_type, c.error, c.text,
        )
    )  # fmt: skip


def _withdraw(draft: Draft, command: WithdrawRequest) -> None:
    """Takes a request back, whatever became of it; one that is gone already needs nothing."""
    entry, request = draft.entry, command.request
    is_caller = entry.caller is not None and entry.caller.asked.request == request
    if is_caller or any(waiter.request == request for waiter in entry.waiters):
        draft.add(RequestWithdrawn(request, command.agent))


def _forget(draft: Draft, command: ForgetAnswer) -> None:
    if draft.entry.caller is not None:
        draft.add(_ended(draft.entry.caller, FORGOTTEN))
    draft.add(AnswerForgotten(command.agent, draft.entry.answer is not None))


def _tick(_: Draft, __: Tick) -> None:
    pass


_ANSWERS: Final[Mapping[type[Command], Callable[[Draft, Any], None]]] = {
    RequestAnswer: _request,
    RenewLease: _renew,
    RecordCall: _record,
    WithdrawRequest: _withdraw,
    ForgetAnswer: _forget,
    Tick: _tick,
}
"""What each command brings, to a request of which nothing is due any more."""


def _ended(caller: Caller, reason: str) -> LeaseEnded:
    return LeaseEnded(caller.asked.request, caller.asked.agent, caller.token, reason)


def _is_caller(entry: Entry, token: int | None) -> bool:
    return entry.caller is not None and entry.caller.token == token


# -- what events change


def _evolve(entry: Entry, event: Event) -> Entry:
    change = _CHANGES.get(type(event))
    if change is None:
        raise TypeError(f"the llm domain has no event {type(event).__name__}")
    changed: Entry = change(entry, event)
    return changed


def _awaited(entry: Entry, event: AnswerAwaited) -> Entry:
    return _replace(entry, waiters=(*entry.waiters, Waiter(*msgspec.structs.astuple(event))))


def _granted(entry: Entry, event: CallGranted) -> Entry:
    e = event
    asked = Waiter(e.request, e.agent, e.task, e.step, e.run, e.model, e.lease_ms)
    return _replace(
        entry, caller=Caller(asked, e.token, e.deadline_ms), waiters=_without(entry.waiters, frozenset({e.request}))
    )


def _renewed(entry: Entry, event: LeaseRenewed) -> Entry:
    assert entry.caller is not None
    return _replace(entry, caller=_replace(entry.caller, deadline_ms=event.deadline_ms))


def _lease_ended(entry: Entry, _: LeaseEnded) -> Entry:
    return _replace(entry, caller=None)


def _withdrawn(entry: Entry, event: RequestWithdrawn) -> Entry:
    if entry.caller is not None and entry.caller.asked.request == event.request:
        return _replace(entry, caller=None)
    return _replace(entry, waiters=_without(entry.waiters, frozenset({event.request})))


def _recorded(entry: Entry, event: CallRecorded) -> Entry:
    e = event
    if not _is_caller(entry, e.token):
        return entry
    entry = _replace(entry, caller=None, waiters=_without(entry.waiters, frozenset(e.requests)))
    if e.until_ms is None or e.text is None:
        return entry
    answer = Answer(
        e.model, e.answered_by, e.input_tokens, e.output_tokens, e.cost_microusd, e.recorded_ms, e.until_ms, e.text
    )
    return _replace(entry, answer=answer)


def _gone(entry: Entry, _: AnswerExpired | AnswerForgotten) -> Entry:
    return _replace(entry, answer=None)


def _unchanged(entry: Entry, _: AnswerReused | AnswerDenied | RenewalRefused) -> Entry:
    return entry


_CHANGES: Final[Mapping[type[Event], Callable[[Entry, Any], Entry]]] = {
    AnswerReused: _unchanged,
    AnswerAwaited: _awaited,
    AnswerDenied: _unchanged,
    CallGranted: _granted,
    LeaseRenewed: _renewed,
    RenewalRefused: _unchanged,
    LeaseEnded: _lease_ended,
    RequestWithdrawn: _withdrawn,
    CallRecorded: _recorded,
    AnswerExpired: _gone,
    AnswerForgotten: _gone,
}


def _without(waiters: tuple[Waiter, ...], requests: frozenset[str]) -> tuple[Waiter, ...]:
    return tuple([waiter for waiter in waiters if waiter.request not in requests]) if waiters else waiters


DOMAIN: Final = Domain("llm", {1: LlmDecider()})
