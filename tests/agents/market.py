"""The market of three agents that several tests have: who they are, and what their bids are worth."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from accord.agents.auctions.bidding import Bidding, Runs
from accord.agents.client import Accord
from accord.schemas.messages.auctions import AuctionRead

AGENTS: dict[str, tuple[tuple[str, ...], int]] = {
    "python_expert": (("python", "code", "algorithm"), 60),
    "writer": (("write", "content", "documentation"), 40),
    "generalist": (("python", "write", "research"), 50),
}
SORT = "Write Python code for sorting"
DOCUMENT = "Write documentation for the API"
RESEARCH = "Research best practices for testing"


async def open_market(stack: AsyncExitStack, hub: Accord, runs: dict[str, Runs]) -> dict[str, Bidding]:
    """All three, bidding on one hub; each with its function."""
    bidders = {}
    for name, (capabilities, base_price) in AGENTS.items():
        bidder = hub.bidder(runs[name], capabilities=capabilities, base_price=base_price, name=name)
        bidders[name] = await stack.enter_async_context(bidder)
    return bidders


def scores(read: AuctionRead) -> dict[str, Any]:
    """The scores of an auction, to four digits."""
    return {score.agent: round((score.score_billionths or 0) / 1e9, 4) for score in read.scores}
