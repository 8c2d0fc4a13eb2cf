"""Auctions: the work goes to one bidder at a time, under tokens that grow, and is completed once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from accord.schemas.messages.auctions import (
    AuctionAnnounced,
    AuctionCancelled,
    AuctionForgotten,
    AuctionUnsold,
    AwardLost,
    AwardRenewed,
    BidPlaced,
    WorkAwarded,
    WorkCompleted,
    WorkFailed,
)
from accord.testing.simulation.judges.seen import Demand, Seen, is_overdue

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster


@dataclass
class _Auction:
    bidders: set[str] = field(default_factory=set)
    token: int | None = None
    last_token: int = 0
    announced: bool = False
    due_ms: int = 0
    ended: bool = False


def judge(cluster: Cluster, seen: Sequence[Seen], demand: Demand) -> None:
    auctions: dict[str, _Auction] = defaultdict(_Auction)
    for one in seen:
        auction, key = auctions[one.key], one.key
        for event in one.events:
            match event:
                case AuctionAnnounced(announced_ms=announced_ms, deadline_ms=deadline_ms):
                    demand(not auction.announced, f"{key} was announced twice")
                    auction.announced, auction.due_ms = True, announced_ms + deadline_ms
                case BidPlaced(bid=bid):
                    demand(auction.last_token == 0, f"a bid for {key} after its award")
                    auction.bidders.add(bid.agent)
                case WorkAwarded(agent=agent, token=token, deadline_ms=deadline_ms):
                    demand(auction.token is None, f"{key} is awarded to two at once")
                    demand(agent in auction.bidders, f"{key} is awarded to {agent}, who has no bid in it")
                    demand(token > auction.last_token, f"a token of {key} that does not grow")
                    auction.token = auction.last_token = token
                    auction.due_ms = deadline_ms
                case AwardRenewed(deadline_ms=deadline_ms):
                    auction.due_ms = deadline_ms
                case WorkCompleted(token=token):
                    demand(auction.token == token, f"{key} is completed by who does not have it")
                    auction.token, auction.ended = None, True
                case WorkFailed(token=token) | AwardLost(token=token):
                    demand(auction.token == token, f"{key} is lost by who does not have it")
                    auction.token = None
                case AuctionUnsold() | AuctionCancelled():
                    auction.token, auction.ended = None, True
                case AuctionForgotten():
                    del auctions[key]
                case _:
                    pass
    left = [
        name
        for name, auction in auctions.items()
        if auction.announced and not auction.ended and is_overdue(cluster, name, auction.due_ms)
    ]
    demand(not left, f"auctions that never end: {left}")
