"""The roster decider, branch by branch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import Command, Event, roster
from accord.schemas.messages.locks import LockReleased
from accord.schemas.messages.log import CommandRejected, SwitchRules, Tick
from accord.schemas.messages.roster import (
    AgentsAssigned,
    AgentsAwaited,
    AgentsFreed,
    AgentsRefused,
    Assignment,
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    FreeAgents,
    JoinRefused,
    JoinTeam,
    LeaveTeam,
    MemberJoined,
    MemberLeft,
    MemberLost,
    MembershipRenewed,
    ReadTeam,
    RenewalRefused,
    RenewMembership,
    Request,
    RequestAgents,
    TeamRead,
)
from accord.schemas.messages.tasks import Freed, LoseSteps, Outcome, Refusal, RefuseSteps, Slot, Wanted
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import At, Order, dump, restore
from accord.streams.domains import DOMAINS
from accord.streams.locks.bounds import LEASE_MS_MAX, LEASE_MS_MIN
from accord.streams.roster import decider as module
from accord.streams.roster.bounds import (
    ASSIGNED_AT_ONCE_MAX,
    BREAKERS_MAX,
    FULL_RETRY_MS,
    MEMBERS_MAX,
    OPEN_MS,
    SLOTS_MAX,
    WAITING_MAX,
)
from accord.streams.roster.decider import _ANSWERS, _CHANGES, DOMAIN, RosterDecider, evolve
from accord.streams.roster.presence import OWN_COMMANDS, OWN_EVENTS
from accord.streams.roster.team import NO_LINES, Breaker, Member, Team
from accord.streams.tasks.bounds import CAPABILITIES_MAX, GRAPH_BYTES_MAX, STEPS_MAX

from tests.streams.spec import Given, Specification

decider = RosterDecider()
given = Specification(decider)
T0 = 1_000
LEASE_MS = 30_000
NEW = 100
"""Number of the decision under test."""


def join(name: str, *skills: str, slots: int = 1, lease_ms: int = LEASE_MS) -> JoinTeam:
    return JoinTeam(name, f"{name}-1", skills or ("write",), slots, lease_ms)


def joined(name: str, *skills: str, slots: int = 1, now_ms: int = T0) -> MemberJoined:
    return MemberJoined(name, f"{name}-1", skills or ("write",), slots, LEASE_MS, now_ms + LEASE_MS)


def wants(*steps: str, task: str = "t", skill: str = "write", attempt: int = 1, urgent: bool = False) -> RequestAgents:
    return RequestAgents(task, tuple(Wanted(step, attempt, skill, urgent) for step in steps))


def awaited(*steps: str, absent: tuple[str, ...] = (), **terms: Any) -> AgentsAwaited:
    command = wants(*steps, **terms)
    return AgentsAwaited(command.task, command.wanted, absent)


def assigned(*given_to: tuple[str, str], seq: int = NEW, skill: str = "write", more: bool = False) -> AgentsAssigned:
    """(step, agent) pairs, of the task `t` unless a step says `task/step`."""
    assignments = []
    for step, agent in given_to:
        task, _, name = step.rpartition("/")
        assignments.append(Assignment(task or "t", name, 1, skill, agent, f"{agent}-1"))
    return AgentsAssigned(tuple(assignments), seq, more)


GOOD, BAD = Outcome("write", completed=True), Outcome("write", completed=False)


def free(step: str, *outcomes: Outcome, attempt: int = 1, task: str = "t") -> FreeAgents:
    return FreeAgents(task, (Freed(step, attempt, outcomes),))


def freed(step: str, *outcomes: Outcome, attempt: int = 1, task: str = "t") -> AgentsFreed:
    return AgentsFreed(task, (Freed(step, attempt, outcomes),))


def refused(step: str, retry_ms: int, reason: str = "breaker_open", skill: str = "write") -> AgentsRefused:
    return AgentsRefused("t", (Refusal(step, 1, skill, reason, retry_ms),))


def opened(until_ms: int, failures: int = 5, reason: str = "failures", skill: str = "write") -> BreakerOpened:
    return BreakerOpened(skill, failures, reason, until_ms)


def trial(step: str) -> BreakerHalfOpened:
    return BreakerHalfOpened("write", "t", step, 1)


def after(*done: Command | int) -> Given:
    """What is there after commands; a number is when those after it are decided. The first one is decision 1."""
    state: Team | None = None
    now_ms, seq = T0, 0
    for one in done:
        if isinstance(one, int):
            now_ms = one
            continue
        seq += 1
        state, events = decided(state, one, now_ms, seq)
        assert not any(isinstance(event, CommandRejected) for event in events), events
    return Given(decider, state)


def decided(state: Team | None, command: Command, now_ms: int, seq: int = NEW) -> tuple[Any, Sequence[Event]]:
    events = decider.decide(state, command, At(now_ms, seq, f"r{seq}"))
    for event in events:
        if type(event) is not CommandRejected:
            state = decider.evolve(state, event)
    return state, events


def rejected(text: str) -> CommandRejected:
    return CommandRejected("invalid", text)


# -- members


def test_a_member_joins_renews_and_leaves() -> None:
    then = given().when(join("ada", "write", "draw", slots=2), T0).then(joined("ada", "write", "draw", slots=2))
    assert decider.deadline_ms(then.state) == T0 + LEASE_MS
    renewed = then.when(RenewMembership("ada", "ada-1", 40_000), 5_000).then(MembershipRenewed("ada", "ada-1", 45_000))
    assert decider.deadline_ms(renewed.state) == 45_000
    renewed.when(Tick(), 44_999).then_nothing()
    assert renewed.when(LeaveTeam("ada", "ada-1"), 6_000).then(MemberLeft("ada", "ada-1", ())).state is None


def test_who_is_no_member_cannot_renew_and_leaving_is_nothing() -> None:
    given().when(RenewMembership("ada", "ada-1", LEASE_MS), T0).then(RenewalRefused("ada", "ada-1"))
    assert given().when(LeaveTeam("ada", "ada-1"), T0).then_nothing().state is None


def test_who_does_not_renew_is_gone_and_is_told_so() -> None:
    busy = after(join("ada", slots=3), join("bob", lease_ms=60_000), wants("a", "b", task="t"), wants("x", task="u"))
    lost = busy.when(Tick(), T0 + LEASE_MS).then(
        MemberLost("ada", "ada-1", (Request("t", "a", 1, "write"), Request("u", "x", 1, "write")), T0 + LEASE_MS)
    )
    assert [member.name for member in lost.state.members] == ["bob-1"]
    assert [key for key, _ in lost.state.taken] == [("t", "b", 1)]
    lost.when(RenewMembership("ada", "ada-1", LEASE_MS), 40_000).then(RenewalRefused("ada", "ada-1"))


def test_the_silent_are_lost_in_the_order_of_their_deadlines_before_a_command_is_answered() -> None:
    silent = after(join("ada"), join("zoe", lease_ms=20_000), join("kim", lease_ms=60_000))
    silent.when(ReadTeam("eve"), 31_000).then(
        MemberLost("zoe", "zoe-1", (), 21_000), MemberLost("ada", "ada-1", (), 31_000), TeamRead("eve", 1, 1, 0, 0)
    )


def test_who_joins_again_keeps_what_it_has_been_given() -> None:
    busy = after(join("ada"), wants("a"))
    again = busy.when(join("ada", "write", "draw", slots=2), 5_000).then(
        joined("ada", "write", "draw", slots=2, now_ms=5_000)
    )
    assert list(again.state.members) == [Member("ada", "ada-1", ("write", "draw"), 2, 35_000, 1, 2)]
    fewer = after(join("ada", slots=2), wants("a", "b", "c"), join("ada", slots=1), free("a"))
    assert len(fewer.state.waiting) == 1, "it has as many as it has slots"


def test_a_team_has_so_many_members() -> None:
    state = after(*[join(f"m{number}") for number in range(MEMBERS_MAX)]).state
    full = Given(decider, state)
    full.when(join("one-more"), T0).then(JoinRefused("one-more", "one-more-1", MEMBERS_MAX))
    full.when(join("m7"), T0).then(joined("m7"))


def test_a_team_is_read() -> None:
    busy = after(join("ada", slots=2), join("bob"), wants("a", "b", "c", "d"))
    busy.when(ReadTeam("eve"), 2_000).then(TeamRead("eve", 2, 3, 3, 1))
    given().when(ReadTeam("eve"), 2_000).then(TeamRead("eve", 0, 0, 0, 0))


# -- who does what


def test_a_step_goes_to_whom_the_least_part_of_its_slots_is_taken() -> None:
    team = after(join("zoe", slots=4), join("bob", slots=2))
    for number, name in enumerate(["bob", "zoe", "zoe", "bob", "zoe", "zoe"], start=10):
        ask = wants("a", task=f"t{number}")
        team = team.when(ask, 2_000, seq=number).then(
            awaited("a", task=f"t{number}"), assigned((f"t{number}/a", name), seq=number)
        )


def test_among_equals_it_goes_to_whom_nothing_was_given_for_longest() -> None:
    team = after(join("ada"), join("bob"), join("kim"))
    for number, name in enumerate(["ada", "bob", "kim", "ada", "bob"], start=10):
        busy = team.when(wants("a"), 2_000, seq=number).then(awaited("a"), assigned(("a", name), seq=number))
        team = busy.when(free("a"), 2_000).then(freed("a"))


def test_only_to_who_is_able() -> None:
    team = after(join("ada", "draw", slots=9), join("bob", "write", slots=1))
    team.when(wants("a", "b"), 2_000).then(awaited("a", "b"), assigned(("a", "bob")))
    nobody = after(join("ada", "draw")).when(wants("a"), 2_000).then(awaited("a"))
    assert list(nobody.state.waiting) == [("write", ("t", "a", 1))]


def test_without_members_it_waits_and_who_joins_gets_what_has_waited_longest() -> None:
    waiting = given().when(wants("a"), T0).then(awaited("a"))
    waiting = waiting.when(wants("b", skill="draw"), T0).then(awaited("b", skill="draw"))
    waiting = waiting.when(wants("c"), T0).then(awaited("c"))
    assert decider.deadline_ms(waiting.state) is None
    joining = waiting.when(join("ada", "draw", "write", slots=2), 2_000)
    joining.then(
        joined("ada", "draw", "write", slots=2, now_ms=2_000),
        AgentsAssigned(
            (
                Assignment("t", "a", 1, "write", "ada", "ada-1"),
                Assignment("t", "b", 1, "draw", "ada", "ada-1"),
            ),
            NEW,
            more=False,
        ),
    )


def test_who_has_a_slot_again_gets_the_next_of_all_it_is_able_to_do() -> None:
    busy = after(
        join("ada", "draw", "write"), wants("a"), wants("x", skill="sing"), wants("b", skill="draw"), wants("c")
    )
    next_one = busy.when(free("a", GOOD), 2_000).then(freed("a", GOOD), assigned(("b", "ada"), skill="draw"))
    next_one.when(free("b"), 2_000).then(freed("b"), assigned(("c", "ada")))


def test_what_waits_is_withdrawn_from_anywhere_in_its_line() -> None:
    line = after(wants("a", "b", "c", "d", "e"))
    for step in ("c", "a", "b"):
        line = line.when(free(step), 2_000).then(freed(step))
    line.when(join("ada", slots=5), 2_000).then(
        joined("ada", slots=5, now_ms=2_000), assigned(("d", "ada"), ("e", "ada"))
    )
    last = line.when(free("e"), 2_000).then(freed("e"))
    assert last.when(free("d"), 2_000).then(freed("d")).state is None


def test_a_slot_that_is_known_is_not_asked_for_again_and_one_that_is_not_is_not_given_back() -> None:
    team = after(join("ada"), wants("a", "b"))
    team.when(wants("a", "b"), 2_000).then_nothing()
    team.when(wants("a", "c", "c"), 2_000).then(awaited("c"))
    team.when(free("x", BAD), 2_000).then_nothing()
    team.when(free("a", BAD, attempt=2), 2_000).then_nothing()
    team.when(free("a", BAD, task="u"), 2_000).then_nothing()
    urgent = wants("x", "x", skill="draw", urgent=True)
    team.when(urgent, 2_000).then(awaited("x", skill="draw", urgent=True, absent=("draw",)))
    twice = FreeAgents("t", (Freed("x", 1, ()), Freed("a", 1, (BAD,)), Freed("a", 1, (BAD,))))
    one = team.when(twice, 2_000).then(freed("a", BAD), assigned(("b", "ada")))
    assert one.state.breakers["write"].failures == 1
    one.when(twice, 2_000).then_nothing()


def test_who_leaves_gives_its_steps_back() -> None:
    team = after(join("ada", slots=2), wants("a", "b"))
    left = team.when(LeaveTeam("ada", "ada-1"), 2_000).then(
        MemberLeft("ada", "ada-1", (Request("t", "a", 1, "write"), Request("t", "b", 1, "write")))
    )
    assert left.state is None, "leaving is no failure"


def test_a_team_is_full_at_so_many_that_wait() -> None:
    with patch.object(module, "WAITING_MAX", 3):
        team = after(wants("a", "b"))
        refusals = AgentsRefused("t", tuple(Refusal(name, 1, "write", "team_full", FULL_RETRY_MS) for name in "de"))
        team.when(wants("c", "d", "e"), 2_000).then(awaited("c"), refusals)
    assert WAITING_MAX >= 100_000


def test_a_request_that_a_full_team_refuses_is_no_trial() -> None:
    """Else nobody would ever close the breaker."""
    open_one = after(wants("z", skill="draw"), join("ada"), *failures(5), join("ada", lease_ms=LEASE_MS_MAX))
    with patch.object(module, "WAITING_MAX", 1):
        full = open_one.when(wants("a"), T0 + OPEN_MS).then(refused("a", FULL_RETRY_MS, "team_full"))
    assert full.state.breakers["write"].state == "open"


def test_so_many_are_assigned_at_once_and_the_others_at_the_next_tick() -> None:
    state = after(wants(*"abcdefgh")).state
    with patch.object(module, "ASSIGNED_AT_ONCE_MAX", 2):
        state, events = decided(state, join("bob", slots=5), T0, 5)
        assert events[1] == assigned(("a", "bob"), ("b", "bob"), seq=5, more=True)
        assert decider.deadline_ms(state) == 0
        state, events = decided(state, Tick(), T0, 6)
        assert list(events) == [assigned(("c", "bob"), ("d", "bob"), seq=6, more=True)]
        state, events = decided(state, Tick(), T0, 7)
        assert list(events) == [assigned(("e", "bob"), seq=7)]
        assert decider.deadline_ms(state) == T0 + LEASE_MS
        state, events = decided(state, Tick(), T0, 8)
        assert list(events) == []


def test_no_more_is_to_come_when_who_could_have_taken_it_is_gone() -> None:
    waiting = after(wants("a", "b", "c")).state
    with patch.object(module, "ASSIGNED_AT_ONCE_MAX", 1):
        state, _ = decided(waiting, join("bob", slots=2), T0, 5)
        assert state.more
        state, events = decided(state, LeaveTeam("bob", "bob-1"), T0, 6)
        assert list(events) == [MemberLeft("bob", "bob-1", (Request("t", "a", 1, "write"),)), assigned(seq=6)]
        assert not state.more


def test_so_many_slots_are_lost_at_once_and_the_others_at_the_next_tick() -> None:
    with patch.object(module, "ASSIGNED_AT_ONCE_MAX", 3):
        silent = after(join("ada", slots=2), join("bob", slots=2), wants("a"), wants("b"), wants("c"), wants("d"))
        state, events = decided(silent.state, wants("e"), T0 + LEASE_MS, 7)
        lost = MemberLost("ada", "ada-1", (Request("t", "a", 1, "write"), Request("t", "c", 1, "write")), T0 + LEASE_MS)
        assert list(events) == [lost, awaited("e")]
        assert decider.deadline_ms(state) == T0 + LEASE_MS
        state, events = decided(state, Tick(), T0 + LEASE_MS, 8)
        assert [type(event) for event in events] == [MemberLost]
        state, events = decided(state, join("kim"), T0 + LEASE_MS, 9)
        assert events[-1] == assigned(("e", "kim"), seq=9)


def test_who_is_silent_is_given_nothing_before_it_is_lost() -> None:
    with patch.object(module, "ASSIGNED_AT_ONCE_MAX", 3):
        silent = after(join("ada", slots=1), join("bob", slots=9), wants("a"), wants("b"), wants("c"))
        _, events = decided(silent.state, wants("d"), T0 + LEASE_MS, 7)
        assert [type(event) for event in events[:2]] == [MemberLost, AgentsAwaited]
        assert events[2] == assigned(seq=7, more=True)


# -- breakers


def failures(count: int, skill: str = "write") -> list[Command]:
    """So many runs of the capability that failed, each of another task."""
    bad = Outcome(skill, completed=False)
    return [
        command
        for number in range(count)
        for command in (wants("s", task=f"f{number}", skill=skill), free("s", bad, task=f"f{number}"))
    ]


def test_five_failures_in_a_row_open_the_breaker() -> None:
    four = after(join("ada", "write", "draw"), *failures(4), wants("a"))
    five = four.when(free("a", BAD), 2_000).then(freed("a", BAD), opened(2_000 + OPEN_MS))
    five.when(wants("b"), 2_000).then(refused("b", OPEN_MS))
    five.when(wants("b"), 1_999 + OPEN_MS).then(MemberLost("ada", "ada-1", (), T0 + LEASE_MS), refused("b", 1))
    five.when(wants("b", skill="draw"), 2_000).then(awaited("b", skill="draw"), assigned(("b", "ada"), skill="draw"))


def test_a_completed_run_begins_the_count_anew() -> None:
    good = after(join("ada"), *failures(4), wants("a"), free("a", GOOD))
    assert good.state.breakers == {}
    again = after(join("ada"), *failures(4), wants("a"), free("a", GOOD), *failures(4))
    assert again.state.breakers == {"write": Breaker(failures=4)}


def test_all_runs_of_a_slot_count_in_their_order() -> None:
    busy = after(join("ada"), *failures(4), wants("a"))
    draws = Outcome("draw", completed=True)
    one = busy.when(free("a", GOOD, draws, BAD), 2_000).then(freed("a", GOOD, draws, BAD))
    assert one.state.breakers == {"write": Breaker(failures=1)}


def test_a_slot_without_an_outcome_changes_no_count() -> None:
    four = after(join("ada"), *failures(4), wants("a")).when(free("a"), 2_000).then(freed("a"))
    assert four.state.breakers == {"write": Breaker(failures=4)}


def test_a_limit_missed_while_it_waited_is_a_failure() -> None:
    waiting = after(*failures(4), wants("a"))
    waiting.when(free("a", BAD), 2_000).then(freed("a", BAD), opened(2_000 + OPEN_MS))


@pytest.mark.parametrize("before", [0, 4])
def test_a_lost_agent_is_one_failure_however_much_it_was_at_work_with(before: int) -> None:
    busy = after(join("ada", slots=9), *failures(before), wants(*"abcdef", task="busy"))
    requests = tuple(Request("busy", step, 1, "write") for step in "abcdef")
    lost = busy.when(Tick(), T0 + LEASE_MS).then(
        MemberLost("ada", "ada-1", requests, T0 + LEASE_MS),
        *([opened(T0 + LEASE_MS + OPEN_MS, failures=5)] if before else []),
    )
    assert lost.state.breakers["write"].state == ("open" if before else "closed")
    assert lost.state.breakers["write"].failures == before + 1
    assert decider.deadline_ms(lost.state) is None


def test_a_breaker_opens_once_however_much_fails_meanwhile() -> None:
    busy = after(join("ada", slots=9), *failures(4), wants("a"), wants("b"), free("a", BAD))
    then = busy.when(free("b", BAD), 3_000).then(freed("b", BAD))
    assert then.state.breakers["write"].until_ms == T0 + OPEN_MS
    good = after(join("ada", slots=9), *failures(4), wants("a"), wants("b"), free("a", BAD))
    good = good.when(free("b", GOOD), 3_000).then(freed("b", GOOD))
    assert good.state.breakers["write"].state == "open", "who began before it opened does not close it"


LONG_ADA = join("ada", slots=2, lease_ms=LEASE_MS_MAX)


def test_after_60_s_one_request_is_let_through_and_closes_it() -> None:
    open_one = after(LONG_ADA, *failures(5))
    later = T0 + OPEN_MS
    half = open_one.when(wants("a", "b"), later).then(
        trial("a"), awaited("a"), refused("b", OPEN_MS), assigned(("a", "ada"))
    )
    half.when(wants("c"), later).then(refused("c", OPEN_MS))
    half.when(wants("a"), later).then_nothing()
    closed = half.when(free("a", GOOD), later).then(freed("a", GOOD), BreakerClosed("write", "completed"))
    assert closed.state.breakers == {}


def test_the_trial_that_fails_opens_it_again() -> None:
    half = after(LONG_ADA, *failures(5), T0 + OPEN_MS, wants("a"))
    again = half.when(free("a", BAD), 70_000).then(freed("a", BAD), opened(70_000 + OPEN_MS, failures=6))
    again.when(wants("b"), 69_999 + OPEN_MS).then(refused("b", 1))
    again.when(wants("b"), 70_000 + OPEN_MS).then(trial("b"), awaited("b"), assigned(("b", "ada")))


def test_the_trial_whose_agent_is_lost_opens_it_again() -> None:
    half = after(join("bob", lease_ms=70_000), *failures(5), T0 + OPEN_MS, wants("a"))
    half.when(Tick(), 71_000).then(
        MemberLost("bob", "bob-1", (Request("t", "a", 1, "write"),), 71_000), opened(71_000 + OPEN_MS, failures=6)
    )


@pytest.mark.parametrize("end", [free("a"), LeaveTeam("ada", "ada-1")], ids=["given back", "left"])
def test_a_trial_that_ends_without_a_result_was_none(end: Command) -> None:
    half = after(LONG_ADA, *failures(5), T0 + OPEN_MS, wants("a"))
    ended = decided(half.state, end, 62_000)[0]
    assert ended.breakers["write"].state == "open"
    Given(decider, ended).when(wants("b"), 62_000, seq=7).then(
        trial("b"), awaited("b"), *([assigned(("b", "ada"), seq=7)] if type(end) is FreeAgents else [])
    )


def test_the_end_of_another_slot_says_nothing_of_the_trial() -> None:
    half = after(LONG_ADA, wants("old"), *failures(5), T0 + OPEN_MS, wants("a"))
    for outcomes in ((), (GOOD,), (BAD,)):
        ended = half.when(free("old", *outcomes), 62_000).then(freed("old", *outcomes))
        assert ended.state.breakers["write"].state == "half_open"
    ada, bob = join("ada", lease_ms=LEASE_MS_MAX), join("bob", lease_ms=61_500)
    two = after(ada, bob, wants("x", "old"), *failures(4), free("x", BAD), T0 + OPEN_MS, wants("a"))
    assert [member.busy for member in two.state.members] == [1, 1]
    lost = two.when(Tick(), 62_500).then(MemberLost("bob", "bob-1", (Request("t", "old", 1, "write"),), 62_500))
    assert lost.state.breakers["write"].state == "half_open"
    left = two.when(LeaveTeam("bob", "bob-1"), 62_000).then(
        MemberLeft("bob", "bob-1", (Request("t", "old", 1, "write"),))
    )
    assert left.state.breakers["write"].state == "half_open"


def test_nobody_there_for_what_is_urgent_is_a_failure_and_who_joins_closes_the_breaker() -> None:
    team = after(join("ada", "draw", lease_ms=LEASE_MS_MAX))
    for number in range(4):
        ask = wants("a", task=f"u{number}", urgent=True)
        team = team.when(ask, 2_000).then(awaited("a", task=f"u{number}", urgent=True, absent=("write",)))
    absent = opened(2_000 + OPEN_MS, reason="absent")
    team = team.when(wants("a", urgent=True), 2_000).then(awaited("a", urgent=True, absent=("write",)), absent)
    team.when(wants("b"), 3_000).then(refused("b", OPEN_MS - 1_000))
    back = team.when(join("bob", "sing", "write"), 3_000).then(
        joined("bob", "sing", "write", now_ms=3_000), BreakerClosed("write", "joined"), assigned(("u0/a", "bob"))
    )
    assert back.state.breakers == {}
    busy = after(join("ada"), wants("a")).when(wants("b", urgent=True), 2_000).then(awaited("b", urgent=True))
    assert busy.state.breakers == {}, "somebody is there, if busy"
    patient = after(join("ada", "draw")).when(wants("a"), 2_000).then(awaited("a"))
    assert patient.state.breakers == {}, "what can wait is no failure"


def test_who_joins_does_not_close_a_breaker_that_failures_opened() -> None:
    open_one = after(join("ada"), *failures(5)).when(join("bob"), 2_000).then(joined("bob", now_ms=2_000))
    assert open_one.state.breakers["write"].state == "open"


def test_a_trial_for_which_nobody_is_there_opens_it_again() -> None:
    open_one = after(*failures(5))
    again = open_one.when(wants("a", urgent=True), 70_000).then(
        trial("a"), awaited("a", urgent=True, absent=("write",)), opened(70_000 + OPEN_MS, 6, "absent")
    )
    again.when(join("ada"), 71_000).then(
        joined("ada", now_ms=71_000), BreakerClosed("write", "joined"), assigned(("a", "ada"))
    )


def test_the_failures_of_so_many_capabilities_are_counted_those_of_the_oldest_forgotten() -> None:
    commands: list[Command] = []
    for number in range(BREAKERS_MAX + 1):
        commands += failures(1, f"c{number}")
    breakers = after(*commands).state.breakers
    assert len(breakers) == BREAKERS_MAX
    assert ("c0" in breakers, "c1" in breakers, f"c{BREAKERS_MAX}" in breakers) == (False, True, True)


def test_a_team_of_which_nothing_is_known_is_not_remembered() -> None:
    assert given().when(Tick(), T0).then_nothing().state is None
    assert after(wants("a"), free("a")).state is None
    assert after(wants("a"), free("a", BAD)).state is not None, "a failure"
    assert after(wants("a"), free("a", BAD), wants("b"), free("b", GOOD)).state is None


# -- bounds


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (JoinTeam("ada", "", ("write",), 1, LEASE_MS), "a member has a name"),
        (JoinTeam("ada", "a", (), 1, LEASE_MS), "capabilities: none is named"),
        (JoinTeam("ada", "a", ("",), 1, LEASE_MS), "capabilities: '' is no name; one has 1 to 200 bytes"),
        (
            JoinTeam("ada", "a", ("x",) * (CAPABILITIES_MAX + 1), 1, LEASE_MS),
            f"capabilities: at most {CAPABILITIES_MAX} are possible",
        ),
        (JoinTeam("ada", "a", ("x",), 0, LEASE_MS), f"slots=0: 1 to {SLOTS_MAX} are possible"),
        (
            JoinTeam("ada", "a", ("x",), SLOTS_MAX + 1, LEASE_MS),
            f"slots={SLOTS_MAX + 1}: 1 to {SLOTS_MAX} are possible",
        ),
        (
            RenewMembership("ada", "a", LEASE_MS_MIN - 1),
            f"lease_ms={LEASE_MS_MIN - 1}: {LEASE_MS_MIN} to {LEASE_MS_MAX} are possible",
        ),
        (JoinTeam("x" * 256, "a", ("x",), 1, LEASE_MS), "agent has more than 255 bytes"),
        (RequestAgents("x" * 256, ()), "task has more than 255 bytes"),
        (RequestAgents("t", ()), "wanted: none is named"),
        (wants("x" * 201), f"wanted: '{'x' * 40}' is no name; one has 1 to 200 bytes"),
        (wants("a", skill=""), "wanted: '' is no name; one has 1 to 200 bytes"),
        (wants(*["a"] * (STEPS_MAX + 1)), f"wanted: at most {2 * STEPS_MAX} are possible"),
        (FreeAgents("t", (Freed("a", 1, ()),) * (STEPS_MAX + 1)), f"freed: at most {STEPS_MAX} are possible"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Command) else None,
)
def test_what_is_out_of_bounds_is_rejected(command: Command, problem: str) -> None:
    given().when(command, T0).then(rejected(problem))


def size_of(events: Sequence[Event]) -> int:
    return len(events_codec("roster").encode(list(events)))


def test_the_largest_decisions_fit() -> None:
    """Everything as long as it may be: one that did not fit would be refused, and the team could not go on."""
    agent, skill, task = "a" * 253, "w" * 200, "t" * 255
    steps = [f"{number:0200}" for number in range(GRAPH_BYTES_MAX // 416)]
    state, events = decided(None, wants(*steps, skill=skill, task=task), T0, 1)
    assert size_of(events) <= DECISION_BYTES_MAX
    state, events = decided(state, join(agent, skill, slots=SLOTS_MAX), T0, 2)
    assert len(events[1].assignments) == ASSIGNED_AT_ONCE_MAX  # type: ignore[attr-defined]
    assert size_of(events) <= DECISION_BYTES_MAX
    state, _ = decided(state, join("b" * 253, skill, slots=SLOTS_MAX, lease_ms=60_000), T0, 3)
    state = msgspec.structs.replace(state, breakers={skill: Breaker(failures=4)})
    others = wants(*steps, skill=skill, task="u" * 255)
    state, events = decided(state, others, T0 + LEASE_MS, 4)
    assert [type(event) for event in events[:2]] == [MemberLost, BreakerOpened]
    assert size_of(events) <= DECISION_BYTES_MAX
    more = wants(*steps, skill="v" * 200, task="u" * 255)
    state, _ = decided(after(more).state, join("c" * 253, "x" * 200), T0, 3)
    events = decider.decide(state, join("c" * 253, "v" * 200, slots=SLOTS_MAX), At(T0, 4, "r"))
    assert 0.5 * DECISION_BYTES_MAX < size_of(events) <= DECISION_BYTES_MAX


# -- the domain


def test_events_and_commands_of_other_domains_raise() -> None:
    with pytest.raises(TypeError, match="the roster domain has no command SwitchRules"):
        decider.decide(None, SwitchRules(1, ""), At(1, 1, "r"))
    with pytest.raises(TypeError, match="the roster domain has no event LockReleased"):
        evolve(Team(), LockReleased("ada", 1))


def test_what_follows_in_the_tasks() -> None:
    assert DOMAINS["roster"] is DOMAIN
    requests = (Request("t", "a", 1, "write"), Request("u", "b", 2, "draw"), Request("t", "c", 3, "write"))
    orders = [
        Order("tasks", "t", LoseSteps("ada", "ada-1", (Slot("a", 1), Slot("c", 3)))),
        Order("tasks", "u", LoseSteps("ada", "ada-1", (Slot("b", 2),))),
    ]
    assert DOMAIN.reactions[MemberLost]("team", MemberLost("ada", "ada-1", requests, 5)) == orders
    assert DOMAIN.reactions[MemberLeft]("team", MemberLeft("ada", "ada-1", requests)) == orders
    assert DOMAIN.reactions[MemberLeft]("team", MemberLeft("ada", "ada-1", ())) == []
    told = refused("a", 5)
    assert DOMAIN.reactions[AgentsRefused]("team", told) == [Order("tasks", "t", RefuseSteps(told.refusals))]


def test_every_event_is_folded_and_every_command_answered() -> None:
    assert set(_CHANGES) == set(roster.EVENTS) - OWN_EVENTS
    assert set(_ANSWERS) == {*roster.COMMANDS, Tick} - OWN_COMMANDS


def test_a_state_comes_back_from_its_row() -> None:
    state = after(
        join("bob", slots=2), join("ada", "draw", "sing"), *failures(5, "play"), wants("a", "b", "c", "d"),
        wants("x", skill="draw"), wants("y", "z", skill="dance"), free("d"), wants("e"),
    ).state  # fmt: skip
    again = restore(dump(state), Team)
    assert again == state
    assert dump(again) == dump(state)
    assert repr(again) == repr(state)
    assert list(again.waiting) == list(state.waiting)
    assert decider.deadline_ms(again) == decider.deadline_ms(state) == T0 + LEASE_MS
    for command in (free("a", GOOD), join("kim", "dance", "write", slots=9), Tick()):
        at = At(T0 + 5, 99, "r")
        assert decider.decide(again, command, at) == decider.decide(state, command, at)
    other = after(join("bob", slots=2)).state
    assert other.members != state.members
    assert other.taken != state.taken
    assert (other.waiting == NO_LINES, other.waiting == state.waiting) == (True, False)
