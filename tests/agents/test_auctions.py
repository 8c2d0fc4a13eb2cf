"""Auctions by programs: bids, scores, awards, winners that fail, are lost or are cancelled."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from fractions import Fraction
from typing import Any

import pytest
from accord.agents.auctions.bidding import Offer, Work, default_bid
from accord.agents.auctions.units import Bid, Scoring, exact, recorded
from accord.streams.auctions.bounds import DESCRIPTION_BYTES_MAX
from accord.streams.auctions.decider import asks

from accord import sync
from accord.embedded import Embedded
from accord.errors import BadInput, Denied, NotConnected, NotFound, TermsDiffer, Unavailable, Unsold
from tests.agents.market import AGENTS, DOCUMENT, RESEARCH, SORT, open_market, scores
from tests.agents.test_tasks import MakeHub, in_loop, until

ANSWERS = ("events", "inbox")
WAIT_MS = 20_000


def offer(description: str, load: int = 0) -> Offer:
    return Offer("a-1", description, "boss", (), None, load, 30_000)


def bids_at(price: Any) -> Any:
    return lambda asked: Bid("", price, 10, 0.9)


@in_loop
async def test_the_market_of_three(make_hub: MakeHub) -> None:
    """Exact figures; who works is loaded, and costs more, until it is done."""
    busy = asyncio.Event()

    async def works(work: Work) -> str:
        if work.auction == "first":
            await busy.wait()
        return f"{work.description}: done"

    async with make_hub("boss") as hub, AsyncExitStack() as stack:
        bidders = await open_market(stack, hub, dict.fromkeys(AGENTS, works))
        first = await hub.auction(SORT, agents=AGENTS, key="first")
        award = await first.award(wait_ms=WAIT_MS)
        assert award is not None and (award.agent_name, award.price) == ("generalist", 50)
        assert scores(await first.look()) == {"python_expert": 0.0256, "writer": 0.0214, "generalist": -0.0144}
        await until(lambda: bidders["generalist"].load)
        second = await hub.auction(SORT, agents=AGENTS)
        assert await second.result(wait_ms=WAIT_MS) == f"{SORT}: done"
        read = await second.look()
        assert read.winner == "writer" and scores(read)["generalist"] == 0.0256
        assert {bid.agent: bid.load for bid in read.bids} == {"python_expert": 0, "writer": 0, "generalist": 1}
        busy.set()
        assert await first.result(wait_ms=WAIT_MS) == f"{SORT}: done"
        await until(lambda: not bidders["generalist"].load)
        third = await hub.auction(DOCUMENT, agents=AGENTS)
        await third.result(wait_ms=WAIT_MS)
        assert scores(read := await third.look()) == {"writer": -0.0544, "generalist": 0.0614}
        assert read.winner == "writer"
        fourth = await hub.auction(RESEARCH, agents=AGENTS)
        await fourth.result(wait_ms=WAIT_MS)
        assert [bid.agent for bid in (await fourth.look()).bids] == ["generalist"]


@in_loop
async def test_bids_of_ones_own(make_hub: MakeHub) -> None:
    given = {"ada": (80, 5, 0.9), "bob": (60, 3, 0.7), "cleo": (90, 4, 0.9)}
    async with make_hub("boss") as hub, AsyncExitStack() as stack:
        for name, terms in given.items():
            made = hub.bidder(
                lambda work: work.token, bid=lambda _, terms=terms, name=name: Bid(name, *terms), name=name
            )
            await stack.enter_async_context(made)
        auction = await hub.auction("anything", agents=given)
        award = await auction.award(wait_ms=WAIT_MS)
        assert award is not None and (award.agent_name, award.price) == ("bob", 60)
        assert await auction.result(wait_ms=WAIT_MS) == award.token
        assert scores(await auction.look()) == {"ada": 0.075, "bob": 0.045, "cleo": 0.11}
        cheap = await hub.auction("anything", agents=given, reward=59.99)
        with pytest.raises(Unsold, match="nobody bid") as unsold:
            await cheap.result(wait_ms=WAIT_MS)
        assert unsold.value.details["reason"] == "no_bids" and await cheap.award() is None
        sure = await hub.auction("anything", agents=given, confidence=0.95)
        with pytest.raises(Unsold, match="no bid can win"):
            await sure.result(wait_ms=WAIT_MS)
        fast = await hub.auction("anything", agents=given, weights={"price": 0, "time": 1, "confidence": 0})
        assert (await fast.award(wait_ms=WAIT_MS)).agent_name == "bob"  # type: ignore[union-attr]
        skilled = await hub.auction("anything", agents=given, capabilities=["sing"])
        with pytest.raises(Unsold):
            await skilled.result(wait_ms=WAIT_MS)


@in_loop
async def test_if_the_winner_fails_the_next_one_works(make_hub: MakeHub) -> None:
    ran: list[tuple[str, str]] = []

    def fails(work: Work) -> None:
        ran.append(("ada", work.key))
        raise ValueError("no use")

    def works(work: Work) -> dict[str, Any]:
        assert threading.current_thread() is not threading.main_thread(), "a plain function has a thread"
        ran.append(("bob", work.key))
        return {"token": work.token}

    async with make_hub("boss") as hub:
        async with hub.bidder(fails, bid=bids_at(1), name="ada") as ada, hub.bidder(works, bid=bids_at(2), name="bob"):
            auction = await hub.auction("try", agents=["ada", "bob"], key="try")
            result = await auction.result(wait_ms=WAIT_MS)
            assert [name for name, _ in ran] == ["ada", "bob"] and len({key for _, key in ran}) == 2
            read = await auction.look()
            assert (read.winner, read.token) == ("bob", result["token"])
            assert (await auction.award()).agent_name == "ada", "the first one"  # type: ignore[union-attr]
            await until(lambda: not ada.load)
        async with (
            hub.bidder(fails, bid=bids_at(1), name="ada"),
            hub.bidder(lambda _: {1, 2}, bid=bids_at(2), name="bob"),
        ):
            auction = await hub.auction("try", agents=["ada", "bob"])
            with pytest.raises(Unsold, match="all who could win have failed"):
                await auction.result(wait_ms=WAIT_MS)


@in_loop
async def test_a_lost_lease_gives_the_work_to_the_next_one(make_hub: MakeHub, embedded: Embedded) -> None:
    """The winner's renewals come too late; it is cancelled, and its word would not count."""
    ended: list[str] = []

    async def hangs(work: Work) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(work.auction)

    async with (
        make_hub("boss") as hub,
        hub.bidder(hangs, bid=bids_at(1), name="ada") as ada,
        hub.bidder(lambda _: "done", bid=bids_at(2), name="bob"),
    ):
        auction = await hub.auction("slow", agents=["ada", "bob"], lease_ms=600_000)
        await auction.award(wait_ms=WAIT_MS)
        await until(lambda: ada.load)
        await asyncio.to_thread(embedded.advance, 600_000)
        assert await auction.result(wait_ms=WAIT_MS) == "done"
        await until(lambda: ended == [auction.id] and not ada.load)
        read = await auction.look()
        assert (read.winner, read.status) == ("bob", "completed")


@in_loop
async def test_a_lease_is_renewed_while_the_work_goes_on(make_hub: MakeHub) -> None:
    async with make_hub("boss") as hub, hub.bidder(lambda _: wait.wait(10), bid=bids_at(1), name="ada"):
        wait = threading.Event()
        auction = await hub.auction("long", agents=["ada"], lease_ms=2_000)
        award = await auction.award(wait_ms=WAIT_MS)
        before = (await auction.look()).due_ms
        async with asyncio.timeout(20):
            while (await auction.look()).due_ms == before:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        wait.set()
        assert await auction.result(wait_ms=WAIT_MS) is True
        assert award is not None and (await auction.look()).token == award.token


@in_loop
async def test_cancelling_stops_the_work(make_hub: MakeHub) -> None:
    stopped = asyncio.Event()

    async def hangs(work: Work) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with make_hub("boss") as boss, make_hub("eve") as eve, boss.bidder(hangs, bid=bids_at(1), name="ada") as ada:
        auction = await boss.auction("stop", agents=["ada"], key="stop")
        await auction.award(wait_ms=WAIT_MS)
        await until(lambda: ada.load)
        found = await eve.find_auction("stop")
        assert (await found.award()).agent_name == "ada"  # type: ignore[union-attr]
        with pytest.raises(Denied, match="eve cannot cancel stop: boss has announced it"):
            await found.cancel("mine")
        assert await auction.cancel("no need") is True
        await asyncio.wait_for(stopped.wait(), 20)
        assert await auction.cancel() is False
        for one in (auction, await eve.find_auction("stop")):
            with pytest.raises(Unsold) as unsold:
                await one.result(wait_ms=WAIT_MS)
            assert unsold.value.details["reason"] == "cancelled"
        await until(lambda: not ada.load and not ada._watches)


@in_loop
async def test_who_leaves_gives_the_work_back(make_hub: MakeHub) -> None:
    async def hangs(work: Work) -> None:
        await asyncio.Event().wait()

    async with make_hub("boss") as hub, hub.bidder(lambda _: "done", bid=bids_at(2), name="bob"):
        async with hub.bidder(hangs, bid=bids_at(1), name="ada") as ada:
            auction = await hub.auction("leave", agents=["ada", "bob"])
            await until(lambda: ada.load)
        assert await auction.result(wait_ms=WAIT_MS) == "done" and not ada.load


@in_loop
async def test_a_scoring_of_ones_own(make_hub: MakeHub) -> None:
    """Its results are recorded with its name and version; the same auction announced again goes on."""
    seen: list[Bid] = []

    def dearest(bid: Bid) -> Fraction | None:
        seen.append(bid)
        return None if bid.agent_name == "cleo" else -exact("price", bid.price) / 3

    def breaks(bid: Bid) -> int:
        raise ValueError("no idea")

    async with make_hub("boss") as hub, AsyncExitStack() as stack:
        for name, price in (("ada", 1), ("bob", "2.5"), ("cleo", 9)):
            await stack.enter_async_context(hub.bidder(lambda _: "done", bid=bids_at(price), name=name))
        terms: dict[str, Any] = {"agents": ["ada", "bob", "cleo"], "key": "own"}
        auction = await hub.auction("score", scoring=Scoring("dearest", "1", breaks), **terms)
        await until_status(auction, "scoring")
        again = await hub.auction("score", scoring=Scoring("dearest", "1", dearest), **terms)
        assert await again.result(wait_ms=WAIT_MS) == "done"
        read = await auction.look()
        assert {bid.agent_name for bid in seen} == {"ada", "bob", "cleo"}
        assert {bid.price for bid in seen} == {1, Fraction(5, 2), 9}
        assert read.winner == "bob" and read.scoring is not None
        assert (read.scoring.name, read.scoring.version) == ("dearest", "1")
        assert {score.agent: score.score_billionths for score in read.scores} == {
            "ada": -333_333_333, "bob": -833_333_333, "cleo": None,
        }  # fmt: skip
        with pytest.raises(TermsDiffer, match="own is another auction"):
            await hub.auction("score", scoring=Scoring("dearest", "2", dearest), **terms)


async def until_status(auction: Any, status: str) -> None:
    async with asyncio.timeout(20):
        while (await auction.look()).status != status:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@in_loop
async def test_bidders_that_fail_or_are_asked_again(make_hub: MakeHub) -> None:
    async def breaks(asked: Offer) -> Bid:
        raise ValueError("no idea")

    asked: list[str] = []

    async with make_hub("boss") as hub, AsyncExitStack() as stack:
        bids = {
            "ada": breaks,
            "bob": lambda offer: asked.append(offer.description) or Bid("eve", 7, 1, 1),  # type: ignore[func-returns-value]
            "cleo": lambda offer: "7 euro",
            "dan": bids_at(-1),
        }
        for name, bid in bids.items():
            await stack.enter_async_context(hub.bidder(lambda _: "done", bid=bid, name=name))  # type: ignore[arg-type]
        auction = await hub.auction("again", agents=[*bids, "absent"], deadline_ms=600_000)
        await until_bids(auction, 1)
        for key in (auction.id, "there is none"):
            await hub.emit(asks("bob"), {"auction": key})
        other = await hub.auction("other", agents=bids)
        assert await other.result(wait_ms=WAIT_MS) == "done"
        assert asked == ["again", "other"], "nobody is asked again"
        (bid,) = (await auction.look()).bids
        assert bid.agent == "bob", "a bid is that of the agent, whatever name stands in it"


async def until_bids(auction: Any, count: int) -> None:
    async with asyncio.timeout(20):
        while len((await auction.look()).bids) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("description", "load", "expected"),
    [
        (SORT, 0, (50, Fraction(100, 9), Fraction(9, 10))),
        (SORT, 2, (70, Fraction(100, 9), Fraction(9, 10))),
        ("we WRITE and REsearch in python", 0, (50, Fraction(100, 9), Fraction(9, 10))),
        (RESEARCH, 1, (60, Fraction(100, 7), Fraction(7, 10))),
        ("nothing of that", 0, None),
    ],
)
def test_default_bids(description: str, load: int, expected: Any) -> None:
    made = default_bid("generalist", AGENTS["generalist"][0], 50, offer(description, load))
    assert (None if made is None else made[1:4]) == expected
    assert made is None or (made.agent_name, made.load) == ("generalist", load)


def test_numbers_are_recorded_as_they_read() -> None:
    assert recorded(Bid("a", 0.1, "1/3", Fraction(7, 10))) == (100_000, 20_000, 700_000)
    for bid in (Bid("a", -1, 1, 1), Bid("a", 1, -1, 1), Bid("a", 1, 1, 1.1), Bid("a", True, 1, 1), Bid("a", "x", 1, 1)):
        with pytest.raises(BadInput):
            recorded(bid)


@in_loop
async def test_what_cannot_be_is_refused_before_anything_is_written(make_hub: MakeHub) -> None:
    hub = make_hub("boss")
    with pytest.raises(NotConnected):
        await hub.auction("?", agents=["ada"])
    async with hub:
        for problem, terms in (
            ("none is named", {"agents": []}),
            ("one is named twice", {"agents": ["ada", "ada"]}),
            ("names are needed", {"agents": [7]}),
            ("is no name", {"agents": [""]}),
            ("reward", {"reward": -1}),
            ("reward", {"reward": "much"}),
            ("is no name", {"capabilities": [""]}),
            ("there is no 'colour'", {"weights": {"colour": 1}}),
            ("the weight of price", {"weights": {"price": -1}}),
            ("confidence", {"confidence": 2}),
            ("scoring", {"scoring": lambda bid: 1}),
            ("scoring", {"scoring": Scoring("x", "1", None)}),  # type: ignore[arg-type]
            ("deadline_ms", {"deadline_ms": 0}),
            ("lease_ms", {"lease_ms": 10}),
            ("keep_ms", {"keep_ms": -1}),
        ):
            with pytest.raises(BadInput, match=problem):
                await hub.auction("?", **({"agents": ["ada"]} | terms))  # type: ignore[arg-type]
        for description in (None, "x" * (DESCRIPTION_BYTES_MAX + 1)):
            with pytest.raises(BadInput, match="a description is text"):
                await hub.auction(description, agents=["ada"])  # type: ignore[arg-type]
        for problem, terms in (
            ("no function", {"run": None}),
            ("no function", {"bid": 7}),
            ("base_price", {"base_price": -1}),
            ("capabilities", {"capabilities": [""]}),
            ("at most 200 bytes", {"name": "x" * 201}),
        ):
            with pytest.raises(BadInput, match=problem):
                hub.bidder(**({"run": print} | terms))  # type: ignore[arg-type]
        with pytest.raises(NotFound, match="there is no auction a-0"):
            await hub.find_auction("a-0")
        auction = await hub.auction("?", agents=["ada"])
        with pytest.raises(Unavailable, match="is not awarded within 10 ms"):
            await auction.award(wait_ms=10)


@pytest.mark.each_source
@in_loop
async def test_who_bids_hears_of_the_award_and_of_the_end(make_hub: MakeHub) -> None:
    """Also from an inbox, where only what concerns an agent is heard."""
    async with make_hub("boss") as boss, make_hub("ada") as ada, make_hub("bob") as bob:  # noqa: SIM117
        async with (
            ada.bidder(lambda _: "by ada", bid=bids_at(2)) as loser,
            bob.bidder(lambda _: "by bob", bid=bids_at(1)),
        ):
            dearest = Scoring("cheapest", "1", lambda bid: bid.price)
            for scoring in (None, dearest):
                auction = await boss.auction("hear", agents=["ada", "bob"], scoring=scoring)
                assert (await auction.award(wait_ms=WAIT_MS)).agent_name == "bob"  # type: ignore[union-attr]
                assert await auction.result(wait_ms=WAIT_MS) == "by bob"
            await until(lambda: not loser._watches)


def test_the_same_for_plain_programs() -> None:
    with sync.local(agent="boss") as hub:
        with hub.bidder(lambda work: work.description.upper(), capabilities=["write"], name="ada"):
            auction = hub.auction("write it", agents=["ada"], key="a")
            award = auction.award(wait_ms=WAIT_MS)
            assert award is not None and (award.agent_name, award.price) == ("ada", 50)
            assert auction.result(wait_ms=WAIT_MS) == "WRITE IT"
        assert hub.find_auction("a").look().status == "completed"
        other = hub.auction("?", agents=["nobody"])
        assert other.cancel() and not other.cancel()
