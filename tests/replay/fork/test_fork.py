"""What a fork changes, what follows from it, and what the agents would have known."""

from __future__ import annotations

import json
from typing import Any

import pytest
from accord.replay.fork import run as running
from accord.replay.fork.changes import FORMS, Insert, Remove, Reply, Rules, SetFields, parse_change
from accord.replay.fork.fork import Fork
from accord.replay.fork.numbers import NOBODYS
from accord.replay.fork.outcome import Diff
from accord.replay.log import Log
from accord.replay.source import Source, open_source
from accord.replay.timeline import Filter, iso, timeline
from accord.replay.verify import verify
from accord.schemas.codec import commands_codec, events_codec
from accord.schemas.messages.locks import AcquireLock, LockGranted, ReleaseLock
from accord.schemas.messages.log import CommandRejected, Reason
from accord.schemas.messages.proposals import CastVote, Propose, Voter
from accord.schemas.messages.signals import EmitSignal
from accord.schemas.messages.triggers import DeclareTrigger
from accord.schemas.messages.waits import GRAPH
from accord.schemas.position import Position
from accord.streams.triggers.pattern import encode, sequence

from accord.errors import BadInput, LogGap, NotFound
from tests.histories.booking import booking
from tests.histories.crowd import Crowd, token_of
from tests.histories.payments import payments
from tests.histories.play import START_MS, Play
from tests.histories.record import HERE
from tests.histories.town import Town

VOTERS = (Voter("ada", 1), Voter("bob", 2), Voter("eve", 1))
ACQUIRE = "locks.commands/0@0"


def told(source: Source, key: str, *domains: str) -> list[str]:
    """What happened to a key."""
    return [f"{one.agent or '-'} {one.event}" for one in timeline(source, Filter(domains=domains, key=key))]


def run(source: Source, *change: Any, at: Any = None, **how: Any) -> tuple[Diff, Source]:
    fork = Fork(source, at, change)
    found = fork.run(**how)
    assert fork.log is not None
    assert verify(fork.log).ok, "what a fork makes is a log like any other"
    return found, fork.log


# -- changes


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("locks.commands/0@1 lease_ms=5", SetFields({"lease_ms": 5}, Position("locks", 0, 1, True))),
        ("locks/0@1 agent=ada wait_ms=null", SetFields({"agent": "ada", "wait_ms": None}, Position("locks", 0, 1))),
        ("proposals Propose voters[1].weight=3", SetFields({"voters[1].weight": 3}, None, "proposals", "Propose")),
        ("locks/a/b@c AcquireLock lease_ms=5", SetFields({"lease_ms": 5}, None, "locks", "AcquireLock", "a/b@c")),
        ("proposals CastVote 'reason=so it is'", SetFields({"reason": "so it is"}, None, "proposals", "CastVote")),
        ("remove locks/0@4", Remove(Position("locks", 0, 4))),
        ("answer 5f2c=yes = no", Reply("5f2c", "yes = no")),
    ],
)
def test_changes_as_people_write_them(text: str, change: Any) -> None:
    assert parse_change(text) == change
    assert isinstance(str(change), str)


def test_rules_and_commands_as_people_write_them() -> None:
    rules = parse_change("decider locks=accord.streams.locks.decider:NameDecider")
    assert isinstance(rules, Rules) and type(rules.decider).__name__ == "NameDecider"
    told = {"domain": "locks", "key": "r", "command": "ReleaseLock", "fields": {"token": 2}, "after": "locks/0@1"}
    inserted = parse_change("insert " + json.dumps(told | {"agent": "ada"}))
    assert isinstance(inserted, Insert) and inserted.made() == ReleaseLock("ada", 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("foo", FORMS.split(",")[0]),
        ("locks AcquireLock", "no change"),
        ("locks AcquireLock lease", "no change"),
        ("locks AcquireLock 'lease_ms=1", "no change"),
        ("answer 5f2c", "no change"),
        ("decider locks", "no change"),
        ("decider locks=2", "no version 2 of the locks rules; there are: 1"),
        ("decider rooms=1", "no domain 'rooms'"),
        ("decider locks=nowhere:Rules", "nowhere"),
        ("decider locks=json:loads", "no decide"),
        ("decider rooms=json:loads", "no domain 'rooms'"),
        ("locks Propose lease_ms=1", "locks has no command 'Propose'; it has .*AcquireLock"),
        ("locks AcquireLock leas_ms=1", "AcquireLock has no 'leas_ms'; it has .*lease_ms"),
        ("locks.commands/0@0 leas_ms=1", "AcquireLock has no 'leas_ms'"),
        ("locks.commands/0@0 lease_ms=soon", "AcquireLock: .*lease_ms"),
        ("locks.commands/0@0 lease_ms[0]=1", "has no"),
        ("remove room_12", "no position"),
        ("insert {}", "insert: .*domain"),
        ('insert {"domain":"locks","key":"r","command":"Jump","after":"locks/0@1"}', "no command 'Jump'"),
    ],
)
def test_what_is_no_change(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Fork(booking(), change=[text]).run()


def test_a_change_must_concern_what_comes_after_the_cut() -> None:
    with pytest.raises(BadInput, match="lies before the cut, which is after locks/0@2"):
        Fork(booking(), "locks/0@2", [f"{ACQUIRE} lease_ms=9000"]).run()
    with pytest.raises(NotFound, match="nothing after"):
        Fork(booking(), "locks/0@2", ["locks/room_9 AcquireLock lease_ms=9000"]).run()
    with pytest.raises(NotFound):
        Fork(booking(), change=["remove locks/0@99"]).run()


# -- the cut


@pytest.mark.parametrize("at", ["locks/0@2", "locks.commands/0@1", "locks/0:1#0", "2026-02-25T06:13:20.035Z"])
def test_a_cut_is_named_by_a_position_a_time_or_an_event(at: str) -> None:
    found, _ = run(booking(), "locks/room_12 ReleaseLock agent=eve", at=at)
    assert found.at == "locks/0@2" and found.recorded.decisions == 6


def test_without_a_point_the_cut_lies_right_before_the_first_change() -> None:
    assert run(booking(), "remove locks/0@3", "remove locks/0@5")[0].at == "locks/0@2"
    assert run(booking())[0].at == "the start"
    assert run(booking(), at="locks/0@0")[0].recorded.decisions == 9


def test_a_cut_is_closed_under_causes() -> None:
    """By times alone, what ada did because of the signal would lie before the cut, and the signal after it."""
    crowd = Crowd(locks=1, signals=1)
    crowd.now_ms += 60_000
    called = crowd.emit("desk", "call")
    crowd.tell("ada", called, "signals", "call")
    crowd.now_ms -= 60_000
    crowd.acquire("ada", "room_12")
    fork = Fork(crowd, "locks/0@1")
    assert fork.run().recorded.decisions == 0, "what the position rests on lies before it"
    assert Fork(crowd, "signals/0@1").run().recorded.decisions == 1


def test_more_than_is_kept_in_memory_is_refused() -> None:
    with pytest.raises(BadInput, match="More than 5 decisions come after"):
        Fork(booking(), decisions_max=5).run()
    assert Fork(booking(), "locks/0@2", decisions_max=6).run().same


def test_commands_that_retention_took_are_missed_after_the_cut_alone() -> None:
    play = booking()
    del play.log_commands["locks", 0][:3]
    assert Fork(play, "locks/0@3").run().same
    with pytest.raises(LogGap, match=r"locks\.commands/0@2 is no longer"):
        Fork(play, "locks/0@2").run()


# -- what follows


def test_a_longer_lease_keeps_who_waits_waiting() -> None:
    found, log = run(booking(), f"{ACQUIRE} lease_ms=30000")
    assert told(log, "room_12", "locks") == [
        "ada LockGranted", "bob LockQueued", "eve LockDenied", "ada StaleWriteRefused", "bob ReleaseRefused",
    ]  # fmt: skip
    (outcome,) = found.outcomes
    assert (outcome.domain, outcome.key, outcome.kind) == ("locks", "room_12", "added")
    assert [one.event for one in outcome.recorded][-1] == "LockReleased"
    assert found.recorded.decisions - found.forked.decisions == 1, "the tick found nothing due, so it did not come"
    refused = [one for one in found.commands if one.status == "refused"]
    assert [(one.agent, one.command, one.forked) for one in refused] == [("bob", "ReleaseLock", "ReleaseRefused")]
    assert found.refused == 1


def test_time_passes_after_the_end_only_when_told_to() -> None:
    found, log = run(booking(), f"{ACQUIRE} lease_ms=30000", run_on_ms=40_000)
    assert told(log, "room_12", "locks")[-2:] == ["ada LeaseExpired", "bob LockGranted"]
    assert found.forked.duration_ms > found.recorded.duration_ms == 2_070


def test_a_command_less() -> None:
    found, log = run(booking(), "remove locks/0@1")
    assert told(log, "room_12", "locks") == ["bob LockGranted", "eve LockDenied", "ada StaleWriteRefused",
                                             "bob LockReleased"]  # fmt: skip
    assert found.outcomes[0].kind == "changed" and not found.outcomes[0].changes, (
        "in the end nobody holds it either way"
    )


def test_a_command_more() -> None:
    told_of = {"domain": "locks", "key": "room_12", "command": "ReleaseLock", "fields": {"token": 2}, "agent": "ada"}
    change = "insert " + json.dumps(told_of | {"after": "locks/0@2"})
    for at in (None, "locks/0@2", "locks/0@1"):
        found, log = run(booking(), change, at=at)
        assert told(log, "room_12", "locks")[:4] == ["ada LockGranted", "bob LockQueued", "ada LockReleased",
                                                     "bob LockGranted"]  # fmt: skip
    assert any(one.status == "otherwise" and one.agent == "eve" for one in found.commands)
    with pytest.raises(BadInput, match="before the cut"):
        Fork(booking(), "locks/0@3", [change]).run()


def test_a_token_means_the_grant_that_it_was_given_for() -> None:
    """One decision less moves all that come after it: for who has to do with other locks nothing differs."""
    crowd = Crowd(locks=1)
    crowd.acquire("ada", "desk")
    bob = token_of(crowd.acquire("bob", "hall"), "bob")
    crowd.release("bob", "hall", bob)
    found, log = run(crowd, "remove locks/0@1")
    assert told(log, "hall") == ["bob LockGranted", "bob LockReleased"] or told(log, "hall")[-1].endswith(
        "LockReleased"
    )
    assert [one.key for one in found.outcomes] == ["desk"]
    (released,) = timeline(log, Filter(event="LockReleased"))
    assert released.data["token"] == bob - 1
    assert not found.commands


def test_the_token_of_a_grant_that_was_not_made_is_nobodys() -> None:
    _, log = run(booking(), f"{ACQUIRE} lease_ms=30000")
    (refused,) = timeline(log, Filter(event="ReleaseRefused"))
    assert refused.data["token"] == NOBODYS


def test_what_process_managers_send_is_made_anew() -> None:
    """Another order is what was paid for: the trigger finds another one unpaid, and tells so."""
    found, log = run(payments(), 'signals/paid EmitSignal \'data={"order": "a"}\'')
    key = "matched:unpaid"
    matched = [{one.data["data"]["key"] for one in timeline(source, Filter(key=key, event="SignalEmitted"))}
               for source in (payments(), log)]  # fmt: skip
    assert matched == [{"a", "3"}, {"b", "3"}]
    assert {"unpaid|a", "unpaid|b", key} <= {one.key for one in found.outcomes}


def town() -> Town:
    made = Town(proposals=1, signals=1, locks=1)
    made.at(10, "ada", "proposals", "lunch", Propose("ada", "?", VOTERS, 2, 4, None, 1_001, 9_001, ()))
    made.at(20, "bob", "proposals", "lunch", CastVote("bob", "yes", ""))
    made.at(400, "kim", "locks", "desk", AcquireLock("kim", "kim/1", 60_001, None))
    return made.run(2_000)


def test_commands_of_process_managers_go_with_the_decision_that_they_follow_from() -> None:
    source = town()
    assert len(told(source, "vote_wanted:bob")) == 1
    found, log = run(source, "remove proposals/0@1")
    assert told(log, "vote_wanted:bob") == [] and told(log, "vote_wanted:eve") == []
    assert {one.key for one in found.outcomes} == {"lunch", "vote_wanted:bob", "vote_wanted:eve"}


def test_a_new_command_of_a_process_manager_comes_a_hop_later() -> None:
    more = [*({"name": one.name, "weight": one.weight} for one in VOTERS), {"name": "kim", "weight": 1}]
    change = SetFields({"voters": more}, Position("proposals", 0, 0, True))
    for hop_ms in (1, 250):
        _, log = run(town(), change, hop_ms=hop_ms)
        (asked,) = timeline(log, Filter(key="vote_wanted:kim"))
        assert asked.time == iso(START_MS + 10 + hop_ms)
        (bobs,) = timeline(log, Filter(key="vote_wanted:bob"))
        assert bobs.time == iso(START_MS + 11), "one that the record has comes where it came there"


def test_a_deadline_of_the_record_comes_as_late_as_it_came_there() -> None:
    crowd = Crowd(locks=1)
    crowd.acquire("ada", "room", lease_ms=1_000)
    crowd.acquire("bob", "room", lease_ms=1_000)
    late = crowd.ask("worker", "room", running.Tick(), after_ms=1_700, told=False)
    assert late.decision.type.endswith(b"LeaseExpired+LockGranted")
    _, log = run(crowd, "locks.commands/0@1 lease_ms=5000")
    (granted,) = timeline(log, Filter(event="LockGranted", agent="bob"))
    assert granted.time == iso(late.decision.now_ms)
    _, log = run(crowd, "locks.commands/0@0 lease_ms=1500")
    (granted,) = timeline(log, Filter(event="LockGranted", agent="bob"))
    assert granted.time == iso(START_MS + 10 + 1_500), "another deadline is met when it is due"


def test_a_command_of_a_process_manager_that_the_record_ends_before_does_not_come() -> None:
    play = Play(proposals=1, signals=1)
    play.send("lunch", Propose("ada", "?", VOTERS, 2, 4, None, 60_000, 9_000, ()), domain="proposals")
    found, log = run(play, "proposals Propose threshold_numerator=3")
    assert not found.same and told(log, "vote_wanted:bob") == []


def test_what_only_names_what_was_renumbered_does_not_differ() -> None:
    """One signal more moves the positions of all after it; matches tell which signals brought them, by position."""
    told_of = {"domain": "signals", "key": "noise3", "command": "EmitSignal", "agent": "ada", "after": "signals/1@3",
               "fields": {"data": "{}", "trail": []}}  # fmt: skip
    found, log = run(payments(), "insert " + json.dumps(told_of))
    causes = [{cause for one in timeline(source, Filter(key="matched:unpaid", event="SignalEmitted"))
               for cause in one.data["data"]["causes"]} for source in (payments(), log)]  # fmt: skip
    assert causes == [{"signals/1@4", "signals/1@6"}, {"signals/1@5", "signals/1@7"}]
    assert {one.key for one in found.outcomes if one.domain == "signals"} == {"noise3"}


def test_what_comes_right_at_a_deadline_comes_before_the_tick() -> None:
    """As in a worker: a command to an aggregate handles what is due there itself."""
    crowd = Crowd(locks=1)
    crowd.acquire("ada", "room", lease_ms=60_000)
    crowd.acquire("bob", "room")
    crowd.ask("eve", "room", AcquireLock("eve", "eve/1", 5_000, 0), after_ms=1_990)
    found, log = run(crowd, "locks.commands/0@0 lease_ms=2000")
    assert found.forked.decisions == found.recorded.decisions == 3
    assert told(log, "room")[2:] == ["ada LeaseExpired", "eve LockDenied", "bob LockGranted"]


def test_deadlocks_that_the_record_did_not_have_are_found() -> None:
    """Each holds what the other wants for longer than in the record, where the first lease ended in time."""
    made = Town(locks=2, waits=1)
    for ms, agent, name in ((10, "ada", "a"), (20, "bob", "b"), (600, "ada", "b"), (620, "bob", "a")):
        owner = f"{agent}/1" if ms < 100 else f"{agent}/1/2"
        made.at(ms, agent, "locks", name, AcquireLock(agent, owner, 1_001, None))
    source = made.run(5_000)
    assert not told(source, GRAPH)
    found, log = run(source, "locks AcquireLock lease_ms=60000")
    assert "- DeadlockFound" in told(log, GRAPH)
    broken = list(timeline(log, Filter(event="DeadlockBroken")))
    assert len(broken) == 1 and broken[0].agent in ("ada", "bob")
    assert {one.key for one in found.outcomes} == {"a", "b", GRAPH}


def test_a_fork_that_does_not_come_to_rest_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MADE_MAX", 2)
    made = Town(signals=1, triggers=1)
    made.at(1_000, "ada", "signals", "ping", EmitSignal("ada", "{}", ()))
    source = made.run(2_000)
    rule = encode(sequence("ping", "pong").within_ms(1_000).definition)
    told_of = {"domain": "triggers", "key": "pair", "command": "DeclareTrigger", "after": "signals/0@0",
               "fields": {"agent": "ada", "trigger": "pair", "definition": rule}}  # fmt: skip
    assert DeclareTrigger("ada", "pair", rule)
    found = Fork(source, "signals/0@0", ["insert " + json.dumps(told_of)]).run()
    assert found.stopped is not None and "does not come to rest" in found.stopped


# -- what agents would have known


def test_an_agent_is_affected_once_it_would_have_been_told_something_else() -> None:
    found, _ = run(booking(), f"{ACQUIRE} lease_ms=30000")
    first = {one.agent: (one.position, one.recorded, one.forked) for one in found.agents}
    assert first == {
        "bob": ("signals.commands/0@1", "locks/0@4", None),  # he was told that he has the room
        "ada": ("signals.commands/0@2", "locks/0@1", "locks/0@1"),  # her own lease
    }
    assert found.affected == 4
    assert {one.position for one in found.commands if not one.affected} == {ACQUIRE}


def test_an_agent_that_has_nothing_to_do_with_it_is_not_affected() -> None:
    """Kim's clock covers what was decided before her in the same partition, but nobody has told her of that."""
    crowd = Crowd(locks=1)
    crowd.acquire("ada", "desk")
    crowd.acquire("kim", "hall")
    crowd.acquire("kim", "attic")
    crowd.acquire("ada", "attic")
    found, _ = run(crowd, "locks.commands/0@0 lease_ms=90000")
    assert [one.agent for one in found.agents] == ["ada"]


def test_what_an_agent_sent_before_it_was_told_is_not_affected() -> None:
    crowd = Crowd(locks=1, signals=1)
    asked = crowd.acquire("ada", "room", told=False)
    crowd.emit("ada", "before", told=False)
    crowd.tell("ada", asked, "locks", "room")
    crowd.emit("ada", "after", told=False)
    found, _ = run(crowd, f"{ACQUIRE} lease_ms=90000")
    assert [(one.agent, one.position) for one in found.agents] == [("ada", "signals.commands/0@1")]


def test_whoever_was_told_by_a_signal_is_affected() -> None:
    """No event names ada, and she did not ask: her clock has the signal as the last that she heard of."""
    found, _ = run(booking(), 'signals.commands/0@0 \'data={"guest": "noether"}\'')
    affected = {one.agent: one.recorded for one in found.agents}
    assert affected == {"ada": "signals/0@1"}


def test_agents_that_stop_send_nothing_more() -> None:
    found, log = run(booking(), f"{ACQUIRE} lease_ms=30000", agents="stop")
    assert told(log, "room_12", "locks") == ["ada LockGranted", "bob LockQueued", "eve LockDenied"]
    assert told(log, "guest_listed") == [] and found.not_fed == 4
    assert {one.agent for one in found.agents} == {"ada", "bob"}


def test_what_is_changed_is_said_by_an_agent_that_stopped_too() -> None:
    changes = f"{ACQUIRE} lease_ms=30000", 'signals/0@2 \'data={"guest": "noether"}\''
    _, log = run(booking(), *changes, agents="stop")
    assert told(log, "guest_listed") == ["bob SignalEmitted"]


def test_a_partition_that_the_record_never_opened_is_opened() -> None:
    play = Play(locks=1, signals=1)
    play.log_events["signals", 0].clear()
    play.send("room", AcquireLock("ada", "ada/1", 5_000, None))
    told_of = {"domain": "signals", "key": "call", "command": "EmitSignal", "agent": "ada", "after": "locks/0@1",
               "fields": {"data": "{}", "trail": []}}  # fmt: skip
    _, log = run(play, "insert " + json.dumps(told_of))
    assert told(log, "call") == ["ada SignalEmitted"]


def test_what_a_worker_could_not_read_is_taken_as_recorded() -> None:
    play = Play(locks=1)
    where, asked = ("locks", 0), commands_codec("locks").encode(AcquireLock("bob", "bob/1", 60_000, None))
    unread = play.append(where, b"room_1", asked, [("ce_id", b"bobs")], decide=False).decision
    state, rejected = play.states[where], [CommandRejected(Reason.UNKNOWN_SCHEMA, "no schema has it")]
    clock = state.clock.advanced(state.name)
    play.record(where, state._decision(unread.cause, "bobs", play.now_ms, 1, clock, b"", b"", b"room_1", rejected))
    play.send("room_1", AcquireLock("ada", "ada/1", 5_000, 0))
    assert run(play)[0].same
    assert told(run(play, "locks/0@2 lease_ms=9000")[1], "room_1") == ["- CommandRejected", "ada LockGranted"]


def test_a_record_that_todays_rules_decide_otherwise_differs_without_a_change() -> None:
    with open_source(HERE / "wrong_grant.accord") as source:
        found = Fork(source).run()
    assert not found.same and [one.key for one in found.outcomes] == ["room_1"]


def test_arguments_that_are_wrong() -> None:
    for how in ({"agents": "free"}, {"run_on_ms": -1}, {"hop_ms": 1.5}, {"llm": "ask"}, {"llm": "live"}):
        with pytest.raises(BadInput):
            Fork(booking()).run(**how)  # type: ignore[arg-type]


def test_as_it_is_called_in_python() -> None:
    with Log(booking()) as log:
        found = log.fork(at="locks/0@2", change=["remove locks/0@3"]).run()
    assert found.source == "play" and found.changes == ("remove locks/0@3",)


def test_other_rules_hold_in_a_partition_that_the_fork_opens() -> None:
    play = Play(locks=1, signals=1)
    play.send("hello", EmitSignal("ada", "{}", ()), domain="signals")
    play.log_events["locks", 0].clear()
    asked = {"owner": "ada/1", "lease_ms": 4_000, "wait_ms": 0}
    inserted = Insert("locks", "room", "AcquireLock", asked, Position("signals", 0, 1), "ada")
    for change, lease_ms in (([], 4_000), (["decider locks=tests.replay.fork.test_fork_properties:HalfLeases"], 2_000)):
        fork = Fork(play, change=[inserted, *change])
        fork.run()
        assert fork.log is not None
        _, granted = fork.log.read("locks", 0, 0)
        (event,) = events_codec("locks").decode(granted.value)
        assert isinstance(event, LockGranted) and event.lease_ms == lease_ms
