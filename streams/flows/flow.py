"""What a flow is: its sources, what is done to each event, how events are put together, and what is emitted.

    totals = (
        flow("sales by room")
        .of("order.paid")
        .filter(lambda order: order["amount"] > 0)
        .by("room")
        .window(tumbling(ms=60_000), lateness_ms=5_000)
        .aggregate(count=count(), total=sum_of("amount"))
        .emit("room.minute")
    )

A flow is a value: each method returns a new one. What cannot be right is refused where it is written down. Functions
in a flow are called again for the same events after a restart, so they must be functions of what they are given alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from accord.streams.flows.aggregates import Aggregate
from accord.streams.flows.bounds import (
    AGGREGATES_MAX,
    FIELD_CHARS_MAX,
    FIELDS_MAX,
    HOPS_MAX,
    NAME_CHARS_MAX,
    OPEN_DEFAULT,
    OPEN_MAX,
    SOURCES_MAX,
    STARTS_BYTES_MAX,
    check_count,
    check_ms,
    check_text,
)
from accord.streams.flows.values import encode
from accord.streams.signals.writers import DEFINITION_BYTES_MAX

from accord.errors import BadInput

EVENT_CHARS_MAX: Final = 200
"""Of an event name; with the ending for late events it must still be one."""
LATE_ENDING: Final = ".late"
RESERVED: Final = frozenset({"from_ms", "to_ms", "causes", "update", "partial"})
"""What a result has beside its figures."""

Data = Mapping[str, Any]
Late = Literal["drop", "side", "update"]


class Window(NamedTuple):
    """Which times belong together. Starts and ends are whole multiples of `every_ms` since 1970; sliding has none."""

    kind: str
    ms: int
    every_ms: int


class Windowed(NamedTuple):
    """A window, how long events are waited for, and how much of it is kept."""

    window: Window
    lateness_ms: int
    late: Late
    open_max: int


class Joined(NamedTuple):
    """A join with another event by the fields of the two, and how far apart they may be."""

    event: str
    at: str | None
    on: tuple[str, str]
    within_ms: int
    lateness_ms: int
    late: Late
    held_max: int


class Source(NamedTuple):
    """Events of a name. `at` is the field with their time, in ms since 1970; None: the log's time."""

    event: str
    at: str | None


class Step(NamedTuple):
    """A function of an event's data: whether it stays, or what it becomes."""

    kind: Literal["filter", "map"]
    function: Callable[[Any], Any]


def tumbling(*, ms: int) -> Window:
    """Windows of this length, one after the other: each event is in one."""
    return Window("tumbling", check_ms("ms", ms, 1), ms)


def hopping(*, ms: int, every_ms: int) -> Window:
    """Windows of this length, a new one every `every_ms`: each event is in all that its time falls into."""
    check_ms("ms", ms, 1)
    check_ms("every_ms", every_ms, 1)
    if every_ms > ms or -(-ms // every_ms) > HOPS_MAX:
        raise BadInput(
            f"hopping(ms={ms}, every_ms={every_ms}): every_ms is at most ms, and an event is in {HOPS_MAX} at most."
        )
    return Window("hopping", ms, every_ms)


def sliding(*, ms: int) -> Window:
    """For each moment at which there is an event, the window of this length that ends with it."""
    return Window("sliding", check_ms("ms", ms, 1), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A flow; made by `flow(name)` and its methods. It can be run once it has an `emit`."""

    name: str
    sources: tuple[Source, ...] = ()
    before: tuple[Step, ...] = ()
    keys: tuple[str, ...] = ()
    windowed: Windowed | None = None
    aggregates: tuple[tuple[str, Aggregate], ...] = ()
    joined: Joined | None = None
    after: tuple[Step, ...] = ()
    event: str = ""
    start: datetime | str = "now"

    def of(self, *events: str, at: str | None = None) -> Flow:
        """Takes the events of these names.

        Args:
            at: the field of their data that is their time, in ms since 1970; None: the log's time of them.
        """
        if self.sources or not 0 < len(events) <= SOURCES_MAX:
            raise self._wrong(f"of() is given 1 to {SOURCES_MAX} names, once")
        if len(set(events)) < len(events):
            raise self._wrong("of() is given a name twice")
        return replace(self, sources=tuple([_source(event, at) for event in events]))

    def filter(self, function: Callable[[Any], Any]) -> Flow:
        """Keeps what the function says yes to; after `aggregate` or `join`, of what they tell."""
        return self._step("filter", function)

    def map(self, function: Callable[[Any], Data]) -> Flow:
        """Goes on with what the function makes of the data, a mapping; after `aggregate` or `join`, of results."""
        return self._step("map", function)

    def by(self, *fields: str) -> Flow:
        """Puts events together by fields of their data: texts, whole numbers, true and false."""
        if self.keys or self.windowed or self.joined or not 0 < len(fields) <= FIELDS_MAX:
            raise self._wrong(f"by() is given 1 to {FIELDS_MAX} fields, once, before window()")
        names = [check_text("field", field, FIELD_CHARS_MAX).rpartition(".")[2] for field in fields]
        if len(set(names)) < len(names) or not RESERVED.isdisjoint(names):
            raise self._wrong(f"by{fields}: results have a field for each of them, and {', '.join(sorted(RESERVED))}")
        return replace(self, keys=fields)

    def window(
        self, window: Window, *, lateness_ms: int = 0, late: Late = "drop", open_max: int = OPEN_DEFAULT
    ) -> Flow:
        """Puts events together by their time.

        Args:
            lateness_ms: how long after a window's end, by the log's time, its events are waited for.
            late: of an event that comes later still. `drop`: it is counted. `side`: it is emitted, under the name of
                the results with `.late`. `update`: the window is told at its end at once, and again with each event
                that comes within `lateness_ms`; what comes later is dropped.
            open_max: windows (sliding: also events) that are kept at once. An event for which there is no room goes
                where late ones go, and windows that may lack it say so.
        """
        if not isinstance(window, Window):
            raise self._wrong("window() needs tumbling(), hopping() or sliding()")
        if self.windowed or self.joined or not self.sources:
            raise self._wrong("window() comes once, after of(), and not beside join()")
        check_ms("lateness_ms", lateness_ms, 0)
        check_count("open_max", open_max, OPEN_MAX)
        if late not in ("drop", "side", "update"):
            raise self._wrong(f"late={late!r} is none of drop, side, update")
        if late == "update" and not lateness_ms:
            raise self._wrong("late='update' needs a lateness_ms in which there can be updates")
        return replace(self, windowed=Windowed(window, lateness_ms, late, open_max))

    def aggregate(self, **aggregates: Aggregate) -> Flow:
        """What is told of each window: figures by name."""
        if self.windowed is None or self.aggregates or not 0 < len(aggregates) <= AGGREGATES_MAX:
            raise self._wrong(f"aggregate() has 1 to {AGGREGATES_MAX} figures, once, after window()")
        taken = RESERVED.union(path.rpartition(".")[2] for path in self.keys)
        for name, made in aggregates.items():
            if name in taken:
                raise self._wrong(f"a result has a {name} already; call the figure otherwise")
            if not isinstance(made, Aggregate):
                raise self._wrong(f"{name}={made!r} is no count(), sum_of(), min_of(), max_of(), mean_of() or fold()")
        return replace(self, aggregates=tuple(aggregates.items()))

    def join(
        self,
        event: str,
        *,
        on: str | tuple[str, str],
        within_ms: int,
        at: str | None = None,
        lateness_ms: int = 0,
        late: Late = "drop",
        held_max: int = OPEN_DEFAULT,
    ) -> Flow:
        """Puts each event together with each of another name whose key is the same and whose time is near.

        Args:
            on: the field of both that has the key, or the one of each. What comes before `join` is done to the first.
            within_ms: how far apart the two may be, whichever is first.
            at: the field with the other's time, as for `of`.
            lateness_ms: how long an event is waited for after its own time, by the log's.
            late: of one that comes later still: `drop` or `side`, as for `window`.
            held_max: events that are kept for others to come. One for which there is no room is put together with what
                is there and not kept, and counted.
        """
        if len(self.sources) != 1 or self.windowed or self.joined or self.keys:
            raise self._wrong("join() comes once, after of() with one name, and not beside by() or window()")
        source = _source(event, at)
        if source.event == self.sources[0].event or not RESERVED.isdisjoint((source.event, self.sources[0].event)):
            raise self._wrong("join() needs two names; results have a field for each, beside from_ms and to_ms")
        fields = (on, on) if isinstance(on, str) else on
        if not isinstance(fields, tuple) or len(fields) != 2:
            raise self._wrong("on is a field, or one of each: on='order_id', on=('id', 'order_id')")
        for field in fields:
            check_text("field", field, FIELD_CHARS_MAX)
        check_ms("within_ms", within_ms, 1)
        check_ms("lateness_ms", lateness_ms, 0)
        check_count("held_max", held_max, OPEN_MAX)
        if late not in ("drop", "side"):
            raise self._wrong(f"late={late!r}: a join has drop and side")
        return replace(self, joined=Joined(event, at, fields, within_ms, lateness_ms, late, held_max))

    def since(self, start: datetime | str) -> Flow:
        """Where it starts when it is run for the first time: `now`, the log's `start`, or a time of the log."""
        if start not in ("now", "start") and not (isinstance(start, datetime) and start.tzinfo is not None):
            raise self._wrong(f"since({start!r}): 'now', 'start', or a datetime with a time zone is needed")
        return replace(self, start=start)

    def emit(self, event: str) -> Flow:
        """Emits what it finds as events of this name. The last method: the flow can be run then."""
        if self.event or not self.sources:
            raise self._wrong("emit() comes once, after of()")
        if self.windowed and not self.aggregates:
            raise self._wrong("window() needs an aggregate()")
        if self.keys and not self.windowed:
            raise self._wrong("by() needs a window()")
        check_text("event name", event, EVENT_CHARS_MAX - len(LATE_ENDING))
        check_text("event name", event + LATE_ENDING, EVENT_CHARS_MAX)
        if event in self.names or event + LATE_ENDING in self.names:
            raise self._wrong(f"{event} would come out of {event}")
        made = replace(self, event=event)
        if len(encode(made.definition()).encode()) > DEFINITION_BYTES_MAX - STARTS_BYTES_MAX:
            raise self._wrong(f"its names and figures are longer than {DEFINITION_BYTES_MAX - STARTS_BYTES_MAX} bytes")
        return made

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the events that it takes."""
        return tuple([source.event for source in self.sources]) + ((self.joined.event,) if self.joined else ())

    @property
    def late(self) -> Late:
        """What becomes of late events."""
        return self.windowed.late if self.windowed else self.joined.late if self.joined else "drop"

    @property
    def emits(self) -> tuple[str, ...]:
        """The names of the events that it emits."""
        return (self.event, self.event + LATE_ENDING) if self.late == "side" else (self.event,)

    def definition(self) -> dict[str, Any]:
        """What it is, as plain data; of its functions it says only how many there are."""
        plain: dict[str, Any] = {"of": [[source.event, source.at] for source in self.sources]}
        plain["before"] = [step.kind for step in self.before]
        if self.windowed:
            plain |= {"by": list(self.keys), "window": [*self.windowed.window], "late": [*self.windowed[1:]]}
            plain["aggregate"] = {name: aggregate.text for name, aggregate in self.aggregates}
        if self.joined:
            plain["join"] = [*self.joined]
        return plain | {"after": [step.kind for step in self.after], "emit": self.event}

    def _step(self, kind: Literal["filter", "map"], function: Callable[[Any], Any]) -> Flow:
        if not self.sources or self.event or not callable(function):
            raise self._wrong(f"{kind}() needs a function, and comes between of() and emit()")
        step = Step(kind, function)
        if self.aggregates or self.joined:
            return replace(self, after=(*self.after, step))
        if self.windowed:
            raise self._wrong(f"{kind}() comes before window(), or after aggregate()")
        return replace(self, before=(*self.before, step))

    def _wrong(self, problem: str) -> BadInput:
        return BadInput(f"flow {self.name!r}: {problem}.", remedy="See docs/flows.md.")


def flow(name: str) -> Flow:
    """A flow without anything in it yet.

    Args:
        name: under which it goes on after a restart. A changed flow is another one: give it another name.
    """
    return Flow(name=check_text("flow", name, NAME_CHARS_MAX))


def _source(event: Any, at: Any) -> Source:
    check_text("event name", event, EVENT_CHARS_MAX)
    return Source(event, None if at is None else check_text("field", at, FIELD_CHARS_MAX))
