"""Auctions, as methods of the hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from accord.agents.auctions import auction as auctions
from accord.agents.auctions.auction import Auction
from accord.agents.auctions.bidding import BASE_PRICE, Bidding, Bids, Runs
from accord.agents.auctions.units import Number, Scoring
from accord.agents.hub import Hub


class AuctionsHub(Hub):
    """What a hub offers of auctions."""

    async def auction(
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
        """Has agents bid for a piece of work, and returns when the log has the auction. Who wins does it.

        Args:
            description: what is to be done; text, 32 KiB at most.
            agents: names of those who may bid, 200 at most; each process of them that runs `bidder` is asked.
            reward: the most that it may cost; None: any price.
            capabilities: what a bidder must be able to do.
            weights: of `price` (in hundreds), `time` (in hours) and `confidence` in a score; .4, .3 and .3.
            confidence: bids with less cannot win.
            scoring: in place of the one by weights.
            deadline_ms: how long bids are taken, by the log's clock.
            lease_ms: after so long without a sign of life of who does the work the next bid has its turn.
            key: idempotency key and id of the auction: the same auction announced again with it is the same one, for as
                long as it is remembered. None: a new one.
            keep_ms: how long it is remembered after its end; it stays on the log.

        Raises:
            BadInput: an argument cannot be right.
            TermsDiffer: the key has another auction.
            CircularTrigger: auctions and bids bring each other about in too long a row.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        return await auctions.announce(
            self, description, agents=agents, reward=reward, capabilities=capabilities, weights=weights,
            confidence=confidence, scoring=scoring, deadline_ms=deadline_ms, lease_ms=lease_ms, key=key,
            keep_ms=keep_ms,
        )  # fmt: skip

    async def find_auction(self, auction_id: str) -> Auction:
        """An auction that was announced before, by whomever. Raises NotFound: there is none, or it ended long ago."""
        return await auctions.find(self, auction_id)

    def bidder(
        self,
        run: Runs,
        *,
        capabilities: Iterable[str] = (),
        base_price: Number = BASE_PRICE,
        bid: Bids | None = None,
        name: str | None = None,
    ) -> Bidding:
        """Bids whenever this agent is asked, and does the work that it wins, for as long as `async with` lasts.

        Args:
            run: does the work; a function, plain or async, that is given it (`auction`, `description`, `token`, `key`)
                and returns what JSON can express, 256 KiB at most.
            capabilities: what the agent is able to do. It bids if one of them stands in the description.
            base_price: of its bids without load; each award that it works on adds a fifth.
            bid: makes the bid in place of these rules; it is given the offer (`auction`, `description`, `announcer`,
                `capabilities`, `reward`, `load`, `deadline_ms`) and returns a `Bid`, or None to pass.
            name: one of several agents of this program; None: the hub's agent.

        Raises:
            BadInput: an argument cannot be right.
        """
        return Bidding(self, run, capabilities, base_price, bid, name)
