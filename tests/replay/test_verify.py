"""Verify finds what was done to a log, and names the place."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from accord.replay.state import state_at
from accord.replay.verify import verify
from accord.schemas.clock import VectorClock
from accord.schemas.codec import events_codec
from accord.schemas.headers import CHAIN, LogRecord
from accord.schemas.messages import limits
from accord.schemas.messages.locks import AcquireLock, LockGranted, ReleaseLock
from accord.schemas.messages.log import CommandRejected, SwitchRules, Tick
from accord.schemas.messages.signals import EmitSignal
from accord.schemas.topics import partition_of
from accord.streams.domains import DOMAINS

from accord.errors import LogGap, UnknownRules
from tests.histories.play import Play

LOCKS = ("locks", 0)
EVIL = VectorClock({"evil": 9}, 9).encode()


def race(play: Play) -> Play:
    """Two agents race for two rooms; the first to hold one crashes."""
    a = play.send("room_1", AcquireLock("ada", "ada/1", 5_000, None), task="trip")
    play.send("room_1", AcquireLock("bob", "bob/1", 5_000, None))
    b = play.send("room_2", AcquireLock("bob", "bob/2", 5_000, 0))
    play.send("room_2", ReleaseLock("bob", b.decision.seq))
    play.send("room_2", ReleaseLock("bob", b.decision.seq))
    play.send("room_1", Tick(), after_ms=6_000)
    play.send("room_1", ReleaseLock("ada", a.decision.seq))
    play.send("room_1", AcquireLock("eve", "eve/1", 30, None))
    return play


@pytest.fixture
def play() -> Play:
    return race(Play())


def replaced(record: LogRecord, **headers: bytes) -> LogRecord:
    names = {name.replace("accord_", "accord-"): value for name, value in headers.items()}
    return record._replace(headers=tuple((k, names.get(k, v)) for k, v in record.headers))


def test_a_sound_log_is_identical(play: Play) -> None:
    report = verify(play)
    assert report.ok and report.could_look
    assert (report.commands, report.decisions, report.partitions) == (8, 9, 1)
    assert report.events == 10, "the tick expired a lease and granted the lock: two events"
    assert (report.taken, report.skipped, report.undecided) == (0, 0, 0)


def test_many_partitions_and_domains() -> None:
    play = race(Play(locks=3, signals=2))
    for number in range(5):
        play.send(f"event_{number}", EmitSignal("ada", '{"n": 1}', ("start",)), domain="signals")
    report = verify(play)
    assert report.ok and report.partitions == 5 and report.commands == 13
    assert verify(play, domains=("signals",)).commands == 5


def test_limits_are_decided_again_to_the_byte() -> None:
    """Rates, weights, pauses and denials depend on the log alone."""
    play = Play(limits=2)

    def ask(name: str, tokens: int) -> None:
        request = limits.RequestCapacity(name, f"{name}/1", "staff", 1, "shared", 0, tokens, 5_000, 9_000, True)
        play.send("api", request, domain="limits", after_ms=700)

    play.send("api", limits.ConfigurePool("ops", 3, 7, 1_000, ("staff",), ("ada",), (3,)), domain="limits")
    for number in range(30):
        ask(("ada", "bob", "eve")[number % 3], 37 * number % 400)
        holders = play.states["limits", partition_of(b"api", 2)].aggregates["api"].holders
        if number % 4 == 0 and holders:
            held = holders[0]
            release = limits.ReleaseCapacity(held.agent, held.token, held.request, 50, 900 if number % 8 else None)
            play.send("api", release, domain="limits")
        play.send("api", Tick(), domain="limits", after_ms=1_300)
    report = verify(play)
    assert report.ok and report.partitions == 2 and report.commands > 60
    usage = play.states["limits", partition_of(b"api", 2)].aggregates["api"].usage
    assert usage.granted > 8 and usage.denied > 2


def test_every_kind_of_bad_command_is_verified(play: Play) -> None:
    home = next(key for key in ("a", "b", "c", "d", "e", "f") if partition_of(key.encode(), 2) == 1)
    two = race(Play(locks=2))
    two.send(home, Tick(), partition=0)
    for log, where in ((play, LOCKS), (two, ("locks", 1))):
        log.append(where, None, b"x", [])
        log.append(where, b"\xff", b"x", [])
        log.append(where, home.encode(), None, [])
        log.append(where, home.encode(), b"garbage", [("accord-clock", b"no clock")])
        log.append(where, home.encode(), b"\x00\x00\x00\x00\x09", [("ce_id", b"twice")])
        log.append(where, home.encode(), b"anything", [("ce_id", b"twice")])
    assert verify(play).ok and verify(two).ok


def test_commands_after_the_last_decision_are_no_error(play: Play) -> None:
    play.append(LOCKS, b"room_1", b"x", [], decide=False)
    report = verify(play)
    assert report.ok and report.undecided == 1


def test_a_passed_over_command_is_found(play: Play) -> None:
    play.append(LOCKS, b"room_1", b"x", [], decide=False)
    play.send("room_1", Tick())
    report = verify(play)
    assert [d.position for d in report.divergences] == ["locks.commands/0@8"]
    assert verify(play, every=True).commands == 9


def test_an_edited_value_is_found(play: Play) -> None:
    log = play.log_events[LOCKS]
    (granted,) = events_codec("locks").decode(log[3].value)
    assert isinstance(granted, LockGranted)
    forged = events_codec("locks").encode([LockGranted(granted.request, "eve", "eve/1", granted.token, 5_000, 1)])
    log[3] = log[3]._replace(value=forged)
    (divergence,) = verify(play).divergences
    assert (divergence.position, divergence.key) == ("locks/0@3", "room_2")
    assert divergence.causes == ("locks.commands/0@2",)
    assert divergence.expected["events"][0]["agent"] == "bob"
    assert divergence.got["events"][0]["agent"] == "eve"


def test_an_edited_value_with_the_chain_made_to_fit_is_found(play: Play) -> None:
    """Whoever may write the events topic can chain a forged decision; only deciding again finds it."""
    forged = play.send("room_9", AcquireLock("ada", "ada/9", 5_000, 0))
    where = play.states[LOCKS]
    play.now_ms += 1
    log = play.log_commands[LOCKS]
    log.append(log[-1]._replace(offset=log[-1].offset + 1, timestamp=play.now_ms))
    again = where.decide(log[-1])
    decision = again.decision
    events = [LockGranted("c99", "eve", "eve/1", decision.seq, 5_000, 1)]
    play.record(
        LOCKS,
        where._decision(
            decision.cause, decision.command_id, decision.now_ms, 1, again.clock, b"", b"", forged.decision.key, events
        ),
    )
    play.send("room_1", Tick())
    report = verify(play)
    assert [d.position for d in report.divergences] == ["locks/0@10"]
    assert report.divergences[0].expected["events"] == [{"event": "CommandRepeated", "cause": 8}]
    every = verify(play, every=True)
    assert len(every.divergences) == 1 and every.commands == 11, "what follows fits what was recorded"


@pytest.mark.parametrize("header", ["accord_clock", "accord_rules", "accord_task", "ce_type"])
def test_an_edited_header_is_found(play: Play, header: str) -> None:
    play.log_events[LOCKS][1] = replaced(play.log_events[LOCKS][1], **{header: b"7"})
    assert [d.position for d in verify(play).divergences] == ["locks/0@1"]


def test_an_edited_key_of_the_last_decision_is_found(play: Play) -> None:
    """Nothing comes after it whose hash would not fit."""
    log = play.log_events[LOCKS]
    log[-1] = log[-1]._replace(key=b"room_2")
    assert [d.position for d in verify(play).divergences] == [f"locks/0@{log[-1].offset}"]


def test_an_edited_command_is_found(play: Play) -> None:
    log = play.log_commands[LOCKS]
    log[1] = log[1]._replace(timestamp=log[1].timestamp + 1)
    assert [d.position for d in verify(play).divergences] == ["locks/0@2"]


@dataclass
class Damage:
    """What is done to the events of a log, and where it must be found."""

    name: str
    do: Callable[[list[LogRecord]], object]
    position: str
    got: str


def swap(log: list[LogRecord], a: int) -> None:
    first, second = log[a], log[a + 1]
    log[a], log[a + 1] = second._replace(offset=first.offset), first._replace(offset=second.offset)


def drop(log: list[LogRecord], a: int) -> None:
    del log[a]


DAMAGES = [
    Damage("dropped", lambda log: drop(log, 3), "locks/0@5", "names decision 4 at offset 3"),
    Damage("dropped next to last", lambda log: drop(log, 7), "locks/0@8", "continues a decision that is not in the"),
    Damage("reordered", lambda log: swap(log, 3), "locks/0@6", "as confirmed"),
    Damage("last two reordered", lambda log: swap(log, 7), "locks/0@7", "continues a decision that is not in the log"),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.name)
def test_a_chain_that_does_not_hold_is_found(play: Play, damage: Damage) -> None:
    damage.do(play.log_events[LOCKS])
    report = verify(play)
    assert not report.ok and report.could_look
    assert [d.position for d in report.divergences] == [damage.position]
    assert damage.got in report.divergences[0].got


def test_a_log_of_another_cluster_is_found(play: Play) -> None:
    other = race(Play(cluster="elsewhere"))
    play.log_events[LOCKS] = other.log_events[LOCKS][:2]
    (divergence,) = verify(play).divergences
    assert divergence.position == "locks/0@0" and "another cluster" in divergence.got


def test_a_fork_is_skipped(play: Play) -> None:
    """A stale writer lands a decision of its own, and one that continues it: neither was ever true."""
    log = play.log_events[LOCKS]
    fork = replaced(log[4], accord_clock=EVIL)
    log.insert(5, fork)
    log[5:] = [record._replace(offset=record.offset + (place > 0)) for place, record in enumerate(log[5:])]
    log[5] = log[5]._replace(offset=5)
    log[6:] = [record._replace(headers=[h for h in record.headers if h[0] != "accord-confirmed"]) for record in log[6:]]
    report = verify(play)
    assert report.ok and report.skipped == 1


def test_a_repeat_is_skipped(play: Play) -> None:
    log = play.log_events[LOCKS]
    log.append(log[-1]._replace(offset=log[-1].offset + 1))
    report = verify(play)
    assert report.ok and report.skipped == 1


def test_a_fork_that_came_first_is_found(play: Play) -> None:
    """Readers accept the first that fits: deciding again shows that it is wrong."""
    log = play.log_events[LOCKS]
    log[5] = replaced(log[5], accord_clock=EVIL)
    assert [d.position for d in verify(play).divergences] == ["locks/0@5"]


def test_rejections_for_undecodable_bytes_are_taken_as_recorded(play: Play) -> None:
    """The worker had no registry; the one who verifies has, or a newer release reads more."""
    decided = play.append(LOCKS, b"room_1", b"\x00\x00\x00\x00\x09", [("ce_id", b"x")])
    assert isinstance(decided.events[0], CommandRejected)
    play.log_commands[LOCKS][-1] = play.log_commands[LOCKS][0]._replace(
        offset=play.log_commands[LOCKS][-1].offset, timestamp=play.now_ms, headers=[("ce_id", b"x")]
    )
    report = verify(play)
    assert report.ok and report.taken == 1 and report.commands == 8


def test_a_schema_that_is_not_known_here_is_no_divergence(play: Play) -> None:
    log = play.log_commands[LOCKS]
    log[0] = log[0]._replace(value=b"\x00\x00\x00\x00\x09")
    report = verify(play)
    assert not report.ok and not report.divergences and not report.could_look
    assert report.gaps[0].reason == "unknown_schema" and report.gaps[0].position == "locks.commands/0@0"


def test_commands_cut_by_retention(play: Play) -> None:
    del play.log_commands[LOCKS][:5]
    report = verify(play)
    assert report.ok and report.commands == 3 and report.taken == 5
    assert [(g.position, g.reason, g.decisions) for g in report.gaps] == [("locks.commands/0@0", "retention", 5)]
    assert "before locks.commands/0@5" in report.gaps[0].description


def test_a_decision_changed_before_the_retention_is_found_by_the_chain(play: Play) -> None:
    del play.log_commands[LOCKS][:5]
    play.log_events[LOCKS][2] = replaced(play.log_events[LOCKS][2], accord_clock=EVIL)
    report = verify(play)
    assert not report.ok and report.divergences[0].position == "locks/0@4"


def test_a_hole_in_the_commands_is_no_divergence(play: Play) -> None:
    del play.log_commands[LOCKS][3]
    report = verify(play)
    assert not report.ok and not report.could_look
    assert report.gaps[0].reason == "missing_command" and report.gaps[0].position == "locks.commands/0@3"


def test_events_that_were_cut_are_refused(play: Play) -> None:
    del play.log_events[LOCKS][:2]
    with pytest.raises(LogGap, match="start at offset 2"):
        verify(play)
    with pytest.raises(LogGap, match="start at offset 2"):
        state_at(play)


def test_a_deleted_commands_topic_is_refused(play: Play) -> None:
    del play.log_commands[LOCKS]
    with pytest.raises(LogGap):
        verify(play)
    assert state_at(play).decisions == 9


def test_commands_lost_on_an_operators_word(play: Play) -> None:
    state = play.states[LOCKS]
    play.record(LOCKS, state.lost(8, 11))
    play.log_commands[LOCKS].clear()
    play.append(LOCKS, b"room_1", b"x", [], decide=False)
    play.log_commands[LOCKS][0] = play.log_commands[LOCKS][0]._replace(offset=12)
    play.record(LOCKS, state.decide(play.log_commands[LOCKS][0]))
    report = verify(play)
    assert report.ok and report.commands == 1 and report.decisions == 11


def test_commands_lost_that_do_not_follow_are_found(play: Play) -> None:
    play.record(LOCKS, play.states[LOCKS].lost(9, 11))
    (divergence,) = verify(play).divergences
    assert divergence.position == "locks/0@9" and divergence.expected.startswith("a decision that follows")


def test_a_genesis_with_another_partition_count_is_found() -> None:
    moved = Play(locks=1)
    moved.log_events[LOCKS].clear()
    state = type(moved.states[LOCKS])(moved.identity("locks", 0), DOMAINS["locks"])
    moved.states[LOCKS] = state
    moved.record(LOCKS, state.open(7, "log_append"))
    (divergence,) = verify(moved).divergences
    assert divergence.position == "locks/0@0"
    assert divergence.expected["events"][0]["partition_count"] == 1


def test_rules_that_this_release_does_not_have(play: Play) -> None:
    play.send("room_1", SwitchRules(99, "a trial"))
    assert verify(play).ok, "the switch itself is decided by the rules before it"
    state = play.states[LOCKS]
    with pytest.raises(UnknownRules):
        play.send("room_1", Tick())
    decision = state._decision(
        play.log_commands[LOCKS][-1].offset, "c10", play.now_ms, 99, state.clock, b"", b"", b"room_1", []
    )
    play.record(LOCKS, decision)
    with pytest.raises(UnknownRules, match="version 99"):
        verify(play)


def test_the_chain_header_is_covered(play: Play) -> None:
    record = play.log_events[LOCKS][4]
    chain = dict(record.headers)[CHAIN]
    seq, _, prev = chain.split(b" ")
    play.log_events[LOCKS][4] = replaced(record, accord_chain=b"%s 1 %s" % (seq, prev))
    assert [d.position for d in verify(play).divergences] == ["locks/0@4"]


def test_two_verifications_are_equal(play: Play) -> None:
    play.log_events[LOCKS][1] = replaced(play.log_events[LOCKS][1], accord_clock=EVIL)
    one, two = verify(play, every=True), verify(play, every=True)
    assert one.divergences == two.divergences and one.commands == two.commands
