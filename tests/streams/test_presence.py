"""Heartbeats, branch by branch; and what follows from a process that failed."""

from __future__ import annotations

from typing import Any

import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.locks import (
    BarrierBroken,
    BarrierReached,
    DropRequest,
    LeaseRevoked,
    LockGranted,
    LockQueued,
    RequestWithdrawn,
)
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.roster import (
    AgentAppeared,
    AgentBeat,
    AgentFailed,
    AgentForgotten,
    AgentLeft,
    AgentRecovered,
    AgentsAssigned,
    AgentsAwaited,
    AgentSuspected,
    Assignment,
    Beat,
    BeatRefused,
    BeginPresence,
    EndPresence,
    FailMember,
    JoinTeam,
    MemberFailed,
    MemberJoined,
    MemberLost,
    Request,
    Tie,
)
from accord.schemas.messages.tasks import LoseSteps, Slot, Wanted
from accord.schemas.topics import DECISION_BYTES_MAX
from accord.streams.decider import At, Order, dump, restore
from accord.streams.domains import DOMAINS
from accord.streams.roster.bounds import FORGET_MS, SLOTS_MAX, TIES_MAX
from accord.streams.roster.decider import RosterDecider
from accord.streams.roster.presence import Presence
from hypothesis import given as drawn
from hypothesis import strategies as st

from tests.counts import examples
from tests.streams.spec import Specification

decider = RosterDecider()
given = Specification(decider)
locks = Specification(DOMAINS["locks"].versions[1])
T0 = 10_000
BEAT, SUSPECT, FAIL = 800, 2_400, 4_000
LOCK, TEAM = Tie("locks", "room_12", "r1"), Tie("roster", "default", "ada/1")
MS = 86_400_000
TICK = Tick()


def begin(*ties: Tie, **terms: int) -> BeginPresence:
    known = {"beat_ms": BEAT, "suspect_ms": SUSPECT, "fail_ms": FAIL} | terms
    return BeginPresence("ada", known["beat_ms"], known["suspect_ms"], known["fail_ms"], ties)


def appeared(*ties: Tie, at_ms: int = T0) -> AgentAppeared:
    return AgentAppeared("ada", BEAT, SUSPECT, FAIL, at_ms, ties)


def beat(*ties: Tie, untie: tuple[Tie, ...] = ()) -> Beat:
    return Beat("ada", ties, untie)


def beaten(at_ms: int, *ties: Tie, untied: tuple[Tie, ...] = ()) -> AgentBeat:
    return AgentBeat("ada", at_ms, ties, untied)


SUSPECTED = AgentSuspected("ada", T0, T0 + SUSPECT)
FAILED = AgentFailed("ada", T0, T0 + FAIL, ())


# -- alive, suspected, failed


def test_it_begins() -> None:
    known = given().when(begin(LOCK, TEAM, LOCK), T0).then(appeared(LOCK, TEAM))
    assert known.state.health == "alive" and known.state.health_since_ms == T0
    assert decider.deadline_ms(known.state) == T0 + SUSPECT


def test_a_beat_in_time_suspects_nobody() -> None:
    known = given(appeared()).when(beat(), T0 + SUSPECT - 1).then(beaten(T0 + SUSPECT - 1))
    assert decider.deadline_ms(known.state) == T0 + 2 * SUSPECT - 1


def test_who_begins_again_beats() -> None:
    given(appeared()).when(begin(LOCK), T0 + 1).then(beaten(T0 + 1, LOCK))


def test_who_misses_beats_is_suspected_and_then_has_failed() -> None:
    known = given(appeared(LOCK)).when(Tick(), T0 + SUSPECT - 1).then_nothing()
    known = known.when(Tick(), T0 + SUSPECT).then(SUSPECTED)
    assert known.state.health == "suspected" and known.state.health_since_ms == T0 + SUSPECT
    assert decider.deadline_ms(known.state) == T0 + FAIL
    known.when(Tick(), T0 + FAIL - 1).then_nothing()
    known = known.when(Tick(), T0 + FAIL).then(AgentFailed("ada", T0, T0 + FAIL, (LOCK,)))
    assert known.state.health == "failed" and known.state.health_since_ms == T0 + FAIL
    assert not known.state.ties and decider.deadline_ms(known.state) == T0 + FAIL + FORGET_MS


def test_who_beats_again_was_suspected_falsely() -> None:
    late = T0 + SUSPECT + 100
    recovered = AgentRecovered("ada", T0 + SUSPECT, SUSPECT + 100, 1)
    known = given(appeared(), SUSPECTED).when(beat(), late).then(recovered, beaten(late))
    assert known.state.health == "alive" and known.state.suspicions == 1
    again = late + SUSPECT
    known = known.when(Tick(), again).then(AgentSuspected("ada", late, again))
    known = known.when(beat(), again + 5).then(AgentRecovered("ada", again, SUSPECT + 5, 2), beaten(again + 5))
    assert known.state.suspicions == 2


def test_a_late_beat_alone_tells_the_suspicion_too() -> None:
    late = T0 + SUSPECT
    recovered = AgentRecovered("ada", late, SUSPECT, 1)
    given(appeared()).when(beat(), late).then(SUSPECTED, recovered, beaten(late))


def test_a_beat_that_comes_too_late_is_refused() -> None:
    known = given(appeared()).when(beat(LOCK), T0 + FAIL).then(SUSPECTED, FAILED, BeatRefused("ada", "failed"))
    known.when(begin(), T0 + FAIL + 1).then(BeatRefused("ada", "failed"))
    known.when(EndPresence("ada"), T0 + FAIL + 1).then_nothing()


def test_nobody_beats_who_never_began() -> None:
    given().when(beat(LOCK), T0).then(BeatRefused("ada", "unknown"))
    given().when(EndPresence("ada"), T0).then_nothing()


def test_who_leaves_is_forgotten_and_ends_nothing() -> None:
    assert given(appeared(LOCK)).when(EndPresence("ada"), T0 + 5).then(AgentLeft("ada")).state is None


def test_who_failed_long_ago_is_forgotten() -> None:
    failed = given(appeared(), SUSPECTED, FAILED)
    failed.when(Tick(), T0 + FAIL + FORGET_MS - 1).then_nothing()
    assert failed.when(Tick(), T0 + FAIL + FORGET_MS).then(AgentForgotten("ada")).state is None
    late = T0 + FAIL + FORGET_MS
    failed.when(beat(), late).then(AgentForgotten("ada"), BeatRefused("ada", "unknown"))
    given(appeared()).when(Tick(), late).then(SUSPECTED, FAILED, AgentForgotten("ada"))


# -- what hangs on it


def test_ties_come_and_go_with_beats() -> None:
    known = given(appeared(TEAM)).when(beat(LOCK, TEAM), T0 + 1).then(beaten(T0 + 1, LOCK))
    assert known.state.ties == (TEAM, LOCK)
    gone = Tie("locks", "room_13", "r2")
    known = known.when(beat(untie=(LOCK, gone)), T0 + 2).then(beaten(T0 + 2, untied=(LOCK,)))
    assert known.state.ties == (TEAM,)


def test_what_is_too_much_is_not_tied() -> None:
    many = tuple(Tie("locks", f"room_{number}", "r") for number in range(TIES_MAX))
    full = given(appeared(*many))
    full.when(beat(LOCK), T0 + 1).then(beaten(T0 + 1))
    full.when(beat(LOCK, TEAM, untie=many[:1]), T0 + 1).then(beaten(T0 + 1, LOCK, untied=many[:1]))


def test_the_failure_of_who_has_most_fits_a_decision() -> None:
    many = tuple(Tie("locks", f"{number:03}".ljust(255, "x"), "r" * 255) for number in range(TIES_MAX))
    failed = AgentFailed("a" * 255, T0, T0 + FAIL, many)
    assert len(events_codec("roster").encode([SUSPECTED, failed])) < DECISION_BYTES_MAX


def test_what_follows_from_a_failure() -> None:
    follow = DOMAINS["roster"].reactions[AgentFailed]
    assert list(follow("ada/77", AgentFailed("ada", T0, T0 + FAIL, (LOCK, TEAM)))) == [
        Order("locks", "room_12", DropRequest("accord", "r1", "no heartbeat of ada/77")),
        Order("roster", "default", FailMember("ada", "ada/1", "ada/77", T0 + FAIL)),
    ]
    others = (SUSPECTED, AgentLeft("ada"), appeared(LOCK))
    assert not any(type(one) in DOMAINS["roster"].reactions for one in others), "suspicion and leaving end nothing"


# -- bounds, and names that are a team's


@pytest.mark.parametrize(
    "command",
    [
        begin(suspect_ms=800),
        begin(fail_ms=2_400),
        begin(beat_ms=99),
        begin(fail_ms=3_600_001),
        begin(Tie("limits", "pool", "r")),
        begin(Tie("locks", "", "r")),
        begin(Tie("locks", "x" * 256, "r")),
        beat(*[LOCK] * (TIES_MAX + 1)),
        beat(untie=(Tie("locks", "x", ""),)),
        BeginPresence("a" * 256, BEAT, SUSPECT, FAIL, ()),
    ],
)
def test_what_cannot_be_is_rejected(command: Command) -> None:
    for state in (None, given(appeared()).state):
        (rejected,) = decider.decide(state, command, At(T0, 1, "x"))
        assert type(rejected) is CommandRejected and rejected.reason is Reason.INVALID


def test_a_name_is_a_teams_or_a_processs() -> None:
    join = JoinTeam("ada", "ada/1", ("write",), 1, 10_000)
    team = given(MemberJoined("ada", "ada/1", ("write",), 1, 10_000, T0 + 10_000))
    for state, command in ((team.state, begin()), (given(appeared()).state, join)):
        (rejected,) = decider.decide(state, command, At(T0, 1, "x"))
        assert type(rejected) is CommandRejected
        again = restore(dump(state), decider.state_type)
        assert again == state and type(again) is type(state)


# -- a member, a lock whose process failed


def _joined(slots: int = 1) -> MemberJoined:
    return MemberJoined("ada", "ada/1", ("write",), slots, 60_000, T0 + 60_000)


def test_a_member_whose_process_failed_is_lost_at_once() -> None:
    waited = AgentsAwaited("t", (Wanted("plan", 1, "write", False),), ())
    assigned = AgentsAssigned((Assignment("t", "plan", 1, "write", "ada", "ada/1"),), 5, False)
    fail, now = FailMember("ada", "ada/1", "ada/77", T0 + FAIL), T0 + FAIL + 30
    lost = MemberLost("ada", "ada/1", (Request("t", "plan", 1, "write"),), now)
    after = given(_joined(), waited, assigned).when(fail, now)
    known = after.then(MemberFailed("ada", "ada/1", "ada/77", T0 + FAIL, now), lost)
    assert DOMAINS["roster"].reactions[MemberLost]("default", lost) == [
        Order("tasks", "t", LoseSteps("ada", "ada/1", (Slot("plan", 1),)))
    ]
    assert known.state.members.get("ada/1") is None
    known.when(fail, now + 1).then_nothing()


def test_another_member_has_the_step_at_once() -> None:
    waited = AgentsAwaited("t", (Wanted("plan", 1, "write", False), Wanted("edit", 1, "write", False)), ())
    assigned = AgentsAssigned((Assignment("t", "plan", 1, "write", "ada", "ada/1"),), 5, False)
    bob = MemberJoined("bob", "bob/1", ("write",), 1, 60_000, T0 + 60_000)
    state = given(_joined(), bob, waited, assigned).state
    events = decider.decide(state, FailMember("ada", "ada/1", "ada/77", T0), At(T0 + 5, 9, "x"))
    assert [type(event) for event in events] == [MemberFailed, MemberLost, AgentsAssigned]
    assert [(one.step, one.member) for one in events[2].assignments] == [("edit", "bob/1")]  # type: ignore[attr-defined]


def test_members_that_one_decision_cannot_tell_are_lost_by_the_next() -> None:
    names = ("ada/1", "ada/2")
    state: Any = None
    for name in names:
        state = decider.evolve(state, MemberJoined("ada", name, (name,), SLOTS_MAX, 5_000, T0 + 5_000))
    for name in names:
        wanted = tuple(Wanted(f"s{number}", 1, name, False) for number in range(SLOTS_MAX))
        state = decider.evolve(state, AgentsAwaited(name, wanted, ()))
        given_ = tuple(Assignment(name, one.step, 1, name, "ada", name) for one in wanted)
        state = decider.evolve(state, AgentsAssigned(given_, 5, False))
    fail = FailMember("ada", "ada/2", "ada/77", T0)
    events = decider.decide(state, fail, At(T0 + 5_000, 9, "x"))  # the lease of the other is over, too
    assert [type(event) for event in events[:2]] == [MemberLost, MemberFailed]
    for event in events:
        state = decider.evolve(state, event)
    assert [member.name for member in state.members] == ["ada/2"] and decider.deadline_ms(state) <= T0 + 5_000
    (lost, *_) = decider.decide(state, Tick(), At(T0 + 5_001, 10, "y"))
    assert type(lost) is MemberLost and lost.member == "ada/2"


def drop(request: str) -> DropRequest:
    return DropRequest("accord", request, "no heartbeat of ada/77")


def test_a_lock_of_who_failed_goes_to_the_next() -> None:
    held = LockGranted("r1", "ada", "ada/o", 3, MS, T0 + MS)
    waits = LockQueued("r2", "bob", "bob/o", 5_000, T0, None, 1)
    after = locks(held, waits).when(drop("r1"), T0 + 10, seq=8)
    known = after.then(
        LeaseRevoked("ada", 3, "accord", "no heartbeat of ada/77"),
        LockGranted("r2", "bob", "bob/o", 8, 5_000, T0 + 10 + 5_000),
    )
    known.when(drop("r1"), T0 + 11).then_nothing()


def test_one_who_waits_and_failed_leaves_the_queue() -> None:
    held = LockGranted("r1", "eve", "eve/o", 3, MS, T0 + MS)
    waits = LockQueued("r2", "ada", "ada/o", 5_000, T0, None, 1)
    known = locks(held, waits).when(drop("r2"), T0 + 10).then(RequestWithdrawn("r2", "ada"))
    known.when(drop("r2"), T0 + 11).then_nothing()
    locks().when(drop("r2"), T0).then_nothing()


def test_of_who_share_a_lock_one_alone_loses_it() -> None:
    ada, bob = (LockGranted(f"r{n}", name, name, 3, MS, T0 + MS, 2) for n, name in enumerate(("ada", "bob")))
    locks(ada, bob).when(drop("r0"), T0).then(LeaseRevoked("ada", 3, "accord", "no heartbeat of ada/77", "r0"))


def test_a_barrier_breaks_with_who_failed() -> None:
    reached = BarrierReached("r1", "ada", 3, 5_000, T0 + 5_000, None)
    locks(reached).when(drop("r1"), T0).then(BarrierBroken("ada", "failed", ("r1",)))
    locks(reached).when(drop("r2"), T0).then_nothing()


# -- whatever comes, in whatever order


@drawn(
    said=st.lists(
        st.tuples(
            st.sampled_from([0, 1, 799, 800, 2_399, 2_400, 2_401, 3_999, 4_000, 5_000, FORGET_MS]),
            st.sampled_from([begin(), begin(LOCK), beat(), beat(TEAM), beat(untie=(LOCK,)), EndPresence("ada"), TICK]),
        ),
        max_size=30,
    )
)
@examples(200)
def test_health_is_what_the_times_of_beats_say(said: list[tuple[int, Command]]) -> None:
    """Against a judge that knows the times of beats alone."""
    now, last, failed, false = T0, None, False, 0
    state: Presence | None = None
    for seq, (after_ms, command) in enumerate(said, start=1):
        now += after_ms
        silent = None if last is None else now - last
        events: list[Event] = list(decider.decide(state, command, At(now, seq, f"r{seq}")))
        was_suspected = state is not None and state.suspected_ms is not None
        for event in events:
            if isinstance(event, AgentSuspected):
                assert silent is not None and silent >= SUSPECT and not was_suspected, "in time, or twice"
                was_suspected = True
            if isinstance(event, AgentFailed):
                assert silent is not None and silent >= FAIL and was_suspected and not failed
                failed = True
            if isinstance(event, AgentRecovered):
                assert was_suspected and not failed
                false += 1
            if isinstance(event, AgentAppeared | AgentBeat):
                assert not failed
                last = now
                false = 0 if isinstance(event, AgentAppeared) else false
            if isinstance(event, AgentLeft | AgentForgotten):
                last, failed = None, False
            next_state = decider.evolve(state, event)
            assert next_state is None or isinstance(next_state, Presence)
            state = next_state
        if state is not None:
            assert state.suspicions == false
            assert state.beat_at_ms == last
            silent = now - state.beat_at_ms
            assert state.health == ("failed" if silent >= FAIL else "suspected" if silent >= SUSPECT else "alive")
            due = decider.deadline_ms(state)
            assert due is not None and due > now, "nothing that is due is left"


def test_a_beat_costs_few_bytes() -> None:
    """A heartbeat is sent again and again: what it is on the log is bounded."""
    assert len(events_codec("roster").encode([beaten(1_772_000_000_000)])) < 40
