"""Auctions: who bid what for which work, what the bids were worth, who did it and what came of it.

Keys are added, never renamed. They are read off the events, not off the state, so what is not remembered any more is
there, too.
"""

from __future__ import annotations

from typing import Final

import msgspec
from accord.replay.history import History, everything, one_of
from accord.replay.source import Source
from accord.replay.state import Point
from accord.replay.timeline import iso
from accord.schemas.messages import Event
from accord.schemas.messages import auctions as events
from accord.streams.auctions.auction import STATUSES, Auction, evolve
from accord.streams.partition import Decided

__all__ = ["STATUSES", "AuctionView", "auction_at", "auctions_at"]

DOMAIN: Final = "auctions"
MILLION: Final = 1_000_000
BILLION: Final = 1_000_000_000
MINUTE_MS: Final = 60_000

_CHANGING: Final = (
    events.BidPlaced, events.BidderPassed, events.ScoresWanted, events.BidsScored, events.WorkAwarded,
    events.AwardRenewed, events.WorkCompleted, events.WorkFailed, events.AwardLost, events.AuctionUnsold,
    events.AuctionCancelled,
)  # fmt: skip


class BidView(msgspec.Struct, frozen=True):
    """A bid; `estimated_time` is in minutes. `score`: the lower the better, None: not known, or it cannot win."""

    agent: str
    price: float
    estimated_time: float
    confidence: float
    load: int
    score: float | None


class AwardView(msgspec.Struct, frozen=True):
    """Who did the work. `ended` is running, completed, failed, lost (its lease ended) or cancelled."""

    agent: str
    token: int
    price: float
    at: str
    ended: str
    error: str


class AuctionView(msgspec.Struct, frozen=True):
    """An auction. `passed` are those who did not bid and why, `refused` bids that took no part and why, `awaited` who
    has not answered yet; `scoring` is `NAME VERSION` of the announcer's own. `position` is its last event."""

    id: str
    status: str
    announcer: str
    description: str
    reward: float | None
    capabilities: tuple[str, ...]
    scoring: str | None
    bids: tuple[BidView, ...]
    passed: dict[str, str]
    refused: tuple[tuple[str, str], ...]
    awaited: tuple[str, ...]
    awards: tuple[AwardView, ...]
    winner: str | None
    result: str | None
    reason: str
    announced_at: str
    ended_at: str | None
    position: str


class Kept(msgspec.Struct):
    """An auction as the events tell it, with what its state does without."""

    state: Auction
    announced_ms: int
    passed: dict[str, str] = {}
    refused: tuple[tuple[str, str], ...] = ()
    awards: tuple[AwardView, ...] = ()
    position: str = ""


class Auctions(History[Kept]):
    """The auctions of a partition, by id; one whose id was used again is the later one."""

    def see(self, decided: Decided) -> None:
        key, at = self.place(decided)
        for event in decided.events:
            match event:
                case events.AuctionAnnounced():
                    announced = evolve(None, event)
                    assert announced is not None
                    self.kept[key] = Kept(announced, event.announced_ms, position=at)
                case events.BidRefused(agent, _, reason):
                    kept = self.kept[key]
                    kept.refused = (*kept.refused, (agent, reason))
                case _ if isinstance(event, _CHANGING):
                    self._change(self.kept[key], event, decided.decision.now_ms, at)

    @staticmethod
    def _change(kept: Kept, event: Event, now_ms: int, at: str) -> None:
        after = evolve(kept.state, event)
        assert after is not None
        kept.state, kept.position = after, at
        match event:
            case events.BidderPassed(agent, reason):
                kept.passed[agent] = reason
            case events.WorkAwarded(agent, _, token, price):
                award = AwardView(agent, token, price / MILLION, iso(now_ms), "running", "")
                kept.awards = (*kept.awards, award)
            case events.WorkCompleted():
                _end(kept, "completed")
            case events.WorkFailed(_, _, error_type, error):
                _end(kept, "failed", f"{error_type}: {error}")
            case events.AwardLost():
                _end(kept, "lost")
            case events.AuctionCancelled():
                _end(kept, "cancelled")


def _end(kept: Kept, ended: str, error: str = "") -> None:
    """The last award is over."""
    if kept.awards and kept.awards[-1].ended == "running":
        kept.awards = (*kept.awards[:-1], msgspec.structs.replace(kept.awards[-1], ended=ended, error=error))


def auctions_at(source: Source, point: Point = None, *, processes: int = 1) -> tuple[AuctionView, ...]:
    """Every auction that was announced up to a point, oldest first.

    Raises:
        What `state_at` raises.
    """
    found = [_view(key, kept) for key, kept in everything(source, DOMAIN, Auctions, point, processes)]
    return tuple(sorted(found, key=lambda view: (view.announced_at, view.id)))


def auction_at(source: Source, auction_id: str, point: Point = None) -> AuctionView | None:
    """An auction at a point, or None. Only its partition is read."""
    found = one_of(source, DOMAIN, Auctions, point, auction_id)
    return None if found is None else _view(auction_id, found)


def _view(auction_id: str, kept: Kept) -> AuctionView:
    a = kept.state
    scores = {score.agent: score.score_billionths for score in a.scores}
    bids = []
    for bid in a.bids:
        score = scores.get(bid.agent)
        bids.append(
            BidView(
                bid.agent, bid.price_millionths / MILLION, bid.time_ms / MINUTE_MS, bid.confidence_millionths / MILLION,
                bid.load, None if score is None else score / BILLION,
            )
        )  # fmt: skip
    awaited = tuple([name for name in a.bidders if not a.has_answered(name)]) if a.status == "open" else ()
    return AuctionView(
        auction_id,
        a.status,
        a.agent,
        a.description,
        None if a.reward_millionths is None else a.reward_millionths / MILLION,
        a.capabilities,
        None if a.scoring is None else f"{a.scoring.name} {a.scoring.version}",
        tuple(bids),
        kept.passed,
        kept.refused,
        awaited,
        kept.awards,
        a.winner if a.status in ("running", "completed") else None,
        a.result,
        a.reason,
        iso(kept.announced_ms),
        None if a.ended_ms is None else iso(a.ended_ms),
        kept.position,
    )
