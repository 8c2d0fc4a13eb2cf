"""An auction by id: its award, its result, its end; and the scores of the announcer's own scoring.

Rules that act here:
- An auction is awarded, done or unsold when the log says so; a handle listens from before it is announced, or asks.
- A scoring of one's own runs here, never in a fold: what it gives is recorded with its name and version. If this
  process dies before, the same auction announced again (`key`) goes on where it was, unless the scores are late.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import msgspec
from accord.agents.auctions.units import BILLION, Scoring, exact, millionths, told
from accord.agents.connection.connection import Answer, future, settle
from accord.agents.locks.arguments import check_lease_ms, check_names, check_number, check_wait_ms, shortened
from accord.agents.signals import signals
from accord.agents.watched import Watched
from accord.schemas.messages.auctions import (
    AnnounceAuction,
    AuctionCancelled,
    AuctionKnown,
    AuctionRead,
    AuctionRefused,
    AuctionUnknown,
    AuctionUnsold,
    Bid,
    CancelAuction,
    CancelRefused,
    ReadAuction,
    Score,
    ScoreBids,
    ScoresWanted,
    Weights,
    WorkAwarded,
    WorkCompleted,
)
from accord.streams.auctions.auction import CANCELLED, COMPLETED, RUNNING, SCORING, UNSOLD
from accord.streams.auctions.bounds import (
    BIDDERS_MAX,
    DESCRIPTION_BYTES_MAX,
    MILLION,
    SCORE_MAX,
    WEIGHT_MAX,
)
from accord.streams.auctions.scoring import WEIGHTS
from accord.streams.tasks.bounds import CAPABILITIES_MAX, LIMIT_MS_MAX

from accord import errors, logs
from accord.errors import BadInput, CircularTrigger, Denied, TermsDiffer

if TYPE_CHECKING:
    from accord.agents.hub import Hub

logger = logs.get("accord.auctions")

DOMAIN: Final = "auctions"
DEADLINE_MS: Final = 30_000
SCORING_MS: Final = 30_000
LEASE_MS: Final = 30_000
KEEP_MS: Final = 7 * 24 * 3_600_000
CONFIDENCE: Final = 0.5


class Award(msgspec.Struct, frozen=True):
    """Who does the work, for what price, under which fencing token. `position` is where the log has it."""

    agent_name: str
    price: Fraction
    token: int
    position: str


async def announce(
    hub: Hub,
    description: str,
    *,
    agents: Iterable[str],
    reward: Any,
    capabilities: Iterable[str],
    weights: Mapping[str, Any] | None,
    confidence: Any,
    scoring: Scoring | None,
    deadline_ms: int,
    lease_ms: int,
    key: str | None,
    keep_ms: int,
) -> Auction:
    """`Accord.auction`, on any hub."""
    hub.ensure_open("auction()")
    if not isinstance(description, str) or len(description.encode()) > DESCRIPTION_BYTES_MAX:
        raise BadInput(f"a description is text of at most {DESCRIPTION_BYTES_MAX} bytes; name what is larger.")
    if scoring is not None and not (isinstance(scoring, Scoring) and callable(scoring.score)):
        raise BadInput(f"scoring={scoring!r}: a Scoring(name, version, function) is needed.")
    command = AnnounceAuction(
        agent=hub.agent,
        description=description,
        bidders=check_names("agents", agents, BIDDERS_MAX),
        capabilities=check_names("capabilities", capabilities, CAPABILITIES_MAX, least=0),
        reward_millionths=None if reward is None else millionths("reward", reward),
        weights=checked_weights(weights or {}),
        confidence_least_millionths=millionths("confidence", confidence, MILLION),
        scoring=None if scoring is None else scoring.named,
        deadline_ms=check_number("deadline_ms", deadline_ms, 1, LIMIT_MS_MAX),
        scoring_ms=SCORING_MS,
        lease_ms=check_lease_ms(lease_ms, hub.settings.locks.clock_step_ms),
        keep_ms=check_number("keep_ms", keep_ms, 0, LIMIT_MS_MAX),
        trail=signals.trail.get(),
    )
    made = Auction(hub, key or signals.new_task(), scoring)
    withdrawal = None if key else lambda _: CancelAuction(hub.agent, "whoever announced it has given up")
    try:
        answer = await made.send(command, withdrawal=withdrawal)
        match answer.events[-1]:
            case AuctionRefused(reason="exists"):
                raise TermsDiffer(
                    f"{made.id} is another auction.", remedy="Take another key.", key=made.id,
                    position=str(answer.position),
                )  # fmt: skip
            case AuctionRefused(reason=reason):
                raise CircularTrigger(
                    f"{made.id} is not announced: {reason}: too many events in a row led to it.", key=made.id,
                    position=str(answer.position),
                )  # fmt: skip
            case AuctionKnown():
                await made.look()
    except BaseException:
        made.forget()
        raise
    return made


async def find(hub: Hub, auction_id: str) -> Auction:
    """`Accord.find_auction`, on any hub."""
    hub.ensure_open("find_auction()")
    return await Auction(hub, auction_id, None).looked()


def checked_weights(given: Mapping[str, Any]) -> Weights:
    """Weights of price, time and confidence. Raises BadInput: there is no such, or it is no number of 0 or more."""
    known = {"price": WEIGHTS.price_millionths, "time": WEIGHTS.time_millionths}
    known["confidence"] = WEIGHTS.confidence_millionths
    for name, weight in given.items():
        if name not in known:
            raise BadInput(f"weights: there is no {name!r}; there are {', '.join(known)}.")
        known[name] = millionths(f"the weight of {name}", weight, WEIGHT_MAX)
    return Weights(known["price"], known["time"], known["confidence"])


class Auction(Watched):
    """An auction; made by `Accord.auction` and `Accord.find_auction`."""

    def __init__(self, hub: Hub, auction_id: str, scoring: Scoring | None) -> None:
        self._scoring = scoring
        self._awarded: Future[Award | None] = future()
        self._ended: Future[tuple[str, Any, str]] = future()
        """Status, result or reason, position."""
        super().__init__(hub, DOMAIN, "auction", auction_id, self._awarded, self._ended)

    # -- what the log says; on accord's thread

    def _heard(self, answer: Answer) -> None:
        position = str(answer.position)
        for event in answer.events:
            match event:
                case ScoresWanted(scoring=wanted, bids=bids):
                    self._score(wanted, bids)
                case WorkAwarded(agent, _, token, price):
                    settle(self._awarded, Award(agent, Fraction(price, MILLION), token, position))
                case WorkCompleted(result=result):
                    self._settle(COMPLETED, json.loads(result), position)
                case AuctionUnsold(reason=reason):
                    self._settle(UNSOLD, reason, position)
                case AuctionCancelled(reason=reason):
                    self._settle(CANCELLED, reason, position)

    def _score(self, wanted: Any, bids: Sequence[Bid]) -> None:
        """Sends the scores of the bids, if the scoring is ours."""
        if self._scoring is None or self._scoring.named != wanted:
            return
        try:
            scores = tuple([Score(bid.agent, self._score_of(bid)) for bid in bids])
            self._submit(ScoreBids(self._hub.agent, wanted, scores)).add_done_callback(self._scored)
        except Exception as error:  # a user's function
            logger.error("bids could not be scored", auction=self.id, scoring=wanted.name, why=repr(error))

    def _score_of(self, bid: Bid) -> int | None:
        assert self._scoring is not None
        found = self._scoring.score(told(bid))
        score = None if found is None else round(exact("score", found) * BILLION)
        if score is not None and abs(score) > SCORE_MAX:
            raise BadInput(f"score={found!r} is out of range.")
        return score

    def _scored(self, decided: Future[Answer]) -> None:
        error = decided.exception()
        if error is not None:
            logger.error("scores could not be told", auction=self.id, why=str(error))

    def _settle(self, status: str, told: Any, position: str) -> None:
        self.forget()
        settle(self._awarded, None)
        settle(self._ended, (status, told, position))

    # -- for programs

    async def award(self, *, wait_ms: int | None = None) -> Award | None:
        """Who does the work, once bidding is over; None: it ended without that. The first one: if it fails, others
        have their turn.

        Args:
            wait_ms: how long to wait; None waits without limit.

        Raises:
            Unavailable: bidding is not over within `wait_ms`, or nobody decides.
        """
        return await self._wait(self._awarded, check_wait_ms(wait_ms), "is not awarded")

    async def result(self, *, wait_ms: int | None = None) -> Any:
        """What the work brought, once it is done.

        Args:
            wait_ms: how long to wait; None waits without limit.

        Raises:
            Unsold: nobody does it. Details `reason`: `no_bids`, `no_valid_bid`, `not_scored`, `exhausted`, `cancelled`.
            Unavailable: it has not ended within `wait_ms`, or nobody decides.
        """
        status, told, position = await self._wait(self._ended, check_wait_ms(wait_ms), "is not done")
        if status == COMPLETED:
            return told
        reason = told if status == UNSOLD else CANCELLED
        raise errors.Unsold(
            f"nobody does the work of auction {self.id}: {_WHY.get(told, told) or 'cancelled'}.",
            remedy=f"See: accord auctions show {self.id}.", key=self.id, position=position, reason=reason,
        )  # fmt: skip

    async def look(self) -> AuctionRead:
        """How it stands: `status`, `bids`, `scores`, `winner`, `result` and more. Raises NotFound."""
        answer = await self.send(ReadAuction(self._hub.agent))
        read, position = answer.events[-1], str(answer.position)
        if not isinstance(read, AuctionRead):
            raise self._unknown()
        if read.status == SCORING:
            self._score(read.scoring, read.bids)
        if read.status in (RUNNING, COMPLETED) and read.token is not None:
            price = next(bid.price_millionths for bid in read.bids if bid.agent == read.winner)
            settle(self._awarded, Award(read.winner, Fraction(price, MILLION), read.token, position))
        if read.ended_ms is not None:
            told = json.loads(read.result) if read.result is not None else read.reason
            self._settle(read.status, told, position)
        return read

    async def cancel(self, reason: str = "") -> bool:
        """Ends it; who does the work is told. Who announced it alone may. False: it had ended before.

        Raises:
            Denied: another agent has announced it.
            NotFound: there is no such auction, or it ended long ago.
            Degraded, KafkaUnreachable: nobody decides, or no broker answers.
        """
        answer = await self.send(CancelAuction(self._hub.agent, shortened(reason)))
        match answer.events[-1]:
            case CancelRefused(agent, announcer):
                raise Denied(
                    f"{agent} cannot cancel {self.id}: {announcer} has announced it.", key=self.id, agent=agent,
                    holder=announcer, position=str(answer.position),
                )  # fmt: skip
            case AuctionUnknown():
                raise self._unknown()
            case AuctionKnown():
                return False
        return True


_WHY: Final = {
    "no_bids": "nobody bid",
    "no_valid_bid": "no bid can win",
    "not_scored": "the bids were not scored in time",
    "exhausted": "all who could win have failed",
}
