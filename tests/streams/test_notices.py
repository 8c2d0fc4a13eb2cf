"""Whom a decision concerns, and what he is sent: every event of every domain, and nothing but the decision to go by."""

from __future__ import annotations

from typing import Any

import pytest
from accord.schemas.headers import LogRecord
from accord.schemas.inbox import address_in, address_of, inbox_of, with_address
from accord.schemas.messages import (
    Event,
    auctions,
    conflicts,
    hierarchy,
    limits,
    llm,
    locks,
    log,
    proposals,
    roster,
    sagas,
    signals,
    state,
    tasks,
    transactions,
    triggers,
    waits,
)
from accord.schemas.position import Position
from accord.schemas.topics import partition_of
from accord.streams.chain import Chain, Decision
from accord.streams.domains import DOMAINS
from accord.streams.notices import NOBODY_ELSE, SOMEBODY, addresses, decision_of, notices, place_of
from accord.streams.partition import Partition

from tests.streams.conflicts.played import finding, intent
from tests.streams.support import START_MS, command, partition, record_of, run

INBOXES = 32
ADA, BOB, CAROL = address_of("ada"), address_of("bob"), address_of("carol")
EVERY_EVENT = [
    event
    for domain in (
        log,
        locks,
        limits,
        signals,
        waits,
        tasks,
        roster,
        llm,
        proposals,
        auctions,
        hierarchy,
        state,
        transactions,
        conflicts,
        triggers,
        sagas,
    )
    for event in domain.EVENTS
]


def by(agent: str, name: str) -> str:
    """A message id of an agent that wants notices."""
    return with_address(name, address_of(agent))


def told(made: Partition, *commands: tuple[str, Any], at_ms: int = START_MS) -> list[set[str]]:
    """Decides commands, each with its id; returns whom each decision concerns."""
    first = made.position + 1
    records = [
        command(made, first + n, message, command_id=command_id, at_ms=at_ms)
        for n, (command_id, message) in enumerate(commands)
    ]
    return [addresses(decided.decision, decided.events) for decided in run(made, records)]


def test_every_event_of_every_domain_says_whom_it_concerns() -> None:
    told = {event.__module__.rpartition(".")[2] for event in EVERY_EVENT} - {"log"}
    assert set(DOMAINS) == told, "a new domain: add its events to EVERY_EVENT"
    both = set(SOMEBODY) & NOBODY_ELSE
    assert not both, "an event stands in one table"
    assert set(SOMEBODY) | NOBODY_ELSE == set(EVERY_EVENT)


BY_NAME = (tasks, roster, proposals, auctions, hierarchy, transactions, conflicts, sagas)
"""Their events name no requests: who is told of them is named himself."""
BY_REQUEST = [event for event in EVERY_EVENT if event not in [one for domain in BY_NAME for one in domain.EVENTS]]


@pytest.mark.parametrize(
    "event", BY_REQUEST, ids=lambda event: f"{event.__module__.rpartition('.')[2]}.{event.__name__}"
)
def test_what_names_a_request_tells_who_made_it(event: type[Event]) -> None:
    """But for answers to that very request, of which its maker hears as the sender of the command; and for a pin, of
    which who waits for the transaction hears."""
    fields = set(event.__struct_fields__)
    answers = {
        locks.LockQueued, locks.ConditionAwaited, locks.ConditionRefused, locks.BarrierReached, locks.BarrierRefused,
        locks.LeaseRenewed, locks.RenewalRefused, locks.ReleaseRefused, limits.CapacityQueued, limits.LeaseRenewed,
        limits.RenewalRefused, limits.ReleaseRefused, limits.PoolPaused, llm.AnswerAwaited, locks.LeasePinned,
        limits.LeasePinned,
    }  # fmt: skip
    names_one = bool(fields & {"request", "requests"})
    assert names_one == (event in answers or event in SOMEBODY)


def test_an_event_that_was_forgotten_raises() -> None:
    class New(Event, frozen=True):
        pass

    made = partition()
    (decided,) = run(made, [command(made, 0, locks.AcquireLock("ada", "o", 10_000, None))])
    with pytest.raises(TypeError, match="whom does New concern"):
        addresses(decided.decision, [New()])


# -- addresses


def test_an_address_is_where_a_key_goes() -> None:
    for name in ("ada", "bob", "комната", "a" * 255):
        for count in (1, 7, 32):
            assert inbox_of(address_of(name), count) == partition_of(name.encode(), count)
        assert address_in(with_address("0192-ab", address_of(name))) == address_of(name)


@pytest.mark.parametrize(
    "message_id", ["", "m1", "a.b", ".0123456", "x-01234567", "x.0123456g", "x.0123456A", "x.０1234567"]
)
def test_other_ids_have_no_address(message_id: str) -> None:
    assert address_in(message_id) is None


def test_who_wants_no_notices_gets_none() -> None:
    made = partition()
    acquire = locks.AcquireLock("ada", "o", 10_000, None)
    assert told(made, ("m1", acquire), ("m2", locks.AcquireLock("bob", "p", 10_000, None))) == [set(), set()]
    assert told(made, ("m3", locks.WithdrawRequest("bob", "m2"))) == [set()]


# -- locks


def test_who_asks_is_told_and_who_waits_is_told_of_his_grant() -> None:
    made = partition()
    found = told(
        made,
        (by("ada", "1"), locks.AcquireLock("ada", "o", 10_000, None)),
        (by("bob", "2"), locks.AcquireLock("bob", "p", 10_000, None)),
        (by("ada", "3"), locks.ReleaseLock("ada", 2)),
    )
    assert found == [{ADA}, {BOB}, {ADA, BOB}]


def test_deadlines_are_told_to_those_whose_they_are() -> None:
    """By a tick, whose sender wants nothing."""
    made = partition()
    told(
        made,
        (by("ada", "1"), locks.AcquireLock("ada", "o", 1_000, None)),
        (by("bob", "2"), locks.AcquireLock("bob", "p", 10_000, 500)),
        (by("carol", "3"), locks.AcquireLock("carol", "q", 10_000, None)),
    )
    assert told(made, ("tick-1", log.Tick()), at_ms=START_MS + 500) == [{BOB}]
    assert told(made, ("tick-2", log.Tick()), at_ms=START_MS + 1_000) == [{ADA, CAROL}]


@pytest.mark.parametrize(
    "end",
    [
        locks.RevokeLease("carol", 2, "maintenance"),
        locks.ReleaseLock("carol", 2),
        locks.WithdrawRequest("carol", by("ada", "1")),
    ],
    ids=lambda end: type(end).__name__,
)
def test_who_loses_a_lock_to_somebody_elses_command_is_told(end: Any) -> None:
    made = partition()
    told(made, (by("ada", "1"), locks.AcquireLock("ada", "o", 10_000, None)))
    assert told(made, (by("carol", "2"), end)) == [{ADA, CAROL}]


def test_who_shares_a_lock_is_told_by_his_request() -> None:
    made = partition()
    told(
        made,
        (by("ada", "1"), locks.AcquireLock("ada", "o", 1_000, None, 2)),
        (by("bob", "2"), locks.AcquireLock("bob", "p", 9_000, None, 2)),
    )
    assert told(made, ("tick-1", log.Tick()), at_ms=START_MS + 1_000) == [{ADA}]


def test_who_sleeps_on_a_condition_is_told_of_the_notice_and_of_the_lock() -> None:
    made = partition()
    found = told(
        made,
        (by("ada", "1"), locks.AcquireLock("ada", "o", 10_000, None)),
        (by("ada", "2"), locks.WaitOnCondition("ada", 2, None)),
        (by("bob", "3"), locks.AcquireLock("bob", "p", 10_000, None)),
        (by("bob", "4"), locks.NotifyCondition("bob", 4, None)),
        (by("bob", "5"), locks.ReleaseLock("bob", 4)),
    )
    assert found == [{ADA}, {ADA}, {BOB}, {ADA, BOB}, {ADA, BOB}]


def test_who_slept_too_long_is_told() -> None:
    made = partition()
    told(
        made,
        (by("ada", "1"), locks.AcquireLock("ada", "o", 10_000, None)),
        (by("ada", "2"), locks.WaitOnCondition("ada", 2, 300)),
    )
    assert told(made, ("tick-1", log.Tick()), at_ms=START_MS + 300) == [{ADA}]


@pytest.mark.parametrize("passes", [True, False])
def test_all_parties_of_a_barrier_are_told(passes: bool) -> None:
    made = partition()
    told(
        made,
        (by("ada", "1"), locks.ReachBarrier("ada", 3, 10_000, None)),
        (by("bob", "2"), locks.ReachBarrier("bob", 3, 10_000, None)),
    )
    end = locks.ReachBarrier("carol", 3, 10_000, None) if passes else locks.WithdrawRequest("carol", by("ada", "1"))
    assert told(made, (by("carol", "3"), end)) == [{ADA, BOB, CAROL}]


# -- limits and signals


def test_capacity() -> None:
    made = partition("limits")

    def request(agent: str, lease_ms: int = 10_000, wait_ms: int | None = None) -> limits.RequestCapacity:
        return limits.RequestCapacity(agent, f"of-{agent}", "", 1, "shared", 0, 0, lease_ms, wait_ms, False)

    found = told(
        made,
        (by("ada", "1"), request("ada", 1_000)),
        (by("bob", "2"), request("bob", wait_ms=500)),
        (by("carol", "3"), request("carol", 1_000)),
    )
    assert found == [{ADA}, {BOB}, {CAROL}]
    assert told(made, ("tick-1", log.Tick()), at_ms=START_MS + 500) == [{BOB}], "denied: he waited too long"
    assert told(made, ("tick-2", log.Tick()), at_ms=START_MS + 1_000) == [{ADA, CAROL}], "expired; granted"
    assert told(made, (by("bob", "4"), limits.WithdrawRequest("bob", by("carol", "3")))) == [{BOB, CAROL}]


def test_a_signal_is_told_to_who_emitted_it_alone() -> None:
    made = partition("signals")
    assert told(made, (by("ada", "1"), signals.EmitSignal("ada", "{}", ()))) == [{ADA}]


def test_refusals_and_repeats_are_told_to_the_sender() -> None:
    made = partition()
    acquire = locks.AcquireLock("ada", "o", 5, None)
    assert told(made, (by("ada", "1"), acquire), (by("ada", "1"), acquire)) == [{ADA}, {ADA}]


# -- tasks and rosters


def test_who_submitted_a_task_is_told_of_its_end_and_who_runs_a_step_when_it_is_not_his_any_more() -> None:
    made = partition("tasks")
    step = tasks.Step("one", (), "write", 0, 1_000, 60_000, None, optional=False, need=None)
    submit = tasks.SubmitTask("ada", "graph", "team", "{}", (step,), 60_000)
    start = tasks.StartStep("bob", "b-1", "team", "one", 1, ("write",))
    begun = [(by("ada", "1"), submit), (by("bob", "2"), start)]
    assert told(made, *begun) == [{ADA}, {BOB}]
    assert told(made, (by("carol", "3"), tasks.CancelTask("carol", ""))) == [{ADA, BOB, CAROL}]
    made = partition("tasks")
    told(made, *begun)
    assert told(made, ("tick-1", log.Tick()), at_ms=START_MS + 1_000) == [{ADA, BOB}], (
        "too slow, and so the task failed"
    )
    made = partition("tasks")
    told(made, *begun)
    lose = tasks.LoseSteps("bob", "b-1", (tasks.Slot("one", 1),))
    assert told(made, ("lost", lose)) == [{BOB}]
    start = tasks.StartStep("carol", "c-1", "team", "one", 2, ("write",))
    assert told(made, (by("carol", "4"), start)) == [{CAROL}]
    token = made.head.seq
    assert told(made, (by("carol", "5"), tasks.CompleteStep("carol", "one", token, "{}"))) == [{ADA, CAROL}]


def test_who_is_given_a_step_is_told_and_who_is_lost() -> None:
    made = partition("roster")
    join = roster.JoinTeam("ada", "a-1", ("write",), 1, 10_000)
    wanted = (tasks.Wanted("one", 1, "write", urgent=False), tasks.Wanted("two", 1, "write", urgent=False))
    found = told(made, (by("ada", "1"), join), ("order", roster.RequestAgents("t-1", wanted)))
    assert found == [{ADA}, {ADA}]
    assert told(made, (by("bob", "2"), roster.JoinTeam("bob", "b-1", ("write",), 1, 20_000))) == [{BOB}]
    assert told(made, ("tick-1", log.Tick()), at_ms=START_MS + 10_000) == [{ADA}]


# -- proposals and auctions


def test_all_voters_are_told_of_the_outcome() -> None:
    made = partition("proposals")
    electorate = (proposals.Voter("ada", 1), proposals.Voter("bob", 1), proposals.Voter("carol", 1))
    propose = proposals.Propose("ada", "?", electorate, 1, 2, None, 1_000, 1_000, ())
    found = told(made, (by("ada", "1"), propose), (by("bob", "2"), proposals.CastVote("bob", "no", "")))
    assert found == [{ADA}, {BOB}]
    assert told(made, ("tick-1", log.Tick()), at_ms=START_MS + 1_000) == [{ADA, BOB, CAROL}]
    made = partition("proposals")
    end = proposals.WithdrawProposal("ada", "")
    assert told(made, (by("ada", "1"), propose), (by("ada", "2"), end))[1] == {ADA, BOB, CAROL}


def test_who_bids_is_told_where_it_listens_whatever_its_name() -> None:
    made = partition("auctions")
    weights, scoring = auctions.Weights(1, 0, 0), auctions.Scoring("own", "1")
    terms = ((), None, weights, 0, scoring, 10_000, 10_000, 1_000, 10_000, ())
    announce = auctions.AnnounceAuction("carol", "?", ("one", "two"), *terms)
    offers = [
        auctions.PlaceBid(name, by(where, name), price, 0, 0, 0, ())
        for name, where, price in (("one", "ada", 1), ("two", "bob", 2))
    ]
    scores = auctions.ScoreBids("carol", scoring, (auctions.Score("one", 1), auctions.Score("two", 2)))
    found = told(
        made,
        (by("carol", "1"), announce),
        (by("ada", "2"), offers[0]),
        (by("bob", "3"), offers[1]),
        (by("carol", "4"), scores),
    )
    assert found == [{CAROL}, {ADA}, {BOB, CAROL}, {ADA, CAROL}], "the scores are wanted of who announced it"
    assert told(made, ("tick-1", log.Tick()), at_ms=START_MS + 1_000) == [{ADA, BOB, CAROL}], "lost, and the next one"
    assert told(made, ("tick-2", log.Tick()), at_ms=START_MS + 2_000) == [{ADA, BOB, CAROL}], "unsold"


# -- hierarchies


def test_who_asked_for_a_decision_is_told_of_it() -> None:
    made = partition("hierarchy")
    members = (
        hierarchy.Member("bob", None, (hierarchy.Boundary("spend", 5),), None, 1_000),
        hierarchy.Member("carol", "bob", (), None, 1_000),
    )
    asked = [
        hierarchy.RequestDecision("ada", name, ("carol",), "spend", 5, "?", "", (), None, ())
        for name in ("1", "2", "3")
    ]
    found = told(
        made,
        (by("carol", "0"), hierarchy.DefineOrganisation("carol", members, 7)),
        *[(by("ada", request.decision), request) for request in asked],
        (by("bob", "4"), hierarchy.AnswerRequest("bob", "1", "deny", "")),
        (by("ada", "5"), hierarchy.WithdrawRequest("ada", "2", "")),
        (by("bob", "6"), hierarchy.Decide("bob", "4", "spend", 1, "", "", "deny", "", False, ())),
    )
    assert found == [{CAROL}, {ADA}, {ADA}, {ADA}, {ADA, BOB}, {ADA}, {BOB}]
    assert told(made, ("tick-1", log.Tick()), at_ms=START_MS + 1_000) == [{ADA}], "nobody answered"


# -- conflicts


def test_who_takes_part_in_a_conflict_is_told_and_who_may_act_now() -> None:
    made = partition("conflicts")
    one, other, third = [
        conflicts.DeclareIntention(agent, agent, intent("write", target, topic=topic), ())
        for agent, target, topic in (("ada", "x", ""), ("bob", "x", "t"), ("carol", "", "t"))
    ]
    found = told(made, (by("ada", "1"), one), (by("bob", "2"), other), (by("carol", "3"), third))
    assert found == [{ADA}, {ADA, BOB}, {BOB, CAROL}]
    assert told(made, (by("ada", "4"), conflicts.FinishIntention("ada", "ada"))) == [{ADA, BOB}]
    findings = (finding("bob", "1"), finding("carol", "2"))
    compare = conflicts.CompareFindings("ada", "f", findings, ())
    judged = conflicts.JudgeConflict("judge", "f", "bob", "findings", (), "", 1_000_000, "")
    appeal = conflicts.AppealResolution("carol", "f", "carol", "")
    found = told(made, (by("ada", "5"), compare), (by("judge", "6"), judged), (by("carol", "7"), appeal))
    assert found == [{ADA}, {address_of("judge"), ADA, BOB, CAROL}, {BOB, CAROL}]


# -- the records


def decide(made: Partition, count: int = 3) -> list[tuple[Decision, Any]]:
    """Decisions, each with its events; the last one concerns two."""
    agents = ("ada", "bob", "ada")
    messages = (
        locks.AcquireLock("ada", "o", 10_000, None),
        locks.AcquireLock("bob", "p", 10_000, None),
        locks.ReleaseLock("ada", 2),
    )
    records = [
        command(made, n, message, command_id=by(agent, str(n)), task="t-1")
        for n, (agent, message) in enumerate(zip(agents, messages, strict=True))
    ]
    return [(decided.decision, decided.events) for decided in run(made, records)]


def test_a_notice_gives_the_decision_as_the_log_does() -> None:
    made = partition()
    genesis = made.head
    decided = decide(made)
    chain = Chain(made.root, genesis)
    for decision, events in decided:
        accepted = chain.accept(record_of(decision))
        for notice in notices("locks", 0, decision, events, INBOXES):
            got = LogRecord(7, START_MS, 1, notice.key, notice.value, notice.headers)
            position, seq = place_of(got)
            assert (position, seq) == (Position("locks", 0, decision.offset), decision.seq)
            assert decision_of(got, position, made.root) == accepted


def test_one_notice_for_each_partition_names_all_who_read_there() -> None:
    made = partition()
    (decision, events) = decide(made)[2]
    apart = notices("locks", 0, decision, events, INBOXES)
    assert {(notice.partition, notice.key.decode()) for notice in apart} == {
        (inbox_of(ADA, INBOXES), ADA),
        (inbox_of(BOB, INBOXES), BOB),
    }
    (together,) = notices("locks", 0, decision, events, 1)
    assert (together.partition, together.key.decode().split()) == (0, sorted([ADA, BOB]))


def test_what_is_no_notice_is_refused() -> None:
    for headers in ([], [("accord-at", b"nowhere")], [("accord-at", b"locks/0@1"), ("accord-chain", b"x")]):
        with pytest.raises(ValueError, match="offset 7 is no notice"):
            place_of(LogRecord(7, 0, 1, b"", b"", headers))


# -- sagas


def test_who_runs_a_saga_is_told_what_comes_of_itself_and_its_beginner_the_end() -> None:
    made = partition("sagas")
    steps = (sagas.SagaStep("pay", True, 0, 0, 100, 1_000),)
    begin = sagas.BeginSaga("ada", "", "trip", steps, "1", 2_000, 10_000, ())
    take = sagas.TakeSaga("bob", by("bob", "r"), 2_000)
    assert told(made, (by("ada", "1"), begin), (by("bob", "2"), take)) == [{ADA}, {BOB}]
    late = told(made, ("t1", log.Tick()), at_ms=START_MS + 1_000)
    assert late == [{BOB}], "too late, and to be undone"
    failed = sagas.FailStep("bob", "pay", True, 2, "", "", True, False)
    assert told(made, (by("bob", "3"), failed), at_ms=START_MS + 1_000) == [{ADA, BOB}]


def test_who_began_a_saga_is_told_that_it_is_offered_and_who_ran_it_that_it_is_lost() -> None:
    made = partition("sagas")
    steps = (sagas.SagaStep("pay", True, 9, 0, 100, 10_000),)
    begin = sagas.BeginSaga("ada", by("ada", "r"), "trip", steps, "1", 2_000, 10_000, ())
    assert told(made, (by("ada", "1"), begin)) == [{ADA}]
    assert told(made, ("t1", log.Tick()), at_ms=START_MS + 2_000) == [{ADA}]
    assert told(made, (by("bob", "2"), sagas.TakeSaga("bob", by("bob", "r"), 2_000))) == [{BOB}]
    assert told(made, (by("carol", "3"), sagas.CancelSaga("carol", ""))) == [{BOB, CAROL}]
