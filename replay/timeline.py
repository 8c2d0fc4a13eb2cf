"""The timeline: decoded events for people and programs, one object an event.

Its keys are part of the interface: keys are added, never renamed. A decision may hold several events; they share its
position and come in its order. `id` is the decision's for its first event; the others add their place: `ID#1`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import msgspec
from accord.replay.source import Source
from accord.replay.state import Point, accepted, is_beyond
from accord.schemas.clock import VectorClock
from accord.schemas.codec import events_codec
from accord.schemas.messages import Event
from accord.schemas.position import Position
from accord.streams.chain import GENESIS_CAUSE, Decision

from accord.errors import SchemaError

_JSON_TEXT: Final = frozenset({"SignalEmitted", "SignalNumbered", "HandlerFailed"})
"""Events whose field `data` is JSON as text."""


class TimelineEvent(msgspec.Struct, frozen=True):
    """An event as it is shown.

    `time` is the partition's clock when it was decided (ISO 8601, UTC; None before the first command), `key` the
    aggregate, `agent` whom it concerns, `clock` the vector clock (name to count), `cause` the position of the command.
    `data` are the event's own fields. `command_id` is the id of the command, which is what handlers get as `event.id`.
    """

    id: str
    position: str
    time: str | None
    event: str
    key: str
    agent: str | None
    task_id: str | None
    data: dict[str, Any]
    clock: dict[str, int]
    cause: str | None
    command_id: str


class Filter(msgspec.Struct, frozen=True):
    """Which events: all that match each condition given. `start` and `end` are a position (of its partition) or a time;
    what lies there is among them."""

    domains: tuple[str, ...] = ()
    key: str | None = None
    event: str | None = None
    agent: str | None = None
    task_id: str | None = None
    start: Point = None
    end: Point = None

    def wants(self, event: TimelineEvent) -> bool:
        """Whether an event matches, but for `domains`, `start` and `end`."""
        return (
            (self.key is None or event.key == self.key)
            and (self.event is None or event.event == self.event)
            and (self.agent is None or event.agent == self.agent)
            and (self.task_id is None or event.task_id == self.task_id)
        )

    def reached(self, domain: str, partition: int, decision: Decision) -> bool:
        """Whether a decision lies at or after `start`. A position says nothing of other partitions."""
        match self.start:
            case Position() as start if (start.domain, start.partition) == (domain, partition):
                return (decision.cause if start.commands else decision.offset) >= start.offset
            case datetime() as start:
                return decision.now_ms >= start.timestamp() * 1_000
            case _:
                return True

    def passed(self, domain: str, partition: int, decision: Decision) -> bool:
        """Whether a decision lies after `end`. A position says nothing of other partitions."""
        if isinstance(self.end, Position) and (self.end.domain, self.end.partition) != (domain, partition):
            return False
        return self.end is not None and is_beyond(decision, self.end)


def timeline(source: Source, which: Filter) -> Iterator[TimelineEvent]:
    """The events of all partitions, merged by the log's time; within a partition in its order.

    Raises:
        LogGap, ChainBroken: the log lacks a decision, or one was changed.
        NotFound: the log has no such domain, or no such position.
    """
    for point in (which.start, which.end):
        if isinstance(point, Position):
            source.check_position(point)
    streams = [_stream(source, which, *where) for where in source.all_partitions(which.domains)]
    for _, _, _, events in heapq.merge(*streams):
        yield from events


def _stream(
    source: Source, which: Filter, domain: str, partition: int
) -> Iterator[tuple[int, int, str, list[TimelineEvent]]]:
    """A partition's decisions in an order that merges: by time, which never falls, then offset."""
    name = f"{domain}/{partition}"
    for decision in accepted(source, domain, partition, beside=True):
        if which.passed(domain, partition, decision):
            return
        if not which.reached(domain, partition, decision) or not _may_match(which, decision):
            continue
        events = [event for event in decoded(domain, partition, decision) if which.wants(event)]
        if events:
            yield decision.now_ms, decision.offset, name, events


def _may_match(which: Filter, decision: Decision) -> bool:
    """What the headers tell without decoding the value."""
    return (
        (which.key is None or decision.key == which.key.encode())
        and (which.task_id is None or decision.task == which.task_id.encode())
        and (which.event is None or which.event.encode() in decision.type)
    )


def decoded(domain: str, partition: int, decision: Decision) -> Iterator[TimelineEvent]:
    """The events of a decision, as they are shown.

    Raises:
        SchemaError: its value cannot be decoded; names the position.
    """
    position = str(Position(domain, partition, decision.offset))
    try:
        events: tuple[Event, ...] = events_codec(domain).decode(decision.value)
        clock = VectorClock.decode(decision.clock)
    except (SchemaError, ValueError) as error:
        raise SchemaError(f"{position}: {error}", position=position) from error
    cause = decision.cause
    show = partial(
        TimelineEvent,
        position=position,
        time=iso(decision.now_ms) if decision.now_ms else None,
        key=decision.key.decode(errors="replace"),
        task_id=decision.task.decode(errors="replace") or None,
        clock=clock.entries,
        command_id=decision.command_id,
        cause=None if cause == GENESIS_CAUSE else str(Position(domain, partition, cause, commands=True)),
    )
    first = f"{domain}/{partition}:{cause}"
    for place, event in enumerate(events):
        name = type(event).__name__
        data = msgspec.to_builtins(event)
        if name in _JSON_TEXT:
            data["data"] = _from_json(data["data"])
        yield show(id=f"{first}#{place}" if place else first, event=name, agent=data.pop("agent", None), data=data)


def iso(at_ms: int) -> str:
    """A time of the log, in ms since 1970, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _from_json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
