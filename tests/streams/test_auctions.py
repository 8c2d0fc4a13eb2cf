"""The auctions decider, branch by branch."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import Command, Event, auctions
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
    Weights,
    WorkAwarded,
    WorkCompleted,
    WorkFailed,
)
from accord.schemas.messages.locks import LockReleased, ReleaseLock
from accord.schemas.messages.log import CommandRejected, Tick
from accord.schemas.messages.signals import EmitSignal
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.auctions.auction import _CHANGES, Auction, evolve
from accord.streams.auctions.bounds import (
    BIDDERS_MAX,
    DESCRIPTION_BYTES_MAX,
    LOAD_MAX,
    PRICE_MAX,
    SCORE_MAX,
    TIME_MS_MAX,
    WEIGHT_MAX,
)
from accord.streams.auctions.decider import _ANSWERS, DOMAIN, AuctionDecider
from accord.streams.auctions.scoring import WEIGHTS, ranked, score_of
from accord.streams.decider import At, Order, dump, restore
from accord.streams.domains import DOMAINS
from accord.streams.locks.bounds import LEASE_MS_MAX, LEASE_MS_MIN
from accord.streams.signals.decider import TRAIL_MAX
from accord.streams.tasks.bounds import CAPABILITIES_MAX, ERROR_CHARS_MAX, INPUT_BYTES_MAX, LIMIT_MS_MAX, NAME_BYTES_MAX

from tests.streams.spec import Given, Specification

decider = AuctionDecider()
given = Specification(decider)
T0 = 1_000
DUE = T0 + 30_000
LEASE_MS = 10_000
NEW = 100
"""Number of the decision under test."""
MINUTE_MS = 60_000
OWN = Scoring("fastest", "2")


def announce(*bidders: str, **terms: Any) -> AnnounceAuction:
    known: dict[str, Any] = {
        "agent": "boss", "description": "sort it", "bidders": bidders or ("ada", "bob", "cleo"), "capabilities": (),
        "reward_millionths": None, "weights": WEIGHTS, "confidence_least_millionths": 500_000, "scoring": None,
        "deadline_ms": DUE - T0, "scoring_ms": 5_000, "lease_ms": LEASE_MS, "keep_ms": 3_000, "trail": (),
    }  # fmt: skip
    return AnnounceAuction(**(known | terms))


def announced(*bidders: str, **terms: Any) -> AuctionAnnounced:
    c = announce(*bidders, **terms)
    return AuctionAnnounced(*[getattr(c, field) for field in c.__struct_fields__], T0)


def place(agent: str, price: int = 50, minutes: int = 10, percent: int = 90, **terms: Any) -> PlaceBid:
    known: dict[str, Any] = {
        "price_millionths": price * 1_000_000, "time_ms": minutes * MINUTE_MS,
        "confidence_millionths": percent * 10_000, "load": 0, "capabilities": (),
    }  # fmt: skip
    return PlaceBid(agent, f"{agent}-1", **(known | terms))


def bid(agent: str, *terms: int) -> Bid:
    c = place(agent, *terms)
    return Bid(c.agent, c.member, c.price_millionths, c.time_ms, c.confidence_millionths, c.load)


def refused(agent: str, reason: str, *terms: int, **other: Any) -> BidRefused:
    c = place(agent, *terms, **other)
    return BidRefused(c.agent, c.member, reason, c.price_millionths, c.time_ms, c.confidence_millionths)


def score(agent: str, *terms: int) -> Score:
    return Score(agent, round(score_of(bid(agent, *terms), WEIGHTS) * 10**9))


def awarded(agent: str, now_ms: int, token: int = NEW, price: int = 50) -> WorkAwarded:
    return WorkAwarded(agent, f"{agent}-1", token, price * 1_000_000, LEASE_MS, now_ms + LEASE_MS, "boss")


def after(*done: Command | int, **terms: Any) -> Given:
    """What is there after an announcement and commands; a number is when those after it are decided. Decision numbers
    count from 1."""
    state: Auction | None = None
    now_ms = T0
    seq = 0
    for one in (announce(**terms), *done):
        if isinstance(one, int):
            now_ms = one
            continue
        seq += 1
        for event in decider.decide(state, one, At(now_ms, seq, "r")):
            assert not isinstance(event, CommandRejected), event
            state = decider.evolve(state, event)
    return Given(decider, state)


TWO = (place("ada", 60), place("bob", 40), PassAuction("cleo", ""))
"""bob's is better; decision 4 awards the work."""
RUNNING = after(*TWO)
TOKEN = 4


# -- announcing


def test_announcing() -> None:
    made = given().when(announce(), T0).then(announced())
    assert decider.deadline_ms(made.state) == DUE
    made.when(announce(keep_ms=9, trail=("x",)), T0).then(AuctionKnown("boss", "open"))
    longest = tuple("e" for _ in range(TRAIL_MAX))
    given().when(announce(trail=longest), T0).then(announced(trail=longest))
    given().when(announce(trail=(*longest, "e")), T0).then(AuctionRefused("boss", "circular_trigger"))


@pytest.mark.parametrize(
    "other",
    [
        {"agent": "eve"}, {"description": "x"}, {"bidders": ("ada",)}, {"capabilities": ("x",)}, {"scoring": OWN},
        {"reward_millionths": 1}, {"weights": Weights(1, 1, 1)}, {"confidence_least_millionths": 0}, {"deadline_ms": 1},
        {"scoring_ms": 1}, {"lease_ms": LEASE_MS + 1},
    ],
    ids=str,
)  # fmt: skip
def test_an_id_has_one_auction(other: dict[str, Any]) -> None:
    again = announce(**other)
    after().when(again, T0).then(AuctionRefused(again.agent, "exists"))


# -- bidding


def test_the_last_answer_ends_the_bidding() -> None:
    one = after(place("ada", 60)).when(place("bob", 40), T0 + 1).then(BidPlaced(bid("bob", 40)))
    end = one.when(PassAuction("cleo", "too busy"), T0 + 2).then(
        BidderPassed("cleo", "too busy"),
        BidsScored(None, (score("ada", 60), score("bob", 40)), ("bob", "ada")),
        awarded("bob", T0 + 2, price=40),
    )
    assert decider.deadline_ms(end.state) == T0 + 2 + LEASE_MS
    assert (end.state.status, end.state.order) == ("running", ("ada",))
    two = after(PassAuction("cleo", ""), place("ada", 60)).when(place("bob", 40), T0)
    two.then(BidPlaced(bid("bob", 40)), BidsScored(None, (score("ada", 60), score("bob", 40)), ("bob", "ada")),
             awarded("bob", T0, price=40))  # fmt: skip


def test_bidding_ends_at_the_deadline() -> None:
    one = after(place("cleo"))
    one.when(Tick(), DUE - 1).then_nothing()
    end = (BidsScored(None, (score("cleo"),), ("cleo",)), awarded("cleo", DUE))
    one.when(Tick(), DUE).then(*end).when(Tick(), DUE).then_nothing()
    one.when(place("ada"), DUE).then(*end, refused("ada", "closed"))
    one.when(PassAuction("ada", ""), DUE).then(*end, PassRefused("ada", "closed"))


def test_one_answer_each_and_only_of_who_is_asked() -> None:
    one = after(place("ada"), PassAuction("bob", ""))
    one.when(place("ada", 10), T0).then(refused("ada", "answered", 10))
    one.when(PassAuction("ada", ""), T0).then(PassRefused("ada", "answered"))
    one.when(place("bob"), T0).then(refused("bob", "answered"))
    one.when(PassAuction("bob", ""), T0).then(PassRefused("bob", "answered"))
    one.when(place("eve"), T0).then(refused("eve", "not_invited"))
    one.when(PassAuction("eve", ""), T0).then(PassRefused("eve", "not_invited"))


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"price_millionths": -1}, "price"),
        ({"price_millionths": PRICE_MAX + 1}, "price"),
        ({"time_ms": -1}, "time"),
        ({"time_ms": TIME_MS_MAX + 1}, "time"),
        ({"confidence_millionths": -1}, "confidence"),
        ({"confidence_millionths": 1_000_001}, "confidence"),
        ({"price_millionths": 70_000_001}, "above_reward"),
        ({"capabilities": ("write",)}, "incapable"),
        ({"capabilities": ()}, "incapable"),
    ],
)
def test_bids_that_take_no_part(terms: dict[str, Any], reason: str) -> None:
    one = after(capabilities=("write", "read"), reward_millionths=70_000_000 if reason == "above_reward" else None)
    able = {"capabilities": ("write", "read")} | terms
    one.when(place("ada", **able), T0).then(refused("ada", reason, **able))


@pytest.mark.parametrize(
    "terms",
    [
        {"price_millionths": 0, "time_ms": 0, "confidence_millionths": 0},
        {"price_millionths": PRICE_MAX, "time_ms": TIME_MS_MAX, "confidence_millionths": 1_000_000},
        {"capabilities": ("read", "write", "sing")},
    ],
    ids=range(3),
)
def test_bids_that_just_do(terms: dict[str, Any]) -> None:
    one = after(capabilities=("write", "read"), reward_millionths=PRICE_MAX)
    (placed,) = decider.decide(one.state, place("ada", **({"capabilities": ("write", "read")} | terms)), At(T0, 9, "r"))
    assert isinstance(placed, BidPlaced)


# -- scoring


@pytest.mark.parametrize(
    ("terms", "expected"),
    [((80, 5, 90), "0.075"), ((60, 3, 70), "0.045"), ((90, 4, 90), "0.11"), ((0, 0, 0), "0"), ((100, 60, 100), "0.4")],
)
def test_scores(terms: tuple[int, int, int], expected: str) -> None:
    assert score_of(bid("ada", *terms), WEIGHTS) == Fraction(expected)


def test_scores_are_exact_to_the_last_unit() -> None:
    """A millisecond more or a millionth less is another score, as large as numbers may be."""
    large = Bid("a", "a-1", PRICE_MAX, TIME_MS_MAX, 1_000_000, 0)
    heavy = Weights(WEIGHT_MAX, WEIGHT_MAX, WEIGHT_MAX)
    for other in (
        Bid("b", "b-1", PRICE_MAX - 1, TIME_MS_MAX, 1_000_000, 0),
        Bid("b", "b-1", PRICE_MAX, TIME_MS_MAX - 1, 1_000_000, 0),
    ):
        scores = [score_of(one, heavy) for one in (large, other)]
        assert ranked((large, other), scores, 0) == ("b", "a")
    assert Weights(1, 1, 1) != WEIGHTS
    assert score_of(large, Weights(1, 0, 0)) == Fraction(PRICE_MAX, 10**14)
    assert score_of(large, Weights(0, 1, 0)) == Fraction(TIME_MS_MAX, 10**6 * 3_600_000)
    assert score_of(large, Weights(0, 0, 1)) == -Fraction(1, 10**6)


def test_of_equal_bids_the_first_wins() -> None:
    one = after(place("bob"), place("ada"))
    one.when(PassAuction("cleo", ""), T0).then(
        BidderPassed("cleo", ""), BidsScored(None, (score("bob"), score("ada")), ("bob", "ada")), awarded("bob", T0)
    )


def test_too_little_confidence_cannot_win() -> None:
    one = after(place("ada", 1, 1, 49), place("bob", 90, 90, 50))
    scores = (score("ada", 1, 1, 49), score("bob", 90, 90, 50))
    one.when(Tick(), DUE).then(BidsScored(None, scores, ("bob",)), awarded("bob", DUE, price=90))
    after(place("ada", 1, 1, 49)).when(Tick(), DUE).then(
        BidsScored(None, scores[:1], ()), AuctionUnsold("boss", "no_valid_bid", ("ada-1",), DUE)
    )


def test_without_bids_it_is_unsold() -> None:
    unsold = AuctionUnsold("boss", "no_bids", (), DUE)
    end = after(PassAuction("ada", "")).when(Tick(), DUE).then(unsold)
    assert (end.state.status, end.state.reason, decider.deadline_ms(end.state)) == ("unsold", "no_bids", DUE + 3_000)
    after(PassAuction("ada", ""), bidders=("ada", "bob")).when(PassAuction("bob", "b"), T0).then(
        BidderPassed("bob", "b"), AuctionUnsold("boss", "no_bids", (), T0)
    )


# -- a scoring of the announcer's own


def scoring() -> Given:
    one = after(place("ada", 60), place("bob", 40), place("cleo", 50, 10, 20), scoring=OWN)
    assert (one.state.status, one.state.due_ms) == ("scoring", T0 + 5_000)
    return one


def test_the_announcer_is_asked_for_its_scores() -> None:
    asked = after(place("ada", 60), scoring=OWN).when(Tick(), DUE)
    asked.then(ScoresWanted("boss", OWN, (bid("ada", 60),), DUE + 5_000))
    scores = (Score("ada", 7), Score("bob", 8), Score("cleo", -9))
    end = scoring().when(ScoreBids("boss", OWN, scores), T0 + 1)
    end.then(BidsScored(OWN, scores, ("ada", "bob")), awarded("ada", T0 + 1, price=60))
    some = (Score("ada", None), Score("bob", 8), Score("cleo", 1))
    scoring().when(ScoreBids("boss", OWN, some), T0 + 1).then(
        BidsScored(OWN, some, ("bob",)), awarded("bob", T0 + 1, price=40)
    )
    none = tuple(Score(name, None) for name in ("ada", "bob", "cleo"))
    scoring().when(ScoreBids("boss", OWN, none), T0 + 1).then(
        BidsScored(OWN, none, ()), AuctionUnsold("boss", "no_valid_bid", ("ada-1", "bob-1", "cleo-1"), T0 + 1)
    )


def test_scores_that_do_not_count() -> None:
    scores = (Score("ada", 7), Score("bob", 8), Score("cleo", -9))
    for command, reason in (
        (ScoreBids("eve", OWN, scores), "not_announcer"),
        (ScoreBids("boss", Scoring("fastest", "1"), scores), "scoring"),
        (ScoreBids("boss", OWN, scores[:2]), "bids"),
        (ScoreBids("boss", OWN, scores[::-1]), "bids"),
        (ScoreBids("boss", OWN, (*scores, Score("eve", 1))), "bids"),
    ):
        scoring().when(command, T0).then(ScoresRefused(command.agent, reason))
    RUNNING.when(ScoreBids("boss", OWN, scores), T0).then(ScoresRefused("boss", "not_asked"))
    after().when(ScoreBids("boss", OWN, ()), T0).then(ScoresRefused("boss", "not_asked"))


def test_who_does_not_score_in_time_sells_nothing() -> None:
    scoring().when(Tick(), T0 + 4_999).then_nothing()
    late = AuctionUnsold("boss", "not_scored", ("ada-1", "bob-1", "cleo-1"), T0 + 5_000)
    scoring().when(Tick(), T0 + 5_000).then(late)
    scoring().when(ScoreBids("boss", OWN, ()), T0 + 5_000).then(late, ScoresRefused("boss", "not_asked"))


# -- the work


def test_who_won_renews_and_completes() -> None:
    renewed = RUNNING.when(RenewAward("bob", TOKEN), T0 + 9_000).then(AwardRenewed("bob", TOKEN, T0 + 19_000))
    renewed.when(Tick(), T0 + LEASE_MS).then_nothing()
    done = WorkCompleted("bob", TOKEN, '"ok"', "boss", ("ada-1", "bob-1"), T0 + 12_000)
    end = renewed.when(CompleteWork("bob", TOKEN, '"ok"'), T0 + 12_000).then(done)
    assert (end.state.status, end.state.result, end.state.winner) == ("completed", '"ok"', "bob")
    end.when(CompleteWork("bob", TOKEN, '"ok"'), T0 + 12_001).then(ResultIgnored("bob", TOKEN, "not_running"))
    end.when(FailWork("bob", TOKEN, "", ""), T0 + 12_001).then(ResultIgnored("bob", TOKEN, "not_running"))
    end.when(RenewAward("bob", TOKEN), T0 + 12_001).then(RenewalRefused("bob", TOKEN, "not_running"))


def test_if_the_winner_fails_the_next_bid_has_its_turn() -> None:
    failed = WorkFailed("bob", TOKEN, "ValueError", "x" * ERROR_CHARS_MAX)
    second = RUNNING.when(FailWork("bob", TOKEN, "ValueError", "x" * (ERROR_CHARS_MAX + 1)), T0 + 1).then(
        failed, awarded("ada", T0 + 1, price=60)
    )
    second.when(CompleteWork("bob", TOKEN, "1"), T0 + 2).then(ResultIgnored("bob", TOKEN, "taken_over"))
    second.when(FailWork("bob", TOKEN, "", ""), T0 + 2).then(ResultIgnored("bob", TOKEN, "taken_over"))
    second.when(RenewAward("bob", TOKEN), T0 + 2).then(RenewalRefused("bob", TOKEN, "taken_over"))
    second.when(CompleteWork("bob", NEW, "1"), T0 + 2, seq=NEW + 1).then(ResultIgnored("bob", NEW, "taken_over"))
    second.when(FailWork("ada", NEW, "E", "e"), T0 + 2, seq=NEW + 1).then(
        WorkFailed("ada", NEW, "E", "e"), AuctionUnsold("boss", "exhausted", ("ada-1", "bob-1"), T0 + 2)
    )


def test_if_the_lease_ends_the_next_bid_has_its_turn() -> None:
    RUNNING.when(Tick(), T0 + LEASE_MS - 1).then_nothing()
    lost, next_one = AwardLost("bob", "bob-1", TOKEN, T0 + LEASE_MS), awarded("ada", T0 + LEASE_MS + 5, price=60)
    second = RUNNING.when(Tick(), T0 + LEASE_MS + 5).then(lost, next_one)
    RUNNING.when(CompleteWork("bob", TOKEN, "1"), T0 + LEASE_MS + 5).then(
        lost, next_one, ResultIgnored("bob", TOKEN, "taken_over")
    )
    end = T0 + 2 * LEASE_MS + 5
    second.when(Tick(), end).then(
        AwardLost("ada", "ada-1", NEW, end), AuctionUnsold("boss", "exhausted", ("ada-1", "bob-1"), end)
    )


def test_a_token_cannot_be_guessed_before_it_is_told() -> None:
    """Else one decision would award the work twice under one token."""
    lost, next_one = AwardLost("bob", "bob-1", TOKEN, T0 + LEASE_MS), awarded("ada", T0 + LEASE_MS, price=60)
    RUNNING.when(FailWork("ada", NEW, "E", "e"), T0 + LEASE_MS).then(
        lost, next_one, ResultIgnored("ada", NEW, "taken_over")
    )


# -- cancelling, reading, forgetting


def test_cancelling() -> None:
    cancelled = AuctionCancelled("boss", "changed my mind", ("ada-1", "bob-1"), T0 + 1)
    RUNNING.when(CancelAuction("eve", ""), T0 + 1).then(CancelRefused("eve", "boss"))
    end = RUNNING.when(CancelAuction("boss", "changed my mind"), T0 + 1).then(cancelled)
    end.when(CompleteWork("bob", TOKEN, "1"), T0 + 2).then(ResultIgnored("bob", TOKEN, "not_running"))
    end.when(CancelAuction("boss", ""), T0 + 2).then(AuctionKnown("boss", "cancelled"))
    after().when(CancelAuction("boss", "r"), T0).then(AuctionCancelled("boss", "r", (), T0))
    end.when(Tick(), T0 + 3_000).then_nothing()
    assert end.when(Tick(), T0 + 3_001).then(AuctionForgotten(T0 + 1)).state is None
    end.when(announce(), T0 + 3_001).then(
        AuctionForgotten(T0 + 1),
        AuctionAnnounced(*[getattr(announce(), field) for field in AnnounceAuction.__struct_fields__], T0 + 3_001),
    )


def test_reading() -> None:
    scores = (score("ada", 60), score("bob", 40))
    bids = (bid("ada", 60), bid("bob", 40))
    RUNNING.when(ReadAuction("eve"), T0 + 1).then(
        AuctionRead(
            "eve", "boss", "sort it", (), None, "running", "", None, bids, scores, "bob", TOKEN, T0 + LEASE_MS, None,
            None,
        )
    )  # fmt: skip
    end = RUNNING.when(CompleteWork("bob", TOKEN, "7"), T0 + 5)
    done = end.then(WorkCompleted("bob", TOKEN, "7", "boss", ("ada-1", "bob-1"), T0 + 5))
    done.when(ReadAuction("eve"), T0 + 6).then(
        AuctionRead(
            "eve", "boss", "sort it", (), None, "completed", "", None, bids, scores, "bob", TOKEN, T0 + 3_005, "7",
            T0 + 5,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        place("ada"), PassAuction("ada", ""), ScoreBids("ada", OWN, ()), RenewAward("ada", 1),
        CompleteWork("ada", 1, ""), FailWork("ada", 1, "", ""), CancelAuction("ada", ""), ReadAuction("ada"),
    ],
    ids=lambda command: type(command).__name__,
)  # fmt: skip
def test_what_there_is_not(command: Any) -> None:
    given().when(command, T0).then(AuctionUnknown("ada", type(command).__name__))
    given().when(Tick(), T0).then_nothing()


# -- bounds

LONG_NAMES = tuple("v" * (NAME_BYTES_MAX - 3) + f"{n:03}" for n in range(BIDDERS_MAX))


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (announce(description="x" * (DESCRIPTION_BYTES_MAX + 1)), "a description has at most"),
        (announce(weights=Weights(-1, 0, 0)), "weights="),
        (announce(weights=Weights(0, 0, WEIGHT_MAX + 1)), "weights="),
        (announce(trail=("x" * 256,)), "trail"),
        (announce(bidders=()), "none is named"),
        (announce("ada", "ada"), "one is named twice"),
        (announce(*LONG_NAMES, "one more"), "at most 200"),
        (announce(""), "is no name"),
        (announce(capabilities=("",)), "capabilities"),
        (announce(scoring=Scoring("", "1")), "scoring"),
        (announce(scoring=Scoring("x", "")), "scoring"),
        (announce(reward_millionths=-1), "reward_millionths=-1"),
        (announce(confidence_least_millionths=1_000_001), "confidence_least"),
        (announce(deadline_ms=0), "deadline_ms=0"),
        (announce(scoring_ms=0), "scoring_ms=0"),
        (announce(lease_ms=LEASE_MS_MIN - 1), "lease_ms="),
        (announce(lease_ms=LEASE_MS_MAX + 1), "lease_ms="),
        (announce(keep_ms=LIMIT_MS_MAX + 1), "keep_ms="),
        (place("ada", load=-1), "load=-1"),
        (place("ada", load=LOAD_MAX + 1), "load="),
        (place("ada", capabilities=("x",) * (CAPABILITIES_MAX + 1)), "capabilities: at most"),
        (ScoreBids("boss", OWN, (Score("a", 0),) * (BIDDERS_MAX + 1)), "201 scores"),
        (ScoreBids("boss", OWN, (Score("a", SCORE_MAX + 1),)), "out of range"),
        (ScoreBids("boss", OWN, (Score("a", -SCORE_MAX - 1),)), "out of range"),
        (ScoreBids("boss", Scoring("x", ""), ()), "scoring"),
        (CompleteWork("ada", 1, "x" * (INPUT_BYTES_MAX + 1)), "a result has at most"),
        (PassAuction("ada", "x" * 256), "reason has more"),
        (FailWork("ada", 1, "x" * 256, ""), "error_type has more"),
    ],
    ids=range(28),
)
def test_what_cannot_be_is_rejected(command: Any, problem: str) -> None:
    for state in (None, RUNNING.state):
        (rejected,) = decider.decide(state, command, At(T0, 9, "r"))
        assert isinstance(rejected, CommandRejected) and problem in rejected.description


@pytest.mark.parametrize(
    "command",
    [
        announce(*LONG_NAMES, description="x" * DESCRIPTION_BYTES_MAX, trail=("x" * 255,)),
        announce(weights=Weights(0, 0, WEIGHT_MAX), reward_millionths=PRICE_MAX, confidence_least_millionths=1_000_000),
        announce(deadline_ms=1, scoring_ms=1, lease_ms=LEASE_MS_MIN, keep_ms=0, reward_millionths=0),
        announce(deadline_ms=LIMIT_MS_MAX, scoring_ms=LIMIT_MS_MAX, lease_ms=LEASE_MS_MAX, keep_ms=LIMIT_MS_MAX),
        place("ada", load=LOAD_MAX, capabilities=("x",) * CAPABILITIES_MAX),
        ScoreBids(
            "boss", OWN, (Score("a", SCORE_MAX), Score("b", -SCORE_MAX), *[Score("c", None)] * (BIDDERS_MAX - 2))
        ),
        CompleteWork("ada", 1, "x" * INPUT_BYTES_MAX),
    ],
    ids=range(7),
)
def test_what_may_just_be(command: Command) -> None:
    first, *_ = decider.decide(None, command, At(T0, 9, "r"))
    assert type(first) in (AuctionAnnounced, AuctionUnknown)


def test_the_largest_decisions_fit() -> None:
    text = "x" * DESCRIPTION_BYTES_MAX
    boss, member = "b" * 255, "m" * 255
    end: Any = after(agent=boss, bidders=LONG_NAMES, description=text, scoring=Scoring("s" * 200, "v" * 200))
    state, sizes = end.state, []
    commands: list[Command] = [
        *[PlaceBid(name, member, PRICE_MAX, TIME_MS_MAX, 1_000_000, LOAD_MAX, ()) for name in LONG_NAMES],
        ScoreBids(boss, state.scoring, tuple(Score(name, SCORE_MAX) for name in LONG_NAMES)),
        CompleteWork(LONG_NAMES[0], 201, "r" * INPUT_BYTES_MAX),
        ReadAuction("a" * 255),
    ]
    for seq, command in enumerate(commands):
        events = decider.decide(state, command, At(LIMIT_MS_MAX if seq < 0 else T0, seq, "r"))
        sizes.append(len(events_codec("auctions").encode(list(events))))
        for event in events:
            state = decider.evolve(state, event)
        if seq == BIDDERS_MAX:
            commands[seq + 1] = CompleteWork(LONG_NAMES[0], seq, "r" * INPUT_BYTES_MAX)
    assert state is not None and state.status == "completed" and max(sizes) < DECISION_BYTES_MAX


# -- the domain


def test_bidders_are_asked_by_signals() -> None:
    asked = DOMAIN.reactions[AuctionAnnounced]("a-1", announced("ada", "bob", trail=("started",)))
    assert [(order.domain, order.key) for order in asked] == [
        ("signals", "bid_wanted:ada"),
        ("signals", "bid_wanted:bob"),
    ]
    for order in asked:
        assert isinstance(order, Order) and isinstance(order.command, EmitSignal)
        assert json.loads(order.command.data) == {"auction": "a-1", "announcer": "boss"}
        assert (order.command.agent, order.command.trail) == ("boss", ("started",))


def test_state_survives_a_dump() -> None:
    for state in (RUNNING.state, scoring().state):
        assert restore(dump(state), Auction) == state


def test_every_command_and_event_is_known() -> None:
    assert set(_ANSWERS) == {*auctions.COMMANDS, Tick}
    assert set(_CHANGES) == set(auctions.EVENTS)
    assert DOMAINS["auctions"] is DOMAIN and list(DOMAIN.versions) == [1]


def test_messages_of_others_are_bugs() -> None:
    with pytest.raises(TypeError, match="no command ReleaseLock"):
        decider.decide(None, ReleaseLock("ada", 1), At(T0, 1, "r"))
    other: Event = LockReleased("ada", 1)
    with pytest.raises(TypeError, match="no event LockReleased"):
        evolve(None, other)
