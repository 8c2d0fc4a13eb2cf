"""Patterns of signals: the algebra in which a trigger is written, and its definition as data.

    sequence("ordered", absence("paid")).by("order_id").within_ms(60_000)

- `event(name, field=value)`: a signal of that name, with conditions on its data; a name alone is one, too.
- `sequence(...)`: one after the other. `all_of(...)`: each once, in any order. `any_of(...)`: one of them.
- `count(what, times)`: so often, one after the other.
- `absence(...)`: within a sequence: none of these events until what comes after it begins. At the end of a sequence:
  none of them for the window, from the event before it on.

They nest. Other signals in between do not matter. What is not named by an `absence` cannot undo anything.

A definition is canonical JSON: the same pattern is the same text, and a worker or a replay needs no Python for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from hashlib import blake2b
from operator import ge, gt, le, lt
from typing import Any, Final, Self, TypeVar

import msgspec
from accord.schemas.topics import KEY_BYTES_MAX
from accord.streams.signals.data import exact
from accord.streams.tasks.bounds import LIMIT_MS_MAX

from accord.errors import BadInput

NAME_BYTES_MAX: Final = 100
"""Of a trigger."""
DEFINITION_BYTES_MAX: Final = 2_048
"""A definition goes with every signal that a trigger watches, to where the signals of a key are put together."""
BY_BYTES_MAX: Final = 150
"""Of a key; what is longer is its hash. With the trigger's name before it, it is the key of a record."""
NESTING_MAX: Final = 20
TIMES_MAX: Final = 100
LATE_MS_MAX: Final = 600_000
LATE_MS: Final = 1_000
"""How long signals of several names are waited for; those of one name come in order."""
_LESS_OR_MORE: Final = {"<": lt, "<=": le, ">": gt, ">=": ge}
OPERATORS: Final = ("==", "!=", *_LESS_OR_MORE)

Scalar = str | int | bool | float | Decimal | None


class Rule:
    """A pattern with its terms, as `on` and `declare_trigger` take it. Each method gives a new one."""

    def __init__(
        self, pattern: Node, by: str | None = None, within_ms: int | None = None, late_ms: int | None = None
    ) -> None:
        self.pattern = pattern
        self._terms: tuple[str | None, int | None, int | None] = (by, within_ms, late_ms)

    def by(self, field: str) -> Rule:
        """Puts signals together by a field of their data: `order_id`, or `order.id` of an object in it.

        Each value has occurrences of its own. A signal without it (text, whole number, true or false) takes no part.
        """
        if not isinstance(field, str) or not all(field.split(".")):
            raise BadInput(f"by({field!r}): the name of a field is needed.", remedy='For example by("order_id").')
        return Rule(self.pattern, field, *self._terms[1:])

    def within_ms(self, ms: int) -> Rule:
        """Bounds the time from the first signal to the last: less than `ms`, by the log's times of the signals."""
        return Rule(self.pattern, self._terms[0], _checked_ms("within_ms", ms, 1, LIMIT_MS_MAX), self._terms[2])

    def late_ms(self, ms: int) -> Rule:
        """Sets how long signals that the log may tell late are waited for; see docs/triggers.md."""
        return Rule(self.pattern, *self._terms[:2], _checked_ms("late_ms", ms, 0, LATE_MS_MAX))

    @property
    def definition(self) -> Definition:
        """The rule as data."""
        by, within_ms, late_ms = self._terms
        if late_ms is None:
            late_ms = 0 if len(names_of(self.pattern)) == 1 else LATE_MS
        return Definition(self.pattern, by, within_ms, late_ms)


class _Terms:
    """What every pattern offers to become a rule."""

    def by(self, field: str) -> Rule:
        """As `Rule.by`."""
        return Rule(self).by(field)  # type: ignore[arg-type]

    def within_ms(self, ms: int) -> Rule:
        """As `Rule.within_ms`."""
        return Rule(self).within_ms(ms)  # type: ignore[arg-type]

    def late_ms(self, ms: int) -> Rule:
        """As `Rule.late_ms`."""
        return Rule(self).late_ms(ms)  # type: ignore[arg-type]


class Condition(msgspec.Struct, frozen=True, array_like=True):
    """A field, an operator, and JSON to compare with. A field that is missing fulfils none."""

    field: str
    operator: str
    value: str


class Happens(msgspec.Struct, _Terms, frozen=True, tag="event"):
    """A signal of a name whose data fulfils all conditions."""

    name: str
    where_: tuple[Condition, ...] = msgspec.field(default=(), name="where")

    def where(self, field: str, operator: str, value: Scalar) -> Self:
        """Adds a condition: `event("paid").where("amount", ">=", 100)`.

        Args:
            field: `amount`, or `order.amount` of an object in the data.
            operator: == or != for any value, also < <= > >= for numbers, which are compared exactly.
            value: text, number, true, false or None.
        """
        if not isinstance(field, str) or not all(field.split(".")):
            raise BadInput(f"where({field!r}, ...): the name of a field is needed.")
        if operator not in OPERATORS:
            raise BadInput(f"where({field!r}, {operator!r}, ...): there is {' '.join(OPERATORS)}.")
        if not isinstance(value, str | int | float | Decimal | None) or _is_no_number(value):
            raise BadInput(f"where({field!r}, {operator!r}, {value!r}): text, a number, true, false or None is needed.")
        condition = Condition(field, operator, _json(value))
        problem = _problem_of_condition(condition)
        if problem:
            raise BadInput(f"event {self.name!r}: {problem}.")
        return msgspec.structs.replace(self, where_=(*self.where_, condition))


class Sequence(msgspec.Struct, _Terms, frozen=True, tag="sequence"):
    parts: tuple[Part, ...]


class AllOf(msgspec.Struct, _Terms, frozen=True, tag="all_of"):
    parts: tuple[Node, ...]


class AnyOf(msgspec.Struct, _Terms, frozen=True, tag="any_of"):
    parts: tuple[Node, ...]


class Count(msgspec.Struct, _Terms, frozen=True, tag="count"):
    part: Node
    times: int


class Absence(msgspec.Struct, frozen=True, tag="absence"):
    events: tuple[Happens, ...]


Node = Happens | Sequence | AllOf | AnyOf | Count
Part = Node | Absence
N = TypeVar("N", Sequence, AllOf, AnyOf, Count)


class Definition(msgspec.Struct, frozen=True):
    """A rule as data. `within_ms` is None where one signal alone is a match."""

    pattern: Node
    by: str | None
    within_ms: int | None
    late_ms: int


_decode: Final = msgspec.json.Decoder(Definition).decode


def event(name: str, **fields: Scalar) -> Happens:
    """A signal of that name whose data has these values in its fields."""
    made = Happens(_checked_name(name))
    for field, value in fields.items():
        made = made.where(field, "==", value)
    return made


def sequence(*parts: str | Part) -> Sequence:
    """One after the other."""
    return _checked(Sequence(tuple([part if isinstance(part, Absence) else _node(part) for part in parts])))


def all_of(*parts: str | Node) -> AllOf:
    """Each of them, in any order; no signal counts for two."""
    return _checked(AllOf(tuple([_node(part) for part in parts])))


def any_of(*parts: str | Node) -> AnyOf:
    """One of them."""
    return _checked(AnyOf(tuple([_node(part) for part in parts])))


def count(part: str | Node, times: int) -> Count:
    """The same so many times, one after the other."""
    if type(times) is not int:
        raise BadInput(f"count(..., {times!r}): a whole number is needed.")
    return _checked(Count(_node(part), times))


def absence(*events: str | Happens) -> Absence:
    """None of these, at this place of a sequence; at its end: none of them for the window."""
    made = Absence(tuple([_node(one) for one in events]))
    problem = _problem_of_absence(made)
    if problem:
        raise BadInput(f"{problem}.")
    return made


def encode(definition: Definition) -> str:
    """A definition as canonical JSON."""
    return msgspec.json.encode(definition).decode()


def decode(text: str) -> Definition:
    """A definition from JSON. Raises msgspec.DecodeError, msgspec.ValidationError: it is none."""
    return _decode(text)


# -- what a pattern is made of


def events_of(node: Part) -> Iterator[Happens]:
    """Its events in the order in which they are written, those that must be absent included."""
    match node:
        case Happens():
            yield node
        case Absence(events):
            yield from events
        case Count(repeated):
            yield from events_of(repeated)
        case Sequence(parts) | AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from events_of(part)


def names_of(node: Part) -> tuple[str, ...]:
    """Names of the signals that it is about, each once, in order."""
    return tuple(sorted({one.name for one in events_of(node)}))


def text_of(node: Part) -> str:
    """As it is written in Python."""
    match node:
        case Happens(name, where):
            conditions = "".join(
                [f".where({_quoted(c.field)}, {_quoted(c.operator)}, {c.value})" for c in where]
            )  # JSON's true and null are told as such
            return f"event({_quoted(name)}){conditions}" if where else _quoted(name)
        case Count(part, times):
            return f"count({text_of(part)}, {times})"
        case Absence(events):
            return f"absence({', '.join(map(text_of, events))})"
        case Sequence(parts) | AllOf(parts) | AnyOf(parts):
            name = {Sequence: "sequence", AllOf: "all_of", AnyOf: "any_of"}[type(node)]
            return f"{name}({', '.join(map(text_of, parts))})"


def text_of_definition(definition: Definition) -> str:
    """A rule as it is written in Python."""
    by = "" if definition.by is None else f".by({_quoted(definition.by)})"
    within = "" if definition.within_ms is None else f".within_ms({definition.within_ms:_})"
    pattern = text_of(definition.pattern)
    whole = f"event({pattern})" if pattern[0] == '"' else pattern
    return f"{whole}{by}{within}.late_ms({definition.late_ms:_})"


# -- what a signal is for it


def matched_events(happens: tuple[Happens, ...], name: str, data: Any) -> tuple[int, ...]:
    """Which of a pattern's events a signal is, by their place.

    Args:
        data: what `exact` gives.
    """
    return tuple([place for place, one in enumerate(happens) if one.name == name and _fulfils(one, data)])


def by_of(definition: Definition, data: Any) -> str | None:
    """The key of a signal's data; None: it has none, and takes no part."""
    if definition.by is None:
        return ""
    match _field(data, definition.by):
        case str(text):
            pass
        case bool(value):
            text = "true" if value else "false"
        case int(number):
            text = str(number)
        case _:
            return None
    encoded = text.encode()
    return text if len(encoded) <= BY_BYTES_MAX else f"#{blake2b(encoded, digest_size=16).hexdigest()}"


def _fulfils(one: Happens, data: Any) -> bool:
    return all(_holds(_field(data, c.field), c.operator, exact(c.value)) for c in one.where_)


_MISSING: Final = object()


def _field(data: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(data, dict) or name not in data:
            return _MISSING
        data = data[name]
    return data


def _holds(found: Any, operator: str, asked: Any) -> bool:
    """JSON types are told apart: true is not 1, "1" is not 1; 1.0 is 1."""
    if found is _MISSING:
        return False
    alike = _kind(found) == _kind(asked)
    if operator in ("==", "!="):
        return (alike and found == asked) == (operator == "==")
    return alike and _kind(found) == "number" and bool(_LESS_OR_MORE[operator](found, asked))


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int() | Decimal():
            return "number"
        case _:
            return type(value).__name__


# -- what it may be


def problem_of_name(name: str) -> str | None:
    """Why a trigger cannot have this name."""
    if not name or len(name.encode()) > NAME_BYTES_MAX:
        return f"the name of a trigger has 1 to {NAME_BYTES_MAX} bytes"
    return "the name of a trigger has no |, which begins the key" if "|" in name else None


def problem_of_definition_data(definition: Definition) -> str | None:
    """What is wrong with a definition, but for the size of what it becomes."""
    problem = problem_of_pattern(definition.pattern, last=True)
    if problem is not None:
        return problem
    if definition.by is not None and not all(definition.by.split(".")):
        return f"by: {definition.by!r} names no field"
    if definition.within_ms is not None and not 1 <= definition.within_ms <= LIMIT_MS_MAX:
        return f"within_ms={definition.within_ms}: a window of 1 to {LIMIT_MS_MAX} ms is possible"
    if not 0 <= definition.late_ms <= LATE_MS_MAX:
        return f"late_ms={definition.late_ms}: 0 to {LATE_MS_MAX} are possible"
    return None


def problem_of_pattern(node: Node, *, last: bool) -> str | None:
    """What is wrong with a pattern.

    Args:
        last: whether it may end with an absence.
    """
    match node:
        case Happens():
            return _problem_of_event(node)
        case Sequence(parts):
            return _problem_of_sequence(parts, last=last)
        case Count(_, times) if not 1 <= times <= TIMES_MAX:
            return f"count: {times} times: 1 to {TIMES_MAX} are possible"
        case Count(part):
            return problem_of_pattern(part, last=False)
        case AllOf(()) | AnyOf(()):
            return "all_of() and any_of() need a pattern"
        case AllOf(parts) | AnyOf(parts):
            return next(filter(None, [problem_of_pattern(part, last=False) for part in parts]), None)


def _problem_of_event(one: Happens) -> str | None:
    if not one.name or len(one.name.encode()) > KEY_BYTES_MAX:
        return f"the name of an event has 1 to {KEY_BYTES_MAX} bytes"
    return next(filter(None, map(_problem_of_condition, one.where_)), None)


def _problem_of_sequence(parts: tuple[Part, ...], *, last: bool) -> str | None:
    if not parts:
        return "sequence() of nothing"
    if isinstance(parts[0], Absence):
        return "a sequence begins with an absence: from when on? Name the event before it"
    if isinstance(parts[-1], Absence) and not last:
        return "an absence can end the whole pattern, no part of it: until when would it last?"
    for place, part in enumerate(parts):
        if not isinstance(part, Absence):
            problem = problem_of_pattern(part, last=last and place == len(parts) - 1)
        elif isinstance(parts[place - 1], Absence):
            problem = "two absences, one after the other: name the events of both in one"
        else:
            problem = _problem_of_absence(part)
        if problem:
            return problem
    return None


def _problem_of_absence(made: Absence) -> str | None:
    if not made.events:
        return "absence() of nothing"
    return next(filter(None, [problem_of_pattern(one, last=False) for one in made.events]), None)


def _problem_of_condition(condition: Condition) -> str | None:
    field, operator, value = condition.field, condition.operator, condition.value
    if not all(field.split(".")):
        return f"where: {field!r} names no field"
    if operator not in OPERATORS:
        return f"where: there is no operator {operator!r}"
    try:
        found = exact(value)
    except ValueError as error:
        return f"where: {value!r}: {error}"
    if isinstance(found, dict | list):
        return f"where: {field} is compared with text, a number, true, false or null"
    if operator not in ("==", "!=") and _kind(found) != "number":
        return f"where: {field} {operator} {value}: only numbers are less or more"
    return None


def _node(part: Any) -> Any:
    if isinstance(part, str):
        return event(part)
    if isinstance(part, Absence):
        raise BadInput("absence() stands in a sequence alone.", remedy='For example sequence("a", absence("b"), "c").')
    if isinstance(part, Rule):
        raise BadInput("by() and within_ms() are for the whole pattern: name them last.")
    if not isinstance(part, Happens | Sequence | AllOf | AnyOf | Count):
        raise BadInput(f"{part!r} is no event and no pattern.", remedy='For example sequence("a", "b").')
    return part


def _checked(node: N) -> N:
    problem = problem_of_pattern(node, last=True)
    if problem is not None:
        raise BadInput(f"{problem}.")
    return node


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not name or len(name.encode(errors="replace")) > KEY_BYTES_MAX:
        raise BadInput(f"{name!r} is no name of an event: text of 1 to {KEY_BYTES_MAX} bytes is needed.")
    return name


def _checked_ms(what: str, ms: Any, least: int, most: int) -> int:
    if type(ms) is not int or not least <= ms <= most:
        raise BadInput(
            f"{what}({ms!r}): a whole number of ms from {least} to {most} is needed.",
            remedy=f"For 5 seconds: {what}(5_000).",
        )
    return ms


def _is_no_number(value: Scalar) -> bool:
    return isinstance(value, float | Decimal) and not Decimal(value).is_finite()


def _json(value: Scalar) -> str:
    return str(value) if isinstance(value, Decimal) else msgspec.json.encode(value).decode()


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
