"""Why work was awarded to one of those who bid, or to nobody."""

from __future__ import annotations

from typing import Final

from accord.replay.explain.case import Case, Reason, Reasons, where

LISTED_MAX: Final = 20


def _awarded(case: Case) -> list[Reason]:
    announced = case.last("AuctionAnnounced")
    found = [] if announced is None else [Reason("it was announced", announced.position)]
    lost = case.last("AwardLost", "WorkFailed")
    if lost is not None:
        found.append(Reason(f"who had it before has not done it: {lost.agent}, {lost.event}", lost.position))
    scored = next((one for one in case.decided if one.event == "BidsScored"), None) or case.last("BidsScored")
    if scored is not None and scored.position != case.event.position:
        found.append(Reason("the bids were scored", scored.position))
    return found + _bids(case)


def _bids(case: Case) -> list[Reason]:
    found = []
    for bid in case.listed("bids")[:LISTED_MAX]:
        placed = case.last("BidPlaced", bid=bid)
        text = (
            f"{bid['agent']} bid {bid['price_millionths'] / 1e6:g} for {bid['time_ms'] / 60_000:g} min, confidence "
            f"{bid['confidence_millionths'] / 1e6:g}"
        )
        found.append(Reason(text, where(placed)))
    return found


def _unsold(case: Case) -> list[Reason]:
    return [Reason(case.data["reason"]), *_bids(case)]


REASONS: Final[Reasons] = {"WorkAwarded": _awarded, "AuctionUnsold": _unsold}
