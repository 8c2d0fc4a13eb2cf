"""What holds for every auction, whatever comes in whatever order."""

from __future__ import annotations

from collections.abc import Sequence

from accord.schemas.messages import Command, Event
from accord.schemas.messages.auctions import (
    AnnounceAuction,
    AuctionUnsold,
    AwardLost,
    Bid,
    BidPlaced,
    CompleteWork,
    FailWork,
    PassAuction,
    PlaceBid,
    RenewAward,
    Score,
    ScoreBids,
    Scoring,
    WorkAwarded,
    WorkCompleted,
    WorkFailed,
)
from accord.schemas.messages.log import CommandRejected, Tick
from accord.streams.auctions.auction import Auction
from accord.streams.auctions.decider import AuctionDecider
from accord.streams.auctions.scoring import WEIGHTS, score_of
from accord.streams.decider import At, dump, restore
from hypothesis import given
from hypothesis import strategies as st

DECIDER = AuctionDecider()
NAMES = ("ada", "bob", "cleo", "dan")
LEAST = 500_000
OWN = Scoring("own", "1")
agents = st.sampled_from((*NAMES, "mallory"))
tokens = st.integers(1, 25)

bids = st.builds(
    PlaceBid, agents, st.just("m"), st.integers(-1, 9).map(lambda n: n * 10_000_000), st.integers(-1, 5),
    st.integers(-1, 11).map(lambda n: n * 100_000), st.just(0), st.just(()),
)  # fmt: skip
scores = st.builds(ScoreBids, st.just("boss"), st.just(OWN), st.just(()))
commands = st.one_of(
    bids, bids, st.builds(PassAuction, agents, st.just("")), st.builds(RenewAward, agents, tokens),
    st.builds(CompleteWork, agents, tokens, st.just("1")),
    st.builds(FailWork, agents, tokens, st.just(""), st.just("")), scores, st.just(Tick()),
)  # fmt: skip
steps = st.lists(st.tuples(commands, st.sampled_from([0, 0, 1, 400, 1_000])), max_size=24)


def announce(scoring: Scoring | None) -> AnnounceAuction:
    return AnnounceAuction(
        "boss", "?", NAMES, (), 70_000_000, WEIGHTS, LEAST, scoring, 2_000, 1_000, 1_000, 10**9, ()
    )  # fmt: skip


class Run:
    """A random life of an auction. Who has the award knows its token: every other guess is a stranger's."""

    def __init__(self, scoring: Scoring | None) -> None:
        self.state: Auction | None = None
        self.events: list[Event] = []
        self.now_ms = self.seq = 0
        self.do(announce(scoring), 0)

    def do(self, command: Command, after_ms: int) -> Sequence[Event]:
        self.now_ms += after_ms
        self.seq += 1
        if isinstance(command, ScoreBids) and self.state is not None:
            known = tuple(Score(bid.agent, bid.price_millionths or None) for bid in self.state.bids)
            command = ScoreBids(command.agent, command.scoring, known)
        made = DECIDER.decide(self.state, command, At(self.now_ms, self.seq, "r"))
        for event in made:
            assert not isinstance(event, CommandRejected)
            self.state = DECIDER.evolve(self.state, event)
            self.events.append(event)
        return made

    def close(self) -> None:
        """Lets the deadline pass, if not all have answered before."""
        if self.state is not None and self.state.status == "open":
            self.do(Tick(), 2_000)


@given(st.sampled_from([None, OWN]), steps)
def test_there_is_one_award_at_a_time_and_only_to_a_valid_bid(
    scoring: Scoring | None, taken: list[tuple[Command, int]]
) -> None:
    run = Run(scoring)
    for command, after_ms in taken:
        run.do(command, after_ms)
        assert run.state == restore(dump(run.state), Auction)
    placed: dict[str, Bid] = {}
    held: WorkAwarded | None = None
    tokens_seen, had, ended = [0], set(), False
    for event in run.events:
        match event:
            case BidPlaced(bid):
                assert bid.agent in NAMES and bid.agent not in placed, "one bid each"
                assert 0 <= bid.price_millionths <= 70_000_000 and 0 <= bid.confidence_millionths <= 1_000_000
                assert bid.time_ms >= 0 and held is None and not had, "bidding was over"
                placed[bid.agent] = bid
            case WorkAwarded():
                assert held is None and not ended, "a second award"
                assert placed[event.agent].confidence_millionths >= LEAST and event.agent not in had
                assert event.token > tokens_seen[-1]
                tokens_seen.append(event.token)
                had.add(event.agent)
                held = event
            case AwardLost(agent=agent, token=token) | WorkFailed(agent=agent, token=token):
                assert held is not None and (agent, token) == (held.agent, held.token)
                held = None
            case WorkCompleted(agent, token):
                assert held is not None and (agent, token) == (held.agent, held.token)
                held, ended = None, True
            case AuctionUnsold():
                assert held is None and not ended
                ended = True
    assert run.state is not None and (run.state.status == "running") == (held is not None)


@given(st.lists(bids, max_size=6), st.randoms())
def test_the_lowest_score_wins_and_the_order_counts_for_equal_ones_alone(
    offered: list[PlaceBid], random: object
) -> None:
    run = Run(None)
    for bid in offered:
        run.do(bid, 0)
    run.close()
    assert run.state is not None
    placed = run.state.bids
    able = [bid for bid in placed if bid.confidence_millionths >= LEAST]
    if not able:
        assert run.state.status == "unsold"
        return
    best = min(score_of(bid, WEIGHTS) for bid in able)
    first = next(bid for bid in able if score_of(bid, WEIGHTS) == best)
    assert run.state.winner == first.agent
    again = Run(None)
    shuffled = list(placed)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for one in shuffled:
        again.do(
            PlaceBid(one.agent, "m", one.price_millionths, one.time_ms, one.confidence_millionths, 0, ()), 0
        )  # fmt: skip
    again.close()
    assert again.state is not None
    assert score_of(again.state.bid(again.state.winner), WEIGHTS) == best


@given(st.sampled_from([None, OWN]), steps)
def test_ticks_and_repeats_change_nothing(scoring: Scoring | None, taken: list[tuple[Command, int]]) -> None:
    """Awards apart, whose tokens are numbers of decisions: so they are compared by who had them."""
    plain, noisy = Run(scoring), Run(scoring)
    quiet = [(command, after_ms) for command, after_ms in taken if not hasattr(command, "token")]
    for command, after_ms in quiet:
        plain.do(command, after_ms)
        noisy.do(Tick(), 0)
        noisy.do(command, after_ms)
        if not isinstance(command, Tick):
            noisy.do(command, 0)
        noisy.do(Tick(), 0)
    assert plain.state is not None and noisy.state is not None
    assert (plain.state.status, plain.state.bids, plain.state.winner, plain.state.order) == (
        noisy.state.status, noisy.state.bids, noisy.state.winner, noisy.state.order,
    )  # fmt: skip
