"""Calls of language models: what they cost, by agent, model or task, and what is known of one request.

Keys are added, never renamed. Money is in millionths of a US dollar, as its caller reckoned it when the call was made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import msgspec
from accord.replay.parallel import each, processes_for
from accord.replay.source import Source
from accord.replay.state import Point, accepted, rebuild
from accord.replay.timeline import iso
from accord.schemas.codec import events_codec
from accord.schemas.messages import Event
from accord.schemas.messages.llm import (
    AnswerAwaited,
    AnswerReused,
    CallGranted,
    CallRecorded,
    LeaseEnded,
    RequestWithdrawn,
)
from accord.schemas.position import Position
from accord.schemas.topics import partition_of
from accord.streams.llm.bounds import ANSWERED
from accord.streams.llm.entry import Entry
from accord.streams.partition import Decided

from accord.errors import NotFound

DOMAIN: Final = "llm"
BY: Final = ("agent", "model", "task")


class Bill(msgspec.Struct):
    """What the calls of one agent, model or task came to; `name` is empty for those without a task.

    `cached` are answers without a call. Of the `calls`, `failed` have brought none, and the cost of `unpriced` is not
    known: `cost_microusd` is that of the others. `lost` were begun by who was not heard of again; what they cost, if
    they were made, is not known either. `saved_microusd` is what the cached answers had cost.
    """

    name: str
    calls: int = 0
    cached: int = 0
    failed: int = 0
    lost: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int = 0
    unpriced: int = 0
    saved_microusd: int = 0

    def __add__(self, other: Bill) -> Bill:
        counts = {name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__ if name != "name"}
        return Bill(self.name, **counts)


class CallView(msgspec.Struct, frozen=True):
    """A call that was made; see the `CallRecorded` event."""

    position: str
    time: str
    agent: str
    task: str
    step: str
    outcome: str
    answered_by: str
    input_tokens: int
    output_tokens: int
    cost_microusd: int | None
    duration_ms: int
    tries: int
    error: str


class RequestView(msgspec.Struct, frozen=True):
    """A request by its hash.

    `text` is the last answer that was recorded; it is reused while `kept`, until a time. `caller` asks the model now,
    `waiting` wait for that. `cached` answers were given without a call. `position` is the last command that the
    partition had decided.
    """

    request: str
    model: str
    kept: bool
    until: str | None
    text: str | None
    caller: str | None
    waiting: int
    cached: int
    calls: tuple[CallView, ...]
    position: str


def costs(source: Source, by: str = "agent", *, processes: int = 1) -> tuple[Bill, ...]:
    """What all calls of a log came to, the dearest first.

    Args:
        by: `agent`, `model` or `task`.
        processes: how many to work in; 0 is what pays.

    Raises:
        LogGap, ChainBroken: the log lacks a decision, or one was changed.
    """
    if DOMAIN not in source.partitions:
        return ()
    chosen = source.all_partitions((DOMAIN,))
    found: dict[str, Bill] = {}
    for bills in each(source, chosen, partial(_bills, by=by), processes or processes_for(source, chosen)):
        for name, bill in bills.items():
            found[name] = found[name] + bill if name in found else bill
    return tuple(sorted(found.values(), key=lambda bill: (-bill.cost_microusd, -bill.calls, bill.name)))


def total(bills: tuple[Bill, ...]) -> Bill:
    """All together."""
    return sum(bills, Bill("total"))


def request_at(source: Source, request: str, point: Point = None) -> RequestView:
    """What is known of a request at a point; None is the end of the log.

    Raises:
        NotFound: nobody has asked this, or the point lies outside the log.
        What `state_at` raises.
    """
    if DOMAIN not in source.partitions:
        raise _unknown(source, request)
    number = partition_of(request.encode(), source.partitions[DOMAIN])
    if isinstance(point, Position):
        source.check_position(point)
    seen = _Seen(number, request)
    partition = rebuild(source, DOMAIN, number, point, seen.see)
    if not seen.model:
        raise _unknown(source, request)
    entry: Entry = partition.aggregates.get(request) or Entry()
    answer = entry.answer
    return RequestView(
        request,
        seen.model,
        answer is not None,
        None if answer is None else iso(answer.until_ms),
        seen.text,
        None if entry.caller is None else entry.caller.asked.agent,
        len(entry.waiters),
        seen.cached,
        tuple(seen.calls),
        str(Position(DOMAIN, number, partition.position, commands=True)),
    )


def _unknown(source: Source, request: str) -> NotFound:
    return NotFound(f"{source.name} has no request {request} to a model.", key=request)


def _bills(source: Source, domain: str, number: int, *, by: str) -> dict[str, Bill]:
    """The bills of one partition."""
    book = _Book(by)
    decode = events_codec(DOMAIN).decode
    for decision in accepted(source, domain, number):
        for event in decode(decision.value):
            book.note(decision.key, event)
    return book.bills


class _Book:
    """Adds up the events of a partition, in their order."""

    def __init__(self, by: str) -> None:
        self.bills: dict[str, Bill] = {}
        self._by = by
        self._waiting: dict[tuple[bytes, str], AnswerAwaited] = {}
        self._calling: dict[bytes, CallGranted] = {}
        self._lost: dict[tuple[bytes, int], CallGranted] = {}
        self._notes: Mapping[type[Event], Callable[[bytes, Any], None]] = {
            AnswerReused: self._reused,
            AnswerAwaited: self._awaited,
            CallGranted: self._granted,
            CallRecorded: self._recorded,
            LeaseEnded: self._ended,
            RequestWithdrawn: self._withdrawn,
        }

    def note(self, key: bytes, event: Event) -> None:
        note = self._notes.get(type(event))
        if note is not None:
            note(key, event)

    def _bill(self, event: Any) -> Bill:
        name: str = getattr(event, self._by)
        return self.bills.setdefault(name, Bill(name))

    def _reused(self, _: bytes, event: AnswerReused) -> None:
        bill = self._bill(event)
        bill.cached += 1
        bill.saved_microusd += event.cost_microusd or 0

    def _awaited(self, key: bytes, event: AnswerAwaited) -> None:
        self._waiting[key, event.request] = event

    def _granted(self, key: bytes, event: CallGranted) -> None:
        self._waiting.pop((key, event.request), None)
        self._calling[key] = event

    def _recorded(self, key: bytes, event: CallRecorded) -> None:
        bill = self._bill(event)
        bill.calls += 1
        bill.failed += event.outcome != ANSWERED
        bill.input_tokens += event.input_tokens
        bill.output_tokens += event.output_tokens
        bill.cost_microusd += event.cost_microusd or 0
        bill.unpriced += event.cost_microusd is None
        for request in event.requests:
            waited = self._waiting.pop((key, request))
            if event.outcome == ANSWERED:
                theirs = self._bill(waited)
                theirs.cached += 1
                theirs.saved_microusd += event.cost_microusd or 0
        if event.token is None:
            return
        late = self._lost.pop((key, event.token), None)
        if late is not None:
            self._bill(late).lost -= 1
        elif self._calling[key].token == event.token:
            del self._calling[key]

    def _ended(self, key: bytes, event: LeaseEnded) -> None:
        granted = self._calling.pop(key)
        self._lost[key, event.token] = granted
        self._bill(granted).lost += 1

    def _withdrawn(self, key: bytes, event: RequestWithdrawn) -> None:
        if self._waiting.pop((key, event.request), None) is None:
            del self._calling[key]  # it was to call, and has not


class _Seen:
    """Collects what was decided about one request."""

    def __init__(self, number: int, request: str) -> None:
        self._number = number
        self._key = request.encode()
        self.model = ""
        self.text: str | None = None
        self.cached = 0
        self.calls: list[CallView] = []

    def see(self, decided: Decided) -> None:
        decision = decided.decision
        if decision.key != self._key:
            return
        for event in decided.events:
            self.model = getattr(event, "model", self.model)
            match event:
                case AnswerReused():
                    self.cached += 1
                case CallRecorded():
                    self.text = event.text or self.text
                    self.cached += len(event.requests) if event.outcome == ANSWERED else 0
                    at = str(Position(DOMAIN, self._number, decision.offset))
                    self.calls.append(_call(event, at, decision.now_ms))


def _call(e: CallRecorded, position: str, now_ms: int) -> CallView:
    return CallView(
        position, iso(now_ms), e.agent, e.task, e.step, e.outcome, e.answered_by, e.input_tokens, e.output_tokens,
        e.cost_microusd, e.duration_ms, e.tries, e.error,
    )  # fmt: skip
