"""An agent that bids whenever it is asked, and does the work that it wins: `async with hub.bidder(run, ...)`.

Rules that act here:
- A bidder is asked by a signal of its own, at least once; it answers once, with a bid or a pass. One that fails passes.
- An award is for the process that bid. It renews the lease on accord's own thread while it works, tells what came of
  it, and counts as loaded from the award until then, also if it failed. Another process of its name does not take it
  up: if this one dies the lease ends, and the next bid has its turn.
- Work that the log has given to somebody else, or whose auction was cancelled, is cancelled here, and nothing of it is
  told. A plain function cannot be: it ends by itself, and its word is ignored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from fractions import Fraction
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from accord.agents import context
from accord.agents.asked import Asked, called, name_of
from accord.agents.auctions.auction import DOMAIN
from accord.agents.auctions.units import Bid, Number, exact, millionths, recorded
from accord.agents.connection.connection import Answer
from accord.agents.locks.arguments import check_names, shortened
from accord.agents.signals import signals
from accord.agents.signals.plain import as_json
from accord.agents.telling import Renewals, tell
from accord.schemas.messages import Command
from accord.schemas.messages.auctions import (
    AuctionCancelled,
    AuctionRead,
    AuctionUnsold,
    AwardLost,
    BidRefused,
    CompleteWork,
    FailWork,
    PassAuction,
    PlaceBid,
    ReadAuction,
    RenewalRefused,
    RenewAward,
    WorkAwarded,
    WorkCompleted,
)
from accord.streams.auctions.auction import OPEN
from accord.streams.auctions.bounds import MILLION
from accord.streams.auctions.decider import asks
from accord.streams.tasks.bounds import CAPABILITIES_MAX, ERROR_CHARS_MAX, INPUT_BYTES_MAX

from accord import logs
from accord.errors import BadInput

if TYPE_CHECKING:
    from accord.agents.hub import Hub

logger = logs.get("accord.auctions")

BASE_PRICE: Final = 50
LOAD_STEP: Final = Fraction(1, 5)
"""Each award that is worked on raises the price by this part of the base price."""
CONFIDENCE_LEAST: Final = Fraction(1, 2)
CONFIDENCE_STEP: Final = Fraction(1, 5)
"""Of each capability that the description names."""
CONFIDENCE_MOST: Final = Fraction(9, 10)
MINUTES: Final = 10
"""The time that work takes, divided by the confidence."""

_ENDS: Final = (WorkCompleted, AuctionUnsold, AuctionCancelled)


class Offer(NamedTuple):
    """What a bidder is asked: `load` is how many awards it works on, `reward` the most that the work may cost."""

    auction: str
    description: str
    announcer: str
    capabilities: tuple[str, ...]
    reward: Fraction | None
    load: int
    deadline_ms: int


class Work(NamedTuple):
    """What a winner is to do. `token` fences its writes; `key` is the idempotency key of this run."""

    auction: str
    description: str
    token: int
    key: str


Runs = Callable[[Work], Any]
Bids = Callable[[Offer], "Bid | Awaitable[Bid | None] | None"]


def default_bid(name: str, capabilities: Iterable[str], base_price: Number, offer: Offer) -> Bid | None:
    """A bid by how many of an agent's capabilities stand in the description, in any case; None: not one does."""
    text = offer.description.casefold()
    matches = sum(capability.casefold() in text for capability in capabilities)
    if not matches:
        return None
    confidence = min(CONFIDENCE_MOST, CONFIDENCE_LEAST + CONFIDENCE_STEP * matches)
    price = exact("base_price", base_price) * (1 + LOAD_STEP * offer.load)
    return Bid(name, price, MINUTES / confidence, confidence, offer.load)


class _Award:
    """An award that this process works on."""

    def __init__(self, work: Work, lease_ms: int) -> None:
        self.work = work
        self.lease_ms = lease_ms
        self.over = False
        self.ran = False
        """What came of it is known; only to be told."""
        self.body: asyncio.Task[None] | None = None
        self.renewals: Renewals | None = None


class Bidding(Asked):
    """Bids and works for as long as `async with` lasts; made by `Accord.bidder`."""

    def __init__(
        self, hub: Hub, run: Runs, capabilities: Iterable[str], base_price: Number, bid: Bids | None, name: str | None
    ) -> None:
        self.name: Final = name_of("bidder", hub.agent if name is None else name)
        if not callable(run) or not (bid is None or callable(bid)):
            raise BadInput(f"bidder {self.name}: {bid if callable(run) else run!r} is no function.")
        self.capabilities: Final = check_names("capabilities", capabilities, CAPABILITIES_MAX, least=0)
        millionths("base_price", base_price)
        super().__init__(hub)
        self.member = ""
        self._run = run
        self._bid = bid
        self._base_price = base_price
        self._watches: dict[str, Callable[[], None]] = {}
        self._awards: dict[str, _Award] = {}

    @property
    def load(self) -> int:
        """How many awards this process works on."""
        return len(self._awards)

    def _listens(self) -> tuple[str, str]:
        return asks(self.name), asks(self.name)

    async def __aenter__(self) -> Self:
        self._hub.ensure_open("bidder()")
        self.member = self._hub.connection.new_id()  # awards are told where it says
        self._loop = asyncio.get_running_loop()
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Bids no more, and gives back what it works on: the next bid has its turn."""
        await super().__aexit__(kind, error, trace)
        for auction in list(self._watches):
            self._unwatch(auction)
        bodies = [award.body for award in list(self._awards.values()) if award.body is not None]
        for body in bodies:
            body.cancel()
        await asyncio.gather(*bodies, return_exceptions=True)

    # -- bidding

    async def _asked(self, asked: Mapping[str, Any]) -> None:
        """Bids for an auction, or passes, if it is open and has no answer of this agent."""
        auction = asked["auction"]
        answer = await self._send(auction, ReadAuction(self.name))
        read = answer.events[-1]
        if not isinstance(read, AuctionRead) or read.status != OPEN:
            logger.info("asked too late", auction=auction, bidder=self.name)
            return
        if self.name in [bid.agent for bid in read.bids]:
            return
        reward = None if read.reward_millionths is None else Fraction(read.reward_millionths, MILLION)
        left_ms = read.due_ms - answer.decision.now_ms
        offer = Offer(
            auction, read.description, read.announcer, read.capabilities, reward, self.load, left_ms
        )  # fmt: skip
        command = await self._answer(offer)
        if isinstance(command, PassAuction):
            await self._send(auction, command)
            return
        self._unwatch(auction)
        self._watches[auction] = self._hub.connection.watch(DOMAIN, auction, lambda told: self._heard(offer, told))
        answer = await self._send(auction, command)
        for event in answer.events:
            if isinstance(event, BidRefused):
                logger.warning("a bid takes no part", auction=auction, bidder=self.name, why=event.reason)
                self._unwatch(auction)

    async def _answer(self, offer: Offer) -> PlaceBid | PassAuction:
        """A bid, or why there is none."""
        limit = asyncio.timeout(offer.deadline_ms / 1_000)
        try:
            async with limit:
                bid = await self._bid_for(offer)
            if bid is None:
                return PassAuction(self.name, "none of its capabilities is asked for")
            price, time_ms, confidence = recorded(bid)
        except Exception as error:
            why = f"no bid within {offer.deadline_ms} ms" if limit.expired() else f"{type(error).__name__}: {error}"
            logger.warning("a bidder failed", auction=offer.auction, bidder=self.name, why=why)
            return PassAuction(self.name, shortened(f"failed: {why}"))
        if offer.reward is not None and Fraction(price, MILLION) > offer.reward:
            return PassAuction(self.name, "its price is above the reward")
        if not set(offer.capabilities) <= set(self.capabilities):
            return PassAuction(self.name, "not able to do what is asked for")
        return PlaceBid(self.name, self.member, price, time_ms, confidence, offer.load, self.capabilities)

    async def _bid_for(self, offer: Offer) -> Bid | None:
        if self._bid is None:
            return default_bid(self.name, self.capabilities, self._base_price, offer)
        bid = await self._call(self._bid, offer)
        if bid is not None and not isinstance(bid, Bid):
            raise BadInput(f"{bid!r} is no Bid.")
        return bid

    async def _call(self, function: Callable[..., Any], argument: Any) -> Any:
        """Calls a user's function; a plain one in a thread."""
        context.use(self._hub)
        return await called(function, argument)

    async def _send(self, auction: str, command: Command) -> Answer:
        submission = self._hub.connection.submit(DOMAIN, auction, command, task=signals.current_task())
        return await asyncio.wrap_future(submission.decided)

    # -- what the log says; on accord's thread

    def _heard(self, offer: Offer, answer: Answer) -> None:
        for event in answer.events:
            match event:
                case WorkAwarded(agent, member, token, _, lease_ms) if (agent, member) == (self.name, self.member):
                    work = Work(offer.auction, offer.description, token, f"{offer.auction}/{token}")
                    self._begin(_Award(work, lease_ms))
                case AwardLost(member=member, token=token) if member == self.member:
                    self._is_over(offer.auction, token)
                    self._unwatch(offer.auction)
                case _ if isinstance(event, _ENDS):
                    self._is_over(offer.auction)
                    self._unwatch(offer.auction)

    def _begin(self, award: _Award) -> None:
        self._awards[award.work.auction] = award
        award.renewals = Renewals(
            self._hub.connection, award.lease_ms, partial(self._renew, award), partial(self._renewed, award)
        )
        self._loop.call_soon_threadsafe(self._start, award)

    def _start(self, award: _Award) -> None:
        award.body = self._loop.create_task(self._work(award))

    def _is_over(self, auction: str, token: int | None = None) -> None:
        """The log has ended what this process works on."""
        award = self._awards.get(auction)
        if award is not None and token in (None, award.work.token) and not award.over:
            award.over = True
            if award.renewals is not None:
                award.renewals.stop()
            self._loop.call_soon_threadsafe(self._cancel, award)

    @staticmethod
    def _cancel(award: _Award) -> None:
        if award.body is not None and not award.ran:
            award.body.cancel()

    def _unwatch(self, auction: str) -> None:
        unwatch = self._watches.pop(auction, None)
        if unwatch is not None:
            unwatch()

    # -- the lease

    def _renew(self, award: _Award) -> Future[Answer]:
        command = RenewAward(self.name, award.work.token)
        submission = self._hub.connection.submit(DOMAIN, award.work.auction, command, answer_ms=award.lease_ms)
        return submission.decided

    def _renewed(self, award: _Award, decided: Future[Answer]) -> None:
        if decided.exception() is None and isinstance(decided.result().events[-1], RenewalRefused):
            self._is_over(award.work.auction, award.work.token)

    # -- the work

    async def _work(self, award: _Award) -> None:
        """Does the work, and tells what came of it."""
        try:
            if award.over:
                return
            try:
                command: Command = await self._outcome(award.work)
            except asyncio.CancelledError:
                command = FailWork(self.name, award.work.token, "Cancelled", "its process stopped working")
            award.ran = True
            await tell(self._hub, DOMAIN, award.work.auction, command, lambda: not award.over)
        finally:
            self._done(award)

    def _done(self, award: _Award) -> None:
        """One piece of work less."""
        if award.renewals is not None:
            award.renewals.stop()
        if self._awards.get(award.work.auction) is award:
            del self._awards[award.work.auction]

    async def _outcome(self, work: Work) -> Command:
        try:
            with signals.task(work.auction):
                result = as_json(await self._call(self._run, work))
            if len(result.encode()) > INPUT_BYTES_MAX:
                raise BadInput(f"the result has more than {INPUT_BYTES_MAX} bytes: keep it elsewhere, name it")
            return CompleteWork(self.name, work.token, result)
        except Exception as error:
            logger.info("work failed", auction=work.auction, bidder=self.name, why=repr(error))
            return FailWork(self.name, work.token, type(error).__name__, str(error)[:ERROR_CHARS_MAX])
