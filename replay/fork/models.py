"""What a fork asks models: recorded answers by the request's hash, and the one gate to the outside.

A call is a lease in the log: whoever is granted it asks the model, and records what came of it. In a fork it may be
granted to somebody who, in the record, found the answer or waited for another. Then, in this order:

- the caller's own recorded call stands in for it, if it is yet to come;
- an answer that any caller recorded to the same request is used, with its cost and duration;
- else the question is new, and `llm` says what becomes of it: `recorded` leaves it without an answer, `stop` ends the
  fork there, a function or an open `Gate` is asked.

A log has hashes of questions, never their text: whoever answers a new one must know it by its hash.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec
from accord.replay.fork.changes import Change, Reply
from accord.replay.fork.cut import Cut
from accord.replay.source import Source
from accord.replay.state import accepted
from accord.schemas.messages import Event
from accord.schemas.messages.llm import CallGranted, CallRecorded, RecordCall
from accord.streams.llm.bounds import ANSWERED

from accord.errors import BadInput, Overloaded

DOMAIN: Final = "llm"
CALLS_MAX: Final = 100
"""Most questions that go through a gate, unless it says otherwise."""

Origin = Literal["recorded", "stand-in", "live", "none"]


class Asked(msgspec.Struct, frozen=True):
    """A question by its hash, and who asks it."""

    request: str
    model: str
    agent: str
    task: str
    step: str


class Answered(msgspec.Struct, frozen=True):
    """What a model answered. `cost_microusd` is None where it is not known; `keep_ms` is how long it is kept."""

    text: str
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int | None = None
    duration_ms: int = 1_000
    keep_ms: int = 0


StandIn = Callable[[Asked], Answered | str | None]
"""Answers a question without asking any model; None: it knows no answer."""


class Gate:
    """The way from a fork to a real model. There is none unless somebody makes one and hands it in.

    Args:
        ask: asks the model.
        calls_max: how often, at most.
    """

    def __init__(self, ask: StandIn, *, calls_max: int = CALLS_MAX) -> None:
        self._ask = ask
        self.left = calls_max

    def __call__(self, asked: Asked) -> Answered | str | None:
        """Asks. Raises Overloaded: it was asked as often as it may be."""
        if self.left <= 0:
            raise Overloaded(
                f"The fork would ask {asked.model} once more than its gate lets through.",
                remedy="Let more through: Gate(ask, calls_max=N).",
                key=asked.request,
            )
        self.left -= 1
        return self._ask(asked)


class Unanswered(Exception):
    """A new question, and the fork is to stop at one."""


class Models:
    """The answers of a fork.

    Args:
        llm: `recorded`, `stop`, `live` or a stand-in; see above.
        gate: for `live`, the way to the model.

    Raises:
        BadInput: `llm` is none of these; `live` without a gate, or a gate without it.
    """

    def __init__(self, llm: str | StandIn, gate: Gate | None) -> None:
        if isinstance(llm, str) and llm not in ("recorded", "stop", "live"):
            raise BadInput(f"llm={llm!r}: it is recorded, stop, live or a function.")
        if (llm == "live") != (gate is not None):
            raise BadInput(
                "A fork asks a real model only with llm='live' and a gate, both.",
                remedy="Make one: accord.replay.fork.models.Gate(ask).",
            )
        self._llm, self._gate = llm, gate
        self._answers: dict[str, Answered] = {}
        self._told_at: dict[str, int | None] = {}
        """Of requests that the record granted a call, the place of what came of it; None: nobody has told."""

    def read(self, source: Source, cut: Cut, changes: Sequence[Change]) -> None:
        """Takes note of all that the record has of calls, before the cut and after it, and of changed answers."""
        for where, partition in cut.partitions.items():
            if where[0] != DOMAIN or partition.head.seq <= 1:
                continue
            for decision in accepted(source, *where):
                if decision.offset > partition.head.offset:
                    break
                if b"CallRecorded" in decision.type:
                    self._learn(decision.key.decode(), partition.events.decode(decision.value))
        granted: dict[tuple[str, int], str] = {}
        for place, slot in enumerate(cut.slots):
            if slot.where[0] != DOMAIN:
                continue
            events = cut.partitions[slot.where].read(slot.decision).events
            self._learn(slot.key, tuple(events))
            for event in events:
                if isinstance(event, CallGranted):
                    granted[slot.key, event.token] = event.request
                    self._told_at[event.request] = None
                elif isinstance(event, CallRecorded) and event.token is not None:
                    self._told_at[granted.get((slot.key, event.token), "")] = place
        for change in changes:
            if isinstance(change, Reply):
                known = self._answers.get(change.request, Answered(""))
                self._answers[change.request] = msgspec.structs.replace(known, text=change.text)

    def _learn(self, request: str, events: Sequence[Event]) -> None:
        """Of several answers to one request the last counts."""
        for event in events:
            if isinstance(event, CallRecorded) and event.outcome == ANSWERED and event.text is not None:
                keep_ms = 0 if event.until_ms is None else event.until_ms - event.recorded_ms
                self._answers[request] = Answered(
                    event.text, event.answered_by, event.input_tokens, event.output_tokens, event.cost_microusd,
                    event.duration_ms, keep_ms,
                )  # fmt: skip

    def is_as_recorded(self, request: str, place: int) -> bool:
        """Whether what comes of a call that is granted to a request, by its id, is the record's to tell: it has it at
        a place after the cut, or behind that; or its caller was granted it there, too, and was heard of no more."""
        told_at = self._told_at.get(request, -1)
        return told_at is None or told_at >= place

    def answer(self, asked: Asked) -> tuple[Answered | None, Origin]:
        """An answer, and where it is from.

        Raises:
            Unanswered: there is none, and the fork is to stop.
            Overloaded: the gate was passed as often as it may be.
        """
        known = self._answers.get(asked.request)
        if known is not None:
            return known, "recorded"
        if self._llm == "recorded":
            return None, "none"
        if self._llm == "stop":
            raise Unanswered
        ask = self._gate if isinstance(self._llm, str) else self._llm
        assert ask is not None
        told = ask(asked)
        answer = Answered(told) if isinstance(told, str) else told
        if answer is None:
            return None, "none"
        return answer, "live" if ask is self._gate else "stand-in"


def recorded_call(asked: Asked, answer: Answered, token: int, ttl_ms: int) -> RecordCall:
    """The command that tells of a call which was answered."""
    return RecordCall(
        asked.agent, asked.task, asked.step, asked.model, token, ANSWERED, answer.model or asked.model,
        answer.input_tokens, answer.output_tokens, answer.cost_microusd, answer.duration_ms, 1, ttl_ms, "", "",
        answer.text,
    )  # fmt: skip
