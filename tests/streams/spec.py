"""given(events).when(command).then(events): a decider's rules as a table, in the manner of Emmett."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accord.schemas.messages import Command, Event, log
from accord.streams.decider import At, Decider


class Specification:
    """`Specification(decider)` is `given`.

    `given(*events)` folds history; `.when(command, now_ms)` decides at a time of the partition's clock;
    `.then(*events)` compares, and holds the fold of what was decided for further questions.
    """

    def __init__(self, decider: Decider[Any]) -> None:
        self._decider = decider

    def __call__(self, *history: Event) -> Given:
        state = None
        for event in history:
            state = self._decider.evolve(state, event)
        return Given(self._decider, state)


class Given:
    def __init__(self, decider: Decider[Any], state: Any) -> None:
        self._decider = decider
        self.state = state

    def when(self, command: Command, now_ms: int, *, seq: int = 100, request: str = "new") -> When:
        events = self._decider.decide(self.state, command, At(now_ms, seq, request))
        assert list(events) == list(self._decider.decide(self.state, command, At(now_ms, seq, request))), (
            "not a function"
        )
        return When(self._decider, self.state, events)


class When:
    def __init__(self, decider: Decider[Any], state: Any, events: Sequence[Event]) -> None:
        self._decider = decider
        self._state = state
        self._events = events

    def then(self, *expected: Event) -> Given:
        assert list(self._events) == list(expected)
        state = self._state
        for event in self._events:
            if not isinstance(event, log.EVENTS):  # those are the partition's, not the decider's
                state = self._decider.evolve(state, event)
        return Given(self._decider, state)

    def then_nothing(self) -> Given:
        return self.then()
