"""What a bid is worth: the lower the score, the better. Exact, so no two machines rank bids differently."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Final

from accord.schemas.messages.auctions import Bid, Score, Weights

MILLION: Final = 1_000_000
BILLION: Final = 1_000_000_000
HOUR_MS: Final = 3_600_000
HUNDRED: Final = 100 * MILLION
"""A price of 100, in millionths."""
WEIGHTS: Final = Weights(400_000, 300_000, 300_000)


def score_of(bid: Bid, weights: Weights) -> Fraction:
    """price weight x price / 100 + time weight x hours - confidence weight x confidence."""
    return (
        Fraction(weights.price_millionths * bid.price_millionths, MILLION * HUNDRED)
        + Fraction(weights.time_millionths * bid.time_ms, MILLION * HOUR_MS)
        - Fraction(weights.confidence_millionths * bid.confidence_millionths, MILLION * MILLION)
    )


def scored(bids: Iterable[Bid], weights: Weights) -> tuple[list[Score], list[Fraction | None]]:
    """The bids' scores by weights: as they are recorded, in billionths, and as they are ranked, exact."""
    exact = [score_of(bid, weights) for bid in bids]
    recorded = [Score(bid.agent, round(score * BILLION)) for bid, score in zip(bids, exact, strict=True)]
    return recorded, list(exact)


def ranked(bids: Sequence[Bid], scores: Sequence[Fraction | int | None], confidence_least: int) -> tuple[str, ...]:
    """The names of those whose bids can win, the best first; of equal ones, who has bid first.

    Args:
        scores: one for each bid; None cannot win.
        confidence_least: in millionths; a bid with less cannot win.
    """
    able = [
        (score, number)
        for number, (bid, score) in enumerate(zip(bids, scores, strict=True))
        if score is not None and bid.confidence_millionths >= confidence_least
    ]
    return tuple([bids[number].agent for _, number in sorted(able)])
