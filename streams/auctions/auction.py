"""An auction: its terms, its bids, who does the work, and what events make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from accord.schemas.messages import Event
from accord.schemas.messages.auctions import (
    AuctionAnnounced,
    AuctionCancelled,
    AuctionForgotten,
    AuctionKnown,
    AuctionRead,
    AuctionRefused,
    AuctionUnknown,
    AuctionUnsold,
    AwardLost,
    AwardRenewed,
    Bid,
    BidderPassed,
    BidPlaced,
    BidRefused,
    BidsScored,
    CancelRefused,
    PassRefused,
    RenewalRefused,
    ResultIgnored,
    Score,
    ScoresRefused,
    ScoresWanted,
    Scoring,
    Weights,
    WorkAwarded,
    WorkCompleted,
    WorkFailed,
)

OPEN: Final = "open"
SCORING: Final = "scoring"
RUNNING: Final = "running"
COMPLETED: Final = "completed"
UNSOLD: Final = "unsold"
CANCELLED: Final = "cancelled"
STATUSES: Final = (OPEN, SCORING, RUNNING, COMPLETED, UNSOLD, CANCELLED)

_replace: Final = msgspec.structs.replace


class Auction(msgspec.Struct, frozen=True):
    """An auction. `bids` are in the order in which they came; `order` names whose turn it may still be, the next first.

    `due_ms` is when, by its status, bidding closes, the scores are late, or the lease ends.
    """

    agent: str
    description: str
    bidders: tuple[str, ...]
    capabilities: tuple[str, ...]
    reward_millionths: int | None
    weights: Weights
    confidence_least_millionths: int
    scoring: Scoring | None
    deadline_ms: int
    scoring_ms: int
    lease_ms: int
    keep_ms: int
    due_ms: int
    bids: tuple[Bid, ...] = ()
    passed: tuple[str, ...] = ()
    scores: tuple[Score, ...] = ()
    order: tuple[str, ...] = ()
    winner: str = ""
    token: int | None = None
    result: str | None = None
    status: str = OPEN
    reason: str = ""
    ended_ms: int | None = None

    @property
    def has_ended(self) -> bool:
        return self.ended_ms is not None

    @property
    def has_all_answers(self) -> bool:
        return len(self.bids) + len(self.passed) == len(self.bidders)

    def has_answered(self, name: str) -> bool:
        return name in self.passed or any(bid.agent == name for bid in self.bids)

    @property
    def who_bid(self) -> tuple[str, ...]:
        return tuple([bid.agent for bid in self.bids])

    @property
    def members(self) -> tuple[str, ...]:
        """The processes that bid."""
        return tuple([bid.member for bid in self.bids])

    def bid(self, name: str) -> Bid:
        return next(bid for bid in self.bids if bid.agent == name)


def evolve(state: Auction | None, event: Event) -> Auction | None:
    """The auction after an event."""
    change = _CHANGES.get(type(event))
    if change is None:
        raise TypeError(f"the auctions domain has no event {type(event).__name__}")
    return change(state, event)


def _announced(_: Auction | None, e: AuctionAnnounced) -> Auction:
    return Auction(
        e.agent, e.description, e.bidders, e.capabilities, e.reward_millionths, e.weights,
        e.confidence_least_millionths, e.scoring, e.deadline_ms, e.scoring_ms, e.lease_ms, e.keep_ms,
        e.announced_ms + e.deadline_ms,
    )  # fmt: skip


def _placed(auction: Auction, e: BidPlaced) -> Auction:
    return _replace(auction, bids=(*auction.bids, e.bid))


def _passed(auction: Auction, e: BidderPassed) -> Auction:
    return _replace(auction, passed=(*auction.passed, e.agent))


def _wanted(auction: Auction, e: ScoresWanted) -> Auction:
    return _replace(auction, status=SCORING, due_ms=e.due_ms)


def _scored(auction: Auction, e: BidsScored) -> Auction:
    return _replace(auction, scores=e.scores, order=e.order)


def _awarded(auction: Auction, e: WorkAwarded) -> Auction:
    order = auction.order[1:]
    return _replace(auction, status=RUNNING, winner=e.agent, token=e.token, due_ms=e.deadline_ms, order=order)


def _renewed(auction: Auction, e: AwardRenewed) -> Auction:
    return _replace(auction, due_ms=e.deadline_ms)


def _completed(auction: Auction, e: WorkCompleted) -> Auction:
    return _replace(auction, status=COMPLETED, result=e.result, ended_ms=e.ended_ms)


def _unsold(auction: Auction, e: AuctionUnsold) -> Auction:
    return _replace(auction, status=UNSOLD, reason=e.reason, ended_ms=e.ended_ms)


def _cancelled(auction: Auction, e: AuctionCancelled) -> Auction:
    return _replace(auction, status=CANCELLED, reason=e.reason, ended_ms=e.ended_ms)


def _forgotten(_: Auction, __: AuctionForgotten) -> None:
    return None


def _unchanged(auction: Auction | None, _: Event) -> Auction | None:
    return auction


_CHANGES: Final[Mapping[type[Event], Callable[[Any, Any], Auction | None]]] = {
    AuctionAnnounced: _announced,
    AuctionKnown: _unchanged,
    AuctionRefused: _unchanged,
    AuctionUnknown: _unchanged,
    BidPlaced: _placed,
    BidRefused: _unchanged,
    BidderPassed: _passed,
    PassRefused: _unchanged,
    ScoresWanted: _wanted,
    ScoresRefused: _unchanged,
    BidsScored: _scored,
    WorkAwarded: _awarded,
    AwardRenewed: _renewed,
    RenewalRefused: _unchanged,
    WorkCompleted: _completed,
    WorkFailed: _unchanged,
    AwardLost: _unchanged,
    ResultIgnored: _unchanged,
    AuctionUnsold: _unsold,
    AuctionCancelled: _cancelled,
    CancelRefused: _unchanged,
    AuctionForgotten: _forgotten,
    AuctionRead: _unchanged,
}
