"""What a flow may be, and how much of it is kept: all bounds in one place."""

from __future__ import annotations

from typing import Any, Final

from accord.schemas.topics import KEY_BYTES_MAX

from accord.errors import BadInput

NAME_CHARS_MAX: Final = 100
"""Of a flow's name."""
SOURCES_MAX: Final = 16
FIELDS_MAX: Final = 8
"""Fields in a key."""
FIELD_CHARS_MAX: Final = 200
AGGREGATES_MAX: Final = 32
MS_MAX: Final = 400 * 24 * 3_600_000
"""Longest window, lateness and reach of a join: 400 days."""
HOPS_MAX: Final = 100
"""Hopping windows that one event can be in."""
OPEN_DEFAULT: Final = 10_000
OPEN_MAX: Final = 100_000
"""Open windows of a flow, and events that a sliding window or a join holds."""
HELD_BYTES_MAX: Final = 16 << 20
"""Of the data of the events that a sliding window or a join holds."""
FOLDED_BYTES_MAX: Final = 16 << 10
"""What one `fold` keeps of one window, as JSON."""
RESULT_BYTES_MAX: Final = 850_000
"""A result is an event: a decision must hold its data."""
KEY_TEXT_BYTES_MAX: Final = 1_024
"""A key, as JSON; events with a longer one are passed over and counted."""
AHEAD_MS_MAX: Final = 24 * 3_600_000
"""How far an event's own time may lie ahead of the log's; events beyond it are passed over and counted."""
CAUSES_MAX: Final = 2
"""Positions that a result names: of the first and the last event in it."""
STARTS_BYTES_MAX: Final = 512
"""Of where a flow starts, in its definition as JSON."""


def check_ms(what: str, ms: Any, least: int) -> int:
    """Whole milliseconds, from `least` on. Raises BadInput."""
    if type(ms) is not int or not least <= ms <= MS_MAX:
        raise BadInput(
            f"{what}={ms!r}: a whole number of ms from {least} to {MS_MAX} is needed.", remedy="A minute is 60_000."
        )
    return ms


def check_count(what: str, count: Any, most: int) -> int:
    """A whole number from 1 to `most`. Raises BadInput."""
    if type(count) is not int or not 1 <= count <= most:
        raise BadInput(f"{what}={count!r}: a whole number from 1 to {most} is needed.")
    return count


def check_text(what: str, text: Any, chars_max: int) -> str:
    """Text of 1 to `chars_max` characters and 255 bytes of UTF-8. Raises BadInput."""
    if not isinstance(text, str) or not 0 < len(text) <= chars_max:
        raise BadInput(f"{what} {str(text)[:40]!r}: text of 1 to {chars_max} characters is needed.")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise BadInput(f"{what} {text!r} is no text that UTF-8 can write.") from None
    if size > KEY_BYTES_MAX:
        raise BadInput(f"{what} {text[:40]!r} has {size} bytes; at most {KEY_BYTES_MAX} are allowed.")
    return text
