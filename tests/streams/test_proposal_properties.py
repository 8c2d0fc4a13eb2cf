"""What holds for every proposal, whatever comes in whatever order."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from accord.schemas.messages import Command, Event
from accord.schemas.messages.log import Tick
from accord.schemas.messages.proposals import Ballot, CastVote, ProposalDecided, Propose, VoteCast, Voter
from accord.streams.decider import At, dump
from accord.streams.proposals.bounds import CHOICES
from accord.streams.proposals.decider import ProposalDecider
from accord.streams.proposals.proposal import Proposal, count
from hypothesis import given
from hypothesis import strategies as st

DECIDER = ProposalDecider()
NAMES = ("ada", "bob", "cleo", "dan", "eve")
DUE_MS = 1_000

weights = st.lists(st.integers(1, 9), min_size=1, max_size=5)
thresholds = st.fractions(0, Fraction(11, 12), max_denominator=12)
quorums = st.none() | st.integers(1, 5)
choices = st.sampled_from(CHOICES)
votes = st.lists(st.tuples(st.sampled_from((*NAMES, "mallory")), choices), max_size=12)


def propose(given_weights: Sequence[int], threshold: Fraction, quorum: int | None) -> Propose:
    electorate = tuple(Voter(name, weight) for name, weight in zip(NAMES, given_weights, strict=False))
    return Propose(
        "ada", "?", electorate, threshold.numerator, threshold.denominator,
        None if quorum is None else min(quorum, len(electorate)), DUE_MS, 9 * DUE_MS, (),
    )  # fmt: skip


def play(commands: Sequence[tuple[Command, int]]) -> tuple[Proposal | None, list[Event]]:
    """The state after commands at their times, and all events."""
    state: Proposal | None = None
    events: list[Event] = []
    for seq, (command, now_ms) in enumerate(commands, start=1):
        for event in DECIDER.decide(state, command, At(now_ms, seq, f"r{seq}")):
            events.append(event)
            state = DECIDER.evolve(state, event)
    return state, events


def decided(events: Sequence[Event]) -> ProposalDecided:
    (found,) = [event for event in events if isinstance(event, ProposalDecided)]
    return found


def result(found: ProposalDecided) -> tuple[object, ...]:
    """Of a decision all but its times."""
    ballots = [(ballot.voter, ballot.weight, ballot.choice) for ballot in found.ballots]
    return found.outcome, found.yes, found.no, found.abstain, found.voted, ballots


@given(weights, thresholds, quorums, st.dictionaries(st.sampled_from(NAMES[1:]), choices), st.randoms())
def test_a_count_never_depends_on_the_order_of_the_votes(
    given_weights: list[int], threshold: Fraction, quorum: int | None, cast: dict[str, str], random: object
) -> None:
    first = [(propose(given_weights, threshold, quorum), 0)]
    last = [(Tick(), DUE_MS)]
    one = [(CastVote(name, choice, ""), 1) for name, choice in cast.items()]
    other = list(one)
    random.shuffle(other)  # type: ignore[attr-defined]
    results = [result(decided(play([*first, *votes, *last])[1])) for votes in (one, other)]
    assert results[0] == results[1]


@given(weights, thresholds, quorums, votes)
def test_a_count_adds_up_and_counts_each_voter_once(
    given_weights: list[int], threshold: Fraction, quorum: int | None, cast: list[tuple[str, str]]
) -> None:
    asked = propose(given_weights, threshold, quorum)
    commands = [(CastVote(name, choice, ""), 1) for name, choice in cast]
    state, events = play([(asked, 0), *commands, (Tick(), DUE_MS)])
    found = decided(events)
    assert [(ballot.voter, ballot.weight) for ballot in found.ballots] == [(v.name, v.weight) for v in asked.voters]
    assert found.yes + found.no + found.abstain == sum(voter.weight for voter in asked.voters)
    counted = {event.agent: event.choice for event in events if isinstance(event, VoteCast)}
    assert len(counted) == sum(isinstance(event, VoteCast) for event in events), "a vote counted twice"
    assert {b.voter: b.choice for b in found.ballots} == {
        voter.name: counted.get(voter.name, "abstain") for voter in asked.voters
    }
    first = {"ada": "yes"}
    for name, choice in cast:
        first.setdefault(name, choice)
    assert counted == {name: first[name] for name in counted}, "the first vote counts"
    share = Fraction(found.yes, found.yes + found.no) if found.voted else Fraction(0)
    enough = asked.quorum is None or found.voted >= asked.quorum
    assert found.outcome == ("no_quorum" if not enough else "approved" if share > threshold else "rejected")
    assert state is not None and state.status == found.outcome


@given(weights, votes, st.lists(st.integers(0, 3)), st.randoms())
def test_ticks_and_repeats_change_nothing(
    given_weights: list[int], cast: list[tuple[str, str]], repeated: list[int], random: object
) -> None:
    start = (propose(given_weights, Fraction(1, 2), None), 0)
    once: list[tuple[Command, int]] = [(CastVote(name, choice, ""), 1) for name, choice in cast]
    noisy = list(once)
    for number in repeated:
        if number < len(once):
            noisy.insert(number + 1, noisy[number])
        noisy.insert(number, (Tick(), 1))
    plain, _ = play([start, start, *once, (Tick(), DUE_MS)])
    other, events = play([start, *noisy, (Tick(), DUE_MS), (Tick(), DUE_MS), *once])
    assert dump(plain) == dump(other)
    assert decided(events)


@given(st.lists(st.builds(Ballot, st.text(), st.integers(1, 9), choices, st.just(""), st.none())), thresholds, quorums)
def test_more_yes_never_hurts(ballots: list[Ballot], threshold: Fraction, quorum: int | None) -> None:
    order = ("no_quorum", "rejected", "approved")
    more = [*ballots, Ballot("one", 1, "yes", "", None)]
    before, after = (order.index(count(one, threshold, quorum).outcome) for one in (ballots, more))
    assert after >= before
