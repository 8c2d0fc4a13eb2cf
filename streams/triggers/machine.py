"""A pattern as a state machine.

What is left of a pattern after some signals is a pattern again (Brzozowski's derivatives): the states of the machine
are all that can be left, and a signal takes one to another. The pattern itself is state 0.

    sequence("a", absence("x"), all_of("b", "c"))
      0 --a--> 1    1 --b--> 2, 1 --c--> 3, ended by x    2 --c--> a match    3 --b--> a match

Signals may be passed over, so a state stays where it was besides (`occurrences.py`), unless the signal is one that must
be absent there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from accord.streams.signals.data import nesting
from accord.streams.triggers.pattern import (
    DEFINITION_BYTES_MAX,
    NESTING_MAX,
    Absence,
    AllOf,
    AnyOf,
    Count,
    Definition,
    Happens,
    Part,
    Sequence,
    decode,
    encode,
    events_of,
    problem_of_definition_data,
)

STATES_MAX: Final = 100
"""Of one machine. A key has at most one occurrence begun in each: that bounds what is kept of it."""
SIGNALS_MAX: Final = 100
"""In one match."""
MATCH: Final = -1
"""The state of what is complete."""
_BRACKETS_A_LEVEL: Final = 2

Left = tuple[Any, ...]
"""What is left of a pattern: ("event", place), ("sequence", first, ...), ("all_of", ...) or ("any_of", ...); within a
sequence also ("absence", place, ...). The empty tuple is nothing."""
_NOTHING: Final[Left] = ()
_NONE: Final[frozenset[int]] = frozenset()


class Step(NamedTuple):
    """A way out of a state: a signal that is the pattern's event at `place`, and none of those in `unless`."""

    place: int
    unless: frozenset[int]
    target: int


class Machine(NamedTuple):
    """A rule, ready to run.

    `happens` are the pattern's events by their place. `steps` are the ways out of each state, `ended_by` the events
    that end what is in it. `waiting` is the state in which an absence at the end waits for the window; None: there is
    none.
    """

    definition: Definition
    happens: tuple[Happens, ...]
    steps: tuple[tuple[Step, ...], ...]
    ended_by: tuple[frozenset[int], ...]
    waiting: int | None


class TooLarge(Exception):
    """A pattern has more states than a machine may have."""


@lru_cache(maxsize=1_024)
def machine_of(definition: str) -> Machine:
    """The machine of a definition that `problem_of_definition` finds nothing wrong with."""
    made = _made(decode(definition))
    assert made is not None
    return made


@lru_cache(maxsize=1_024)
def problem_of_definition(text: str) -> str | None:  # noqa: PLR0911
    """What is wrong with a definition, as JSON."""
    size = len(text.encode())
    if size > DEFINITION_BYTES_MAX:
        return f"the definition of a trigger has at most {DEFINITION_BYTES_MAX} bytes, this one {size}"
    if nesting(text, NESTING_MAX * _BRACKETS_A_LEVEL) > NESTING_MAX * _BRACKETS_A_LEVEL:
        return f"a pattern nests at most {NESTING_MAX} deep"
    try:
        definition = decode(text)
    except msgspec.DecodeError as error:
        return f"the definition of a trigger cannot be read: {error}"
    problem = problem_of_definition_data(definition)
    if problem is not None:
        return problem
    if encode(definition) != text:
        return "the definition of a trigger is not canonical JSON"
    most = _signals(definition.pattern)
    if most > SIGNALS_MAX:
        return f"the pattern takes {most} signals, at most {SIGNALS_MAX} are possible"
    machine = _made(definition)
    if machine is None:
        return f"the pattern has more than {STATES_MAX} states: name fewer events in all_of()"
    if definition.within_ms is None and len(machine.steps) > 1:
        return "the pattern is of several signals, or of time, and needs a window: .within_ms(5_000)"
    return None


def _signals(node: Part) -> int:
    """How many signals a match has at most."""
    match node:
        case Happens():
            return 1
        case Count(part, times):
            return times * _signals(part)
        case Sequence(parts) | AllOf(parts):
            return sum(map(_signals, parts))
        case AnyOf(parts):
            return max(map(_signals, parts))
        case Absence():
            return 0


def _made(definition: Definition) -> Machine | None:
    """The machine; None: it has too many states."""
    happens = tuple(events_of(definition.pattern))
    first = _left(definition.pattern, iter(range(len(happens))))
    numbers: dict[Left, int] = {_NOTHING: MATCH, first: 0}
    steps: list[tuple[Step, ...]] = []
    ended_by: list[frozenset[int]] = []
    waiting = None
    unseen = deque([first])
    while unseen:
        left = unseen.popleft()
        if _is_absence(left):
            waiting = numbers[left]
        out = set()
        for place, unless, after in sorted(_steps(left), key=repr):
            if after not in numbers:
                if len(numbers) > STATES_MAX:
                    return None
                numbers[after] = len(numbers) - 1
                unseen.append(after)
            out.add(Step(place, frozenset(unless), numbers[after]))
        steps.append(tuple(sorted(out, key=lambda step: (step.place, step.target, sorted(step.unless)))))
        ended_by.append(_ended_by(left))
    return Machine(definition, happens, tuple(steps), tuple(ended_by), waiting)


def _left(node: Part, places: Iterator[int]) -> Left:
    """A whole pattern as what is left of it."""
    match node:
        case Happens():
            return ("event", next(places))
        case Absence(events):
            return ("absence", *[next(places) for _ in events])
        case Count(part, times):
            return _joined([_left(part, places)] * times)
        case Sequence(parts):
            return _joined([_left(part, places) for part in parts])
        case AllOf(parts):
            return _all([_left(part, places) for part in parts])
        case AnyOf(parts):
            return ("any_of", *sorted({_left(part, places) for part in parts}, key=repr))


def _joined(parts: list[Left]) -> Left:
    """One after the other; sequences in sequences are one."""
    flat: list[Left] = []
    for part in parts:
        flat += part[1:] if part and part[0] == "sequence" else [part] if part else []
    return flat[0] if len(flat) == 1 else ("sequence", *flat) if flat else _NOTHING


def _all(parts: list[Left]) -> Left:
    """Each of them, in one order of writing: what is left does not depend on what came first."""
    some = sorted([part for part in parts if part], key=repr)
    return some[0] if len(some) == 1 else ("all_of", *some) if some else _NOTHING


def _is_absence(left: Left) -> bool:
    return bool(left) and left[0] == "absence"


def _steps(left: Left) -> Iterator[tuple[int, tuple[int, ...], Left]]:
    """Each event that can be next, those that it must not be as well, and what is left after it."""
    match left:
        case ("event", place):
            yield place, (), _NOTHING
        case ("any_of", *parts):
            for part in parts:
                yield from _steps(part)
        case ("all_of", *parts):
            for number, part in enumerate(parts):
                others = parts[:number] + parts[number + 1 :]
                ending = _NONE.union(*map(_ended_by, others))
                for place, unless, after in _steps(part):
                    yield place, tuple(sorted(ending.union(unless))), _all([after, *others])
        case ("sequence", *parts):
            first, *rest = parts[1:] if _is_absence(parts[0]) else parts
            for place, unless, after in _steps(first):
                yield place, unless, _joined([after, *rest])


def _ended_by(left: Left) -> frozenset[int]:
    """The events that end it."""
    match left:
        case ("absence", *places):
            return frozenset(places)
        case ("sequence", *parts):
            return _ended_by(parts[0])
        case ("all_of", *parts):
            return _NONE.union(*map(_ended_by, parts))
        case _:
            return _NONE
