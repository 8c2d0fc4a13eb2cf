"""What collides, and who goes first, by rule: branch by branch."""

from __future__ import annotations

import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages.conflicts import (
    Capacity,
    ConfigurationRefused,
    ConfigureGround,
    ConflictFound,
    DeclareIntention,
    GroundRead,
    IntentionAllowed,
    IntentionEnded,
    IntentionKnown,
    IntentionQueued,
    IntentionRefused,
    IntentionRenewed,
    IntentionUnknown,
    Pair,
    Party,
    ReadGround,
    RecordsForgotten,
    RenewIntention,
    WithdrawIntention,
)
from accord.schemas.messages.log import CommandRejected
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.conflicts.bounds import LIVE_MAX, REMEMBERED_MAX
from accord.streams.conflicts.rules import DEFAULT
from accord.streams.conflicts.wording import name_key, topic_key
from accord.streams.signals.decider import TRAIL_MAX

from tests.streams.conflicts.played import Played, intent, only, resolution, terms, told

ROOMS = terms(capacities=(Capacity("rooms", 10),))


def book(amount: int, **other: object) -> dict[str, object]:
    return {"action": "book", "target": "", "resource": "rooms", "amount": amount, **other}


# -- the four rules


def test_who_came_first_acts_and_the_second_waits_for_it() -> None:
    play = Played()
    assert told(play.declare("a"), IntentionAllowed)
    events = play.declare("b")
    found = only(events, ConflictFound)
    assert (found.kind, found.rule, found.target, found.conflict) == ("incompatible_modes", "modes", "report", "2.1")
    assert resolution(events) == (["a"], {"b": "queued"})
    assert only(events, IntentionQueued).behind == (Party("a", "a"),)
    assert only(play.done("a"), IntentionAllowed).agent == "b"
    assert play.status("b") == "acting"


def test_readers_share_and_a_writer_waits_for_all_of_them() -> None:
    play = Played()
    for name in ("r1", "r2"):
        assert told(play.declare(name, action="read"), IntentionAllowed)
    events = play.declare("w")
    assert only(events, ConflictFound).parties == (Party("r1", "r1"), Party("r2", "r2"), Party("w", "w"))
    assert not told(play.done("r1"), IntentionAllowed)
    assert not told(play.declare("r3", action="read"), IntentionAllowed), "a reader does not overtake the writer"
    assert [e.agent for e in told(play.done("r2"), IntentionAllowed)] == ["w"]
    assert [e.agent for e in told(play.done("w"), IntentionAllowed)] == ["r3"]


def test_more_than_there_is_waits_and_nobody_smaller_overtakes() -> None:
    play = Played(ROOMS)
    play.declare("a", **book(6))
    events = play.declare("b", **book(5))
    found = only(events, ConflictFound)
    assert (found.kind, found.resource, found.demanded, found.capacity) == ("over_demand", "rooms", 11, 10)
    assert resolution(events) == (["a"], {"b": "queued"})
    events = play.declare("c", **book(4))
    assert resolution(events) == (["a", "b"], {"c": "queued"})
    assert only(events, ConflictFound).demanded == 15
    assert [e.agent for e in told(play.done("a"), IntentionAllowed)] == ["b", "c"]


def test_just_as_much_as_there_is_is_no_conflict() -> None:
    play = Played(ROOMS)
    play.declare("a", **book(6))
    assert told(play.declare("b", **book(4)), IntentionAllowed)
    assert not play.found
    refused = only(play.declare("c", **book(11)), IntentionRefused)
    assert (refused.reason, refused.detail) == ("over_capacity", "there are 10")


def test_only_what_is_wanted_at_the_same_time_adds_up() -> None:
    play = Played(ROOMS)
    play.declare("a", **book(6, from_ms=0, until_ms=10))
    play.declare("b", **book(6, from_ms=10, until_ms=20))
    assert not play.found, "one ends when the other begins"
    events = play.declare("c", **book(4, from_ms=5, until_ms=15))
    assert told(events, IntentionAllowed), "at no time are there more than 10"
    events = play.declare("d", **book(1, from_ms=8, until_ms=12))
    assert only(events, ConflictFound).demanded == 11


def test_what_contradicts_is_denied() -> None:
    play = Played()
    play.declare("a", action="Approve", target="Invoice 7", mode="shared")
    events = play.declare("b", action="reject", target="invoice  7", mode="shared")
    assert only(events, ConflictFound).kind == "contradictory_actions"
    assert resolution(events) == (["a"], {"b": "denied"})
    ended = only(events, IntentionEnded)
    assert (ended.outcome, ended.by, ended.reason) == ("denied", ("a",), "a acts already")


def test_two_claim_one_topic_and_one_is_told_who_does_it() -> None:
    play = Played()
    play.declare("a", action="research", target="", topic="Market size")
    events = play.declare("b", action="research", target="", topic="market  SIZE!")
    assert only(events, ConflictFound).topic == "market  SIZE!"
    assert resolution(events) == (["a"], {"b": "duplicate"})
    assert only(events, IntentionEnded).by == ("a",)
    assert told(play.declare("b", name="b2", action="research", target="", topic="Prices"), IntentionAllowed)


def test_a_topic_on_two_targets_is_two_topics() -> None:
    play = Played()
    play.declare("a", target="chapter 1", topic="summary")
    assert told(play.declare("b", target="chapter 2", topic="summary"), IntentionAllowed)
    assert told(play.declare("c", target="", topic="summary"), ConflictFound), "one that names no target is about all"


def test_an_agents_own_intentions_collide_too() -> None:
    play = Played()
    play.declare("a", name="1")
    assert told(play.declare("a", name="2"), IntentionQueued)


# -- priorities


def test_a_higher_priority_goes_before_who_waits_but_not_before_who_acts() -> None:
    play = Played()
    play.declare("a")
    play.declare("b")
    events = play.declare("c", priority=5)
    assert resolution(events) == (["a"], {"b": "queued", "c": "queued"})
    assert [e.agent for e in told(play.done("a"), IntentionAllowed)] == ["c"]
    assert [e.agent for e in told(play.done("c"), IntentionAllowed)] == ["b"]


def test_a_higher_priority_takes_a_topic_from_who_waits() -> None:
    play = Played()
    play.declare("a", target="db")
    play.declare("b", target="db", topic="x")
    events = play.declare("c", target="", topic="x", priority=1)
    assert resolution(events) == (["c"], {"b": "duplicate"})
    assert play.status("c") == "acting"


@pytest.mark.parametrize("allowed", [True, False])
def test_who_acts_is_stopped_only_where_the_terms_allow_it(allowed: bool) -> None:
    play = Played(terms(preemption=allowed))
    play.declare("a")
    events = play.declare("b", priority=1)
    assert resolution(events) == ((["b"], {"a": "preempted"}) if allowed else (["a"], {"b": "queued"}))
    assert play.status("a") == ("preempted" if allowed else "acting")
    assert told(play.declare("c", priority=1), IntentionQueued), "an equal priority stops nobody"


def test_no_more_are_stopped_than_it_takes() -> None:
    play = Played(terms(capacities=ROOMS.capacities, preemption=True))
    for name in ("a", "b", "c"):
        play.declare(name, **book(3))
    events = play.declare("d", **book(4, priority=1))
    assert resolution(events) == (["a", "b", "d"], {"c": "preempted"})
    assert told(events, IntentionAllowed)


def test_who_is_stopped_by_one_rule_is_in_the_way_of_no_other() -> None:
    play = Played(terms(capacities=ROOMS.capacities, preemption=True))
    play.declare("low", target="db", topic="storage", resource="rooms", amount=6)
    play.declare("last", **book(4))
    events = play.declare("new", target="db", topic="storage", resource="rooms", amount=6, priority=1)
    assert [e.kind for e in told(events, ConflictFound)] == ["duplicate_work"]
    assert [(e.intention, e.outcome) for e in told(events, IntentionEnded)] == [("low", "preempted")]
    assert play.status("last") == "acting", "there is room for it once low is gone"

    play = Played(terms(capacities=ROOMS.capacities, preemption=True))
    play.declare("low", target="db", topic="storage", resource="rooms", amount=2)
    play.declare("last", **book(4))
    events = play.declare("new", target="db", topic="storage", resource="rooms", amount=8, priority=1)
    assert [(e.kind, e.demanded) for e in told(events, ConflictFound)] == [
        ("duplicate_work", None),
        ("over_demand", 12),
    ]
    assert [(e.intention, e.outcome) for e in told(events, IntentionEnded)] == [
        ("low", "preempted"),
        ("last", "preempted"),
    ]


def test_nobody_is_stopped_for_who_has_to_wait_anyway() -> None:
    play = Played(terms(preemption=True, capacities=(Capacity("gpu", 1),)))
    play.declare("high", target="db", priority=9)
    play.declare("low", target="", resource="gpu", amount=1)
    events = play.declare("new", target="db", resource="gpu", amount=1, priority=5)
    assert [e.kind for e in told(events, ConflictFound)] == ["incompatible_modes", "over_demand"]
    assert (play.status("low"), play.status("new")) == ("acting", "queued")
    play.done("high")
    assert play.status("new") == "queued", "who is stopped is decided when one is declared"
    assert [e.agent for e in told(play.done("low"), IntentionAllowed)] == ["new"]


def test_who_does_not_want_to_wait_is_denied() -> None:
    play = Played()
    play.declare("a")
    events = play.declare("b", waits=False)
    assert resolution(events) == (["a"], {"b": "denied"})


# -- terms


def test_terms_name_modes_contradictions_and_capacities() -> None:
    own = terms(
        contradictions=(Pair("merge", "revert"),), incompatible=(Pair("draft", "final"),), capacities=ROOMS.capacities
    )
    play = Played(own)
    play.declare("a", action="merge", mode="draft")
    assert told(play.declare("b", action="merge", mode="draft"), IntentionAllowed)
    assert only(play.declare("c", mode="final"), ConflictFound).kind == "incompatible_modes"
    assert only(play.declare("d", action="revert", mode="draft"), ConflictFound).kind == "contradictory_actions"
    assert only(play.declare("e", mode="odd"), IntentionRefused).reason == "unknown_mode"
    assert told(play.declare("f", action="delete"), IntentionAllowed), "only what the terms name is incompatible"


def test_only_who_set_the_terms_changes_them_and_who_waits_profits() -> None:
    play = Played(ROOMS)
    play.declare("a", **book(6))
    play.declare("b", **book(6))
    play.declare("c", **book(9))
    assert only(play.do(ConfigureGround("mallory", DEFAULT)), ConfigurationRefused).owner == "owner"
    events = play.do(ConfigureGround("owner", terms(capacities=(Capacity("Rooms", 12),))))
    assert [e.agent for e in told(events, IntentionAllowed)] == ["b"]
    events = play.do(ConfigureGround("owner", terms(capacities=(Capacity("rooms", 8),))))
    assert [(e.agent, e.outcome) for e in told(events, IntentionEnded)] == [("c", "denied")], "it could never act"


# -- leases, ids, bounds


def test_who_does_not_renew_is_gone_and_the_next_acts() -> None:
    play = Played()
    play.declare("a")
    play.declare("b", lease_ms=60_000)
    assert (
        only(play.do(RenewIntention("a", "a"), after_ms=20_000), IntentionRenewed).deadline_ms == play.now_ms + 30_000
    )
    assert play.tick(29_999) == []
    events = play.tick(1)
    assert only(events, IntentionEnded).outcome == "expired"
    assert only(events, IntentionAllowed).agent == "b"
    events = play.do(RenewIntention("a", "a"))
    assert only(events, IntentionKnown).status == "expired"


def test_an_intention_is_its_agents_alone() -> None:
    play = Played()
    play.declare("a")
    for command in (RenewIntention("b", "a"), WithdrawIntention("b", "a", "")):
        assert only(play.do(command), IntentionUnknown).intention == "a"
    assert told(play.done("b", "a"), IntentionUnknown)
    assert play.status("a") == "acting"
    assert only(play.declare("b", name="a"), IntentionRefused).reason == "exists"
    assert only(play.declare("a", name="a", topic="other"), IntentionRefused).reason == "exists"


def test_the_same_once_more_tells_how_it_stands() -> None:
    play = Played()
    play.declare("a", topic="x")
    play.declare("b", topic="x")
    assert only(play.declare("a", topic="x"), IntentionKnown).status == "acting"
    known = only(play.declare("b", topic="x"), IntentionKnown)
    assert (known.status, known.by, known.conflict) == ("duplicate", ("a",), "2.1")


def test_withdrawing_and_finishing_what_never_acted() -> None:
    play = Played()
    play.declare("a")
    play.declare("b")
    play.declare("c")
    assert only(play.done("b"), IntentionEnded).outcome == "withdrawn"
    assert only(play.do(WithdrawIntention("c", "c", "no need")), IntentionEnded).reason == "no need"
    play.done("a")
    assert [one.status for one in play.ground.intentions] == ["done", "withdrawn", "withdrawn"]


def test_a_ground_holds_so_many_and_remembers_so_many() -> None:
    play = Played()
    for number in range(LIVE_MAX):
        play.declare(f"a{number}", target=f"t{number}")
    assert only(play.declare("more", target="more"), IntentionRefused).reason == "full"
    for number in range(LIVE_MAX):
        play.done(f"a{number}")
    play.declare("last", target="last")
    events = play.done("last")
    assert only(events, RecordsForgotten).intentions == ("a0",)
    assert len(play.ground.intentions) == REMEMBERED_MAX
    assert told(play.tick(DEFAULT.keep_ms), RecordsForgotten)
    assert play.state is None, "nothing is left of a ground that nobody has configured"


def test_a_trail_that_is_too_long_is_refused() -> None:
    play = Played()
    trail = ("again",) * (TRAIL_MAX + 1)
    assert only(play.do(DeclareIntention("a", "a", intent(), trail)), IntentionRefused).reason == "circular_trigger"


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({"action": ""}, "an intention has an action"),
        ({"target": ""}, "an intention has an action"),
        ({"amount": 2}, "amount=2"),
        ({"resource": "rooms"}, "amount=0"),
        ({"resource": "rooms", "amount": -1}, "amount=-1"),
        ({"mode": ""}, "mode=''"),
        ({"priority": 11}, "priority=11"),
        ({"lease_ms": 10}, "lease_ms=10"),
        ({"from_ms": 2, "until_ms": 2}, "it ends before it begins"),
        ({"text": "x" * 1_001}, "text has more than 1000 bytes"),
        ({"topic": "x" * 201}, "no name"),
    ],
)
def test_what_cannot_be_intended(other: dict[str, object], problem: str) -> None:
    rejected = only(Played().declare("a", **other), CommandRejected)
    assert problem in rejected.description


def test_reading_a_ground() -> None:
    play = Played(ROOMS)
    play.declare("a")
    play.declare("b")
    read = only(play.do(ReadGround("x")), GroundRead)
    assert (read.owner, read.terms) == ("owner", ROOMS)
    assert [(one.intention, one.status) for one in read.intentions] == [("a", "acting"), ("b", "queued")]
    assert [(one.kind, one.status, one.winner) for one in read.conflicts] == [("incompatible_modes", "resolved", "a")]


def long_one(start: str, length: int) -> str:
    return start + "x" * (length - len(start))


def test_a_full_ground_fits_a_decision() -> None:
    """All that may stand, with the longest names and texts, is told in one decision; so is its end."""
    play = Played()
    agent = long_one("agent", 255)
    for number in range(LIVE_MAX + REMEMBERED_MAX):
        name = long_one(f"{number} ", 200)
        more = {"topic": long_one(f"t{number}", 200), "text": "y" * 1_000, "resource": name, "amount": 1}
        what = intent(long_one("a", 200), name, mode="shared", lease_ms=60_000, **more)
        play.do(DeclareIntention(agent, name, what, ()))
        if number < REMEMBERED_MAX:
            play.done(agent, name)
    assert len(play.ground.live) == LIVE_MAX and len(play.ground.intentions) == LIVE_MAX + REMEMBERED_MAX
    size = len(events_codec("conflicts").encode(tuple(play.do(ReadGround(agent)))))
    assert 300_000 < size < DECISION_BYTES_MAX * 0.9
    ends = play.tick(60_000)
    assert len(events_codec("conflicts").encode(tuple(ends))) < DECISION_BYTES_MAX / 2


# -- wording


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Report", "REPORT", True),
        ("Straße", "STRASSE", True),
        ("ｒｅｐｏｒｔ", "report", True),
        ("café", "cafe\u0301", True),
        ("a\t b\n", "a b", True),
        ("a\u200bb", "a b", True),
        ("a-b", "a b", False),
        ("a_b", "a b", False),
        ("résumé", "resume", False),
    ],
)
def test_names(one: str, other: str, same: bool) -> None:
    assert (name_key(one) == name_key(other)) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("re-write", "re write", True),
        ("market size.", "“Market” size", True),
        ("rewrite", "re-write", False),
        ("C", "C#", False),
        ("C", "C++", False),
        ("R&D", "R D", False),
        ("below -5", "below 5", False),
        ("version 1.5", "version 15", False),
        ("version 1.5", "version 1 5", False),
        ("1,000 users", "1 000 users", False),
        ("2024-05", "2024 05", True),
        ("tests.", "tests", True),
        ("plans", "plan", False),
        ("\U0001f600", "\U0001f600", True),
    ],
)
def test_topics(one: str, other: str, same: bool) -> None:
    assert (topic_key(one) == topic_key(other)) is same
