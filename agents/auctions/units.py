"""Prices, times and confidences as programs write them, and as the log has them: whole numbers of a small unit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

from accord.schemas.messages import auctions
from accord.streams.auctions.bounds import MILLION, PRICE_MAX, TIME_MS_MAX

from accord.errors import BadInput

MINUTE_MS: Final = 60_000
BILLION: Final = 1_000_000_000

Number = int | float | str | Decimal | Fraction


class Bid(NamedTuple):
    """A bid. `estimated_time` is in minutes, `confidence` 0 to 1; `load` is how many awards the bidder works on."""

    agent_name: str
    price: Number
    estimated_time: Number
    confidence: Number
    load: int = 0


class Scoring(NamedTuple):
    """A scoring of the announcer's own. `score` must depend on the bid alone; its result, the lower the better, or None
    for a bid that cannot win, is recorded with `name` and `version`, to the billionth."""

    name: str
    version: str
    score: Callable[[Bid], Number | None]

    @property
    def named(self) -> auctions.Scoring:
        return auctions.Scoring(self.name, self.version)


def exact(name: str, value: Any) -> Fraction:
    """A number without rounding: of a float what it prints. Raises BadInput: it is none."""
    try:
        if isinstance(value, bool):
            raise ValueError(value)
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise BadInput(f"{name}={value!r}: a number is needed.") from None


def millionths(name: str, value: Any, most: int = PRICE_MAX) -> int:
    """A number of 0 or more in millionths. Raises BadInput: it is none, or too large."""
    found = round(exact(name, value) * MILLION)
    if not 0 <= found <= most:
        raise BadInput(f"{name}={value!r}: 0 to {most // MILLION} is possible.")
    return found


def recorded(bid: Bid) -> tuple[int, int, int]:
    """Price in millionths, time in ms, confidence in millionths. Raises BadInput: one of them cannot be."""
    time_ms = round(exact("estimated_time", bid.estimated_time) * MINUTE_MS)
    if not 0 <= time_ms <= TIME_MS_MAX:
        raise BadInput(f"estimated_time={bid.estimated_time!r}: 0 to {TIME_MS_MAX // MINUTE_MS} minutes are possible.")
    return millionths("price", bid.price), time_ms, millionths("confidence", bid.confidence, MILLION)


def told(bid: auctions.Bid) -> Bid:
    """A bid of the log, exact."""
    return Bid(
        bid.agent,
        Fraction(bid.price_millionths, MILLION),
        Fraction(bid.time_ms, MINUTE_MS),
        Fraction(bid.confidence_millionths, MILLION),
        bid.load,
    )
