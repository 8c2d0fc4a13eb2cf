"""The data of signals: JSON objects, of bounded nesting, whose numbers are read exactly."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

import msgspec

NESTING_MAX: Final = 64
"""Deepest nesting of an event's data. The parser's own limit is what is left of the process's stack: the same data
would be decided differently here and there."""

_STRING: Final = re.compile(r'"(?:[^"\\]+|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, or the rest of the text when it does not end: so that no text takes more than one pass."""
_BRACKET: Final = re.compile(r"[\[\]{}]")
_exact: Final = msgspec.json.Decoder(float_hook=Decimal)


def is_json_object(text: str) -> bool:
    """Whether a text is a JSON object that nests no deeper than `NESTING_MAX`."""
    if nesting(text, NESTING_MAX) > NESTING_MAX:
        return False
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return False
    return True


def nesting(text: str, most: int) -> int:
    """How deep brackets nest outside strings, at least that up to where the text stops being JSON; 0 where they are too
    few to nest deeper than `most`."""
    if text.count("[") + text.count("{") <= most:
        return 0
    deepest = depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def exact(text: str) -> Any:
    """JSON as plain data, numbers with a point or an exponent as Decimal.

    Raises:
        ValueError: the text is no JSON, or has a number beyond all measure.
    """
    try:
        return _exact.decode(text)
    except (msgspec.DecodeError, ArithmeticError) as error:
        raise ValueError(f"it cannot be read as JSON: {error}") from error
