"""Auctions on a real Kafka: the market of three with its exact figures, and processes that die at every step."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from accord.agents.auctions.bidding import Work
from accord.replay.auctions import auction_at

from accord import Accord, Bid, replay
from accord.settings import Settings
from tests.agents.bid_member import LEASE_MS, POINTS, scoring_of
from tests.agents.market import AGENTS, DOCUMENT, RESEARCH, SORT, open_market, scores
from tests.agents.on_kafka import environment, worker_on
from tests.agents.support import run
from tests.agents.test_tasks import until
from tests.counts import long, only_long

WAIT_MS = 25_000
DEADLINE_MS = 4_000


@pytest.fixture(scope="module")
def settings(accord_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with worker_on(accord_kafka, tmp_path_factory.mktemp("worker"), "auctions", "signals") as settings:
        yield settings


def test_the_market_of_three(settings: Settings) -> None:
    async def main() -> None:
        busy = asyncio.Event()

        async def works(work: Work) -> str:
            if work.auction == "first":
                await busy.wait()
            return "done"

        async with Accord(settings=settings, agent="boss") as hub, AsyncExitStack() as stack:
            bidders = await open_market(stack, hub, dict.fromkeys(AGENTS, works))
            first = await hub.auction(SORT, agents=AGENTS, key="first")
            award = await first.award(wait_ms=WAIT_MS)
            assert award is not None and award.agent_name == "generalist"
            assert scores(await first.look()) == {"python_expert": 0.0256, "writer": 0.0214, "generalist": -0.0144}
            await until(lambda: bidders["generalist"].load)
            second = await hub.auction(SORT, agents=AGENTS)
            third = await hub.auction(DOCUMENT, agents=AGENTS)
            fourth = await hub.auction(RESEARCH, agents=AGENTS)
            assert (await second.award(wait_ms=WAIT_MS)).agent_name == "writer"  # type: ignore[union-attr]
            assert (await third.award(wait_ms=WAIT_MS)).agent_name == "writer"  # type: ignore[union-attr]
            assert (await fourth.award(wait_ms=WAIT_MS)).agent_name == "generalist"  # type: ignore[union-attr]
            assert scores(await third.look())["writer"] in (-0.0544, round(-0.0544 + 0.4 * 8 / 100, 4))
            busy.set()
            await first.result(wait_ms=WAIT_MS)
            await until(lambda: not any(bidder.load for bidder in bidders.values()))
            again = await hub.auction(DOCUMENT, agents=AGENTS)
            await again.result(wait_ms=WAIT_MS)
            assert scores(await again.look()) == {"writer": -0.0544, "generalist": 0.0614}

    run(main())


def test_the_lowest_of_three_bids(settings: Settings) -> None:
    given = {"ada": (80, 5, 0.9), "bob": (60, 3, 0.7), "cleo": (90, 4, 0.9)}

    async def main() -> None:
        async with Accord(settings=settings, agent="boss") as hub, AsyncExitStack() as stack:
            for name, terms in given.items():
                bid = lambda _, name=name, terms=terms: Bid(name, *terms)  # noqa: E731
                await stack.enter_async_context(hub.bidder(lambda _: "done", bid=bid, name=name))
            auction = await hub.auction("anything", agents=given)
            assert await auction.result(wait_ms=WAIT_MS) == "done"
            read = await auction.look()
            assert read.winner == "bob" and scores(read) == {"ada": 0.075, "bob": 0.045, "cleo": 0.11}

    run(main())


@only_long
@pytest.mark.parametrize("point", POINTS)
def test_a_bidder_that_dies_leaves_the_work_to_the_next_one(point: str, settings: Settings, tmp_path: Path) -> None:
    effects, key = tmp_path / "effects", f"dies-{point}"
    effects.touch()
    dying = subprocess.Popen(
        [sys.executable, "-m", "tests.agents.bid_member", point, key, str(effects)],
        env=environment(settings),
        stdout=subprocess.PIPE,
    )
    assert dying.stdout is not None and dying.stdout.readline() == b"ready\n"

    def works(work: Work) -> str:
        with effects.open("a") as file:
            file.write("bob\n")
        return "bob"

    async def main() -> str:
        async with Accord(settings=settings, agent="boss") as hub:
            async with hub.bidder(works, bid=lambda _: Bid("bob", 2, 1, 0.9), name="bob"):
                auction = await hub.auction(
                    "who?", agents=["ada", "bob"], key=key, deadline_ms=DEADLINE_MS, lease_ms=LEASE_MS
                )
                result = await auction.result(wait_ms=WAIT_MS)
            assert dying.wait(20) == -9
            return str(result)

    try:
        result = asyncio.run(asyncio.wait_for(main(), 60))
    finally:
        dying.kill()
        dying.communicate()
    done = {"asked": ["bob"], "bidding": ["bob"], "worked": ["ada", "bob"], "told": ["ada"], "recorded": ["ada"]}
    assert effects.read_text().split() == done.get(point, ["bob"])
    with replay.open(settings) as log:
        view = auction_at(log.source, key)
    assert view is not None
    ended = [(award.agent, award.ended) for award in view.awards]
    assert ended == {
        "asked": [("bob", "completed")], "bidding": [("bob", "completed")], "told": [("ada", "completed")],
        "recorded": [("ada", "completed")],
    }.get(point, [("ada", "lost"), ("bob", "completed")])  # fmt: skip
    assert result == view.winner


@long
@pytest.mark.parametrize("point", ["announced", "scoring"])
def test_an_auction_outlives_its_announcer(point: str, settings: Settings, tmp_path: Path) -> None:
    key = f"orphan-{point}"
    dying = subprocess.Popen(
        [sys.executable, "-m", "tests.agents.bid_member", point, key, str(tmp_path)], env=environment(settings)
    )

    async def main() -> None:
        async with Accord(settings=settings, agent="boss") as hub:  # noqa: SIM117
            async with hub.bidder(lambda _: "bob", bid=lambda _: Bid("bob", 2, 1, 0.9), name="bob"):
                assert await asyncio.to_thread(dying.wait, 25) == -9
                scoring = scoring_of("") if point == "scoring" else None
                auction = await hub.auction(
                    "is boss there?", agents=["bob"], key=key, scoring=scoring, lease_ms=LEASE_MS
                )
                assert await auction.result(wait_ms=WAIT_MS) == "bob"

    try:
        asyncio.run(asyncio.wait_for(main(), 60))
    finally:
        dying.kill()
        dying.wait()
