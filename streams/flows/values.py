"""The values that flows work on: JSON whose numbers are exact, and what is read off it.

What a function of the user's returns is written as JSON and read again before it goes on. So it is the same now and
after a restart, whatever objects it was made of.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any, Final

import msgspec
from accord.streams.flows.bounds import KEY_TEXT_BYTES_MAX
from accord.streams.signals.data import exact

DIGITS_MAX: Final = 50
"""Digits before and after the point of a number that is added up; one beyond is no number here."""
EXACT: Final = Context(prec=3 * DIGITS_MAX)
"""Sums of such numbers are exact up to 10^50 of them."""
DIVISION: Final = Context(prec=28)
MISSING: Final = object()

_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def encode(value: Any) -> str:
    """A value as JSON. Raises TypeError or ValueError: it has none."""
    return _encoder.encode(value).decode()


def plain(value: Any) -> Any:
    """What reading a value's JSON gives. Raises TypeError or ValueError: it has none."""
    return exact(encode(value))


def field(data: Any, path: str) -> Any:
    """A field of an event's data, `order.amount` of its `order`; `MISSING` where there is none."""
    for name in path.split("."):
        if not isinstance(data, dict) or name not in data:
            return MISSING
        data = data[name]
    return data


def number(data: Any, path: str) -> int | Decimal | None:
    """A number of an event's data; None where there is none, true and false included, or one of too many digits."""
    value = field(data, path)
    if type(value) is int:
        return value if abs(value) < 10**DIGITS_MAX else None
    if not isinstance(value, Decimal) or not value.is_finite():
        return None
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return value if exponent >= -DIGITS_MAX and value.adjusted() < DIGITS_MAX else None


def key(data: Any, paths: tuple[str, ...]) -> str | None:
    """The values of some fields as JSON: texts, whole numbers, true and false; None where one is something else."""
    values = [field(data, path) for path in paths]
    if not all(isinstance(value, str | int) for value in values):
        return None
    text = encode(values)
    return text if len(text.encode()) <= KEY_TEXT_BYTES_MAX else None
