"""Answers of models: one calls at a time, under tokens that grow; what is used again is the last answer that was kept;
who waits is told, or called upon, or has taken it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from accord.schemas.messages.llm import (
    AnswerAwaited,
    AnswerExpired,
    AnswerForgotten,
    AnswerReused,
    CallGranted,
    CallRecorded,
    LeaseEnded,
    LeaseRenewed,
    RequestWithdrawn,
)
from accord.testing.simulation.judges.seen import Demand, Seen, is_overdue

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster


@dataclass
class _Question:
    key: str
    demand: Demand
    caller: str | None = None
    token: int | None = None
    last_token: int = 0
    lasts_ms: int = 0
    waiting: list[str] = field(default_factory=list)
    kept: str | None = None
    kept_ms: int = 0

    def granted(self, request: str, token: int, deadline_ms: int) -> None:
        self.demand(self.caller is None, f"two call at once for {self.key}")
        self.demand(token > self.last_token, f"a token of {self.key} that does not grow")
        first = self.waiting.pop(0) if self.waiting else request
        self.demand(request == first, f"{request} calls for {self.key} before {first}, which came first")
        self.caller, self.token, self.last_token, self.lasts_ms = request, token, token, deadline_ms

    def recorded(self, event: CallRecorded) -> None:
        mine = event.token == self.token
        self.demand(mine or not (event.until_ms or event.requests), f"{self.key} is answered by who is not to call")
        if mine:
            self.caller = self.token = None
            self.waiting = [request for request in self.waiting if request not in event.requests]
            if event.until_ms is not None:
                self.kept, self.kept_ms = event.text, event.until_ms

    def withdrawn(self, request: str) -> None:
        if request == self.caller:
            self.caller = self.token = None
        else:
            self.waiting.remove(request)


def judge(cluster: Cluster, seen: Sequence[Seen], demand: Demand) -> None:
    questions: dict[str, _Question] = {}
    for one in seen:
        key = one.key
        question = questions.setdefault(key, _Question(key, demand))
        for event in one.events:
            match event:
                case AnswerAwaited(request=request):
                    demand(question.caller is not None, f"somebody waits for {key}, and nobody calls")
                    question.waiting.append(request)
                case CallGranted(request=request, token=token, deadline_ms=deadline_ms):
                    question.granted(request, token, deadline_ms)
                case LeaseRenewed(token=token, deadline_ms=deadline_ms):
                    demand(question.token == token, f"a lease of {key} is renewed that nobody has")
                    question.lasts_ms = deadline_ms
                case LeaseEnded(token=token):
                    demand(question.token == token, f"a lease of {key} ends that nobody has")
                    question.caller = question.token = None
                case RequestWithdrawn(request=request):
                    question.withdrawn(request)
                case CallRecorded():
                    question.recorded(event)
                case AnswerReused(text=text):
                    demand(text == question.kept, f"the answer for {key} is none that was kept")
                    demand(one.decision.now_ms < question.kept_ms, f"the answer for {key} is too old")
                case AnswerExpired() | AnswerForgotten():
                    question.kept = None
                case _:
                    pass
    left = [
        name
        for name, question in questions.items()
        if question.caller is not None and is_overdue(cluster, name, question.lasts_ms)
    ]
    demand(not left, f"questions that somebody still waits for: {left}")
