"""The proposals decider, branch by branch."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import Event, proposals
from accord.schemas.messages.locks import LockReleased, ReleaseLock
from accord.schemas.messages.log import CommandRejected, SwitchRules, Tick
from accord.schemas.messages.proposals import (
    Ballot,
    CastVote,
    ProposalDecided,
    ProposalForgotten,
    ProposalKnown,
    ProposalOpened,
    ProposalRead,
    ProposalRefused,
    ProposalUnknown,
    ProposalWithdrawn,
    Propose,
    ReadProposal,
    VoteCast,
    VoteLate,
    Voter,
    VoteRefused,
    WithdrawalRefused,
    WithdrawProposal,
)
from accord.schemas.messages.signals import EmitSignal
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import At, Order, dump, restore
from accord.streams.domains import DOMAINS
from accord.streams.locks.bounds import TEXT_BYTES_MAX
from accord.streams.proposals.bounds import CONTENT_BYTES_MAX, DENOMINATOR_MAX, VOTERS_MAX, WEIGHT_MAX
from accord.streams.proposals.decider import _ANSWERS, DOMAIN, PROPOSED, ProposalDecider
from accord.streams.proposals.proposal import _CHANGES, LATE, Count, Proposal, count, evolve
from accord.streams.signals.decider import TRAIL_MAX
from accord.streams.tasks.bounds import LIMIT_MS_MAX, NAME_BYTES_MAX

from tests.streams.spec import Given, Specification

decider = ProposalDecider()
given = Specification(decider)
T0 = 1_000
DUE = T0 + 30_000
KEEP_MS = 5_000


def voters(*names: str, **weights: int) -> tuple[Voter, ...]:
    return tuple(Voter(name, weights.get(name, 1)) for name in names)


ABC = voters("ada", "bob", "cleo")


def propose(electorate: tuple[Voter, ...] = ABC, **terms: Any) -> Propose:
    known: dict[str, Any] = {
        "agent": "ada", "content": "ship it?", "voters": electorate, "threshold_numerator": 1,
        "threshold_denominator": 2, "quorum": None, "deadline_ms": DUE - T0, "keep_ms": KEEP_MS, "trail": (),
    }  # fmt: skip
    return Propose(**(known | terms))


def opened(electorate: tuple[Voter, ...] = ABC, **terms: Any) -> ProposalOpened:
    c = propose(electorate, **terms)
    return ProposalOpened(*[getattr(c, field) for field in c.__struct_fields__], T0)


def cast(agent: str, choice: str, now_ms: int = T0, weight: int = 1, reason: str = "") -> VoteCast:
    return VoteCast(agent, weight, choice, PROPOSED if agent == "ada" else reason, now_ms)


def ballot(voter: str, choice: str, cast_ms: int | None = T0, weight: int = 1) -> Ballot:
    return Ballot(voter, weight, choice, PROPOSED if voter == "ada" else LATE if cast_ms is None else "", cast_ms)


def begun(electorate: tuple[Voter, ...] = ABC, **terms: Any) -> Given:
    weight = next(voter.weight for voter in electorate if voter.name == "ada")
    return given(opened(electorate, **terms), cast("ada", "yes", weight=weight))


def voted(outcome: str, **choices: str) -> ProposalDecided:
    """The decision of equal voters who all voted at T0 + 1, but for ada, who proposed."""
    ballots = [ballot(name, choice, T0 if name == "ada" else T0 + 1) for name, choice in choices.items()]
    yes, no, abstain = ([*choices.values()].count(choice) for choice in ("yes", "no", "abstain"))
    return ProposalDecided("ada", outcome, yes, no, abstain, yes + no, tuple(ballots), T0 + 1)


# -- proposing


def test_who_proposes_votes_yes_and_the_others_are_awaited() -> None:
    after = given().when(propose(), T0).then(opened(), cast("ada", "yes"))
    assert decider.deadline_ms(after.state) == DUE


def test_who_proposes_alone_has_decided() -> None:
    decided = ProposalDecided("ada", "approved", 3, 0, 0, 1, (ballot("ada", "yes", weight=3),), T0)
    given().when(propose(voters("ada", ada=3)), T0).then(
        opened(voters("ada", ada=3)), cast("ada", "yes", weight=3), decided
    )


def test_who_is_no_voter_cannot_propose() -> None:
    given().when(propose(voters("bob", "cleo")), T0).then(ProposalRefused("ada", "unknown_proposer"))


def test_proposals_that_bring_each_other_about_end() -> None:
    longest = tuple("e" for _ in range(TRAIL_MAX))
    given().when(propose(trail=longest), T0).then(opened(trail=longest), cast("ada", "yes"))
    given().when(propose(trail=(*longest, "e")), T0).then(ProposalRefused("ada", "circular_trigger"))


def test_the_same_once_more_changes_nothing() -> None:
    begun().when(propose(), T0 + 5).then(ProposalKnown("ada", "open"))
    begun().when(propose(keep_ms=9, trail=("e",)), T0 + 5).then(ProposalKnown("ada", "open"))


@pytest.mark.parametrize(
    "other",
    [
        {"agent": "bob"}, {"content": "sink it?"}, {"threshold_numerator": 0}, {"threshold_denominator": 3},
        {"quorum": 2}, {"deadline_ms": 1}, {"electorate": voters("ada", "bob")},
        {"electorate": voters("ada", "bob", "cleo", bob=2)},
    ],
    ids=str,
)  # fmt: skip
def test_an_id_has_one_proposal(other: dict[str, Any]) -> None:
    again = propose(**other)
    begun().when(again, T0 + 5).then(ProposalRefused(again.agent, "exists"))


# -- voting and deciding


@pytest.mark.parametrize(
    ("bob", "cleo", "threshold", "outcome"),
    [
        ("yes", "no", (1, 2), "approved"),
        ("no", "abstain", (1, 2), "rejected"),
        ("yes", "no", (2, 3), "rejected"),
        ("yes", "no", (666, 1_000), "approved"),
        ("abstain", "abstain", (1, 2), "approved"),
        ("no", "no", (0, 1), "approved"),
    ],
)
def test_the_last_vote_decides(bob: str, cleo: str, threshold: tuple[int, int], outcome: str) -> None:
    terms = dict(zip(("threshold_numerator", "threshold_denominator"), threshold, strict=True))
    one = begun(**terms).when(CastVote("bob", bob, ""), T0 + 1).then(cast("bob", bob, T0 + 1))
    after = one.when(CastVote("cleo", cleo, ""), T0 + 1).then(
        cast("cleo", cleo, T0 + 1), voted(outcome, ada="yes", bob=bob, cleo=cleo)
    )
    assert decider.deadline_ms(after.state) == T0 + 1 + KEEP_MS


def test_nothing_is_decided_before_all_have_voted_even_if_it_cannot_change_any_more() -> None:
    after = begun().when(CastVote("bob", "yes", ""), T0 + 1).then(cast("bob", "yes", T0 + 1))
    assert after.state.status == "open", "two of three said yes"


def test_weights_count() -> None:
    electorate = voters("ada", "bob", "cleo", bob=3, cleo=2)
    end = ProposalDecided(
        "ada", "rejected", 3, 3, 0, 3,
        (ballot("ada", "yes"), ballot("bob", "no", T0 + 1, 3), ballot("cleo", "yes", T0 + 1, 2)), T0 + 1,
    )  # fmt: skip
    one = begun(electorate).when(CastVote("cleo", "yes", ""), T0 + 1).then(cast("cleo", "yes", T0 + 1, 2))
    one.when(CastVote("bob", "no", ""), T0 + 1).then(cast("bob", "no", T0 + 1, 3), end)


def test_a_vote_has_a_reason() -> None:
    why = "failed: Unavailable: no endpoint there"
    begun().when(CastVote("bob", "abstain", why), T0 + 1).then(cast("bob", "abstain", T0 + 1, reason=why))


@pytest.mark.parametrize("again", ["yes", "no"])
def test_a_vote_cannot_be_changed(again: str) -> None:
    one = begun().when(CastVote("bob", "no", ""), T0 + 1).then(cast("bob", "no", T0 + 1))
    one.when(CastVote("bob", again, ""), T0 + 2).then(VoteRefused("bob", again, "voted", "no"))
    begun().when(CastVote("ada", "no", ""), T0 + 2).then(VoteRefused("ada", "no", "voted", "yes"))


def test_who_is_no_voter_has_no_vote() -> None:
    begun().when(CastVote("mallory", "no", ""), T0).then(VoteRefused("mallory", "no", "not_a_voter", None))


def test_who_has_not_voted_by_the_deadline_abstains() -> None:
    one = begun().when(CastVote("cleo", "no", ""), T0 + 1).then(cast("cleo", "no", T0 + 1))
    one.when(Tick(), DUE - 1).then_nothing()
    ballots = (ballot("ada", "yes"), ballot("bob", "abstain", None), ballot("cleo", "no", T0 + 1))
    decided = ProposalDecided("ada", "rejected", 1, 1, 1, 2, ballots, DUE)
    after = one.when(Tick(), DUE).then(decided)
    after.when(Tick(), DUE).then_nothing()
    after.when(CastVote("bob", "yes", "was away"), DUE + 1).then(VoteLate("bob", "yes", "was away", "rejected"))
    after.when(CastVote("cleo", "yes", ""), DUE + 1).then(VoteRefused("cleo", "yes", "voted", "no"))
    one.when(CastVote("bob", "yes", ""), DUE).then(decided, VoteLate("bob", "yes", "", "rejected"))


@pytest.mark.parametrize(("quorum", "outcome"), [(2, "approved"), (3, "no_quorum")])
def test_too_few_votes_are_no_decision(quorum: int, outcome: str) -> None:
    one = begun(quorum=quorum).when(CastVote("bob", "yes", ""), T0 + 1).then(cast("bob", "yes", T0 + 1))
    one.when(CastVote("cleo", "abstain", ""), T0 + 1).then(
        cast("cleo", "abstain", T0 + 1), voted(outcome, ada="yes", bob="yes", cleo="abstain")
    )


@pytest.mark.parametrize(
    ("choices", "threshold", "quorum", "expected"),
    [
        (("yes", "yes", "no"), Fraction(1, 2), None, Count("approved", 2, 1, 0, 3)),
        (("yes", "no"), Fraction(1, 2), None, Count("rejected", 1, 1, 0, 2)),
        (("abstain",) * 3, Fraction(1, 2), None, Count("rejected", 0, 0, 3, 0)),
        (("abstain",) * 3, Fraction(0), None, Count("rejected", 0, 0, 3, 0)),
        (("yes", "yes", "no"), Fraction(2, 3), None, Count("rejected", 2, 1, 0, 3)),
        ((), Fraction(1, 2), None, Count("rejected", 0, 0, 0, 0)),
        ((), Fraction(1, 2), 1, Count("no_quorum", 0, 0, 0, 0)),
        (("yes", "abstain"), Fraction(1, 2), 1, Count("approved", 1, 0, 1, 1)),
        (("yes", "abstain"), Fraction(1, 2), 2, Count("no_quorum", 1, 0, 1, 1)),
    ],
)
def test_the_count(choices: tuple[str, ...], threshold: Fraction, quorum: int | None, expected: Count) -> None:
    assert count([ballot(f"v{n}", choice) for n, choice in enumerate(choices)], threshold, quorum) == expected


def test_thirds_are_exact() -> None:
    """Where floats err: 1/10 + 2/10 against 3/10."""
    ballots = [Ballot("a", 3, "yes", "", 0), Ballot("b", 7, "no", "", 0)]
    assert count(ballots, Fraction(3, 10), None).outcome == "rejected"
    assert count(ballots, Fraction(3, 10) - Fraction(1, DENOMINATOR_MAX), None).outcome == "approved"


# -- withdrawing, reading, forgetting


def test_who_proposed_withdraws() -> None:
    withdrawn = ProposalWithdrawn("ada", "we know", ("ada", "bob", "cleo"), T0 + 1)
    begun().when(WithdrawProposal("bob", "no"), T0 + 1).then(WithdrawalRefused("bob", "ada"))
    after = begun().when(WithdrawProposal("ada", "we know"), T0 + 1).then(withdrawn)
    after.when(WithdrawProposal("ada", "again"), T0 + 2).then(ProposalKnown("ada", "withdrawn"))
    after.when(CastVote("bob", "no", ""), T0 + 2).then(VoteLate("bob", "no", "", "withdrawn"))
    after.when(Tick(), DUE).then(ProposalForgotten(T0 + 1))


def test_reading() -> None:
    one = begun().when(CastVote("cleo", "no", ""), T0 + 1).then(cast("cleo", "no", T0 + 1))
    two = one.when(CastVote("bob", "abstain", ""), T0 + 1)
    so_far = (ballot("ada", "yes"), ballot("cleo", "no", T0 + 1))
    one.when(ReadProposal("eve"), T0 + 2).then(
        ProposalRead("eve", "ada", "ship it?", "open", "", 1, 1, 0, 2, so_far, T0, DUE, None)
    )
    end = two.then(cast("bob", "abstain", T0 + 1), voted("rejected", ada="yes", bob="abstain", cleo="no"))
    in_order = (so_far[0], ballot("bob", "abstain", T0 + 1), so_far[1])
    end.when(ReadProposal("eve"), T0 + 2).then(
        ProposalRead("eve", "ada", "ship it?", "rejected", "", 1, 1, 1, 2, in_order, T0, DUE, T0 + 1)
    )


def test_what_ended_long_ago_is_forgotten() -> None:
    one = begun(voters("ada", "bob")).when(CastVote("bob", "yes", ""), T0 + 1)
    end = one.then(cast("bob", "yes", T0 + 1), voted("approved", ada="yes", bob="yes"))
    end.when(Tick(), T0 + KEEP_MS).then_nothing()
    assert end.when(Tick(), T0 + 1 + KEEP_MS).then(ProposalForgotten(T0 + 1)).state is None
    end.when(propose(), T0 + 1 + KEEP_MS).then(
        ProposalForgotten(T0 + 1),
        ProposalOpened(*[getattr(propose(), field) for field in Propose.__struct_fields__], T0 + 1 + KEEP_MS),
        cast("ada", "yes", T0 + 1 + KEEP_MS),
    )


@pytest.mark.parametrize(
    "command",
    [CastVote("bob", "yes", ""), WithdrawProposal("bob", ""), ReadProposal("bob")],
    ids=lambda c: str(type(c)),
)
def test_what_there_is_not(command: Any) -> None:
    given().when(command, T0).then(ProposalUnknown("bob", type(command).__name__))
    given().when(Tick(), T0).then_nothing()


# -- bounds


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (propose(threshold_numerator=-1), "threshold_numerator=-1"),
        (propose(threshold_denominator=0), "threshold_denominator=0"),
        (propose(threshold_denominator=DENOMINATOR_MAX + 1), "threshold_denominator="),
        (propose(threshold_numerator=2, threshold_denominator=2), "a threshold of 2/2"),
        (propose(quorum=0), "quorum=0"),
        (propose(quorum=4), "quorum=4: there are 3 voters"),
        (propose(deadline_ms=0), "deadline_ms=0"),
        (propose(deadline_ms=LIMIT_MS_MAX + 1), "deadline_ms="),
        (propose(keep_ms=-1), "keep_ms=-1"),
        (propose(content="x" * (CONTENT_BYTES_MAX + 1)), "a proposal has at most"),
        (propose(voters("ada", "ada")), "one is named twice"),
        (propose(voters("ada", "")), "is no name"),
        (propose(voters("ada", "x" * (NAME_BYTES_MAX + 1))), "is no name"),
        (propose(voters("ada", *[f"v{n}" for n in range(VOTERS_MAX)])), "at most 200"),
        (propose(voters("ada", ada=0)), "the weight of ada is 0"),
        (propose(voters("ada", ada=WEIGHT_MAX + 1)), "the weight of ada"),
        (propose(trail=("x" * 256,)), "trail"),
        (CastVote("bob", "Yes", ""), "choice='Yes'"),
        (CastVote("bob", "I KNOW", ""), "a vote is one of yes, no, abstain"),
        (CastVote("bob", "yes", "x" * 256), "reason has more"),
        (CastVote("x" * 256, "yes", ""), "agent has more"),
    ],
)
def test_what_cannot_be_is_rejected(command: Any, problem: str) -> None:
    for state in (None, begun().state):
        (rejected,) = decider.decide(state, command, At(T0, 9, "r"))
        assert isinstance(rejected, CommandRejected) and problem in rejected.description


@pytest.mark.parametrize(
    "command",
    [
        propose(content="x" * CONTENT_BYTES_MAX),
        propose(threshold_numerator=DENOMINATOR_MAX - 1, threshold_denominator=DENOMINATOR_MAX, quorum=3),
        propose(deadline_ms=LIMIT_MS_MAX, keep_ms=LIMIT_MS_MAX, trail=("x" * 255,)),
        propose(voters("ada", *["v" * (NAME_BYTES_MAX - 3) + f"{n:03}" for n in range(VOTERS_MAX - 1)])),
        propose(voters("ada", "bob", ada=WEIGHT_MAX)),
        propose(quorum=1, deadline_ms=1, keep_ms=0),
    ],
    ids=range(6),
)
def test_what_may_just_be(command: Propose) -> None:
    first, *_ = decider.decide(None, command, At(T0, 9, "r"))
    assert isinstance(first, ProposalOpened)


def test_the_largest_decision_fits() -> None:
    names = ["ada", *["v" * (NAME_BYTES_MAX - 3) + f"{n:03}" for n in range(VOTERS_MAX - 1)]]
    state: Proposal | None = None
    sizes = []
    content, reason, end = "x" * CONTENT_BYTES_MAX, "y" * TEXT_BYTES_MAX, LIMIT_MS_MAX
    everybody = voters(*names, **dict.fromkeys(names, WEIGHT_MAX))
    commands = [propose(everybody, content=content), *[CastVote(name, "abstain", reason) for name in names[1:]]]
    for command in [*commands, ReadProposal("x" * 255)]:
        events = decider.decide(state, command, At(end, 10**9, "r"))
        sizes.append(len(events_codec("proposals").encode(list(events))))
        for event in events:
            state = decider.evolve(state, event)
    assert state is not None and state.status == "approved" and max(sizes) < DECISION_BYTES_MAX / 2


# -- the domain


def test_voters_are_asked_by_signals() -> None:
    asked = DOMAIN.reactions[ProposalOpened]("p-1", opened(trail=("started",)))
    data = {"proposal": "p-1", "proposer": "ada"}
    assert [(order.domain, order.key) for order in asked] == [
        ("signals", "vote_wanted:bob"),
        ("signals", "vote_wanted:cleo"),
    ]
    for order in asked:
        assert isinstance(order, Order) and isinstance(order.command, EmitSignal)
        assert (order.command.agent, json.loads(order.command.data)) == ("ada", data)
        assert order.command.trail == ("started",)
        (emitted,) = DOMAINS["signals"].versions[1].decide(None, order.command, At(T0, 1, "r"))
        assert type(emitted).__name__ == "SignalEmitted"


def test_state_survives_a_dump() -> None:
    state = begun().when(CastVote("bob", "no", "why"), T0).then(cast("bob", "no", reason="why")).state
    assert restore(dump(state), Proposal) == state


def test_every_command_and_event_is_known() -> None:
    assert set(_ANSWERS) == {*proposals.COMMANDS, Tick}
    assert set(_CHANGES) == set(proposals.EVENTS)
    assert DOMAINS["proposals"] is DOMAIN and list(DOMAIN.versions) == [1]


def test_messages_of_others_are_bugs() -> None:
    with pytest.raises(TypeError, match="no command ReleaseLock"):
        decider.decide(None, ReleaseLock("ada", 1), At(T0, 1, "r"))
    with pytest.raises(TypeError, match="no command SwitchRules"):
        decider.decide(None, SwitchRules(2, ""), At(T0, 1, "r"))
    other: Event = LockReleased("ada", 1)
    with pytest.raises(TypeError, match="no event LockReleased"):
        evolve(None, other)
