"""Agents that announce work, bid for it, and do it, fail or die."""

from __future__ import annotations

import contextlib
import json

from accord.schemas.messages.auctions import (
    AnnounceAuction,
    AuctionAnnounced,
    AuctionCancelled,
    AuctionUnsold,
    CompleteWork,
    FailWork,
    PlaceBid,
    RenewAward,
    Weights,
    WorkAwarded,
    WorkCompleted,
)
from accord.testing.simulation.client import Client, NoAnswer

EVEN = Weights(333_333, 333_333, 333_334)


async def announcer(client: Client) -> None:
    """Announces work; in the name of bidders it also bids and works, each in a process of thought of its own."""
    number = 0
    while client.going:
        number += 1
        with contextlib.suppress(NoAnswer):
            await _auction(client, f"work-{client.process.name}-{number}")
        await client.rest(25_000)


async def _auction(client: Client, name: str) -> None:
    chance = client.random
    bidders = tuple(f"bidder-{number}" for number in range(3))
    announce = AnnounceAuction(
        client.name, json.dumps("dig"), bidders, ("dig",), None, EVEN, 0, None, 6_000, 5_000, 5_000, 60_000, ()
    )
    async with client.watch("auctions", name) as watch:
        announced = await client.ask("auctions", name, announce)
        if not any(isinstance(event, AuctionAnnounced) for event in announced.events):
            return
        for bidder in bidders:
            await client.pause(0, 3_000)
            if chance.random() < 0.8:
                bid = PlaceBid(bidder, f"{bidder}#1", chance.randint(1, 9) * 1_000_000, 1_000, 900_000, 0, ("dig",))
                await client.ask("auctions", name, bid)
        ends = (WorkAwarded, WorkCompleted, AuctionUnsold, AuctionCancelled)
        while True:
            found = await watch.until(lambda e: isinstance(e, ends), 60_000)
            if found is None or not isinstance(found[1], WorkAwarded):
                return
            await _work(client, name, found[1])


async def _work(client: Client, name: str, award: WorkAwarded) -> None:
    chance = client.random
    for _ in range(chance.randint(0, 2)):
        await client.pause(0, 4_000)
        await client.ask("auctions", name, RenewAward(award.agent, award.token))
    match chance.randrange(5):
        case 0:
            await client.ask("auctions", name, FailWork(award.agent, award.token, "Oops", "broken spade"))
        case 1:
            pass  # it is gone: the lease ends
        case _:
            await client.ask("auctions", name, CompleteWork(award.agent, award.token, '"dug"'))
