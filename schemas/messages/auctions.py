"""Auctions: who does a piece of work, for what price; see `accord.streams.auctions`."""

import msgspec
from accord.schemas.messages import Command, Event


class Weights(msgspec.Struct, frozen=True, gc=False):
    """What price, time and confidence count in a score."""

    price_millionths: int
    time_millionths: int
    confidence_millionths: int


class Scoring(msgspec.Struct, frozen=True, gc=False):
    """A scoring of the announcer's own."""

    name: str
    version: str


class Bid(msgspec.Struct, frozen=True, gc=False):
    """An offer to do the work."""

    agent: str
    member: str
    price_millionths: int
    time_ms: int
    confidence_millionths: int
    load: int


class Score(msgspec.Struct, frozen=True, gc=False):
    """How good a bid is: the lower the better; none: it cannot win."""

    agent: str
    score_billionths: int | None


class AnnounceAuction(Command, frozen=True):
    agent: str
    description: str
    bidders: tuple[str, ...]
    capabilities: tuple[str, ...]
    reward_millionths: int | None
    weights: Weights
    confidence_least_millionths: int
    scoring: Scoring | None
    deadline_ms: int
    scoring_ms: int
    lease_ms: int
    keep_ms: int
    trail: tuple[str, ...]


class PlaceBid(Command, frozen=True):
    agent: str
    member: str
    price_millionths: int
    time_ms: int
    confidence_millionths: int
    load: int
    capabilities: tuple[str, ...]


class PassAuction(Command, frozen=True):
    agent: str
    reason: str


class ScoreBids(Command, frozen=True):
    agent: str
    scoring: Scoring
    scores: tuple[Score, ...]


class RenewAward(Command, frozen=True):
    agent: str
    token: int


class CompleteWork(Command, frozen=True):
    agent: str
    token: int
    result: str


class FailWork(Command, frozen=True):
    agent: str
    token: int
    error_type: str
    error: str


class CancelAuction(Command, frozen=True):
    agent: str
    reason: str


class ReadAuction(Command, frozen=True):
    agent: str


class AuctionAnnounced(Event, frozen=True):
    agent: str
    description: str
    bidders: tuple[str, ...]
    capabilities: tuple[str, ...]
    reward_millionths: int | None
    weights: Weights
    confidence_least_millionths: int
    scoring: Scoring | None
    deadline_ms: int
    scoring_ms: int
    lease_ms: int
    keep_ms: int
    trail: tuple[str, ...]
    announced_ms: int


class AuctionKnown(Event, frozen=True):
    agent: str
    status: str


class AuctionRefused(Event, frozen=True):
    agent: str
    reason: str


class AuctionUnknown(Event, frozen=True):
    agent: str
    command: str


class BidPlaced(Event, frozen=True):
    bid: Bid


class BidRefused(Event, frozen=True):
    agent: str
    member: str
    reason: str
    price_millionths: int
    time_ms: int
    confidence_millionths: int


class BidderPassed(Event, frozen=True):
    agent: str
    reason: str


class PassRefused(Event, frozen=True):
    agent: str
    reason: str


class ScoresWanted(Event, frozen=True):
    agent: str
    scoring: Scoring
    bids: tuple[Bid, ...]
    due_ms: int


class ScoresRefused(Event, frozen=True):
    agent: str
    reason: str


class BidsScored(Event, frozen=True):
    scoring: Scoring | None
    scores: tuple[Score, ...]
    order: tuple[str, ...]


class WorkAwarded(Event, frozen=True):
    agent: str
    member: str
    token: int
    price_millionths: int
    lease_ms: int
    deadline_ms: int
    announcer: str


class AwardRenewed(Event, frozen=True):
    agent: str
    token: int
    deadline_ms: int


class RenewalRefused(Event, frozen=True):
    agent: str
    token: int
    reason: str


class WorkCompleted(Event, frozen=True):
    agent: str
    token: int
    result: str
    announcer: str
    members: tuple[str, ...]
    ended_ms: int


class WorkFailed(Event, frozen=True):
    agent: str
    token: int
    error_type: str
    error: str


class AwardLost(Event, frozen=True):
    agent: str
    member: str
    token: int
    deadline_ms: int


class ResultIgnored(Event, frozen=True):
    agent: str
    token: int
    reason: str


class AuctionUnsold(Event, frozen=True):
    agent: str
    reason: str
    members: tuple[str, ...]
    ended_ms: int


class AuctionCancelled(Event, frozen=True):
    agent: str
    reason: str
    members: tuple[str, ...]
    ended_ms: int


class CancelRefused(Event, frozen=True):
    agent: str
    announcer: str


class AuctionForgotten(Event, frozen=True):
    ended_ms: int


class AuctionRead(Event, frozen=True):
    agent: str
    announcer: str
    description: str
    capabilities: tuple[str, ...]
    reward_millionths: int | None
    status: str
    reason: str
    scoring: Scoring | None
    bids: tuple[Bid, ...]
    scores: tuple[Score, ...]
    winner: str
    token: int | None
    due_ms: int
    result: str | None
    ended_ms: int | None


COMMANDS = (
    AnnounceAuction,
    PlaceBid,
    PassAuction,
    ScoreBids,
    RenewAward,
    CompleteWork,
    FailWork,
    CancelAuction,
    ReadAuction,
)
EVENTS = (
    AuctionAnnounced,
    AuctionKnown,
    AuctionRefused,
    AuctionUnknown,
    BidPlaced,
    BidRefused,
    BidderPassed,
    PassRefused,
    ScoresWanted,
    ScoresRefused,
    BidsScored,
    WorkAwarded,
    AwardRenewed,
    RenewalRefused,
    WorkCompleted,
    WorkFailed,
    AwardLost,
    ResultIgnored,
    AuctionUnsold,
    AuctionCancelled,
    CancelRefused,
    AuctionForgotten,
    AuctionRead,
)
