"""Auctions: one aggregate an auction, for whose work the agents that it names bid.

Rules:
- Every agent that is named is asked by a signal of its own, and bids once or passes. Bidding is over when all have
  answered, or at the deadline, by the log's clock.
- A bid out of range, above the reward, or by who is not able to do what is asked for takes no part.
- The lowest score wins, of equal ones the first; a bid with too little confidence cannot. Scores are exact, by the
  auction's weights. An announcer may have a scoring of its own: a function of its program, no rule of the log. So it is
  asked for the scores of the bids once bidding is over, and they come in as data, with the function's name and version.
- Who wins does the work, under a lease that it renews and a fencing token: there is one award at a time, and the word
  of who has it not is ignored, which is recorded. If it fails, or its lease ends, the next bid has its turn.
- Unsold is what nobody bids for, no bid can win, the announcer has not scored in time, or all who could win failed at.
- An auction that ended is remembered for as long as its announcer said; then its id is free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.auctions import (
    AnnounceAuction,
    AuctionAnnounced,
    AuctionCancelled,
    AuctionForgotten,
    AuctionKnown,
    AuctionRead,
    AuctionRefused,
    AuctionUnknown,
    AuctionUnsold,
    AwardLost,
    AwardRenewed,
    Bid,
    BidderPassed,
    BidPlaced,
    BidRefused,
    BidsScored,
    CancelAuction,
    CancelRefused,
    CompleteWork,
    FailWork,
    PassAuction,
    PassRefused,
    PlaceBid,
    ReadAuction,
    RenewalRefused,
    RenewAward,
    ResultIgnored,
    Score,
    ScoreBids,
    ScoresRefused,
    ScoresWanted,
    Scoring,
    WorkAwarded,
    WorkCompleted,
    WorkFailed,
)
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.signals import EmitSignal
from accord.streams.auctions.auction import OPEN, RUNNING, SCORING, Auction, evolve
from accord.streams.auctions.bounds import MILLION, PRICE_MAX, TIME_MS_MAX, problem_of
from accord.streams.auctions.scoring import ranked, scored
from accord.streams.decider import At, Domain, Order
from accord.streams.signals.decider import TRAIL_MAX
from accord.streams.tasks.bounds import ERROR_CHARS_MAX


class AuctionDecider:
    """Version 1."""

    state_type = Auction

    def decide(self, state: Auction | None, command: Command, at: At) -> Sequence[Event]:
        problem = problem_of(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        draft = Draft(state, at)
        draft.let_time_pass()
        if draft.auction is None:
            _of_no_auction(draft, command)
        else:
            _ANSWERS[type(command)](draft, draft.auction, command)
        return draft.events

    def evolve(self, state: Auction | None, event: Event) -> Auction | None:
        return evolve(state, event)

    def deadline_ms(self, state: Auction) -> int | None:
        return _due_ms(state)


def _due_ms(auction: Auction) -> int:
    return auction.due_ms if auction.ended_ms is None else auction.ended_ms + auction.keep_ms


class Draft:
    """A decision as it comes into being: its events, and the auction after them."""

    def __init__(self, auction: Auction | None, at: At) -> None:
        self.auction: Any = auction
        self.at = at
        self.events: list[Event] = []

    def add(self, event: Event) -> None:
        self.events.append(event)
        self.auction = evolve(self.auction, event)

    def let_time_pass(self) -> None:
        """What is due by now."""
        auction = self.auction
        if auction is None or _due_ms(auction) > self.at.now_ms:
            return
        if auction.has_ended:
            self.add(AuctionForgotten(auction.ended_ms))
        elif auction.status == OPEN:
            self.close()
        elif auction.status == SCORING:
            self.end_unsold("not_scored")
        else:
            member = auction.bid(auction.winner).member
            self.add(AwardLost(auction.winner, member, auction.token, auction.due_ms))
            self.award("exhausted")

    def close(self) -> None:
        """Ends the bidding."""
        auction = self.auction
        if not auction.bids:
            self.end_unsold("no_bids")
        elif auction.scoring is not None:
            due_ms = self.at.now_ms + auction.scoring_ms
            self.add(ScoresWanted(auction.agent, auction.scoring, auction.bids, due_ms))
        else:
            scores, exact = scored(auction.bids, auction.weights)
            self.rank(None, tuple(scores), exact)

    def rank(
        self, scoring: Scoring | None, scores: tuple[Score, ...], comparable: Sequence[Fraction | int | None]
    ) -> None:
        """Puts the bids in their order, and has the best do the work."""
        auction = self.auction
        order = ranked(auction.bids, comparable, auction.confidence_least_millionths)
        self.add(BidsScored(scoring, scores, order))
        self.award("no_valid_bid")

    def award(self, otherwise: str) -> None:
        """Has the next in turn do the work; without one it is unsold, for that reason."""
        auction = self.auction
        if not auction.order:
            self.end_unsold(otherwise)
            return
        bid = auction.bid(auction.order[0])
        self.add(
            WorkAwarded(
                bid.agent, bid.member, self.at.seq, bid.price_millionths, auction.lease_ms,
                self.at.now_ms + auction.lease_ms, auction.agent,
            )
        )  # fmt: skip

    def end_unsold(self, reason: str) -> None:
        self.add(AuctionUnsold(self.auction.agent, reason, self.auction.members, self.at.now_ms))

    def end_bidding_if_all_answered(self) -> None:
        if self.auction.has_all_answers:
            self.close()


def _of_no_auction(draft: Draft, command: Command) -> None:
    """To an auction that there is not, or not any more."""
    match command:
        case AnnounceAuction():
            _begin(draft, command)
        case Tick():
            pass
        case _:
            draft.add(AuctionUnknown(command.agent, type(command).__name__))  # type: ignore[attr-defined]


def _begin(draft: Draft, c: AnnounceAuction) -> None:
    if len(c.trail) > TRAIL_MAX:
        draft.add(AuctionRefused(c.agent, "circular_trigger"))
        return
    draft.add(
        AuctionAnnounced(
            c.agent, c.description, c.bidders, c.capabilities, c.reward_millionths, c.weights,
            c.confidence_least_millionths, c.scoring, c.deadline_ms, c.scoring_ms, c.lease_ms, c.keep_ms, c.trail,
            draft.at.now_ms,
        )
    )  # fmt: skip


_TERMS: Final = (
    "agent", "description", "bidders", "capabilities", "reward_millionths", "weights", "confidence_least_millionths",
    "scoring", "deadline_ms", "scoring_ms", "lease_ms",
)  # fmt: skip
"""What makes an auction the same."""


def _announce(draft: Draft, auction: Auction, c: AnnounceAuction) -> None:
    same = all(getattr(c, term) == getattr(auction, term) for term in _TERMS)
    draft.add(AuctionKnown(c.agent, auction.status) if same else AuctionRefused(c.agent, "exists"))


def _bid(draft: Draft, auction: Auction, c: PlaceBid) -> None:
    reason = _no_answer(auction, c.agent) or _no_bid(auction, c)
    if reason is not None:
        bad = (c.price_millionths, c.time_ms, c.confidence_millionths)
        draft.add(BidRefused(c.agent, c.member, reason, *bad))
        return
    bid = Bid(c.agent, c.member, c.price_millionths, c.time_ms, c.confidence_millionths, c.load)
    draft.add(BidPlaced(bid))
    draft.end_bidding_if_all_answered()


def _no_answer(auction: Auction, name: str) -> str | None:
    """Why an agent can neither bid nor pass."""
    if auction.status != OPEN:
        return "closed"
    if name not in auction.bidders:
        return "not_invited"
    return "answered" if auction.has_answered(name) else None


def _no_bid(auction: Auction, c: PlaceBid) -> str | None:
    """Why a bid takes no part."""
    if not 0 <= c.price_millionths <= PRICE_MAX:
        return "price"
    if not 0 <= c.time_ms <= TIME_MS_MAX:
        return "time"
    if not 0 <= c.confidence_millionths <= MILLION:
        return "confidence"
    if auction.reward_millionths is not None and c.price_millionths > auction.reward_millionths:
        return "above_reward"
    return None if set(auction.capabilities) <= set(c.capabilities) else "incapable"


def _pass(draft: Draft, auction: Auction, c: PassAuction) -> None:
    reason = _no_answer(auction, c.agent)
    if reason is not None:
        draft.add(PassRefused(c.agent, reason))
        return
    draft.add(BidderPassed(c.agent, c.reason))
    draft.end_bidding_if_all_answered()


def _score(draft: Draft, auction: Auction, c: ScoreBids) -> None:
    if auction.status != SCORING:
        reason = "not_asked"
    elif c.agent != auction.agent:
        reason = "not_announcer"
    elif c.scoring != auction.scoring:
        reason = "scoring"
    elif tuple([score.agent for score in c.scores]) != auction.who_bid:
        reason = "bids"
    else:
        draft.rank(c.scoring, c.scores, [score.score_billionths for score in c.scores])
        return
    draft.add(ScoresRefused(c.agent, reason))


def _problem_of_award(draft: Draft, auction: Auction, c: RenewAward | CompleteWork | FailWork) -> str | None:
    """Why the word of an agent about the work does not count. Nobody knows the token of an award just made."""
    if auction.status != RUNNING:
        return "not_running"
    is_its = (auction.winner, auction.token) == (c.agent, c.token) and c.token != draft.at.seq
    return None if is_its else "taken_over"


def _renew(draft: Draft, auction: Auction, c: RenewAward) -> None:
    reason = _problem_of_award(draft, auction, c)
    if reason is not None:
        draft.add(RenewalRefused(c.agent, c.token, reason))
    else:
        draft.add(AwardRenewed(c.agent, c.token, draft.at.now_ms + auction.lease_ms))


def _complete(draft: Draft, auction: Auction, c: CompleteWork) -> None:
    reason = _problem_of_award(draft, auction, c)
    if reason is not None:
        draft.add(ResultIgnored(c.agent, c.token, reason))
    else:
        draft.add(WorkCompleted(c.agent, c.token, c.result, auction.agent, auction.members, draft.at.now_ms))


def _fail(draft: Draft, auction: Auction, c: FailWork) -> None:
    reason = _problem_of_award(draft, auction, c)
    if reason is not None:
        draft.add(ResultIgnored(c.agent, c.token, reason))
    else:
        draft.add(WorkFailed(c.agent, c.token, c.error_type, c.error[:ERROR_CHARS_MAX]))
        draft.award("exhausted")


def _cancel(draft: Draft, auction: Auction, c: CancelAuction) -> None:
    if auction.has_ended:
        draft.add(AuctionKnown(c.agent, auction.status))
    elif c.agent != auction.agent:
        draft.add(CancelRefused(c.agent, auction.agent))
    else:
        draft.add(AuctionCancelled(c.agent, c.reason, auction.members, draft.at.now_ms))


def _read(draft: Draft, a: Auction, c: ReadAuction) -> None:
    draft.add(
        AuctionRead(
            c.agent, a.agent, a.description, a.capabilities, a.reward_millionths, a.status, a.reason, a.scoring, a.bids,
            a.scores, a.winner, a.token, _due_ms(a), a.result, a.ended_ms,
        )
    )  # fmt: skip


def _tick(_: Draft, __: Auction, ___: Tick) -> None:
    pass


_ANSWERS: Final[Mapping[type[Command], Callable[[Draft, Auction, Any], None]]] = {
    AnnounceAuction: _announce,
    PlaceBid: _bid,
    PassAuction: _pass,
    ScoreBids: _score,
    RenewAward: _renew,
    CompleteWork: _complete,
    FailWork: _fail,
    CancelAuction: _cancel,
    ReadAuction: _read,
    Tick: _tick,
}


# -- what follows elsewhere


def asks(bidder: str) -> str:
    """The name of the signals by which a bidder is asked. What it is asked stands in the auction."""
    return f"bid_wanted:{bidder}"


def _ask(key: str, e: AuctionAnnounced) -> list[Order]:
    signal = EmitSignal(e.agent, msgspec.json.encode({"auction": key, "announcer": e.agent}).decode(), e.trail)
    return [Order("signals", asks(bidder), signal) for bidder in e.bidders]


DOMAIN: Final = Domain("auctions", {1: AuctionDecider()}, reactions={AuctionAnnounced: _ask})
"""Auctions, by id."""
