"""Auctions for plain functions, and as methods of the sync hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final

from accord.agents.auctions import auction as auctions
from accord.agents.auctions.auction import Award
from accord.agents.auctions.bidding import BASE_PRICE, Bidding, Bids, Runs
from accord.agents.auctions.units import Number, Scoring
from accord.agents.sync import SyncHub
from accord.schemas.messages.auctions import AuctionRead
from anyio.from_thread import BlockingPortal


class Auction:
    """An auction; see `accord.agents.auctions.auction.Auction`, whose arguments and errors these have."""

    def __init__(self, loop: BlockingPortal, auction: auctions.Auction) -> None:
        self._loop = loop
        self._auction = auction
        self.id: Final = auction.id

    def award(self, *, wait_ms: int | None = None) -> Award | None:
        """Who does the work, once bidding is over; None: it ended without that."""
        return self._loop.call(partial(self._auction.award, wait_ms=wait_ms))

    def result(self, *, wait_ms: int | None = None) -> Any:
        """What the work brought, once it is done."""
        return self._loop.call(partial(self._auction.result, wait_ms=wait_ms))

    def look(self) -> AuctionRead:
        """How it stands."""
        return self._loop.call(self._auction.look)

    def cancel(self, reason: str = "") -> bool:
        """Ends it; False: it had ended before."""
        return self._loop.call(self._auction.cancel, reason)


class SyncAuctionsHub(SyncHub):
    """What a sync hub offers of auctions."""

    def auction(
        self,
        description: str,
        *,
        agents: Iterable[str],
        reward: Number | None = None,
        capabilities: Iterable[str] = (),
        weights: Mapping[str, Number] | None = None,
        confidence: Number = auctions.CONFIDENCE,
        scoring: Scoring | None = None,
        deadline_ms: int = auctions.DEADLINE_MS,
        lease_ms: int = auctions.LEASE_MS,
        key: str | None = None,
        keep_ms: int = auctions.KEEP_MS,
    ) -> Auction:
        """Has agents bid for a piece of work; as `accord.Accord.auction`."""
        self.ensure_open("auction()")
        make = partial(
            auctions.announce, self, description, agents=agents, reward=reward, capabilities=capabilities,
            weights=weights, confidence=confidence, scoring=scoring, deadline_ms=deadline_ms, lease_ms=lease_ms,
            key=key, keep_ms=keep_ms,
        )  # fmt: skip
        return Auction(self._loop, self._loop.call(make))

    def find_auction(self, auction_id: str) -> Auction:
        """An auction that was announced before; as `accord.Accord.find_auction`."""
        self.ensure_open("find_auction()")
        return Auction(self._loop, self._loop.call(partial(auctions.find, self, auction_id)))

    def bidder(
        self,
        run: Runs,
        *,
        capabilities: Iterable[str] = (),
        base_price: Number = BASE_PRICE,
        bid: Bids | None = None,
        name: str | None = None,
    ) -> AbstractContextManager[Bidding]:
        """Bids and works, for as long as `with` lasts; as `accord.Accord.bidder`."""
        self.ensure_open("bidder()")
        return self._loop.wrap_async_context_manager(Bidding(self, run, capabilities, base_price, bid, name))
