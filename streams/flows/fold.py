"""The fold of a flow: events in, results out, and all that is remembered in between.

It has no clock and does no I/O: its time is the log's, which comes with each event and by `advance`. So the same events
in the same order give the same results, byte for byte; `advance` only tells earlier what is complete, never something
else. The results of a flow are numbered by the name under which they are emitted, from 1 without a gap: by its number a
result is known again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from accord.streams.flows import values
from accord.streams.flows.bounds import AHEAD_MS_MAX, RESULT_BYTES_MAX
from accord.streams.flows.flow import LATE_ENDING, Flow, Step
from accord.streams.flows.joins import Join
from accord.streams.flows.rows import Item, Operator, Row, Trail
from accord.streams.flows.values import field
from accord.streams.flows.windows import SlidingWindows, Windows
from accord.streams.signals.data import NESTING_MAX, exact, nesting

from accord.errors import FlowFailed

NO_KEY: Final = "no_key"
NO_TIME: Final = "no_time"
UNREADABLE: Final = "unreadable"


class Taken(NamedTuple):
    """An event of the log as a flow is given it: the log's time of it, name, data, position, and what led to it."""

    at_ms: int
    name: str
    data: str
    position: str
    trail: Trail


class Result(NamedTuple):
    """What is to be emitted: the event's name, its number among this flow's of that name, data, and what led to it."""

    event: str
    number: int
    data: str
    trail: Trail


class Fold:
    """A flow on its way.

    Args:
        kept: what `dump` gave, to go on from there.

    Raises:
        ValueError: `kept` is not of this flow.
    """

    def __init__(self, flow: Flow, kept: bytes | None = None) -> None:
        self._flow: Final = flow
        self._times: Final = {source.event: source.at for source in flow.sources}
        self._operator: Final = _operator(flow)
        self.now_ms = 0
        """The log's time as far as the fold was told."""
        self.numbers: dict[str, int] = dict.fromkeys(flow.emits, 0)
        """The number of the last result, by the name under which it is emitted."""
        self.counts: dict[str, int] = {"taken": 0}
        """Events that were taken, and why others were passed over: late, overflow, no_key, no_time, unreadable."""
        if flow.joined:
            self._times[flow.joined.event] = flow.joined.at
        if kept is not None:
            self._restore(kept)

    def take(self, event: Taken) -> list[Result]:
        """Takes an event in, after all that is before it in the log.

        Raises:
            FlowFailed: a function of the flow raised, or made something that cannot be emitted.
        """
        results = self.advance(event.at_ms)
        self.counts["taken"] += 1
        side = int(self._flow.joined is not None and event.name == self._flow.joined.event)
        try:
            original = exact(event.data)
        except ValueError:
            self._count(UNREADABLE)
            return results
        data = original if side else self._through(self._flow.before, original, event.position)
        if data is None:
            return results
        trail = (*event.trail, event.name)
        if self._operator is None:
            return results + self._emitted([Row("", data, (event.position,), trail)], mapped=True)
        time_ms = self._time_of(event, original)
        key = values.key(data, self._keys(side))
        if time_ms is None or key is None:
            self._count(NO_TIME if time_ms is None else NO_KEY)
            return results
        item = Item(time_ms, key, data, event.position, trail, side)
        try:
            rows = self._operator.take(item, self.now_ms)
        except Exception as error:
            raise self._failed(event.position, error) from error
        return results + self._emitted(rows)

    def advance(self, now_ms: int) -> list[Result]:
        """Moves the time on; tells what is complete by then.

        Raises:
            FlowFailed: as for `take`.
        """
        if now_ms <= self.now_ms:
            return []
        self.now_ms = now_ms
        return self._emitted(self._operator.advance(now_ms)) if self._operator else []

    def deadline_ms(self) -> int | None:
        """The log's time at which there will be something to tell, without any event."""
        return self._operator.deadline_ms() if self._operator else None

    def dump(self) -> bytes:
        """All that is remembered, the same for the same state."""
        kept = self._operator.dump() if self._operator else None
        return values.encode([self.now_ms, self.numbers, self.counts, kept]).encode()

    def _restore(self, kept: bytes) -> None:
        try:
            self.now_ms, self.numbers, self.counts, operators = exact(kept.decode())
            if self.numbers.keys() != set(self._flow.emits):
                raise ValueError("it is that of a flow that emits something else")
            if self._operator:
                self._operator.restore(operators)
        except (TypeError, IndexError, KeyError) as error:
            raise ValueError(f"the state of flow {self._flow.name} cannot be read: {error!r}") from error

    def _time_of(self, event: Taken, data: Any) -> int | None:
        at = self._times[event.name]
        if at is None:
            return event.at_ms
        time_ms = field(data, at)
        good = type(time_ms) is int and 0 <= time_ms <= event.at_ms + AHEAD_MS_MAX
        return time_ms if good else None

    def _keys(self, side: int) -> tuple[str, ...]:
        return (self._flow.joined.on[side],) if self._flow.joined else self._flow.keys

    def _through(self, steps: Iterable[Step], data: Any, position: str) -> Any | None:
        """The data after some steps, None if one of them does not keep it."""
        for kind, function in steps:
            try:
                made = function(data)
                if kind == "filter":
                    if not made:
                        return None
                    continue
                if not isinstance(made, Mapping):
                    raise TypeError(f"map made {type(made).__name__} {str(made)[:40]!r}; a mapping is needed")
                data = values.plain(made)
            except Exception as error:
                raise self._failed(position, error) from error
        return data

    def _emitted(self, rows: Iterable[Row], *, mapped: bool = False) -> list[Result]:
        results = []
        for row in rows:
            data: Any = row.data
            event = self._flow.event
            if row.reason:
                self._count(row.reason)
                if self._flow.late != "side":
                    continue
                event += LATE_ENDING
                data |= {"reason": row.reason}
            elif not mapped or self._flow.after:
                data = self._through(self._flow.after, data, row.causes[-1])
                if data is None:
                    continue
            results.append(self._result(event, data, row))
        return results

    def _result(self, event: str, data: Any, row: Row) -> Result:
        try:
            text = values.encode({**data, "causes": row.causes})
        except (TypeError, ValueError) as error:
            raise self._failed(row.causes[-1], error) from error
        size = len(text.encode())
        if size > RESULT_BYTES_MAX or nesting(text, NESTING_MAX) > NESTING_MAX:
            problem = f"a result of {size} bytes: at most {RESULT_BYTES_MAX}, nested {NESTING_MAX} deep, can be emitted"
            raise self._failed(row.causes[-1], ValueError(problem))
        self.numbers[event] += 1
        return Result(event, self.numbers[event], text, row.trail)

    def _count(self, reason: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1

    def _failed(self, position: str, error: Exception) -> FlowFailed:
        return FlowFailed(
            f"flow {self._flow.name!r} stops at {position}: {type(error).__name__}: {error}.",
            remedy="Nothing is lost: mend its function and start it again; it goes on with this event.",
            key=self._flow.name,
            position=position,
        )


def _operator(flow: Flow) -> Operator | None:
    if flow.joined is not None:
        return Join(flow.sources[0].event, flow.joined)
    if flow.windowed is None:
        return None
    windows = SlidingWindows if flow.windowed.window.kind == "sliding" else Windows
    return windows(flow.windowed, flow.keys, flow.aggregates)
