"""A process that bids, works or announces and kills itself, -9, at a named point: `python -m tests.agents.bid_member
POINT KEY EFFECTS`, settings from the environment. What work does outside is a line in the file EFFECTS.

Points of a bidder: `asked` (the signal has come), `bidding` (it makes its bid), `placed` (the log has the bid),
`awarded` (the log has given it the work), `worked` (the work has had its effect), `told` (its result is on its way),
`recorded` (the log has it). `announced` and `scoring` (the log wants scores) are the announcer's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accord.agents import telling
from accord.agents.auctions import bidding
from accord.agents.auctions.bidding import Bidding, Offer, Work, _Award
from accord.agents.hub import Hub
from accord.schemas.messages import Command
from accord.schemas.messages.auctions import CompleteWork

from accord import Accord, Bid, Scoring

POINTS = ("asked", "bidding", "placed", "awarded", "worked", "told", "recorded")
LEASE_MS = 2_000


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(Bidding):
    """A bidder that dies at a point."""

    point = ""
    key = ""
    """The auction at which it dies; it may be asked again about others."""

    async def _asked(self, asked: Mapping[str, Any]) -> None:
        if asked["auction"] != self.key:
            return
        if self.point == "asked":
            die()
        await super()._asked(asked)
        if self.point == "placed":
            die()

    def _start(self, award: _Award) -> None:
        if self.point == "awarded":
            die()
        super()._start(award)


async def tell(hub: Hub, domain: str, key: str, command: Command, needed: Callable[[], bool]) -> None:
    """In the place of the bidder's way to tell what came of its work."""
    if Dying.point == "worked":
        die()
    if Dying.point == "told" and isinstance(command, CompleteWork):
        hub.connection.submit(domain, key, command)
        hub.connection._sender.close(5)  # type: ignore[union-attr]
        die()
    await telling.tell(hub, domain, key, command, needed)
    if Dying.point == "recorded":
        die()


def scoring_of(point: str) -> Scoring:
    """The cheapest; its announcer may die when it is asked."""

    def cheapest(bid: Bid) -> Any:
        if point == "scoring":
            die()
        return bid.price

    return Scoring("cheapest", "1", cheapest)


async def main(point: str, key: str, effects: Path) -> None:
    if point in ("announced", "scoring"):
        async with Accord(agent="boss") as hub:
            scoring = scoring_of(point) if point == "scoring" else None
            await hub.auction("is boss there?", agents=["bob"], key=key, scoring=scoring, lease_ms=LEASE_MS)
            if point == "announced":
                die()
            print("ready", flush=True)
            await asyncio.Event().wait()

    def bid(offer: Offer) -> Bid:
        if point == "bidding":
            die()
        return Bid("ada", 1, 1, 0.9)

    def work(work: Work) -> str:
        with effects.open("a") as file:
            file.write("ada\n")
        return "ada"

    async with Accord(agent="ada") as hub:
        Dying.point, Dying.key = point, key
        bidding.tell = tell
        async with Dying(hub, work, (), 1, bid, None):
            print("ready", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
