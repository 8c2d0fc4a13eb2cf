"""What is made of the events of a window: counts, sums, means, least and most, and folds of the user's own.

An aggregate keeps a value that JSON can express and is given the events in the order of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from accord.streams.flows.bounds import FIELD_CHARS_MAX, FOLDED_BYTES_MAX, check_text
from accord.streams.flows.values import DIVISION, EXACT, encode, number
from accord.streams.signals.data import exact

from accord.errors import BadInput


class Aggregate(NamedTuple):
    """One figure of a window.

    `read` takes what it needs off an event, `add` counts it in, `result` is the figure; all three are pure. What
    `read` and `add` return is JSON.
    """

    text: str
    initial: Any
    read: Callable[[Any], Any]
    add: Callable[[Any, Any], Any]
    result: Callable[[Any], Any]


def count() -> Aggregate:
    """How many events there are."""
    return Aggregate("count()", 0, lambda _: None, lambda counted, _: counted + 1, lambda counted: counted)


def sum_of(field: str) -> Aggregate:
    """The exact sum of a field; events in which it is no number are passed over."""
    path = _field(field)
    return Aggregate(f"sum_of({path})", 0, lambda data: number(data, path), _plus, lambda total: total)


def mean_of(field: str) -> Aggregate:
    """The mean of a field, to 28 digits; events in which it is no number are passed over. None without any."""
    path = _field(field)

    def add(kept: list[Any], value: int | Decimal | None) -> list[Any]:
        return kept if value is None else [_plus(kept[0], value), kept[1] + 1]

    def result(kept: list[Any]) -> Decimal | None:
        return DIVISION.divide(Decimal(kept[0]), kept[1]) if kept[1] else None

    return Aggregate(f"mean_of({path})", [0, 0], lambda data: number(data, path), add, result)


def min_of(field: str) -> Aggregate:
    """The least number that a field has; None without any."""
    path = _field(field)
    return Aggregate(f"min_of({path})", None, lambda data: number(data, path), _least, lambda least: least)


def max_of(field: str) -> Aggregate:
    """The greatest number that a field has; None without any."""
    path = _field(field)
    return Aggregate(f"max_of({path})", None, lambda data: number(data, path), _most, lambda most: most)


def fold(initial: Any, function: Callable[[Any, Mapping[str, Any]], Any]) -> Aggregate:
    """What a function makes of the events, one after the other.

    Args:
        initial: the value before the first event; any JSON.
        function: given the value and an event's data, returns the next value: any JSON, of at most 16 KiB. It is called
            again for the same events after a restart, so it must be a function of these two alone.

    Raises:
        BadInput: `initial` is no JSON, or `function` cannot be called.
    """
    if not callable(function):
        raise BadInput(f"fold: {function!r} cannot be called.")
    name = getattr(function, "__qualname__", type(function).__qualname__)

    def add(kept: str, data: str) -> str:
        text = encode(function(exact(kept), exact(data)))
        if len(text.encode()) > FOLDED_BYTES_MAX:
            raise ValueError(f"fold({name}) keeps {len(text.encode())} bytes of a window; {FOLDED_BYTES_MAX} can be")
        return text

    try:
        first = encode(initial)
    except (TypeError, ValueError) as error:
        raise BadInput(f"fold: {initial!r} is no JSON.") from error
    return Aggregate(f"fold({first[:100]}, {name[:100]})", first, encode, add, exact)


def _field(path: Any) -> str:
    return check_text("field", path, FIELD_CHARS_MAX)


def _plus(total: int | Decimal, value: int | Decimal | None) -> int | Decimal:
    if value is None:
        return total
    return total + value if isinstance(total, int) and isinstance(value, int) else EXACT.add(total, value)


def _least(kept: int | Decimal | None, value: int | Decimal | None) -> int | Decimal | None:
    return value if kept is None or (value is not None and value < kept) else kept


def _most(kept: int | Decimal | None, value: int | Decimal | None) -> int | Decimal | None:
    return value if kept is None or (value is not None and value > kept) else kept
